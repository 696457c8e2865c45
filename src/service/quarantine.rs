//! Rows that are set aside, from the control tables only: looked at, tried again, or accepted as they are.

use super::lease::expire_dead;
use super::sessions::open_if_any;
use super::status::open_control;
use crate::db::control::lease::Holder;
use crate::db::control::quarantine::{self, Choice, Freeing, QuarantineRow};
use crate::db::server::{Connection, Server};
use crate::domain::quarantine::{ANY_STATUS, SET_ASIDE, UNSETTLED, meant_keys, written_key};
use crate::error::{Error, Kind, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

pub use crate::domain::quarantine::{QuarantineStatus, of_word};

/// Which rows are meant; every condition that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct QuarantineFilter {
    /// Only this entity.
    pub entity: Option<String>,
    /// Only rows with this text in their reason, or with this SQLSTATE.
    pub reason: Option<String>,
}

/// A row that is or was set aside. It holds no values of the row but its key.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    /// The entity.
    pub entity: String,
    /// The key as stored: an array with one value per key column.
    pub key: Value,
    /// `open`, `held`, `conflict`, `waived` or `resolved`.
    pub status: String,
    /// The kind of fault.
    pub sqlstate: String,
    /// The constraint or column that refused it.
    pub constraint: Option<String>,
    /// In words.
    pub reason: String,
    /// How often it was set aside.
    pub attempts: i32,
    /// The session that set it aside first.
    pub first_session: Uuid,
    /// The session that set it aside last.
    pub last_session: Uuid,
    /// Since when it is known.
    pub created_at: DateTime<Utc>,
    /// When it changed last.
    pub updated_at: DateTime<Utc>,
}

impl SetAside {
    /// Returns the key the way commands take it.
    pub fn written_key(&self) -> String {
        written_key(&self.key)
    }
}

impl From<QuarantineRow> for SetAside {
    fn from(row: QuarantineRow) -> SetAside {
        SetAside {
            entity: row.entity,
            key: row.key,
            status: row.status,
            sqlstate: row.sqlstate,
            constraint: row.constraint_name,
            reason: row.reason,
            attempts: row.attempts,
            first_session: row.first_session,
            last_session: row.last_session,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// How many rows are set aside for one reason.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReasonTotal {
    /// The entity.
    pub entity: String,
    /// How they stand.
    pub status: String,
    /// The kind of fault.
    pub sqlstate: String,
    /// In words.
    pub reason: String,
    /// How many.
    pub rows: i64,
}

impl From<quarantine::ReasonCount> for ReasonTotal {
    fn from(it: quarantine::ReasonCount) -> Self {
        ReasonTotal {
            entity: it.entity,
            status: it.status,
            sqlstate: it.sqlstate,
            reason: it.reason,
            rows: it.row_count,
        }
    }
}

/// A reference that waits for its parent.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The column of the target.
    pub column: String,
    /// The entity of the parent.
    pub parent_entity: String,
    /// The parent's key as stored.
    pub parent_key: Value,
    /// How the parent stands when it is set aside itself; nothing when no batch has seen it.
    pub parent_status: Option<String>,
}

impl Waiting {
    /// Returns the parent's key the way commands take it.
    pub fn written_parent_key(&self) -> String {
        written_key(&self.parent_key)
    }
}

impl From<quarantine::WaitRow> for Waiting {
    fn from(it: quarantine::WaitRow) -> Self {
        Waiting {
            column: it.column_name,
            parent_entity: it.parent_entity,
            parent_key: it.parent_key,
            parent_status: it.parent_status,
        }
    }
}

/// What the ledger says of a key.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerState {
    /// `applied`, `quarantined`, `held` or `conflicted`.
    pub outcome: String,
    /// The id of its row in the target, there or not.
    pub target_id: String,
    /// Whether something of this key was written into the target.
    pub in_target: bool,
    /// When the key was found gone from the source.
    pub deleted_at: Option<DateTime<Utc>>,
    /// The short number of the session that looked at it last.
    pub session_number: i32,
    /// Whether the next migration tries it again although it is unchanged.
    pub retried: bool,
}

impl From<quarantine::LedgerEntry> for LedgerState {
    fn from(it: quarantine::LedgerEntry) -> Self {
        LedgerState {
            outcome: it.outcome,
            target_id: it.target_id,
            in_target: it.in_target,
            deleted_at: it.deleted_at,
            session_number: it.session_number,
            retried: it.retried,
        }
    }
}

/// Everything that is known of one row.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RowDetail {
    /// The row.
    #[serde(flatten)]
    pub row: SetAside,
    /// What it waits for.
    pub waits_for: Vec<Waiting>,
    /// What the ledger says; nothing when its entity has no ledger.
    pub ledger: Option<LedgerState>,
}

/// What was marked in one entity.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Marked {
    /// The entity.
    pub entity: String,
    /// Rows that were marked.
    pub rows: i64,
    /// Rows that were chosen, but are deletions in conflict or not set aside any more.
    pub left_alone: i64,
}

/// What was marked in all entities.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MarkReport {
    /// Rows that were marked.
    pub rows: i64,
    /// Rows that were left alone.
    pub left_alone: i64,
    /// By entity.
    pub entities: Vec<Marked>,
}

impl MarkReport {
    fn of(entities: Vec<Marked>) -> MarkReport {
        MarkReport {
            rows: entities.iter().map(|it| it.rows).sum(),
            left_alone: entities.iter().map(|it| it.left_alone).sum(),
            entities,
        }
    }
}

fn unchanged(error: Error) -> Error {
    error.state("nothing was changed")
}

/// Opens the control schema and makes sure that a named entity is one that was migrated.
async fn open(target: &Server, entity: Option<&str>) -> Result<Connection> {
    let mut connection = open_control(target).await?;
    let Some(entity) = entity else {
        return Ok(connection);
    };
    match quarantine::others(&mut connection, entity).await? {
        None => Ok(connection),
        Some(known) => Err(Error::new(
            Kind::Usage,
            format!("no entity {entity} was migrated into this target"),
        )
        .cause(format!("these were: {}", known.join(", ")))
        .next("diffmig quarantine list --summary")),
    }
}

fn choice(filter: &QuarantineFilter, statuses: &'static [QuarantineStatus]) -> Choice {
    Choice {
        statuses,
        entity: filter.entity.clone(),
        reason: filter.reason.clone(),
        keys: None,
    }
}

/// Lists rows by entity and key, and tells how many there are without the limit.
///
/// # Errors
/// The target cannot be read, or the entity is not known.
pub async fn list(
    target: &Server,
    filter: &QuarantineFilter,
    statuses: &'static [QuarantineStatus],
    limit: Option<i64>,
) -> Result<(Vec<SetAside>, i64)> {
    let mut connection = open(target, filter.entity.as_deref()).await?;
    let choice = choice(filter, statuses);
    let rows = quarantine::list(&mut connection, &choice, limit).await?;
    let mut total = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    if limit.is_some() {
        let counts = quarantine::counts(&mut connection, &choice).await?;
        total = counts.iter().map(|(_, rows)| rows).sum();
    }
    Ok((rows.into_iter().map(SetAside::from).collect(), total))
}

/// Lists rows from behind one of them on, and counts all by reason; before the first migration there are none.
///
/// # Errors
/// The target cannot be read.
pub async fn page(
    target: &Server,
    filter: &QuarantineFilter,
    statuses: &'static [QuarantineStatus],
    after: Option<&(String, Value)>,
    limit: i64,
) -> Result<(Vec<SetAside>, Vec<ReasonTotal>)> {
    let Some(mut connection) = open_if_any(target).await? else {
        return Ok((Vec::new(), Vec::new()));
    };
    let choice = choice(filter, statuses);
    let rows = quarantine::page(&mut connection, &choice, after, limit).await?;
    let totals = quarantine::summary(&mut connection, &choice).await?;
    Ok((
        rows.into_iter().map(SetAside::from).collect(),
        totals.into_iter().map(ReasonTotal::from).collect(),
    ))
}

/// Counts rows by entity, status, SQLSTATE and reason.
///
/// # Errors
/// As [`list`].
pub async fn summary(
    target: &Server,
    filter: &QuarantineFilter,
    statuses: &'static [QuarantineStatus],
) -> Result<Vec<ReasonTotal>> {
    let mut connection = open(target, filter.entity.as_deref()).await?;
    let counts = quarantine::summary(&mut connection, &choice(filter, statuses)).await?;
    Ok(counts.into_iter().map(ReasonTotal::from).collect())
}

/// Finds one row by its written key.
async fn find(
    connection: &mut Connection,
    entity: &str,
    written: &str,
    statuses: &'static [QuarantineStatus],
) -> Result<QuarantineRow> {
    let choice = Choice {
        statuses,
        entity: Some(entity.to_owned()),
        reason: None,
        keys: Some(meant_keys(written)),
    };
    let found = quarantine::list(connection, &choice, Some(1)).await?;
    found.into_iter().next().ok_or_else(|| {
        Error::new(Kind::Usage, format!("{entity} {written} is not set aside"))
            .next(format!("diffmig quarantine list --entity {entity}"))
    })
}

/// Reads everything that is known of one row.
///
/// # Errors
/// It was never set aside, or the target cannot be read.
pub async fn show(target: &Server, entity: &str, written: &str) -> Result<RowDetail> {
    let mut connection = open(target, Some(entity)).await?;
    let row = find(&mut connection, entity, written, ANY_STATUS).await?;
    let waits = quarantine::waits(&mut connection, &row.entity, &row.key).await?;
    let entry = quarantine::entry(&mut connection, &row.entity, &row.key).await?;
    Ok(RowDetail {
        row: row.into(),
        waits_for: waits.into_iter().map(Waiting::from).collect(),
        ledger: entry.map(LedgerState::from),
    })
}

/// Turns written keys into stored ones; all of them must be set aside.
async fn stored_keys(
    connection: &mut Connection,
    entity: &str,
    written: &[String],
) -> Result<Vec<Value>> {
    let mut stored = Vec::new();
    for written in written {
        let row = find(connection, entity, written, SET_ASIDE).await;
        stored.push(row.map_err(unchanged)?.key);
    }
    Ok(stored)
}

/// Makes the next migration try rows again although their source rows have not changed.
///
/// Without keys every row that was not waived is meant; a row that is named by its key is tried in any case.
///
/// # Errors
/// A session is at work (exit 11), a key is not set aside, or the target cannot be written.
pub async fn retry(
    target: &Server,
    filter: &QuarantineFilter,
    keys: &[String],
) -> Result<MarkReport> {
    let mut connection = open(target, filter.entity.as_deref()).await?;
    let mut choice = choice(filter, UNSETTLED);
    if let (Some(entity), [_, ..]) = (&filter.entity, keys) {
        choice.keys = Some(stored_keys(&mut connection, entity, keys).await?);
        choice.statuses = SET_ASIDE;
    }
    expire_dead(&mut connection).await?;
    match quarantine::free(&mut connection, &choice).await? {
        Freeing::Busy(holder) => Err(busy(&holder)),
        Freeing::Done(entities) => {
            let marked = entities.into_iter().map(|(entity, it)| Marked {
                entity,
                rows: it.freed,
                left_alone: it.chosen - it.freed,
            });
            Ok(MarkReport::of(marked.collect()))
        }
    }
}

fn busy(holder: &Holder) -> Error {
    let session = holder.session_id.map(|id| id.to_string());
    let what = format!("session {} is at work", session.unwrap_or_default());
    Error::new(Kind::LeaseHeld, what)
        .cause(format!(
            "{} process {} holds the lease (heartbeat {} s ago)",
            holder.host, holder.process_id, holder.silent_secs
        ))
        .state("nothing was changed")
        .next("wait for its end (diffmig status --watch) or pause it (diffmig control pause)")
}

/// Accepts that rows stay out of the target: they are still counted, but no migration complains of them.
///
/// # Errors
/// A key is not set aside, or the target cannot be written.
pub async fn waive(
    target: &Server,
    filter: &QuarantineFilter,
    keys: &[String],
) -> Result<MarkReport> {
    let mut connection = open(target, filter.entity.as_deref()).await?;
    let mut choice = choice(filter, UNSETTLED);
    if let (Some(entity), [_, ..]) = (&filter.entity, keys) {
        choice.keys = Some(stored_keys(&mut connection, entity, keys).await?);
    }
    let waived = quarantine::waive(&mut connection, &choice).await?;
    let marked = waived.into_iter().map(|(entity, rows)| Marked {
        entity,
        rows,
        left_alone: 0,
    });
    Ok(MarkReport::of(marked.collect()))
}
