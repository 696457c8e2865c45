//! The states of sessions: every write of one goes through the model in `domain/session.rs`, under one lock.

use super::failed;
use super::lease::{fenced, holder, set_signal};
use super::request_key::remember;
use super::retention::forget_old;
use crate::db::server::{Connection, answered};
use crate::domain::request_key::RequestKey;
use crate::domain::session::{Action, SessionState, Signal};
use crate::error::{Error, Kind, Result};
use serde_json::Value;
use sqlx::Connection as _;
use uuid::Uuid;

/// Who works on a session.
#[derive(Debug, Clone)]
pub struct NewSession<'a> {
    /// The command.
    pub command: &'a str,
    /// The mapping.
    pub mapping_digest: &'a str,
    /// Host name.
    pub host: &'a str,
    /// Process id.
    pub process_id: i32,
    /// The key of the request that asked for it.
    pub request_key: Option<&'a RequestKey>,
    /// The session that must be taken up; nothing for whichever there is, or a new one.
    pub takes_up: Option<Uuid>,
    /// How it works.
    pub options: Value,
}

/// How a session began.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    /// Its id.
    pub session_id: Uuid,
    /// Its short number.
    pub number: i32,
    /// Whether an earlier process had begun it.
    pub resumed: bool,
    /// Whether that process had another mapping.
    pub mapping_changed: bool,
    /// Batches that were committed before.
    pub batches: i64,
    /// Rows in them.
    pub rows: i64,
}

/// A session that is not over.
#[derive(sqlx::FromRow)]
struct Unfinished {
    session_id: Uuid,
    state: String,
    mapping_digest: String,
}

/// Takes the unfinished session up, or begins a new one, and records in the lease that it is worked on.
///
/// A session whose end was asked for before its process went is ended now.
///
/// # Errors
/// The lease was taken (exit 16), the session that was asked for cannot be taken up any more (exit 17), the request has
/// begun a session elsewhere (exit 11), or a query fails.
pub async fn begin(
    connection: &mut Connection,
    epoch: i64,
    new: &NewSession<'_>,
) -> Result<Started> {
    let failed = failed("starting the session");
    let mut transaction = connection.begin().await.map_err(&failed)?;
    if !hold_states(&mut transaction, Some(epoch)).await? {
        return Err(fenced(epoch, holder(&mut transaction).await?));
    }
    let taken_up = take_up(&mut transaction).await?;
    let found = taken_up.as_ref().map(|it| it.session_id);
    if new.takes_up.is_some_and(|wanted| found != Some(wanted)) {
        let what = "the session is over or was taken up meanwhile";
        return Err(Error::new(Kind::ControlState, what));
    }
    let session_id = found.unwrap_or_else(Uuid::new_v4);
    let (number, batches, rows) = save(&mut transaction, session_id, new).await?;
    if let Some(key) = new.request_key {
        remember(&mut transaction, key, session_id, taken_up.is_some()).await?;
    }
    answered(
        sqlx::query(
            "update diffmig.lease set session_id = $2 where name = 'target' and epoch = $1",
        )
        .bind(epoch)
        .bind(session_id)
        .execute(&mut *transaction),
    )
    .await
    .map_err(&failed)?;
    transaction.commit().await.map_err(&failed)?;
    Ok(Started {
        session_id,
        number,
        resumed: taken_up.is_some(),
        mapping_changed: taken_up.is_some_and(|it| it.mapping_digest != new.mapping_digest),
        batches,
        rows,
    })
}

/// Takes the unfinished session up; one whose end was asked for is ended.
async fn take_up(connection: &mut Connection) -> Result<Option<Unfinished>> {
    let unfinished: Vec<Unfinished> = answered(
        sqlx::query_as(
            "select session_id, state, mapping_digest from diffmig.session where finished_at is null",
        )
        .fetch_all(&mut *connection),
    )
    .await
    .map_err(failed("starting the session"))?;
    let mut taken_up = None;
    for it in unfinished {
        let state = known(&it.state)?;
        if let Some(next) = state.after(Action::TakeUp) {
            write_state(connection, it.session_id, next, None).await?;
            taken_up = Some(it);
        } else if let Some(next) = state.after(Action::Cancel) {
            write_state(connection, it.session_id, next, Some(LEFT_CANCELLED)).await?;
        }
    }
    Ok(taken_up)
}

/// What stays written about a session that nobody was there to end.
const LEFT_CANCELLED: &str = "cancelled; its process ended before it could obey";
/// What stays written about a session that was killed and given up.
const INTERRUPTED: &str = "interrupted: its process ended without a word";

/// Writes who works on the session, a new one or not; returns its number and what it has committed.
async fn save(
    connection: &mut Connection,
    session_id: Uuid,
    new: &NewSession<'_>,
) -> Result<(i32, i64, i64)> {
    answered(sqlx::query_as(
        "with begun as (insert into diffmig.session as old \
           (session_id, command, state, mapping_digest, host, process_id, version, options, started_at) \
           values ($1, $2, $7, $3, $4, $5, $6, $8, now()) \
           on conflict (session_id) do update set mapping_digest = excluded.mapping_digest, \
           host = excluded.host, process_id = excluded.process_id, version = excluded.version, \
           options = excluded.options returning number) \
         select begun.number, count(b.number) as batches, coalesce(sum(b.rows_in), 0)::bigint as rows \
         from begun left join diffmig.batch b on b.session_id = $1 group by 1",
    )
    .bind(session_id)
    .bind(new.command)
    .bind(new.mapping_digest)
    .bind(new.host)
    .bind(new.process_id)
    .bind(env!("CARGO_PKG_VERSION"))
    .bind(SessionState::FIRST.word())
    .bind(&new.options)
    .fetch_one(connection))
    .await
    .map_err(failed("starting the session"))
}

fn known(word: &str) -> Result<SessionState> {
    SessionState::from_word(word).ok_or_else(|| {
        Error::new(Kind::ControlState, "the control schema is damaged")
            .cause(format!("a session has the unknown state `{word}`"))
            .next("restore the schema diffmig from a backup of the target")
    })
}

/// Keeps everybody else from changing a state until the end of the transaction, takeovers included.
///
/// With an epoch it also tells whether the lease is still held under it.
async fn hold_states(connection: &mut Connection, epoch: Option<i64>) -> Result<bool> {
    let failed = failed("recording the session's state");
    answered(
        sqlx::query("select 1 from diffmig.lease_beat where name = 'target' for update")
            .execute(&mut *connection),
    )
    .await
    .map_err(&failed)?;
    let Some(epoch) = epoch else {
        return Ok(true);
    };
    answered(
        sqlx::query_scalar(
            "select exists (select from diffmig.lease where name = 'target' and epoch = $1 \
             and session_id is not null)",
        )
        .bind(epoch)
        .fetch_one(connection),
    )
    .await
    .map_err(&failed)
}

async fn write_state(
    connection: &mut Connection,
    session_id: Uuid,
    next: SessionState,
    error: Option<&str>,
) -> Result<()> {
    answered(
        sqlx::query(
            "update diffmig.session set state = $2, error = $3, \
             finished_at = case when $4 then now() end where session_id = $1",
        )
        .bind(session_id)
        .bind(next.word())
        .bind(error)
        .bind(next.is_final())
        .execute(connection),
    )
    .await
    .map_err(failed("recording the session's state"))?;
    Ok(())
}

/// Reads a session's state, and whether a process works on it; nobody can change either until the
/// end of the transaction.
async fn read_state(
    connection: &mut Connection,
    session_id: Uuid,
) -> Result<Option<(SessionState, bool)>> {
    // The clock and not the transaction's start: this transaction may have waited for another.
    let found: Option<(String, bool)> = answered(
        sqlx::query_as(
            "select s.state, exists (select from diffmig.lease l join diffmig.lease_beat b using (name) \
             where l.session_id = s.session_id and b.expires_at >= clock_timestamp()) \
             from diffmig.session s where s.session_id = $1",
        )
        .bind(session_id)
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading the session"))?;
    let Some((word, is_leased)) = found else {
        return Ok(None);
    };
    let state = known(&word)?;
    Ok(Some((state, is_leased && state.is_at_work())))
}

/// What stopped a session.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// What is shown of it.
    pub words: &'a str,
    /// With what the process ends.
    pub exit_code: u8,
}

async fn write_exit_code(
    connection: &mut Connection,
    session_id: Uuid,
    exit_code: u8,
) -> Result<()> {
    answered(
        sqlx::query("update diffmig.session set exit_code = $2 where session_id = $1")
            .bind(session_id)
            .bind(i16::from(exit_code))
            .execute(connection),
    )
    .await
    .map_err(failed("recording the session's state"))?;
    Ok(())
}

/// Does what the lease holder does to its session; returns the state it has now, or nothing when
/// the model does not allow it.
///
/// # Errors
/// The lease was taken (exit 16), or a query fails.
pub async fn act(
    connection: &mut Connection,
    session_id: Uuid,
    epoch: i64,
    action: Action,
    error: Option<&Failure<'_>>,
) -> Result<Option<SessionState>> {
    let failed = failed("recording the session's state");
    let mut transaction = connection.begin().await.map_err(&failed)?;
    if !hold_states(&mut transaction, Some(epoch)).await? {
        return Err(fenced(epoch, holder(&mut transaction).await?));
    }
    let found = read_state(&mut transaction, session_id).await?;
    let next = found.and_then(|(state, _)| state.after(action));
    if let Some(next) = next {
        write_state(&mut transaction, session_id, next, error.map(|it| it.words)).await?;
        if let (SessionState::Failed, Some(error)) = (next, error) {
            write_exit_code(&mut transaction, session_id, error.exit_code).await?;
        }
    }
    transaction.commit().await.map_err(&failed)?;
    Ok(next)
}

/// What became of an operator's wish.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The state before.
    pub before: SessionState,
    /// The state now, unless the wish could not be granted.
    pub now: Option<SessionState>,
    /// Whether a process works on the session.
    pub has_process: bool,
}

/// Does what an operator asks for and leaves a signal for the process, if there is one.
///
/// # Errors
/// A query fails.
pub async fn ask(
    connection: &mut Connection,
    session_id: Uuid,
    signal: Signal,
) -> Result<Option<Asked>> {
    let failed = failed("sending a signal");
    let mut transaction = connection.begin().await.map_err(&failed)?;
    hold_states(&mut transaction, None).await?;
    let Some((before, has_process)) = read_state(&mut transaction, session_id).await? else {
        return Ok(None);
    };
    let action = Action::asked(signal, has_process);
    let now = action.and_then(|action| before.after(action));
    if let Some(next) = now {
        write_state(&mut transaction, session_id, next, None).await?;
        if has_process {
            set_signal(&mut transaction, signal).await?;
        }
    }
    transaction.commit().await.map_err(&failed)?;
    Ok(Some(Asked {
        before,
        now,
        has_process,
    }))
}

/// Closes sessions whose process is gone and deletes ended ones beyond the retention; returns both counts.
///
/// # Errors
/// A query fails.
pub async fn clean_up(connection: &mut Connection, keep_days: i32) -> Result<(u64, u64)> {
    let failed = failed("cleaning up sessions");
    let mut transaction = connection.begin().await.map_err(&failed)?;
    hold_states(&mut transaction, None).await?;
    let open: Vec<Uuid> = answered(
        sqlx::query_scalar("select session_id from diffmig.session where finished_at is null")
            .fetch_all(&mut *transaction),
    )
    .await
    .map_err(&failed)?;
    let mut closed = 0;
    for session_id in open {
        let found = read_state(&mut transaction, session_id).await?;
        let idle = found.filter(|(_, has_process)| !has_process);
        if let Some(next) = idle.and_then(|(state, _)| state.after(Action::CleanUp)) {
            write_state(&mut transaction, session_id, next, Some(INTERRUPTED)).await?;
            closed += 1;
        }
    }
    transaction.commit().await.map_err(&failed)?;
    let forgotten = forget_old(connection, keep_days).await?;
    Ok((closed, forgotten))
}
