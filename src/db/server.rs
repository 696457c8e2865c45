//! Opens connections with every setting pinned and verified.

use super::failure::{explain, explain_connect};
use crate::domain::connection::{ConnectionSpec, Side, TlsMode};
use crate::error::{Error, Kind, Result};
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Executor, Row};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One connection to PostgreSQL.
pub type Connection = PgConnection;

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the settings may take; they touch no table.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection that was left is good: long enough for the next step, too short for it to be gone.
const SPARE_FOR: Duration = Duration::from_secs(3);
/// How many are kept.
const SPARES: usize = 3;

/// How long a pooler may take to put a session aside that somebody left.
const POOLERS_MOMENT: Duration = Duration::from_millis(100);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Everything that changes how values look or whether rows are seen. Poolers drop start-up
/// parameters, so these are statements, and the result is read back.
const PINNED: &[(&str, &str, &str)] = &[
    ("TimeZone", "'UTC'", "UTC"),
    ("DateStyle", "'ISO, MDY'", "ISO, MDY"),
    ("IntervalStyle", "'postgres'", "postgres"),
    ("bytea_output", "'hex'", "hex"),
    ("extra_float_digits", "1", "1"),
    ("client_encoding", "'UTF8'", "UTF8"),
    ("standard_conforming_strings", "on", "on"),
    ("row_security", "off", "off"),
    (
        "default_transaction_isolation",
        "'read committed'",
        "read committed",
    ),
    ("client_min_messages", "error", "error"),
    ("jit", "off", "off"),
];

/// How long one statement of a batch may take; a server that is silent for longer counts as gone.
const STATEMENT_LIMIT: Duration = Duration::from_secs(300);

/// Waits for a statement of the target, but not for ever: a connection whose other end vanished says nothing.
///
/// # Errors
/// The driver's error, or a time-out in its form.
pub(crate) async fn answered<T>(
    statement: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    let silent = |_| {
        let text = format!(
            "the server did not answer within {} s",
            STATEMENT_LIMIT.as_secs()
        );
        sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
    };
    tokio::time::timeout(STATEMENT_LIMIT, statement)
        .await
        .map_err(silent)?
}

/// A database that connections are opened to.
#[derive(Debug, Clone)]
pub struct Server {
    spec: ConnectionSpec,
    search_path: String,
    /// What the server's administrator sees in `pg_stat_activity`.
    application_name: String,
    /// Whether the server ends a statement that somebody may have stopped to wait for.
    is_for_questions: bool,
    spare: Spare,
}

/// Connections that somebody has no more use for, shared by all ways to a database that pin the same settings.
#[derive(Clone, Default)]
struct Spare(Arc<Mutex<Vec<Left>>>);

/// A connection that was left, and when.
struct Left {
    since: Instant,
    connection: Connection,
}

impl fmt::Debug for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spare")
    }
}

impl Spare {
    fn lock(&self) -> MutexGuard<'_, Vec<Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the one that was left last, if it was just now; and those that waited for too long.
    fn take(&self) -> (Option<Connection>, Vec<Left>) {
        let mut spare = self.lock();
        let late = spare
            .iter()
            .take_while(|it| it.since.elapsed() >= SPARE_FOR);
        let late = late.count();
        let late = spare.drain(..late).collect();
        (spare.pop().map(|it| it.connection), late)
    }
}

/// Says goodbye to connections, so that they are gone when connections are counted; whatever they say to that.
async fn close(left: Vec<Left>) {
    for it in left {
        let _ = tokio::time::timeout(GOODBYE, it.connection.close()).await;
    }
}

impl Server {
    /// Prepares the way to a database; nothing is opened yet.
    ///
    /// `schema` is what unqualified names mean: in source queries, and in the target's own triggers.
    pub fn new(spec: ConnectionSpec, schema: &str) -> Self {
        // Commands that read only the control schema have no mapping and so no schema of their own.
        let schema = if schema.is_empty() { "public" } else { schema };
        let schema = crate::domain::identifier::quote_identifier(schema);
        let search_path = match spec.side {
            Side::Source => schema,
            // Our own statements qualify every name; triggers and functions of the target may not.
            Side::Target => format!("{schema}, public, extensions"),
        };
        Server {
            spec,
            search_path,
            application_name: "diffmig".to_owned(),
            is_for_questions: false,
            spare: Spare::default(),
        }
    }

    /// Returns the same way for the holder of a lease: whoever takes the lease over finds and ends its connections.
    pub fn of_epoch(&self, epoch: i64) -> Server {
        Server {
            application_name: format!("diffmig {epoch}"),
            ..self.clone()
        }
    }

    /// Returns the same way for questions that somebody waits for: none goes on for more than 30 seconds, since nobody
    /// may be there any more.
    pub fn for_questions(&self) -> Server {
        Server {
            is_for_questions: true,
            spare: Spare::default(),
            ..self.clone()
        }
    }

    /// What is pinned, and how long things may take.
    ///
    /// A transaction may be silent for ever on the source, since the snapshot lives in one. On the target a process
    /// that fell silent (its machine lost power or its network) must not keep the lease and rows locked: the server
    /// ends its transaction before the next holder's `lock_timeout` of 30 seconds.
    fn pinned(&self) -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
        let silence = match self.spec.side {
            Side::Source => &("idle_in_transaction_session_timeout", "0", "0"),
            Side::Target => &("idle_in_transaction_session_timeout", "'20s'", "20s"),
        };
        let statement = match self.is_for_questions {
            true => &("statement_timeout", "'30s'", "30s"),
            false => &("statement_timeout", "0", "0"),
        };
        PINNED.iter().chain([silence, statement])
    }

    /// Returns the way to the database.
    pub fn spec(&self) -> &ConnectionSpec {
        &self.spec
    }

    fn options(&self) -> PgConnectOptions {
        let spec = &self.spec;
        let mode = match spec.tls {
            TlsMode::Disable => PgSslMode::Disable,
            TlsMode::Prefer => PgSslMode::Prefer,
            TlsMode::Require => PgSslMode::Require,
            TlsMode::VerifyCa => PgSslMode::VerifyCa,
            TlsMode::VerifyFull => PgSslMode::VerifyFull,
        };
        let mut options = PgConnectOptions::new_without_pgpass()
            .username(&spec.user)
            .database(&spec.database)
            .port(spec.port)
            .ssl_mode(mode)
            // PgBouncer refuses start-up parameters that it does not know; this one is pinned later.
            .extra_float_digits(None)
            .application_name(&self.application_name);
        options = if spec.host.starts_with('/') {
            options.socket(&spec.host)
        } else {
            options.host(&spec.host)
        };
        // The driver has filled in what PGPASSWORD and PGSSLROOTCERT hold, for both databases alike.
        let password = spec.password.as_ref().map_or("", |it| it.reveal());
        options = options.password(password);
        options = match &spec.root_certificate {
            Some(file) => options.ssl_root_cert(file),
            None => options.ssl_root_cert_from_pem(Vec::new()),
        };
        options.disable_statement_logging()
    }

    /// Leaves a connection, in no transaction and with its settings as they were, to whoever opens the next one:
    /// coming up costs more than most questions of a night in which nothing changed.
    pub fn leave(&self, connection: Connection) {
        let mut spare = self.spare.lock();
        if spare.len() < SPARES {
            spare.push(Left {
                since: Instant::now(),
                connection,
            });
        }
    }

    /// Closes what was left here, where nobody will open the next one soon.
    pub async fn close_spares(&self) {
        let left = std::mem::take(&mut *self.spare.lock());
        close(left).await;
    }

    /// Takes a connection that was just left here, under this way's name.
    async fn take_spare(&self) -> Option<Connection> {
        let (spare, late) = self.spare.take();
        close(late).await;
        let mut connection = spare?;
        let name = crate::domain::identifier::quote_literal(&self.application_name);
        let sql = format!("set application_name = {name}");
        let renaming = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection);
        // One that does not answer is of no use to anybody.
        let renamed = tokio::time::timeout(SETTINGS_TIMEOUT, renaming).await;
        renamed.ok()?.ok().map(|_| connection)
    }

    /// Opens a connection, pins its settings and verifies them; takes one that was just left here first.
    ///
    /// # Errors
    /// No connection, a refusal, or a setting that does not hold (a transaction-mode pooler).
    pub async fn open(&self) -> Result<Connection> {
        match self.take_spare().await {
            Some(connection) => Ok(connection),
            None => self.open_new().await,
        }
    }

    async fn open_new(&self) -> Result<Connection> {
        let options = self.options();
        let connecting = PgConnection::connect_with(&options);
        let mut connection = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(explain_connect(&self.spec, &error)),
            Err(_) => {
                let what = format!("{}: cannot connect to {}", self.spec.side.word(), self.spec);
                return Err(Error::new(Kind::Connect, what)
                    .cause(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))
                    .state("nothing was started")
                    .next("run the same command again"));
            }
        };
        match tokio::time::timeout(SETTINGS_TIMEOUT, self.pin(&mut connection)).await {
            Ok(result) => result.map(|()| connection),
            Err(_) => Err(Error::new(Kind::Connect, "the server stopped answering")),
        }
    }

    /// Refuses a pooler that hands one session of the server to two of ours, or two to one. The second one is left here.
    ///
    /// # Errors
    /// It does (exit 14), or no second connection can be had.
    pub async fn refuse_pooler(&self, first: &mut Connection) -> Result<()> {
        let mut second = self.open_new().await?;
        let one = self.backend(first).await?;
        let other = self.backend(&mut second).await?;
        let again = self.backend(first).await?;
        if one == other || one != again {
            return Err(pooled(self.spec.side, "sessions are shared"));
        }
        self.leave(second);
        Ok(())
    }

    /// Tells whether a pooler hands on sessions that others have used: one that was there before we came.
    ///
    /// # Errors
    /// No further connection can be had.
    pub async fn is_pooled(&self, first: &mut Connection) -> Result<bool> {
        let failed = |error: sqlx::Error| explain(self.spec.side, "looking for a pooler", &error);
        // As all that follow, so that they are gone when connections are counted.
        self.close_spares().await;
        let left = self.open_new().await?;
        // A pooler keeps the session that this one leaves behind.
        left.close().await.map_err(failed)?;
        tokio::time::sleep(POOLERS_MOMENT).await;
        let before: DateTime<Utc> =
            answered(sqlx::query_scalar("select pg_catalog.clock_timestamp()").fetch_one(first))
                .await
                .map_err(failed)?;
        let mut next = self.open_new().await?;
        let began: Option<DateTime<Utc>> = answered(
            sqlx::query_scalar(
                "select a.backend_start from pg_catalog.pg_stat_activity a where a.pid = pg_catalog.pg_backend_pid()",
            )
            .fetch_one(&mut next),
        )
        .await
        .map_err(failed)?;
        next.close().await.map_err(failed)?;
        Ok(began.is_some_and(|began| began < before))
    }

    /// Asks a pooler for the address of the server behind it, in one statement and without any setting.
    pub async fn behind(&self) -> Option<String> {
        let asking = async {
            let mut connection = PgConnection::connect_with(&self.options()).await?;
            let row = sqlx::raw_sql(
                "select coalesce(pg_catalog.host(pg_catalog.inet_server_addr()), 'its own machine') || ':' || \
                 coalesce(pg_catalog.inet_server_port()::text, pg_catalog.current_setting('port'))",
            )
            .fetch_one(&mut connection)
            .await?;
            row.try_get(0)
        };
        let asked = tokio::time::timeout(SETTINGS_TIMEOUT, asking).await;
        asked.ok().and_then(Result::ok)
    }

    async fn backend(&self, connection: &mut Connection) -> Result<i32> {
        let asked = sqlx::raw_sql("select pg_catalog.pg_backend_pid()").fetch_one(connection);
        let asked = tokio::time::timeout(SETTINGS_TIMEOUT, asked).await;
        let failed = |error: sqlx::Error| explain(self.spec.side, "setting the session up", &error);
        match asked {
            Ok(row) => row.and_then(|row| row.try_get(0)).map_err(failed),
            Err(_) => Err(Error::new(Kind::Connect, "the server stopped answering")),
        }
    }

    async fn pin(&self, connection: &mut Connection) -> Result<()> {
        let side = self.spec.side;
        let mut settings = format!("set search_path = {};", self.search_path);
        for (name, value, _) in self.pinned() {
            settings.push_str(&format!("set {name} = {value};"));
        }
        if side == Side::Target {
            // A batch that waits longer for somebody's lock is given up and tried again.
            settings.push_str("set lock_timeout = '30s';");
            // Batches join few rows with large tables by key. Stage tables have no statistics, and one
            // scan of a whole ledger would cost more than every probe of its index.
            settings.push_str(
                "set enable_hashjoin = off; set enable_mergejoin = off; set enable_seqscan = off;",
            );
        } else {
            settings.push_str("set default_transaction_read_only = on; set lock_timeout = '30s';");
        }
        let version = connection.server_version_num().unwrap_or(0);
        // Not every version has these; a pass over a large source outlasts any of them.
        settings.push_str(
            "select pg_catalog.set_config(name, '0', false) \
             from pg_catalog.unnest('{transaction_timeout, idle_session_timeout}'::text[]) as name \
             where pg_catalog.current_setting(name, true) is not null;",
        );
        settings.push_str(&quiet(version));
        let doing = "setting the session up";
        let done = connection.execute(AssertSqlSafe(settings)).await;
        done.map_err(|error| explain(side, doing, &error))?;
        let names: Vec<String> = self
            .pinned()
            .map(|(name, _, _)| (*name).to_owned())
            .collect();
        let shown: sqlx::Result<Vec<(String, String)>> = sqlx::query_as(
            "select name, pg_catalog.current_setting(name) from pg_catalog.unnest($1::text[]) as name",
        )
        .bind(names)
        .fetch_all(&mut *connection)
        .await;
        let shown = match shown {
            // The statement was prepared in one session and looked for in another.
            Err(sqlx::Error::Database(error))
                if matches!(error.code().as_deref(), Some("26000" | "42P05")) =>
            {
                return Err(pooled(side, "a prepared statement does not stay"));
            }
            shown => shown.map_err(|error| explain(side, doing, &error))?,
        };
        for (name, _, wanted) in self.pinned() {
            let found = shown.iter().find(|(shown, _)| shown == name);
            if found.is_none_or(|(_, value)| value != wanted) {
                return Err(pooled(
                    side,
                    &format!("the session setting {name} does not hold"),
                ));
            }
        }
        Ok(())
    }
}

/// Keeps rows out of the server's log where this role may: it logs them whole beside the errors
/// that bad ones cause. A role that may not is no worse off than any other client.
fn quiet(version: u32) -> String {
    let granted = if version >= 150_000 {
        " or pg_catalog.has_parameter_privilege('log_error_verbosity', 'set')"
    } else {
        ""
    };
    format!(
        "select pg_catalog.set_config('log_error_verbosity', 'terse', false) \
         where (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user){granted};"
    )
}

fn pooled(side: Side, sign: &str) -> Error {
    let what = format!(
        "{}: a pooler in transaction mode stands before the server ({sign})",
        side.word()
    );
    Error::new(Kind::Guard, what)
        .cause("it gives every statement another session, so settings and stage tables do not hold")
        .state("nothing was started")
        .next("use the direct address or the pooler's session mode (port 5432)")
}
