//! Sessions and their steps.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::domain::session::SessionState;
use crate::error::Result;
use chrono::{DateTime, Utc};
use uuid::Uuid;

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

/// Who starts a session.
#[derive(Debug, Clone)]
pub struct NewSession<'a> {
    /// Its id.
    pub session_id: Uuid,
    /// The command.
    pub command: &'a str,
    /// The mapping.
    pub mapping_digest: &'a str,
    /// Host name.
    pub host: &'a str,
    /// Process id.
    pub process_id: i32,
}

/// How a session began.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct Started {
    /// Its short number.
    pub number: i32,
    /// Whether an earlier process had begun it.
    pub resumed: bool,
    /// Batches that were committed before.
    pub batches: i64,
    /// Rows in them.
    pub rows: i64,
}

/// Finds the session that a paused or killed process left open.
///
/// # Errors
/// The query fails.
pub async fn unfinished(connection: &mut Connection) -> Result<Option<Uuid>> {
    answered(
        sqlx::query_scalar("select session_id from diffmig.session where finished_at is null")
            .fetch_optional(connection),
    )
    .await
    .map_err(failed("looking for an unfinished session"))
}

/// Starts a session, or takes an unfinished one up again. The caller holds the lease.
///
/// # Errors
/// The query fails.
pub async fn start(connection: &mut Connection, session: &NewSession<'_>) -> Result<Started> {
    let failed = failed("starting the session");
    // Whatever else is open belongs to a process that lost the lease between our two looks.
    answered(
        sqlx::query(
            "update diffmig.session set state = 'failed', finished_at = now(), \
         error = coalesce(error, 'interrupted: its process ended without a word') \
         where finished_at is null and session_id <> $1",
        )
        .bind(session.session_id)
        .execute(&mut *connection),
    )
    .await
    .map_err(&failed)?;
    answered(sqlx::query_as(
        "with begun as (insert into diffmig.session as old \
           (session_id, command, state, mapping_digest, host, process_id, version, started_at) \
           values ($1, $2, 'running', $3, $4, $5, $6, now()) \
           on conflict (session_id) do update set state = 'running', mapping_digest = excluded.mapping_digest, \
           host = excluded.host, process_id = excluded.process_id, version = excluded.version, error = null, \
           finished_at = null returning number, xmax <> 0 as resumed) \
         select begun.number, begun.resumed, count(b.number) as batches, coalesce(sum(b.rows_in), 0)::bigint as rows \
         from begun left join diffmig.batch b on b.session_id = $1 group by 1, 2",
    )
    .bind(session.session_id)
    .bind(session.command)
    .bind(session.mapping_digest)
    .bind(session.host)
    .bind(session.process_id)
    .bind(env!("CARGO_PKG_VERSION"))
    .fetch_one(connection))
    .await
    .map_err(failed)
}

/// Remembers which detection is applied.
///
/// # Errors
/// The query fails.
pub async fn set_detection(
    connection: &mut Connection,
    session_id: Uuid,
    detection_id: Uuid,
) -> Result<()> {
    answered(
        sqlx::query("update diffmig.session set detection_id = $2 where session_id = $1")
            .bind(session_id)
            .bind(detection_id)
            .execute(connection),
    )
    .await
    .map_err(failed("recording the detection"))?;
    Ok(())
}

/// Moves a session to another state, if its present state allows it and the lease is still ours;
/// `false` when it does not or is not.
///
/// # Errors
/// The query fails.
pub async fn advance(
    connection: &mut Connection,
    session_id: Uuid,
    epoch: i64,
    next: SessionState,
    error: Option<&str>,
) -> Result<bool> {
    let from: Vec<String> = crate::domain::session::ALL_STATES
        .iter()
        .filter(|state| state.may_become(next))
        .map(|state| state.word().to_owned())
        .collect();
    let done = answered(
        sqlx::query(
            "update diffmig.session set state = $2, error = $3, \
         finished_at = case when $4 then now() end where session_id = $1 and state = any($5) \
         and exists (select from diffmig.lease where name = 'target' and epoch = $6)",
        )
        .bind(session_id)
        .bind(next.word())
        .bind(error)
        .bind(next.is_final())
        .bind(from)
        .bind(epoch)
        .execute(connection),
    )
    .await
    .map_err(failed("recording the session's state"))?;
    Ok(done.rows_affected() == 1)
}

/// Records a step, or its next state.
///
/// # Errors
/// The query fails.
pub async fn save_step(
    connection: &mut Connection,
    session_id: Uuid,
    entity: &str,
    wave: i32,
    state: &str,
    rows_total: i64,
) -> Result<()> {
    answered(sqlx::query(
        "insert into diffmig.step as old (session_id, entity, wave, state, rows_total, started_at, finished_at) \
         values ($1, $2, $3, $4, $5 + (select coalesce(sum(rows_in), 0)::bigint from diffmig.batch \
         where session_id = $1 and entity = $2 and $4 = 'pending'), case when $4 <> 'pending' then now() end, \
         case when $4 in ('completed', 'failed') then now() end) \
         on conflict (session_id, entity) do update set state = excluded.state, \
         rows_total = case when excluded.state = 'pending' then excluded.rows_total else old.rows_total end, \
         started_at = coalesce(old.started_at, excluded.started_at), finished_at = excluded.finished_at",
    )
    .bind(session_id)
    .bind(entity)
    .bind(wave)
    .bind(state)
    .bind(rows_total)
    .execute(connection))
    .await
    .map_err(failed("recording a step"))?;
    Ok(())
}

macro_rules! select_sessions {
    ($tail:literal) => {
        concat!(
            "select s.session_id, s.number, s.command, s.state, s.detection_id, s.host, s.process_id, \
             s.created_at, s.finished_at, s.error, \
             s.finished_at is null and s.state <> 'paused' \
             and (l.session_id is null or b.expires_at < now()) as interrupted, \
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

/// Closes sessions whose process is gone and deletes ended ones beyond the retention; returns both counts.
///
/// # Errors
/// The query fails.
pub async fn clean_up(connection: &mut Connection, keep_days: i32) -> Result<(u64, u64)> {
    let failed = failed("cleaning up sessions");
    let closed = answered(sqlx::query(
        "update diffmig.session s set state = 'failed', finished_at = now(), \
         error = coalesce(s.error, 'interrupted: its process ended without a word') \
         where s.finished_at is null and s.state <> 'paused' and not exists (select from diffmig.lease l \
         join diffmig.lease_beat b using (name) where l.session_id = s.session_id and b.expires_at >= now())",
    )
    .execute(&mut *connection))
    .await
    .map_err(&failed)?;
    let purged = answered(
        sqlx::query(
            "delete from diffmig.session where finished_at < now() - make_interval(days => $1)",
        )
        .bind(keep_days)
        .execute(connection),
    )
    .await
    .map_err(&failed)?;
    Ok((closed.rows_affected(), purged.rows_affected()))
}
