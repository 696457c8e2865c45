//! The baseline analyzer: how far source and target are apart, without reading rows one by one.

use crate::context::{Context, Selection};
use crate::db::control::detection::{LedgerCounts, ledger_counts};
use crate::db::control::schema::{self, Installed};
use crate::db::control::session;
use crate::db::source::{self, Snapshot};
use crate::db::statement::source::SourceStatements;
use crate::db::statement::target_row::count_target;
use crate::domain::resolve::ResolvedEntity;
use crate::error::Result;
use crate::service::detect::watched;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// Where an entity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BaselineStatus {
    /// Every source row is accounted for.
    Synced,
    /// The source has rows that the ledger does not know.
    Behind,
    /// The ledger knows rows that the source no longer has.
    Ahead,
    /// Nothing was migrated yet.
    Missing,
}

/// The baseline of one entity.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntityBaseline {
    /// The entity.
    pub entity: String,
    /// The source relation.
    pub source: String,
    /// The target table.
    pub target: String,
    /// Rows of the source relation.
    pub source_rows: u64,
    /// Rows that the mapping leaves out.
    pub filtered: u64,
    /// Rows of the target table, rows native to it included.
    pub target_rows: u64,
    /// What the ledger knows.
    pub ledger: LedgerCounts,
    /// Source rows minus accounted rows; positive means behind.
    pub gap: i64,
    /// Where it stands. Counts only: `detect` finds modified rows.
    pub status: BaselineStatus,
}

/// The baseline of the chosen entities.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// When it was taken.
    pub taken_at: DateTime<Utc>,
    /// When the last migration ended, if there was one.
    pub last_migration_at: Option<DateTime<Utc>>,
    /// The entities in mapping order.
    pub entities: Vec<EntityBaseline>,
}

impl Baseline {
    /// Tells whether every entity is synced.
    pub fn is_synced(&self) -> bool {
        self.entities
            .iter()
            .all(|it| it.status == BaselineStatus::Synced)
    }
}

/// Compares the counts of source, ledger and target.
///
/// # Errors
/// Any count fails: "no rows" and "could not look" are never the same.
pub async fn analyze(context: &Context, selection: &Selection) -> Result<Baseline> {
    let entities = context.select(selection)?;
    let mut control = context.target.open().await?;
    let installed = schema::look(&mut control).await?;
    let (ledgers, last) = match installed {
        Installed::Absent => (Vec::new(), None),
        Installed::Present { .. } => {
            let last = session::find(&mut control, None).await?;
            (
                schema::ledgers(&mut control).await?,
                last.and_then(|it| it.finished_at),
            )
        }
    };
    let snapshot = Snapshot::take(&context.source, &watched(&entities)).await?;
    let mut reader = snapshot.reader().await?;
    let mut baselines = Vec::new();
    for entity in entities {
        let statements = SourceStatements::new(entity);
        let source_rows =
            source::count(&mut reader, &statements.count_relation(), &entity.name).await?;
        let passing = if entity.may_filter() {
            source::count(&mut reader, &statements.count_passing(), &entity.name).await?
        } else {
            source_rows
        };
        let known = if ledgers.contains(&entity.name) {
            Some(ledger_counts(&mut control, entity, None).await?)
        } else {
            None
        };
        let target_rows = count_target_rows(&mut control, entity).await?;
        baselines.push(baseline(entity, source_rows, passing, target_rows, known));
    }
    drop(reader);
    snapshot.release().await?;
    Ok(Baseline {
        taken_at: Utc::now(),
        last_migration_at: last,
        entities: baselines,
    })
}

async fn count_target_rows(
    control: &mut crate::db::Connection,
    entity: &ResolvedEntity,
) -> Result<u64> {
    source::count_on(
        crate::domain::connection::Side::Target,
        control,
        &count_target(entity),
    )
    .await
}

fn baseline(
    entity: &ResolvedEntity,
    source_rows: u64,
    passing: u64,
    target_rows: u64,
    known: Option<LedgerCounts>,
) -> EntityBaseline {
    let ledger = known.unwrap_or_default();
    let accounted = ledger.applied + ledger.quarantined + ledger.held + ledger.conflicted;
    let gap = i64::try_from(passing).unwrap_or(i64::MAX) - accounted;
    let status = match gap {
        0 => BaselineStatus::Synced,
        _ if accounted == 0 => BaselineStatus::Missing,
        1.. => BaselineStatus::Behind,
        _ => BaselineStatus::Ahead,
    };
    EntityBaseline {
        entity: entity.name.clone(),
        source: entity.source.label(),
        target: entity.target.to_string(),
        source_rows,
        filtered: source_rows.saturating_sub(passing),
        target_rows,
        ledger,
        gap,
        status,
    }
}
