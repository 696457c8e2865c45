//! A bench of few tables, written down in the test that needs them.

use super::{Bench, number};
use crate::support::command::Said;
use diffmig::domain::connection::Side;
use diffmig::service::workshop::{Extra, Workshop};
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The superuser of the Supabase stand-in.
pub const ADMIN: &str = "supabase_admin";

impl Bench {
    /// Starts both servers, runs a script on each and writes the mapping.
    pub async fn with_tables(source: &str, target: &str, mapping: &str) -> Bench {
        let bench = Bench::of(Workshop::start_with(&Extra::default()).await.unwrap());
        bench.on(Side::Source, source).await;
        bench.on(Side::Target, target).await;
        bench.map(mapping);
        bench
    }

    /// Writes the mapping anew; the version is added.
    pub fn map(&self, mapping: &str) {
        let text = format!("version = 1\n{mapping}");
        std::fs::write(self.mapping_path(), text).unwrap();
    }

    /// Runs a script as the owner of the tables.
    pub async fn on(&self, side: Side, sql: &str) {
        let mut connection = match side {
            Side::Source => self.source().await,
            Side::Target => self.target().await,
        };
        execute(&mut connection, sql).await;
    }

    /// Opens the target as its superuser, over the socket, where no password is asked for.
    pub async fn admin(&self) -> PgConnection {
        let server = &self.workshop.target;
        let options = PgConnectOptions::new_without_pgpass()
            .socket(server.socket_dir())
            .port(server.port())
            .username(ADMIN)
            .database("postgres");
        PgConnection::connect_with(&options).await.unwrap()
    }

    /// Counts on the source.
    pub async fn in_source(&self, sql: &str) -> i64 {
        number(&mut self.source().await, sql).await
    }

    /// Counts on the target.
    pub async fn in_target(&self, sql: &str) -> i64 {
        number(&mut self.target().await, sql).await
    }

    /// Runs a query of one text on the target.
    pub async fn text_in_target(&self, sql: &str) -> String {
        text(&mut self.target().await, sql).await
    }

    /// Runs a command that must end in a certain way and prints one JSON document.
    pub async fn ask(&self, arguments: &[&str], code: i32) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--json", "-q"]);
        let said = self.say(&arguments).await;
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"))
    }

    /// Runs a migration that must end in a certain way and returns its report.
    pub async fn migrate(&self, code: i32) -> Value {
        self.ask(&["migrate"], code).await
    }

    /// Lists what is set aside: entity, first key part and SQLSTATE of every open row.
    pub async fn set_aside(&self) -> Vec<String> {
        let sql = "select coalesce(string_agg(entity || ' ' || (key ->> 0) || ' ' || status || ' ' || sqlstate, ',' \
                   order by entity collate \"C\", length(key ->> 0), key ->> 0), '') \
                   from diffmig.quarantine where status not in ('resolved', 'waived')";
        let listed = self.text_in_target(sql).await;
        listed
            .split(',')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// A second run right after writes nothing: no batch, and no tuple of a target table.
    pub async fn writes_nothing_more(&self, code: i32) {
        let written = "select coalesce(sum(xmin::text::bigint), 0)::bigint from public.items";
        let before = self.in_target(written).await;
        let batches = self.in_target("select count(*) from diffmig.batch").await;
        let again = self.migrate(code).await;
        for entity in again["entities"].as_array().unwrap() {
            assert_eq!(entity["batches"]["rowsIn"], 0, "{again}");
        }
        assert_eq!(self.in_target(written).await, before);
        assert_eq!(
            self.in_target("select count(*) from diffmig.batch").await,
            batches
        );
    }
}

/// Runs a script.
pub async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"));
}

/// Runs a query that returns one text.
pub async fn text(connection: &mut PgConnection, sql: &str) -> String {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_one(connection)
        .await
        .unwrap()
}

/// A refusal: its exit code, a whole block and these words in it.
pub fn refused(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, Some(code), "{said:?}");
    for part in ["error:", "state:", "next:"] {
        assert!(said.stderr.contains(part), "no {part} in {said:?}");
    }
    for word in words {
        assert!(said.stderr.contains(word), "no {word:?} in {said:?}");
    }
}
