//! One throw-away server with the databases of both sides, and lanes in which accidents happen side by side.

use super::scenario;
use crate::support::command::diffmig;
use crate::support::invariants::{Fingerprint, Violation, exit_agrees};
use crate::support::proxy::{Proxy, Rule};
use diffmig::sandbox::{Binaries, Sandbox, Server, ServerOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Child;

/// A run that takes longer hangs; whatever happens to the network of these tests is over at once.
const RUN_LIMIT: Duration = Duration::from_secs(90);
/// One entity after the other in small batches, so that messages are many and their order repeats.
const MIGRATE: &[&str] = &[
    "migrate",
    "--batch-size",
    "3",
    "--max-concurrent",
    "1",
    "-q",
];
/// The template of a source on its first day.
const SOURCE: &str = "source_day1";
/// The template of an empty target.
const EMPTY: &str = "target_empty";

/// The server and its template databases.
pub struct Stand {
    _sandbox: Sandbox,
    server: Server,
}

/// Which databases a lane works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// A first load.
    First,
    /// The changes of a second day.
    Second,
}

/// Runs a script.
pub async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

impl Stand {
    /// Starts the server and fills the templates.
    pub async fn start() -> Stand {
        let sandbox = Sandbox::create(Binaries::find().await.unwrap()).unwrap();
        let options = ServerOptions {
            settings: vec![
                ("max_connections".into(), "100".into()),
                // A worker in a template would be in the way of copying it.
                ("autovacuum".into(), "off".into()),
            ],
            bootstrap_sql: vec![
                "create role legacy_reader login; create role migrator login".into(),
            ],
            ..ServerOptions::default()
        };
        let server = sandbox.start("crash", &options).await.unwrap();
        let stand = Stand {
            _sandbox: sandbox,
            server,
        };
        stand.fill().await;
        stand
    }

    async fn fill(&self) {
        let mut admin = self.connect("postgres", "postgres").await;
        execute(&mut admin, "create database source_day1").await;
        let mut source = self.connect("postgres", "source_day1").await;
        execute(&mut source, &scenario::file("source.sql")).await;
        execute(&mut source, &scenario::file("day1.sql")).await;
        source.close().await.unwrap();
        execute(&mut admin, "create database target_empty owner migrator").await;
        let mut target = self.connect("migrator", EMPTY).await;
        execute(&mut target, &scenario::file("target.sql")).await;
        target.close().await.unwrap();
    }

    async fn copy(&self, admin: &mut PgConnection, from: &str, to: &str) {
        execute(admin, &format!("drop database if exists {to} with (force)")).await;
        // Processes that have been told to go need a moment to be gone.
        let began = std::time::Instant::now();
        let sql = format!("create database {to} template {from} owner migrator");
        while let Err(error) = sqlx::raw_sql(AssertSqlSafe(sql.clone()))
            .execute(&mut *admin)
            .await
        {
            assert!(began.elapsed() < Duration::from_secs(20), "{error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn connect(&self, role: &str, database: &str) -> PgConnection {
        PgConnection::connect(&self.server.url(role, database))
            .await
            .unwrap()
    }

    /// Opens a lane with a source of its own and both proxies.
    ///
    /// For the second day the first one is migrated here, undisturbed: a target knows its source again.
    pub async fn lane(&self, name: &str, day: Day) -> Lane<'_> {
        let mut admin = self.connect("postgres", "postgres").await;
        let database = format!("source_{name}");
        self.copy(&mut admin, SOURCE, &database).await;
        let mut source = self.connect("postgres", &database).await;
        let before = Fingerprint::take(&mut source).await;
        let directory = tempfile::tempdir().unwrap();
        let mapping = scenario::file("diffmig.toml");
        std::fs::write(directory.path().join("diffmig.toml"), mapping).unwrap();
        let mut lane = Lane {
            stand: self,
            name: name.to_owned(),
            template: EMPTY.to_owned(),
            admin,
            source,
            before,
            directory,
            source_proxy: Proxy::start(self.server.port()).await,
            target_proxy: Proxy::start(self.server.port()).await,
        };
        if day == Day::Second {
            lane.load_first_day().await;
        }
        lane
    }
}

/// A source, a target and the way to them.
pub struct Lane<'a> {
    stand: &'a Stand,
    name: String,
    /// What the target is made of.
    template: String,
    admin: PgConnection,
    pub source: PgConnection,
    before: Fingerprint,
    directory: tempfile::TempDir,
    pub source_proxy: Proxy,
    pub target_proxy: Proxy,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// `None` when it was killed, or hung and was killed.
    pub code: Option<i32>,
    pub said: String,
    pub hung: bool,
}

impl Lane<'_> {
    fn target_database(&self) -> String {
        format!("target_{}", self.name)
    }

    /// Migrates the first day, keeps its target as the template, and makes the changes of the second.
    async fn load_first_day(&mut self) {
        self.reset().await;
        let ran = self.run().await;
        assert_eq!(ran.code, Some(scenario::EXIT_CODE), "{ran:?}");
        assert_eq!(self.check(scenario::EXIT_CODE).await, []);
        self.template = format!("loaded_{}", self.name);
        let database = self.target_database();
        self.stand
            .copy(&mut self.admin, &database, &self.template)
            .await;
        execute(&mut self.source, &scenario::file("day2.sql")).await;
        self.accept_source().await;
    }

    /// Makes the target as it was before the day.
    pub async fn reset(&mut self) {
        self.disarm();
        let database = self.target_database();
        let template = &self.template;
        self.stand.copy(&mut self.admin, template, &database).await;
    }

    /// Makes the source as it was before the day.
    pub async fn reset_source(&mut self) {
        let database = format!("source_{}", self.name);
        self.stand.copy(&mut self.admin, SOURCE, &database).await;
        self.source = self.another_source().await;
    }

    /// Opens another connection to the source, one that may write.
    pub async fn another_source(&self) -> PgConnection {
        let database = format!("source_{}", self.name);
        self.stand.connect("postgres", &database).await
    }

    /// Takes the source as it is now for what must not change.
    pub async fn accept_source(&mut self) {
        self.before = Fingerprint::take(&mut self.source).await;
    }

    /// Lets everything through again.
    pub fn disarm(&self) {
        self.source_proxy.arm(Rule::Pass);
        self.target_proxy.arm(Rule::Pass);
    }

    pub async fn target(&self) -> PgConnection {
        self.stand
            .connect("postgres", &self.target_database())
            .await
    }

    /// Prepares a command that reaches the target through a port.
    fn command(&self, arguments: &[&str], target_port: u16) -> std::process::Command {
        let mut command = diffmig(self.directory.path(), arguments);
        let url = |role: &str, port: u16, database: &str| {
            format!("postgresql://{role}@127.0.0.1:{port}/{database}")
        };
        let source = format!("source_{}", self.name);
        let source = url("legacy_reader", self.source_proxy.port(), &source);
        let target = url("migrator", target_port, &self.target_database());
        command
            .env("DIFFMIG_SOURCE_URL", source)
            .env("DIFFMIG_TARGET_URL", target)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a command through both proxies.
    pub fn spawn_command(&self, arguments: &[&str]) -> Child {
        start(self.command(arguments, self.target_proxy.port()))
    }

    /// Starts `migrate` through both proxies.
    pub fn spawn(&self) -> Child {
        self.spawn_command(MIGRATE)
    }

    /// Starts `migrate` with failpoints armed.
    #[cfg(feature = "failpoints")]
    pub fn spawn_armed(&self, failpoints: &str) -> Child {
        let mut command = self.command(MIGRATE, self.target_proxy.port());
        command.env("DIFFMIG_FAILPOINTS", failpoints);
        start(command)
    }

    /// Runs `migrate` to its end.
    pub async fn run(&self) -> Ran {
        wait(self.spawn()).await
    }

    /// Runs `migrate` to its end without the proxy of the target.
    pub async fn run_around(&self) -> Ran {
        wait(start(self.command(MIGRATE, self.stand.server.port()))).await
    }

    /// Checks everything that must hold after a command ended with this code, then that another run
    /// writes nothing.
    pub async fn check(&mut self, code: i32) -> Vec<Violation> {
        let mut found = self.check_rows(code).await;
        found.extend(self.check_run_again(code).await);
        found
    }

    /// Checks what must hold after a command ended with this code.
    pub async fn check_rows(&mut self, code: i32) -> Vec<Violation> {
        let mut target = self.target().await;
        let mut found = scenario::invariants()
            .check(&mut self.source, &mut target)
            .await;
        found.extend(exit_agrees(&mut target, code).await);
        let source = Fingerprint::take(&mut self.source).await;
        found.extend(self.before.differences(&source, "I8"));
        target.close().await.unwrap();
        found
    }

    /// Checks that another run ends the same way and writes nothing.
    pub async fn check_run_again(&mut self, code: i32) -> Vec<Violation> {
        let mut target = self.target().await;
        let rows = Fingerprint::take(&mut target).await;
        let again = self.run().await;
        let mut found = rows.differences(&Fingerprint::take(&mut target).await, "I7");
        if again.code != Some(code) {
            found.push(Violation {
                invariant: "I7",
                what: format!("another run ended otherwise: {again:?}"),
            });
        }
        target.close().await.unwrap();
        found
    }
}

fn start(command: std::process::Command) -> Child {
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).spawn().unwrap()
}

/// Waits for a command, but not for ever.
pub async fn wait(child: Child) -> Ran {
    match tokio::time::timeout(RUN_LIMIT, child.wait_with_output()).await {
        Ok(output) => {
            let Output { status, stderr, .. } = output.unwrap();
            Ran {
                code: status.code(),
                said: String::from_utf8_lossy(&stderr).into_owned(),
                hung: false,
            }
        }
        // Dropping the child has killed it.
        Err(_) => Ran {
            code: None,
            said: String::new(),
            hung: true,
        },
    }
}
