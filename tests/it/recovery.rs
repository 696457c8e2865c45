//! Killed at any moment, the same command again reaches the same end.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::invariants::Invariants;
use crate::support::{Bench, expected, number};
use diffmig::sandbox::Shutdown;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

const COMMITTED: &str = "select case when pg_catalog.to_regclass('diffmig.batch') is null then 0 else \
    (xpath('/row/c/text()', query_to_xml('select count(*) as c from diffmig.batch', false, true, '')))[1]::text::bigint end";

/// Waits until the target shows what is awaited.
async fn until(bench: &Bench, query: &str, wanted: i64) {
    let began = Instant::now();
    let mut target = bench.target().await;
    while number(&mut target, query).await < wanted {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "waited too long for: {query}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn kill_after(bench: &Bench, batches: i64) {
    let mut child = bench.spawn(&["migrate", "--batch-size", "500", "-q"]);
    until(bench, COMMITTED, batches).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_three_moments_the_same_command_ends_as_if_never_killed() {
    let bench = Bench::day1().await;
    let mut killed_at = Vec::new();
    for batches in [1, 12, 45] {
        kill_after(&bench, batches).await;
        let mut target = bench.target().await;
        killed_at.push(number(&mut target, COMMITTED).await);
    }
    assert!(
        killed_at.windows(2).all(|pair| pair[0] < pair[1]),
        "{killed_at:?}"
    );
    let said = bench.say(&["migrate", "--batch-size", "500"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    let totals = &expected("day1")["total"];
    assert_eq!(
        bench.compare_all("day1").await,
        usize::try_from(totals["compared"]).unwrap()
    );
    let mut target = bench.target().await;
    let mut source = bench.source().await;
    let invariants = Invariants::fixture("day1");
    assert_eq!(invariants.check(&mut source, &mut target).await, []);
    let twice = "select count(*) from (select legacy_notice_id from public.notices \
        where legacy_notice_id is not null group by 1 having count(*) > 1) d";
    assert_eq!(number(&mut target, twice).await, 0);
    let applied = "select coalesce(sum(inserted), 0)::bigint from diffmig.batch";
    assert_eq!(
        number(&mut target, applied).await,
        totals["applied"],
        "a row was inserted twice or never"
    );
    let again = bench.say(&["migrate", "--json", "-q"]).await;
    assert_eq!(again.code, Some(3), "{again:?}");
    let left = "select 1 - least(1, count(*)) from pg_catalog.pg_stat_activity where application_name like 'diffmig%'";
    until(&bench, left, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_and_restarted_servers_are_ridden_out() {
    let bench = Bench::day1().await;
    let mut child = bench.spawn(&["migrate", "--batch-size", "300", "-q"]);
    until(&bench, COMMITTED, 4).await;
    let mut target = bench.target().await;
    let ended = "select count(pg_terminate_backend(pid)) from pg_catalog.pg_stat_activity \
        where application_name like 'diffmig%' and pid <> pg_backend_pid()";
    assert!(number(&mut target, ended).await > 0);
    let before = number(&mut target, COMMITTED).await;
    until(&bench, COMMITTED, before + 4).await;
    bench
        .workshop
        .source
        .restart(Shutdown::Immediate)
        .await
        .unwrap();
    drop(target);
    let mut target = bench.target().await;
    let before = number(&mut target, COMMITTED).await;
    until(&bench, COMMITTED, before + 4).await;
    bench
        .workshop
        .target
        .restart(Shutdown::Immediate)
        .await
        .unwrap();
    let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code());
    assert_eq!(code.await.unwrap(), Some(3));
    bench.compare_all("day1").await;
    let mut target = bench.target().await;
    let applied = "select coalesce(sum(inserted), 0)::bigint from diffmig.batch";
    assert_eq!(
        number(&mut target, applied).await,
        expected("day1")["total"]["applied"]
    );
    let said = "select count(*) from diffmig.event where operation = 'reconnect'";
    assert!(
        number(&mut target, said).await >= 2,
        "the outages were not logged"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_process_is_fenced_before_another_begins() {
    let bench = Bench::day1().await;
    let mut stalled = bench.spawn(&["migrate", "--batch-size", "200", "-q"]);
    until(&bench, COMMITTED, 5).await;
    let pid = Pid::from_raw(i32::try_from(stalled.id()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let mut target = bench.target().await;
    sqlx::query("update diffmig.lease_beat set expires_at = now() - interval '1 second'")
        .execute(&mut target)
        .await
        .unwrap();
    let second = bench.say(&["migrate", "-q"]).await;
    assert_eq!(second.code, Some(3), "{second:?}");
    let epoch = "select epoch from diffmig.lease";
    let taken = number(&mut target, epoch).await;
    let batches = number(&mut target, COMMITTED).await;
    kill_process(pid, Signal::CONT).unwrap();
    let code = tokio::task::spawn_blocking(move || stalled.wait().unwrap().code());
    assert_eq!(
        code.await.unwrap(),
        Some(16),
        "a fenced process must say so"
    );
    assert_eq!(
        number(&mut target, COMMITTED).await,
        batches,
        "the fenced process wrote"
    );
    assert_eq!(number(&mut target, epoch).await, taken);
    let state = "select count(*) from diffmig.session where state = 'completed_with_rejects'";
    assert_eq!(
        number(&mut target, state).await,
        1,
        "the fenced process changed the session's state"
    );
    bench.compare_all("day1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_waits_behind_our_lock_on_the_source_gets_it_within_seconds() {
    let bench = Bench::day1().await;
    let mut child = bench.spawn(&["migrate", "--batch-size", "100", "-q"]);
    until(&bench, COMMITTED, 5).await;
    let mut source = bench.source().await;
    sqlx::raw_sql(
        "set lock_timeout = '20s'; alter table public.auth_user add column added_meanwhile integer",
    )
    .execute(&mut source)
    .await
    .unwrap();
    assert!(
        child.try_wait().unwrap().is_none(),
        "the session was over before anybody had to wait"
    );
    let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code());
    assert_eq!(code.await.unwrap(), Some(3));
    bench.compare_all("day1").await;
    let mut target = bench.target().await;
    let said = "select count(*) from diffmig.event where message like 'released the source snapshot because process%'";
    assert_eq!(number(&mut target, said).await, 1);
}

/// The scenario of the runbook: a migration dies in the night; somebody finds it, resumes it, watches and checks.
#[tokio::test(flavor = "multi_thread")]
async fn recovery_from_a_failed_migration() {
    let bench = Bench::day1().await;
    kill_after(&bench, 20).await;
    let mut target = bench.target().await;
    let committed = number(&mut target, COMMITTED).await;

    let listed = bench.say(&["control", "list", "--json", "-q"]).await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let dead = &listed["sessions"][0];
    assert_eq!(dead["state"], "interrupted", "{listed}");

    let mut resumed = bench
        .command(&["migrate", "--resume", "--batch-size", "500"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until(&bench, COMMITTED, committed + 1).await;
    let watched = bench
        .say(&["status", "--watch", "--interval", "200ms", "--json", "-q"])
        .await;
    assert_eq!(watched.code, Some(3), "as the session ends: {watched:?}");
    let end = tokio::task::spawn_blocking(move || {
        let status = resumed.wait().unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut resumed.stderr.take().unwrap(), &mut said).unwrap();
        (status.code(), said)
    });
    let (code, said) = end.await.unwrap();
    assert_eq!(code, Some(3), "{said}");
    assert!(
        watched.stdout.contains("completed_with_rejects"),
        "the watcher did not see the end: {watched:?}"
    );
    let goes_on = format!("resuming session {}: ", dead["sessionId"].as_str().unwrap());
    let said = "select message from diffmig.event where message like 'resuming session %' order by event_id";
    let said = bench.target_lines(said).await;
    assert!(said[0].starts_with(&goes_on), "{said:?}");
    assert!(
        said[0].contains(&format!("{committed} batches")),
        "{said:?}"
    );

    let totals = &expected("day1")["total"];
    let compared = bench.compare_all("day1").await;
    assert_eq!(compared, usize::try_from(totals["compared"]).unwrap());
    let inserted = "select sum(inserted)::bigint from diffmig.batch";
    assert_eq!(
        number(&mut target, inserted).await,
        totals["applied"],
        "a row was inserted twice"
    );
    let sessions = "select count(*) from diffmig.session";
    assert_eq!(
        number(&mut target, sessions).await,
        1,
        "the same session went on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_lease_was_taken_commits_no_further_batch() {
    let bench = Bench::day1().await;
    let mut child = bench.spawn(&["migrate", "--batch-size", "50", "-q"]);
    until(&bench, COMMITTED, 5).await;
    let mut target = bench.target().await;
    let taken = "update diffmig.lease set epoch = epoch + 1, session_id = gen_random_uuid() returning epoch";
    let epoch = number(&mut target, taken).await;
    let written = format!("select count(*) from diffmig.batch where epoch < {epoch}");
    let before = number(&mut target, &written).await;
    let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code());
    assert_eq!(code.await.unwrap(), Some(16));
    assert_eq!(
        number(&mut target, &written).await,
        before,
        "a batch was committed under a lease that was taken"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_waits_for_the_batch_in_flight() {
    let bench = Bench::day1().await;
    let mut target = bench.target().await;
    let mut blocker = bench.target().await;
    sqlx::raw_sql("begin; lock table public.workshops in exclusive mode")
        .execute(&mut blocker)
        .await
        .unwrap();
    let mut child = bench.spawn(&["migrate", "--entities", "workshops", "-q"]);
    // Between its fence and its end: it waits for the table that it is to write.
    let in_flight = "select count(*) from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a using (pid) \
        where a.application_name like 'diffmig%' and not l.granted and l.relation = 'public.workshops'::regclass \
        and a.query like 'with recursive%'";
    until(&bench, in_flight, 1).await;
    let takeover = "set lock_timeout = '300ms'; update diffmig.lease set epoch = epoch + 1";
    let taken = sqlx::raw_sql(takeover).execute(&mut target).await;
    let refused = taken.unwrap_err();
    let code = refused.as_database_error().unwrap().code().unwrap();
    assert_eq!(code, "55P03", "the lease was taken under a batch in flight");
    sqlx::raw_sql("rollback")
        .execute(&mut blocker)
        .await
        .unwrap();
    let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code());
    assert_eq!(code.await.unwrap(), Some(3));
}
