//! Comparisons of both databases: how far they are apart, and what changed.

use super::answer::{Answer, Refusal};
use super::door::Door;
use super::execute::{Mode, check_names};
use super::input::{Checked, Wanted, within};
use super::limits::busy;
use crate::context::{Context, Selection};
use crate::domain::detection::Detection;
use crate::service::analyze::{Baseline, analyze};
use crate::service::detect::{DetectRequest, detect};
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::SemaphorePermit;
use utoipa::ToSchema;

/// Which entities to count.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(example = json!({"entities": ["clients", "profiles"]}))]
pub(super) struct BaselineRequest {
    /// Only these entities; empty means all.
    #[schema(max_items = 500)]
    entities: Vec<String>,
    /// Not these entities.
    #[schema(max_items = 500)]
    exclude: Vec<String>,
}

impl Checked for BaselineRequest {
    fn check(&self) -> Result<(), Refusal> {
        check_names("entities", &self.entities)?;
        check_names("exclude", &self.exclude)
    }
}

/// What to detect and how; every field may be left out.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(example = json!({"entities": ["clients"], "mode": "full"}))]
pub(super) struct DifferentialRequest {
    /// Only these entities; empty means all.
    #[schema(max_items = 500)]
    entities: Vec<String>,
    /// Not these entities.
    #[schema(max_items = 500)]
    exclude: Vec<String>,
    /// How to detect.
    mode: Mode,
    /// Only rows whose `updated_at` is not before this moment.
    since: Option<DateTime<Utc>>,
    /// Readers at the same time.
    #[schema(minimum = 1, maximum = 64, default = 3)]
    max_concurrent: u8,
}

impl Default for DifferentialRequest {
    fn default() -> Self {
        DifferentialRequest {
            entities: Vec::new(),
            exclude: Vec::new(),
            mode: Mode::Auto,
            since: None,
            max_concurrent: 3,
        }
    }
}

impl Checked for DifferentialRequest {
    fn check(&self) -> Result<(), Refusal> {
        check_names("entities", &self.entities)?;
        check_names("exclude", &self.exclude)?;
        within("maxConcurrent", self.max_concurrent, 1, 64)
    }
}

/// Takes the one place for such work and opens both databases.
async fn begin<'a>(
    door: &'a Door,
    selection: &Selection,
) -> Answer<(SemaphorePermit<'a>, Context)> {
    let place = door.limits.work.try_acquire();
    let place = place.map_err(|_| busy("another comparison is at work"))?;
    let context = door.runner.open().await?;
    let chosen = context.select(selection);
    chosen.map_err(|error| Refusal::field("entities", error.what()))?;
    Ok((place, context))
}

/// Count both sides
///
/// Source, ledger and target rows by entity, as `diffmig analyze` counts them. Nothing is changed.
#[utoipa::path(post, path = "/api/migration/baseline", tag = "migration",
    request_body(content = Option<BaselineRequest>, description = "Which entities; may be left out"),
    responses((status = 200, description = "The counts", body = Baseline)))]
pub(super) async fn baseline(
    State(door): State<Arc<Door>>,
    body: Wanted<BaselineRequest>,
) -> Answer<Json<Baseline>> {
    let selection = Selection {
        only: body.wanted.entities,
        except: body.wanted.exclude,
    };
    let (_place, context) = begin(&door, &selection).await?;
    Ok(Json(Box::pin(analyze(&context, &selection)).await?))
}

/// Find what changed
///
/// New, modified and deleted keys by entity, as `diffmig detect` finds them. They are stored under the detection id,
/// which `execute` takes.
#[utoipa::path(post, path = "/api/migration/differential", tag = "migration",
    request_body(content = Option<DifferentialRequest>, description = "What to detect; may be left out"),
    responses((status = 200, description = "The counts", body = Detection)))]
pub(super) async fn differential(
    State(door): State<Arc<Door>>,
    body: Wanted<DifferentialRequest>,
) -> Answer<Json<Detection>> {
    let wanted = body.wanted;
    let selection = Selection {
        only: wanted.entities,
        except: wanted.exclude,
    };
    let (_place, context) = begin(&door, &selection).await?;
    if wanted.since.is_some() {
        let entities = context.select(&selection)?;
        if let Some(entity) = entities.iter().find(|it| it.updated_at.is_none()) {
            let problem = format!("the mapping names no updated_at of {}", entity.name);
            return Err(Refusal::field("since", &problem));
        }
    }
    let request = DetectRequest {
        selection,
        mode: wanted.mode.into(),
        since: wanted.since,
        max_concurrent: usize::from(wanted.max_concurrent),
        store: true,
        ..DetectRequest::default()
    };
    Ok(Json(Box::pin(detect(&context, &request)).await?))
}
