//! The progress tracker: one session, from the control tables only.

use super::lease::expire_dead;
use crate::db::control::pace::{self, Vitals};
use crate::db::control::schema::{Installed, look};
use crate::db::control::session::{self, SessionRow, StepRow};
use crate::db::server::{Connection, Server};
use crate::domain::pace::{Left, Limit, Recent, eta, limit};
use crate::domain::session::SessionState;
use crate::error::{Error, Kind, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

/// The state of an entity's step.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
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
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
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
    /// Rows per second in the last minute, while it runs and if there were any.
    pub recent_rows_per_sec: Option<f64>,
    /// Seconds to go, by the kinder of two estimates; nothing when nothing is known.
    pub eta_secs: Option<f64>,
    /// Seconds to go by the other estimate: the rate of the last minute, or that of earlier sessions.
    pub eta_high_secs: Option<f64>,
    /// What holds it up: `source`, `target`, `hashing` or `lock`; nothing when that was not measured lately.
    pub limited_by: Option<Limit>,
    /// With what its process ended; nothing while it works.
    pub exit_code: Option<u8>,
    /// What is known of its process, while it works.
    pub process: Option<ProcessStatus>,
}

/// What is known of a process at work.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessStatus {
    /// Its memory, as of its last heartbeat.
    pub memory_bytes: Option<i64>,
    /// Its connections to the source, as far as both numbers are known.
    pub source_connections: Option<i64>,
    /// Its connections to the target.
    pub target_connections: Option<i64>,
    /// Seconds since its last checkpoint.
    pub checkpoint_age_secs: Option<f64>,
}

/// The exit code of a process that was ended from outside.
const INTERRUPTED: u8 = 130;

impl SessionStatus {
    /// Tells whether a process works on it.
    pub fn is_at_work(&self) -> bool {
        !self.is_over()
    }

    #[expect(clippy::cast_precision_loss, reason = "rates and shares for people")]
    fn add_pace(&mut self, recent: &Recent, vitals: &Vitals, history: &[(String, f64)]) {
        let left: Vec<Left> = self
            .steps
            .iter()
            .map(|step| Left {
                wave: step.wave,
                rows: (step.rows_total - step.rows_done).max(0) as f64,
                before: history
                    .iter()
                    .find(|(entity, _)| *entity == step.entity)
                    .map(|(_, rate)| *rate),
            })
            .filter(|it| it.rows > 0.0)
            .collect();
        self.recent_rows_per_sec = recent.rows_per_sec();
        let eta = eta(&left, self.recent_rows_per_sec).filter(|_| !left.is_empty());
        self.eta_secs = eta.map(|it| it.low_secs);
        self.eta_high_secs = eta.map(|it| it.high_secs);
        self.limited_by = limit(recent, vitals.waiting);
        let all = vitals.connections.map(i64::from);
        let target = Some(vitals.target_connections).filter(|it| *it > 0);
        self.process = Some(ProcessStatus {
            memory_bytes: vitals.memory_bytes,
            source_connections: all
                .zip(target)
                .map(|(all, it)| all - it)
                .filter(|it| *it > 0),
            target_connections: target,
            checkpoint_age_secs: vitals.checkpoint_secs,
        });
    }

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

/// As [`look_again`], where there may be no session yet; one that is named must be there.
pub(crate) async fn look_if_any(
    connection: &mut Connection,
    session_id: Option<Uuid>,
) -> Result<Option<SessionStatus>> {
    let _ = expire_dead(connection).await;
    match read_if_any(connection, session_id).await? {
        None if session_id.is_some() => Err(no_session(session_id)),
        found => Ok(found),
    }
}

async fn read(connection: &mut Connection, session_id: Option<Uuid>) -> Result<SessionStatus> {
    let found = read_if_any(connection, session_id).await?;
    found.ok_or_else(|| no_session(session_id))
}

async fn read_if_any(
    connection: &mut Connection,
    session_id: Option<Uuid>,
) -> Result<Option<SessionStatus>> {
    let Some(session) = session::find(connection, session_id).await? else {
        return Ok(None);
    };
    let steps = session::steps(connection, session.session_id).await?;
    complete(connection, &session, &steps).await.map(Some)
}

/// Adds to a session at work how fast it is.
pub(crate) async fn complete(
    connection: &mut Connection,
    session: &SessionRow,
    steps: &[StepRow],
) -> Result<SessionStatus> {
    let mut status = assemble(session, steps);
    if status.is_at_work() {
        let recent = pace::recent(connection, session.session_id).await?;
        let vitals = pace::vitals(connection, session.session_id).await?;
        let history = pace::history(connection, session.number).await?;
        status.add_pace(&recent, &vitals, &history);
    }
    Ok(status)
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
        listed.push(complete(&mut connection, &session, &steps).await?);
    }
    Ok(listed)
}

#[expect(clippy::cast_precision_loss, reason = "rates and shares for people")]
fn assemble(session: &SessionRow, rows: &[StepRow]) -> SessionStatus {
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
    let finished_at = session.finished_at.filter(|_| !session.adopting);
    let elapsed = finished_at.unwrap_or(session.now) - session.created_at;
    let elapsed_secs = elapsed.num_milliseconds().max(1) as f64 / 1000.0;
    let rows_per_sec = rows_done as f64 / elapsed_secs;
    SessionStatus {
        session_id: session.session_id,
        number: session.number,
        state: match (session.interrupted, session.adopting) {
            (true, _) => "interrupted".to_owned(),
            (_, true) => SessionState::Running.word().to_owned(),
            _ => session.state.clone(),
        },
        detection_id: session.detection_id,
        host: session.host.clone(),
        process_id: session.process_id,
        started_at: session.created_at,
        finished_at,
        heartbeat_secs: session.silent_secs.filter(|_| finished_at.is_none()),
        error: session.error.clone().filter(|_| !session.adopting),
        steps,
        rows_total,
        rows_done,
        rows_per_sec,
        recent_rows_per_sec: None,
        eta_secs: None,
        eta_high_secs: None,
        limited_by: None,
        exit_code: exit_code(session),
        process: None,
    }
}

/// Tells with what a session's process ended.
fn exit_code(session: &SessionRow) -> Option<u8> {
    if session.interrupted {
        return Some(INTERRUPTED);
    }
    if session.adopting {
        return None;
    }
    match SessionState::from_word(&session.state)? {
        // Who was killed, or is of an older version, could not tell.
        SessionState::Failed => {
            let told = session.exit_code.and_then(|it| u8::try_from(it).ok());
            Some(told.unwrap_or(Kind::Unexpected.exit_code()))
        }
        state => state.exit_code(),
    }
}
