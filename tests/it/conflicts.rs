//! Rows that changed on both sides, and rows that only look as if they had.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use diffmig::domain::connection::Side;

const SOURCE: &str = "
    create table person (id int primary key, boss int, name text, score numeric, extra text, kind text);
    insert into person values (1, null, 'Ada', 1.50, '{\"a\": 1}', 'x'), (2, 1, 'Bob', 2, null, 'y'),
        (3, 1, 'Cid', 3, '[]', 'x'), (4, 9, 'Dan', 4, null, 'y'), (5, 2, 'Eve', 5, null, 'x');";

const TARGET: &str = "
    create type kind as enum ('first', 'second');
    create table people (id uuid primary key, boss_id uuid references people, name varchar(40), score numeric,
        extra jsonb, kind kind, badge text, seen_at timestamptz);";

const MAPPING: &str = r#"
[entities.people]
source = "person"
target = "people"
[entities.people.columns]
boss_id = { ref = "people", by = "boss", missing = "null" }
name = "name"
score = "score"
extra = { json_parse = "extra" }
kind = { column = "kind", codes = { x = "first", y = "second" } }
badge = { column = "name", owner = "target" }
"#;

async fn company(policy: &str) -> Bench {
    let mapping = MAPPING.replace(
        "target = \"people\"\n",
        &format!("target = \"people\"\nconflict = \"{policy}\"\nignore = []\n"),
    );
    let bench = Bench::with_tables(SOURCE, TARGET, &mapping).await;
    bench.migrate_with(&[], 0).await;
    bench
}

async fn people(bench: &Bench) -> Vec<String> {
    bench
        .target_lines("select name::text, badge from people order by 2, 1")
        .await
}

async fn findings(bench: &Bench) -> Vec<String> {
    let sql = "select key::text, status, sqlstate, reason from diffmig.quarantine where status <> 'resolved' order by 1";
    bench.target_lines(sql).await
}

const TOUCH_ALL: &str = "update people set name = name, badge = badge || '!', seen_at = now()";
const CHANGE_ALL: &str = "update person set name = name || ' II'";

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_xmin_alone_is_no_conflict() {
    for policy in ["keep_target", "quarantine"] {
        let bench = company(policy).await;
        // Every row gets another xmin, and columns that diffmig does not compare get other values.
        bench.on(Side::Target, TOUCH_ALL).await;
        bench.on(Side::Source, CHANGE_ALL).await;
        bench
            .on(Side::Source, "delete from person where id = 5")
            .await;
        bench.migrate_with(&["--batch-size", "2"], 0).await;
        assert_eq!(
            people(&bench).await,
            [
                "Ada II|Ada!",
                "Bob II|Bob!",
                "Cid II|Cid!",
                "Dan II|Dan!",
                "Eve|Eve!"
            ],
            "{policy}"
        );
        assert!(findings(&bench).await.is_empty(), "{policy}");
        // The ledger knows the rows again: the next change needs no second look, and nothing is left to do.
        let again = bench.say(&["detect", "--exit-code", "-q"]).await;
        assert_eq!(again.code, Some(0), "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_kept_or_quarantined_or_overwritten_as_the_policy_says() {
    for (policy, name, status, code) in [
        ("keep_target", "Robert", Some("conflict"), 3),
        ("quarantine", "Robert", Some("open"), 3),
        ("source_wins", "Bob II", None, 0),
    ] {
        let bench = company(policy).await;
        bench
            .on(
                Side::Target,
                "update people set name = 'Robert' where name = 'Bob'",
            )
            .await;
        bench.on(Side::Source, CHANGE_ALL).await;
        bench.migrate_with(&[], code).await;
        let found = people(&bench).await;
        assert!(
            found.contains(&format!("{name}|Bob")),
            "{policy}: {found:?}"
        );
        assert!(
            found.contains(&"Ada II|Ada".to_owned()),
            "{policy}: {found:?}"
        );
        let wanted: Vec<String> = status
            .map(|status| format!("[2]|{status}|40000|the row was changed on both sides"))
            .into_iter()
            .collect();
        assert_eq!(findings(&bench).await, wanted, "{policy}");
        // Without another change of the source nothing more happens, and it is still said.
        bench.migrate_with(&[], code).await;
        // The same edit made on the other side ends the conflict.
        bench
            .on(
                Side::Source,
                "update person set name = 'Robert' where id = 2",
            )
            .await;
        bench.migrate_with(&[], 0).await;
        assert!(findings(&bench).await.is_empty(), "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_column_is_seen_when_it_is_edited() {
    let bench = company("keep_target").await;
    for edit in [
        "boss_id = (select id from people where badge = 'Cid')",
        "boss_id = null",
        "score = 2.5",
        "extra = '{}'",
        "kind = 'first'",
        "name = null",
    ] {
        bench
            .on(
                Side::Target,
                &format!("update people set {edit} where badge = 'Bob'"),
            )
            .await;
        bench
            .on(
                Side::Source,
                "update person set name = name || '.' where id = 2",
            )
            .await;
        bench.migrate_with(&[], 3).await;
        let found = findings(&bench).await;
        assert_eq!(
            found,
            ["[2]|conflict|40000|the row was changed on both sides"],
            "{edit}"
        );
        // Put it back to what was applied last: the row is untouched again, and the source's change arrives.
        bench
            .on(Side::Target,
                "update people set boss_id = (select id from people where badge = 'Ada'), score = 2, extra = null,
                 kind = 'second', name = 'Bob' where badge = 'Bob'",
            )
            .await;
        let retried = bench
            .say(&["quarantine", "retry", "--entity", "people", "-q"])
            .await;
        assert_eq!(retried.code, Some(0), "{edit}: {retried:?}");
        bench.migrate_with(&[], 0).await;
        assert!(findings(&bench).await.is_empty(), "{edit}");
        bench
            .on(Side::Source, "update person set name = 'Bob' where id = 2")
            .await;
        bench.migrate_with(&[], 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_removed_in_the_target_is_not_brought_back_in_silence() {
    for (policy, code) in [("keep_target", 3), ("quarantine", 3), ("source_wins", 0)] {
        let bench = company(policy).await;
        bench
            .on(Side::Target, "delete from people where name = 'Eve'")
            .await;
        bench
            .on(Side::Source, "update person set name = 'Eva' where id = 5")
            .await;
        bench.migrate_with(&[], code).await;
        let there = people(&bench).await.contains(&"Eva|Eva".to_owned());
        assert_eq!(there, policy == "source_wins", "{policy}");
    }
}
