//! The differential detector: source against ledger, one pass over both.

pub mod entity;
mod full;
mod gone;
pub mod ledger_rows;
pub mod merge;
mod ranges;
mod shortcut;
pub mod sink;
mod slice;
mod standing;
pub mod verdict;

use crate::context::{Context, Selection};
use crate::db::control::{detection, schema};
use crate::db::source::Snapshot;
use crate::domain::detection::{DetectMode, Detection, DetectionCounts};
use crate::domain::event::{Event, Level};
use crate::domain::identifier::QualifiedName;
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Kind, Result};
use crate::service::give_way::{Patience, Watch};
use crate::service::outage::Rider;
use crate::service::schema::{look_for_drift, say_drift};
use chrono::{DateTime, Utc};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore};
use uuid::Uuid;

/// What to detect.
#[derive(Debug, Clone)]
pub struct DetectRequest {
    /// Which entities.
    pub selection: Selection,
    /// How to read.
    pub mode: DetectMode,
    /// Only rows whose `updated_at` is not before this moment, whatever the watermarks say.
    pub since: Option<DateTime<Utc>>,
    /// Readers at the same time: of several entities, or of parts of one.
    pub max_concurrent: usize,
    /// About how many rows of an entity one reader takes at a time; fewer are not worth another pair of connections.
    pub part_rows: u64,
    /// Whether to keep the result; a dry run does not.
    pub store: bool,
}

impl Default for DetectRequest {
    fn default() -> Self {
        DetectRequest {
            selection: Selection::default(),
            mode: DetectMode::default(),
            since: None,
            max_concurrent: 3,
            part_rows: 250_000,
            store: false,
        }
    }
}

/// Finds every new, modified and deleted key and stores them under a detection id.
///
/// # Errors
/// A side cannot be read whole: then nothing is said about any entity.
pub async fn detect(context: &Context, request: &DetectRequest) -> Result<Detection> {
    let patience = Patience::default();
    let rider = Rider {
        context,
        lease: None,
        patience: &patience,
    };
    rider
        .ride_out(|| detect_once(context, request, &patience))
        .await
}

async fn detect_once(
    context: &Context,
    request: &DetectRequest,
    patience: &Patience,
) -> Result<Detection> {
    let entities = context.select(&request.selection)?;
    require_updated_at(request, &entities)?;
    let watched = watched(&entities);
    let (snapshot, drift) = tokio::try_join!(
        Snapshot::take(&context.source, &watched),
        look_for_drift(context)
    )?;
    say_drift(context, &drift);
    let _watch = Watch::start(context, snapshot.holders(), patience);
    let detection = detect_in(context, request, &snapshot).await?;
    snapshot.release().await?;
    Ok(detection)
}

/// `--since` needs something to compare with.
fn require_updated_at(request: &DetectRequest, entities: &[&ResolvedEntity]) -> Result<()> {
    let without = entities.iter().find(|it| it.updated_at.is_none());
    match without {
        Some(entity) if request.since.is_some() => {
            let what = format!(
                "--since: the mapping names no `updated_at` of {}",
                entity.name
            );
            Err(Error::new(Kind::Usage, what)
                .state("nothing was started")
                .next("name the column in the mapping, or choose entities that have one"))
        }
        _ => Ok(()),
    }
}

/// Lists the tables that entities read, each once.
pub(crate) fn watched(entities: &[&ResolvedEntity]) -> Vec<QualifiedName> {
    let tables = entities
        .iter()
        .flat_map(|entity| entity.source.watched.iter().cloned());
    let mut tables: Vec<QualifiedName> = tables.collect();
    tables.sort();
    tables.dedup();
    tables
}

/// Detects in a snapshot that the caller keeps.
///
/// # Errors
/// As [`detect`].
pub(crate) async fn detect_in(
    context: &Context,
    request: &DetectRequest,
    snapshot: &Snapshot,
) -> Result<Detection> {
    let entities = context.select(&request.selection)?;
    let started_at = Utc::now();
    let detection_id = Uuid::new_v4();
    let mut control = context.target.open().await?;
    if request.store {
        schema::ensure(&mut control).await?;
        let identity = &context.catalogs.0.identity;
        let digest = &context.mapping.digest;
        let horizon = snapshot.clock().horizon;
        detection::start(
            &mut control,
            detection_id,
            request.mode,
            digest,
            identity,
            horizon,
        )
        .await?;
    }
    let installed = schema::look(&mut control).await?;
    let ledgers = match installed {
        schema::Installed::Absent => Vec::new(),
        schema::Installed::Present { .. } => schema::ledgers(&mut control).await?,
    };
    let readers = request.max_concurrent.max(1);
    let pass = entity::Pass {
        context,
        snapshot,
        ledgers: &ledgers,
        wish: request.mode,
        since: request.since,
        detection_id: request.store.then_some(detection_id),
        readers,
        part_rows: request.part_rows,
        reading: Arc::new(Semaphore::new(readers)),
    };
    let queue = Mutex::new(VecDeque::from(entities));
    let workers = (0..readers).map(|_| entity::work(&pass, &queue));
    let counts: Vec<Vec<DetectionCounts>> = futures::future::try_join_all(workers).await?;
    let mut counts: Vec<DetectionCounts> = counts.into_iter().flatten().collect();
    counts.sort_by_key(|it| {
        context
            .entities
            .iter()
            .position(|entity| entity.name == it.entity)
    });
    if request.store {
        detection::finish(&mut control, detection_id).await?;
    }
    tell(context, &counts);
    Ok(Detection {
        detection_id,
        started_at,
        finished_at: Utc::now(),
        mode: request.mode,
        mapping_digest: context.mapping.digest.clone(),
        entities: counts,
    })
}

/// Says what was found in each entity, and how it was read.
fn tell(context: &Context, counts: &[DetectionCounts]) {
    for it in counts {
        let message = format!(
            "{} new, {} modified, {} deleted ({} because {})",
            it.new,
            it.modified,
            it.deleted,
            it.reading.mode.word(),
            it.reading.reason
        );
        let name = &it.entity;
        context.emit(Event::of_entity(
            Level::Info,
            name,
            "detect",
            message,
            json!(it),
        ));
    }
}
