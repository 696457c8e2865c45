//! The source: one read-only snapshot that all readers of a pass share.

use super::copy::TupleStream;
use super::failure::explain;
use super::server::{Connection, Server};
use super::statement::Statement;
use super::statement::source::{begin_snapshot, lock_tables};
use crate::domain::connection::Side;
use crate::domain::identifier::QualifiedName;
use crate::error::{Error, Kind, Result};
use crate::failpoint::pass;

fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |error| explain(Side::Source, doing, &error)
}

/// A transaction that keeps a snapshot and its table locks alive.
pub struct Snapshot {
    server: Server,
    keeper: Connection,
    id: String,
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
        pass!("snapshot.exported");
        Ok(Snapshot {
            server: server.clone(),
            keeper,
            id,
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
        Ok(connection)
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

/// Counts rows of the source.
///
/// # Errors
/// The query fails.
pub async fn count(connection: &mut Connection, statement: &Statement) -> Result<u64> {
    count_on(Side::Source, connection, statement).await
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
    let known = sqlx::query("select timestamp '2000-01-01' at time zone $1")
        .bind(zone)
        .execute(connection)
        .await;
    known
        .map(drop)
        .map_err(|error| match super::failure::row_refusal(&error) {
            Some(_) => Error::new(
                Kind::Drift,
                format!("{entity}: the source knows no time zone `{zone}`"),
            ),
            None => failed("checking a time zone")(error),
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
