//! Starts a migration in this process.

use super::answer::{Answer, Refusal};
use super::door::Door;
use super::input::{Checked, Wanted, short, within};
use crate::context::Selection;
use crate::domain::detection::{DetectMode, RowLimit};
use crate::domain::request_key::RequestKey;
use crate::service::migrate::MigrateRequest;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;
use uuid::Uuid;

/// How a source is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// The cheapest mode that misses nothing.
    #[default]
    Auto,
    /// Every row.
    Full,
    /// Rows that were written since the watermark.
    Xmin,
    /// Rows whose `updated_at` is not before the watermark.
    Timestamp,
}

impl From<Mode> for DetectMode {
    fn from(mode: Mode) -> DetectMode {
        match mode {
            Mode::Auto => DetectMode::Auto,
            Mode::Full => DetectMode::Full,
            Mode::Xmin => DetectMode::Xmin,
            Mode::Timestamp => DetectMode::Timestamp,
        }
    }
}

/// What to migrate and how; every field may be left out.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(example = json!({"entities": ["clients"], "batchSize": 2000}))]
pub(super) struct ExecuteRequest {
    /// Apply this stored detection instead of making one.
    pub detection_id: Option<Uuid>,
    /// Only these entities; empty means all.
    #[schema(max_items = 500)]
    pub entities: Vec<String>,
    /// Not these entities.
    #[schema(max_items = 500)]
    pub exclude: Vec<String>,
    /// How to detect.
    pub mode: Mode,
    /// Rows of a batch.
    #[schema(minimum = 1, maximum = 100_000, default = 5_000)]
    pub batch_size: u32,
    /// Entities worked on at the same time.
    #[schema(minimum = 1, maximum = 64, default = 3)]
    pub max_concurrent: u8,
    /// Allow up to so many deletions in an entity, whatever the limit says.
    pub allow_deletes: BTreeMap<String, u64>,
    /// Stop when more rows than this are quarantined.
    pub max_quarantine: Option<u64>,
    /// Pause at the first batch boundary after so many seconds.
    #[schema(minimum = 1, maximum = 604_800)]
    pub max_duration_secs: Option<u32>,
}

impl Default for ExecuteRequest {
    fn default() -> Self {
        ExecuteRequest {
            detection_id: None,
            entities: Vec::new(),
            exclude: Vec::new(),
            mode: Mode::Auto,
            batch_size: 5_000,
            max_concurrent: 3,
            allow_deletes: BTreeMap::new(),
            max_quarantine: None,
            max_duration_secs: None,
        }
    }
}

/// Refuses lists of names that cannot be entities.
pub(super) fn check_names(field: &str, names: &[String]) -> Result<(), Refusal> {
    if names.len() > 500 {
        return Err(Refusal::field(field, "must not have more than 500 items"));
    }
    names.iter().try_for_each(|name| short(field, name, 200))
}

impl Checked for ExecuteRequest {
    fn check(&self) -> Result<(), Refusal> {
        check_names("entities", &self.entities)?;
        check_names("exclude", &self.exclude)?;
        let limited: Vec<String> = self.allow_deletes.keys().cloned().collect();
        check_names("allowDeletes", &limited)?;
        within("batchSize", self.batch_size, 1, 100_000)?;
        within("maxConcurrent", self.max_concurrent, 1, 64)?;
        within(
            "maxDurationSecs",
            self.max_duration_secs.unwrap_or(1),
            1,
            604_800,
        )
    }
}

impl ExecuteRequest {
    /// Returns the request for the service.
    pub fn request(&self) -> MigrateRequest {
        MigrateRequest {
            selection: Selection {
                only: self.entities.clone(),
                except: self.exclude.clone(),
            },
            detection_id: self.detection_id,
            mode: self.mode.into(),
            batch_size: usize::try_from(self.batch_size).unwrap_or(5_000),
            max_concurrent: usize::from(self.max_concurrent),
            allow_deletes: self.allow_deletes.clone(),
            wait_lock: Duration::ZERO,
            max_quarantine: self.max_quarantine.map(RowLimit::Rows),
            max_duration: self
                .max_duration_secs
                .map(|it| Duration::from_secs(it.into())),
            ..MigrateRequest::default()
        }
    }
}

/// A session that this process works on.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Started {
    /// The session.
    pub session_id: Uuid,
    /// Whether an earlier process had begun it: like `diffmig migrate`, `execute` goes on with what is unfinished.
    pub resumed: bool,
}

/// The longest key that is taken.
const LONGEST_KEY: usize = 128;

/// Reads the header `Idempotency-Key`.
fn key_of(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(given) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = given.to_str().unwrap_or_default();
    let fits =
        (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|it| it.is_ascii_graphic());
    if !fits || headers.get_all("idempotency-key").iter().count() > 1 {
        let problem = format!("must be 1 to {LONGEST_KEY} printable characters without spaces");
        return Err(Refusal::field("Idempotency-Key", &problem));
    }
    Ok(Some(key.to_owned()))
}

/// Start a migration
///
/// Answers when the session stands in the control tables; the work goes on in this process. An unfinished session is
/// taken up, as `diffmig migrate` does. With an `Idempotency-Key`, repeating the request gives the same session again
/// and starts nothing, also when this process was restarted in between.
#[utoipa::path(post, path = "/api/migration/execute", tag = "migration",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 128, pattern = "^[!-~]+$",
        description = "A key of your choice, a new one for every migration that is meant")),
    request_body(content = Option<ExecuteRequest>, description = "Options; may be left out"),
    responses((status = 202, description = "The session has begun", body = Started)))]
pub(super) async fn execute(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    body: Wanted<ExecuteRequest>,
) -> Answer<(StatusCode, Json<Started>)> {
    let key = key_of(&headers)?;
    let mut request = body.wanted.request();
    request.request_key = key.map(|key| RequestKey {
        key,
        body: json!(body.wanted),
    });
    let started = door.runner.start(request).await?;
    Ok((StatusCode::ACCEPTED, Json(started)))
}
