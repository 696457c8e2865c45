//! What is said once, and what is kept of earlier structure.

use super::night;
use diffmig::domain::connection::Side;

#[tokio::test(flavor = "multi_thread")]
async fn harmless_changes_are_said_once() {
    let bench = night().await;
    bench
        .on(
            Side::Source,
            "create table invoice (id integer); alter table person alter mood drop default;
             create index on person (name)",
        )
        .await;
    let found = bench.drift(0).await;
    let wanted = [
        "harmless source person.mood default_changed",
        "harmless source invoice table_added",
    ];
    assert_eq!(found, wanted);
    let line = "schema  changed since session 1";
    let detected = bench.say(&["detect"]).await;
    assert!(detected.stderr.contains(line), "{detected:?}");
    let said = bench.settle().await;
    assert!(said.stderr.contains(line), "{said:?}");
    let events = "select count(*) from diffmig.event where operation = 'schema' and level = 'info'";
    assert_eq!(bench.in_target(events).await, 1);
    let said = bench.settle().await;
    assert!(!said.stderr.contains("schema"), "{said:?}");
    assert_eq!(bench.in_target(events).await, 1);
    // One structure of the source per look of it, one of the target, one mapping.
    let kept = "select string_agg(side || ' ' || first_session || '-' || last_session, ',' order by side, first_session)
                from diffmig.catalog_snapshot";
    assert_eq!(
        bench.text_in_target(kept).await,
        "source 1-1,source 2-3,target 1-3"
    );
    let versions =
        "select string_agg(first_session || '-' || last_session, ',') from diffmig.mapping_version";
    assert_eq!(bench.text_in_target(versions).await, "1-3");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_hold_structure_and_only_the_latest_are_kept() {
    let bench = night().await;
    for n in 0..21 {
        let sql = format!("create table more_{n} (id integer)");
        bench.on(Side::Source, &sql).await;
        bench.ask(&["schema", "diff", "--accept"], 0).await;
    }
    let kept = "select count(*) from diffmig.catalog_snapshot where side = 'source'";
    assert_eq!(bench.in_target(kept).await, 20);
    let rows = "select count(*) from diffmig.catalog_snapshot where structure::text like '%n7%'";
    assert_eq!(bench.in_target(rows).await, 0, "a row's value was kept");
    let person = "select count(*) from diffmig.catalog_snapshot s, jsonb_array_elements(s.structure -> 'tables') t
                  where s.side = 'source' and t -> 'name' ->> 'name' = 'person'";
    assert_eq!(bench.in_target(person).await, 20);
    let others =
        "select jsonb_array_length(structure -> 'others')::bigint from diffmig.catalog_snapshot
                  where side = 'source' order by seen_at desc limit 1";
    assert_eq!(bench.in_target(others).await, 21);
}
