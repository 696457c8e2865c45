//! Where the source stands: its transactions, its timeline, and the shape of its tables.

use super::failure::{explain, explain_rows};
use super::server::{Connection, answered};
use super::statement::Statement;
use crate::domain::connection::Side;
use crate::error::{Error, Result};
use chrono::{DateTime, Utc};

/// When a snapshot was taken, in the source's own terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceClock {
    /// The oldest transaction that was still running, with its epoch (`pg_snapshot_xmin`).
    pub horizon: i64,
    /// The next transaction (`pg_snapshot_xmax`).
    pub next_xid: i64,
    /// The server's timeline; empty when the role may not know it.
    pub timeline: String,
    /// The server's clock.
    pub now: DateTime<Utc>,
}

fn failed(error: sqlx::Error) -> Error {
    explain(Side::Source, "reading where the source stands", &error)
}

/// Reads the clock; inside of a repeatable-read transaction it is that of its snapshot.
///
/// # Errors
/// The query fails.
pub async fn clock(connection: &mut Connection) -> Result<SourceClock> {
    // `txid_` has the same numbers as `pg_snapshot_`, and PostgreSQL 12 has it as well.
    let (horizon, next_xid, now, standby, allowed): (i64, i64, DateTime<Utc>, bool, bool) = answered(
        sqlx::query_as(
            "select pg_catalog.txid_snapshot_xmin(s.s), pg_catalog.txid_snapshot_xmax(s.s), pg_catalog.now(), \
             pg_catalog.pg_is_in_recovery(), \
             pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'execute') \
             and pg_catalog.has_function_privilege('pg_catalog.pg_current_wal_lsn()', 'execute') \
             and pg_catalog.has_function_privilege('pg_catalog.pg_walfile_name(pg_lsn)', 'execute') \
             from (select pg_catalog.txid_current_snapshot() as s) s",
        )
        .fetch_one(&mut *connection),
    )
    .await
    .map_err(failed)?;
    let timeline = match (allowed, standby) {
        (false, _) => String::new(),
        // What a primary writes carries its timeline at once; its control file only from the next checkpoint on.
        (true, false) => timeline(
            connection,
            "select pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)",
        )
        .await?,
        (true, true) => timeline(
            connection,
            "select pg_catalog.lpad(pg_catalog.upper(pg_catalog.to_hex(timeline_id)), 8, '0') \
             from pg_catalog.pg_control_checkpoint()",
        )
        .await?,
    };
    Ok(SourceClock {
        horizon,
        next_xid,
        timeline,
        now,
    })
}

async fn timeline(connection: &mut Connection, statement: &'static str) -> Result<String> {
    answered(sqlx::query_scalar(statement).fetch_one(connection))
        .await
        .map_err(failed)
}

/// Digests the shape of tables and their partitions, and tells whether all of them keep rows of their own.
///
/// # Errors
/// The query fails.
pub async fn shape(connection: &mut Connection, tables: &[i64]) -> Result<(String, bool)> {
    let oids: Vec<sqlx::postgres::types::Oid> = tables
        .iter()
        .filter_map(|oid| u32::try_from(*oid).ok())
        .map(sqlx::postgres::types::Oid)
        .collect();
    let (shape, plain): (String, Option<bool>) = answered(
        sqlx::query_as(include_str!("catalog/shape.sql"))
            .bind(oids)
            .fetch_one(connection),
    )
    .await
    .map_err(failed)?;
    Ok((shape, plain.unwrap_or(true)))
}

/// Runs a statement that counts a table's rows and those of them that are newer than a watermark.
///
/// # Errors
/// The query fails.
pub async fn count_newer(connection: &mut Connection, statement: &Statement) -> Result<(u64, u64)> {
    let (rows, newer): (i64, i64) = sqlx::query_as(statement.safe())
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(|error| explain(Side::Source, "counting rows", &error))?;
    Ok((
        u64::try_from(rows).unwrap_or(0),
        u64::try_from(newer).unwrap_or(0),
    ))
}

/// What a server knows of an integer key and the index of it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct IndexedKey {
    /// Whether a valid index of the key alone has every row that a query of the table reads.
    has_all: bool,
    relpages: i32,
    relallvisible: i32,
    correlation: Option<f64>,
    /// Keys that part the rows into slices of about the same size; none when the table was never analysed.
    pub histogram: Option<Vec<i64>>,
}

impl IndexedKey {
    /// Tells whether walking along the index does not jump about in the table: nearly all pages are known to be
    /// visible, so that they are not looked at, or the rows lie in the order of the key.
    pub fn is_walked_easily(&self) -> bool {
        let is_visible =
            self.relpages > 0 && i64::from(self.relallvisible) * 10 >= i64::from(self.relpages) * 9;
        self.has_all && (is_visible || self.correlation.is_some_and(|it| it.abs() >= 0.9))
    }
}

/// Looks how a table's rows can be counted by ranges of an integer key; `None` when there is no such table.
///
/// # Errors
/// The query fails.
pub async fn indexed_key(
    side: Side,
    connection: &mut Connection,
    table: &str,
    column: &str,
) -> Result<Option<IndexedKey>> {
    answered(
        sqlx::query_as(include_str!("catalog/indexed_key.sql"))
            .bind(table)
            .bind(column)
            .fetch_optional(connection),
    )
    .await
    .map_err(|error| explain(side, "looking at the index of the key", &error))
}

/// What one pass over a table has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// All rows.
    pub relation: u64,
    /// Those that pass.
    pub passing: u64,
    /// Where those of them lie that were written in a window, if that was asked.
    pub newer: Option<Newer>,
}

/// Where the rows lie that were written in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newer {
    /// The block of the first one; nothing when there is none.
    pub first_block: Option<u32>,
    /// How many blocks the table has; 0 when its rows lie in other tables.
    pub blocks: u64,
}

impl Newer {
    /// Returns the block from which on they are read: nothing when that is most of the table, which all workers
    /// together read faster.
    pub fn start(&self) -> Option<u32> {
        let first = self.first_block?;
        let before = u64::from(first);
        (self.blocks > 0 && before > self.blocks / 2).then_some(first)
    }
}

/// Counts rows in one pass; see [`SourceStatements::count_at_once`](super::statement::source::SourceStatements::count_at_once).
///
/// # Errors
/// The query fails.
pub async fn count_at_once(
    connection: &mut Connection,
    statement: &Statement,
    entity: &str,
) -> Result<Totals> {
    type Row = (i64, i64, Option<String>, Option<i64>);
    let (all, passing, first, blocks): Row = sqlx::query_as(statement.safe())
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(|error| explain_rows(Side::Source, "counting rows", entity, &error))?;
    // `(block,place)`
    let block = |ctid: &str| ctid.trim_start_matches('(').split(',').next()?.parse().ok();
    let block = |ctid: String| block(&ctid).unwrap_or(0);
    Ok(Totals {
        relation: u64::try_from(all).unwrap_or(0),
        passing: u64::try_from(passing).unwrap_or(0),
        newer: blocks.map(|blocks| Newer {
            first_block: first.map(block),
            blocks: u64::try_from(blocks).unwrap_or(0),
        }),
    })
}

/// Asks for two numbers.
///
/// # Errors
/// The query fails.
pub async fn bounds(
    side: Side,
    connection: &mut Connection,
    statement: &Statement,
) -> Result<(i64, i64)> {
    sqlx::query_as(statement.safe())
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(|error| explain(side, "looking for the first and the last key", &error))
}

/// How a statement is best planned, where the planner cannot know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planner {
    /// As the server is set up.
    Usual,
    /// With all the workers that there are: it reads a whole table for a few rows.
    Parallel,
    /// By an index: it names keys, of which there are fewer than a scan would look at.
    ByKey,
    /// By walking along an index: it counts ranges of keys, and a bitmap would read the table as well.
    ByRange,
    /// Groups are hashed, and no worker is asked: the planner takes every key for a group of its own, so it
    /// would sort them, and workers would only hand all rows over.
    Hashing,
}

/// Tells the planner so until the end of the transaction, or until it is told otherwise.
///
/// # Errors
/// The connection is gone.
pub async fn plan(side: Side, connection: &mut Connection, planner: Planner) -> Result<()> {
    let sql = match planner {
        Planner::Usual => {
            "set local parallel_tuple_cost to default; set local parallel_setup_cost to default; \
             set local enable_sort to default; set local enable_seqscan to default; \
             set local enable_bitmapscan to default; set local max_parallel_workers_per_gather to default"
        }
        Planner::Parallel => "set local parallel_tuple_cost = 0; set local parallel_setup_cost = 0",
        Planner::ByKey => {
            "set local enable_seqscan = off; set local max_parallel_workers_per_gather = 0"
        }
        Planner::ByRange => {
            "set local enable_seqscan = off; set local enable_bitmapscan = off; \
             set local max_parallel_workers_per_gather = 0"
        }
        Planner::Hashing => {
            "set local enable_sort = off; set local max_parallel_workers_per_gather = 0"
        }
    };
    answered(sqlx::raw_sql(sql).execute(connection))
        .await
        .map(drop)
        .map_err(|error| explain(side, "planning a scan", &error))
}

/// Begins a transaction in which every look at the ledgers sees the same, and large ones are read whole.
///
/// # Errors
/// The query fails.
pub async fn begin_ledger_view(connection: &mut Connection) -> Result<()> {
    answered(
        sqlx::raw_sql(
            "begin isolation level repeatable read, read only; set local enable_seqscan = on; \
             set local enable_hashjoin = on; set local enable_mergejoin = on; \
             set local idle_in_transaction_session_timeout = 0",
        )
        .execute(connection),
    )
    .await
    .map(drop)
    .map_err(|error| explain(Side::Target, "reading the ledgers", &error))
}

/// Ends it.
///
/// # Errors
/// The query fails.
pub async fn end_ledger_view(connection: &mut Connection) -> Result<()> {
    answered(sqlx::query("rollback").execute(connection))
        .await
        .map(drop)
        .map_err(|error| explain(Side::Target, "reading the ledgers", &error))
}
