//! Sessions are the same for both doors: what one starts the other sees and controls, and either may die.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::gate::Gate;
use crate::support::http::Served;
use crate::support::{Bench, number};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Holds the first batch open, so that there is time to do something beside it.
const SLOW: (&str, &str) = ("DIFFMIG_FAILPOINTS", "batch.before_commit=sleep:3000");
/// Holds the process besides after its session shows as over or paused.
const SLOW_TO_LEAVE: (&str, &str) = (
    "DIFFMIG_FAILPOINTS",
    "batch.before_commit=sleep:3000;session.after_complete=sleep:2000",
);
const DONE: [&str; 2] = ["completed", "completed_with_rejects"];

fn small() -> Value {
    json!({"entities": ["profiles"], "batchSize": 100, "maxConcurrent": 1})
}

async fn shown(bench: &Bench) -> Value {
    let said = bench.say(&["status", "--json"]).await;
    serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"))
}

fn control(served: &Served, deed: &str, session_id: &str) -> (u16, Value) {
    let answer = served.post(&format!("/api/migration/{deed}/{session_id}"), &Value::Null);
    (answer.status, answer.json())
}

/// A process that has ended its session still has to give the lease back.
async fn wait_until_free(bench: &Bench) {
    let held = "select count(*) from diffmig.lease where session_id is not null";
    let mut target = bench.target().await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while number(&mut target, held).await > 0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn terminate(served: &mut Served) -> Option<i32> {
    let pid = Pid::from_raw(i32::try_from(served.child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    served.child.wait().unwrap().code()
}

#[tokio::test]
async fn a_session_of_the_api_obeys_the_command_line() {
    let bench = Bench::day1().await;
    let served = bench.serve_with(&[], &[SLOW_TO_LEAVE]);
    let session_id = served.execute(&small());
    let status = shown(&bench).await;
    assert_eq!(
        (&status["sessionId"], &status["state"]),
        (&json!(session_id), &json!("running"))
    );
    assert_eq!(status["processId"], json!(served.child.id()));
    let again = served.post("/api/migration/execute", &small());
    assert_eq!(
        (again.status, again.code().as_str()),
        (409, "session_running")
    );
    assert_eq!(
        again.json()["error"]["details"]["sessionId"],
        json!(session_id)
    );
    let beside = bench.say(&["migrate", "--entities", "profiles"]).await;
    assert_eq!(beside.code, Some(11), "{beside:?}");
    let said = bench.say(&["control", "pause"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let paused = served.wait_for(&session_id, &["paused"]);
    assert!(paused["rowsDone"].as_i64().unwrap() < 650, "{paused}");
    // A paused session goes on in this process, with options of its own.
    let resumed = served.post(
        &format!("/api/migration/resume/{session_id}"),
        &json!({"entities": ["profiles"]}),
    );
    assert_eq!(resumed.status, 202, "{resumed:?}");
    assert_eq!(
        resumed.json(),
        json!({"sessionId": session_id, "resumed": true})
    );
    served.wait_for(&session_id, &DONE);
    for (deed, status, code) in [
        ("resume", 409, "wrong_state"),
        ("cancel", 409, "wrong_state"),
    ] {
        let (found, answer) = control(&served, deed, &session_id);
        assert_eq!(
            (found, answer["error"]["code"].as_str()),
            (status, Some(code)),
            "{deed}: {answer}"
        );
    }
    let (status, answer) = control(&served, "pause", &session_id);
    assert_eq!(
        (status, &answer["delivered"]),
        (200, &json!(false)),
        "{answer}"
    );
}

#[tokio::test]
async fn a_session_goes_on_as_it_was_begun_unless_somebody_says_otherwise() {
    let bench = Bench::day1().await;
    let served = bench.serve_with(&[], &[SLOW]);
    let session_id = served.execute(&small());
    assert_eq!(control(&served, "pause", &session_id).0, 200);
    served.wait_for(&session_id, &["paused"]);
    let (status, answer) = control(&served, "resume", &session_id);
    assert_eq!(status, 202, "{answer}");
    served.wait_for(&session_id, &DONE);
    let mut target = bench.target().await;
    let others = "select count(*) from diffmig.step where entity <> 'profiles'";
    assert_eq!(number(&mut target, others).await, 0);
    let sizes = "select count(*) from diffmig.batch where rows_in > 100";
    assert_eq!(number(&mut target, sizes).await, 0);
    wait_until_free(&bench).await;
    // Sessions of the command line are no others.
    let said = bench
        .say(&[
            "migrate",
            "--exclude",
            "blobs",
            "--max-quarantine",
            "5%",
            "--keep-days",
            "7",
        ])
        .await;
    assert!(matches!(said.code, Some(0 | 3)), "{said:?}");
    let asked = "select count(*) from diffmig.session where options @> \
                 '{\"exclude\": [\"blobs\"], \"maxQuarantinedPercent\": 5, \"keepDays\": 7}'";
    assert_eq!(number(&mut target, asked).await, 1);
}

#[tokio::test]
async fn who_sees_a_session_completed_may_start_the_next_one() {
    let bench = Bench::day1().await;
    let served = bench.serve_with(&[], &[SLOW_TO_LEAVE]);
    let first = served.execute(&json!({"entities": ["workshops"]}));
    served.wait_for(&first, &DONE);
    let second = served.execute(&json!({"entities": ["workshops"]}));
    assert_ne!(first, second);
    served.wait_for(&second, &DONE);
}

#[tokio::test]
async fn resume_begins_nothing_else_when_its_session_is_cancelled_meanwhile() {
    let bench = Bench::day1().await;
    let before = bench.serve_with(&[], &[SLOW]);
    let session_id = before.execute(&small());
    assert_eq!(control(&before, "pause", &session_id).0, 200);
    before.wait_for(&session_id, &["paused"]);
    drop(before);
    let gate = Gate::new();
    let armed = gate.at("lease.acquired");
    let served = bench.serve_with(&[], &[("DIFFMIG_FAILPOINTS", &armed)]);
    let id = session_id.clone();
    let resuming = tokio::task::spawn_blocking(move || {
        let answer = control(&served, "resume", &id);
        (served, answer)
    });
    gate.reached().await;
    let said = bench.say(&["control", "cancel"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    gate.open();
    let (served, (status, answer)) = resuming.await.unwrap();
    let error = &answer["error"];
    assert_eq!(
        (
            status,
            &error["code"],
            &error["details"]["state"],
            &error["details"]["sessionId"]
        ),
        (
            409,
            &json!("wrong_state"),
            &json!("cancelled"),
            &json!(session_id)
        ),
        "{answer}"
    );
    let mut target = bench.target().await;
    let sessions = number(&mut target, "select count(*) from diffmig.session").await;
    assert_eq!(sessions, 1);
    // The lease is free again.
    let next = served.execute(&small());
    assert_ne!(next, session_id);
}

#[tokio::test]
async fn two_servers_with_one_key_begin_one_session() {
    let bench = Bench::day1().await;
    let gate = Gate::new();
    let armed = gate.at("lease.acquired");
    let served = bench.serve();
    let first = served.post_with(
        "/api/migration/execute",
        &[("idempotency-key", "first")],
        &small(),
    );
    let first = first.json()["sessionId"].as_str().unwrap().to_owned();
    served.wait_for(&first, &DONE);
    wait_until_free(&bench).await;
    let other = bench.serve_with(&[], &[("DIFFMIG_FAILPOINTS", &armed)]);
    let key = [("idempotency-key", "both")];
    let asking = tokio::task::spawn_blocking(move || {
        let refused = other.post_with("/api/migration/execute", &key, &small());
        (other, refused)
    });
    gate.reached().await;
    // What another server wrote since this one has looked for the key.
    sqlx::query(
        "insert into diffmig.request_key (key, body, session_id, resumed) \
         select 'both', body, session_id, resumed from diffmig.request_key where key = 'first'",
    )
    .execute(&mut bench.target().await)
    .await
    .unwrap();
    gate.open();
    let (other, refused) = asking.await.unwrap();
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (409, "session_running"),
        "{refused:?}"
    );
    let again = other.post_with("/api/migration/execute", &key, &small());
    assert_eq!(
        (again.status, again.json()),
        (202, json!({"sessionId": first, "resumed": false}))
    );
    let sessions = served.read("/api/migration/sessions");
    assert_eq!(
        sessions["sessions"].as_array().unwrap().len(),
        1,
        "{sessions}"
    );
}

#[tokio::test]
async fn a_session_of_the_command_line_obeys_the_api() {
    let bench = Bench::day1().await;
    let served = bench.serve();
    let mut command = bench.command(&[
        "migrate",
        "-q",
        "--entities",
        "profiles",
        "--batch-size",
        "100",
    ]);
    let mut child = command.env(SLOW.0, SLOW.1).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let session_id = loop {
        let listed = served.read("/api/migration/sessions");
        if let Some(id) = listed["sessions"][0]["sessionId"].as_str() {
            break id.to_owned();
        }
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    };
    let refused = served.post("/api/migration/execute", &small());
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (409, "session_running"),
        "{refused:?}"
    );
    let (status, answer) = control(&served, "pause", &session_id);
    assert_eq!(
        (status, &answer["stateNow"]),
        (200, &json!("pausing")),
        "{answer}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(20));
    assert_eq!(served.wait_for(&session_id, &["paused"])["state"], "paused");
    let (status, answer) = control(&served, "cancel", &session_id);
    assert_eq!(
        (status, &answer["stateNow"]),
        (200, &json!("cancelled")),
        "{answer}"
    );
    let (status, answer) = control(&served, "resume", &session_id);
    assert_eq!(
        (status, answer["error"]["code"].as_str()),
        (409, Some("wrong_state")),
        "{answer}"
    );
}

#[tokio::test]
async fn a_key_gives_the_same_session_again_also_after_a_crash() {
    let bench = Bench::day1().await;
    let mut served = bench.serve_with(&[], &[("DIFFMIG_FAILPOINTS", "batch.before_commit=kill@2")]);
    let key = [("idempotency-key", "night-17")];
    let first = served.post_with("/api/migration/execute", &key, &small());
    assert_eq!(first.status, 202, "{first:?}");
    let session_id = first.json()["sessionId"].as_str().unwrap().to_owned();
    // The process kills itself in its second batch.
    assert_eq!(served.child.wait().unwrap().code(), None);
    let served = bench.serve();
    assert_eq!(
        served.wait_for(&session_id, &["interrupted"])["finishedAt"],
        Value::Null
    );
    // The client does not know what became of its request.
    let again = served.post_with("/api/migration/execute", &key, &small());
    assert_eq!((again.status, again.json()), (202, first.json()));
    assert_eq!(
        served.read(&format!("/api/migration/status/{session_id}"))["state"],
        "interrupted"
    );
    let other = served.post_with(
        "/api/migration/execute",
        &key,
        &json!({"entities": ["workshops"]}),
    );
    assert_eq!(
        (other.status, other.code().as_str()),
        (422, "idempotency_key_reused")
    );
    let (status, answer) = control(&served, "resume", &session_id);
    assert_eq!(
        (status, &answer["resumed"]),
        (202, &json!(true)),
        "{answer}"
    );
    served.wait_for(&session_id, &DONE);
    let late = served.post_with("/api/migration/execute", &key, &small());
    assert_eq!(late.json(), first.json());
    let sessions = served.read("/api/migration/sessions");
    assert_eq!(
        sessions["sessions"].as_array().unwrap().len(),
        1,
        "{sessions}"
    );
}

#[tokio::test]
async fn two_requests_with_one_key_at_the_same_time_start_one_session() {
    let bench = Bench::day1().await;
    let served = bench.serve();
    let key = [("idempotency-key", "twice")];
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let ask = || served.post_with("/api/migration/execute", &key, &small());
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        let answers = asking.into_iter().map(|it| it.join().unwrap());
        answers
            .inspect(|it| assert_eq!(it.status, 202, "{it:?}"))
            .map(|it| it.json())
            .collect()
    });
    assert!(answers.iter().all(|it| *it == answers[0]), "{answers:?}");
    served.wait_for(answers[0]["sessionId"].as_str().unwrap(), &DONE);
}

#[tokio::test]
async fn the_command_line_goes_on_where_a_killed_server_was() {
    let bench = Bench::day1().await;
    let mut served = bench.serve_with(&[], &[SLOW]);
    let session_id = served.execute(&small());
    std::thread::sleep(Duration::from_secs(1));
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    assert_eq!(shown(&bench).await["state"], "interrupted");
    let said = bench
        .migrate_with(&["--resume", "--entities", "profiles", "--json"], 3)
        .await;
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["sessionId"], json!(session_id));
}

#[tokio::test]
async fn the_first_signal_pauses_the_running_session_and_ends_with_0() {
    let bench = Bench::day1().await;
    let mut served = bench.serve_with(&[], &[SLOW]);
    let session_id = served.execute(&small());
    let events = served.events(&session_id, "", &[]);
    let watching = std::thread::spawn(move || events.collect::<Vec<_>>());
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(terminate(&mut served), Some(0));
    let seen = watching.join().unwrap();
    assert_eq!(seen.last().unwrap().kind, "end", "{seen:?}");
    let status = shown(&bench).await;
    assert_eq!(
        (&status["sessionId"], &status["state"]),
        (&json!(session_id), &json!("paused"))
    );
    let mut idle = bench.serve();
    assert_eq!(terminate(&mut idle), Some(0));
}
