//! The execution log: nothing is lost, nothing comes twice, whoever writes and whatever happens to the reader.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::followed::Followed;
use diffmig::db::control::event::{NewEvent, append};
use diffmig::db::control::schema;
use diffmig::db::{Connection, Server};
use diffmig::sandbox::Shutdown;
use diffmig::service::logs::{LogReader, LogRequest};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use uuid::Uuid;

fn event(ordinal: i64, message: &str) -> NewEvent {
    NewEvent {
        ordinal,
        level: "info",
        entity: Some("clients".to_owned()),
        operation: "batch",
        message: message.to_owned(),
        context: json!({}),
    }
}

/// A target with a control schema, and the way to it.
async fn stand() -> (Bench, Server) {
    let bench = Bench::day1().await;
    let target = bench.context().await.target;
    schema::ensure(&mut target.open().await.unwrap())
        .await
        .unwrap();
    (bench, target)
}

async fn run(connection: &mut Connection, sql: &str) {
    connection
        .execute(AssertSqlSafe(sql.to_owned()))
        .await
        .unwrap();
}

fn all() -> LogRequest {
    LogRequest {
        after: Some(0),
        limit: 3,
        ..LogRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_commits_late_is_not_lost_to_a_reader_that_goes_on() {
    let (bench, target) = stand().await;
    let (session_id, journal) = (Uuid::new_v4(), Uuid::new_v4());
    let mut slow = target.open().await.unwrap();
    run(&mut slow, "begin").await;
    append(&mut slow, session_id, journal, &[event(1, "slow")])
        .await
        .unwrap();
    let mut reader = LogReader::open(&target, &all()).await.unwrap();
    let mut quick = target.open().await.unwrap();
    let quick = tokio::spawn(async move {
        let journal = Uuid::new_v4();
        append(&mut quick, session_id, journal, &[event(1, "quick")])
            .await
            .unwrap();
    });
    // Either it has written, or it waits for its turn.
    let mut watcher = bench.target().await;
    let waits =
        "select count(*) from pg_catalog.pg_locks where locktype = 'advisory' and not granted";
    let deadline = Instant::now() + Duration::from_secs(20);
    while !quick.is_finished() && crate::support::number(&mut watcher, waits).await == 0 {
        assert!(
            Instant::now() < deadline,
            "the second writer neither writes nor waits"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut seen: Vec<String> = Vec::new();
    seen.extend(
        reader
            .next()
            .await
            .unwrap()
            .into_iter()
            .map(|it| it.message),
    );
    run(&mut slow, "commit").await;
    quick.await.unwrap();
    seen.extend(
        reader
            .next()
            .await
            .unwrap()
            .into_iter()
            .map(|it| it.message),
    );
    assert_eq!(seen, ["slow", "quick"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_beside_four_writers_gets_every_event_once_and_in_order() {
    const ROUNDS: i64 = 60;
    let (_bench, target) = stand().await;
    let session_id = Uuid::new_v4();
    let mut writers = Vec::new();
    for writer in 0..4_i64 {
        let mut connection = target.open().await.unwrap();
        writers.push(tokio::spawn(async move {
            let journal = Uuid::new_v4();
            for round in 0..ROUNDS {
                let wait = (writer * 7 + round * 3) % 5;
                let text = |nth: i64| format!("{writer}/{}", round * 2 + nth);
                let events = [event(round * 2, &text(0)), event(round * 2 + 1, &text(1))];
                run(&mut connection, "begin").await;
                append(&mut connection, session_id, journal, &events)
                    .await
                    .unwrap();
                run(&mut connection, &format!("select pg_sleep(0.00{wait})")).await;
                run(&mut connection, "commit").await;
            }
        }));
    }
    let mut reader = LogReader::open(&target, &all()).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let over = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let events = reader.next().await.unwrap();
        if over && events.is_empty() {
            break;
        }
        seen.extend(events.into_iter().map(|it| (it.event_id, it.message)));
    }
    assert!(
        seen.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "out of order"
    );
    let messages: BTreeSet<&str> = seen.iter().map(|it| it.1.as_str()).collect();
    assert_eq!(messages.len(), seen.len(), "an event came twice");
    let wanted = usize::try_from(4 * ROUNDS * 2).unwrap();
    assert_eq!(seen.len(), wanted, "events were lost");
}

/// Everything that happens to a reader at once: it begins before there is a session, its connection is cut, the server
/// restarts, and the session ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_is_whole_across_a_restart_and_ends_with_the_session() {
    let bench = Bench::day1().await;
    let mut follower = Followed::start(
        &bench,
        &["logs", "--follow", "--format", "json", "-n", "1000"],
    );
    follower.says("waiting: ");
    let mut migrate = bench.spawn(&["migrate", "--batch-size", "100"]);
    let committed = async |count: i64| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while committed_batches(&bench).await < count {
            assert!(Instant::now() < deadline, "there are no batches");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    committed(5).await;
    let cut =
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'diffmig'";
    run(&mut bench.target().await, cut).await;
    committed(20).await;
    bench
        .workshop
        .target
        .restart(Shutdown::Immediate)
        .await
        .unwrap();
    let code = tokio::task::spawn_blocking(move || migrate.wait().unwrap().code());
    assert_eq!(code.await.unwrap(), Some(3));
    let followed = follower.end().await;
    assert_eq!(followed.code, Some(0), "{followed:?}");
    assert!(
        followed.stderr.contains("trying again in 0.25 s"),
        "{followed:?}"
    );
    let shown: Vec<Value> = (followed.stdout.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: Vec<String> = shown.iter().map(|it| it["eventId"].to_string()).collect();
    let stored = "select event_id::text from diffmig.event order by event.event_id";
    assert_eq!(ids, bench.target_lines(stored).await);
    assert_eq!(
        shown.last().unwrap()["context"]["state"],
        "completed_with_rejects"
    );
    let twice = "select entity || ' ' || substring(message from '^batch [0-9]+:') from diffmig.event \
        where operation = 'batch' group by 1 having count(*) > 1";
    assert_eq!(bench.target_lines(twice).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_does_not_wait_for_what_only_somebody_can_mend() {
    let (bench, _) = stand().await;
    let follow = async |word: &str| {
        let followed = Followed::start(&bench, &["logs", "--follow"]).end().await;
        assert_eq!(followed.code, Some(17), "{followed:?}");
        assert!(followed.stderr.contains(word), "{followed:?}");
    };
    for (harm, word) in [
        (
            "update diffmig.installation set schema_version = 999",
            "newer than this binary",
        ),
        ("delete from diffmig.installation", "is damaged"),
        ("drop table diffmig.installation", "not a control schema"),
    ] {
        run(&mut bench.target().await, harm).await;
        follow(word).await;
    }
}

/// The session that is over is not meant; that it goes on under its number is what was waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_waits_for_the_next_session_takes_one_that_is_resumed() {
    let bench = Bench::day1().await;
    bench
        .migrate_with(&["--max-duration", "1ms", "--batch-size", "50"], 20)
        .await;
    let mut follower = Followed::start(&bench, &["logs", "--follow", "--wait", "-n", "1"]);
    follower.says("waiting: session 1 is over");
    bench.migrate_with(&["--resume"], 3).await;
    let followed = follower.end().await;
    assert_eq!(followed.code, Some(0), "{followed:?}");
    assert!(
        followed.stdout.contains("completed_with_rejects"),
        "{followed:?}"
    );
    let numbers = "select count(*)::text from diffmig.session";
    assert_eq!(bench.target_lines(numbers).await, ["1"]);
}

/// Counts batches; none where the server or the table is not there.
async fn committed_batches(bench: &Bench) -> i64 {
    let url = bench.workshop.target_url();
    let Ok(mut target) = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await else {
        return 0;
    };
    sqlx::query_scalar("select count(*) from diffmig.batch")
        .fetch_one(&mut target)
        .await
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_narrowed_by_time_and_by_what_it_says_and_exported_so() {
    let bench = Bench::day1().await;
    bench.migrate_with(&[], 3).await;
    run(
        &mut bench.target().await,
        "update diffmig.event set at = at - interval '3 hours' where event_id <= 2",
    )
    .await;
    let shown = async |arguments: &[&str]| {
        let mut all = vec!["logs", "--format", "json"];
        all.extend(arguments);
        let said = bench.say(&all).await;
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
        let lines = said.stdout.lines();
        lines
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .collect::<Vec<Value>>()
    };
    let all = shown(&["-n", "100000"]).await;
    assert_eq!(shown(&["--until", "2h"]).await.len(), 2);
    assert_eq!(shown(&["--since", "2h"]).await.len(), all.len() - 2);
    assert_eq!(shown(&["--since", "4h", "--until", "2h"]).await.len(), 2);
    assert_eq!(
        shown(&["--since", "2h", "-n", "3"]).await,
        all[all.len() - 3..]
    );
    assert_eq!(shown(&["--since", "2200-01-01"]).await.len(), 0);
    let found = shown(&["--grep", "set aside|^clients"]).await;
    let wanted = |it: &&Value| {
        it["message"].as_str().unwrap().contains("set aside") || it["entity"] == "clients"
    };
    assert_eq!(found.len(), all.iter().filter(wanted).count());
    assert!(!found.is_empty() && found.len() < all.len());
    assert_eq!(shown(&["--grep", "SET ASIDE"]).await.len(), 0);
    assert!(!shown(&["--grep", "(?i)SET ASIDE"]).await.is_empty());

    let exported = bench
        .say(&[
            "logs",
            "--since",
            "2h",
            "--grep",
            "set aside",
            "--export",
            "aside.csv",
        ])
        .await;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let file = std::fs::read_to_string(bench.directory.path().join("aside.csv")).unwrap();
    let aside = shown(&["--since", "2h", "--grep", "set aside"]).await.len();
    assert_eq!(file.lines().count(), aside + 1, "with its header");

    for (arguments, word) in [
        (["--grep", "(unclosed"], "regular expression"),
        (["--since", "yesterday"], "how long ago"),
        (["--since", "5"], "how long ago"),
    ] {
        let mut all = vec!["logs"];
        all.extend(arguments);
        let said = bench.say(&all).await;
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(word), "{said:?}");
    }
}
