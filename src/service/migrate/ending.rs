//! Records how a session ended, as long as it is still ours.

use super::{MigrateReport, stopped};
use crate::context::Context;
use crate::db::control::{retention, session, state};
use crate::db::server::Connection;
use crate::domain::event::{Event, Level};
use crate::domain::session::{Action, SessionState, Signal};
use crate::error::{Error, Kind, Result};
use crate::service::lease::HeldLease;
use serde_json::json;
use uuid::Uuid;

fn action_of(worked: &Result<MigrateReport>) -> Action {
    match worked {
        Ok(report) => match SessionState::from_word(&report.state) {
            Some(SessionState::CompletedWithRejects) => Action::CompleteWithRejects,
            _ => Action::Complete,
        },
        Err(error) => match error.kind() {
            Kind::Paused => Action::Pause,
            Kind::Cancelled => Action::Cancel,
            _ => Action::Fail,
        },
    }
}

fn words(error: &Error) -> String {
    match error.cause_text() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Writes the final state and a last event; returns how the session ended, and whether that is recorded.
///
/// A connection that the state was written on is left in `last`, for what comes after it. A fenced process writes nothing: the session belongs to whoever took the lease. A pause ends as a
/// cancel when somebody asked for that meanwhile.
pub(crate) async fn record(
    context: &Context,
    lease: &HeldLease,
    session_id: Uuid,
    worked: Result<MigrateReport>,
    last: &mut Option<Connection>,
) -> (Result<MigrateReport>, Result<()>) {
    let worked = worked.map_err(|error| explain_pause(context, error));
    let text = worked.as_ref().err().map(words);
    if matches!(&worked, Err(error) if error.kind() == Kind::Fenced) {
        say(context, Level::Error, "fenced", text);
        return (worked, Ok(()));
    }
    let failure = worked.as_ref().err().zip(text.as_deref());
    let failure = failure.map(|(error, words)| state::Failure {
        words,
        exit_code: error.kind().exit_code(),
    });
    let recorded = store(lease, session_id, action_of(&worked), failure, last).await;
    let worked = match worked {
        Ok(report) => Ok(report),
        Err(error) => Err(error.state(committed(lease, session_id).await)),
    };
    let worked = match (&recorded, worked) {
        (Ok(Some(SessionState::Cancelled)), Err(error)) if error.kind() == Kind::Paused => {
            Err(stopped(Signal::Cancel))
        }
        (_, worked) => worked,
    };
    match recorded {
        Ok(state) => {
            let state = state.unwrap_or(SessionState::Failed);
            let level = match state {
                SessionState::Failed => Level::Error,
                SessionState::Completed => Level::Info,
                _ => Level::Warn,
            };
            say(context, level, state.word(), text);
            (worked, Ok(()))
        }
        Err(error) => {
            say(context, Level::Error, "not recorded", Some(words(&error)));
            (worked, Err(error))
        }
    }
}

/// Fails when the target cannot be reached, the session then counts as interrupted and can be taken up
/// again; or when the lease was taken in the last moment.
async fn store(
    lease: &HeldLease,
    session_id: Uuid,
    action: Action,
    failure: Option<state::Failure<'_>>,
    last: &mut Option<Connection>,
) -> Result<Option<SessionState>> {
    let mut connection = lease.server.open().await?;
    let state = state::act(
        &mut connection,
        session_id,
        lease.epoch,
        action,
        failure.as_ref(),
    )
    .await?;
    *last = Some(connection);
    Ok(state)
}

/// Says what is committed, as exactly as the target can still tell.
async fn committed(lease: &HeldLease, session_id: Uuid) -> String {
    let counted = async {
        let mut connection = lease.server.open().await?;
        session::committed(&mut connection, session_id).await
    };
    match counted.await {
        Ok((batches, rows)) => {
            format!(
                "the open batch was rolled back; {rows} rows in {batches} batches of this session are committed"
            )
        }
        Err(_) => "the open batch was rolled back; every earlier batch is committed".to_owned(),
    }
}

fn say(context: &Context, level: Level, state: &str, text: Option<String>) {
    let message = match text {
        Some(text) => format!("session {state}: {text}"),
        None => format!("session {state}"),
    };
    context.emit(Event::Logged {
        level,
        entity: None,
        operation: "session",
        message,
        context: json!({ "state": state }),
    });
}

/// Says so when it was the clock that asked for the pause.
fn explain_pause(context: &Context, error: Error) -> Error {
    if error.kind() == Kind::Paused && context.interrupt.is_out_of_time() {
        return error.cause("the time given by --max-duration is over");
    }
    error
}

/// Forgets sessions beyond the retention with their log. What goes wrong is said and no reason to fail: the next
/// session does it. Returns whether the connection is fit for others.
pub(crate) async fn forget_old(
    context: &Context,
    control: &mut Connection,
    keep_days: u16,
) -> bool {
    if keep_days == 0 {
        return true;
    }
    let forgotten = retention::forget_old(control, i32::from(keep_days)).await;
    let is_fit = forgotten.is_ok();
    match forgotten {
        Ok(0) => {}
        Ok(sessions) => context.emit(Event::info(
            "retention",
            format!("{sessions} sessions that ended more than {keep_days} days ago were forgotten"),
            json!({ "sessions": sessions }),
        )),
        Err(error) => warn(context, "retention", words(&error)),
    }
    is_fit
}

/// Says what this process took over from another: the lease, or a session that had another mapping.
pub(crate) fn say_what_changed_hands(context: &Context, lease: &HeldLease, mapping_changed: bool) {
    if let Some(from) = &lease.taken_from {
        let message = format!(
            "took over from {} process {} (silent {} s)",
            from.host, from.process_id, from.silent_secs
        );
        warn(context, "lease", message);
    }
    if mapping_changed {
        let message = "the mapping has changed since the session was begun: \
            it is planned and detected anew, rows whose mapped content differs are applied again";
        warn(context, "mapping", message.to_owned());
    }
}

/// Says what the operator should know at once.
pub(crate) fn warn(context: &Context, operation: &'static str, message: String) {
    context.emit(Event::Logged {
        level: Level::Warn,
        entity: None,
        operation,
        message,
        context: json!({}),
    });
}
