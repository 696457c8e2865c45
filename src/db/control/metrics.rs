//! Sums over the control tables, for monitoring.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::error::Result;

/// The upper bounds of the latency histogram, in milliseconds.
pub const LATENCY_MILLIS: [i32; 8] = [10, 50, 100, 250, 500, 1_000, 5_000, 30_000];

/// What the batches of an entity add up to, over all sessions that are remembered.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct BatchSums {
    /// The entity.
    pub entity: String,
    /// Rows inserted.
    pub inserted: i64,
    /// Rows updated.
    pub updated: i64,
    /// Rows that were right already.
    pub identical: i64,
    /// Rows retired.
    pub retired: i64,
    /// Rows kept because the target was edited.
    pub conflicted: i64,
    /// Rows that wait for a parent.
    pub held: i64,
    /// Rows set aside.
    pub quarantined: i64,
    /// Committed batches.
    pub batches: i64,
    /// Milliseconds spent in them.
    pub busy_ms: i64,
    /// How many took at most so long as each of [`LATENCY_MILLIS`].
    pub within: Vec<i64>,
}

/// Sums the batches up by entity.
///
/// # Errors
/// The query fails.
pub async fn batches(connection: &mut Connection) -> Result<Vec<BatchSums>> {
    answered(
        sqlx::query_as(
            "select entity, sum(inserted)::bigint as inserted, sum(updated)::bigint as updated, \
             sum(identical)::bigint as identical, sum(retired)::bigint as retired, \
             sum(conflicted)::bigint as conflicted, sum(held)::bigint as held, \
             sum(quarantined)::bigint as quarantined, count(*) as batches, sum(elapsed_ms)::bigint as busy_ms, \
             array[count(*) filter (where elapsed_ms <= $1[1]), count(*) filter (where elapsed_ms <= $1[2]), \
               count(*) filter (where elapsed_ms <= $1[3]), count(*) filter (where elapsed_ms <= $1[4]), \
               count(*) filter (where elapsed_ms <= $1[5]), count(*) filter (where elapsed_ms <= $1[6]), \
               count(*) filter (where elapsed_ms <= $1[7]), count(*) filter (where elapsed_ms <= $1[8])] as within \
             from diffmig.batch group by entity order by entity",
        )
        .bind(LATENCY_MILLIS.to_vec())
        .fetch_all(connection),
    )
    .await
    .map_err(failed("summing the batches up"))
}

/// Counts rows that are set aside, by entity and status.
///
/// # Errors
/// The query fails.
pub async fn quarantine(connection: &mut Connection) -> Result<Vec<(String, String, i64)>> {
    answered(
        sqlx::query_as(
            "select entity, status, count(*) from diffmig.quarantine where status <> 'resolved' \
             group by 1, 2 order by 1, 2",
        )
        .fetch_all(connection),
    )
    .await
    .map_err(failed("counting the quarantine"))
}

/// Tells by entity how many seconds ago the snapshot was whose changes were all applied.
///
/// # Errors
/// The query fails.
pub async fn lags(connection: &mut Connection) -> Result<Vec<(String, f64)>> {
    answered(
        sqlx::query_as(
            "select entity, greatest(extract(epoch from now() - seen_at), 0)::float8 from diffmig.watermark \
             order by 1",
        )
        .fetch_all(connection),
    )
    .await
    .map_err(failed("reading the watermarks"))
}

/// How the sessions stand as a whole.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Standing {
    /// Seconds since a session ended well.
    pub success_secs: Option<f64>,
    /// Seconds since the first detection that found changes and that no session after it has applied.
    pub unapplied_secs: Option<f64>,
    /// Sessions that are not over, paused ones included.
    pub unfinished: i64,
    /// Whether somebody holds the lease.
    pub lease_held: bool,
    /// The lease's epoch.
    pub lease_epoch: i64,
    /// Seconds since its heartbeat, while it is held.
    pub heartbeat_secs: Option<f64>,
}

/// Reads how the sessions stand.
///
/// # Errors
/// The query fails.
pub async fn standing(connection: &mut Connection) -> Result<Standing> {
    answered(
        sqlx::query_as(
            "with success as (select max(finished_at) as at, max(started_at) as began from diffmig.session \
               where state in ('completed', 'completed_with_rejects')), \
             unapplied as (select min(d.started_at) as at from diffmig.detection d, success \
               where d.finished_at is not null and (success.began is null or d.started_at > success.at) \
               and exists (select from diffmig.detection_entity e where e.detection_id = d.detection_id \
                 and e.new_rows + e.modified + e.deleted > 0)) \
             select extract(epoch from now() - success.at)::float8 as success_secs, \
             extract(epoch from now() - unapplied.at)::float8 as unapplied_secs, \
             (select count(*) from diffmig.session where finished_at is null) as unfinished, \
             coalesce(l.session_id is not null and b.expires_at > now(), false) as lease_held, \
             coalesce(l.epoch, 0) as lease_epoch, \
             case when l.session_id is not null then extract(epoch from now() - b.renewed_at)::float8 end \
               as heartbeat_secs \
             from success cross join unapplied left join diffmig.lease l on l.name = 'target' \
             left join diffmig.lease_beat b on b.name = l.name",
        )
        .fetch_one(connection),
    )
    .await
    .map_err(failed("reading how the sessions stand"))
}
