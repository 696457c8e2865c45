//! Records how a session ended, as long as it is still ours.

use super::MigrateReport;
use crate::context::Context;
use crate::db::control::session;
use crate::domain::event::{Event, Level};
use crate::domain::session::SessionState;
use crate::error::{Error, Kind, Result};
use crate::service::lease::HeldLease;
use serde_json::json;
use uuid::Uuid;

fn state_of(worked: &Result<MigrateReport>) -> SessionState {
    match worked {
        Ok(report) => SessionState::from_word(&report.state).unwrap_or(SessionState::Completed),
        Err(error) => match error.kind() {
            Kind::Paused => SessionState::Paused,
            Kind::Cancelled => SessionState::Cancelled,
            _ => SessionState::Failed,
        },
    }
}

fn words(error: &Error) -> String {
    match error.cause_text() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Writes the final state and a last event.
///
/// A fenced process writes nothing: the session belongs to whoever took the lease.
///
/// # Errors
/// The target cannot be reached; the session then counts as interrupted and can be taken up again.
pub(crate) async fn record(
    context: &Context,
    lease: &HeldLease,
    session_id: Uuid,
    worked: &Result<MigrateReport>,
) -> Result<()> {
    let state = state_of(worked);
    let text = worked.as_ref().err().map(words);
    let level = match state {
        SessionState::Failed => Level::Error,
        SessionState::Completed => Level::Info,
        _ => Level::Warn,
    };
    let message = match &text {
        Some(text) => format!("session {state}: {text}"),
        None => format!("session {state}"),
    };
    context.emit(Event::Logged {
        level,
        entity: None,
        operation: "session",
        message,
        context: json!({ "state": state.word() }),
    });
    if matches!(worked, Err(error) if error.kind() == Kind::Fenced) {
        return Ok(());
    }
    let mut connection = context.target.open().await?;
    if state == SessionState::Cancelled {
        let cancelling = SessionState::Cancelling;
        session::advance(&mut connection, session_id, lease.epoch, cancelling, None).await?;
    }
    session::advance(
        &mut connection,
        session_id,
        lease.epoch,
        state,
        text.as_deref(),
    )
    .await?;
    Ok(())
}
