//! The fixture on two throw-away servers: what `demo` tells its story with and the tests stand on.

use crate::db::script;
use crate::domain::connection::Side;
use crate::error::{Error, Kind, Result};
use crate::sandbox::{Binaries, Sandbox, SandboxError, Server, ServerOptions};

/// The mapping of the fixture.
pub const MAPPING: &str = include_str!("../../fixtures/diffmig.toml");
/// The counts that the fixture must give at scale 1.
pub const EXPECTED_COUNTS: &str = include_str!("../../fixtures/expected/counts.toml");

const LEGACY_SCHEMA: &str = include_str!("../../fixtures/legacy_schema.sql");
const LEGACY_DAY1: &str = include_str!("../../fixtures/legacy_day1.sql");
const LEGACY_DAY2: &str = include_str!("../../fixtures/legacy_day2.sql");
const STAND_IN: &str = include_str!("../../fixtures/supabase_stand_in.sql");
const TARGET_SCHEMA: &str = include_str!("../../fixtures/target_schema.sql");
const TARGET_DAY1: &str = include_str!("../../fixtures/target_day1.sql");
const TARGET_DAY2: &str = include_str!("../../fixtures/target_day2.sql");

/// The password of every role; the servers listen on loopback only and are thrown away.
const PASSWORD: &str = "workshop";
const LEGACY_OWNER: &str = "workshop_owner";
const TARGET_OWNER: &str = "supabase_admin";

fn explain(error: &SandboxError) -> Error {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let explained = Error::new(Kind::Resources, error.to_string()).next(error.next_step());
    match cause {
        Some(cause) => explained.cause(cause),
        None => explained,
    }
}

/// A legacy server and a Supabase stand-in, both removed when this is dropped.
pub struct Workshop {
    sandbox: Sandbox,
    /// Where the legacy server is when it has another version.
    of_source: Option<Sandbox>,
    /// The legacy server.
    pub source: Server,
    /// The Supabase stand-in.
    pub target: Server,
}

fn source_options() -> ServerOptions {
    ServerOptions {
        superuser: LEGACY_OWNER.into(),
        password: Some(PASSWORD.into()),
        // Old applications with distributed transactions have them.
        settings: vec![("max_prepared_transactions".into(), "5".into())],
        bootstrap_sql: vec!["create database legacy;".into()],
        ..ServerOptions::default()
    }
}

/// What a hosted project sets, as far as a local server can.
fn target_options(extra: &Extra) -> ServerOptions {
    let settings = [
        ("statement_timeout", "2min"),
        ("extra_float_digits", "0"),
        ("wal_level", "logical"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ServerOptions {
        superuser: TARGET_OWNER.into(),
        password: Some(PASSWORD.into()),
        settings: settings.into_iter().chain(extra.settings.clone()).collect(),
        files: extra.files.clone(),
        bootstrap_sql: vec![
            STAND_IN.into(),
            format!("alter role postgres password '{PASSWORD}';"),
        ],
        ..ServerOptions::default()
    }
}

/// What the Supabase stand-in gets beyond its usual settings, such as a certificate.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// Lines for `postgresql.conf`; they win over the usual ones.
    pub settings: Vec<(String, String)>,
    /// Files for the data directory.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Workshop {
    /// Starts both servers with empty databases.
    ///
    /// # Errors
    /// There is no PostgreSQL on this machine, or it does not start (exit 15).
    pub async fn start() -> Result<Workshop> {
        Workshop::start_with(&Extra::default()).await
    }

    /// As [`Workshop::start`], with more settings and files for the stand-in.
    ///
    /// # Errors
    /// As [`Workshop::start`].
    pub async fn start_with(extra: &Extra) -> Result<Workshop> {
        let found = tokio::try_join!(Binaries::find_for("source"), Binaries::find_for("target"));
        let (of_source, of_target) = found.map_err(|error| explain(&error))?;
        let create = |binaries| Sandbox::create(binaries).map_err(|error| explain(&error));
        let apart = of_source != of_target;
        let sandbox = create(of_target)?;
        let of_source = apart.then(|| create(of_source)).transpose()?;
        let (source_options, target_options) = (source_options(), target_options(extra));
        let (source, target) = tokio::try_join!(
            of_source
                .as_ref()
                .unwrap_or(&sandbox)
                .start("legacy", &source_options),
            sandbox.start("supabase", &target_options)
        )
        .map_err(|error| explain(&error))?;
        Ok(Workshop {
            sandbox,
            of_source,
            source,
            target,
        })
    }

    /// Returns the URL of the legacy database.
    pub fn source_url(&self) -> String {
        self.source
            .url_with_password(LEGACY_OWNER, PASSWORD, "legacy")
    }

    /// Returns the URL of the target database, as the role that Supabase hands out.
    pub fn target_url(&self) -> String {
        self.target
            .url_with_password("postgres", PASSWORD, "postgres")
    }

    /// Creates both schemas and loads the first day.
    ///
    /// # Errors
    /// A script fails.
    pub async fn load_day1(&self, scale: u32) -> Result<()> {
        let data = LEGACY_DAY1.replace("{{scale}}", &scale.max(1).to_string());
        let source = async {
            self.run(Side::Source, LEGACY_SCHEMA).await?;
            self.run(Side::Source, &data).await
        };
        let target = async {
            self.run(Side::Target, TARGET_SCHEMA).await?;
            self.run(Side::Target, TARGET_DAY1).await
        };
        tokio::try_join!(source, target)?;
        Ok(())
    }

    /// Makes the changes of the second day, on both sides.
    ///
    /// # Errors
    /// A script fails.
    pub async fn load_day2(&self) -> Result<()> {
        self.run(Side::Target, TARGET_DAY2).await?;
        self.run(Side::Source, LEGACY_DAY2).await
    }

    /// Runs a script on one side, with the settings a plain client would have.
    ///
    /// # Errors
    /// The script fails.
    pub async fn run(&self, side: Side, text: &str) -> Result<()> {
        let url = match side {
            Side::Source => self.source_url(),
            Side::Target => self.target_url(),
        };
        script::run(side, &url, text).await
    }

    /// Leaves the servers running and returns the command that stops and removes them.
    ///
    /// # Errors
    /// The marker cannot be written.
    pub fn keep(self) -> Result<String> {
        let stop = self.sandbox.keep().map_err(|error| explain(&error))?;
        let Some(of_source) = self.of_source else {
            return Ok(stop);
        };
        let other = of_source.keep().map_err(|error| explain(&error))?;
        Ok(format!("{stop}; {other}"))
    }
}
