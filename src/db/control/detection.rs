//! Stored detections and their changes; also the counts that only SQL can give.

pub mod stored;

use super::failed;
use crate::db::server::{Connection, answered};
use crate::db::standing::{begin_ledger_view, end_ledger_view};
use crate::db::statement::{Statement, ledger};
use crate::domain::catalog::DatabaseIdentity;
use crate::domain::detection::{ChangeKind, DetectMode, DetectionCounts, Reading};
use crate::domain::resolve::ResolvedEntity;
use crate::domain::watermark::ReadMode;
use crate::error::{Error, Kind, Result};
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

/// A change as stored.
#[derive(Debug, Clone)]
pub struct StoredChange {
    /// Position in the entity's list.
    pub ordinal: i64,
    /// What happened.
    pub kind: ChangeKind,
    /// The key, or the first of a run.
    pub key: Value,
    /// The last key of a run.
    pub last_key: Option<Value>,
    /// Rows it stands for.
    pub row_count: i64,
}

/// The head of a stored detection.
#[derive(Debug, Clone)]
pub struct StoredDetection {
    /// The mapping it was made with.
    pub mapping_digest: String,
    /// The source it was made from.
    pub source_identity: Value,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was complete; `None` means that it never was.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Begins a detection.
///
/// # Errors
/// The query fails.
pub async fn start(
    connection: &mut Connection,
    detection_id: Uuid,
    mode: DetectMode,
    mapping_digest: &str,
    identity: &DatabaseIdentity,
    horizon: i64,
) -> Result<()> {
    answered(sqlx::query(
        "insert into diffmig.detection (detection_id, mode, mapping_digest, source_identity, horizon, started_at) \
         values ($1, $2, $3, $4, $5, now())",
    )
    .bind(detection_id)
    .bind(mode.word())
    .bind(mapping_digest)
    .bind(serde_json::json!(identity))
    .bind(horizon)
    .execute(connection))
    .await
    .map_err(failed("starting the detection"))?;
    Ok(())
}

/// Marks a detection as complete.
///
/// # Errors
/// The query fails.
pub async fn finish(connection: &mut Connection, detection_id: Uuid) -> Result<()> {
    answered(
        sqlx::query("update diffmig.detection set finished_at = now() where detection_id = $1")
            .bind(detection_id)
            .execute(connection),
    )
    .await
    .map_err(failed("finishing the detection"))?;
    Ok(())
}

/// Stores the counts of an entity, which says that its list of changes is complete.
///
/// # Errors
/// The query fails.
pub async fn save_counts(
    connection: &mut Connection,
    detection_id: Uuid,
    counts: &DetectionCounts,
) -> Result<()> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    answered(sqlx::query(
        "insert into diffmig.detection_entity (detection_id, entity, source_rows, filtered, unchanged, new_rows, \
         modified, deleted, set_aside, mode, reason, rows_read, could_miss) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(detection_id)
    .bind(&counts.entity)
    .bind(number(counts.source_rows))
    .bind(number(counts.filtered))
    .bind(number(counts.unchanged))
    .bind(number(counts.new))
    .bind(number(counts.modified))
    .bind(number(counts.deleted))
    .bind(number(counts.set_aside))
    .bind(counts.reading.mode.word())
    .bind(&counts.reading.reason)
    .bind(number(counts.reading.rows_read))
    .bind(&counts.reading.could_miss)
    .execute(connection))
    .await
    .map_err(failed("storing the detection"))?;
    Ok(())
}

/// Stores a list of changes in one statement.
///
/// # Errors
/// The query fails, or the detection was deleted meanwhile.
pub async fn save_changes(
    connection: &mut Connection,
    detection_id: Uuid,
    entity: &str,
    changes: Vec<StoredChange>,
) -> Result<()> {
    let wanted = changes.len() as u64;
    let mut ordinals = Vec::with_capacity(changes.len());
    let mut kinds = Vec::with_capacity(changes.len());
    let mut keys = Vec::with_capacity(changes.len());
    let mut last_keys = Vec::with_capacity(changes.len());
    let mut counts = Vec::with_capacity(changes.len());
    for change in changes {
        ordinals.push(change.ordinal);
        kinds.push(change.kind.word());
        keys.push(change.key);
        last_keys.push(change.last_key);
        counts.push(change.row_count);
    }
    let stored = answered(
        sqlx::query(
            "with d as materialized (select detection_id from diffmig.detection where detection_id = $1 for key share) \
             insert into diffmig.change (detection_id, entity, ordinal, kind, key, last_key, row_count) \
             select d.detection_id, $2, ordinal, kind, key, last_key, row_count \
             from d cross join unnest($3::bigint[], $4::text[], $5::jsonb[], $6::jsonb[], $7::bigint[]) \
             as c (ordinal, kind, key, last_key, row_count)",
        )
        .bind(detection_id)
        .bind(entity)
        .bind(ordinals)
        .bind(kinds)
        .bind(keys)
        .bind(last_keys)
        .bind(counts)
        .execute(connection),
    )
    .await
    .map_err(failed("storing the detection"))?;
    if stored.rows_affected() != wanted {
        return Err(Error::new(
            Kind::Unexpected,
            "the detection was deleted while it was stored",
        )
        .next("run the same command again"));
    }
    Ok(())
}

/// Reads a page of new and modified rows of an entity, in order.
///
/// # Errors
/// The query fails.
pub async fn read_changes(
    connection: &mut Connection,
    detection_id: Uuid,
    entity: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<StoredChange>> {
    let rows: Vec<ChangeRow> = answered(
        sqlx::query_as(
            "select ordinal, kind, key, last_key, row_count from diffmig.change \
         where detection_id = $1 and entity = $2 and kind <> 'deleted' and ordinal > $3 \
         order by ordinal limit $4",
        )
        .bind(detection_id)
        .bind(entity)
        .bind(after)
        .bind(limit)
        .fetch_all(connection),
    )
    .await
    .map_err(failed("reading the detection"))?;
    Ok(stored_changes(rows))
}

type ChangeRow = (i64, String, Value, Option<Value>, i64);

fn stored_changes(rows: Vec<ChangeRow>) -> Vec<StoredChange> {
    let changes = rows
        .into_iter()
        .filter_map(|(ordinal, kind, key, last_key, row_count)| {
            let kind = ChangeKind::from_word(&kind)?;
            Some(StoredChange {
                ordinal,
                kind,
                key,
                last_key,
                row_count,
            })
        });
    changes.collect()
}

/// Reads a page of deletions of an entity, in reverse order.
///
/// # Errors
/// The query fails.
pub async fn read_deletions(
    connection: &mut Connection,
    detection_id: Uuid,
    entity: &str,
    before: i64,
    limit: i64,
) -> Result<Vec<StoredChange>> {
    let rows: Vec<ChangeRow> = answered(
        sqlx::query_as(
            "select ordinal, kind, key, last_key, row_count from diffmig.change \
         where detection_id = $1 and entity = $2 and kind = 'deleted' and ordinal < $3 \
         order by ordinal desc limit $4",
        )
        .bind(detection_id)
        .bind(entity)
        .bind(before)
        .bind(limit)
        .fetch_all(connection),
    )
    .await
    .map_err(failed("reading the detection"))?;
    Ok(stored_changes(rows))
}

/// Finds a stored detection.
///
/// # Errors
/// The query fails.
pub async fn find(
    connection: &mut Connection,
    detection_id: Uuid,
) -> Result<Option<StoredDetection>> {
    type Row = (String, Value, DateTime<Utc>, Option<DateTime<Utc>>);
    let row: Option<Row> = answered(sqlx::query_as(
        "select mapping_digest, source_identity, started_at, finished_at from diffmig.detection where detection_id = $1",
    )
    .bind(detection_id)
    .fetch_optional(connection))
    .await
    .map_err(failed("reading the detection"))?;
    Ok(row.map(
        |(mapping_digest, source_identity, started_at, finished_at)| StoredDetection {
            mapping_digest,
            source_identity,
            started_at,
            finished_at,
        },
    ))
}

/// Reads the counts of a stored detection.
///
/// # Errors
/// The query fails.
pub async fn counts(
    connection: &mut Connection,
    detection_id: Uuid,
) -> Result<Vec<DetectionCounts>> {
    let rows: Vec<CountsRow> = answered(sqlx::query_as(
        "select entity, source_rows, filtered, unchanged, new_rows, modified, deleted, set_aside, \
         mode, reason, rows_read, could_miss \
         from diffmig.detection_entity where detection_id = $1 order by entity",
    )
    .bind(detection_id)
    .fetch_all(connection))
    .await
    .map_err(failed("reading the detection"))?;
    let number = |count: i64| u64::try_from(count).unwrap_or(0);
    let counts = rows.into_iter().map(|row| DetectionCounts {
        entity: row.entity,
        source_rows: number(row.source_rows),
        filtered: number(row.filtered),
        unchanged: number(row.unchanged),
        new: number(row.new_rows),
        modified: number(row.modified),
        deleted: number(row.deleted),
        set_aside: number(row.set_aside),
        reading: Reading {
            mode: ReadMode::from_word(&row.mode).unwrap_or_default(),
            reason: row.reason,
            rows_read: number(row.rows_read),
            could_miss: row.could_miss,
        },
    });
    Ok(counts.collect())
}

#[derive(sqlx::FromRow)]
struct CountsRow {
    entity: String,
    source_rows: i64,
    filtered: i64,
    unchanged: i64,
    new_rows: i64,
    modified: i64,
    deleted: i64,
    set_aside: i64,
    mode: String,
    reason: String,
    rows_read: i64,
    could_miss: Option<String>,
}

/// Forgets the changes of an entity that is read anew.
///
/// # Errors
/// The query fails.
pub async fn forget_changes(
    connection: &mut Connection,
    detection_id: Uuid,
    entity: &str,
) -> Result<()> {
    answered(
        sqlx::query("delete from diffmig.change where detection_id = $1 and entity = $2")
            .bind(detection_id)
            .bind(entity)
            .execute(connection),
    )
    .await
    .map_err(failed("storing the detection"))?;
    Ok(())
}

/// Returns which source the latest session with a batch has read; nothing before the first one.
///
/// A session that was refused has no batch, so that trying again does not make the refusal go away.
///
/// # Errors
/// The query fails.
pub async fn source_of_last_batches(connection: &mut Connection) -> Result<Option<Value>> {
    answered(
        sqlx::query_scalar(
            "select d.source_identity from diffmig.session s join diffmig.detection d using (detection_id) \
             where exists (select from diffmig.batch b where b.session_id = s.session_id) \
             order by s.number desc limit 1",
        )
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading the source's identity"))
}

/// Tells whether the stored changes are those that were counted when the detection was made.
///
/// # Errors
/// The query fails.
pub async fn is_whole(connection: &mut Connection, detection_id: Uuid) -> Result<bool> {
    let (whole,): (bool,) = answered(
        sqlx::query_as(
            "with counted as (select entity, kind, sum(row_count) as row_count from diffmig.change \
               where detection_id = $1 group by 1, 2), \
             claimed as (select e.entity, k.kind, k.row_count from diffmig.detection_entity e \
               cross join lateral (values ('new', e.new_rows), ('modified', e.modified), ('deleted', e.deleted)) \
               as k (kind, row_count) where e.detection_id = $1 and k.row_count > 0) \
             select not exists (select from counted c full join claimed d using (entity, kind) \
               where c.row_count is distinct from d.row_count)",
        )
        .bind(detection_id)
        .fetch_one(connection),
    )
    .await
    .map_err(failed("reading the detection"))?;
    Ok(whole)
}

/// Tells whether another session has written since a detection was made.
///
/// # Errors
/// The query fails.
pub async fn applied_since(connection: &mut Connection, since: DateTime<Utc>) -> Result<bool> {
    let (later,): (bool,) = answered(
        sqlx::query_as("select exists (select from diffmig.batch where committed_at > $1)")
            .bind(since)
            .fetch_one(connection),
    )
    .await
    .map_err(failed("reading the batches"))?;
    Ok(later)
}

/// What became of the rows of one entity, from its ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerCounts {
    /// Rows whose content is in the target.
    pub applied: i64,
    /// Rows set aside.
    pub quarantined: i64,
    /// Rows that wait for a parent.
    pub held: i64,
    /// Rows changed on both sides.
    pub conflicted: i64,
    /// Keys that are gone from the source.
    pub retired: i64,
    /// Applied rows with a reference that is NULL until its parent arrives.
    pub pending: i64,
    /// Keys that are gone from the source, but whose target row stays against the delete policy: it was
    /// edited, or the target refuses to let it go.
    pub kept: i64,
    /// Rows set aside, held, in conflict or kept that an operator accepts as they are; counted there as well.
    pub waived: i64,
    /// Rows that stand for a source row.
    #[serde(skip)]
    pub live: i64,
    /// All rows.
    #[serde(skip)]
    pub all: i64,
}

impl LedgerCounts {
    /// Returns how many rows are set aside and not accepted by an operator.
    pub fn set_aside(&self) -> i64 {
        self.quarantined + self.held + self.conflicted + self.kept - self.waived
    }
}

/// Counts an entity's ledger.
///
/// # Errors
/// The query fails.
pub async fn ledger_counts(
    connection: &mut Connection,
    entity: &ResolvedEntity,
    row_count: Option<i64>,
) -> Result<LedgerCounts> {
    if row_count.is_none() {
        // All rows are counted, by all the workers that there are.
        begin_ledger_view(connection).await?;
    }
    let statement = ledger::outcomes(entity, row_count);
    let row: (i64, i64, i64, i64, i64, i64, i64, i64, i64, i64) = answered(
        sqlx::query_as(statement.safe())
            .persistent(false)
            .fetch_one(&mut *connection),
    )
    .await
    .map_err(failed("counting a ledger"))?;
    if row_count.is_none() {
        end_ledger_view(connection).await?;
    }
    Ok(LedgerCounts {
        applied: row.0,
        quarantined: row.1,
        held: row.2,
        conflicted: row.3,
        retired: row.4,
        pending: row.5,
        kept: row.6,
        waived: row.7,
        live: row.8,
        all: row.9,
    })
}

/// Runs a statement that returns one yes or no.
///
/// # Errors
/// The query fails.
pub async fn ask(connection: &mut Connection, statement: &Statement) -> Result<bool> {
    let (answer,): (bool,) = answered(
        sqlx::query_as(statement.safe())
            .persistent(false)
            .fetch_one(connection),
    )
    .await
    .map_err(failed("reading a ledger"))?;
    Ok(answer)
}

/// Runs a statement that returns stored keys.
///
/// # Errors
/// The query fails.
pub async fn stored_keys(connection: &mut Connection, statement: &Statement) -> Result<Vec<Value>> {
    let rows: Vec<(Value,)> = answered(
        sqlx::query_as(statement.safe())
            .persistent(false)
            .fetch_all(connection),
    )
    .await
    .map_err(failed("finding released rows"))?;
    Ok(rows.into_iter().map(|(key,)| key).collect())
}

/// Runs a statement that returns entities and stored keys.
///
/// # Errors
/// The query fails.
pub async fn stored_rows(
    connection: &mut Connection,
    statement: &Statement,
) -> Result<Vec<(String, Value)>> {
    answered(
        sqlx::query_as(statement.safe())
            .persistent(false)
            .fetch_all(connection),
    )
    .await
    .map_err(failed("finding released rows"))
}

/// Returns the number of an entity's next batch in a session, and whether any of its rows was ever set aside.
///
/// # Errors
/// The query fails.
pub async fn resume_point(
    connection: &mut Connection,
    session_id: Uuid,
    entity: &str,
) -> Result<(i32, bool)> {
    answered(sqlx::query_as(
        "select coalesce((select max(number) from diffmig.batch where session_id = $1 and entity = $2), 0) + 1, \
         exists (select from diffmig.quarantine where entity = $2 and status <> 'resolved') \
         or exists (select from diffmig.pending_reference where entity = $2)",
    )
    .bind(session_id)
    .bind(entity)
    .fetch_one(connection))
    .await
    .map_err(failed("reading where the entity stands"))
}
