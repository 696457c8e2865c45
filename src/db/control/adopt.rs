//! Adoptions: their sessions, and what their statements return.

use super::failed;
use super::lease::{fenced, holder};
use crate::db::server::{Connection, answered};
use crate::db::statement::Statement;
use crate::domain::session::SessionState;
use crate::error::Result;
use uuid::Uuid;

/// The command under which sessions of adoptions are stored.
pub const COMMAND: &str = "adopt";
/// What stays written of an adoption that did not come to its end.
const UNFINISHED: &str = "it did not come to its end; diffmig adopt goes on from there";

/// Who adopts.
#[derive(Debug, Clone)]
pub struct Adopter<'a> {
    /// The session.
    pub session_id: Uuid,
    /// The mapping.
    pub mapping_digest: &'a str,
    /// Host name.
    pub host: &'a str,
    /// Process id.
    pub process_id: i32,
}

/// Begins the transaction in which claims are gathered and judged: everything in it sees the same rows.
///
/// # Errors
/// The query fails.
pub async fn begin_view(connection: &mut Connection) -> Result<()> {
    answered(
        sqlx::raw_sql(
            "begin isolation level repeatable read; set local enable_seqscan = on; \
             set local enable_hashjoin = on; set local enable_mergejoin = on; \
             set local idle_in_transaction_session_timeout = 0",
        )
        .execute(connection),
    )
    .await
    .map(drop)
    .map_err(failed("reading the target"))
}

/// Ends it; the temporary tables go with it.
///
/// # Errors
/// The query fails.
pub async fn end_view(connection: &mut Connection) -> Result<()> {
    answered(sqlx::query("rollback").execute(connection))
        .await
        .map(drop)
        .map_err(failed("reading the target"))
}

/// Notes the session inside of a batch's transaction, if no earlier batch did; returns its number.
///
/// It is written as failed until it has come to its end: it must not be taken up by a later `migrate`.
///
/// # Errors
/// The query fails.
pub async fn note_session(connection: &mut Connection, adopter: &Adopter<'_>) -> Result<i32> {
    answered(
        sqlx::query_scalar(
            "with known as (select number from diffmig.session where session_id = $1), \
             begun as (insert into diffmig.session (session_id, command, state, mapping_digest, host, process_id, \
               version, started_at, finished_at, error) select $1, $2, $3, $4, $5, $6, $7, now(), now(), $8 \
               where not exists (select from known) returning number) \
             select number from known union all select number from begun",
        )
        .bind(adopter.session_id)
        .bind(COMMAND)
        .bind(SessionState::Failed.word())
        .bind(adopter.mapping_digest)
        .bind(adopter.host)
        .bind(adopter.process_id)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(UNFINISHED)
        .fetch_one(connection),
    )
    .await
    .map_err(failed("starting the session"))
}

/// Records that the adoption has come to its end; nothing when it wrote nothing.
///
/// # Errors
/// The lease was taken (exit 16), or the query fails.
pub async fn close_session(
    connection: &mut Connection,
    session_id: Uuid,
    epoch: i64,
    state: SessionState,
) -> Result<()> {
    let ours: bool = answered(
        sqlx::query_scalar(
            "with fence as (select 1 from diffmig.lease where name = 'target' and epoch = $3 \
               and session_id is not null for share), \
             closed as (update diffmig.session set state = $2, finished_at = now(), error = null \
               where session_id = $1 and exists (select from fence)) \
             select exists (select from fence)",
        )
        .bind(session_id)
        .bind(state.word())
        .bind(epoch)
        .fetch_one(&mut *connection),
    )
    .await
    .map_err(failed("recording the session's state"))?;
    match ours {
        true => Ok(()),
        false => Err(fenced(epoch, holder(connection).await?)),
    }
}

/// Records the staged rows; returns how many, and how many of them are new in the ledger.
///
/// # Errors
/// The query fails.
pub async fn record(connection: &mut Connection, statement: &Statement) -> Result<(i64, i64)> {
    answered(
        sqlx::query_as(statement.safe())
            .persistent(false)
            .fetch_one(connection),
    )
    .await
    .map_err(failed("recording adopted rows"))
}

/// Counts claims without a key, and names the first target rows of them.
///
/// # Errors
/// The query fails.
pub async fn malformed(
    connection: &mut Connection,
    statement: &Statement,
) -> Result<(i64, Vec<String>)> {
    answered(
        sqlx::query_as(statement.safe())
            .persistent(false)
            .fetch_one(connection),
    )
    .await
    .map_err(failed("counting malformed keys"))
}

/// Enters matched rows into the ledger; returns how many rows of it are new.
///
/// # Errors
/// The query fails.
pub async fn matched(connection: &mut Connection, statement: &Statement) -> Result<i64> {
    answered(
        sqlx::query_scalar(statement.safe())
            .persistent(false)
            .fetch_one(connection),
    )
    .await
    .map_err(failed("looking for matching rows"))
}

/// Tells whether any of these entities has rows that were adopted: their ids cannot be computed from their keys.
///
/// # Errors
/// The query fails.
pub async fn has_adopted(connection: &mut Connection, entities: &[&str]) -> Result<bool> {
    answered(
        sqlx::query_scalar(
            "select exists (select from diffmig.session s join diffmig.batch b using (session_id) \
             where s.command = $1 and b.entity = any($2))",
        )
        .bind(COMMAND)
        .bind(entities)
        .fetch_one(connection),
    )
    .await
    .map_err(failed("looking for adopted rows"))
}
