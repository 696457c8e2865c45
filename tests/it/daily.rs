//! Five days of the fixture, each detected in every mode: all modes find the same keys, and what was written down.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::{Bench, expected};
use diffmig::domain::connection::Side;
use std::collections::BTreeMap;

/// Day 3: rows of every kind of source, among them changes that touch no row of the entity's own table.
const DAY3: &str = "
    set local time zone 'UTC';
    insert into shop_notice (id, recipient_id, level, verb, context, created_at)
    select 6000000 + g, 1001 + g, 1, 'third day', null, timestamp '2024-03-02 08:00:00' from generate_series(1, 5) g;
    update shop_notice set verb = 'third day' where id between 1501 and 1507;
    delete from shop_notice where id in (1601, 1602, 1603);
    -- a name shows in the profile and, through the join, in the client
    update auth_user set last_name = 'Third' where id = 1301;
    -- a serial number belongs to the part, which is read through the ticket
    update shop_part set serial = 'third-day' where id = 1020;
    -- written, but not changed
    update shop_remark set body = body where id between 1010 and 1019;
    -- gone and back with another content
    delete from shop_charge where id = 1030;
    insert into shop_charge (id, ticket_id, amount, paid, refunded, method, charged_at)
    values (1030, 1001, 3, true, false, 'bank', '2024-03-02 09:00:00');
    delete from shop_workshop_staff where id = 1006;";

/// Day 5: only deletions and what takes their place.
const DAY5: &str = "
    set local time zone 'UTC';
    delete from shop_notice where id between 6000001 and 6000003;
    insert into shop_notice (id, recipient_id, level, verb, context, created_at)
    select 7000000 + g, 1001 + g, 1, 'fifth day', null, timestamp '2024-03-04 08:00:00' from generate_series(1, 3) g;
    update shop_remark set body = 'Remark of the fifth day' where id = 1011;
    delete from shop_workshop_staff where id = 1007;";

type Found = BTreeMap<String, (i64, i64, i64)>;

fn wanted(list: &[(&str, i64, i64, i64)]) -> Found {
    let entries = list.iter();
    entries
        .map(|(entity, new, modified, deleted)| ((*entity).to_owned(), (*new, *modified, *deleted)))
        .collect()
}

/// Detects in every mode and returns what all of them found; entities without a change are left out.
async fn found_by_all(bench: &Bench, day: &str) -> Found {
    let mut of_full = None;
    for mode in ["full", "xmin", "auto"] {
        let report = bench.ask(&["detect", "--mode", mode], 0).await;
        let id = report["detectionId"].as_str().unwrap();
        let keys = format!(
            "select entity, kind, key::text from diffmig.change where detection_id = '{id}' order by 1, 2, 3"
        );
        let keys = bench.target_lines(&keys).await;
        let mut found = Found::new();
        let mut shortcuts = 0;
        for it in report["entities"].as_array().unwrap() {
            let number = |field: &str| it[field].as_i64().unwrap();
            let counts = (number("new"), number("modified"), number("deleted"));
            if counts != (0, 0, 0) {
                found.insert(it["entity"].as_str().unwrap().to_owned(), counts);
            }
            shortcuts += usize::from(it["mode"] == "xmin");
        }
        assert_eq!(shortcuts > 0, mode != "full", "{day} {mode}: {report}");
        match &of_full {
            None => of_full = Some((keys, found)),
            Some(full) => assert_eq!((&keys, &found), (&full.0, &full.1), "{day} {mode}"),
        }
    }
    of_full.unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn five_days_are_detected_exactly_in_every_mode() {
    let bench = Bench::day1().await;
    bench.migrate_with(&[], 3).await;

    bench.workshop.load_day2().await.unwrap();
    let day2 = found_by_all(&bench, "day2").await;
    let deleted: i64 = day2.values().map(|it| it.2).sum();
    assert_eq!(deleted, expected("day2")["total"]["deleted"]);
    bench.migrate_with(&["--mode", "xmin"], 3).await;
    bench.compare_all("day2").await;

    bench.workshop.run(Side::Source, DAY3).await.unwrap();
    let day3 = wanted(&[
        ("charges", 0, 1, 0),
        ("clients", 0, 1, 0),
        ("notices", 5, 7, 3),
        ("parts", 0, 1, 0),
        ("profiles", 0, 1, 0),
        ("staff", 0, 0, 1),
    ]);
    assert_eq!(found_by_all(&bench, "day3").await, day3);
    bench.migrate_with(&[], 3).await;
    bench.compare_rows("day3").await;

    assert_eq!(found_by_all(&bench, "day4").await, Found::new());
    let batches = "select count(*) from diffmig.batch";
    let before = bench.in_target(batches).await;
    bench.migrate_with(&[], 3).await;
    assert_eq!(bench.in_target(batches).await, before);

    bench.workshop.run(Side::Source, DAY5).await.unwrap();
    let day5 = wanted(&[
        ("notices", 3, 0, 3),
        ("remarks", 0, 1, 0),
        ("staff", 0, 0, 1),
    ]);
    assert_eq!(found_by_all(&bench, "day5").await, day5);
    bench.migrate_with(&["--mode", "xmin"], 3).await;
    bench.compare_rows("day5").await;
}
