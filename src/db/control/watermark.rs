//! Watermarks: up to where each entity's changes are known.

use super::failed;
use super::lease::begin_fenced;
use crate::db::server::{Connection, answered};
use crate::domain::watermark::Watermark;
use crate::error::{Error, Kind, Result};
use serde_json::{Value, json};
use uuid::Uuid;

/// A watermark as stored, with the ledger's count at the end of the session that stored it.
#[derive(Debug, Clone)]
pub struct StoredWatermark {
    /// The watermark.
    pub watermark: Watermark,
    /// Rows of the ledger that stand for a source row; `None` when batches were committed since.
    pub live_rows: Option<u64>,
    /// As counted then.
    pub counted_rows: i64,
}

/// Finds the watermark of an entity.
///
/// # Errors
/// The query fails, or what is stored cannot be read (exit 17).
pub async fn find(connection: &mut Connection, entity: &str) -> Result<Option<StoredWatermark>> {
    let row: Option<(Value, i64, bool)> = answered(
        sqlx::query_as(
            "select jsonb_build_object('horizon', w.horizon, 'seenAt', w.seen_at, 'ground', w.ground, \
             'watchedRows', w.watched_rows, 'slice', w.slice, 'sliceKeys', w.slice_keys, 'distrust', w.distrust), \
             w.live_rows, exists (select from diffmig.batch b join diffmig.session s using (session_id) \
               where b.entity = w.entity and s.number > w.session_number) \
             from diffmig.watermark w where w.entity = $1",
        )
        .bind(entity)
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading a watermark"))?;
    let Some((value, counted_rows, outdated)) = row else {
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
        live_rows: (!outdated)
            .then(|| u64::try_from(counted_rows).ok())
            .flatten(),
        counted_rows,
    }))
}

/// Makes the watermarks of an applied detection those of its entities; `counted` has their live ledger rows.
///
/// # Errors
/// The lease was taken (exit 16), or the query fails.
pub async fn promote(
    connection: &mut Connection,
    epoch: i64,
    session_number: i32,
    detection_id: Uuid,
    counted: &[(String, i64)],
) -> Result<()> {
    let entities: Vec<&str> = counted.iter().map(|(entity, _)| entity.as_str()).collect();
    let live: Vec<i64> = counted.iter().map(|(_, live)| *live).collect();
    begin_fenced(connection, epoch).await?;
    answered(
        sqlx::query(
            "insert into diffmig.watermark as w (entity, horizon, seen_at, ground, watched_rows, \
               live_rows, session_number, slice, slice_keys, distrust) \
             select e.entity, (e.watermark ->> 'horizon')::bigint, (e.watermark ->> 'seenAt')::timestamptz, \
               e.watermark -> 'ground', e.watermark -> 'watchedRows', c.live, $1, \
               (e.watermark ->> 'slice')::integer, nullif(e.watermark -> 'sliceKeys', 'null'), e.watermark ->> 'distrust' \
             from diffmig.detection_entity e join unnest($3::text[], $4::bigint[]) as c (entity, live) \
               using (entity) where e.detection_id = $2 and e.watermark is not null \
             on conflict (entity) do update set horizon = excluded.horizon, seen_at = excluded.seen_at, \
               ground = excluded.ground, watched_rows = excluded.watched_rows, live_rows = excluded.live_rows, \
               session_number = excluded.session_number, slice = excluded.slice, \
               slice_keys = excluded.slice_keys, distrust = excluded.distrust",
        )
        .bind(session_number)
        .bind(detection_id)
        .bind(entities)
        .bind(live)
        .execute(&mut *connection),
    )
    .await
    .map_err(failed("storing the watermarks"))?;
    answered(sqlx::query("commit").execute(connection))
        .await
        .map_err(failed("storing the watermarks"))?;
    Ok(())
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
