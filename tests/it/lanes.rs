//! Large entities: several lanes share their changes, and a first load brings its indexes last.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::command::run;
use diffmig::domain::connection::Side;

/// Every row of `sale` and one in ten thousand that cannot go; `member` has a unique value beside its keys, which
/// its first and its last row share.
const SOURCE: &str = "
    create table sale (id bigint primary key, amount numeric(10,2), made_at timestamptz, code text);
    insert into sale select n, n / 100.0, '2024-01-01'::timestamptz + n * interval '1 minute',
        case when n % 10000 = 0 then 'none' else (n % 500)::text end from generate_series(1, 450000) n;
    create table member (id int primary key, mail text not null);
    insert into member select n, 'm' || n % 29999 || '@example.org' from generate_series(1, 29999) n;
    update member set mail = 'm1@example.org' where id = 29999;";

const TARGET: &str = "
    create table sales (id bigint primary key, amount numeric(10,2), made_at timestamptz, code int);
    create table members (id uuid primary key, mail text not null unique, member_no int unique not null);";

const MAPPING: &str = r#"
[entities.sale]
source = "sale"
target = "sales"
id = { column = "id", strategy = "same" }
delete = "delete"
columns = { amount = "amount", made_at = "made_at", code = "code" }
[entities.member]
source = "member"
target = "members"
legacy = { id = "member_no" }
columns = { mail = "mail" }
"#;

const DAY_2: &str = "
    update sale set amount = amount + 1 where id % 9 = 0;
    delete from sale where id % 1000 = 1;
    insert into sale select n, 1, now(), '7' from generate_series(450001, 460000) n;
    update sale set code = '8' where code = 'none' and id <= 100000;
    update member set mail = 'x' || mail where id % 2 = 0;";

/// Rows that both sides have alike, and rows that only one side has.
async fn compare_sales(bench: &Bench) {
    let columns = "id::text, amount::text, extract(epoch from made_at)::bigint::text, code";
    let sql = format!("select {columns} from sale where code <> 'none' order by sale.id");
    let mut source = bench.source().await;
    let wanted: Vec<(String, String, String, String)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_all(&mut source)
        .await
        .unwrap();
    let mut target = bench.target().await;
    let sql = "select id::text, amount::text, extract(epoch from made_at)::bigint::text, code::text from sales order by sales.id";
    let found: Vec<(String, String, String, String)> =
        sqlx::query_as(sql).fetch_all(&mut target).await.unwrap();
    assert_eq!(wanted.len(), found.len());
    assert!(wanted == found, "rows differ");
}

async fn lanes(bench: &Bench, entity: &str) -> i64 {
    let sql = format!(
        "select count(*) from diffmig.event where operation = 'lane' and entity = '{entity}'"
    );
    bench.in_target(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_share_what_may_come_in_any_order() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    let few = ["--batch-size", "1000"];
    bench.migrate_with(&few, 3).await;
    compare_sales(&bench).await;
    assert!(lanes(&bench, "sale").await > 0);
    assert_eq!(lanes(&bench, "member").await, 0);

    // Of two rows with one value the one with the lower key is in the target.
    let sql = "select string_agg(member_no::text, ',') from members where mail = 'm1@example.org'";
    assert_eq!(bench.text_in_target(sql).await, "1");
    let aside = "select string_agg(key::text, ',') from diffmig.quarantine where entity = 'member'";
    assert_eq!(bench.text_in_target(aside).await, "[29999]");
    let aside = "select count(*) from diffmig.quarantine where entity = 'sale'";
    assert_eq!(bench.in_target(aside).await, 45);

    bench.on(Side::Source, DAY_2).await;
    let before = lanes(&bench, "sale").await;
    let allowed = ["--batch-size", "1000", "--allow-deletes", "sale=450"];
    bench.migrate_with(&allowed, 3).await;
    assert!(lanes(&bench, "sale").await > before);
    compare_sales(&bench).await;
    bench.ask(&["verify"], 3).await;

    // The batches of the third run are none.
    let batches = "select count(*) from diffmig.batch";
    let before = bench.in_target(batches).await;
    bench.migrate_with(&[], 3).await;
    assert_eq!(bench.in_target(batches).await, before);
}

const STOCK: &str = "create table item (id int primary key, name text);
    insert into item select n, 'item' from generate_series(1, 9000) n;";
/// Some items are needed by rows that the mapping does not know.
const STOCK_TARGET: &str =
    "create table items (id uuid primary key, name text, item_no int unique);
    create table uses (item_no int references items (item_no));";
const STOCK_MAPPING: &str = "[entities.item]\nsource = \"item\"\ntarget = \"items\"\ndelete = \"delete\"\n\
    legacy = { id = \"item_no\" }\ncolumns = { name = \"name\" }\n";

#[tokio::test(flavor = "multi_thread")]
async fn many_deletions_go_in_two_lanes_and_a_killed_process_loses_none() {
    let bench = Bench::with_tables(STOCK, STOCK_TARGET, STOCK_MAPPING).await;
    bench.migrate_with(&[], 0).await;
    let needed = "insert into uses select n from generate_series(100, 8900, 400) n";
    bench.on(Side::Target, needed).await;
    bench
        .on(Side::Source, "delete from item where id % 2 = 0")
        .await;
    let before = lanes(&bench, "item").await;
    let arguments = [
        "migrate",
        "-q",
        "--batch-size",
        "300",
        "--allow-deletes",
        "item=4500",
    ];
    let mut command = bench.command(&arguments);
    let failpoint = "batch.after_commit_before_ack=kill@4";
    command.env("DIFFMIG_FAILPOINTS", failpoint);
    assert_eq!(run(command).await.code, None);
    assert!(lanes(&bench, "item").await > before);
    let left = "select count(*) from items";
    let there = bench.in_target(left).await;
    assert!((4523..9000).contains(&there), "{there}");
    bench.migrate_with(&arguments[2..], 3).await;
    assert_eq!(bench.in_target(left).await, 4523);
    let kept = "select count(*) from items where item_no % 2 = 0 and item_no not in (select item_no from uses)";
    assert_eq!(bench.in_target(kept).await, 0);
    let refused = "select count(*) from diffmig.ledger_item where outcome <> 'applied'";
    assert_eq!(bench.in_target(refused).await, 23);
    let retired = "select sum(retired)::bigint from diffmig.batch";
    assert_eq!(bench.in_target(retired).await, 4477);
    // Once nothing needs them they go as well.
    bench.on(Side::Target, "delete from uses").await;
    bench.migrate_with(&[], 0).await;
    assert_eq!(bench.in_target(left).await, 4500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_builds_its_indexes_last_and_a_killed_one_makes_up_for_it() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    let indexes =
        "select count(*) from pg_index where indrelid = to_regclass('diffmig.ledger_sale')";
    let arguments = [
        "migrate",
        "-q",
        "--entities",
        "sale",
        "--batch-size",
        "1000",
    ];
    let mut command = bench.command(&arguments);
    command.env(
        "DIFFMIG_FAILPOINTS",
        "batch.after_commit_before_ack=kill@40",
    );
    let said = run(command).await;
    assert_eq!(said.code, None, "{said:?}");
    assert_eq!(bench.in_target(indexes).await, 0);
    let loaded = bench.in_target("select count(*) from sales").await;
    assert!((1..450_000).contains(&loaded), "{loaded}");
    let recorded = bench
        .in_target("select count(*) from diffmig.ledger_sale")
        .await;
    assert_eq!(loaded, recorded);

    bench.migrate_with(&["--entities", "sale"], 3).await;
    compare_sales(&bench).await;
    assert_eq!(bench.in_target(indexes).await, 2);
    let inserted = "select sum(inserted)::bigint from diffmig.batch where entity = 'sale'";
    assert_eq!(bench.in_target(inserted).await, 450_000 - 45);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_over_and_goes_on_counts_its_ledger_anew() {
    let source = "create table item (id int primary key, name text);
                  insert into item select n, 'item' from generate_series(1, 2000) n;";
    let target = "create table items (id uuid primary key, name text);";
    let mapping = "[entities.item]\nsource = \"item\"\ntarget = \"items\"\ndelete = \"delete\"\ncolumns = { name = \"name\" }\n";
    let bench = Bench::with_tables(source, target, mapping).await;
    bench.migrate_with(&[], 0).await;

    // Killed when all is applied and noted, but the session not yet closed.
    let change = "update item set name = 'other' where id = 7";
    bench.on(Side::Source, change).await;
    let mut command = bench.command(&["migrate", "-q", "--mode", "xmin"]);
    command.env("DIFFMIG_FAILPOINTS", "session.before_complete=kill");
    assert_eq!(run(command).await.code, None);
    let new = "insert into item select n, 'new' from generate_series(3001, 3003) n";
    bench.on(Side::Source, new).await;
    bench.migrate_with(&["--mode", "xmin"], 0).await;

    // As many rows go as came; a ledger that was counted wrongly would hide just that.
    bench
        .on(Side::Source, "delete from item where id in (11, 12, 13)")
        .await;
    let said = bench.ask(&["detect", "--mode", "xmin"], 0).await;
    assert_eq!(said["entities"][0]["deleted"], 3, "{said}");
    bench.migrate_with(&["--mode", "xmin"], 0).await;
    assert_eq!(bench.in_target("select count(*) from items").await, 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_only_the_target_knows_to_need_one_another_go_in_order() {
    let source = "create table item (id int primary key, previous_id int);
        insert into item select n, nullif(n - 1, 0) from generate_series(1, 9000) n;";
    let target = "create table items (id int primary key, previous_id int references items);";
    let mapping = "[entities.item]\nsource = \"item\"\ntarget = \"items\"\ndelete = \"delete\"\n\
        id = { column = \"id\", strategy = \"same\" }\ncolumns = { previous_id = \"previous_id\" }\n";
    let bench = Bench::with_tables(source, target, mapping).await;
    bench.migrate_with(&["--batch-size", "300"], 0).await;
    bench
        .on(Side::Source, "delete from item where id > 3000")
        .await;
    let arguments = ["--batch-size", "300", "--allow-deletes", "item=6000"];
    bench.migrate_with(&arguments, 0).await;
    assert_eq!(bench.in_target("select count(*) from items").await, 3000);
    assert_eq!(lanes(&bench, "item").await, 0);
    let refused =
        "select coalesce(sum(quarantined + held + conflicted), 0)::bigint from diffmig.batch";
    assert_eq!(bench.in_target(refused).await, 0);
}
