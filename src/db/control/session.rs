//! Sessions and their steps, as they are read; their states are written in `state.rs`.

use super::failed;
use super::lease::{fenced, holder};
use crate::db::server::{Connection, answered};
use crate::error::Result;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

/// Proves the lease inside of a statement: a takeover waits for the row lock, and after it there is no row.
macro_rules! fence {
    ($epoch:literal) => {
        concat!(
            "select 1 from diffmig.lease where name = 'target' and epoch = ",
            $epoch,
            " and session_id is not null for share"
        )
    };
}

/// A session as stored.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct SessionRow {
    /// Its id.
    pub session_id: Uuid,
    /// Its short number.
    pub number: i32,
    /// The command that began it.
    pub command: String,
    /// The stored state.
    pub state: String,
    /// The detection it applies.
    pub detection_id: Option<Uuid>,
    /// Host of its process.
    pub host: String,
    /// Process id.
    pub process_id: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// What stopped it.
    pub error: Option<String>,
    /// With which exit code a failed process ended, if it could tell.
    pub exit_code: Option<i16>,
    /// The target's time now.
    pub now: DateTime<Utc>,
    /// Whether it is an adoption at work: it is stored as failed until it has come to its end.
    pub adopting: bool,
    /// Whether its process is gone: running, but the lease has run out or is somebody else's.
    pub interrupted: bool,
    /// Seconds since the last heartbeat of its lease.
    pub silent_secs: Option<i64>,
}

/// A step with what its batches add up to.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct StepRow {
    /// The entity.
    pub entity: String,
    /// Its wave, from 1.
    pub wave: i32,
    /// Its state.
    pub state: String,
    /// Rows to do, as far as known at the start.
    pub rows_total: i64,
    /// Rows done.
    pub rows_done: i64,
    /// Rows inserted.
    pub inserted: i64,
    /// Rows updated.
    pub updated: i64,
    /// Rows that were right already.
    pub identical: i64,
    /// Rows retired or remembered as gone.
    pub retired: i64,
    /// Rows kept because the target was edited.
    pub conflicted: i64,
    /// Rows that wait for a parent.
    pub held: i64,
    /// Rows set aside.
    pub quarantined: i64,
    /// Milliseconds spent in batches.
    pub busy_ms: i64,
    /// Committed batches.
    pub batches: i64,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Remembers which detection is applied; a process that lost its lease writes nothing.
///
/// # Errors
/// The lease was taken (exit 16), or the query fails.
pub async fn set_detection(
    connection: &mut Connection,
    session_id: Uuid,
    epoch: i64,
    detection_id: Uuid,
) -> Result<()> {
    let done = answered(
        sqlx::query(concat!(
            "with fence as (",
            fence!("$3"),
            ") update diffmig.session set detection_id = $2 where session_id = $1 and exists (select from fence)"
        ))
        .bind(session_id)
        .bind(detection_id)
        .bind(epoch)
        .execute(&mut *connection),
    )
    .await
    .map_err(failed("recording the detection"))?;
    fenced_unless(connection, epoch, done.rows_affected() == 1).await
}

async fn fenced_unless(connection: &mut Connection, epoch: i64, written: bool) -> Result<()> {
    match written {
        true => Ok(()),
        false => Err(fenced(epoch, holder(connection).await?)),
    }
}

/// Counts what a session has committed: batches, and the rows in them.
///
/// # Errors
/// The query fails.
pub async fn committed(connection: &mut Connection, session_id: Uuid) -> Result<(i64, i64)> {
    answered(
        sqlx::query_as(
            "select count(*), coalesce(sum(rows_in), 0)::bigint from diffmig.batch where session_id = $1",
        )
        .bind(session_id)
        .fetch_one(connection),
    )
    .await
    .map_err(failed("counting batches"))
}

/// A step, as its entity's worker sees it.
#[derive(Debug, Clone, Copy)]
pub struct StepNow<'a> {
    /// The session.
    pub session_id: Uuid,
    /// The lease's epoch.
    pub epoch: i64,
    /// The entity.
    pub entity: &'a str,
    /// Its wave, from 1.
    pub wave: i32,
    /// `pending`, `running`, `completed` or `failed`.
    pub state: &'a str,
    /// Rows to do.
    pub rows_total: i64,
}

/// Records a step, or its next state; a process that lost its lease writes nothing.
///
/// # Errors
/// The lease was taken (exit 16), or the query fails.
pub async fn save_step(connection: &mut Connection, step: &StepNow<'_>) -> Result<()> {
    let done = answered(sqlx::query(concat!(
        "with fence as (", fence!("$6"), ") \
         insert into diffmig.step as old (session_id, entity, wave, state, rows_total, started_at, finished_at) \
         select $1, $2, $3, $4, $5 + (select coalesce(sum(rows_in), 0)::bigint from diffmig.batch \
         where session_id = $1 and entity = $2 and $4 = 'pending'), case when $4 <> 'pending' then now() end, \
         case when $4 in ('completed', 'failed') then now() end from fence \
         on conflict (session_id, entity) do update set state = excluded.state, \
         rows_total = case when excluded.state = 'pending' then excluded.rows_total else old.rows_total end, \
         started_at = coalesce(old.started_at, excluded.started_at), finished_at = excluded.finished_at"
    ))
    .bind(step.session_id)
    .bind(step.entity)
    .bind(step.wave)
    .bind(step.state)
    .bind(step.rows_total)
    .bind(step.epoch)
    .execute(&mut *connection))
    .await
    .map_err(failed("recording a step"))?;
    fenced_unless(connection, step.epoch, done.rows_affected() == 1).await
}

macro_rules! select_sessions {
    ($tail:literal) => {
        concat!(
            "select s.session_id, s.number, s.command, s.state, s.detection_id, s.host, s.process_id, \
             s.created_at, s.finished_at, s.error, \
             (to_jsonb(s) ->> 'exit_code')::smallint as exit_code, now() as now, \
             s.finished_at is null and s.state <> 'paused' \
             and (l.session_id is null or b.expires_at < now()) as interrupted, \
             s.command = 'adopt' and s.state = 'failed' and coalesce(b.expires_at >= now(), false) as adopting, \
             extract(epoch from now() - b.renewed_at)::bigint as silent_secs \
             from diffmig.session s left join diffmig.lease l on l.session_id = s.session_id \
             left join diffmig.lease_beat b on b.name = l.name",
            $tail
        )
    };
}

/// Finds one session, the latest when no id is given.
///
/// # Errors
/// The query fails.
pub async fn find(
    connection: &mut Connection,
    session_id: Option<Uuid>,
) -> Result<Option<SessionRow>> {
    answered(
        sqlx::query_as(select_sessions!(
            " where ($1::uuid is null or s.session_id = $1) order by s.number desc limit 1"
        ))
        .bind(session_id)
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading the session"))
}

/// Lists sessions, latest first.
///
/// # Errors
/// The query fails.
pub async fn list(connection: &mut Connection, limit: i64) -> Result<Vec<SessionRow>> {
    answered(
        sqlx::query_as(select_sessions!(" order by s.number desc limit $1"))
            .bind(limit)
            .fetch_all(connection),
    )
    .await
    .map_err(failed("listing the sessions"))
}

/// Lists sessions with a number below another, latest first.
///
/// # Errors
/// The query fails.
pub async fn page(
    connection: &mut Connection,
    before: Option<i32>,
    limit: i64,
) -> Result<Vec<SessionRow>> {
    answered(
        sqlx::query_as(select_sessions!(
            " where $1::integer is null or s.number < $1 order by s.number desc limit $2"
        ))
        .bind(before)
        .bind(limit)
        .fetch_all(connection),
    )
    .await
    .map_err(failed("listing the sessions"))
}

/// Reads the steps of a session in wave order.
///
/// # Errors
/// The query fails.
pub async fn steps(connection: &mut Connection, session_id: Uuid) -> Result<Vec<StepRow>> {
    answered(sqlx::query_as(
        "select s.entity, s.wave, s.state, s.rows_total, coalesce(b.rows_in, 0)::bigint as rows_done, \
         coalesce(b.inserted, 0)::bigint as inserted, coalesce(b.updated, 0)::bigint as updated, \
         coalesce(b.identical, 0)::bigint as identical, coalesce(b.retired, 0)::bigint as retired, \
         coalesce(b.conflicted, 0)::bigint as conflicted, coalesce(b.held, 0)::bigint as held, \
         coalesce(b.quarantined, 0)::bigint as quarantined, coalesce(b.busy_ms, 0)::bigint as busy_ms, \
         coalesce(b.batches, 0)::bigint as batches, s.started_at, s.finished_at \
         from diffmig.step s left join (select entity, sum(rows_in) as rows_in, sum(inserted) as inserted, \
           sum(updated) as updated, sum(identical) as identical, sum(retired) as retired, \
           sum(conflicted) as conflicted, sum(held) as held, sum(quarantined) as quarantined, \
           sum(elapsed_ms) as busy_ms, count(*) as batches \
           from diffmig.batch where session_id = $1 group by entity) b on b.entity = s.entity \
         where s.session_id = $1 order by s.wave, s.entity",
    )
    .bind(session_id)
    .fetch_all(connection))
    .await
    .map_err(failed("reading the steps"))
}

/// Reads how a session works; `None` when it is not known, as in a schema of an older version.
///
/// # Errors
/// The query fails.
pub async fn options(connection: &mut Connection, session_id: Uuid) -> Result<Option<Value>> {
    let found: Option<Option<Value>> = answered(
        sqlx::query_scalar(
            "select nullif(to_jsonb(s) -> 'options', 'null') from diffmig.session s where s.session_id = $1",
        )
        .bind(session_id)
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading the session"))?;
    Ok(found.flatten())
}
