//! Verification finds every kind of difference, and nothing where there is none.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::command::run;
use crate::support::gate::Gate;
use crate::support::tables::refused;
use diffmig::domain::connection::Side;
use serde_json::Value;

/// The account of one entity as numbers.
fn account<'a>(report: &'a Value, entity: &str) -> &'a Value {
    let entities = report["entities"].as_array().unwrap();
    entities.iter().find(|it| it["entity"] == entity).unwrap()
}

/// The findings of one entity: kind, first key part, column.
fn findings(report: &Value, entity: &str) -> Vec<String> {
    let list = account(report, entity)["findings"].as_array().unwrap();
    list.iter()
        .map(|it| {
            let column = it["column"].as_str().unwrap_or("-");
            format!("{} {} {column}", it["kind"].as_str().unwrap(), it["key"][0])
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixture_is_proved_after_each_day_but_for_what_is_set_aside() {
    let bench = Bench::day1().await;
    let early = bench.say(&["verify"]).await;
    refused(&early, 17, &["nothing was migrated"]);
    bench.migrate_with(&[], 3).await;
    let report = bench.ask(&["verify"], 3).await;
    assert_eq!(report["differences"], 0, "{report}");
    let total = |field: &str| {
        let entities = report["entities"].as_array().unwrap().iter();
        entities.map(|it| it[field].as_i64().unwrap()).sum::<i64>()
    };
    assert_eq!(total("equal"), 34_346);
    assert_eq!(total("setAside"), 65 + 56);
    assert_eq!(total("filtered"), 22);
    for entity in report["entities"].as_array().unwrap() {
        assert_eq!(entity["sourceDigest"], entity["targetDigest"], "{entity}");
    }
    bench.workshop.load_day2().await.unwrap();
    let behind = bench.ask(&["verify"], 3).await;
    assert!(behind["differences"].as_i64().unwrap() > 300, "{behind}");
    bench.migrate_with(&["--mode", "xmin"], 3).await;
    let report = bench.ask(&["verify"], 3).await;
    // One row was edited by hand in the target and is otherwise unchanged; nobody but a full comparison sees that.
    assert_eq!(report["differences"], 1, "{report}");
    assert_eq!(findings(&report, "clients"), ["mismatching 51 full_name"]);
}

const SOURCE: &str = "
    create type mood as enum ('good', 'bad');
    create table maker (id int primary key, name text);
    create table item (id bigint primary key, n numeric(12,4), f float8, f4 float4, ts timestamptz, tl timestamp,
        d date, iv interval, t text, c char(5), js text, jb jsonb, a int[], at text[], m mood, b bytea, u uuid,
        ok boolean, tm time, maker int);
    insert into maker values (1, 'one'), (2, 'two');
    insert into item values
        (1, 1.5000, '-0', 'NaN', '2024-03-31 01:30:00+00', 'infinity', '-infinity', '1 mon -1 day', '', 'ab', '{\"b\":1,\"a\":[1.10]}',
         '{\"x\": 1.0}', '{1,NULL,3}', '{\"a,b\",\"\"}', 'good', '\\x00ff', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', true, '24:00', 1),
        (2, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null),
        (9223372036854775807, -0.0001, 1e-300, 14.22035, '4713-01-01 00:00:00+00 BC', '294276-12-31 23:59:59.999999', '5874897-12-31',
         '-178000000 years', E'z\\n\\t\\\\|\"', 'a    ', '[]', 'null', '[0:1]={7,8}', '{}', 'bad', '', '00000000-0000-0000-0000-000000000000',
         false, '00:00:00.000001', 2);";

const TARGET: &str = "
    create type mood as enum ('good', 'bad');
    create table makers (id uuid primary key, name text);
    create table items (id uuid primary key, n numeric(12,4), f float8, f4 float4, ts timestamptz, tl timestamp,
        d date, iv interval, t text, c text, js jsonb, jb jsonb, a int[], at text[], m mood, b bytea, u uuid,
        ok boolean, tm time, maker_id uuid references makers);";

const MAPPING: &str = r#"
[entities.makers]
source = "maker"
target = "makers"
[entities.makers.columns]
name = "name"
[entities.items]
source = "item"
target = "items"
delete = "delete"
[entities.items.columns]
n = "n"
f = "f"
f4 = "f4"
ts = "ts"
tl = "tl"
d = "d"
iv = "iv"
t = "t"
c = "c"
js = { json_parse = "js" }
jb = "jb"
a = "a"
at = "at"
m = "m"
b = "b"
u = "u"
ok = "ok"
tm = "tm"
maker_id = { ref = "makers", by = "maker", missing = "null" }
"#;

/// A change of one column of the first item, and the column that has to be named.
const EDITS: &[(&str, &str)] = &[
    ("n = n + 0.0001", "n"),
    ("f = 5e-324", "f"),
    ("f4 = 0", "f4"),
    ("ts = ts + interval '1 microsecond'", "ts"),
    ("tl = '-infinity'", "tl"),
    ("d = 'infinity'", "d"),
    ("iv = '29 days'", "iv"),
    ("t = null", "t"),
    ("t = ' '", "t"),
    ("c = 'ab '", "c"),
    ("js = '{\"a\": [1.1], \"b\": 1}'", "js"),
    ("jb = '{\"x\": 1.00}'", "jb"),
    ("a = '[0:2]={1,NULL,3}'", "a"),
    ("at = '{\"a\",\"b\",\"\"}'", "at"),
    ("m = 'bad'", "m"),
    ("b = '\\x00fe'", "b"),
    ("u = null", "u"),
    ("ok = null", "ok"),
    ("tm = '00:00'", "tm"),
    (
        "maker_id = (select id from makers where name = 'two')",
        "maker_id",
    ),
    ("maker_id = null", "maker_id"),
];

async fn store() -> Bench {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    bench.migrate_with(&[], 0).await;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_equal_after_the_migration_and_every_edit_is_named() {
    let bench = store().await;
    let report = bench.ask(&["verify"], 0).await;
    assert_eq!(account(&report, "items")["equal"], 3, "{report}");
    assert_eq!(report["proved"], true);
    let first = "(select target_id from diffmig.ledger_items where k0 = 1)";
    bench
        .on(Side::Target, "create table kept as select * from items")
        .await;
    for (edit, column) in EDITS {
        let edited = format!("update items set {edit} where id = {first}");
        bench.on(Side::Target, &edited).await;
        let report = bench.ask(&["verify", "--entities", "items"], 3).await;
        let wanted = [format!("mismatching 1 {column}")];
        assert_eq!(findings(&report, "items"), wanted, "{edit}");
        let back = "delete from items; insert into items select * from kept";
        bench.on(Side::Target, back).await;
    }
    bench.ask(&["verify"], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_only_on_one_side_are_found() {
    let bench = store().await;
    bench
        .on(
            Side::Target,
            "insert into items (id, t) values (gen_random_uuid(), 'native');
             delete from items where id = (select target_id from diffmig.ledger_items where k0 = 2)",
        )
        .await;
    bench
        .on(
            Side::Source,
            "delete from item where id = 1; insert into item (id) values (3)",
        )
        .await;
    let report = bench.ask(&["verify"], 3).await;
    assert_eq!(
        findings(&report, "items"),
        ["extraneous 1 -", "missing 2 -", "missing 3 -"]
    );
    assert_eq!(account(&report, "items")["native"], 1);
    let csv = bench.say(&["verify", "-q", "-o", "csv"]).await;
    assert!(csv.stdout.contains("items,3,0,1,2,0,0,1,0,1,0"), "{csv:?}");
    // No value of a row is in what is printed.
    let said = bench.say(&["verify", "-vv"]).await;
    for text in [&said.stdout, &said.stderr] {
        assert!(
            !text.contains("native\n") && !text.contains("a0eebc99"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_has_the_same_keys_on_both_sides() {
    let bench = Bench::with_tables(
        "create table item (a text, b int, name text, primary key (a, b));
         insert into item select md5(n::text), -n, 'item' from generate_series(1, 2000) n;",
        "create table items (id uuid primary key, name text);",
        "[entities.items]\nsource = \"item\"\ntarget = \"items\"\n[entities.items.columns]\nname = \"name\"\n",
    )
    .await;
    bench.migrate_with(&[], 0).await;
    let report = bench.ask(&["verify", "--sample", "10%"], 0).await;
    let items = account(&report, "items");
    let equal = items["equal"].as_i64().unwrap();
    assert!((120..290).contains(&equal), "{items}");
    assert_eq!(items["sourceRows"], equal);
    assert_eq!(report["sample"], 10.0);
    let whole = bench.ask(&["verify", "--sample", "100"], 0).await;
    assert_eq!(account(&whole, "items")["equal"], 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_checked_before_it_is_believed() {
    let bench = store().await;
    let path = bench.directory.path().join("proof.json");
    let file = path.to_str().unwrap();
    bench.ask(&["verify", "--certificate", file], 0).await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("a0eebc99"), "{text}");
    let check = ["verify", "--certificate", file, "--check"];
    let same = bench.ask(&check, 0).await;
    assert_eq!(same["changedSince"], serde_json::json!([]));
    // Both sides move on together: still equal, but not the rows of then.
    bench
        .on(Side::Source, "update item set t = 'moved on' where id = 2")
        .await;
    bench.migrate_with(&[], 0).await;
    let moved = bench.ask(&check, 0).await;
    assert_eq!(moved["changedSince"], serde_json::json!(["items"]));
    std::fs::write(&path, text.replace("\"equal\": 3", "\"equal\": 4")).unwrap();
    refused(
        &bench.say(&check).await,
        17,
        &["was changed after it was made"],
    );
    std::fs::write(&path, "{}").unwrap();
    refused(&bench.say(&check).await, 17, &["is no certificate"]);
    std::fs::write(&path, &text).unwrap();
    let mapping = std::fs::read_to_string(bench.mapping_path()).unwrap();
    std::fs::write(bench.mapping_path(), mapping + "\n# another\n").unwrap();
    refused(&bench.say(&check).await, 13, &["another mapping"]);
    let nowhere = ["verify", "--certificate", "/nowhere/proof.json"];
    refused(&bench.say(&nowhere).await, 2, &["cannot write"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_move_while_they_are_compared_are_looked_at_again() {
    let bench = store().await;
    // Between the source's snapshot and the first look at the target another process migrates a change.
    let mut command = bench.command(&["verify", "--json", "-q"]);
    let gate = Gate::new();
    command.env("DIFFMIG_FAILPOINTS", gate.at("snapshot.exported"));
    let verifying = tokio::spawn(run(command));
    gate.reached().await;
    bench
        .on(
            Side::Source,
            "update item set t = 'moved' where id = 2; delete from item where id = 1; insert into item (id) values (7)",
        )
        .await;
    bench.migrate_with(&[], 0).await;
    gate.open();
    let said = verifying.await.unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    let items = account(&report, "items");
    assert_eq!(items["moved"], 3, "{items}");
    assert_eq!(report["differences"], 0);
}
