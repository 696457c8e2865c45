//! Stored detections: listed, exported, applied, refused.

use super::{counts, found, shop};
use crate::support::tables::{execute, refused};
use diffmig::db::control::detection::{StoredChange, save_changes};
use diffmig::domain::connection::Side;
use diffmig::domain::detection::ChangeKind;
use serde_json::{Value, json};
use uuid::Uuid;

const CHANGES: &str =
    "insert into item values (41, 'a,\"b\"', 1); update item set name = 'x' where id = 2;
    delete from item where id = -3";

#[tokio::test(flavor = "multi_thread")]
async fn a_detection_is_listed_exported_and_applied() {
    let bench = shop().await;
    bench.on(Side::Source, CHANGES).await;
    let json = bench.directory.path().join("changes.json");
    let csv = bench.directory.path().join("changes.csv");
    let (json, csv) = (json.to_str().unwrap(), csv.to_str().unwrap());
    let report = bench
        .ask(&["detect", "--mode", "xmin", "--save-to", json], 0)
        .await;
    let id = report["detectionId"].as_str().unwrap();
    let saved: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(saved["detectionId"], report["detectionId"]);
    let list = saved["list"].as_array().unwrap();
    let of_kind = |kind: &str| {
        let found = list.iter().filter(|it| it["kind"] == kind);
        found.map(|it| it["key"][0].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of_kind("new"), [41]);
    assert_eq!(of_kind("modified"), [2]);
    assert_eq!(of_kind("deleted"), [-3]);
    let again = [
        "detect",
        "--detection-id",
        id,
        "--no-deleted",
        "--save-to",
        csv,
    ];
    let shown = bench.ask(&again, 0).await;
    assert_eq!(counts(&shown["entities"][0]), found("xmin", 2, 1, 1, 0));
    let text = std::fs::read_to_string(csv).unwrap();
    assert_eq!(
        text,
        "entity,kind,key,lastKey,rows\nitems,modified,[2],,1\nitems,new,[41],,1\n"
    );
    let listed = bench.ask(&["detect", "--list"], 0).await;
    assert_eq!(
        listed["detections"][0]["detectionId"],
        report["detectionId"]
    );
    assert_eq!(listed["detections"][0]["applied"], false);
    bench.migrate_with(&["--detection-id", id], 0).await;
    let listed = bench.ask(&["detect", "--list"], 0).await;
    assert_eq!(listed["detections"][0]["applied"], true);
    assert_eq!(bench.found("xmin").await, found("xmin", 0, 0, 0, 0));
    // An export that fails leaves no half of a file.
    let nowhere = bench.directory.path().join("missing/changes.csv");
    let said = bench
        .say(&["detect", "-q", "--save-to", nowhere.to_str().unwrap()])
        .await;
    refused(&said, 2, &["cannot write"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detection_on_other_ground_is_refused() {
    let bench = shop().await;
    bench.on(Side::Source, CHANGES).await;
    let report = bench.ask(&["detect", "--mode", "xmin"], 0).await;
    let id = report["detectionId"].as_str().unwrap();
    bench
        .on(
            Side::Source,
            "alter table item alter column name type varchar(50)",
        )
        .await;
    let mapping = std::fs::read_to_string(bench.mapping_path()).unwrap();
    let said = bench.say(&["migrate", "-q", "--detection-id", id]).await;
    refused(&said, 14, &["the source tables of items were changed"]);
    // Another mapping is another question.
    std::fs::write(bench.mapping_path(), mapping + "\n# changed\n").unwrap();
    let said = bench.say(&["migrate", "-q", "--detection-id", id]).await;
    refused(&said, 14, &["the mapping has changed"]);
    let unknown = "00000000-0000-4000-8000-000000000000";
    let said = bench.say(&["detect", "--detection-id", unknown]).await;
    refused(&said, 2, &["there is no detection"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_lists_are_purged_and_their_counts_stay() {
    let bench = shop().await;
    bench.on(Side::Source, CHANGES).await;
    bench.ask(&["detect", "--mode", "xmin"], 0).await;
    execute(
        &mut bench.target().await,
        "update diffmig.detection set started_at = started_at - interval '31 days'",
    )
    .await;
    bench.migrate_with(&["--mode", "xmin"], 0).await;
    let left = "select count(*) from diffmig.change c join diffmig.detection d using (detection_id) \
                where d.started_at < now() - interval '30 days'";
    assert_eq!(bench.in_target(left).await, 0);
    let listed = bench.ask(&["detect", "--list"], 0).await;
    assert_eq!(listed["detections"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_detection_leaves_no_list_behind() {
    let bench = shop().await;
    bench.on(Side::Source, CHANGES).await;
    bench.ask(&["detect", "--mode", "xmin"], 0).await;
    let old = "update diffmig.detection set started_at = started_at - interval '5 days'";
    execute(&mut bench.target().await, old).await;
    let listed = "select count(*) from diffmig.change c join diffmig.detection d using (detection_id) \
                  where d.started_at < now() - interval '2 days' and d.mode = 'xmin'";
    assert!(bench.in_target(listed).await > 0);
    // As a version leaves it that does not know of lists without a foreign key.
    let left = "insert into diffmig.change (detection_id, entity, ordinal, kind, key) \
                values (gen_random_uuid(), 'items', 1, 'new', '[1]'), (gen_random_uuid(), 'items', 1, 'new', '[1]')";
    execute(&mut bench.target().await, left).await;
    bench
        .migrate_with(&["--mode", "xmin", "--keep-days", "2"], 0)
        .await;
    assert_eq!(bench.in_target(listed).await, 0);
    let orphans = "select count(*) from diffmig.change c where not exists \
                   (select from diffmig.detection d where d.detection_id = c.detection_id)";
    assert_eq!(bench.in_target(orphans).await, 0);
    // Nor does one that is forgotten while it is stored.
    let mut connection = bench.target().await;
    let change = StoredChange {
        ordinal: 1,
        kind: ChangeKind::New,
        key: json!([1]),
        last_key: None,
        row_count: 1,
    };
    let stored = save_changes(&mut connection, Uuid::nil(), "items", vec![change]).await;
    let error = stored.unwrap_err();
    assert!(error.to_string().contains("deleted while"), "{error}");
    assert_eq!(bench.in_target(orphans).await, 0);
}
