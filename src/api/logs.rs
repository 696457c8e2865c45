//! The execution log, page by page.

use super::answer::{Answer, Refusal};
use super::door::Door;
use super::input::{Asked, Checked, SessionId, short, within};
use super::limits::busy;
use crate::error::Error;
use crate::service::logs::{EventRow, LogReader, LogRequest};
use crate::service::sessions;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures::stream::try_unfold;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// The lowest level shown.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Everything.
    Debug,
    /// What happened.
    Info,
    /// What somebody should look at.
    Warn,
    /// What stopped something.
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct LogsQuery {
    /// Only events of this level or above.
    #[param(inline, nullable = false)]
    level: Option<Level>,
    /// Only events of this entity.
    #[param(min_length = 1, max_length = 200, nullable = false)]
    entity: Option<String>,
    /// Only events from this moment on.
    #[param(nullable = false)]
    since: Option<DateTime<Utc>>,
    /// Only events before this moment.
    #[param(nullable = false)]
    until: Option<DateTime<Utc>>,
    /// How many events at most.
    #[param(minimum = 1, maximum = 1000, default = 200)]
    limit: i64,
    /// Only events after this one: `nextCursor` of the page before. Without it: the latest events.
    #[param(minimum = 0, nullable = false)]
    cursor: Option<i64>,
}

impl Default for LogsQuery {
    fn default() -> Self {
        LogsQuery {
            level: None,
            entity: None,
            since: None,
            until: None,
            limit: 200,
            cursor: None,
        }
    }
}

impl Checked for LogsQuery {
    fn check(&self) -> Result<(), Refusal> {
        if let Some(entity) = &self.entity {
            short("entity", entity, 200)?;
        }
        within("cursor", self.cursor.unwrap_or(0), 0, i64::MAX)?;
        within("limit", self.limit, 1, 1_000)
    }
}

/// Which events to export.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// Only events of this level or above.
    #[param(inline, nullable = false)]
    level: Option<Level>,
    /// Only events of this entity.
    #[param(min_length = 1, max_length = 200, nullable = false)]
    entity: Option<String>,
}

impl Checked for ExportQuery {
    fn check(&self) -> Result<(), Refusal> {
        match &self.entity {
            Some(entity) => short("entity", entity, 200),
            None => Ok(()),
        }
    }
}

/// A page of the log, in order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogsPage {
    /// The events.
    events: Vec<EventRow>,
    /// Ask with this for what comes after.
    next_cursor: i64,
}

/// Read the log of a session
///
/// Without a cursor, the latest events; with one, the oldest after it.
#[utoipa::path(get, path = "/api/migration/logs/{sessionId}", tag = "logs",
    params(("sessionId" = Uuid, Path, description = "The session"), LogsQuery),
    responses((status = 200, description = "A page of the log", body = LogsPage)))]
pub(super) async fn logs(
    State(door): State<Arc<Door>>,
    SessionId(session_id): SessionId,
    Asked(query): Asked<LogsQuery>,
) -> Answer<Json<LogsPage>> {
    let _place = door.question().await?;
    let found = sessions::find(&door.target, session_id).await?;
    found.ok_or_else(|| Refusal::no_session(session_id))?;
    let request = LogRequest {
        session_id: Some(session_id),
        level: query.level.map(|it| it.word().to_owned()),
        entity: query.entity,
        since: query.since,
        until: query.until,
        after: query.cursor,
        limit: query.limit,
        ..LogRequest::default()
    };
    let events = LogReader::open(&door.target, &request)
        .await?
        .next()
        .await?;
    let last = events.last().map(|event| event.event_id);
    Ok(Json(LogsPage {
        next_cursor: last.or(query.cursor).unwrap_or(0),
        events,
    }))
}

/// Events that one page of an export holds.
const PAGE: i64 = 1_000;

/// Export the log of a session
///
/// The whole log as it is now, one JSON object a line.
#[utoipa::path(get, path = "/api/migration/logs/{sessionId}/export", tag = "logs",
    params(("sessionId" = Uuid, Path, description = "The session"), ExportQuery),
    responses((status = 200, description = "The log", body = String, content_type = "application/x-ndjson")))]
pub(super) async fn export(
    State(door): State<Arc<Door>>,
    SessionId(session_id): SessionId,
    Asked(query): Asked<ExportQuery>,
) -> Answer<Response> {
    let place = Arc::clone(&door.limits.streams).try_acquire_owned();
    let place = place.map_err(|_| busy("too many streams are open"))?;
    let found = sessions::find(&door.target, session_id).await?;
    found.ok_or_else(|| Refusal::no_session(session_id))?;
    let request = LogRequest {
        session_id: Some(session_id),
        level: query.level.map(|it| it.word().to_owned()),
        entity: query.entity,
        after: Some(0),
        limit: PAGE,
        ..LogRequest::default()
    };
    let reader = LogReader::open(&door.target, &request).await?;
    let pages = try_unfold(Some(reader), move |reader| {
        // Held as long as there are pages.
        let _ = &place;
        next_page(reader)
    });
    let name = format!("attachment; filename=\"diffmig-{session_id}.ndjson\"");
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, Body::from_stream(pages)).into_response())
}

/// Reads a page; a failure breaks the answer off, so that nobody takes it for the whole.
async fn next_page(
    reader: Option<LogReader>,
) -> Result<Option<(String, Option<LogReader>)>, Error> {
    let Some(mut reader) = reader else {
        return Ok(None);
    };
    let events = reader.next().await?;
    let full = i64::try_from(events.len()).is_ok_and(|it| it >= PAGE);
    let lines = events
        .iter()
        .map(|it| serde_json::to_string(it).unwrap_or_default() + "\n");
    Ok(Some((lines.collect(), full.then_some(reader))))
}
