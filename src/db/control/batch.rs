//! What a batch did, written in its own transaction.

use crate::db::failure::Refusal;
use crate::db::failure::{is_transient, row_refusal};
use crate::db::server::{Connection, answered};
use crate::db::statement::Statement;
use crate::domain::connection::Side;
use crate::error::{Error, Kind, Result};
use crate::failpoint::pass;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// The outcomes of the rows of one or many batches; `rows_in` is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchCounts {
    /// Rows read for it.
    pub rows_in: i64,
    /// Rows inserted.
    pub inserted: i64,
    /// Rows updated.
    pub updated: i64,
    /// Rows that were right already.
    pub identical: i64,
    /// Rows retired, or remembered as gone.
    pub retired: i64,
    /// Rows left alone because the target was edited.
    pub conflicted: i64,
    /// Rows that wait for a parent.
    pub held: i64,
    /// Rows set aside.
    pub quarantined: i64,
}

impl BatchCounts {
    /// Adds another batch.
    pub fn add(&mut self, other: BatchCounts) {
        self.rows_in += other.rows_in;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.identical += other.identical;
        self.retired += other.retired;
        self.conflicted += other.conflicted;
        self.held += other.held;
        self.quarantined += other.quarantined;
    }

    /// Returns how many rows are in the target now as the source has them.
    pub fn let_in(&self) -> i64 {
        self.inserted + self.updated + self.identical + self.retired
    }

    /// Tells whether every row is accounted for.
    pub fn adds_up(&self) -> bool {
        self.rows_in
            == self.inserted
                + self.updated
                + self.identical
                + self.retired
                + self.conflicted
                + self.held
                + self.quarantined
    }
}

/// How an attempt to apply rows ended.
#[derive(Debug)]
pub enum Attempt {
    /// Applied, not yet committed.
    Applied {
        /// What became of the rows.
        counts: BatchCounts,
        /// Rows that are new in the ledger.
        ledger_rows: i64,
        /// Rows that were left alone because the `xmin` of their target row is not the one that was written.
        edited: i64,
    },
    /// Some row was refused, or did not arrive where it was sent.
    Refused(Refusal),
    /// Worth another try.
    Transient(Error),
}

fn verdict(doing: &str, error: &sqlx::Error) -> Result<Attempt> {
    let explained = crate::db::failure::explain(Side::Target, doing, error);
    match row_refusal(error) {
        Some(refusal) => Ok(Attempt::Refused(refusal)),
        None if is_transient(error) => Ok(Attempt::Transient(explained)),
        None => Err(explained),
    }
}

fn swallowed() -> Attempt {
    Attempt::Refused(Refusal {
        sqlstate: "DM001".into(),
        place: None,
        reason: "suppressed by a trigger or by row security of the target".into(),
    })
}

/// When the checks speak that the target puts off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// After every statement, while the row that breaks one can still be found.
    AtOnce,
    /// When the caller asks for it: rows that come later may be needed.
    AtTheEnd,
}

/// The ledger was changed between two looks at it, by somebody who holds no lease.
fn disturbed() -> Attempt {
    Attempt::Transient(Error::new(
        Kind::Busy,
        "target: rows of a ledger were changed by somebody else",
    ))
}

/// Runs an apply statement and checks that every planned row really arrived.
///
/// # Errors
/// The server refuses for a reason that no single row explains.
pub async fn apply(
    connection: &mut Connection,
    statement: &Statement,
    checks: Checks,
) -> Result<Attempt> {
    #[rustfmt::skip]
    type Row = (i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);
    let row: Row = match answered(
        sqlx::query_as(statement.safe())
            .persistent(false)
            .fetch_one(&mut *connection),
    )
    .await
    {
        Ok(row) => row,
        Err(error) => return verdict("applying a batch", &error),
    };
    let counts = BatchCounts {
        rows_in: row.0,
        inserted: row.1,
        updated: row.2,
        identical: row.3,
        retired: 0,
        conflicted: row.4,
        held: row.5,
        quarantined: row.6,
    };
    if checks == Checks::AtOnce
        && let Some(refused) = settle_constraints(connection).await?
    {
        return Ok(refused);
    }
    pass!("batch.after_upsert");
    if row.10 != row.11 || row.12 != row.13 {
        return Ok(disturbed());
    }
    let arrived = row.7 == counts.inserted && row.8 == counts.updated;
    Ok(if arrived && counts.adds_up() {
        Attempt::Applied {
            counts,
            ledger_rows: row.10,
            edited: row.9,
        }
    } else {
        swallowed()
    })
}

/// Makes deferred constraints speak now, while the row that breaks one can still be found.
///
/// # Errors
/// The server refuses for a reason that no single row explains.
pub async fn settle_constraints(connection: &mut Connection) -> Result<Option<Attempt>> {
    let checked =
        answered(sqlx::raw_sql("set constraints all immediate").execute(&mut *connection)).await;
    match checked {
        Ok(_) => Ok(None),
        Err(error) => verdict("checking deferred constraints", &error).map(Some),
    }
}

/// Moves unique values out of the way; a value that cannot be moved is a refusal.
///
/// # Errors
/// The server refuses for a reason that no single row explains.
pub async fn park(connection: &mut Connection, statement: &Statement) -> Result<Option<Attempt>> {
    let parked = answered(
        sqlx::query(statement.safe())
            .persistent(false)
            .execute(connection),
    );
    match parked.await {
        Ok(_) => Ok(None),
        Err(error) => verdict("making room for moved values", &error).map(Some),
    }
}

/// Runs a retire statement and checks it.
///
/// # Errors
/// The server refuses for a reason that no single row explains.
pub async fn retire(
    connection: &mut Connection,
    statement: &Statement,
    checks: Checks,
) -> Result<Attempt> {
    type Row = (i64, i64, i64, i64, i64, i64, i64, i64);
    let row: Row = match answered(
        sqlx::query_as(statement.safe())
            .persistent(false)
            .fetch_one(&mut *connection),
    )
    .await
    {
        Ok(row) => row,
        Err(error) => return verdict("retiring rows", &error),
    };
    if checks == Checks::AtOnce
        && let Some(refused) = settle_constraints(connection).await?
    {
        return Ok(refused);
    }
    if row.7 != row.0 {
        return Ok(disturbed());
    }
    let counts = BatchCounts {
        rows_in: row.0,
        retired: row.1,
        conflicted: row.2,
        quarantined: row.3,
        ..BatchCounts::default()
    };
    Ok(if row.4 == row.5 && counts.adds_up() {
        Attempt::Applied {
            counts,
            ledger_rows: 0,
            edited: row.6,
        }
    } else {
        swallowed()
    })
}

/// Where a batch stands in its step.
#[derive(Debug, Clone)]
pub struct BatchPlace<'a> {
    /// The session.
    pub session_id: Uuid,
    /// The entity.
    pub entity: &'a str,
    /// The batch's number in the step, from 1.
    pub number: i32,
    /// The lease's epoch.
    pub epoch: i64,
    /// The last key of the batch.
    pub last_key: Option<&'a Value>,
    /// Rows that are new in the ledger.
    pub ledger_rows: i64,
    /// Milliseconds since the batch began to be applied.
    pub elapsed_ms: i32,
    /// Where the time went, if that was measured.
    pub times: Option<BatchTimes>,
}

/// Where the time of a batch went.
#[derive(Debug, Clone, Copy, Default)]
pub struct BatchTimes {
    /// How long its writer waited for rows.
    pub idle: Duration,
    /// How long the rows took to come from the source.
    pub source: Duration,
    /// How long hashing and packing them took; estimated from a sample.
    pub hash: Duration,
    /// How long tries lasted that ended because of somebody's lock, with the pauses after them.
    pub lock: Duration,
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Writes counters and checkpoint of a batch.
///
/// # Errors
/// The statement fails.
pub async fn record(
    connection: &mut Connection,
    place: &BatchPlace<'_>,
    counts: &BatchCounts,
) -> Result<()> {
    answered(sqlx::query(
        "with counted as (insert into diffmig.batch (session_id, entity, number, epoch, rows_in, inserted, updated, \
           identical, retired, conflicted, held, quarantined, elapsed_ms, ledger_rows, idle_ms, source_ms, hash_ms, lock_ms) \
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $15, $16, $17, $18, $19)) \
         insert into diffmig.checkpoint as old (session_id, entity, range, last_key, rows_done) \
         values ($1, $2, 0, $14, $5) on conflict (session_id, entity, range) do update set \
         last_key = coalesce(excluded.last_key, old.last_key), rows_done = old.rows_done + excluded.rows_done, \
         updated_at = now()",
    )
    .bind(place.session_id)
    .bind(place.entity)
    .bind(place.number)
    .bind(place.epoch)
    .bind(counts.rows_in)
    .bind(counts.inserted)
    .bind(counts.updated)
    .bind(counts.identical)
    .bind(counts.retired)
    .bind(counts.conflicted)
    .bind(counts.held)
    .bind(counts.quarantined)
    .bind(place.elapsed_ms)
    .bind(place.last_key)
    .bind(place.ledger_rows)
    .bind(place.times.map(|it| millis(it.idle)))
    .bind(place.times.map(|it| millis(it.source)))
    .bind(place.times.map(|it| millis(it.hash)))
    .bind(place.times.map(|it| millis(it.lock)))
    .execute(&mut *connection))
    .await
    .map_err(super::failed("committing a batch"))?;
    Ok(())
}

/// Commits a batch whose counters are written.
///
/// # Errors
/// The commit fails; whether it happened is then settled by the ledger on the next run.
pub async fn commit(connection: &mut Connection) -> Result<()> {
    pass!("batch.before_commit");
    answered(sqlx::query("commit").execute(connection))
        .await
        .map_err(super::failed("committing a batch"))?;
    pass!("batch.after_commit_before_ack");
    Ok(())
}

/// Commits a transaction that needs no counters of its own.
///
/// # Errors
/// The commit fails.
pub async fn commit_plain(connection: &mut Connection) -> Result<()> {
    answered(sqlx::query("commit").execute(connection))
        .await
        .map_err(super::failed("committing a batch"))?;
    Ok(())
}

/// What the control statements between attempts do.
#[derive(Debug, Clone, Copy)]
pub enum Mark {
    /// Begins an attempt that can be undone.
    Savepoint,
    /// Keeps it.
    Release,
    /// Undoes it.
    RollBackTo,
    /// Ends the transaction without effect.
    RollBack,
}

/// Runs one of them.
///
/// # Errors
/// The connection is gone.
pub async fn mark(connection: &mut Connection, mark: Mark) -> Result<()> {
    let sql = match mark {
        Mark::Savepoint => "savepoint attempt",
        Mark::Release => "release savepoint attempt",
        Mark::RollBackTo => "rollback to savepoint attempt; release savepoint attempt",
        Mark::RollBack => "rollback",
    };
    answered(sqlx::raw_sql(sql).execute(connection))
        .await
        .map_err(super::failed("applying a batch"))?;
    Ok(())
}

/// Tells whether a session that is remembered has committed a batch of an entity.
///
/// # Errors
/// The query fails.
pub async fn has_any(connection: &mut Connection, entity: &str) -> Result<bool> {
    let (found,): (bool,) = answered(
        sqlx::query_as("select exists (select from diffmig.batch where entity = $1)")
            .bind(entity)
            .fetch_one(connection),
    )
    .await
    .map_err(super::failed("reading the batches"))?;
    Ok(found)
}

/// Lets the planner choose any join for the rest of the transaction.
///
/// # Errors
/// The connection is gone.
pub async fn free_planner(connection: &mut Connection) -> Result<()> {
    let sql = "set local enable_hashjoin = on; set local enable_mergejoin = on; set local enable_seqscan = on";
    answered(sqlx::raw_sql(sql).execute(connection))
        .await
        .map_err(super::failed("looking at edited rows"))?;
    Ok(())
}

/// Takes that back: what follows joins few rows with large tables by key.
///
/// # Errors
/// The connection is gone.
pub async fn bind_planner(connection: &mut Connection) -> Result<()> {
    let sql = "set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_seqscan = off";
    answered(sqlx::raw_sql(sql).execute(connection))
        .await
        .map_err(super::failed("looking at edited rows"))?;
    Ok(())
}

/// How long an index may take to be built.
const BUILD_LIMIT: Duration = Duration::from_secs(6 * 3_600);

/// Runs a statement that builds an index, which takes as long as the table is large.
///
/// # Errors
/// The server refuses, or takes longer than six hours.
pub async fn build(
    connection: &mut Connection,
    doing: &'static str,
    statement: &Statement,
) -> Result<()> {
    let building = sqlx::raw_sql(statement.safe()).execute(connection);
    match tokio::time::timeout(BUILD_LIMIT, building).await {
        Ok(built) => built.map(drop).map_err(super::failed(doing)),
        Err(_) => Err(Error::new(Kind::Connect, "the target stopped answering")),
    }
}

/// Returns the ordinals that a statement finds.
///
/// # Errors
/// The server refuses.
pub async fn ordinals(connection: &mut Connection, statement: &Statement) -> Result<Vec<i32>> {
    answered(
        sqlx::query_scalar(statement.safe())
            .persistent(false)
            .fetch_all(connection),
    )
    .await
    .map_err(super::failed("checking the rows of a transaction"))
}

/// Runs statements that return nothing.
///
/// # Errors
/// The server refuses.
pub async fn run(
    connection: &mut Connection,
    doing: &'static str,
    statement: &Statement,
) -> Result<()> {
    answered(sqlx::raw_sql(statement.safe()).execute(connection))
        .await
        .map_err(super::failed(doing))?;
    Ok(())
}
