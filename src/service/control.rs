//! Signals to the running session, recorded apart from its state.

use super::status::{SessionStatus, open_control, status};
use crate::db::control::{lease, session};
use crate::db::server::Server;
use crate::domain::session::Signal;
use crate::error::{Error, Kind, Result};
use serde::Serialize;
use uuid::Uuid;

/// What became of a signal.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignalReport {
    /// The session.
    pub session_id: Uuid,
    /// Its state when the signal was given.
    pub state: String,
    /// Whether a running process will obey it.
    pub delivered: bool,
}

/// Asks the running session to pause or to end at the next batch boundary.
///
/// # Errors
/// There is no such session, or it is over already.
pub async fn signal(
    target: &Server,
    session_id: Option<Uuid>,
    signal: Signal,
) -> Result<SignalReport> {
    let before: SessionStatus = status(target, session_id).await?;
    if before.is_over() {
        return Err(Error::new(
            Kind::ControlState,
            format!("session {} is {}", before.session_id, before.state),
        )
        .state("nothing was changed")
        .next("diffmig control list"));
    }
    let mut connection = open_control(target).await?;
    let delivered = lease::set_signal(&mut connection, before.session_id, signal).await?;
    Ok(SignalReport {
        session_id: before.session_id,
        state: before.state,
        delivered,
    })
}

/// Closes sessions whose process is gone and forgets old ones.
///
/// # Errors
/// The target cannot be written.
pub async fn clean_up(target: &Server, keep_days: i32) -> Result<(u64, u64)> {
    let mut connection = open_control(target).await?;
    session::clean_up(&mut connection, keep_days).await
}
