//! Watermarks: up to where each entity's changes are known.

use super::failed;
use super::lease::begin_fenced;
use crate::db::server::{Connection, answered};
use crate::domain::watermark::Watermark;
use crate::error::{Error, Kind, Result};
use serde_json::{Value, json};
use uuid::Uuid;

/// A watermark as stored.
#[derive(Debug, Clone)]
pub struct StoredWatermark {
    /// The watermark.
    pub watermark: Watermark,
    /// Rows of the ledger that stood for a source row at the end of the session that stored it.
    pub live_rows: i64,
}

/// Finds the watermark of an entity.
///
/// # Errors
/// The query fails, or what is stored cannot be read (exit 17).
pub async fn find(connection: &mut Connection, entity: &str) -> Result<Option<StoredWatermark>> {
    let row: Option<(Value, i64)> = answered(
        sqlx::query_as(
            "select jsonb_build_object('horizon', w.horizon, 'seenAt', w.seen_at, 'ground', w.ground, \
             'watchedRows', w.watched_rows, 'slice', w.slice, 'sliceKeys', w.slice_keys, 'distrust', w.distrust), \
             w.live_rows from diffmig.watermark w where w.entity = $1",
        )
        .bind(entity)
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading a watermark"))?;
    let Some((value, live_rows)) = row else {
        return Ok(None);
    };
    let watermark = serde_json::from_value(value).map_err(|error| {
        Error::new(
            Kind::ControlState,
            format!("the watermark of {entity} cannot be read"),
        )
        .cause(error.to_string())
        .next(format!(
            "delete from diffmig.watermark where entity = '{entity}'; the next run reads it in full"
        ))
    })?;
    Ok(Some(StoredWatermark {
        watermark,
        live_rows,
    }))
}

/// The rows of an entity's ledger at the end of a session.
#[derive(Debug, Clone)]
pub struct CountedLedger<'a> {
    /// The entity.
    pub entity: &'a str,
    /// Those that stand for a source row.
    pub live_rows: i64,
    /// All of them.
    pub ledger_rows: i64,
}

/// Makes the watermarks of an applied detection those of its entities, in a transaction that stays open:
/// [`keep`] ends it.
///
/// # Errors
/// The lease was taken (exit 16), or the query fails.
pub async fn promote(
    connection: &mut Connection,
    epoch: i64,
    session_number: i32,
    detection_id: Uuid,
    counted: &[CountedLedger<'_>],
) -> Result<()> {
    let entities: Vec<&str> = counted.iter().map(|it| it.entity).collect();
    let live: Vec<i64> = counted.iter().map(|it| it.live_rows).collect();
    let all: Vec<i64> = counted.iter().map(|it| it.ledger_rows).collect();
    begin_fenced(connection, epoch).await?;
    answered(
        sqlx::query(
            "insert into diffmig.watermark as w (entity, horizon, seen_at, ground, watched_rows, \
               live_rows, ledger_rows, session_number, slice, slice_keys, distrust) \
             select e.entity, (e.watermark ->> 'horizon')::bigint, (e.watermark ->> 'seenAt')::timestamptz, \
               e.watermark -> 'ground', e.watermark -> 'watchedRows', c.live, c.total, $1, \
               (e.watermark ->> 'slice')::integer, nullif(e.watermark -> 'sliceKeys', 'null'), e.watermark ->> 'distrust' \
             from diffmig.detection_entity e join unnest($3::text[], $4::bigint[], $5::bigint[]) as c (entity, live, total) \
               using (entity) where e.detection_id = $2 and e.watermark is not null \
             on conflict (entity) do update set horizon = excluded.horizon, seen_at = excluded.seen_at, \
               ground = excluded.ground, watched_rows = excluded.watched_rows, live_rows = excluded.live_rows, \
               ledger_rows = excluded.ledger_rows, session_number = excluded.session_number, slice = excluded.slice, \
               slice_keys = excluded.slice_keys, distrust = excluded.distrust",
        )
        .bind(session_number)
        .bind(detection_id)
        .bind(entities)
        .bind(live)
        .bind(all)
        .execute(&mut *connection),
    )
    .await
    .map_err(failed("storing the watermarks"))?;
    Ok(())
}

/// Commits what [`promote`] began.
///
/// # Errors
/// The query fails.
pub async fn keep(connection: &mut Connection) -> Result<()> {
    answered(sqlx::query("commit").execute(connection))
        .await
        .map(drop)
        .map_err(failed("storing the watermarks"))
}

/// Stores the watermark that holds for an entity once its detection is applied.
///
/// # Errors
/// The query fails.
pub async fn propose(
    connection: &mut Connection,
    detection_id: Uuid,
    entity: &str,
    watermark: &Watermark,
) -> Result<()> {
    answered(
        sqlx::query(
            "update diffmig.detection_entity set watermark = $3 where detection_id = $1 and entity = $2",
        )
        .bind(detection_id)
        .bind(entity)
        .bind(json!(watermark))
        .execute(connection),
    )
    .await
    .map_err(failed("storing the detection"))?;
    Ok(())
}
