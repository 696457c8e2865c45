//! Rows that nothing but their values tie to a source key, and mappings that do not fit.

use super::{entity, findings, numbers};
use crate::support::Bench;
use crate::support::tables::refused;
use diffmig::domain::connection::Side;
use serde_json::json;

const SOURCE: &str = "
create table town (id int primary key, name text);
create table customer (id int primary key, town_id int, name text, email text);
insert into town values (1, 'Ulm'), (2, 'Bonn');
insert into customer values (1, 1, 'Ada', 'ada@x.test'), (2, 1, 'Bob', 'bob@x.test'), (3, 2, 'Cid', null),
  (4, 2, 'Dan', 'dan@x.test');";

const TARGET: &str = "
create table towns (id uuid primary key default gen_random_uuid(), name text unique);
create table customers (id uuid primary key default gen_random_uuid(), town_id uuid references towns, name text,
  email text unique, extra jsonb);
insert into towns (name) values ('Ulm');
insert into customers (town_id, name, email) select id, 'Ada', 'ada@x.test' from towns;
insert into customers (name, email) values ('Robert', 'bob@x.test'), ('Nobody', null);";

const MAPPING: &str = r#"
[entities.towns]
source = "town"
target = "towns"
[entities.towns.columns]
name = "name"

[entities.customers]
source = "customer"
target = "customers"
[entities.customers.columns]
town_id = { ref = "towns", by = "town_id", missing = "null" }
name = "name"
email = "email"
"#;

fn with_match(towns: &str, customers: &str) -> String {
    MAPPING
        .replace(
            "target = \"towns\"\n",
            &format!("target = \"towns\"\n{towns}\n"),
        )
        .replace(
            "target = \"customers\"\n",
            &format!("target = \"customers\"\n{customers}\n"),
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_refused_for_its_values_is_adopted_by_them() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    bench.migrate(3).await;
    assert_eq!(
        bench.set_aside().await,
        [
            "customers 1 open 23505",
            "customers 2 open 23505",
            "towns 1 open 23505"
        ]
    );
    let refused_before = bench.say(&["adopt"]).await;
    refused(&refused_before, 2, &["nothing in the mapping ties"]);

    bench.map(&with_match("match = [\"name\"]", "match = [\"email\"]"));
    let before = bench
        .target_lines("select id::text, xmin::text from customers order by 1")
        .await;
    let report = bench.ask(&["adopt"], 0).await;
    let fields = [
        "known",
        "identical",
        "differing",
        "setAside",
        "new",
        "native",
    ];
    assert_eq!(numbers(&report, "towns", &fields), [1, 1, 0, 0, 0, 0]);
    assert_eq!(numbers(&report, "customers", &fields), [2, 1, 1, 0, 0, 1]);
    let after = bench
        .target_lines("select id::text, xmin::text from customers order by 1")
        .await;
    assert_eq!(before, after);
    assert!(bench.set_aside().await.is_empty());
    // Ada is right; Bob differs and counts as edited.
    bench.migrate(3).await;
    assert_eq!(bench.set_aside().await, ["customers 2 conflict 40000"]);
    assert_eq!(bench.in_target("select count(*) from customers").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_several_rows_have_match_nothing() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    // A reference is compared as the parent's row; names alone are not enough.
    bench.map(&with_match(
        "match = [\"name\"]",
        "match = [\"town_id\", \"name\"]",
    ));
    bench
        .on(
            Side::Source,
            "insert into customer values (5, 1, 'Ada', 'other@x.test')",
        )
        .await;
    let report = bench.ask(&["adopt"], 3).await;
    assert_eq!(
        findings(&report, "customers"),
        [("ambiguous".to_owned(), 2, json!([[1], [5]]))]
    );
    bench
        .on(Side::Source, "delete from customer where id = 5")
        .await;
    let report = bench.ask(&["adopt"], 0).await;
    assert_eq!(
        numbers(&report, "customers", &["identical", "setAside", "new"]),
        [1, 0, 3]
    );
    assert_eq!(entity(&report, "customers")["released"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_several_entities_are_told_apart_by_their_values() {
    let source = "create table cat (id int primary key, name text); create table dog (id int primary key, name text);
        insert into cat values (1, 'Tom'), (2, 'Kit'); insert into dog values (1, 'Rex'), (3, 'Bo');";
    let target = "create table items (id uuid primary key default gen_random_uuid(), legacy_id bigint, kind text, name text);
        insert into items (legacy_id, kind, name) values (1, 'cat', 'Tom'), (2, 'cat', 'Kit'), (1, 'dog', 'Rex');";
    let one = |name: &str, adopt: &str| {
        format!(
            "[entities.{name}s]\nsource = \"{name}\"\ntarget = \"items\"\nlegacy = {{ id = \"legacy_id\" }}\n{adopt}\n\
             [entities.{name}s.columns]\nname = \"name\"\nkind = {{ const = \"{name}\" }}\n"
        )
    };
    let both = |only: bool| {
        let adopt = |name: &str| match only {
            true => format!("adopt = {{ only = {{ kind = \"{name}\" }} }}"),
            false => String::new(),
        };
        one("cat", &adopt("cat")) + &one("dog", &adopt("dog"))
    };
    let bench = Bench::with_tables(source, target, &both(false)).await;
    // Without a word about it every row is claimed by both, and nobody guesses.
    let report = bench.ask(&["adopt", "--dry-run"], 3).await;
    assert_eq!(report["adopted"], 0);
    assert_eq!(findings(&report, "cats")[0].0, "duplicate");
    bench.map(&both(true));
    let report = bench.ask(&["adopt"], 0).await;
    let fields = ["identical", "differing", "new", "gone"];
    assert_eq!(numbers(&report, "cats", &fields), [2, 0, 0, 0]);
    assert_eq!(numbers(&report, "dogs", &fields), [1, 0, 1, 0]);
    bench.migrate(0).await;
    assert_eq!(bench.in_target("select count(*) from items").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_mapping_says_of_adoption_is_checked() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    for (towns, customers, code, words) in [
        ("", "match = [\"nam\"]", 13, "did you mean `name`?"),
        ("", "match = [\"extra\"]", 13, "`extra` has no rule"),
        (
            "adopt = { table = \"nowhere\", source_id = \"a\", target_id = \"b\" }",
            "",
            13,
            "no table public.nowhere",
        ),
        (
            "adopt = { table = \"towns\", source_id = \"name\", target_id = \"nam\" }",
            "",
            13,
            "has no column `nam`",
        ),
        (
            "adopt = { table = \"customers\", source_id = \"extra\", target_id = \"id\" }",
            "",
            13,
            "cannot be read as bigint",
        ),
        (
            "adopt = { table = \"towns\", source_id = [\"name\", \"id\"], target_id = \"id\" }",
            "",
            13,
            "names 2",
        ),
        (
            "adopt = { only = { colour = \"red\" } }",
            "",
            13,
            "has no column `colour`",
        ),
        (
            "adopt = { table = \"towns\", target_id = \"id\" }",
            "",
            2,
            "`source_id` of towns is missing",
        ),
        (
            "adopt = { source_id = \"id\" }",
            "",
            2,
            "belongs to a `table`",
        ),
        (
            "adopt = { table = \"towns\", source_id = \"name\", target_id = \"id\", value = \"x\" }",
            "",
            2,
            "needs `entity`",
        ),
    ] {
        bench.map(&with_match(towns, customers));
        refused(&bench.say(&["adopt"]).await, code, &[words]);
    }
}

/// Size of a ledger as its batches have it, and as it is.
async fn ledger_sizes(bench: &Bench, name: &str) -> (i64, i64) {
    let noted =
        format!("select sum(ledger_rows)::bigint from diffmig.batch where entity = '{name}'");
    let there = format!("select count(*) from diffmig.ledger_{name}");
    (bench.in_target(&noted).await, bench.in_target(&there).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_source_row_takes_over_the_row_that_has_its_values() {
    for (policy, name, code) in [("keep_target", "Robert", 3), ("source_wins", "Bob", 0)] {
        let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
        let conflict = format!("conflict = \"{policy}\"\nmatch = [\"email\"]");
        bench.map(&with_match("match = [\"name\"]", &conflict));
        let ada = "select id::text, xmin::text from customers where name = 'Ada'";
        let before = bench.target_lines(ada).await;
        let ids =
            "select string_agg(id::text, ' ' order by id) from customers where email like '%ob@%'";
        let bob = bench.text_in_target(ids).await;
        bench.migrate(code).await;
        assert_eq!(bench.target_lines(ada).await, before, "{policy}");
        assert_eq!(bench.text_in_target(ids).await, bob, "{policy}");
        let found = "select name from customers where email = 'bob@x.test'";
        assert_eq!(bench.text_in_target(found).await, name, "{policy}");
        assert_eq!(
            bench.in_target("select count(*) from customers").await,
            5,
            "{policy}"
        );
        assert_eq!(
            bench.in_target("select count(*) from towns").await,
            2,
            "{policy}"
        );
        for entity in ["towns", "customers"] {
            let (noted, there) = ledger_sizes(&bench, entity).await;
            assert_eq!(noted, there, "{policy}: {entity}");
        }
        // They are rows like any other from now on.
        bench
            .on(
                Side::Source,
                "update customer set name = 'Ada II' where id = 1",
            )
            .await;
        bench.migrate(code).await;
        let count = "select count(*) from customers where name = 'Ada II'";
        assert_eq!(bench.in_target(count).await, 1, "{policy}");
        bench.migrate(code).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_does_not_choose_between_rows_that_match() {
    let target = TARGET.replace("email text unique", "email text");
    let bench = Bench::with_tables(SOURCE, &target, MAPPING).await;
    bench.map(&with_match("match = [\"name\"]", "match = [\"email\"]"));
    bench
        .on(
            Side::Target,
            "insert into customers (name, email) values ('Second', 'bob@x.test')",
        )
        .await;
    bench
        .on(
            Side::Source,
            "insert into customer values (5, 1, 'Ada', 'ada@x.test')",
        )
        .await;
    bench.migrate(3).await;
    assert_eq!(
        bench.set_aside().await,
        [
            "customers 1 open DM002",
            "customers 2 open DM002",
            "customers 5 open DM002"
        ]
    );
    assert_eq!(bench.in_target("select count(*) from customers").await, 6);
    // One of the sources goes, one of the targets as well.
    bench
        .on(Side::Source, "delete from customer where id = 5")
        .await;
    bench
        .on(Side::Target, "delete from customers where name = 'Second'")
        .await;
    bench.say(&["quarantine", "retry", "-q"]).await;
    bench.migrate(3).await;
    assert_eq!(bench.set_aside().await, ["customers 2 conflict 40000"]);
    assert_eq!(bench.in_target("select count(*) from customers").await, 5);
    let (noted, there) = ledger_sizes(&bench, "customers").await;
    assert_eq!(noted, there);
}
