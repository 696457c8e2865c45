//! The generated SQL of three telling entities, held against golden files and prepared on real servers.
//!
//! `DIFFMIG_BLESS=1 cargo nextest run statements` writes the files anew.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use diffmig::db::statement::adopt::AdoptStatements;
use diffmig::db::statement::apply::{ApplyStatements, Writer};
use diffmig::db::statement::content::ContentStatements;
use diffmig::db::statement::retire::Doomed;
use diffmig::db::statement::source::SourceStatements;
use diffmig::db::statement::source::newer::{Since, Window};
use diffmig::db::statement::{Statement, ledger};
use diffmig::domain::key::{Key, KeyType, encode_field};
use diffmig::domain::resolve::ResolvedEntity;
use sqlx::{AssertSqlSafe, Executor};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use uuid::Uuid;

fn key(number: i64) -> Key {
    let mut out = Vec::new();
    encode_field(KeyType::Integer, Some(&number.to_be_bytes()), &mut out).unwrap();
    Key(out)
}

/// Breaks the text where a reader would, without changing what the server reads.
fn readable(sql: &str) -> String {
    let mut text = sql.to_owned();
    for word in [
        " from ",
        " left join ",
        " where ",
        " select ",
        " when ",
        " on conflict ",
        " returning ",
        " union ",
    ] {
        text = text.replace(word, &format!("\n{}", word.trim_start()));
    }
    text.replace("), ", "),\n")
}

/// Every statement of an entity with its name; the writer is fixed, so the text is too.
fn statements(entity: &ResolvedEntity) -> Vec<(&'static str, String)> {
    let mut all = reading(entity);
    let source = SourceStatements::new(entity);
    let ranges = [(1, 9), (10, 99)];
    // The source's only where no filter has a say.
    let by_range = [
        (
            "source: keys counted by ranges",
            source.range_counts(&ranges),
        ),
        (
            "source: keys of some ranges as bits",
            source.range_bits(&ranges),
        ),
    ];
    all.extend(newer(&source));
    let by_range = by_range.into_iter();
    all.extend(by_range.filter_map(|(name, it)| Some((name, text(it?)))));
    all.extend(writing(entity));
    all
}

/// The statements of an adoption: those that judge, which need each other's temporary tables, and the one that writes.
fn adopting(entity: &ResolvedEntity, all: &[ResolvedEntity]) -> Vec<(&'static str, String)> {
    let gathered = BTreeSet::from([entity.name.as_str()]);
    let ledgers: BTreeSet<String> = all.iter().map(|it| it.name.clone()).collect();
    let adopt = AdoptStatements::new(entity, all, &gathered, &ledgers);
    let judging = [
        adopt.create_keys(),
        adopt.claims(),
        adopt.create_links(),
        adopt.owned(),
        adopt.links(),
        adopt.known(),
        adopt.content(),
        adopt.malformed(),
        adopt.native(),
    ];
    let writing = [
        ledger::create_key(entity),
        adopt.create_stage(),
        adopt.record(Uuid::nil(), 7),
    ];
    let joined = |all: &[Statement]| {
        let texts: Vec<&str> = all.iter().map(Statement::as_str).collect();
        texts.join(";\n")
    };
    vec![
        ("adopt: judge", joined(&judging)),
        ("adopt: record", joined(&writing)),
    ]
}

fn text(statement: Statement) -> String {
    statement.as_str().to_owned()
}

/// The statements that read rows that were written since a horizon, by the server's version.
fn newer(source: &SourceStatements) -> Vec<(&'static str, String)> {
    let window = |server_version| Window {
        horizon: 4_294_967_290,
        next_xid: 4_294_967_300,
        server_version,
    };
    let since = |version| text(source.newer(Since::Written(window(version))));
    vec![
        ("source: since a horizon", since(130_000)),
        ("source: since a horizon, on PostgreSQL 14", since(140_000)),
        (
            "source: since a horizon, from a block on",
            text(source.newer_from(window(140_000), 41).unwrap()),
        ),
    ]
}

/// The statements that read the source and the ledger.
fn reading(entity: &ResolvedEntity) -> Vec<(&'static str, String)> {
    let source = SourceStatements::new(entity);
    vec![
        ("source: whole entity", text(source.all())),
        (
            "source: key range",
            text(source.range(&key(1), &key(9)).unwrap()),
        ),
        (
            "source: since a time",
            text(source.newer(Since::Time(chrono::DateTime::UNIX_EPOCH))),
        ),
        ("source: keys", text(source.key_list())),
        ("source: keys as bits", text(source.key_bits().unwrap())),
        (
            "source: slice",
            text(source.slice(Some(&key(3)), Some(&key(8))).unwrap()),
        ),
        (
            "source: key list",
            text(source.keys(&[key(3), key(-4)]).unwrap()),
        ),
        (
            "source: rows of the relation",
            text(source.count_relation()),
        ),
        ("source: rows that pass", text(source.count_passing())),
        ("ledger: create", text(ledger::create(entity))),
        ("ledger: read", text(ledger::read(entity))),
        (
            "ledger: read keys",
            text(ledger::read_keys(entity, &[key(3), key(-4)]).unwrap()),
        ),
        (
            "ledger: read a slice",
            text(ledger::read_slice(entity, Some(&key(3)), None).unwrap()),
        ),
        ("ledger: read what is open", text(ledger::read_open(entity))),
        (
            "ledger: keys as bits",
            text(ledger::key_bits(entity).unwrap()),
        ),
        ("ledger: count", text(ledger::count_live(entity))),
        (
            "ledger: count what is gone",
            text(ledger::count_gone(entity)),
        ),
        (
            "ledger: count by outcome, all rows",
            text(ledger::outcomes(entity, None)),
        ),
        (
            "ledger: count by outcome, special rows only",
            text(ledger::outcomes(entity, Some(1000))),
        ),
    ]
}

/// The statements that apply, and those that compare contents.
fn writing(entity: &ResolvedEntity) -> Vec<(&'static str, String)> {
    let source = SourceStatements::new(entity);
    let apply = ApplyStatements::new(entity);
    let writer = Writer {
        session_id: Uuid::nil(),
        session_number: 7,
    };
    vec![
        ("stage: create", text(apply.create_stage.clone())),
        ("stage: fill", text(apply.copy_stage.clone())),
        ("stage: forget earlier findings", text(apply.forget())),
        ("apply", text(apply.apply(writer, 0, 4999))),
        (
            "content: everything",
            text(ContentStatements::new(entity).everything(Some(2.5))),
        ),
        (
            "content: native rows",
            text(ContentStatements::native(
                &entity.target,
                &entity.id_column,
                &["workshops", &entity.name],
            )),
        ),
        ("source: a sample", text(source.sample(2.5))),
        (
            "content: staged rows that seem edited",
            text(ContentStatements::new(entity).staged(&apply)),
        ),
        (
            "retire",
            text(
                apply
                    .retire(writer, &[Doomed::new(key(3)), Doomed::new(key(-4))])
                    .unwrap(),
            ),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_sql_is_as_reviewed_and_both_servers_accept_it() {
    let bench = Bench::day1().await;
    bench
        .say(&["migrate", "--entities", "workshops", "-q"])
        .await;
    let context = bench.context().await;
    let (mut source, mut target) = (bench.source().await, bench.target().await);
    let mut faults = Vec::new();
    for name in ["clients", "entries", "topics"] {
        let entity = context.entities.iter().find(|it| it.name == name).unwrap();
        let mut golden = String::new();
        let adopting = adopting(entity, &context.entities);
        for (title, sql) in statements(entity).into_iter().chain(adopting) {
            writeln!(golden, "-- {title}\n{}\n", readable(&sql)).unwrap();
            if title == "stage: fill" {
                continue;
            }
            let server = if title.starts_with("source") {
                &mut source
            } else {
                &mut target
            };
            // Preparing is not enough for several statements in one text, so all of it is executed.
            let executed = server
                .execute(AssertSqlSafe(format!("begin;{sql};rollback")))
                .await;
            let created = title == "stage: create";
            if let Err(error) = executed {
                faults.push(format!("{name} {title}: {error}"));
            } else if created {
                target.execute(AssertSqlSafe(sql)).await.unwrap();
            }
        }
        let path = format!(
            "{}/tests/it/golden/sql/{name}.sql",
            env!("CARGO_MANIFEST_DIR")
        );
        if std::env::var_os("DIFFMIG_BLESS").is_some() {
            std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
            std::fs::write(&path, &golden).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != golden {
            faults.push(format!("{name}: the SQL is not what {path} holds"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
