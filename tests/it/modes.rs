//! The modes of detection: what each finds, what it reads for that, and when it is not to be trusted.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod concurrent;
mod parts;
mod ranges;
mod standby;
mod stored;

use crate::support::Bench;
use crate::support::tables::execute;
use diffmig::domain::connection::Side;
use serde_json::Value;

const SOURCE: &str = "
    create table item (id bigint primary key, name text, price numeric, updated_at timestamptz not null default now());
    insert into item select n, 'item ' || n, n, '2026-01-01' from generate_series(-20, 40) n;";

const TARGET: &str =
    "create table items (id uuid primary key, name text, price numeric, check (price < 10000));";

const MAPPING: &str = r#"
[entities.items]
source = "item"
target = "items"
updated_at = "updated_at"
delete = "delete"
[entities.items.columns]
name = "name"
price = "price"
"#;

/// The counts of one entity: mode, rows read, new, modified, deleted.
fn counts(entity: &Value) -> (String, i64, i64, i64, i64) {
    let number = |field: &str| entity[field].as_i64().unwrap();
    (
        entity["mode"].as_str().unwrap().to_owned(),
        number("rowsRead"),
        number("new"),
        number("modified"),
        number("deleted"),
    )
}

impl Bench {
    /// Detects in a mode and returns the first entity.
    async fn detect(&self, mode: &str) -> Value {
        let report = self.ask(&["detect", "--mode", mode], 0).await;
        report["entities"][0].clone()
    }

    /// Detects in a mode and returns mode, rows read, new, modified, deleted.
    async fn found(&self, mode: &str) -> (String, i64, i64, i64, i64) {
        counts(&self.detect(mode).await)
    }

    /// Detects in xmin mode, which must come to full for a reason.
    async fn full_because(&self, words: &str) {
        let entity = self.detect("xmin").await;
        assert_eq!(entity["mode"], "full", "{entity}");
        let reason = entity["reason"].as_str().unwrap();
        assert!(reason.contains(words), "{reason}");
    }

    /// Applies everything, after which all modes agree that nothing is left.
    async fn settles(&self, mode: &str) {
        self.migrate_with(&["--mode", mode], 0).await;
        for mode in ["full", "xmin", "timestamp", "auto"] {
            let (_, _, new, modified, deleted) = self.found(mode).await;
            assert_eq!((new, modified, deleted), (0, 0, 0), "{mode}");
        }
    }
}

async fn shop() -> Bench {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    bench.migrate_with(&[], 0).await;
    bench
}

fn found(
    mode: &str,
    read: i64,
    new: i64,
    modified: i64,
    deleted: i64,
) -> (String, i64, i64, i64, i64) {
    (mode.to_owned(), read, new, modified, deleted)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_finds_inserts_updates_and_deletes() {
    let bench = shop().await;
    let same = bench.detect("xmin").await;
    assert_eq!(counts(&same), found("xmin", 0, 0, 0, 0), "{same}");
    assert_eq!(same["unchanged"], 61);
    bench
        .on(
            Side::Source,
            "insert into item values (41, 'new', 1), (-21, 'new', 2);
             update item set name = 'changed', updated_at = now() where id in (-20, 0, 7);
             update item set name = name, updated_at = now() where id = 8;
             delete from item where id in (-1, 40);
             update item set id = 99, updated_at = now() where id = 5;",
        )
        .await;
    for (mode, read) in [("full", 61), ("xmin", 7), ("timestamp", 7)] {
        assert_eq!(bench.found(mode).await, found(mode, read, 3, 3, 3));
    }
    // Few rows are read in full unless somebody says otherwise.
    let auto = bench.detect("auto").await;
    assert_eq!(auto["reason"], "it has few rows");
    bench.settles("xmin").await;
    assert_eq!(bench.in_target("select count(*) from items").await, 61);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_any_type_are_compared_when_the_counts_differ() {
    let bench = Bench::with_tables(
        "create table item (a text collate \"C\", b int, name text, primary key (a, b));
         insert into item select chr(64 + n), n % 3, 'item' from generate_series(1, 26) n;
         insert into item values ('', 0, 'x'), ('é', -1, 'x'), ('z''\"\\', 2147483647, 'x');",
        "create table items (id uuid primary key, name text);",
        "[entities.items]\nsource = \"item\"\ntarget = \"items\"\ndelete = \"delete\"\n\
         [entities.items.columns]\nname = \"name\"\n",
    )
    .await;
    bench.migrate_with(&[], 0).await;
    assert_eq!(bench.found("xmin").await, found("xmin", 0, 0, 0, 0));
    bench
        .on(
            Side::Source,
            "delete from item where a in ('', 'B', 'é');
             insert into item values ('B', 7, 'new'), ('', 1, 'new'), ('ß', 0, 'new');",
        )
        .await;
    assert_eq!(bench.found("xmin").await, found("xmin", 3, 3, 0, 3));
    bench.migrate_with(&["--mode", "xmin"], 0).await;
    assert_eq!(bench.found("full").await, found("full", 29, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_set_aside_are_read_again_whatever_the_watermark_says() {
    let bench = shop().await;
    bench
        .on(
            Side::Source,
            "update item set price = 10000 where id in (1, 2)",
        )
        .await;
    bench.migrate_with(&["--mode", "xmin"], 3).await;
    let aside = bench.detect("xmin").await;
    assert_eq!(aside["setAside"], 2, "{aside}");
    assert_eq!(counts(&aside), found("xmin", 2, 0, 0, 0));
    bench
        .on(
            Side::Target,
            "alter table items drop constraint items_price_check",
        )
        .await;
    let retry = ["quarantine", "retry", "--entity", "items", "-q"];
    let said = bench.say(&retry).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(bench.found("xmin").await, found("xmin", 2, 0, 2, 0));
    bench.settles("xmin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watermark_moves_only_when_everything_was_applied() {
    let bench = shop().await;
    let horizon = "select horizon from diffmig.watermark";
    let before = bench.in_target(horizon).await;
    bench
        .on(Side::Source, "update item set name = 'late' where id < 10")
        .await;
    bench.ask(&["detect", "--mode", "xmin"], 0).await;
    assert_eq!(bench.in_target(horizon).await, before);
    let paused = [
        "--mode",
        "xmin",
        "--batch-size",
        "5",
        "--max-duration",
        "1ms",
    ];
    bench.migrate_with(&paused, 20).await;
    assert_eq!(bench.in_target(horizon).await, before);
    assert_eq!(bench.found("xmin").await.0, "xmin");
    bench.settles("xmin").await;
    assert!(bench.in_target(horizon).await > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_say_what_they_can_miss_and_miss_it() {
    let bench = shop().await;
    bench
        .on(
            Side::Source,
            "update item set name = 'silent' where id = 3;
             update item set name = 'told', updated_at = now() where id = 4;
             update item set updated_at = '2099-01-01' where id = 6;
             delete from item where id = 9",
        )
        .await;
    let told = bench.detect("timestamp").await;
    assert_eq!(counts(&told), found("timestamp", 2, 0, 1, 1));
    let missed = told["couldMiss"].as_str().unwrap();
    assert!(
        missed.contains("do not touch the `updated_at` column"),
        "{missed}"
    );
    assert_eq!(bench.found("xmin").await, found("xmin", 3, 0, 2, 1));
    let since = ["detect", "--since", "2098-01-01"];
    let report = bench.ask(&since, 0).await;
    assert_eq!(
        counts(&report["entities"][0]),
        found("timestamp", 1, 0, 0, 0)
    );
    bench.settles("full").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shows_in_no_row_is_read_in_full() {
    let bench = Bench::with_tables(
        "create type mood as enum ('good', 'bad');
         create table item (id int, name text, mood mood, primary key (id)) partition by range (id);
         create table item_low partition of item for values from (0) to (10);
         create table other (like item);
         insert into item select n, 'item', 'good' from generate_series(1, 5) n;
         insert into other select n, 'other', 'bad' from generate_series(10, 14) n;",
        "create table items (id uuid primary key, name text, mood text);",
        "[entities.items]\nsource = \"item\"\ntarget = \"items\"\ndelete = \"delete\"\n\
         [entities.items.columns]\nname = \"name\"\nmood = \"mood\"\n",
    )
    .await;
    bench.full_because("nothing of it was migrated yet").await;
    bench.migrate_with(&[], 0).await;
    assert_eq!(bench.found("xmin").await, found("xmin", 0, 0, 0, 0));
    // Rows that come with their table were written long ago.
    bench
        .on(
            Side::Source,
            "alter table item attach partition other for values from (10) to (20)",
        )
        .await;
    bench.full_because("the source tables were changed").await;
    bench.settles("xmin").await;
    bench
        .on(Side::Source, "alter type mood rename value 'bad' to 'sad'")
        .await;
    bench.full_because("the source tables were changed").await;
    assert_eq!(bench.found("xmin").await, found("full", 10, 0, 5, 0));
    bench.settles("xmin").await;
    // A column that went and came again has the default of all its rows, and no row says so.
    bench
        .on(
            Side::Source,
            "alter table item drop column name; alter table item add column name text default 'again'",
        )
        .await;
    bench.full_because("the source tables were changed").await;
    bench.settles("xmin").await;
    let mapping = std::fs::read_to_string(bench.mapping_path()).unwrap();
    let changed = mapping.replace("name = \"name\"", "name = { expr = \"upper(name)\" }");
    std::fs::write(bench.mapping_path(), changed).unwrap();
    bench
        .full_because("the mapping of the entity was changed")
        .await;
    bench.settles("xmin").await;
    execute(
        &mut bench.target().await,
        "update diffmig.watermark set horizon = horizon + 1000000",
    )
    .await;
    bench
        .full_because("the source is older than the last run")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_and_queries_are_watched_through_all_their_tables() {
    let bench = Bench::with_tables(
        "create table item (id int primary key, name text, maker int);
         create table maker (id int primary key, name text);
         insert into maker values (1, 'one'), (2, 'two'), (3, 'none');
         insert into item select n, 'item', n % 3 from generate_series(1, 9) n;",
        "create table items (id uuid primary key, name text, maker text);
         create table makers (id uuid primary key, items bigint);",
        r#"
[entities.items]
source = "item"
as = "i"
join = [{ table = "maker", as = "m", on = "m.id = i.maker", kind = "inner" }]
target = "items"
delete = "delete"
[entities.items.columns]
name = "i.name"
maker = "m.name"
[entities.makers]
source = { query = "select m.id, count(i.id) as items from maker m left join item i on i.maker = m.id group by 1", watch = ["maker", "item"] }
key = ["id"]
target = "makers"
delete = "delete"
[entities.makers.columns]
items = "items"
"#,
    )
    .await;
    bench.migrate_with(&[], 0).await;
    let modes = async || {
        let report = bench.ask(&["detect", "--mode", "xmin"], 0).await;
        let entities = report["entities"].as_array().unwrap().clone();
        entities.iter().map(counts).collect::<Vec<_>>()
    };
    let nothing = found("xmin", 0, 0, 0, 0);
    assert_eq!(modes().await, [nothing.clone(), nothing.clone()]);
    // Only the joined table changes; a row of it that goes leaves no trace in the rows that named it.
    for change in [
        "update maker set name = 'uno' where id = 1",
        "delete from maker where id = 2",
        "insert into maker values (0, 'nil')",
    ] {
        bench.on(Side::Source, change).await;
        let found = modes().await;
        assert_eq!(found[0].0, "full", "{change}");
        assert_eq!(found[1].0, "full", "{change}");
        assert!(found[0].2 + found[0].3 + found[0].4 > 0, "{change}");
        bench.migrate_with(&["--mode", "xmin"], 0).await;
        assert_eq!(
            modes().await,
            [nothing.clone(), nothing.clone()],
            "{change}"
        );
    }
    // A row that leaves the join is gone.
    bench
        .on(Side::Source, "update item set maker = 7 where id = 1")
        .await;
    let left = modes().await;
    assert_eq!((left[0].0.as_str(), left[0].4), ("xmin", 1));
    bench.migrate_with(&["--mode", "xmin"], 0).await;
    assert_eq!(bench.in_target("select count(*) from items").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rolling_check_finds_what_the_shortcut_misses_and_ends_it() {
    let bench = Bench::with_tables(
        "create table item (id bigint primary key, name text);
         insert into item select n * 1000, 'item' from generate_series(1, 5000) n; analyze item;",
        "create table items (id uuid primary key, name text);",
        "[entities.items]\nsource = \"item\"\ntarget = \"items\"\n[entities.items.columns]\nname = \"name\"\n",
    )
    .await;
    bench.migrate_with(&[], 0).await;
    // Every run reads another slice in full; seven runs read all of them.
    let mut read = 0;
    for _ in 0..7 {
        let entity = bench.detect("auto").await;
        assert_eq!(entity["mode"], "xmin");
        read += entity["rowsRead"].as_i64().unwrap();
        bench.migrate_with(&[], 0).await;
    }
    assert_eq!(read, 5000);
    // A watermark that claims too much makes the shortcut blind for one change.
    bench
        .on(
            Side::Source,
            "update item set name = 'unseen' where id = 1777000",
        )
        .await;
    let next = bench
        .in_source("select txid_snapshot_xmax(txid_current_snapshot())")
        .await;
    let sql = format!("update diffmig.watermark set horizon = {next}");
    execute(&mut bench.target().await, &sql).await;
    assert_eq!(bench.found("xmin").await, found("xmin", 0, 0, 0, 0));
    let mut seen = 0;
    for _ in 0..7 {
        seen += bench.found("auto").await.3;
        bench.migrate_with(&[], 0).await;
    }
    assert_eq!(seen, 1);
    let entity = bench.detect("auto").await;
    assert_eq!(entity["mode"], "full", "{entity}");
    let reason = entity["reason"].as_str().unwrap();
    assert!(
        reason.contains("the rolling check found 1 changes"),
        "{reason}"
    );
    // Whoever asks for the mode in spite of that trusts it again.
    bench.migrate_with(&["--mode", "xmin"], 0).await;
    assert_eq!(bench.detect("auto").await["mode"], "xmin");
}

/// So many rows, of which none is migrated.
async fn items(rows: u32) -> Bench {
    let source = format!(
        "create table item (id bigint primary key, name text);
         insert into item select n, 'item' from generate_series(1, {rows}) n;"
    );
    let target = "create table items (id uuid primary key, name text);";
    let mapping = "[entities.items]\nsource = \"item\"\ntarget = \"items\"\n[entities.items.columns]\nname = \"name\"\n";
    Bench::with_tables(&source, target, mapping).await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_are_read_in_order() {
    let bench = items(12_0000).await;
    bench.migrate_with(&["--batch-size", "20000"], 0).await;
    bench
        .on(Side::Source, "update item set name = 'x' where id > 10000")
        .await;
    let entity = bench.detect("xmin").await;
    assert_eq!(entity["mode"], "full", "{entity}");
    assert_eq!(entity["modified"], 110_000);
    let reason = entity["reason"].as_str().unwrap();
    assert!(reason.contains("more than 100000 rows"), "{reason}");
    // What the shortcut had stored before it gave up is not applied twice.
    let stored = "select count(*), count(distinct key) from diffmig.change join diffmig.detection using (detection_id) \
                  where mode = 'xmin'";
    let stored = format!("select count(*) from ({stored}) c (a, b) where a = b and a = 110000");
    assert_eq!(bench.in_target(&stored).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn far_too_many_changes_are_known_before_they_are_read() {
    let bench = items(5_000).await;
    bench.migrate_with(&[], 0).await;
    // Some 3,300 blocks, of which a hundredth shows six times as many rows as are worth while.
    let late = "insert into item select n, 'item' from generate_series(5001, 605000) n";
    bench.on(Side::Source, late).await;
    let entity = bench.detect("auto").await;
    let reason = entity["reason"].as_str().unwrap();
    assert!(reason.contains("more than 100000 rows"), "{reason}");
    assert_eq!(entity["rowsRead"], 605_000, "{entity}");
    assert_eq!(entity["new"], 600_000, "{entity}");
}
