//! The stream of events: in order, without gap or repeat across connections, and with an end.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::gate::Gate;
use crate::support::http::Sent;
use serde_json::json;
use std::time::{Duration, Instant};

fn logged(seen: &[Sent]) -> Vec<i64> {
    let logs = seen.iter().filter(|it| it.kind == "log");
    logs.map(|it| it.data["eventId"].as_i64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_client_that_comes_again_and_again_sees_every_event_once() {
    let bench = Bench::day1().await;
    let slow = ("DIFFMIG_FAILPOINTS", "batch.before_commit=sleep:1500@2");
    let served = bench.serve_with(&[], &[slow]);
    let session_id = served.execute(&json!({"batchSize": 300}));
    let (mut seen, mut connections) = (Vec::new(), 0);
    loop {
        let last = seen.iter().rev().find_map(|it: &Sent| it.id);
        let last = last.map(|it| it.to_string());
        let headers: Vec<(&str, &str)> = last
            .iter()
            .map(|it| ("last-event-id", it.as_str()))
            .collect();
        // Hangs up after a few events, as a phone in a tunnel does.
        let page: Vec<Sent> = served
            .events(&session_id, "?tail=1000", &headers)
            .take(7)
            .collect();
        connections += 1;
        let over = page.iter().any(|it| it.kind == "end");
        seen.extend(page);
        if over {
            break;
        }
    }
    assert!(connections > 2, "{connections}");
    let whole = served.read(&format!(
        "/api/migration/logs/{session_id}?cursor=0&limit=1000"
    ));
    let whole = whole["events"].as_array().unwrap().iter();
    let whole: Vec<i64> = whole.map(|it| it["eventId"].as_i64().unwrap()).collect();
    assert_eq!(logged(&seen), whole);
    let states: Vec<&Sent> = seen.iter().filter(|it| it.kind == "status").collect();
    assert!(states.len() > 2);
    assert_eq!(
        states.last().unwrap().data["state"],
        "completed_with_rejects"
    );
    assert_eq!(seen.last().unwrap().data, json!({"reason": "over"}));
    let late: Vec<Sent> = served.events(&session_id, "?tail=2", &[]).collect();
    assert_eq!(logged(&late), whole[whole.len() - 2..]);
    let behind = whole.last().unwrap().to_string();
    let nothing: Vec<Sent> = served
        .events(&session_id, &format!("?cursor={behind}"), &[])
        .collect();
    let kinds: Vec<&str> = nothing.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(kinds, ["status", "end"]);
}

#[tokio::test]
async fn there_is_room_for_so_many_streams_and_it_is_given_back() {
    let bench = Bench::day1().await;
    let gate = Gate::new();
    let held = gate.at("batch.before_commit");
    let served = bench.serve_with(&[], &[("DIFFMIG_FAILPOINTS", &held)]);
    let session_id = served.execute(&json!({"entities": ["profiles"], "batchSize": 100}));
    gate.reached().await;
    let streams: Vec<_> = (0..8)
        .map(|_| served.events(&session_id, "", &[]))
        .collect();
    let path = format!("/api/migration/events/{session_id}");
    let refused = served.get(&path);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "too_many_requests")
    );
    // Places come back from clients that hang up, while the session still works.
    drop(streams);
    let began = Instant::now();
    while served.opens(&path) != 200 {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "no place came back"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = served.read(&format!("/api/migration/status/{session_id}"));
    assert_eq!(status["state"], "running");
    gate.open();
    served.wait_for(&session_id, &["completed", "completed_with_rejects"]);
}
