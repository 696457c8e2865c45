//! One row, explained with its values.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::tables::refused;
use diffmig::domain::connection::Side;

/// Items with a renamed, a coded and a referring column; one is hidden, one has no parent.
async fn bench() -> Bench {
    Bench::with_tables(
        "create table maker (id int primary key, name text);
         create table item (a int, b text, name text, code int, maker int, hidden boolean, primary key (a, b));
         insert into maker values (1, 'one');
         insert into item values (1, 'x', ' Ada ', 7, 1, false), (1, 'y', 'Bob', 9, 2, false), (2, 'x', 'Eve', 7, 1, true);",
        "create table makers (id uuid primary key, name text);
         create table items (id uuid primary key, name text, kind text, maker_id uuid references makers);",
        r#"
[entities.makers]
source = "maker"
target = "makers"
[entities.makers.columns]
name = "name"
[entities.items]
source = "item"
target = "items"
where = "not hidden"
ignore = ["hidden"]
[entities.items.columns]
name = { column = "name", normalize = ["trim"] }
kind = { column = "code", codes = { 7 = "seven" }, default = "null" }
maker_id = { ref = "makers", by = "maker" }
"#,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_shown_on_its_way() {
    let bench = bench().await;
    bench.migrate_with(&[], 3).await;
    bench
        .on(
            Side::Target,
            "update items set name = 'Edited' where name = 'Ada'",
        )
        .await;
    let row = bench.ask(&["explain", "items", "[1, \"x\"]"], 0).await;
    assert_eq!(row["sourceRow"][2]["column"], "name");
    assert_eq!(row["sourceRow"][2]["value"], " Ada ");
    let line = |at: usize| {
        let it = &row["columns"][at];
        (
            it["mapped"].clone(),
            it["found"].clone(),
            it["equal"].clone(),
        )
    };
    let wanted = |a: &str, b: &str, equal: bool| (a.into(), b.into(), equal.into());
    assert_eq!(line(0), wanted("Ada", "Edited", false));
    assert_eq!(line(1), wanted("seven", "seven", true));
    // A reference is compared as the source's key; the target row shows the id.
    assert_eq!(line(2), wanted("1", "1", true));
    let id = bench.text_in_target("select id::text from makers").await;
    assert_eq!(row["targetRow"][3]["value"], id);
    assert_eq!(row["ledger"]["outcome"], "applied");
    assert_eq!(row["columns"][0]["line"], 14);

    let held = bench.ask(&["explain", "items", "1,\"y\""], 0).await;
    assert_eq!(held["ledger"]["outcome"], "held");
    assert_eq!(held["aside"]["status"], "held");
    assert_eq!(held["waitsFor"][0]["parentEntity"], "makers");
    assert_eq!(held["targetRow"], serde_json::json!([]));
    let filtered = bench.say(&["explain", "items", "[2,\"x\"]"]).await;
    assert!(
        filtered.stdout.contains("the mapping leaves it out"),
        "{filtered:?}"
    );
    let said = bench.say(&["explain", "items", "[1,\"x\"]", "--sql"]).await;
    for words in [
        "source public.item",
        "target public.items",
        "btrim",
        "NO",
        "ledger: applied",
    ] {
        assert!(said.stdout.contains(words), "{words}: {said:?}");
    }
    assert!(!said.stderr.contains("Ada"), "{said:?}");

    refused(
        &bench.say(&["explain", "item", "1"]).await,
        2,
        &["no entity `item`", "items"],
    );
    refused(
        &bench.say(&["explain", "items", "x"]).await,
        2,
        &["is no key of items", "(a, b)"],
    );
    refused(
        &bench.say(&["explain", "makers", "7"]).await,
        2,
        &["makers has no row 7"],
    );
}
