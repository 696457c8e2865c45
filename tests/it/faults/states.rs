//! The states of a session under concurrent actors on a real server: every history is a path of the model.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use super::scene::{
    Barrier, Dice, Running, check_block, check_whole_after_another_run, execute, rounds,
    target_server, tell,
};
use crate::support::{Bench, number};
use diffmig::db::control::{lease, schema, session, state};
use diffmig::db::server::{Connection, Server};
use diffmig::domain::session::{Action, SessionState, Signal};
use diffmig::error::Kind;
use sqlx::Row;
use std::time::Duration;
use uuid::Uuid;

/// Every change of a state, with who made it and under which lease; kept by the server itself.
const HISTORY: &str = "create table public.history (position bigint generated always as identity, \
      session_id uuid, before text, after text, epoch bigint, application text); \
    create function public.keep_history() returns trigger language plpgsql as $$ begin \
      if tg_op = 'INSERT' or old.state is distinct from new.state then \
      insert into public.history (session_id, before, after, epoch, application) values (new.session_id, \
        case when tg_op = 'UPDATE' then old.state end, new.state, (select epoch from diffmig.lease), \
        current_setting('application_name')); end if; return null; end $$; \
    create trigger keep_history after insert or update on diffmig.session \
      for each row execute function public.keep_history()";

const NEW: state::NewSession<'static> = state::NewSession {
    command: "migrate",
    mapping_digest: "digest",
    host: "here",
    process_id: 1,
    request_key: None,
    takes_up: None,
    options: serde_json::Value::Null,
};

/// What a holder may do after it has begun; the last of them ends its work.
const DEEDS: [Action; 5] = [
    Action::Pause,
    Action::Cancel,
    Action::Complete,
    Action::CompleteWithRejects,
    Action::Fail,
];

/// Begins and ends sessions as `migrate` does; what it cannot do, another one did before.
async fn work(server: Server, mut dice: Dice, times: u64) {
    let mut connection = server.open().await.unwrap();
    for _ in 0..times {
        let Ok(taken) = lease::acquire(&mut connection, Uuid::new_v4(), "here", 1).await else {
            tokio::time::sleep(Duration::from_millis(dice.below(4))).await;
            continue;
        };
        let Ok(mut own) = server.of_epoch(taken.epoch).open().await else {
            continue;
        };
        let Ok(started) = state::begin(&mut own, taken.epoch, &NEW).await else {
            continue;
        };
        tokio::time::sleep(Duration::from_millis(dice.below(50))).await;
        let deed = DEEDS[usize::try_from(dice.below(5)).unwrap()];
        let done = state::act(&mut own, started.session_id, taken.epoch, deed, None).await;
        if let Err(error) = &done {
            // Fenced, or its connection was ended by whoever took over.
            assert!(
                matches!(error.kind(), Kind::Fenced | Kind::Connect),
                "{error}"
            );
            continue;
        }
        if dice.below(4) > 0 {
            let _ = lease::release(&mut own, taken.epoch).await;
        }
    }
}

/// Pauses, cancels and resumes whatever is there.
async fn operate(server: Server, mut dice: Dice, times: u64) {
    let mut connection = server.open().await.unwrap();
    for _ in 0..times {
        tokio::time::sleep(Duration::from_millis(dice.below(8))).await;
        let Some(latest) = session::find(&mut connection, None).await.unwrap() else {
            continue;
        };
        let signal =
            [Signal::Pause, Signal::Cancel, Signal::Run][usize::try_from(dice.below(3)).unwrap()];
        state::ask(&mut connection, latest.session_id, signal)
            .await
            .unwrap();
    }
}

/// Lets leases run out and cleans up after them.
async fn disturb(server: Server, mut dice: Dice, times: u64) {
    let mut connection = server.open().await.unwrap();
    for _ in 0..times {
        tokio::time::sleep(Duration::from_millis(dice.below(120))).await;
        if let Some(holder) = lease::holder(&mut connection).await.unwrap() {
            let expired = lease::expire(&mut connection, holder.session_id, holder.process_id);
            expired.await.unwrap();
        }
        if dice.below(2) == 0 {
            state::clean_up(&mut connection, 90).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_whatever_actors_do_at_the_same_time_the_history_is_a_path_of_the_model() {
    let bench = Bench::empty().await;
    let server = target_server(&bench);
    let mut connection: Connection = server.open().await.unwrap();
    schema::ensure(&mut connection).await.unwrap();
    let mut target = bench.target().await;
    execute(&mut target, HISTORY).await;
    let mut dice = Dice::thrown();
    // On a busy machine less happens in a round; so many are played that something has happened.
    for round in 1.. {
        let mut actors = tokio::task::JoinSet::new();
        for _ in 0..2 {
            actors.spawn(work(server.clone(), dice.fork(), 6));
            actors.spawn(operate(server.clone(), dice.fork(), 30));
        }
        actors.spawn(disturb(server.clone(), dice.fork(), 5));
        actors.join_all().await;
        let changes = number(&mut target, "select count(*) from public.history").await;
        let kinds = "select count(distinct (before, after)) from public.history";
        if round >= rounds(8) && changes > 80 && number(&mut target, kinds).await > 11 {
            break;
        }
        assert!(round < 100, "too little happens: {changes} changes");
    }
    check_history(&mut target).await;
}

async fn check_history(target: &mut Connection) {
    let rows = sqlx::query("select session_id, before, after, epoch, application from public.history order by position")
        .fetch_all(&mut *target)
        .await
        .unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let mut last = std::collections::BTreeMap::new();
    for row in &rows {
        let (before, after): (Option<String>, String) = (row.get(1), row.get(2));
        let known = last.insert(row.get::<Uuid, _>(0), after.clone());
        assert_eq!(known, before, "the history has a gap");
        let after = SessionState::from_word(&after).unwrap();
        match &before {
            None => assert_eq!(after, SessionState::FIRST),
            Some(before) => {
                let before = SessionState::from_word(before).unwrap();
                assert!(before.may_become(after), "{before} became {after}");
            }
        }
        let (epoch, application): (i64, String) = (row.get(3), row.get(4));
        if let Some(own) = application.strip_prefix("diffmig ") {
            assert_eq!(
                own,
                epoch.to_string(),
                "a process that had lost its lease set {after}"
            );
        }
        seen.insert((before, after.word()));
    }
    tell(&format!("{} changes of {} kinds", rows.len(), seen.len()));
    let live = "select count(*) from diffmig.session where finished_at is null";
    assert!(number(target, live).await <= 1);
}

/// Asks for something and returns the exit code, the state since then, and the words.
async fn ask(bench: &Bench, deed: &str) -> (Option<i32>, String, String) {
    let said = bench.say(&["control", deed, "--json"]).await;
    let value: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    let now = value["stateNow"].as_str().unwrap_or_default().to_owned();
    (said.code, now, said.stderr)
}

async fn granted(bench: &Bench, deed: &str, state: &str) {
    let (code, now, words) = ask(bench, deed).await;
    assert_eq!((code, now.as_str()), (Some(0), state), "{deed}: {words}");
    let status = bench.say(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["state"], state, "{deed}");
}

async fn refused(bench: &Bench, deed: &str, word: &str) {
    let (code, _, words) = ask(bench, deed).await;
    assert_eq!(code, Some(17), "{deed}: {words}");
    assert!(
        words.contains(word) && words.contains("nothing was changed"),
        "{deed}: {words}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_operators_get_the_answers_that_the_table_promises() {
    let bench = Bench::day1().await;
    let barrier = Barrier::before(&bench, "clients").await;
    let child = Running::start(&bench, &["migrate", "--batch-size", "300"]);
    barrier.until_met(&bench).await;
    granted(&bench, "resume", "running").await;
    granted(&bench, "pause", "pausing").await;
    granted(&bench, "pause", "pausing").await;
    granted(&bench, "resume", "running").await;
    granted(&bench, "cancel", "cancelling").await;
    granted(&bench, "cancel", "cancelling").await;
    refused(&bench, "pause", "control resume").await;
    granted(&bench, "resume", "running").await;
    granted(&bench, "pause", "pausing").await;
    barrier.lift().await;
    let said = child.end().await;
    check_block(&said, 20, &["paused at a batch boundary"]);
    granted(&bench, "pause", "paused").await;
    refused(&bench, "resume", "migrate --resume").await;
    granted(&bench, "cancel", "cancelled").await;
    granted(&bench, "cancel", "cancelled").await;
    granted(&bench, "pause", "cancelled").await;
    refused(&bench, "resume", "a new session").await;
    check_whole_after_another_run(&bench).await;
    let sessions = "select count(*) from diffmig.session where state = 'cancelled'";
    assert_eq!(number(&mut bench.target().await, sessions).await, 1);
    granted(&bench, "pause", "completed_with_rejects").await;
    refused(&bench, "cancel", "it is over").await;
    refused(&bench, "resume", "it is complete").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_a_session_whose_process_is_gone_can_be_ended_and_a_cancel_outlives_its_process() {
    let bench = Bench::day1().await;
    let mut target = bench.target().await;
    let run_into_a_lock_and_die = async |deed: Option<&str>| {
        let barrier = Barrier::before(&bench, "clients").await;
        let child = Running::start(&bench, &["migrate", "--batch-size", "300"]);
        barrier.until_met(&bench).await;
        if let Some(deed) = deed {
            assert_eq!(ask(&bench, deed).await.0, Some(0));
        }
        child.kill();
        barrier.lift().await;
    };
    run_into_a_lock_and_die(None).await;
    // Until the lease has run out nobody can know that the process is gone.
    let expire = "update diffmig.lease_beat set expires_at = now() - interval '1 second'";
    execute(&mut target, expire).await;
    refused(&bench, "pause", "interrupted").await;
    refused(&bench, "resume", "interrupted").await;
    granted(&bench, "cancel", "cancelled").await;

    run_into_a_lock_and_die(Some("cancel")).await;
    check_whole_after_another_run(&bench).await;
    let states = "select count(*) from diffmig.session where number <= 2 and state = 'cancelled'";
    assert_eq!(
        number(&mut target, states).await,
        2,
        "a cancel was forgotten"
    );
}
