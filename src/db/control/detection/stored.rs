//! Stored detections as lists: for people, for exports, and for the end of their time.

use super::super::failed;
use crate::db::server::{Connection, answered};
use crate::domain::watermark::Ground;
use crate::error::Result;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// A stored detection in a list.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct DetectionLine {
    /// Its id.
    pub detection_id: Uuid,
    /// The mode that was asked for.
    pub mode: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was complete; `None` means that it never was.
    pub finished_at: Option<DateTime<Utc>>,
    /// How many entities it compared.
    pub entities: i64,
    /// Rows to insert.
    pub new: i64,
    /// Rows to update.
    pub modified: i64,
    /// Rows that are gone from the source.
    pub deleted: i64,
    /// Whether a session was made from it.
    pub applied: bool,
    /// Whether rows were applied after it began, so that `migrate` refuses it.
    pub outdated: bool,
}

/// Lists the latest detections, the newest first.
///
/// # Errors
/// The query fails.
pub async fn list(connection: &mut Connection, limit: i64) -> Result<Vec<DetectionLine>> {
    answered(
        sqlx::query_as(
            "select d.detection_id, d.mode, d.started_at, d.finished_at, count(e.entity) as entities, \
             coalesce(sum(e.new_rows), 0)::bigint as new, coalesce(sum(e.modified), 0)::bigint as modified, \
             coalesce(sum(e.deleted), 0)::bigint as deleted, \
             exists (select from diffmig.session s where s.detection_id = d.detection_id) as applied, \
             exists (select from diffmig.batch b where b.committed_at > d.started_at) as outdated \
             from diffmig.detection d left join diffmig.detection_entity e using (detection_id) \
             group by d.detection_id order by d.started_at desc limit $1",
        )
        .bind(limit)
        .fetch_all(connection),
    )
    .await
    .map_err(failed("listing the detections"))
}

/// The head of a detection: mode, mapping digest, beginning and end.
pub type Head = (String, String, DateTime<Utc>, Option<DateTime<Utc>>);

/// Reads the head of a detection.
///
/// # Errors
/// The query fails.
pub async fn head(connection: &mut Connection, detection_id: Uuid) -> Result<Option<Head>> {
    answered(
        sqlx::query_as(
            "select mode, mapping_digest, started_at, finished_at from diffmig.detection where detection_id = $1",
        )
        .bind(detection_id)
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading the detection"))
}

/// A change in an export.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct ExportedChange {
    /// The entity.
    pub entity: String,
    /// Position in the entity's list.
    #[serde(skip)]
    pub ordinal: i64,
    /// `new`, `modified` or `deleted`.
    pub kind: String,
    /// The key as an array, or the first of a run of new rows; an empty array stands for all rows.
    pub key: Value,
    /// The last key of a run.
    pub last_key: Option<Value>,
    /// Rows it stands for.
    #[sqlx(rename = "row_count")]
    pub rows: i64,
}

/// Reads a page of all changes, in the order of entities and keys.
///
/// # Errors
/// The query fails.
pub async fn page(
    connection: &mut Connection,
    detection_id: Uuid,
    after: Option<&ExportedChange>,
    limit: i64,
) -> Result<Vec<ExportedChange>> {
    let (entity, ordinal) = after.map_or(("", 0), |it| (it.entity.as_str(), it.ordinal));
    answered(
        sqlx::query_as(
            "select entity, ordinal, kind, key, last_key, row_count from diffmig.change \
             where detection_id = $1 and (entity, ordinal) > ($2, $3) order by entity, ordinal limit $4",
        )
        .bind(detection_id)
        .bind(entity)
        .bind(ordinal)
        .bind(limit)
        .fetch_all(connection),
    )
    .await
    .map_err(failed("reading the detection"))
}

/// Reads on what ground the entities of a detection were compared.
///
/// # Errors
/// The query fails.
pub async fn grounds(
    connection: &mut Connection,
    detection_id: Uuid,
) -> Result<Vec<(String, Ground)>> {
    let rows: Vec<(String, Value)> = answered(
        sqlx::query_as(
            "select entity, watermark -> 'ground' from diffmig.detection_entity \
             where detection_id = $1 and watermark is not null order by entity",
        )
        .bind(detection_id)
        .fetch_all(connection),
    )
    .await
    .map_err(failed("reading the detection"))?;
    let grounds = rows
        .into_iter()
        .filter_map(|(entity, ground)| Some((entity, serde_json::from_value(ground).ok()?)));
    Ok(grounds.collect())
}

/// Deletes the lists of changes of detections that began more than so many days ago; their counts stay.
///
/// # Errors
/// The query fails.
pub async fn purge_changes(connection: &mut Connection, keep_days: i32) -> Result<u64> {
    let purged = answered(
        sqlx::query(
            "delete from diffmig.change c using diffmig.detection d where d.detection_id = c.detection_id \
             and d.started_at < now() - make_interval(days => $1)",
        )
        .bind(keep_days)
        .execute(connection),
    )
    .await
    .map_err(failed("cleaning up detections"))?;
    Ok(purged.rows_affected())
}
