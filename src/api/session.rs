//! Sessions: the list, and one of them.

use super::answer::{Answer, Refusal};
use super::door::Door;
use super::input::{Asked, Checked, SessionId, within};
use crate::service::sessions;
use crate::service::status::SessionStatus;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct SessionsQuery {
    /// How many sessions at most.
    #[param(minimum = 1, maximum = 200, default = 20)]
    limit: i64,
    /// `nextCursor` of the page before.
    #[param(minimum = 1, nullable = false)]
    cursor: Option<i32>,
}

impl Default for SessionsQuery {
    fn default() -> Self {
        SessionsQuery {
            limit: 20,
            cursor: None,
        }
    }
}

impl Checked for SessionsQuery {
    fn check(&self) -> Result<(), Refusal> {
        within("cursor", self.cursor.unwrap_or(1), 1, i32::MAX)?;
        within("limit", self.limit, 1, 200)
    }
}

/// A page of sessions, latest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionsPage {
    /// The sessions.
    sessions: Vec<SessionStatus>,
    /// Where the next page begins; `null` on the last one.
    next_cursor: Option<i32>,
}

/// List sessions
///
/// Latest first, whoever started them. Before the first migration the list is empty.
#[utoipa::path(get, path = "/api/migration/sessions", tag = "sessions", params(SessionsQuery),
    responses((status = 200, description = "A page of sessions", body = SessionsPage)))]
pub(super) async fn sessions(
    State(door): State<Arc<Door>>,
    Asked(query): Asked<SessionsQuery>,
) -> Answer<Json<SessionsPage>> {
    let _place = door.question().await?;
    let mut sessions = sessions::page(&door.target, query.cursor, query.limit + 1).await?;
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let more = sessions.len() > limit;
    sessions.truncate(limit);
    let next_cursor = sessions.last().filter(|_| more).map(|it| it.number);
    Ok(Json(SessionsPage {
        sessions,
        next_cursor,
    }))
}

/// Show one session
///
/// From the control tables only, as `diffmig status` does.
#[utoipa::path(get, path = "/api/migration/status/{sessionId}", tag = "sessions",
    params(("sessionId" = Uuid, Path, description = "The session")),
    responses((status = 200, description = "The session with its steps", body = SessionStatus)))]
pub(super) async fn status(
    State(door): State<Arc<Door>>,
    SessionId(session_id): SessionId,
) -> Answer<Json<SessionStatus>> {
    let _place = door.question().await?;
    let found = sessions::find(&door.target, session_id).await?;
    found
        .map(Json)
        .ok_or_else(|| Refusal::no_session(session_id))
}
