//! How far a session was at which time, from its batches.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::error::Result;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Rows that batches of an entity brought within a slot of time.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct SlotRow {
    /// The entity.
    pub entity: String,
    /// The slot, from 0.
    pub slot: i64,
    /// Rows of the batches that were committed in it.
    pub row_count: i64,
}

/// Returns from when to when batches of a session were committed.
///
/// # Errors
/// The query fails.
pub async fn span(
    connection: &mut Connection,
    session_id: Uuid,
) -> Result<Option<(DateTime<Utc>, DateTime<Utc>)>> {
    let (first, last): (Option<DateTime<Utc>>, Option<DateTime<Utc>>) = answered(
        sqlx::query_as(
            "select min(committed_at - elapsed_ms * interval '1 millisecond'), max(committed_at) \
             from diffmig.batch where session_id = $1",
        )
        .bind(session_id)
        .fetch_one(connection),
    )
    .await
    .map_err(failed("reading the batches"))?;
    Ok(first.zip(last))
}

/// Counts the rows by entity and slot of time.
///
/// # Errors
/// The query fails.
pub async fn slots(
    connection: &mut Connection,
    session_id: Uuid,
    from: DateTime<Utc>,
    slot_secs: f64,
) -> Result<Vec<SlotRow>> {
    answered(
        sqlx::query_as(
            "select entity, floor(extract(epoch from committed_at - $2)::float8 / $3)::bigint as slot, \
             sum(rows_in)::bigint as row_count from diffmig.batch where session_id = $1 \
             group by 1, 2 order by 1, 2",
        )
        .bind(session_id)
        .bind(from)
        .bind(slot_secs)
        .fetch_all(connection),
    )
    .await
    .map_err(failed("reading the batches"))
}
