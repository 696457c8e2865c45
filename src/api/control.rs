//! Pause, resume and cancel.

use super::answer::{Answer, Refusal};
use super::door::Door;
use super::execute::{ExecuteRequest, Started};
use super::input::{SessionId, Wanted};
use crate::domain::session::Signal;
use crate::error::Kind;
use crate::service::control::{SignalReport, signal};
use crate::service::migrate::MigrateRequest;
use crate::service::sessions;
use crate::service::status::SessionStatus;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use uuid::Uuid;

async fn existing(door: &Door, session_id: Uuid) -> Answer<SessionStatus> {
    let found = sessions::find(&door.target, session_id).await?;
    found.ok_or_else(|| Refusal::no_session(session_id))
}

async fn send(door: &Door, session_id: Uuid, wanted: Signal) -> Answer<SignalReport> {
    let found = existing(door, session_id).await?;
    signal(&door.target, Some(session_id), wanted)
        .await
        .map_err(|error| match error.kind() {
            Kind::ControlState => Refusal::conflict("wrong_state", error.what())
                .of_session(session_id)
                .state(found.state),
            _ => error.into(),
        })
}

/// Pause a session
///
/// The process that works on it stops at its next batch boundary, wherever it runs. What is over or paused already
/// stays as it is.
#[utoipa::path(post, path = "/api/migration/pause/{sessionId}", tag = "control",
    params(("sessionId" = Uuid, Path, description = "The session")),
    responses((status = 200, description = "What became of the signal", body = SignalReport)))]
pub(super) async fn pause(
    State(door): State<Arc<Door>>,
    SessionId(session_id): SessionId,
) -> Answer<Json<SignalReport>> {
    let _place = door.question().await?;
    send(&door, session_id, Signal::Pause).await.map(Json)
}

/// Cancel a session
///
/// A running session ends at its next batch boundary, a paused one at once. What is committed stays.
#[utoipa::path(post, path = "/api/migration/cancel/{sessionId}", tag = "control",
    params(("sessionId" = Uuid, Path, description = "The session")),
    responses((status = 200, description = "What became of the signal", body = SignalReport)))]
pub(super) async fn cancel(
    State(door): State<Arc<Door>>,
    SessionId(session_id): SessionId,
) -> Answer<Json<SignalReport>> {
    let _place = door.question().await?;
    send(&door, session_id, Signal::Cancel).await.map(Json)
}

/// How a session works, when nobody says it anew.
async fn begun_so(door: &Door, session_id: Uuid) -> Answer<Option<MigrateRequest>> {
    sessions::request_of(&door.target, session_id)
        .await
        .map_err(|error| match error.kind() {
            Kind::ControlState => {
                Refusal::conflict("options_unknown", error.what()).of_session(session_id)
            }
            _ => error.into(),
        })
}

/// Go on with a session
///
/// Takes a pause or cancel back that was not obeyed yet (200). A session that is paused, or whose process is gone, is
/// taken up by this process (202), with the options of the body, or those it had before when there is no body.
#[utoipa::path(post, path = "/api/migration/resume/{sessionId}", tag = "control",
    params(("sessionId" = Uuid, Path, description = "The session")),
    request_body(content = Option<ExecuteRequest>, description = "Options, as for `execute`; the session's own when left out"),
    responses(
        (status = 200, description = "The running session goes on", body = SignalReport),
        (status = 202, description = "This process has taken the session up", body = Started)))]
pub(super) async fn resume(
    State(door): State<Arc<Door>>,
    SessionId(session_id): SessionId,
    body: Wanted<ExecuteRequest>,
) -> Answer<Response> {
    let place = door.question().await?;
    let found = existing(&door, session_id).await?;
    if !matches!(found.state.as_str(), "paused" | "interrupted") {
        let report = send(&door, session_id, Signal::Run).await?;
        return Ok(Json(report).into_response());
    }
    if body.wanted.detection_id.is_some() {
        let problem = "a session that goes on makes its own detection";
        return Err(Refusal::field("detectionId", problem));
    }
    let begun = match body.is_said {
        true => None,
        false => begun_so(&door, session_id).await?,
    };
    drop(place);
    let mut request = begun.unwrap_or_else(|| body.wanted.request());
    request.takes_up = Some(session_id);
    match door.runner.start(request).await {
        Ok(started) => Ok((StatusCode::ACCEPTED, Json(started)).into_response()),
        Err(refusal) if refusal.code == "wrong_state" => {
            let _place = door.question().await?;
            let found = existing(&door, session_id).await?;
            Err(refusal.state(found.state))
        }
        Err(refusal) => Err(refusal),
    }
}
