//! What operators want of a session: a signal to its process, recorded apart from the state, or its end.

use super::status::{SessionStatus, open_control, status};
use crate::db::control::state::{self, Asked};
use crate::db::server::Server;
use crate::domain::session::{SessionState, Signal};
use crate::error::{Error, Kind, Result};
use serde::Serialize;
use uuid::Uuid;

/// What became of a signal.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignalReport {
    /// The session.
    pub session_id: Uuid,
    /// Its state when the signal was given.
    pub state: String,
    /// Its state since then.
    pub state_now: String,
    /// Whether a running process will obey it.
    pub delivered: bool,
}

/// Asks a session to pause, to end or to go on.
///
/// A running process obeys at its next batch boundary. A session without a process is cancelled at once.
/// What is so already is no fault.
///
/// # Errors
/// There is no such session, or it cannot do what is asked for (exit 17).
pub async fn signal(
    target: &Server,
    session_id: Option<Uuid>,
    signal: Signal,
) -> Result<SignalReport> {
    let found: SessionStatus = status(target, session_id).await?;
    let mut connection = open_control(target).await?;
    let asked = state::ask(&mut connection, found.session_id, signal).await?;
    let Some(asked) = asked else {
        return Err(refused(&found, found.state.clone(), signal));
    };
    let now = match asked.now {
        Some(now) => now,
        None if is_so_already(&asked, signal) => asked.before,
        None => return Err(refused(&found, named(&asked), signal)),
    };
    Ok(SignalReport {
        session_id: found.session_id,
        state: named(&asked),
        state_now: now.word().to_owned(),
        delivered: asked.now.is_some() && asked.has_process,
    })
}

/// The state as people see it: a session whose process is gone is interrupted.
fn named(asked: &Asked) -> String {
    match asked.before.is_at_work() && !asked.has_process {
        true => "interrupted".to_owned(),
        false => asked.before.word().to_owned(),
    }
}

/// Nothing runs any more, which is what a pause is for; or the session was cancelled before.
fn is_so_already(asked: &Asked, signal: Signal) -> bool {
    match signal {
        Signal::Pause => asked.before.is_final() || asked.before == SessionState::Paused,
        Signal::Cancel => asked.before == SessionState::Cancelled,
        Signal::Run => false,
    }
}

fn refused(session: &SessionStatus, state: String, signal: Signal) -> Error {
    let what = format!("session {} is {state}", session.session_id);
    let error = Error::new(Kind::ControlState, what).state("nothing was changed");
    match (signal, state.as_str()) {
        (_, "interrupted") => error
            .cause("its process is gone and cannot obey")
            .next("diffmig migrate --resume goes on, diffmig control cancel ends it"),
        (Signal::Pause, "cancelling") => error
            .cause("its end was asked for, and a pause would be less")
            .next("diffmig control resume takes that back, as long as it is not obeyed"),
        (Signal::Run, "paused") => error
            .cause("its process has ended; a new one goes on from the last committed batch")
            .next("diffmig migrate --resume"),
        (Signal::Run, "cancelled" | "failed") => error
            .cause("it is over; a new session goes on with the rest of the rows")
            .next("diffmig migrate"),
        (Signal::Run, _) => error.cause("it is complete").next("diffmig migrate"),
        _ => error
            .cause("it is over, and what is committed stays")
            .next("diffmig control list"),
    }
}

/// Closes sessions whose process is gone and forgets old ones.
///
/// # Errors
/// The target cannot be written.
pub async fn clean_up(target: &Server, keep_days: i32) -> Result<(u64, u64)> {
    let mut connection = open_control(target).await?;
    state::clean_up(&mut connection, keep_days).await
}
