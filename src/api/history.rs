//! How far a session was at which time.

use super::answer::{Answer, Refusal};
use super::door::Door;
use super::input::SessionId;
use crate::service::history::{self, SessionHistory};
use axum::Json;
use axum::extract::State;
use std::sync::Arc;

/// Show how far a session was over time
///
/// Rows done so far by entity, at up to 200 times: what a chart needs.
#[utoipa::path(get, path = "/api/migration/history/{sessionId}", tag = "sessions",
    params(("sessionId" = Uuid, Path, description = "The session")),
    responses((status = 200, description = "The history", body = SessionHistory)))]
pub(super) async fn history(
    State(door): State<Arc<Door>>,
    SessionId(session_id): SessionId,
) -> Answer<Json<SessionHistory>> {
    let _place = door.question().await?;
    let found = history::history(&door.target, session_id).await?;
    found
        .map(Json)
        .ok_or_else(|| Refusal::no_session(session_id))
}
