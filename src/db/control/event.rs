//! The execution log.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::error::Result;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// An event as stored.
#[derive(Debug, Clone, sqlx::FromRow, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRow {
    /// Position in the log; grows.
    pub event_id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The session.
    pub session_id: Option<Uuid>,
    /// The entity.
    pub entity: Option<String>,
    /// What was done.
    pub operation: String,
    /// In words.
    pub message: String,
    /// Counts and times.
    pub context: Option<Value>,
}

/// An event to store.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Level word.
    pub level: &'static str,
    /// The entity.
    pub entity: Option<String>,
    /// What was done.
    pub operation: &'static str,
    /// In words.
    pub message: String,
    /// Counts and times.
    pub context: Value,
}

/// Appends events in one statement.
///
/// # Errors
/// The query fails.
pub async fn append(
    connection: &mut Connection,
    session_id: Uuid,
    events: &[NewEvent],
) -> Result<()> {
    let column = |pick: fn(&NewEvent) -> String| events.iter().map(pick).collect::<Vec<String>>();
    let entities: Vec<Option<String>> = events.iter().map(|event| event.entity.clone()).collect();
    let contexts: Vec<Value> = events.iter().map(|event| event.context.clone()).collect();
    answered(
        sqlx::query(
            "insert into diffmig.event (level, session_id, entity, operation, message, context) \
         select level, $1, entity, operation, message, context \
         from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[]) \
         as e (level, entity, operation, message, context)",
        )
        .bind(session_id)
        .bind(column(|event| event.level.to_owned()))
        .bind(entities)
        .bind(column(|event| event.operation.to_owned()))
        .bind(column(|event| event.message.clone()))
        .bind(contexts)
        .execute(connection),
    )
    .await
    .map_err(failed("writing the log"))?;
    Ok(())
}

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only this session.
    pub session_id: Option<Uuid>,
    /// These levels; empty means all.
    pub levels: Vec<String>,
    /// Only this entity.
    pub entity: Option<String>,
    /// Only events after this one.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: i64,
}

/// Reads events in order: the oldest after a cursor, or the latest when there is none.
///
/// # Errors
/// The query fails.
pub async fn read(connection: &mut Connection, filter: &EventFilter) -> Result<Vec<EventRow>> {
    answered(sqlx::query_as(
        "select * from (select event_id, at, level, session_id, entity, operation, message, context \
         from diffmig.event where ($1::uuid is null or session_id = $1) \
         and (cardinality($2::text[]) = 0 or level = any($2)) \
         and ($3::text is null or entity = $3) and ($4::bigint is null or event_id > $4) \
         order by case when $4 is null then -event_id else event_id end limit $5) as found order by event_id",
    )
    .bind(filter.session_id)
    .bind(&filter.levels)
    .bind(&filter.entity)
    .bind(filter.after)
    .bind(filter.limit)
    .fetch_all(connection))
    .await
    .map_err(failed("reading the log"))
}
