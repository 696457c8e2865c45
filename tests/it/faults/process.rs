//! Faults of our own process: killed, stopped, asked to end, started twenty times.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use super::scene::{
    Barrier, COMMITTED, Dice, OF_HOLDERS, Running, check_block, check_whole,
    check_whole_after_another_run, execute, lease_elsewhere, rounds, target_admin, tell, until,
};
use crate::support::command::run;
use crate::support::{Bench, number};
use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

const SMALL: &[&str] = &["migrate", "--batch-size", "300"];

/// Makes the lease look as if its holder had been silent for a while.
const SILENT: &str = "update diffmig.lease_beat set renewed_at = now() - interval '95 seconds', \
    expires_at = now() - interval '65 seconds'";

#[tokio::test(flavor = "multi_thread")]
async fn a1_killed_at_random_moments_the_same_command_ends_as_if_never_killed() {
    let bench = Bench::day1().await;
    let mut dice = Dice::thrown();
    for round in 0..rounds(5) {
        let child = Running::start(&bench, SMALL);
        let moment = Duration::from_millis(dice.below(3_000));
        tokio::time::sleep(moment).await;
        tell(&format!("round {round}: killed after {moment:?}"));
        child.kill();
    }
    check_whole_after_another_run(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a4_sigterm_pauses_at_a_batch_boundary_and_says_how_to_go_on() {
    let bench = Bench::day1().await;
    let child = Running::start(&bench, SMALL);
    let mut target = bench.target().await;
    until(&mut target, COMMITTED, 3).await;
    child.signal(Signal::TERM);
    let said = child.end().await;
    check_block(
        &said,
        20,
        &["paused at a batch boundary", "diffmig migrate --resume"],
    );
    let paused =
        "select count(*) from diffmig.session where state = 'paused' and finished_at is null";
    assert_eq!(number(&mut target, paused).await, 1);
    let left = format!("select 1 - least(1, count(*)) from pg_stat_activity where {OF_HOLDERS}");
    until(&mut target, &left, 1).await;
    check_whole_after_another_run(&bench).await;
    let sessions = "select count(*) from diffmig.session";
    assert_eq!(
        number(&mut target, sessions).await,
        2,
        "the paused session was not taken up again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_second_sigint_rolls_the_open_batch_back_at_once() {
    let bench = Bench::day1().await;
    let barrier = Barrier::before(&bench, "clients").await;
    let mut command = bench.command(SMALL);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    barrier.until_met(&bench).await;
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let mut words = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = tokio::task::spawn_blocking(move || {
        let told = words.find(|line| line.as_ref().unwrap().contains("press again"));
        (told.is_some(), words)
    });
    let (told, words) = told.await.unwrap();
    assert!(told, "nobody was told that a second signal ends it");
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        let rest: Vec<String> = words.map(Result::unwrap).collect();
        (child.wait().unwrap().code(), rest.join("\n"))
    });
    let (code, rest) = ended.await.unwrap();
    assert_eq!(code, Some(130), "{rest}");
    assert!(
        rest.contains("rolled back") && rest.contains("--resume"),
        "{rest}"
    );
    let open = "select count(*) from public.clients where legacy_client_id is not null";
    assert_eq!(
        number(&mut bench.target().await, open).await,
        0,
        "the open batch was not rolled back"
    );
    barrier.lift().await;
    check_whole_after_another_run(&bench).await;
}

/// Stops a process while one of its batches is open in the target.
async fn stop_within_a_batch(bench: &Bench, child: &Running) {
    let mut admin = target_admin(bench).await;
    let open = "select count(*) from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a using (pid) \
        where l.relation = 'diffmig.lease'::regclass and l.mode = 'RowShareLock' and a.state = 'idle in transaction'";
    let began = Instant::now();
    until(&mut admin, COMMITTED, 3).await;
    loop {
        child.signal(Signal::STOP);
        // What the server was doing for it comes to rest; what is open then stays open. A copy that waits for the
        // stopped process is at rest too, and so is what waits for its locks.
        let busy = "select 1 - least(1, count(*)) from pg_stat_activity where application_name like 'diffmig %' \
            and state = 'active' and coalesce(wait_event_type, '') not in ('Client', 'Lock')";
        until(&mut admin, busy, 1).await;
        if number(&mut admin, open).await > 0 {
            return;
        }
        child.signal(Signal::CONT);
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "no moment with an open batch was found"
        );
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_a_stalled_process_with_an_open_batch_is_fenced_and_not_waited_for() {
    let bench = Bench::day1().await;
    let stalled = Running::start(&bench, SMALL);
    let mut admin = target_admin(&bench).await;
    stop_within_a_batch(&bench, &stalled).await;
    execute(&mut admin, SILENT).await;
    let second = Running::start(&bench, SMALL);
    let (stalled_id, second_id) = (stalled.id(), second.id());
    let said = second.end().await;
    assert_eq!(said.code, Some(3), "{said:?}");
    let words = format!("process {stalled_id} (silent ");
    assert!(
        said.stderr.contains("took over from") && said.stderr.contains(&words),
        "{said:?}"
    );
    let batches = number(&mut admin, COMMITTED).await;
    stalled.signal(Signal::CONT);
    let fenced = stalled.end().await;
    let by = format!("process {second_id}");
    check_block(
        &fenced,
        16,
        &["was taken by", "nothing of the open batch was written"],
    );
    // The second process has given the lease back by now, so its name may be gone from it.
    assert!(
        fenced.stderr.contains(&by) || fenced.stderr.contains("another process"),
        "{fenced:?}"
    );
    assert_eq!(
        number(&mut admin, COMMITTED).await,
        batches,
        "the fenced process wrote"
    );
    let state = "select count(*) from diffmig.session where state = 'completed_with_rejects'";
    assert_eq!(
        number(&mut admin, state).await,
        1,
        "the fenced process changed the session"
    );
    let steps = "select count(*) from diffmig.step where state <> 'completed'";
    assert_eq!(
        number(&mut admin, steps).await,
        0,
        "the fenced process changed a step"
    );
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_a_reader_that_goes_away_ends_the_command_quietly() {
    let bench = Bench::day1().await;
    bench.say(&["migrate", "-q"]).await;
    let mut command = bench.command(&["logs", "-n", "5000"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(!first.is_empty());
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let ended = ended.await.unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(
        ended.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a13_of_twenty_processes_at_once_one_runs_and_nineteen_name_it() {
    let bench = Bench::day1().await;
    execute(
        &mut target_admin(&bench).await,
        "alter system set max_connections = 200",
    )
    .await;
    bench
        .workshop
        .target
        .restart(diffmig::sandbox::Shutdown::Fast)
        .await
        .unwrap();
    bench
        .say(&["migrate", "--entities", "workshops", "-q"])
        .await;
    // Whoever is first stays at work until the others have had their answer.
    let barrier = Barrier::before(&bench, "profiles").await;
    let mut all: Vec<Running> = (0..20)
        .map(|_| Running::start(&bench, &["migrate", "-q"]))
        .collect();
    let began = Instant::now();
    while all
        .iter_mut()
        .filter_map(|it| it.is_over().then_some(()))
        .count()
        < 19
    {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "more than one is at work"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let at_work = all
        .iter_mut()
        .position(|it| !it.is_over())
        .expect("nobody is at work");
    let at_work = all.remove(at_work);
    let name = format!("process {} (heartbeat ", at_work.id());
    for refused in all {
        let said = refused.end().await;
        check_block(&said, 11, &[&name, "nothing was started", "--wait-lock"]);
    }
    barrier.lift().await;
    assert_eq!(at_work.end().await.code, Some(3));
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_cron_may_skip_and_people_may_wait_for_another_session() {
    let bench = Bench::day1().await;
    bench
        .say(&["migrate", "--entities", "workshops", "-q"])
        .await;
    let mut target = bench.target().await;
    lease_elsewhere(&mut target).await;
    let before = number(&mut target, COMMITTED).await;
    let skipped = bench.say(&["migrate", "-q", "--if-locked", "skip"]).await;
    assert_eq!(skipped.code, Some(0), "{skipped:?}");
    assert!(
        skipped.stdout.is_empty() && skipped.stderr.lines().count() == 1,
        "{skipped:?}"
    );
    assert!(
        skipped.stderr.starts_with("skipped: ")
            && skipped.stderr.contains("elsewhere process 4711"),
        "{skipped:?}"
    );
    let refused = bench.say(&["migrate", "--wait-lock", "1500ms"]).await;
    check_block(
        &refused,
        11,
        &["elsewhere process 4711", "nothing was started"],
    );
    assert_eq!(number(&mut target, COMMITTED).await, before);
    let impatient = Running::start(&bench, &["migrate", "--wait-lock", "10m"]);
    // Between two looks a waiting process holds no lock, not even that on the heartbeat.
    let looks = "select count(*) from pg_stat_activity where application_name = 'diffmig' and state = 'idle' \
        and query ilike 'rollback%' and clock_timestamp() - state_change > interval '100 ms'";
    until(&mut target, looks, 1).await;
    impatient.signal(Signal::TERM);
    let said = impatient.end().await;
    check_block(
        &said,
        143,
        &["while waiting for another session", "nothing was started"],
    );
    let waiting = Running::start(&bench, &["migrate", "--wait-lock", "2m"]);
    until(&mut target, looks, 1).await;
    execute(&mut target, "update diffmig.lease set session_id = null").await;
    let said = waiting.end().await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        !said.stderr.contains("took over"),
        "a lease that was given back was not taken over: {said:?}"
    );
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_an_older_binary_refuses_a_newer_control_schema() {
    let bench = Bench::day1().await;
    bench
        .say(&["migrate", "--entities", "workshops", "-q"])
        .await;
    let mut target = bench.target().await;
    execute(
        &mut target,
        "update diffmig.installation set schema_version = schema_version + 1",
    )
    .await;
    let before = number(&mut target, COMMITTED).await;
    for command in [
        &["migrate"][..],
        &["detect"],
        &["status"],
        &["control", "pause"],
    ] {
        let said = bench.say(command).await;
        check_block(
            &said,
            17,
            &["is newer than this binary", "use the newer diffmig"],
        );
    }
    assert_eq!(number(&mut target, COMMITTED).await, before);
    execute(
        &mut target,
        "update diffmig.installation set schema_version = schema_version - 1",
    )
    .await;
    check_whole_after_another_run(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_a_newer_binary_goes_on_with_an_older_control_schema() {
    let bench = Bench::day1().await;
    bench.migrate(3).await;
    let mut target = bench.target().await;
    // As an older version left it.
    execute(
        &mut target,
        "update diffmig.installation set schema_version = 7;
         alter table diffmig.change add foreign key (detection_id) references diffmig.detection on delete cascade;
         alter table diffmig.session drop column options;
         drop index diffmig.ledger_clients_outcome;
         create index ledger_clients_special on diffmig.ledger_clients (k0)
           where outcome <> 'applied' or deleted_at is not null or pending",
    )
    .await;
    check_whole_after_another_run(&bench).await;
    let version = "select schema_version::bigint from diffmig.installation";
    assert_eq!(number(&mut target, version).await, 9);
    let keys = "select count(*) from pg_constraint where conrelid = 'diffmig.change'::regclass and contype = 'f'";
    assert_eq!(number(&mut target, keys).await, 0);
    let kept = "select count(*) from diffmig.session where options is not null";
    assert!(number(&mut target, kept).await > 0);
    let index = "select count(*) from pg_class where relname = 'ledger_clients_outcome'";
    assert_eq!(number(&mut target, index).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a16_a_mapping_that_changed_during_a_pause_is_planned_anew_and_said_so() {
    let bench = Bench::day1().await;
    let child = Running::start(&bench, SMALL);
    let mut target = bench.target().await;
    until(
        &mut target,
        "select count(*) from pg_class where relname = 'ledger_workshops'",
        1,
    )
    .await;
    until(&mut target, COMMITTED, 3).await;
    child.signal(Signal::INT);
    assert_eq!(child.end().await.code, Some(20));
    let unchanged = Running::start(&bench, SMALL);
    let batches = number(&mut target, COMMITTED).await;
    until(&mut target, COMMITTED, batches + 2).await;
    unchanged.signal(Signal::INT);
    let said = unchanged.end().await;
    assert_eq!(said.code, Some(20), "{said:?}");
    assert!(!said.stderr.contains("mapping has changed"), "{said:?}");

    let mapping = std::fs::read_to_string(bench.mapping_path()).unwrap();
    std::fs::write(bench.mapping_path(), mapping + "\n# another day\n").unwrap();
    let said = bench.say(&["migrate", "--resume"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.stderr
            .contains("the mapping has changed since the session was begun"),
        "{said:?}"
    );
    let sessions = "select count(*) from diffmig.session";
    assert_eq!(number(&mut target, sessions).await, 1);
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_pauses_when_its_time_is_over_and_goes_on_later() {
    let bench = Bench::day1().await;
    let mut target = bench.target().await;
    let said = bench
        .say(&["migrate", "--max-duration", "1ms", "--batch-size", "300"])
        .await;
    check_block(
        &said,
        20,
        &[
            "paused",
            "--max-duration is over",
            "diffmig migrate --resume",
        ],
    );
    let paused = "select count(*) from diffmig.session where state = 'paused'";
    assert_eq!(number(&mut target, paused).await, 1);
    let said = bench.say(&["migrate", "--max-duration", "1h"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert_eq!(
        number(&mut target, "select count(*) from diffmig.session").await,
        1
    );
    let wrong = run(bench.command(&["migrate", "--max-duration", "soon"])).await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    check_whole(&bench).await;
}
