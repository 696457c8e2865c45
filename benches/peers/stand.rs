//! Two throw-away servers, their databases and the ways to them.

use crate::clock::{Cost, output, timed};
use diffmig::sandbox::{Binaries, Sandbox, Server, ServerOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

const USER: &str = "postgres";

/// The servers; they go when this is dropped.
pub struct Stand {
    source: Server,
    target: Server,
    folder: PathBuf,
    _sandbox: Sandbox,
}

fn options(name: &str) -> ServerOptions {
    // Checkpoints and vacuums come when the bench asks for them, not in the middle of somebody's turn.
    let settings = [
        ("shared_buffers", "2GB"),
        ("max_wal_size", "16GB"),
        ("checkpoint_timeout", "1h"),
        ("autovacuum", "off"),
        ("maintenance_work_mem", "256MB"),
    ];
    ServerOptions {
        superuser: USER.into(),
        settings: settings
            .map(|(key, value)| (key.into(), value.into()))
            .into(),
        // The comment tells the two clusters apart, which would be byte copies otherwise.
        bootstrap_sql: vec![format!("comment on database postgres is '{name}'")],
        ..ServerOptions::default()
    }
}

impl Stand {
    /// Starts both servers.
    pub fn start() -> Stand {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (sandbox, source, target) = runtime.block_on(async {
            let binaries = Binaries::find().await.expect("PostgreSQL is installed");
            let sandbox = Sandbox::create(binaries).expect("a directory");
            let source = sandbox.start("source", &options("source")).await;
            let target = sandbox.start("target", &options("target")).await;
            (
                sandbox,
                source.expect("a source"),
                target.expect("a target"),
            )
        });
        let folder = sandbox.path().join("bench");
        std::fs::create_dir(&folder).expect("a folder for mappings");
        Stand {
            source,
            target,
            folder,
            _sandbox: sandbox,
        }
    }

    /// The URL of a source database.
    pub fn source(&self, database: &str) -> String {
        self.source.url(USER, database)
    }

    /// The URL of a target database.
    pub fn target(&self, database: &str) -> String {
        self.target.url(USER, database)
    }

    /// Where files can be put.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Creates an empty database in the place of an older one.
    pub fn create(&self, url: &str) {
        let (server, database) = url.rsplit_once('/').expect("a URL with a database");
        let server = format!("{server}/postgres");
        sql(
            &server,
            &format!("drop database if exists {database} with (force)"),
        );
        sql(&server, &format!("create database {database}"));
    }

    /// Writes a mapping.
    pub fn mapping(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(format!("{name}.toml"));
        std::fs::write(&path, text).expect("a mapping can be written");
        path
    }
}

/// One way of diffmig: a mapping between two databases.
pub struct Way {
    /// The URL of the source.
    pub source: String,
    /// The URL of the target.
    pub target: String,
    /// The mapping file.
    pub mapping: PathBuf,
}

impl Way {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_diffmig"));
        command
            .arg("--config")
            .arg(&self.mapping)
            .args(arguments)
            .arg("-q")
            .current_dir(self.mapping.parent().expect("a folder"))
            .env("DIFFMIG_SOURCE_URL", &self.source)
            .env("DIFFMIG_TARGET_URL", &self.target);
        command
    }

    /// Runs a command of diffmig and takes its cost.
    pub fn run(&self, arguments: &[&str]) -> Cost {
        timed(&mut self.command(arguments))
    }

    /// Detects the changes of a table and keeps them; returns the detection's id.
    pub fn detect(&self, table: &str) -> String {
        let said = output(&mut self.command(&["detect", "--entities", table, "--json"]));
        let said: serde_json::Value = serde_json::from_str(&said).expect("a report");
        said["detectionId"].as_str().expect("an id").to_owned()
    }
}

/// Runs SQL through psql, as one transaction for each call of several statements.
pub fn sql(url: &str, script: &str) {
    output(Command::new("psql").args(["-qXv", "ON_ERROR_STOP=1", url, "-c", script]));
}

/// Asks for one value.
pub fn ask(url: &str, query: &str) -> String {
    let said = output(Command::new("psql").args(["-qXAtv", "ON_ERROR_STOP=1", url, "-c", query]));
    said.trim().to_owned()
}

/// Leaves a database as a long night would: vacuumed, with statistics, all written.
pub fn settle(url: &str) {
    sql(url, "vacuum analyze");
    sql(url, "checkpoint");
}
