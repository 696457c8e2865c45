//! Every operation, as it is meant to be used.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::http::Served;
use serde_json::{Value, json};

/// Entities that need nothing else, so that a migration is short.
const FEW: [&str; 2] = ["profiles", "workshops"];

fn empty_before_the_first_migration(served: &Served) {
    let sessions = served.read("/api/migration/sessions");
    assert_eq!(sessions, json!({"sessions": [], "nextCursor": null}));
    let quarantine = served.read("/api/migration/quarantine");
    assert_eq!(
        quarantine,
        json!({"rows": [], "totals": [], "nextCursor": null})
    );
    let verification = served.read("/api/migration/verification");
    assert_eq!(verification, json!({"verification": null}));
    assert!(
        served
            .get("/metrics")
            .text()
            .contains("\ndiffmig_target_up 1\n")
    );
    assert_eq!(served.read("/healthz"), json!({"status": "ok"}));
    assert_eq!(served.read("/readyz"), json!({"status": "ok"}));
}

fn by_entity<'a>(report: &'a Value, entity: &str) -> &'a Value {
    let entities = report["entities"].as_array().unwrap();
    entities.iter().find(|it| it["entity"] == entity).unwrap()
}

/// Compares and detects; returns the detection.
fn analysed(served: &Served) -> String {
    let baseline = served.post("/api/migration/baseline", &Value::Null);
    assert_eq!(baseline.status, 200, "{baseline:?}");
    let baseline = baseline.json();
    assert_eq!(by_entity(&baseline, "profiles")["status"], "missing");
    assert!(baseline["entities"].as_array().unwrap().len() > FEW.len());
    let found = served.post(
        "/api/migration/differential",
        &json!({"entities": FEW, "mode": "full"}),
    );
    assert_eq!(found.status, 200, "{found:?}");
    let found = found.json();
    assert_eq!(found["entities"].as_array().unwrap().len(), FEW.len());
    assert!(by_entity(&found, "profiles")["new"].as_i64().unwrap() > 600);
    found["detectionId"].as_str().unwrap().to_owned()
}

fn the_log_pages_without_gap_or_repeat(served: &Served, session_id: &str) {
    let path = format!("/api/migration/logs/{session_id}");
    let whole = served.read(&format!("{path}?cursor=0&limit=1000"));
    let ids = |page: &Value| -> Vec<i64> {
        let events = page["events"].as_array().unwrap();
        events
            .iter()
            .map(|it| it["eventId"].as_i64().unwrap())
            .collect()
    };
    let (mut paged, mut cursor) = (Vec::new(), 0);
    loop {
        let page = served.read(&format!("{path}?cursor={cursor}&limit=2"));
        cursor = page["nextCursor"].as_i64().unwrap();
        match ids(&page).as_slice() {
            [] => break,
            some => paged.extend(some.to_vec()),
        }
    }
    assert_eq!(paged, ids(&whole));
    assert!(paged.len() > 3 && paged.is_sorted());
    let latest = served.read(&format!("{path}?limit=1"));
    assert_eq!(ids(&latest).as_slice(), &paged[paged.len() - 1..]);
    let warnings = served.read(&format!("{path}?level=warn&cursor=0"));
    let warnings = warnings["events"].as_array().unwrap();
    assert!(!warnings.is_empty() && warnings.iter().all(|it| it["level"] == "warn"));
    let of_one = served.read(&format!("{path}?entity=profiles"));
    assert!(
        of_one["events"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["entity"] == "profiles")
    );
    let future = served.read(&format!("{path}?since=2100-01-01T00:00:00Z"));
    assert_eq!(future["events"], json!([]));
    let export = served.get(&format!("{path}/export"));
    assert_eq!(export.header("content-type"), Some("application/x-ndjson"));
    let lines = export.text();
    let lines: Vec<Value> = lines
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    assert_eq!(json!(lines), whole["events"]);
}

fn the_history_ends_with_all_rows(served: &Served, session_id: &str, status: &Value) {
    let history = served.read(&format!("/api/migration/history/{session_id}"));
    let times = history["times"].as_array().unwrap().len();
    assert!((1..=200).contains(&times), "{times}");
    for step in status["steps"].as_array().unwrap() {
        let entity = by_entity(&history, step["entity"].as_str().unwrap());
        let rows = entity["rowsDone"].as_array().unwrap();
        assert_eq!(rows.len(), times);
        assert_eq!(rows.last(), Some(&step["rowsDone"]));
    }
}

fn the_quarantine_pages(served: &Served) {
    let whole = served.read("/api/migration/quarantine?limit=1000");
    let rows = whole["rows"].as_array().unwrap();
    assert!(rows.len() > 5 && rows.iter().all(|it| it["reason"].is_string()));
    let totals = whole["totals"].as_array().unwrap();
    let counted: i64 = totals.iter().map(|it| it["rows"].as_i64().unwrap()).sum();
    assert_eq!(i64::try_from(rows.len()).unwrap(), counted);
    let (mut paged, mut query) = (Vec::new(), String::new());
    loop {
        let page = served.read(&format!("/api/migration/quarantine?limit=3{query}"));
        paged.extend(page["rows"].as_array().unwrap().clone());
        match page["nextCursor"].as_str() {
            None => break,
            Some(cursor) => {
                let cursor: String =
                    url::form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
                query = format!("&cursor={cursor}");
            }
        }
    }
    assert_eq!(&paged, rows);
    let chosen = served.read("/api/migration/quarantine?entity=profiles&reason=23505");
    let chosen = chosen["rows"].as_array().unwrap();
    assert!(!chosen.is_empty() && chosen.iter().all(|it| it["sqlstate"] == "23505"));
    assert_eq!(
        served.read("/api/migration/quarantine?status=waived")["rows"],
        json!([])
    );
    assert_eq!(
        served.read("/api/migration/quarantine?entity=nobody")["rows"],
        json!([])
    );
}

fn the_metrics_agree(served: &Served, status: &Value) {
    let metrics = served.get("/metrics");
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = metrics.text();
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|it| it.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {text}"))
            .trim()
            .parse()
            .unwrap()
    };
    let steps = status["steps"].as_array().unwrap();
    let step = steps.iter().find(|it| it["entity"] == "profiles").unwrap();
    let inserted = value("diffmig_rows{entity=\"profiles\",outcome=\"inserted\"}");
    assert!((inserted - step["inserted"].as_f64().unwrap()).abs() < 0.1);
    let batches = value("diffmig_batch_duration_seconds_count{entity=\"profiles\"}");
    let bucket = value("diffmig_batch_duration_seconds_bucket{entity=\"profiles\",le=\"+Inf\"}");
    assert!(batches >= 1.0 && (batches - bucket).abs() < 0.1);
    assert!(value("diffmig_quarantine_rows{entity=\"profiles\",status=\"open\"}") > 0.0);
    assert!((0.0..600.0).contains(&value("diffmig_lag_seconds{entity=\"profiles\"}")));
    assert!((0.0..600.0).contains(&value("diffmig_last_success_seconds ")));
    assert!(value("diffmig_lease_held ").abs() < 0.1 && value("diffmig_lease_epoch ") > 0.0);
    for line in text.lines().filter(|it| !it.starts_with('#')) {
        assert!(
            line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn the_whole_story_over_http() {
    let bench = Bench::day1().await;
    let served = bench.serve();
    empty_before_the_first_migration(&served);
    let detection_id = analysed(&served);
    let session_id =
        served.execute(&json!({"entities": FEW, "detectionId": detection_id, "batchSize": 200}));
    let status = served.wait_for(&session_id, &["completed", "completed_with_rejects"]);
    assert_eq!(status["detectionId"], json!(detection_id));
    let listed = served.read("/api/migration/sessions");
    assert_eq!(listed["sessions"], json!([status]));
    let said = bench.say(&["status", "--json"]).await;
    let shown: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(shown["sessionId"], json!(session_id));
    assert_eq!(shown["rowsDone"], status["rowsDone"]);
    the_log_pages_without_gap_or_repeat(&served, &session_id);
    the_history_ends_with_all_rows(&served, &session_id, &status);
    the_quarantine_pages(&served);
    the_metrics_agree(&served, &status);
    let verified = bench
        .say(&["verify", "--json", "--entities", "profiles"])
        .await;
    let verified: Value = serde_json::from_str(&verified.stdout).unwrap();
    let shown = served.read("/api/migration/verification");
    let shown = &shown["verification"];
    assert_eq!(shown["differences"], verified["differences"]);
    assert_eq!(
        shown["entities"][0]["equal"],
        verified["entities"][0]["equal"]
    );
    let second = served.execute(&json!({"entities": FEW}));
    served.wait_for(&second, &["completed", "completed_with_rejects"]);
    let first_page = served.read("/api/migration/sessions?limit=1");
    assert_eq!(first_page["sessions"][0]["sessionId"], json!(second));
    let next = format!(
        "/api/migration/sessions?limit=1&cursor={}",
        first_page["nextCursor"]
    );
    let last_page = served.read(&next);
    assert_eq!(last_page["sessions"][0]["sessionId"], json!(session_id));
    assert_eq!(last_page["nextCursor"], Value::Null);
}

#[tokio::test]
async fn a_verification_is_recorded_only_where_it_may_be() {
    let bench = Bench::day1().await;
    bench.migrate_with(&["--entities", "workshops"], 3).await;
    let mut target = bench.target().await;
    let forbid = "revoke insert on diffmig.verification from postgres";
    sqlx::query(forbid).execute(&mut target).await.unwrap();
    let said = bench
        .say(&["verify", "--json", "--entities", "workshops"])
        .await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert_eq!(said.stderr.matches("recorded").count(), 0, "{said:?}");
    let served = bench.serve();
    assert_eq!(
        served.read("/api/migration/verification")["verification"],
        Value::Null
    );
    let allow = "grant insert on diffmig.verification to postgres";
    sqlx::query(allow).execute(&mut target).await.unwrap();
    bench.say(&["verify", "--entities", "workshops"]).await;
    let shown = served.read("/api/migration/verification");
    assert_eq!(shown["verification"]["entities"][0]["entity"], "workshops");
}
