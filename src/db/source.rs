//! The source: one read-only snapshot that all readers of a pass share.

use super::copy::TupleStream;
use super::failure::{Refusal, explain, explain_rows, row_refusal};
use super::server::{Connection, Server, answered};
use super::standing::{self, SourceClock};
use super::statement::Statement;
use super::statement::source::{begin_snapshot, lock_tables};
use crate::domain::connection::Side;
use crate::domain::identifier::{QualifiedName, printable};
use crate::error::{Error, Kind, Result};
use crate::failpoint::pass;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |error| explain(Side::Source, doing, &error)
}

/// The server processes that hold a snapshot and its locks.
#[derive(Debug, Clone, Default)]
pub struct Holders(Arc<Mutex<Vec<i32>>>);

impl Holders {
    async fn add(&self, connection: &mut Connection) -> Result<()> {
        let (pid,): (i32,) = sqlx::query_as("select pg_catalog.pg_backend_pid()")
            .fetch_one(connection)
            .await
            .map_err(failed("joining the snapshot"))?;
        self.lock().push(pid);
        Ok(())
    }

    fn pids(&self) -> Vec<i32> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session of the source that waits for a lock of ours.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Waiter {
    process_id: i32,
    mode: String,
    relation: Option<String>,
}

impl fmt::Display for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({}", self.process_id, self.mode)?;
        if let Some(relation) = &self.relation {
            write!(f, " on {}", printable(relation))?;
        }
        f.write_str(")")
    }
}

/// Looks for a session that waits behind the holders of a snapshot.
///
/// # Errors
/// The query fails or is not answered in time.
pub async fn waiting_behind(
    connection: &mut Connection,
    holders: &Holders,
) -> Result<Option<Waiter>> {
    answered(
        sqlx::query_as(
            "select w.pid as process_id, w.mode, w.relation::regclass::text as relation \
             from pg_catalog.pg_locks w where not w.granted and w.locktype = 'relation' \
             and pg_catalog.pg_blocking_pids(w.pid) && $1 order by w.pid limit 1",
        )
        .bind(holders.pids())
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("looking for those who wait"))
}

/// Ends the holders of a snapshot on the server, so that their locks are free at once.
///
/// # Errors
/// The query fails or is not answered in time.
pub async fn end_backends(connection: &mut Connection, holders: &Holders) -> Result<()> {
    // The name guards against a process id that was given to somebody else meanwhile.
    answered(
        sqlx::query(
            "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity \
             where pid = any($1) and application_name like 'diffmig%'",
        )
        .bind(holders.pids())
        .execute(connection),
    )
    .await
    .map_err(failed("releasing the snapshot"))?;
    Ok(())
}

/// A transaction that keeps a snapshot and its table locks alive.
pub struct Snapshot {
    server: Server,
    keeper: Connection,
    id: String,
    clock: SourceClock,
    holders: Holders,
}

impl Snapshot {
    /// Locks the tables in ACCESS SHARE mode, then takes and exports a snapshot.
    ///
    /// In this order, since a table that is truncated between snapshot and lock would read as empty.
    ///
    /// # Errors
    /// A table is locked by somebody else, is missing, or may not be read.
    pub async fn take(server: &Server, tables: &[QualifiedName]) -> Result<Snapshot> {
        let mut keeper = server.open().await?;
        sqlx::query("begin isolation level repeatable read, read only")
            .execute(&mut keeper)
            .await
            .map_err(failed("beginning to read"))?;
        if !tables.is_empty() {
            sqlx::raw_sql(lock_tables(tables).safe())
                .execute(&mut keeper)
                .await
                .map_err(failed("locking the tables against change of shape"))?;
        }
        let (id,): (String,) = sqlx::query_as("select pg_catalog.pg_export_snapshot()")
            .fetch_one(&mut keeper)
            .await
            .map_err(failed("exporting the snapshot"))?;
        let clock = standing::clock(&mut keeper).await?;
        let holders = Holders::default();
        holders.add(&mut keeper).await?;
        pass!("snapshot.exported");
        Ok(Snapshot {
            server: server.clone(),
            keeper,
            id,
            clock,
            holders,
        })
    }

    /// Opens another reader of the same snapshot.
    ///
    /// # Errors
    /// No connection, or the snapshot is gone.
    pub async fn reader(&self) -> Result<Connection> {
        let mut connection = self.server.open().await?;
        sqlx::raw_sql(begin_snapshot(&self.id).safe())
            .execute(&mut connection)
            .await
            .map_err(failed("joining the snapshot"))?;
        self.holders.add(&mut connection).await?;
        Ok(connection)
    }

    /// Returns when it was taken, in the source's own terms.
    pub fn clock(&self) -> &SourceClock {
        &self.clock
    }

    /// Returns the server processes that hold it, also those that join later.
    pub fn holders(&self) -> Holders {
        self.holders.clone()
    }

    /// Ends the snapshot and gives the locks back.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn release(mut self) -> Result<()> {
        sqlx::query("rollback")
            .execute(&mut self.keeper)
            .await
            .map_err(failed("releasing the snapshot"))?;
        Ok(())
    }
}

/// Counts rows of an entity's source.
///
/// # Errors
/// The query fails.
pub async fn count(
    connection: &mut Connection,
    statement: &Statement,
    entity: &str,
) -> Result<u64> {
    let (count,): (i64,) = sqlx::query_as(statement.safe())
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(|error| explain_rows(Side::Source, "counting rows", entity, &error))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Counts rows on either side.
///
/// # Errors
/// The query fails.
pub async fn count_on(
    side: Side,
    connection: &mut Connection,
    statement: &Statement,
) -> Result<u64> {
    let (count,): (i64,) = sqlx::query_as(statement.safe())
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(|error| explain(side, "counting rows", &error))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Reads names and texts of one row; nothing when there is no such row.
///
/// # Errors
/// The query fails.
pub async fn texts(
    side: Side,
    connection: &mut Connection,
    statement: &Statement,
) -> Result<Vec<(String, Option<String>)>> {
    sqlx::query_as(statement.safe())
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(|error| explain(side, "reading one row", &error))
}

/// Computes values and throws them away; returns what the server refuses, if a value is to blame.
///
/// # Errors
/// The statement fails for another reason.
pub async fn evaluate(
    connection: &mut Connection,
    statement: &Statement,
) -> Result<Option<Refusal>> {
    let computed = sqlx::query(statement.safe())
        .persistent(false)
        .execute(connection)
        .await;
    match computed {
        Ok(_) => Ok(None),
        Err(error) => match row_refusal(&error) {
            Some(refusal) => Ok(Some(refusal)),
            None => Err(failed("computing values")(error)),
        },
    }
}

/// Runs the projection of an entity over no row, so that the server checks it.
///
/// # Errors
/// What the server does not accept.
pub async fn probe(connection: &mut Connection, entity: &str, statement: &Statement) -> Result<()> {
    let doing = format!("checking the mapping of {entity} against the source");
    sqlx::raw_sql(statement.safe())
        .execute(connection)
        .await
        .map_err(|error| explain(Side::Source, &doing, &error))?;
    Ok(())
}

/// Asks the source whether it knows a time zone.
///
/// # Errors
/// It does not.
pub async fn probe_time_zone(connection: &mut Connection, entity: &str, zone: &str) -> Result<()> {
    let question = "select timestamp '2000-01-01' at time zone $1";
    let refusal = format!("{entity}: the source knows no time zone `{zone}`");
    probe_word(connection, question, zone, refusal).await
}

/// Asks the source whether it can read a regular expression.
///
/// # Errors
/// It cannot.
pub async fn probe_pattern(connection: &mut Connection, entity: &str, pattern: &str) -> Result<()> {
    let refusal = format!("{entity}: the source cannot read the format `{pattern}`");
    probe_word(connection, "select '' ~ $1", pattern, refusal).await
}

/// Asks a question about one word of the mapping; a word that the source cannot take is a fault of the mapping.
async fn probe_word(
    connection: &mut Connection,
    question: &'static str,
    word: &str,
    refusal: String,
) -> Result<()> {
    let known = sqlx::query(question).bind(word).execute(connection).await;
    known.map(drop).map_err(|error| match row_refusal(&error) {
        Some(_) => Error::new(Kind::Drift, refusal),
        None => failed("checking a word of the mapping")(error),
    })
}

/// Starts reading rows of an entity.
///
/// # Errors
/// The server refuses the statement.
pub async fn rows<'c>(
    connection: &'c mut Connection,
    statement: &Statement,
    entity: &str,
) -> Result<TupleStream<'c>> {
    TupleStream::open(Side::Source, connection, statement, entity).await
}
