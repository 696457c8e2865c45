//! The execution log.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::domain::identifier::printable;
use crate::error::{Error, Kind, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// An event as stored.
#[derive(Debug, Clone, sqlx::FromRow, Serialize, utoipa::ToSchema)]
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
    /// Its place in the journal that writes it.
    pub ordinal: i64,
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

/// The number of the lock that gives the writers of the log their turns.
///
/// Ids are given out before a statement commits. Taken in turns, whoever has seen an event has seen all that have a
/// smaller id, so a reader may go on from there.
macro_rules! turn {
    () => {
        "select pg_catalog.pg_advisory_xact_lock(7248302)"
    };
}

/// Appends events of a journal in one statement; what it wrote before under the same ordinals stays as it is.
///
/// # Errors
/// The query fails.
pub async fn append(
    connection: &mut Connection,
    session_id: Uuid,
    journal: Uuid,
    events: &[NewEvent],
) -> Result<()> {
    let column = |pick: fn(&NewEvent) -> String| events.iter().map(pick).collect::<Vec<String>>();
    let entities: Vec<Option<String>> = events.iter().map(|event| event.entity.clone()).collect();
    let ordinals: Vec<i64> = events.iter().map(|event| event.ordinal).collect();
    let contexts: Vec<Value> = events.iter().map(|event| event.context.clone()).collect();
    answered(
        sqlx::query(concat!(
            "with turn as materialized (",
            turn!(),
            ") insert into diffmig.event (level, session_id, entity, operation, message, context, journal, ordinal) \
             select e.level, $1, e.entity, e.operation, e.message, e.context, $7, e.ordinal \
             from turn cross join lateral unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], \
             $8::bigint[]) with ordinality as e (level, entity, operation, message, context, ordinal, position) order by e.position \
             on conflict (journal, ordinal) where journal is not null do nothing",
        ))
        .bind(session_id)
        .bind(column(|event| event.level.to_owned()))
        .bind(entities)
        .bind(column(|event| event.operation.to_owned()))
        .bind(column(|event| event.message.clone()))
        .bind(contexts)
        .bind(journal)
        .bind(ordinals)
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
    /// Only from this moment on.
    pub since: Option<DateTime<Utc>>,
    /// Only before this moment.
    pub until: Option<DateTime<Utc>>,
    /// Only events whose entity, operation and message match this regular expression.
    pub grep: Option<String>,
    /// Only events after this one.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: i64,
}

/// Reads events in order: the oldest after a cursor, or the latest when there is none.
///
/// # Errors
/// The regular expression is none (exit 2), or the query fails.
pub async fn read(connection: &mut Connection, filter: &EventFilter) -> Result<Vec<EventRow>> {
    let found = answered(sqlx::query_as(
        "select * from (select event_id, at, level, session_id, entity, operation, message, context \
         from diffmig.event where ($1::uuid is null or session_id = $1) \
         and (cardinality($2::text[]) = 0 or level = any($2)) \
         and ($3::text is null or entity = $3) and ($4::bigint is null or event_id > $4) \
         and ($6::timestamptz is null or at >= $6) and ($7::timestamptz is null or at < $7) \
         and ($8::text is null or concat_ws('  ', coalesce(entity, '-'), operation, message) ~ $8) \
         order by case when $4 is null then -event_id else event_id end limit $5) as found order by event_id",
    )
    .bind(filter.session_id)
    .bind(&filter.levels)
    .bind(&filter.entity)
    .bind(filter.after)
    .bind(filter.limit)
    .bind(filter.since)
    .bind(filter.until)
    .bind(&filter.grep)
    .fetch_all(connection))
    .await;
    found.map_err(|error| match &error {
        sqlx::Error::Database(refused) if refused.code().as_deref() == Some(INVALID_EXPRESSION) => {
            Error::new(Kind::Usage, "the regular expression cannot be used")
                .cause(printable(refused.message()))
                .next("write a regular expression of PostgreSQL, like 'refused|set aside' or '(?i)LEASE'")
        }
        _ => failed("reading the log")(error),
    })
}

/// Returns the id of the newest event, 0 when there is none.
///
/// # Errors
/// The query fails.
pub async fn newest(connection: &mut Connection) -> Result<i64> {
    answered(
        sqlx::query_scalar("select coalesce(max(event_id), 0) from diffmig.event")
            .fetch_one(connection),
    )
    .await
    .map_err(failed("reading the log"))
}

/// The SQLSTATE of a malformed regular expression.
const INVALID_EXPRESSION: &str = "2201B";

/// Tells whether the log of a session ends with its end: the last word of the process that worked on it.
///
/// # Errors
/// The query fails.
pub async fn has_last_word(connection: &mut Connection, session_id: Uuid) -> Result<bool> {
    let last: Option<bool> = answered(
        sqlx::query_scalar(
            "select operation = 'session' and context ? 'state' from diffmig.event \
             where session_id = $1 order by event_id desc limit 1",
        )
        .bind(session_id)
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading the log"))?;
    Ok(last.unwrap_or(false))
}
