//! What the control tables and the server tell about the pace of a session.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::domain::pace::Recent;
use crate::error::Result;
use uuid::Uuid;

/// What counts as lately, in seconds.
const LATELY: f64 = 60.0;

/// Adds the batches of the last minute up, those of an earlier process of the session left out.
///
/// # Errors
/// The query fails.
pub async fn recent(connection: &mut Connection, session_id: Uuid) -> Result<Recent> {
    #[rustfmt::skip]
    type Row = (f64, f64, f64, f64, f64, f64, f64, bool, f64);
    // An older control schema has no columns of times.
    let row: Row = answered(
        sqlx::query_as(
            "select coalesce(sum(rows_in), 0)::float8, \
             coalesce(extract(epoch from clock_timestamp() - min(committed_at - make_interval(secs => coalesce(idle, 0) / 1000))), 0)::float8, \
             coalesce(sum(elapsed_ms), 0)::float8, coalesce(sum(idle), 0), coalesce(sum(source), 0), \
             coalesce(sum(hash), 0), coalesce(sum(lock), 0), coalesce(bool_or(idle is not null), false), \
             coalesce(extract(epoch from clock_timestamp() - max(committed_at)), 0)::float8 \
             from (select b.rows_in, b.committed_at, b.elapsed_ms, (j ->> 'idle_ms')::float8 as idle, \
               (j ->> 'source_ms')::float8 as source, (j ->> 'hash_ms')::float8 as hash, \
               (j ->> 'lock_ms')::float8 as lock from diffmig.batch b cross join lateral to_jsonb(b) as j \
               where b.session_id = $1 and b.epoch = (select epoch from diffmig.lease where name = 'target') \
               and b.committed_at > clock_timestamp() - make_interval(secs => $2)) as lately",
        )
        .bind(session_id)
        .bind(LATELY)
        .fetch_one(connection),
    )
    .await
    .map_err(failed("reading the batches"))?;
    Ok(Recent {
        rows: row.0,
        secs: row.1,
        apply: row.2,
        idle: row.3,
        source: row.4,
        hash: row.5,
        lock: row.6,
        is_measured: row.7,
        silent_secs: row.8,
    })
}

/// Reads how many rows per second each entity made in up to five of the last twenty sessions before this one.
///
/// # Errors
/// The query fails.
pub async fn history(connection: &mut Connection, number: i32) -> Result<Vec<(String, f64)>> {
    answered(
        sqlx::query_as(
            "select entity, sum(rows)::float8 / sum(secs) from (select t.entity, b.rows, \
               extract(epoch from t.finished_at - t.started_at)::float8 as secs, \
               row_number() over (partition by t.entity order by s.number desc) as nth \
               from diffmig.session s join diffmig.step t on t.session_id = s.session_id \
               cross join lateral (select sum(rows_in) as rows from diffmig.batch b \
                 where b.session_id = t.session_id and b.entity = t.entity) as b \
               where s.command = 'migrate' and s.number between $1 - 20 and $1 - 1 and t.state = 'completed' \
               and b.rows >= 100 and t.finished_at > t.started_at) as done where nth <= 5 group by entity",
        )
        .bind(number)
        .fetch_all(connection),
    )
    .await
    .map_err(failed("reading earlier sessions"))
}

/// What is known of the process that works on a session.
#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub struct Vitals {
    /// Its memory.
    pub memory_bytes: Option<i64>,
    /// Its connections over TCP, to both servers.
    pub connections: Option<i32>,
    /// Its connections to the target, as the target sees them; 0 when it does not show them to us.
    pub target_connections: i64,
    /// Those of them that wait for somebody's lock.
    pub waiting: i64,
    /// Seconds since the last checkpoint of the session.
    pub checkpoint_secs: Option<f64>,
}

/// Reads what is known of the process that works on a session.
///
/// # Errors
/// The query fails.
pub async fn vitals(connection: &mut Connection, session_id: Uuid) -> Result<Vitals> {
    let found: Option<Vitals> = answered(
        sqlx::query_as(
            "select (j ->> 'memory_bytes')::bigint as memory_bytes, (j ->> 'connections')::integer as connections, \
             a.target_connections, a.waiting, (select extract(epoch from clock_timestamp() - max(c.updated_at))::float8 \
               from diffmig.checkpoint c where c.session_id = l.session_id) as checkpoint_secs \
             from diffmig.lease l join diffmig.lease_beat b using (name) cross join lateral to_jsonb(b) as j \
             cross join lateral (select count(*) as target_connections, count(*) filter (where a.wait_event_type = 'Lock' \
               and a.wait_event <> 'advisory') as waiting from pg_catalog.pg_stat_activity a \
               where a.application_name = 'diffmig ' || l.epoch and a.datname = pg_catalog.current_database()) as a \
             where l.name = 'target' and l.session_id = $1",
        )
        .bind(session_id)
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading the heartbeat"))?;
    Ok(found.unwrap_or_default())
}
