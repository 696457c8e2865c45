//! The right to write for this target: acquired with an epoch, proven in every batch.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::domain::session::Signal;
use crate::error::{Error, Kind, Result};
use crate::failpoint::pass;
use sqlx::Connection as _;
use uuid::Uuid;

/// How long a lease lives without a heartbeat, in seconds of the server's clock.
pub const LEASE_SECS: i32 = 30;

/// Who holds the lease.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Holder {
    /// The session, if any.
    pub session_id: Option<Uuid>,
    /// Host name.
    pub host: String,
    /// Process id on that host.
    pub process_id: i32,
    /// Seconds since the last heartbeat.
    pub silent_secs: i64,
    /// Whether the lease has run out.
    pub expired: bool,
}

/// Reads who holds the lease.
///
/// # Errors
/// The query fails.
pub async fn holder(connection: &mut Connection) -> Result<Option<Holder>> {
    answered(sqlx::query_as(
        "select l.session_id, l.host, l.process_id, extract(epoch from now() - b.renewed_at)::bigint as silent_secs, \
         b.expires_at < now() as expired \
         from diffmig.lease l join diffmig.lease_beat b using (name) \
         where l.name = 'target' and l.session_id is not null",
    )
    .fetch_optional(connection))
    .await
    .map_err(failed("reading the lease"))
}

/// Takes the lease when it is free or has run out; returns the new epoch.
///
/// Taking over waits for batches of the old holder that are being committed; after it none can commit.
///
/// # Errors
/// Somebody else holds it (exit 11), or the query fails.
pub async fn acquire(
    connection: &mut Connection,
    session_id: Uuid,
    host: &str,
    process_id: i32,
) -> Result<i64> {
    let failed = failed("taking the lease");
    answered(
        sqlx::query(
            "with first as (insert into diffmig.lease (name, epoch, host, process_id) \
         values ('target', 0, $1, $2) on conflict do nothing) \
         select 1",
        )
        .bind(host)
        .bind(process_id)
        .execute(&mut *connection),
    )
    .await
    .map_err(&failed)?;
    answered(sqlx::query(
        "insert into diffmig.lease_beat (name, expires_at) values ('target', '-infinity') on conflict do nothing",
    )
    .execute(&mut *connection))
    .await
    .map_err(&failed)?;
    let mut transaction = connection.begin().await.map_err(&failed)?;
    // Of two processes that find the lease run out, the second waits here and then sees the first one's heartbeat.
    answered(
        sqlx::query("select 1 from diffmig.lease_beat where name = 'target' for update")
            .execute(&mut *transaction),
    )
    .await
    .map_err(&failed)?;
    let taken: Option<(i64,)> = answered(sqlx::query_as(
        "with taken as (update diffmig.lease l set epoch = l.epoch + 1, session_id = $1, host = $2, \
           process_id = $3, acquired_at = now() from diffmig.lease_beat b \
           where l.name = 'target' and b.name = l.name and (l.session_id is null or b.expires_at < now()) \
           returning l.epoch), \
         beat as (update diffmig.lease_beat b set renewed_at = now(), \
           expires_at = now() + make_interval(secs => $4), desired_state = 'run' \
           from taken where b.name = 'target') \
         select epoch from taken",
    )
    .bind(session_id)
    .bind(host)
    .bind(process_id)
    .bind(f64::from(LEASE_SECS))
    .fetch_optional(&mut *transaction))
    .await
    .map_err(&failed)?;
    transaction.commit().await.map_err(&failed)?;
    match taken {
        Some((epoch,)) => Ok(epoch),
        None => Err(held(holder(connection).await?)),
    }
}

fn held(holder: Option<Holder>) -> Error {
    let what = match &holder {
        Some(it) => format!(
            "session {} is held by {} process {} (heartbeat {} s ago)",
            it.session_id
                .map_or_else(|| "?".to_owned(), |id| id.to_string()),
            it.host,
            it.process_id,
            it.silent_secs
        ),
        None => "another session took the lease at the same moment".to_owned(),
    };
    Error::new(Kind::LeaseHeld, what)
        .state("nothing was started")
        .next("wait for it (--wait-lock 10m), or look at it: diffmig status")
}

/// Records which session the holder works on.
///
/// # Errors
/// The query fails.
pub async fn assign(connection: &mut Connection, epoch: i64, session_id: Uuid) -> Result<()> {
    answered(
        sqlx::query(
            "update diffmig.lease set session_id = $2 where name = 'target' and epoch = $1",
        )
        .bind(epoch)
        .bind(session_id)
        .execute(connection),
    )
    .await
    .map_err(failed("taking the lease"))?;
    Ok(())
}

/// Renews the lease; `false` means that it is ours no longer.
///
/// # Errors
/// The query fails.
pub async fn renew(connection: &mut Connection, epoch: i64) -> Result<bool> {
    let renewed = answered(sqlx::query(
        "update diffmig.lease_beat b set renewed_at = now(), expires_at = now() + make_interval(secs => $2) \
         from diffmig.lease l where b.name = 'target' and l.name = b.name and l.epoch = $1",
    )
    .bind(epoch)
    .bind(f64::from(LEASE_SECS))
    .execute(connection))
    .await
    .map_err(failed("renewing the lease"))?;
    Ok(renewed.rows_affected() == 1)
}

/// Lets the lease of a holder that is known to be gone run out.
///
/// # Errors
/// The query fails.
pub async fn expire(
    connection: &mut Connection,
    session_id: Option<Uuid>,
    process_id: i32,
) -> Result<()> {
    answered(sqlx::query(
        "update diffmig.lease_beat b set expires_at = '-infinity' from diffmig.lease l \
         where b.name = 'target' and l.name = b.name and l.session_id is not distinct from $1 and l.process_id = $2",
    )
    .bind(session_id)
    .bind(process_id)
    .execute(connection))
    .await
    .map_err(failed("reading the lease"))?;
    Ok(())
}

/// Gives the lease back.
///
/// # Errors
/// The query fails.
pub async fn release(connection: &mut Connection, epoch: i64) -> Result<()> {
    answered(
        sqlx::query(
            "update diffmig.lease set session_id = null where name = 'target' and epoch = $1",
        )
        .bind(epoch)
        .execute(connection),
    )
    .await
    .map_err(failed("giving the lease back"))?;
    Ok(())
}

/// Begins the transaction of a batch: proves the lease by a shared row lock and reads the signal.
///
/// The lock is held to the end of the transaction, so a takeover waits for it.
///
/// # Errors
/// The lease was taken (exit 16), or the query fails.
pub async fn begin_fenced(connection: &mut Connection, epoch: i64) -> Result<Signal> {
    let failed = failed("beginning a batch");
    answered(sqlx::query("begin isolation level read committed").execute(&mut *connection))
        .await
        .map_err(&failed)?;
    let row: Option<(String,)> = answered(
        sqlx::query_as(
            "select b.desired_state from diffmig.lease l join diffmig.lease_beat b using (name) \
         where l.name = 'target' and l.epoch = $1 and l.session_id is not null for share of l",
        )
        .bind(epoch)
        .fetch_optional(&mut *connection),
    )
    .await
    .map_err(&failed)?;
    pass!("batch.after_fence");
    match row {
        Some((word,)) => Ok(Signal::from_word(&word).unwrap_or(Signal::Run)),
        None => Err(Error::new(
            Kind::Fenced,
            format!("lease epoch {epoch} was taken by another process"),
        )
        .state("nothing of the open batch was written; every earlier batch is committed")
        .next("diffmig status shows who works now")),
    }
}

/// Records what the operators want of the running process; `false` when nothing runs.
///
/// # Errors
/// The query fails.
pub async fn set_signal(
    connection: &mut Connection,
    session_id: Uuid,
    signal: Signal,
) -> Result<bool> {
    let done = answered(sqlx::query(
        "update diffmig.lease_beat b set desired_state = $2 from diffmig.lease l \
         where b.name = 'target' and l.name = b.name and l.session_id = $1 and b.expires_at >= now()",
    )
    .bind(session_id)
    .bind(signal.word())
    .execute(connection))
    .await
    .map_err(failed("sending a signal"))?;
    Ok(done.rows_affected() == 1)
}
