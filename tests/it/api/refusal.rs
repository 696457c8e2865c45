//! Bad input: refused with a stable code and the field named, and nothing is started.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::http::Served;
use serde_json::{Value, json};

const NOBODY: &str = "0b5c7a9e-3c1f-4c55-9d0b-3f6f3b8f6a11";

/// A GET, its status, its code, and the field that is named.
type Case = (String, u16, &'static str, Option<&'static str>);

fn paths() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for path in ["status", "history", "logs", "events"] {
        cases.push((format!("{path}/{NOBODY}"), 404, "session_not_found", None));
        for wrong in ["17", "0b5c7a9e", "%00", "..%2f"] {
            cases.push((
                format!("{path}/{wrong}"),
                400,
                "invalid_field",
                Some("sessionId"),
            ));
        }
    }
    cases.push((
        format!("logs/{NOBODY}/export"),
        404,
        "session_not_found",
        None,
    ));
    cases.push((format!("logs/{NOBODY}/nothing"), 404, "not_found", None));
    for (path, field) in [
        ("sessions?limit=0".to_owned(), "limit"),
        ("sessions?limit=201".to_owned(), "limit"),
        ("sessions?limit=many".to_owned(), "limit"),
        ("sessions?limit=".to_owned(), "limit"),
        ("sessions?limit=1&limit=2".to_owned(), "limit"),
        ("sessions?cursor=-1".to_owned(), "cursor"),
        ("sessions?cursor=99999999999".to_owned(), "cursor"),
        ("sessions?bogus=1".to_owned(), "bogus"),
        (format!("logs/{NOBODY}?level=loud"), "level"),
        (format!("logs/{NOBODY}?since=yesterday"), "since"),
        (format!("logs/{NOBODY}?cursor=x"), "cursor"),
        (format!("logs/{NOBODY}?entity=a%00b"), "entity"),
        (format!("logs/{NOBODY}?entity="), "entity"),
        (format!("events/{NOBODY}?tail=0"), "tail"),
        ("quarantine?status=lost".to_owned(), "status"),
        ("quarantine?cursor=x".to_owned(), "cursor"),
        ("quarantine?cursor=%5B%22a%22%2C1%5D".to_owned(), "cursor"),
        (
            "quarantine?cursor=%5B%22a%5Cu0000%22%2C%5B1%5D%5D".to_owned(),
            "cursor",
        ),
        ("quarantine?reason=%01".to_owned(), "reason"),
    ] {
        cases.push((path, 400, "invalid_field", Some(field)));
    }
    cases
}

fn check(
    answer: &crate::support::http::Answer,
    what: &str,
    status: u16,
    code: &str,
    field: Option<&str>,
) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(answer.code(), code, "{what}: {answer:?}");
    let named = answer.json();
    assert_eq!(
        named["error"]["details"]["field"].as_str(),
        field,
        "{what}: {named}"
    );
}

fn bodies(served: &Served) {
    for (body, field) in [
        (json!({"batchSize": 0}), "batchSize"),
        (json!({"batchSize": 100_001}), "batchSize"),
        (json!({"batchSize": "many"}), "batchSize"),
        (json!({"batchSize": -1}), "batchSize"),
        (json!({"batchSize": 1e300}), "batchSize"),
        (json!({"maxConcurrent": 65}), "maxConcurrent"),
        (json!({"maxDurationSecs": 0}), "maxDurationSecs"),
        (json!({"mode": "guess"}), "mode"),
        (json!({"detectionId": "x"}), "detectionId"),
        (json!({"detectionId": NOBODY}), "detectionId"),
        (json!({"entities": "clients"}), "entities"),
        (json!({"entities": [""]}), "entities"),
        (json!({"entities": ["no_such"]}), "entities"),
        (json!({"exclude": ["no_such"]}), "entities"),
        (json!({"allowDeletes": {"no_such": 1}}), "allowDeletes"),
        (
            json!({"allowDeletes": {"clients": -1}}),
            "allowDeletes.clients",
        ),
        (json!({"batchsize": 5}), "batchsize"),
    ] {
        let answer = served.post("/api/migration/execute", &body);
        check(
            &answer,
            &body.to_string(),
            400,
            "invalid_field",
            Some(field),
        );
    }
}

/// What is wrong beside the fields.
fn forms(served: &Served) {
    let execute = |headers: &[(&str, &str)], body: &[u8]| {
        served.send("POST", "/api/migration/execute", headers, Some(body))
    };
    let json = ("content-type", "application/json");
    check(&execute(&[json], b"{"), "cut", 400, "invalid_json", None);
    check(
        &execute(&[json], b"\xff\xfe"),
        "bytes",
        400,
        "invalid_json",
        None,
    );
    check(
        &execute(&[json], b"[]"),
        "array",
        400,
        "invalid_field",
        Some("body"),
    );
    check(
        &execute(&[], b"{}"),
        "no type",
        415,
        "unsupported_media_type",
        None,
    );
    check(
        &execute(&[("content-type", "text/plain")], b"{}"),
        "text",
        415,
        "unsupported_media_type",
        None,
    );
    let large = format!("{{\"entities\": [\"{}\"]}}", "x".repeat(70_000));
    check(
        &execute(&[json], large.as_bytes()),
        "large",
        413,
        "body_too_large",
        None,
    );
    for key in ["", "a b", &"x".repeat(129)] {
        let answer = execute(&[json, ("idempotency-key", key)], b"{}");
        check(&answer, key, 400, "invalid_field", Some("Idempotency-Key"));
    }
    let since = served.post(
        "/api/migration/differential",
        &json!({"entities": ["workshops"], "since": "x"}),
    );
    check(&since, "since", 400, "invalid_field", Some("since"));
    let guess = served.post("/api/migration/baseline", &json!({"entities": ["no_such"]}));
    check(&guess, "baseline", 400, "invalid_field", Some("entities"));
}

#[tokio::test]
async fn bad_input_is_refused_with_the_field_named() {
    let bench = Bench::day1().await;
    let served = bench.serve();
    for (path, status, code, field) in paths() {
        let answer = served.get(&format!("/api/migration/{path}"));
        check(&answer, &path, status, code, field);
    }
    bodies(&served);
    forms(&served);
    for deed in ["pause", "resume", "cancel"] {
        let unknown = served.post(&format!("/api/migration/{deed}/{NOBODY}"), &Value::Null);
        check(&unknown, deed, 404, "session_not_found", None);
        let wrong = served.post(&format!("/api/migration/{deed}/x"), &Value::Null);
        check(&wrong, deed, 400, "invalid_field", Some("sessionId"));
    }
    for (method, path) in [
        ("POST", "/api/migration/sessions"),
        ("GET", "/api/migration/execute"),
        ("DELETE", "/"),
    ] {
        let answer = served.send(method, path, &[], Some(b""));
        check(&answer, path, 405, "method_not_allowed", None);
        assert!(answer.header("allow").is_some(), "{path}");
    }
    check(
        &served.get("/api/nothing"),
        "nothing",
        404,
        "not_found",
        None,
    );
    // Nothing of all that began anything.
    assert_eq!(
        served.read("/api/migration/sessions")["sessions"],
        json!([])
    );
    assert_eq!(bench.say(&["status"]).await.code, Some(17));
}

#[tokio::test]
async fn requests_beyond_the_limits_end_without_harm() {
    let bench = Bench::empty().await;
    let served = bench.serve();
    let many: String = (0..80).map(|at| format!("x-{at}: 1\r\n")).collect();
    let wide = format!("x-wide: {}\r\n", "y".repeat(100_000));
    for headers in [many, wide] {
        let request = format!(
            "GET /healthz HTTP/1.1\r\nconnection: close\r\nhost: {}\r\n{headers}\r\n",
            served.address
        );
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut served.raw(request.as_bytes()), &mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
    for garbage in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut served.raw(garbage), &mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    assert_eq!(served.get("/healthz").status, 200);
    let limited = bench.serve_with(&["--writes-per-minute", "2"], &[]);
    let pause = || limited.post(&format!("/api/migration/pause/{NOBODY}"), &Value::Null);
    assert_eq!((pause().status, pause().status), (404, 404));
    let refused = pause();
    check(&refused, "third", 429, "too_many_requests", None);
    assert!(
        refused
            .header("retry-after")
            .is_some_and(|it| it.parse::<u64>().is_ok())
    );
    assert_eq!(limited.get("/api/migration/sessions").status, 200);
}
