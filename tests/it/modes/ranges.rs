//! Keys that are gone, found by counting ranges of keys.

use super::{counts, found};
use crate::support::Bench;
use diffmig::domain::connection::Side;
use std::time::Duration;

const TARGET: &str =
    "create table items (id uuid primary key, name text, check (name <> 'refused'));";

const MAPPING: &str = r#"
[entities.items]
source = "item"
as = "r"
target = "items"
delete = "delete"
columns = { name = "name" }
"#;

/// Rows with these keys, migrated, with some rows set aside and some tombstones.
async fn stock(keys: &str) -> Bench {
    let source = format!(
        "create table item (id bigint primary key, name text);
         insert into item select key, 'item' from (select {keys} as key from generate_series(1, 24000) n) k;
         update item set name = 'refused' where id in (select id from item order by id limit 3 offset 700);"
    );
    let bench = Bench::with_tables(&source, TARGET, MAPPING).await;
    bench.migrate_with(&[], 3).await;
    let gone =
        "delete from item where id in (select id from item order by id limit 40 offset 9000)";
    bench.on(Side::Source, gone).await;
    bench.migrate_with(&["--mode", "full"], 3).await;
    // Vacuumed as autovacuum would, so that xmin mode has a table to look at that is not all new.
    bench.on(Side::Source, "vacuum analyze item").await;
    bench
        .on(Side::Target, "vacuum analyze diffmig.ledger_items")
        .await;
    bench
}

/// How often the source's index was looked into.
async fn looks(bench: &Bench) -> i64 {
    // A session tells the server what it looked at when it ends, a moment after its client has.
    let open = "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
    while bench.in_source(open).await > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Before version 15 a collector writes the counts down, and does so twice a second.
    let version = "select current_setting('server_version_num')::bigint";
    if bench.in_source(version).await < 150_000 {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    bench
        .in_source(
            "select coalesce(sum(idx_scan), 0)::bigint from pg_stat_user_indexes where indexrelname = 'item_pkey'",
        )
        .await
}

/// Loses and gains rows, among them keys that had been gone, and compares what `xmin` and `full` say. Returns how many
/// looks into the index the former took.
async fn lose_and_gain(bench: &Bench, lost: &str) -> i64 {
    bench
        .on(
            Side::Source,
            &format!(
                "create table gone as select id from item where {lost};
                 delete from item where id in (select id from gone);
                 delete from item where name = 'refused' and id = (select min(id) from item where name = 'refused');
                 insert into item select min(id) + 1, 'arrived' from gone having not exists
                   (select from item where id = (select min(id) + 1 from gone));
                 insert into item select max(id) + 1, 'last' from item;
                 update item set name = 'other' where id in (select id from item order by id limit 5 offset 300);"
            ),
        )
        .await;
    let before = looks(bench).await;
    let (_, _, new, modified, deleted) = bench.found("xmin").await;
    let looked = looks(bench).await - before;
    let all = bench.found("full").await;
    assert_eq!((all.2, all.3, all.4), (new, modified, deleted), "{lost}");
    assert!(deleted > 1, "{deleted}");
    // What is gone is really gone afterwards, and nothing else.
    let limit = format!("items={deleted}");
    let applied = ["--mode", "xmin", "--allow-deletes", &limit];
    bench.migrate_with(&applied, 3).await;
    let end = bench.detect("full").await;
    assert_eq!(
        counts(&end),
        found("full", end["rowsRead"].as_i64().unwrap(), 0, 0, 0)
    );
    looked
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_lie_close_are_counted_in_even_ranges() {
    let bench = stock("n - 12000").await;
    let looked = lose_and_gain(&bench, "id % 500 = 7").await;
    assert!(looked > 20, "{looked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_inherited_tables_are_not_looked_up_in_an_index_that_lacks_them() {
    let bench = stock("n").await;
    let inherit = "create table late () inherits (item);
                   insert into late select n, 'late' from generate_series(50000, 52000) n";
    bench.on(Side::Source, inherit).await;
    bench.migrate_with(&["--mode", "full"], 3).await;
    let looked = lose_and_gain(&bench, "id % 500 = 7").await;
    assert!(looked < 20, "{looked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_with_huge_gaps_are_counted_in_ranges_of_a_sample() {
    let keys =
        "case when n <= 12000 then n::bigint * 700000000000000 - 9000000000000000000 else n end";
    let bench = stock(keys).await;
    let looked = lose_and_gain(
        &bench,
        "id % 500 = 0 and id > 0 or id = (select min(id) from item)",
    )
    .await;
    assert!(looked > 20, "{looked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_column_of_times_hides_cannot_make_up_for_what_is_gone() {
    let source = "create table item (id int primary key, name text, changed timestamptz not null default '2026-01-01');
                  insert into item select n * 2, 'item' from generate_series(1, 24000) n;";
    let mapping = MAPPING.replace("as = \"r\"", "updated_at = \"changed\"");
    let bench = Bench::with_tables(source, TARGET, &mapping).await;
    bench.migrate_with(&[], 0).await;
    bench.on(Side::Source, "vacuum analyze item").await;
    bench
        .on(Side::Target, "vacuum analyze diffmig.ledger_items")
        .await;
    // One comes with an old time where another one goes; a third one goes elsewhere.
    bench
        .on(
            Side::Source,
            "insert into item values (1001, 'imported', '2020-01-01');
             delete from item where id in (1002, 40000);",
        )
        .await;
    let (mode, _, new, modified, deleted) = bench.found("timestamp").await;
    assert_eq!((mode.as_str(), new, modified, deleted), ("full", 1, 0, 2));
    let (mode, _, new, modified, deleted) = bench.found("xmin").await;
    assert_eq!((mode.as_str(), new, modified, deleted), ("xmin", 1, 0, 2));
    bench.migrate_with(&["--mode", "timestamp"], 0).await;
    assert_eq!(bench.in_target("select count(*) from items").await, 23_999);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_never_vacuumed_is_not_walked_in_the_order_of_its_keys() {
    let keys = "(n::bigint * 7919) % 100003";
    let bench = stock(keys).await;
    bench
        .on(
            Side::Source,
            "create table scattered (like item including all) with (autovacuum_enabled = off); insert into scattered select * from item order by name || id;
             drop table item; alter table scattered rename to item; alter index scattered_pkey rename to item_pkey",
        )
        .await;
    bench.migrate_with(&["--mode", "full"], 3).await;
    let looked = lose_and_gain(&bench, "id % 500 = 7").await;
    assert!(looked < 20, "{looked}");
}
