//! Databases that are away: said so, without a word of theirs, and for no longer than they are.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::http::Served;
use crate::support::{Bench, number};
use diffmig::sandbox::Shutdown as Stop;
use serde_json::{Value, json};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// The answer is as fresh as two seconds.
fn become_ready(served: &Served, status: u16) {
    let began = Instant::now();
    while served.get("/readyz").status != status {
        assert!(began.elapsed() < Duration::from_secs(30), "not {status}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_503_and_comes_back() {
    let bench = Bench::day1().await;
    let served = bench.serve();
    let session_id = served.execute(&json!({"entities": ["workshops"]}));
    served.wait_for(&session_id, &["completed", "completed_with_rejects"]);
    let target = bench.workshop.target_url();
    let port = target
        .rsplit(':')
        .next()
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    bench.workshop.target.stop(Stop::Immediate).await.unwrap();
    for path in [
        "/readyz",
        "/api/migration/sessions",
        &format!("/api/migration/status/{session_id}"),
        &format!("/api/migration/logs/{session_id}"),
        &format!("/api/migration/events/{session_id}"),
        "/api/migration/quarantine",
        "/api/migration/verification",
    ] {
        let answer = served.get(path);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "database_unavailable"),
            "{path}"
        );
        assert!(!answer.text().contains(&port), "{path}: {answer:?}");
        assert!(answer.header("retry-after").is_some());
    }
    for path in ["execute", "baseline", "differential"] {
        let answer = served.post(&format!("/api/migration/{path}"), &Value::Null);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "database_unavailable"),
            "{path}"
        );
        assert!(!answer.text().contains(&port), "{path}: {answer:?}");
    }
    assert_eq!(served.get("/healthz").status, 200);
    assert_eq!(
        served.get("/metrics").text().lines().last(),
        Some("diffmig_target_up 0")
    );
    bench.workshop.target.start().await.unwrap();
    become_ready(&served, 200);
    bench.workshop.source.stop(Stop::Immediate).await.unwrap();
    become_ready(&served, 503);
    assert_eq!(served.get("/api/migration/sessions").status, 200);
    let answer = served.post("/api/migration/execute", &Value::Null);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "database_unavailable")
    );
}

fn refuses_the_mapping(served: &Served, secret: &str) {
    for path in ["execute", "baseline", "differential"] {
        let answer = served.post(&format!("/api/migration/{path}"), &Value::Null);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (409, "mapping_drift"),
            "{path}"
        );
        assert!(!answer.text().contains(secret), "{answer:?}");
    }
}

#[tokio::test]
async fn a_mapping_file_that_is_broken_or_gone_is_409_and_not_named() {
    let bench = Bench::day1().await;
    let served = bench.serve();
    let file = bench.mapping_path();
    let name = file.file_name().unwrap().to_str().unwrap();
    std::fs::write(&file, "this is no mapping").unwrap();
    refuses_the_mapping(&served, name);
    std::fs::remove_file(&file).unwrap();
    refuses_the_mapping(&served, name);
    assert_eq!(
        served.read("/api/migration/sessions")["sessions"],
        json!([])
    );
}

#[tokio::test]
async fn a_mapping_that_does_not_fit_is_409_and_starts_nothing() {
    let bench = Bench::day1().await;
    let served = bench.serve();
    let mut target = bench.target().await;
    let change = "alter table public.clients rename column full_name to canary_name";
    sqlx::query(change).execute(&mut target).await.unwrap();
    refuses_the_mapping(&served, "canary");
    assert_eq!(
        served.read("/api/migration/sessions")["sessions"],
        json!([])
    );
}

/// A verification that takes ten minutes to read.
const SLOW: &str = "alter table diffmig.verification rename to kept; \
    create function diffmig.slow() returns setof diffmig.kept language plpgsql as \
      $$ begin perform pg_catalog.pg_sleep(600); end $$; \
    create view diffmig.verification as select * from diffmig.slow()";

#[tokio::test]
async fn a_question_whose_client_has_left_is_ended_by_the_server() {
    let bench = Bench::day1().await;
    let served = bench.serve();
    let session_id = served.execute(&json!({"entities": ["workshops"]}));
    served.wait_for(&session_id, &["completed", "completed_with_rejects"]);
    let mut target = bench.target().await;
    sqlx::raw_sql(SLOW).execute(&mut target).await.unwrap();
    let asked = "select count(*) from pg_catalog.pg_stat_activity where wait_event = 'PgSleep'";
    let request = format!(
        "GET /api/migration/verification HTTP/1.1\r\nhost: {}\r\n\r\n",
        served.address
    );
    let client = served.raw(request.as_bytes());
    for (wanted, secs) in [(1, 20), (0, 60)] {
        let deadline = Instant::now() + Duration::from_secs(secs);
        while number(&mut target, asked).await != wanted {
            assert!(Instant::now() < deadline, "not {wanted}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let _ = client.shutdown(Shutdown::Both);
    }
}
