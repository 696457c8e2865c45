//! The executor: applies a detection in waves, batch by batch.

pub mod accounting;
pub mod batch;
pub mod bisect;
pub mod budget;
mod crew;
pub mod deletions;
mod direct;
pub mod edits;
pub mod ending;
pub mod entity;
pub mod hands;
mod knot;
mod lane;
pub(crate) mod ledgers;
pub(crate) mod options;
pub mod preflight;
pub mod reader;
mod sequences;
pub mod session;
mod staleness;
mod supply;
pub mod tally;
mod watermarks;
mod waves;

pub use accounting::{EntityReport, MigrateReport};

use crate::context::{Context, Selection};
use crate::db::control::detection::LedgerCounts;
use crate::domain::detection::{DetectMode, RowLimit};
use crate::domain::plan::Plan;
use crate::domain::request_key::RequestKey;
use crate::domain::session::SessionState;
use crate::error::{Error, Kind, Result};
use crate::service::detect::{DetectRequest, detect};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How to migrate.
#[derive(Debug, Clone)]
pub struct MigrateRequest {
    /// Which entities.
    pub selection: Selection,
    /// Apply this stored detection instead of making one.
    pub detection_id: Option<Uuid>,
    /// How to detect.
    pub mode: DetectMode,
    /// Rows of a batch.
    pub batch_size: usize,
    /// Lanes at the same time, of one entity or of several.
    pub max_concurrent: usize,
    /// Exact upper bounds of deletions, by entity.
    pub allow_deletes: BTreeMap<String, u64>,
    /// How long to wait for another session.
    pub wait_lock: Duration,
    /// How many rows may be quarantined, in this session and before; `None` for any number.
    pub max_quarantine: Option<RowLimit>,
    /// After how long to pause at the next batch boundary, counted from the start.
    pub max_duration: Option<Duration>,
    /// How many days ended sessions, their log and old detections are kept; 0 for ever.
    pub keep_days: u16,
    /// The key of the request that asks for it, remembered with the session.
    pub request_key: Option<RequestKey>,
    /// The session that must be taken up; nothing for whichever there is, or a new one.
    pub takes_up: Option<Uuid>,
}

impl Default for MigrateRequest {
    fn default() -> Self {
        MigrateRequest {
            selection: Selection::default(),
            detection_id: None,
            mode: DetectMode::Auto,
            batch_size: 5_000,
            max_concurrent: 3,
            allow_deletes: BTreeMap::new(),
            wait_lock: Duration::ZERO,
            max_quarantine: None,
            max_duration: None,
            keep_days: 90,
            request_key: None,
            takes_up: None,
        }
    }
}

/// Reduces the plan to the chosen entities.
///
/// # Errors
/// A name that is not in the mapping.
pub fn plan_of(context: &Context, selection: &Selection) -> Result<Plan> {
    context.select(selection)?;
    Ok(context.plan.reduced(|name| selection.includes(name)))
}

/// What a dry run found: the plan, and what each entity would do. Nothing is written anywhere.
///
/// # Errors
/// As [`detect`].
pub async fn dry_run(
    context: &Context,
    request: &MigrateRequest,
) -> Result<(Plan, Vec<crate::domain::detection::DetectionCounts>)> {
    let plan = plan_of(context, &request.selection)?;
    let detection = detect(
        context,
        &DetectRequest {
            selection: request.selection.clone(),
            mode: request.mode,
            max_concurrent: request.max_concurrent,
            store: false,
            ..DetectRequest::default()
        },
    )
    .await?;
    Ok((plan, detection.entities))
}

/// Applies what changed since the last time.
///
/// # Errors
/// Whatever stops the session; every committed batch stays, and the same command goes on from there.
pub async fn migrate(context: &Context, request: &MigrateRequest) -> Result<MigrateReport> {
    context.select(&request.selection)?;
    session::run(context, request).await
}

/// Returns the state in which a session with these outcomes ends; rows that were waived do not count.
pub(crate) fn final_state(outcomes: &[LedgerCounts]) -> SessionState {
    if outcomes.iter().any(|it| it.set_aside() > 0) {
        SessionState::CompletedWithRejects
    } else {
        SessionState::Completed
    }
}

/// The error that ends a session at a batch boundary because somebody asked for it.
pub(crate) fn stopped(signal: crate::domain::session::Signal) -> Error {
    use crate::domain::session::Signal;
    match signal {
        Signal::Cancel => Error::new(
            Kind::Cancelled,
            "the session was cancelled at a batch boundary",
        )
        .state("every finished batch is committed")
        .next("diffmig migrate goes on from there when you want it to"),
        Signal::Pause | Signal::Run => {
            Error::new(Kind::Paused, "the session was paused at a batch boundary")
                .state("every finished batch is committed")
                .next("diffmig migrate --resume")
        }
    }
}
