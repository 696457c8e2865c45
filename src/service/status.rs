//! The progress tracker: one session, from the control tables only.

use super::lease::expire_dead;
use crate::db::control::schema::{Installed, look};
use crate::db::control::session::{self, SessionRow, StepRow};
use crate::db::server::{Connection, Server};
use crate::error::{Error, Kind, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

/// The state of an entity's step.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The entity.
    pub entity: String,
    /// Its wave, from 1.
    pub wave: i32,
    /// `pending`, `running`, `completed` or `failed`.
    pub state: String,
    /// Rows to do.
    pub rows_total: i64,
    /// Rows done.
    pub rows_done: i64,
    /// Rows inserted.
    pub inserted: i64,
    /// Rows updated.
    pub updated: i64,
    /// Rows retired.
    pub retired: i64,
    /// Rows quarantined, held or in conflict.
    pub set_aside: i64,
    /// Committed batches.
    pub batches: i64,
    /// Rows per second of batch time.
    pub rows_per_sec: f64,
}

/// The state of a session.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// The session.
    pub session_id: Uuid,
    /// Its short number.
    pub number: i32,
    /// Its state; `interrupted` when its process is gone.
    pub state: String,
    /// The detection it applies.
    pub detection_id: Option<Uuid>,
    /// Where it runs or ran.
    pub host: String,
    /// Its process there.
    pub process_id: i32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Seconds since the last heartbeat, while it runs.
    pub heartbeat_secs: Option<i64>,
    /// What stopped it.
    pub error: Option<String>,
    /// The steps in wave order.
    pub steps: Vec<StepStatus>,
    /// Rows to do in all steps.
    pub rows_total: i64,
    /// Rows done in all steps.
    pub rows_done: i64,
    /// Rows per second since the start.
    pub rows_per_sec: f64,
    /// Seconds to go at the present rate, while it runs.
    pub eta_secs: Option<f64>,
}

impl SessionStatus {
    /// Tells whether nothing more will happen by itself.
    pub fn is_over(&self) -> bool {
        self.finished_at.is_some() || self.state == "paused" || self.state == "interrupted"
    }
}

/// Opens the control schema of the target.
///
/// # Errors
/// No connection, or nothing was ever migrated (exit 17).
pub(crate) async fn open_control(target: &Server) -> Result<Connection> {
    let mut connection = target.open().await?;
    match look(&mut connection).await? {
        Installed::Present { .. } => {
            // A process of this host that is gone need not be waited for; who may only read waits for the lease's end.
            let _ = expire_dead(&mut connection).await;
            Ok(connection)
        }
        Installed::Absent => Err(Error::new(
            Kind::ControlState,
            "nothing was migrated into this target yet",
        )
        .cause("it has no schema diffmig")
        .next("diffmig analyze, then diffmig migrate")),
    }
}

fn no_session(session_id: Option<Uuid>) -> Error {
    match session_id {
        Some(id) => Error::new(Kind::Usage, format!("there is no session {id}"))
            .next("diffmig control list"),
        None => Error::new(Kind::ControlState, "there is no session yet").next("diffmig migrate"),
    }
}

/// Reads the state of a session, the latest when no id is given.
///
/// # Errors
/// There is no such session, or the target cannot be read.
pub async fn status(target: &Server, session_id: Option<Uuid>) -> Result<SessionStatus> {
    let mut connection = open_control(target).await?;
    read(&mut connection, session_id).await
}

/// As [`status`], on a connection that is open already.
pub(crate) async fn look_again(
    connection: &mut Connection,
    session_id: Option<Uuid>,
) -> Result<SessionStatus> {
    let _ = expire_dead(connection).await;
    read(connection, session_id).await
}

async fn read(connection: &mut Connection, session_id: Option<Uuid>) -> Result<SessionStatus> {
    let found = session::find(connection, session_id).await?;
    let session = found.ok_or_else(|| no_session(session_id))?;
    let steps = session::steps(connection, session.session_id).await?;
    Ok(assemble(&session, &steps, Utc::now()))
}

/// Lists sessions, latest first, without their steps.
///
/// # Errors
/// The target cannot be read.
pub async fn list(target: &Server, limit: i64) -> Result<Vec<SessionStatus>> {
    let mut connection = open_control(target).await?;
    let sessions = session::list(&mut connection, limit).await?;
    let mut listed = Vec::new();
    for session in sessions {
        let steps = session::steps(&mut connection, session.session_id).await?;
        listed.push(assemble(&session, &steps, Utc::now()));
    }
    Ok(listed)
}

#[expect(clippy::cast_precision_loss, reason = "rates and shares for people")]
fn assemble(session: &SessionRow, rows: &[StepRow], now: DateTime<Utc>) -> SessionStatus {
    let steps = rows.iter().map(|row| StepStatus {
        entity: row.entity.clone(),
        wave: row.wave,
        state: row.state.clone(),
        rows_total: row.rows_total.max(row.rows_done),
        rows_done: row.rows_done,
        inserted: row.inserted,
        updated: row.updated,
        retired: row.retired,
        set_aside: row.conflicted + row.held + row.quarantined,
        batches: row.batches,
        rows_per_sec: row.rows_done as f64 * 1000.0 / (row.busy_ms.max(1)) as f64,
    });
    let steps: Vec<StepStatus> = steps.collect();
    let rows_total: i64 = steps.iter().map(|step| step.rows_total).sum();
    let rows_done: i64 = steps.iter().map(|step| step.rows_done).sum();
    let elapsed = session.finished_at.unwrap_or(now) - session.created_at;
    let elapsed_secs = elapsed.num_milliseconds().max(1) as f64 / 1000.0;
    let rows_per_sec = rows_done as f64 / elapsed_secs;
    let runs = session.finished_at.is_none() && !session.interrupted && session.state != "paused";
    let eta_secs = (runs && rows_done > 0).then(|| (rows_total - rows_done) as f64 / rows_per_sec);
    SessionStatus {
        session_id: session.session_id,
        number: session.number,
        state: if session.interrupted {
            "interrupted".into()
        } else {
            session.state.clone()
        },
        detection_id: session.detection_id,
        host: session.host.clone(),
        process_id: session.process_id,
        started_at: session.created_at,
        finished_at: session.finished_at,
        heartbeat_secs: session
            .silent_secs
            .filter(|_| session.finished_at.is_none()),
        error: session.error.clone(),
        steps,
        rows_total,
        rows_done,
        rows_per_sec,
        eta_secs,
    }
}
