//! Runs that nobody watches: silence, overlap, one line of JSON, retention, the wrapper for cron and the units.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(
    clippy::print_stderr,
    reason = "a check that cannot be made here says so"
)]

use crate::support::Bench;
use crate::support::command::{Said, run};
use diffmig::db::control::retention::forget_old;
use diffmig::domain::connection::Side;
use serde_json::Value;
use sqlx::{Connection, Executor};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const TABLE: &str = "create table people (id bigint primary key, name text not null); \
    insert into people select n, 'person ' || n from generate_series(1, 50) n";
const TARGET: &str =
    "create table people (id bigint primary key, name text not null check (name <> 'refused'))";
const MAPPING: &str = "[entities.people]\nsource = \"people\"\ntarget = \"people\"\n\
    id = { column = \"id\", strategy = \"same\" }\n[entities.people.columns]\nname = {}\n";

async fn bench() -> Bench {
    Bench::with_tables(TABLE, TARGET, MAPPING).await
}

fn silent(said: &Said, code: i32) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_run_says_nothing_unless_something_is_wrong() {
    let bench = bench().await;
    silent(&bench.say(&["-q", "migrate"]).await, 0);
    silent(
        &bench.say(&["-q", "migrate", "--if-locked", "skip"]).await,
        0,
    );
    bench
        .on(
            Side::Source,
            "update people set name = 'refused' where id = 7",
        )
        .await;
    let said = bench.say(&["-q", "migrate"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.stdout.contains("people") && said.stderr.contains("warning: 1 rows"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_json_a_quiet_run_prints_one_line_also_when_it_fails() {
    let bench = bench().await;
    let said = bench.say(&["-q", "--json", "migrate"]).await;
    assert_eq!(
        (said.code, said.stdout.lines().count()),
        (Some(0), 1),
        "{said:?}"
    );
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (&report["version"], &report["applied"]),
        (&Value::from(1), &Value::from(50))
    );
    let failed = bench
        .say(&["-q", "--json", "migrate", "--entities", "nobody"])
        .await;
    assert_eq!(
        (failed.code, failed.stdout.lines().count()),
        (Some(2), 1),
        "{failed:?}"
    );
    let error: Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!(error["error"]["exitCode"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_beside_the_first_skips_in_one_line_or_fails_with_11() {
    let bench = bench().await;
    let mut blocker = bench.target().await;
    blocker
        .execute("begin; lock table people in access exclusive mode")
        .await
        .unwrap();
    let mut first = bench.spawn(&["migrate", "-q"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    let held = "select count(*) from diffmig.lease where session_id is not null";
    while bench
        .in_target(
            "select count(*) from pg_tables where schemaname = 'diffmig' and tablename = 'lease'",
        )
        .await
        == 0
        || bench.in_target(held).await == 0
    {
        assert!(Instant::now() < deadline, "the first run does not begin");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let skipped = bench.say(&["-q", "migrate", "--if-locked", "skip"]).await;
    assert_eq!(
        (skipped.code, skipped.stdout.as_str()),
        (Some(0), ""),
        "{skipped:?}"
    );
    assert!(
        skipped.stderr.starts_with("skipped: session "),
        "{skipped:?}"
    );
    assert_eq!(skipped.stderr.lines().count(), 1, "{skipped:?}");
    let failed = bench.say(&["-q", "migrate"]).await;
    assert_eq!(failed.code, Some(11), "{failed:?}");
    blocker.execute("rollback").await.unwrap();
    let code = tokio::task::spawn_blocking(move || first.wait().unwrap().code());
    assert_eq!(code.await.unwrap(), Some(0));
    assert_eq!(bench.in_target("select count(*) from people").await, 50);
}

async fn age(bench: &Bench, which: &str) {
    let sql = format!(
        "update diffmig.session set created_at = now() - interval '40 days', \
         finished_at = now() - interval '40 days' where {which}"
    );
    bench.on(Side::Target, &sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_retention_is_forgotten_by_the_next_run() {
    let bench = bench().await;
    bench.migrate_with(&[], 0).await;
    bench.migrate_with(&[], 0).await;
    bench
        .on(
            Side::Source,
            "update people set name = 'changed' where id = 7",
        )
        .await;
    bench.migrate_with(&[], 0).await;
    age(&bench, "number = 1").await;
    let old = "select count(*) from diffmig.event e join diffmig.session s using (session_id) where s.number = 1";
    let events = bench.in_target(old).await;
    assert!(events > 2);
    for kept in [&["--keep-days", "0"][..], &[], &["--keep-days", "41"]] {
        bench.migrate_with(kept, 0).await;
        assert_eq!(bench.in_target(old).await, events, "{kept:?}");
    }
    bench.migrate_with(&["--keep-days", "30"], 0).await;
    assert_eq!(
        bench
            .in_target("select count(*) from diffmig.session where number = 1")
            .await,
        0
    );
    assert_eq!(
        bench
            .in_target("select count(*) from diffmig.event where operation = 'retention'")
            .await,
        1
    );
    let orphans = "select count(*) from diffmig.event e where not exists \
        (select from diffmig.session s where s.session_id = e.session_id)";
    assert_eq!(bench.in_target(orphans).await, 0);
}

const OLD_SESSIONS: &str = "with made as (insert into diffmig.session (session_id, command, state, mapping_digest, host, \
    process_id, version, created_at, finished_at) select gen_random_uuid(), 'migrate', 'completed', 'x', 'x', 1, 'x', \
    now() - interval '40 days', now() - interval '40 days' from generate_series(1, 120) returning session_id) \
    insert into diffmig.event (journal, ordinal, level, session_id, operation, message, context) \
    select gen_random_uuid(), 1, 'info', session_id, 'session', 'old', '{}' from made";
/// An adoption after the last session that read the source, as `adopt` writes it: with a batch and without a detection.
const ADOPTION: &str = "with made as (insert into diffmig.session (session_id, command, state, mapping_digest, host, \
    process_id, version, finished_at) values (gen_random_uuid(), 'adopt', 'completed', 'x', 'x', 1, 'x', now()) \
    returning session_id) insert into diffmig.batch (session_id, entity, number, epoch, rows_in, inserted, updated, \
    identical, retired, conflicted, held, quarantined, elapsed_ms) \
    select session_id, 'people', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1 from made";

#[tokio::test(flavor = "multi_thread")]
async fn after_any_number_of_idle_nights_another_source_is_still_noticed() {
    let bench = bench().await;
    bench.migrate_with(&[], 0).await;
    bench.migrate_with(&[], 0).await;
    bench.on(Side::Target, ADOPTION).await;
    bench.on(Side::Target, OLD_SESSIONS).await;
    age(&bench, "true").await;
    bench.migrate_with(&["--keep-days", "1"], 0).await;
    bench.migrate_with(&["--keep-days", "1"], 0).await;
    let left = "select number::text || ' ' || command from diffmig.session order by session.number";
    let left = bench.target_lines(left).await;
    assert_eq!(left[..2], ["1 migrate", "3 adopt"], "{left:?}");
    assert_eq!(left.len(), 4, "the idle ones are not forgotten: {left:?}");

    let owner = bench.workshop.source.superuser().to_owned();
    let at = |database: &str| {
        let source = &bench.workshop.source;
        source.url_with_password(&owner, "workshop", database)
    };
    let mut admin = sqlx::PgConnection::connect(&at("postgres")).await.unwrap();
    let copied = "create database restored template legacy";
    admin.execute(copied).await.unwrap();
    let mut restored = sqlx::PgConnection::connect(&at("restored")).await.unwrap();
    let lacking = "delete from people where id = 50";
    restored.execute(lacking).await.unwrap();
    let mut command = bench.command(&["migrate", "-q"]);
    command.env("DIFFMIG_SOURCE_URL", at("restored"));
    let said = run(command).await;
    assert_eq!(said.code, Some(14), "{said:?}");
    assert!(said.stderr.contains("another database"), "{said:?}");
    assert_eq!(bench.in_target("select count(*) from people").await, 50);
}

/// Whoever holds the row of the heartbeat is not waited for, so nor does the heartbeat wait for what is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_does_not_keep_the_heartbeat_waiting() {
    let bench = bench().await;
    bench.migrate_with(&[], 0).await;
    bench.on(Side::Target, OLD_SESSIONS).await;
    let mut beat = bench.target().await;
    let held = "begin; select 1 from diffmig.lease_beat for update";
    beat.execute(held).await.unwrap();
    let target = bench.context().await.target;
    let mut control = target.open().await.unwrap();
    let forgotten = forget_old(&mut control, 30);
    let forgotten = tokio::time::timeout(Duration::from_secs(20), forgotten).await;
    assert_eq!(forgotten.unwrap().unwrap(), 120);
    let old = "select count(*) from diffmig.event where message = 'old'";
    assert_eq!(bench.in_target(old).await, 0);
}

/// Answers everything with 200 and tells the paths that were asked for.
fn monitor() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/ping", listener.local_addr().unwrap());
    let (send, paths) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).unwrap();
            let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if send.send(path).is_err() {
                return;
            }
        }
    });
    (address, paths)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrapper_for_cron_tells_a_monitor_and_stays_silent() {
    let bench = bench().await;
    let (address, paths) = monitor();
    std::fs::write(
        bench.directory.path().join("monitor"),
        format!("{address}\n"),
    )
    .unwrap();
    let nightly = |arguments: &[&str]| {
        let plain = bench.command(&[]);
        let mut command = Command::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/packaging/cron/diffmig-nightly"
        ));
        command
            .args(arguments)
            .current_dir(bench.directory.path())
            .env_clear();
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap());
        }
        command
            .env("DIFFMIG", env!("CARGO_BIN_EXE_diffmig"))
            .env("DIFFMIG_HEALTHCHECK_URL_FILE", "monitor")
            .env("DIFFMIG_SUMMARY_FILE", "last-run.json");
        command
    };
    let next = || paths.recv_timeout(Duration::from_secs(20)).unwrap();
    silent(&run(nightly(&[])).await, 0);
    assert_eq!(
        (next(), next()),
        ("/ping/start".to_owned(), "/ping".to_owned())
    );
    let summary = std::fs::read_to_string(bench.directory.path().join("last-run.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["accounting"]["applied"], 50);
    bench
        .on(
            Side::Source,
            "update people set name = 'refused' where id = 7",
        )
        .await;
    let said = run(nightly(&["--batch-size", "10"])).await;
    assert_eq!((said.code, said.stdout.as_str()), (Some(3), ""), "{said:?}");
    assert!(
        said.stderr.contains("warning: 1 rows are set aside"),
        "{said:?}"
    );
    assert_eq!(
        (next(), next()),
        ("/ping/start".to_owned(), "/ping/3".to_owned())
    );
}

#[test]
fn the_units_are_understood_by_systemd() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["diffmig.service", "diffmig.timer"] {
        let path = format!("{}/packaging/systemd/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.replace("/usr/bin/diffmig", env!("CARGO_BIN_EXE_diffmig"));
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "./diffmig.service", "./diffmig.timer"])
        .current_dir(directory.path())
        .output();
    let Ok(verified) = verified else {
        eprintln!("systemd-analyze is not here: the units were not checked");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(
        verified.status.success() && !said.contains("diffmig."),
        "{said}"
    );
}
