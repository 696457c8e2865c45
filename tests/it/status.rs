//! `status`: what it knows, what it does not pretend to know, and how a watcher looks and ends.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::followed::Followed;
use crate::support::gate::Gate;
use crate::support::terminal::Terminal;
use diffmig::sandbox::Shutdown;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

async fn run(bench: &Bench, sql: &str) {
    let mut target = bench.target().await;
    target.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
}

async fn code_of(mut child: Child) -> Option<i32> {
    tokio::task::spawn_blocking(move || child.wait().unwrap().code())
        .await
        .unwrap()
}

async fn status(bench: &Bench) -> Option<Value> {
    let said = bench.say(&["status", "--json"]).await;
    (said.code == Some(0)).then(|| serde_json::from_str(&said.stdout).unwrap())
}

/// Asks for the status until it is as wished.
async fn until(bench: &Bench, what: &str, wished: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = status(bench).await;
        if let Some(found) = found.as_ref().filter(|it| wished(it)) {
            return found.clone();
        }
        assert!(Instant::now() < deadline, "{what} was not seen: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A migration that has begun and cannot go beyond the tickets until the returned connection rolls back.
async fn stuck_migration(bench: &Bench) -> (Child, PgConnection) {
    let migrate = bench.spawn(&["migrate", "-q", "--batch-size", "500"]);
    // Before the session, `migrate` looks into every table itself.
    until(bench, "rows", |it| it["rowsDone"].as_i64().unwrap() > 0).await;
    let mut target = bench.target().await;
    target
        .execute("begin; lock table public.tickets in access exclusive mode")
        .await
        .unwrap();
    (migrate, target)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_ends_as_the_session_it_watched() {
    let bench = Bench::day1().await;
    let watched = async |code: u8| {
        let said = bench
            .say(&["status", "--watch", "--interval", "200ms"])
            .await;
        assert_eq!(said.code, Some(i32::from(code)), "{said:?}");
        let told = status(&bench).await.unwrap();
        assert_eq!(told["exitCode"], code, "{told}");
        told
    };
    bench
        .migrate_with(&["--max-duration", "1ms", "--batch-size", "50"], 20)
        .await;
    watched(20).await;
    assert_eq!(bench.say(&["control", "cancel", "-q"]).await.code, Some(0));
    watched(21).await;
    bench.migrate_with(&[], 3).await;
    watched(3).await;
    let mut source = bench.source().await;
    source.execute("delete from shop_remark").await.unwrap();
    let refused = bench.say(&["migrate", "--entities", "remarks"]).await;
    assert_eq!(refused.code, Some(14), "{refused:?}");
    let failed = watched(14).await;
    assert_eq!(failed["state"], "failed");
    // Once only, `status` succeeds whatever became of the session.
    assert_eq!(bench.say(&["status"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn pace_and_end_are_told_as_far_as_they_are_known() {
    let bench = Bench::day1().await;
    run(&bench, "create function public.slow() returns trigger language plpgsql as \
        'begin perform pg_sleep(0.2); return null; end'; \
        create trigger slow after insert on public.clients for each statement execute function public.slow()").await;
    let gate = Gate::new();
    let mut command = bench.command(&["migrate", "-q", "--batch-size", "200"]);
    command.env("DIFFMIG_FAILPOINTS", gate.at("snapshot.exported"));
    let migrate = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    gate.reached().await;
    let young = until(&bench, "the session", |_| true).await;
    assert_eq!(young["rowsDone"], 0, "{young}");
    for unknown in [
        "etaSecs",
        "etaHighSecs",
        "recentRowsPerSec",
        "limitedBy",
        "exitCode",
    ] {
        assert_eq!(young[unknown], Value::Null, "{unknown}: {young}");
    }
    gate.open();
    let busy = until(&bench, "a rate", |it| it["recentRowsPerSec"].is_number()).await;
    assert!(busy["etaSecs"].as_f64().unwrap() >= 0.0, "{busy}");
    assert!(busy["limitedBy"].is_string(), "{busy}");
    assert!(
        busy["process"]["targetConnections"].as_i64().unwrap() > 3,
        "{busy}"
    );
    assert!(busy["process"]["checkpointAgeSecs"].is_number(), "{busy}");
    assert_eq!(code_of(migrate).await, Some(3));
    let over = status(&bench).await.unwrap();
    for gone in ["etaSecs", "recentRowsPerSec", "limitedBy", "process"] {
        assert_eq!(over[gone], Value::Null, "{gone}: {over}");
    }
    let measured = "select count(*) from diffmig.batch where idle_ms is null or source_ms is null or hash_ms is null";
    let unmeasured = crate::support::number(&mut bench.target().await, measured).await;
    let all = crate::support::number(
        &mut bench.target().await,
        "select count(*) from diffmig.batch",
    )
    .await;
    assert!(
        unmeasured * 4 < all,
        "{unmeasured} of {all} batches say nothing of their time"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_for_a_lock_says_so_and_its_heartbeat_tells_of_its_process() {
    let bench = Bench::day1().await;
    let (migrate, mut target) = stuck_migration(&bench).await;
    let stuck = until(&bench, "the lock", |it| it["limitedBy"] == "lock").await;
    assert_eq!(stuck["state"], "running", "{stuck}");
    let beaten = until(&bench, "memory", |it| {
        it["process"]["memoryBytes"].is_number()
    })
    .await;
    assert!(
        beaten["process"]["memoryBytes"].as_i64().unwrap() > 5_000_000,
        "{beaten}"
    );
    let said = bench.say(&["status", "--verbose", "--show-errors"]).await;
    for word in [
        "memory      ",
        " MiB",
        "connections ",
        " to the target",
        "checkpoint  ",
        "limited by  waiting for a lock",
    ] {
        assert!(
            said.stdout.contains(word),
            "{word:?} is not in {}",
            said.stdout
        );
    }
    target.execute("rollback").await.unwrap();
    assert_eq!(code_of(migrate).await, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_rides_out_a_restart_of_the_target() {
    let bench = Bench::day1().await;
    let (migrate, _lock) = stuck_migration(&bench).await;
    let mut watcher = Followed::start(&bench, &["status", "--watch", "--interval", "200ms"]);
    watcher.prints("\n");
    bench
        .workshop
        .target
        .stop(Shutdown::Immediate)
        .await
        .unwrap();
    watcher.says("trying again in");
    bench
        .workshop
        .target
        .restart(Shutdown::Immediate)
        .await
        .unwrap();
    assert_eq!(code_of(migrate).await, Some(3));
    let watched = watcher.end().await;
    assert_eq!(watched.code, Some(3), "{watched:?}");
    assert!(watched.stderr.contains("the target is back"), "{watched:?}");
    let last = watched.stdout.lines().last().unwrap();
    assert!(last.contains("completed_with_rejects"), "{watched:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_a_watcher_draws_in_place_and_gives_the_cursor_back() {
    let bench = Bench::day1().await;
    let (migrate, mut target) = stuck_migration(&bench).await;
    let line = "status --watch --show-errors -v --interval 200ms";
    let wide = Terminal::start(&bench, 80, 24, line);
    let narrow = Terminal::start(&bench, 40, 12, line);
    wide.shows("\x1b[J", 2).await;
    narrow.shows("\x1b[J", 2).await;
    target.execute("rollback").await.unwrap();
    assert_eq!(code_of(migrate).await, Some(3));
    for (drawn, columns, rows) in [(wide.end().await, 80, 24), (narrow.end().await, 40, 12)] {
        assert_eq!(drawn.code, Some(3), "{drawn:?}");
        let frames: Vec<&str> = drawn.text.split("\x1b[J").collect();
        assert!(frames.len() > 2, "it was drawn only once: {drawn:?}");
        assert!(
            frames[0].contains("\x1b[?25l") && !frames[0].contains("\x1b[2J"),
            "{drawn:?}"
        );
        assert!(drawn.text.trim_end().ends_with("\x1b[?25h"), "{drawn:?}");
        for frame in &frames[..frames.len() - 1] {
            assert!(frame.matches('\n').count() < rows, "it scrolls: {frame:?}");
        }
        // Each frame after the first begins where the one before began.
        let heights: Vec<usize> = frames.iter().map(|it| it.matches('\n').count()).collect();
        for (frame, before) in frames[1..frames.len() - 1].iter().zip(&heights) {
            assert!(
                frame.starts_with(&format!("\x1b[{before}F")),
                "{frame:?} after {before}"
            );
        }
        let wide = drawn
            .lines()
            .into_iter()
            .find(|it| it.chars().count() > columns);
        assert_eq!(wide, None, "{columns} columns");
        assert!(
            drawn.lines().iter().any(|it| it.starts_with("entity")),
            "{drawn:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_watcher_with_0_and_gives_the_cursor_back() {
    let bench = Bench::day1().await;
    let (migrate, mut target) = stuck_migration(&bench).await;
    let mut terminal = Terminal::start(&bench, 80, 24, "status --watch --interval 200ms");
    // Drawn anew twice.
    terminal.shows("\x1b[J", 3).await;
    terminal.types("\x03");
    let drawn = terminal.end().await;
    assert_eq!(drawn.code, Some(0), "{drawn:?}");
    assert!(drawn.text.matches("\x1b[J").count() > 2, "{drawn:?}");
    assert!(drawn.text.trim_end().ends_with("\x1b[?25h"), "{drawn:?}");
    target.execute("rollback").await.unwrap();
    assert_eq!(code_of(migrate).await, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_capable_terminal_nothing_moves_the_cursor() {
    let bench = Bench::day1().await;
    bench.migrate_with(&[], 3).await;
    for line in ["--no-color status --watch", "status --watch --no-color"] {
        let drawn = Terminal::start(&bench, 80, 24, line).end().await;
        assert!(!drawn.text.contains('\x1b'), "{drawn:?}");
        assert_eq!(drawn.code, Some(3), "{drawn:?}");
    }
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let line = format!("{name}={value}");
        let drawn = Terminal::start_with(&bench, &line, "logs -n 5").end().await;
        assert!(!drawn.text.contains('\x1b'), "{line}: {drawn:?}");
    }
    let coloured = Terminal::start(&bench, 80, 24, "logs --level warn -n 5")
        .end()
        .await;
    assert!(coloured.text.contains("\x1b[33mwarn"), "{coloured:?}");
    let piped = bench.say(&["logs", "--level", "warn", "-n", "5"]).await;
    assert!(!piped.stdout.contains('\x1b'), "{piped:?}");
}
