//! The commands on real servers, as scripts and operators use them.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::command::Said;
use crate::support::{Bench, expected, number};
use serde_json::Value;

fn json(said: &Said, code: i32) -> Value {
    assert_eq!(said.code, Some(code), "{said:?}");
    let value: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    assert_eq!(value["version"], 1);
    value
}

fn check_waves(plan: &Value) {
    let waves: Vec<Vec<String>> = plan["plan"]["waves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|wave| {
            wave.as_array()
                .unwrap()
                .iter()
                .map(|it| it["entity"].as_str().unwrap().to_owned())
                .collect()
        })
        .collect();
    let wave_of = |name: &str| {
        waves
            .iter()
            .position(|wave| wave.iter().any(|it| it == name))
            .unwrap()
    };
    assert!(
        wave_of("profiles") < wave_of("clients") && wave_of("clients") < wave_of("tickets"),
        "{waves:?}"
    );
}

async fn check_logs(bench: &Bench) {
    let logs = bench
        .say(&["logs", "--level", "warn", "--format", "json", "-n", "500"])
        .await;
    let lines: Vec<Value> = logs
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines.len() > 3 && lines.iter().all(|it| it["level"] == "warn"),
        "{logs:?}"
    );
    let ids: Vec<i64> = lines
        .iter()
        .map(|it| it["eventId"].as_i64().unwrap())
        .collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    let followed = bench.say(&["logs", "--follow", "-n", "1000"]).await;
    assert_eq!(
        followed.code,
        Some(0),
        "a finished session is not followed for ever: {followed:?}"
    );
    assert!(
        followed.stdout.contains("session completed_with_rejects"),
        "{followed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_first_day() {
    let bench = Bench::day1().await;
    let totals = expected("day1")["total"].clone();

    let before = json(&bench.say(&["analyze", "--json"]).await, 0);
    assert!(
        before["entities"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["status"] == "missing")
    );
    let plan = json(&bench.say(&["migrate", "--dry-run", "--json"]).await, 0);
    check_waves(&plan);
    let mut target = bench.target().await;
    let control = "select count(*) from pg_catalog.pg_namespace where nspname = 'diffmig'";
    assert_eq!(
        number(&mut target, control).await,
        0,
        "analyze or a dry run wrote into the target"
    );

    let status = bench.say(&["status"]).await;
    assert_eq!(status.code, Some(17), "{status:?}");
    let detection = json(&bench.say(&["detect", "--json", "--exit-code"]).await, 4);
    let id = detection["detectionId"].as_str().unwrap();
    let report = json(
        &bench
            .say(&["migrate", "--detection-id", id, "--json", "-q"])
            .await,
        3,
    );
    assert_eq!(report["applied"].as_i64().unwrap(), totals["applied"]);
    assert_eq!(report["detectionId"], id);
    let stale = bench.say(&["migrate", "--detection-id", id]).await;
    assert_eq!(stale.code, Some(14), "{stale:?}");
    assert!(
        stale.stderr.contains("rows were applied since"),
        "{stale:?}"
    );

    let status = json(&bench.say(&["status", "--json"]).await, 0);
    assert_eq!(status["state"], "completed_with_rejects");
    assert_eq!(
        status["rowsDone"].as_i64().unwrap() - totals["new"],
        0,
        "{status}"
    );
    let listed = json(&bench.say(&["control", "list", "--json"]).await, 0);
    assert_eq!(listed["sessions"][0]["sessionId"], report["sessionId"]);
    let late = bench.say(&["control", "pause"]).await;
    assert_eq!(late.code, Some(0), "{late:?}");
    assert!(late.stderr.contains("it is already completed"), "{late:?}");
    let cancelled = bench.say(&["control", "cancel"]).await;
    assert_eq!(cancelled.code, Some(17), "{cancelled:?}");

    check_logs(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mass_deletion_is_refused_until_it_is_allowed_exactly() {
    let bench = Bench::day1().await;
    bench.say(&["migrate", "-q"]).await;
    let mut source = bench.source().await;
    sqlx::raw_sql("delete from public.shop_notice where id in (select id from public.shop_notice order by id desc limit 300)")
        .execute(&mut source)
        .await
        .unwrap();
    let retired = "select count(*) from diffmig.ledger_notices where deleted_at is not null";
    let mut target = bench.target().await;
    let refused = bench.say(&["migrate", "--entities", "notices"]).await;
    assert_eq!(refused.code, Some(14), "{refused:?}");
    assert!(
        refused.stderr.contains("--allow-deletes notices=300"),
        "{refused:?}"
    );
    assert_eq!(number(&mut target, retired).await, 0);
    let short = bench
        .say(&[
            "migrate",
            "--entities",
            "notices",
            "--allow-deletes",
            "notices=299",
        ])
        .await;
    assert_eq!(short.code, Some(14), "{short:?}");
    let allowed = bench
        .say(&[
            "migrate",
            "--entities",
            "notices",
            "--allow-deletes",
            "notices=300",
            "-q",
        ])
        .await;
    assert_eq!(allowed.code, Some(3), "{allowed:?}");
    assert_eq!(number(&mut target, retired).await, 300);

    sqlx::raw_sql("truncate public.shop_notice")
        .execute(&mut source)
        .await
        .unwrap();
    let emptied = bench.say(&["migrate", "--entities", "notices"]).await;
    assert_eq!(emptied.code, Some(14), "{emptied:?}");
    assert!(emptied.stderr.contains("no row at all"), "{emptied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_without_its_parents_waits_and_is_released_when_they_come() {
    let bench = Bench::day1().await;
    let only = json(
        &bench
            .say(&["migrate", "--entities", "staff", "--json", "-q"])
            .await,
        3,
    );
    let waiting = only["entities"][0]["ledger"]["held"].as_i64().unwrap();
    assert!(waiting > 40, "{only}");
    json(
        &bench
            .say(&["migrate", "--exclude", "staff", "--json", "-q"])
            .await,
        3,
    );
    let released = json(
        &bench
            .say(&["migrate", "--entities", "staff", "--json", "-q"])
            .await,
        3,
    );
    let wanted = &expected("day1")["staff"];
    assert_eq!(released["entities"][0]["ledger"]["held"], wanted["held"]);
    assert_eq!(
        released["entities"][0]["ledger"]["applied"],
        wanted["applied"]
    );
    let pending = "select count(*) from diffmig.pending_reference w where entity = 'staff' and not exists \
        (select from diffmig.quarantine q where q.entity = w.entity and q.key = w.key and q.status = 'held')";
    assert_eq!(number(&mut bench.target().await, pending).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_obeyed_within_a_batch_and_the_same_session_goes_on() {
    let bench = Bench::day1().await;
    let mut child = bench.spawn(&["migrate", "--batch-size", "200", "-q"]);
    let mut target = bench.target().await;
    let begun = "select case when pg_catalog.to_regclass('diffmig.batch') is null then 0 else 1 end::bigint";
    while number(&mut target, begun).await == 0
        || number(&mut target, "select count(*) from diffmig.batch").await < 3
    {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let paused = json(&bench.say(&["control", "pause", "--json"]).await, 0);
    assert_eq!(paused["delivered"], true);
    assert_eq!(paused["stateNow"], "pausing");
    let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code())
        .await
        .unwrap();
    assert_eq!(code, Some(20));
    let status = json(&bench.say(&["status", "--json"]).await, 0);
    assert_eq!(status["state"], "paused");
    assert!(status["rowsDone"].as_i64().unwrap() < expected("day1")["total"]["new"]);
    let resumed = json(
        &bench.say(&["migrate", "--resume", "--json", "-q"]).await,
        3,
    );
    assert_eq!(
        resumed["sessionId"], status["sessionId"],
        "a new session was begun"
    );
    bench.compare_all("day1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_in_the_target_is_kept_unless_the_mapping_says_otherwise() {
    let bench = Bench::day1().await;
    bench.say(&["migrate", "-q"]).await;
    let mut target = bench.target().await;
    let mut source = bench.source().await;
    sqlx::raw_sql("update public.workshops set name = 'edited here' where legacy_workshop_id = 1")
        .execute(&mut target)
        .await
        .unwrap();
    sqlx::raw_sql("update public.shop_workshop set name = 'edited there' where id = 1")
        .execute(&mut source)
        .await
        .unwrap();
    let edited = "select count(*) from public.workshops where legacy_workshop_id = 1 and name = 'edited here'";
    let kept = json(
        &bench
            .say(&["migrate", "--entities", "workshops", "--json", "-q"])
            .await,
        3,
    );
    assert_eq!(kept["entities"][0]["batches"]["conflicted"], 1);
    assert_eq!(number(&mut target, edited).await, 1);
    let again = json(
        &bench
            .say(&["migrate", "--entities", "workshops", "--json", "-q"])
            .await,
        3,
    );
    assert_eq!(
        again["entities"][0]["batches"]["rowsIn"], 0,
        "an unchanged conflict is not tried again"
    );
    assert_eq!(again["entities"][0]["ledger"]["conflicted"], 1);

    let mapping = std::fs::read_to_string(bench.mapping_path()).unwrap();
    let mapping = mapping.replace("conflict = \"keep_target\"", "conflict = \"source_wins\"");
    std::fs::write(bench.mapping_path(), mapping).unwrap();
    sqlx::raw_sql("update public.shop_workshop set name = 'the source wins' where id = 1")
        .execute(&mut source)
        .await
        .unwrap();
    let won = json(
        &bench
            .say(&["migrate", "--entities", "workshops", "--json", "-q"])
            .await,
        3,
    );
    assert_eq!(won["entities"][0]["ledger"]["conflicted"], 0);
    assert_eq!(number(&mut target, edited).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_session_is_over_and_a_stored_detection_may_meet_late_rows() {
    let bench = Bench::day1().await;
    let detection = json(&bench.say(&["detect", "--json"]).await, 0);
    let late = "insert into public.shop_recipe (id, name, version, created_at) \
        select max(id) + 1, 'late', 1, now() from public.shop_recipe";
    sqlx::raw_sql(late)
        .execute(&mut bench.source().await)
        .await
        .unwrap();
    let id = detection["detectionId"].as_str().unwrap();
    let report = json(
        &bench
            .say(&[
                "migrate",
                "--detection-id",
                id,
                "--entities",
                "recipes",
                "--json",
            ])
            .await,
        3,
    );
    assert_eq!(report["entities"][0]["appeared"], 1, "{report}");

    let mut child = bench.spawn(&["migrate", "--batch-size", "200", "-q"]);
    let mut target = bench.target().await;
    while number(&mut target, "select count(*) from diffmig.batch").await < 4 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    json(&bench.say(&["control", "cancel", "--json"]).await, 0);
    let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code())
        .await
        .unwrap();
    assert_eq!(code, Some(21));
    let status = json(&bench.say(&["status", "--json"]).await, 0);
    assert_eq!(status["state"], "cancelled");
    let next = json(&bench.say(&["migrate", "--json", "-q"]).await, 3);
    assert_ne!(
        next["sessionId"], status["sessionId"],
        "a cancelled session was taken up again"
    );
}
