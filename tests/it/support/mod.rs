//! What the tests share: a workshop, plain connections, expectations.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

use diffmig::config::{SettingsInput, load};
use diffmig::context::{Context, Interrupt};
use diffmig::service::workshop::{EXPECTED_COUNTS, MAPPING, Workshop};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub mod command;
pub mod followed;
pub mod gate;
pub mod http;
pub mod invariants;
pub mod pgbouncer;
pub mod pooler;
pub mod proxy;
pub mod tables;
pub mod terminal;
pub mod tls;
pub mod wire;

/// A workshop with its mapping in a file.
pub struct Bench {
    pub workshop: Workshop,
    pub directory: tempfile::TempDir,
}

impl Bench {
    /// Starts both servers and loads the first day at scale 1.
    pub async fn day1() -> Bench {
        let bench = Bench::empty().await;
        bench.workshop.load_day1(1).await.unwrap();
        bench
    }

    /// Starts both servers with empty databases.
    pub async fn empty() -> Bench {
        Bench::of(Workshop::start().await.unwrap())
    }

    /// Wraps a workshop that was started otherwise.
    pub fn of(workshop: Workshop) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("diffmig.toml"), MAPPING).unwrap();
        Bench {
            workshop,
            directory,
        }
    }

    /// Reads text rows of the target, with `|` between columns.
    pub async fn target_lines(&self, sql: &str) -> Vec<String> {
        let mut target = self.target().await;
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned()));
        let rows = rows.fetch_all(&mut target).await.unwrap();
        let line = |row: &sqlx::postgres::PgRow| {
            let values = (0..row.len()).map(|at| row.get::<Option<String>, _>(at));
            let values = values.map(|it| it.unwrap_or_else(|| "-".to_owned()));
            values.collect::<Vec<_>>().join("|")
        };
        rows.iter().map(line).collect()
    }

    /// Runs `migrate` and checks how it ends.
    pub async fn migrate_with(&self, arguments: &[&str], code: i32) -> command::Said {
        let mut all = vec!["migrate", "-q"];
        all.extend(arguments);
        let said = self.say(&all).await;
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        said
    }

    pub fn mapping_path(&self) -> PathBuf {
        self.directory.path().join("diffmig.toml")
    }

    /// Opens a context the way the command line does.
    pub async fn context(&self) -> Context {
        let settings = load(&SettingsInput {
            config: self.mapping_path(),
            source_url: Some(self.workshop.source_url()),
            target_url: Some(self.workshop.target_url()),
            insecure: false,
        })
        .unwrap();
        let (events, mut received) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move { while received.recv().await.is_some() {} });
        let opened = Context::open(settings, events, Interrupt::default()).await;
        opened.unwrap_or_else(|error| panic!("{error}\n{:?}", error.cause_text()))
    }

    pub async fn source(&self) -> PgConnection {
        PgConnection::connect(&self.workshop.source_url())
            .await
            .unwrap()
    }

    pub async fn target(&self) -> PgConnection {
        PgConnection::connect(&self.workshop.target_url())
            .await
            .unwrap()
    }

    /// Compares every entity by the hand-written queries of the fixture; returns the compared rows.
    pub async fn compare_all(&self, day: &str) -> usize {
        let mut compared = 0;
        for (entity, rows) in self.compare_rows(day).await {
            let wanted = expected(day)[&entity]["compared"];
            assert_eq!(i64::try_from(rows).unwrap(), wanted, "{day} {entity}");
            compared += rows;
        }
        compared
    }

    /// As [`Bench::compare_all`], for a day without expected counts; returns the compared rows by entity.
    pub async fn compare_rows(&self, day: &str) -> BTreeMap<String, usize> {
        let mut source = self.source().await;
        let mut target = self.target().await;
        let mut compared = BTreeMap::new();
        for (entity, _) in expected("day2") {
            if entity == "total" {
                continue;
            }
            let wanted = rows(&mut source, &expectation(&entity, "source")).await;
            let found = rows(&mut target, &expectation(&entity, "target")).await;
            let differing: Vec<_> = wanted
                .iter()
                .filter(|(key, row)| found.get(*key) != Some(row))
                .take(3)
                .map(|(key, row)| format!("{key}: wanted {row:?}, found {:?}", found.get(key)))
                .collect();
            assert!(
                differing.is_empty(),
                "{day} {entity}:\n{}",
                differing.join("\n")
            );
            let extra: Vec<_> = found
                .keys()
                .filter(|key| !wanted.contains_key(*key))
                .take(3)
                .collect();
            assert!(
                extra.is_empty(),
                "{day} {entity}: rows that must not be there: {extra:?}"
            );
            compared.insert(entity, wanted.len());
        }
        compared
    }
}

fn expectation(entity: &str, side: &str) -> String {
    let path = format!(
        "{}/fixtures/expected/{entity}.{side}.sql",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read_to_string(path).unwrap()
}

/// Runs a query whose columns are all text; the first one is the key.
async fn rows(connection: &mut PgConnection, sql: &str) -> BTreeMap<String, Vec<Option<String>>> {
    let rows = sqlx::query(AssertSqlSafe(sql.trim().trim_end_matches(';').to_owned()))
        .fetch_all(connection)
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            let values = (1..row.len()).map(|index| row.get::<Option<String>, _>(index));
            (row.get::<String, _>(0), values.collect())
        })
        .collect()
}

/// Reads the expected counts of a day by entity.
pub fn expected(day: &str) -> BTreeMap<String, BTreeMap<String, i64>> {
    let all: BTreeMap<String, BTreeMap<String, BTreeMap<String, i64>>> =
        toml::from_str(EXPECTED_COUNTS).unwrap();
    all[day].clone()
}

/// Runs a query that returns one number.
pub async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_one(connection)
        .await
        .unwrap()
}
