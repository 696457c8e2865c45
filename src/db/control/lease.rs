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
        "select l.session_id, l.host, l.process_id, extract(epoch from clock_timestamp() - b.renewed_at)::bigint as silent_secs, \
         b.expires_at < clock_timestamp() as expired \
         from diffmig.lease l join diffmig.lease_beat b using (name) \
         where l.name = 'target' and l.session_id is not null",
    )
    .fetch_optional(connection))
    .await
    .map_err(failed("reading the lease"))
}

/// A lease that was just taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The new epoch.
    pub epoch: i64,
    /// Who held it until it ran out; nothing when it was free.
    pub from: Option<Holder>,
}

/// Takes the lease when it is free or has run out.
///
/// Taking over waits for batches of the old holder that are being committed; after it none can commit.
/// So that a holder which stalled within a batch is not waited for, its connections are ended first.
///
/// # Errors
/// Somebody else holds it (exit 11), or the query fails.
pub async fn acquire(
    connection: &mut Connection,
    session_id: Uuid,
    host: &str,
    process_id: i32,
) -> Result<Taken> {
    let failed = failed("taking the lease");
    make_rows(connection, host, process_id).await?;
    let mut transaction = connection.begin().await.map_err(&failed)?;
    // Of two processes that find the lease run out, the second waits here and then sees the first one's heartbeat.
    answered(
        sqlx::query("select 1 from diffmig.lease_beat where name = 'target' for update")
            .execute(&mut *transaction),
    )
    .await
    .map_err(&failed)?;
    let from = holder(&mut transaction).await?;
    if from.as_ref().is_some_and(|it| !it.expired) {
        // At once: dropped, it would keep the holder's heartbeat waiting until this connection is used again.
        transaction.rollback().await.map_err(&failed)?;
        return Err(held(from));
    }
    if from.is_some() {
        end_connections(&mut transaction).await?;
    }
    let (epoch,): (i64,) = answered(
        sqlx::query_as(
            "with beat as (update diffmig.lease_beat set renewed_at = clock_timestamp(), \
           expires_at = clock_timestamp() + make_interval(secs => $4), desired_state = 'run', \
           memory_bytes = null, connections = null where name = 'target') \
         update diffmig.lease set epoch = epoch + 1, session_id = $1, host = $2, \
           process_id = $3, acquired_at = clock_timestamp() where name = 'target' returning epoch",
        )
        .bind(session_id)
        .bind(host)
        .bind(process_id)
        .bind(f64::from(LEASE_SECS))
        .fetch_one(&mut *transaction),
    )
    .await
    .map_err(|error| still_in_the_way(failed(error), from.as_ref()))?;
    transaction.commit().await.map_err(&failed)?;
    Ok(Taken { epoch, from })
}

async fn make_rows(connection: &mut Connection, host: &str, process_id: i32) -> Result<()> {
    let failed = failed("taking the lease");
    answered(
        sqlx::query(
            "insert into diffmig.lease (name, epoch, host, process_id) values ('target', 0, $1, $2) \
             on conflict do nothing",
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
    .execute(connection))
    .await
    .map_err(&failed)?;
    Ok(())
}

/// Ends the connections of the holder whose lease has run out, as far as they are our own role's.
///
/// They are known by their name, which carries the epoch ([`crate::db::server::Server::of_epoch`]). A pooler
/// may hide it; then the takeover waits for the batch, as long as a lock is waited for.
async fn end_connections(connection: &mut Connection) -> Result<()> {
    answered(
        sqlx::query(
            "select pg_catalog.pg_terminate_backend(a.pid) from pg_catalog.pg_stat_activity a \
             join diffmig.lease l on a.application_name = 'diffmig ' || l.epoch \
             where l.name = 'target' and a.datname = pg_catalog.current_database() \
             and a.usename = current_user and a.pid <> pg_catalog.pg_backend_pid()",
        )
        .execute(connection),
    )
    .await
    .map_err(failed("ending the connections of a process that is gone"))?;
    Ok(())
}

fn still_in_the_way(error: Error, from: Option<&Holder>) -> Error {
    match from {
        Some(it) if matches!(error.kind(), Kind::Resources | Kind::Busy) => error.state("nothing was started").next(format!(
            "{} process {} is silent, but a batch of it is still open in the target: end it there, or wait",
            it.host, it.process_id
        )),
        _ => error,
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
        None => "another session holds the lease".to_owned(),
    };
    Error::new(Kind::LeaseHeld, what)
        .state("nothing was started")
        .next("wait for it (--wait-lock 10m), or look at it: diffmig status")
}

/// Says that the lease is ours no longer.
pub(crate) fn fenced(epoch: i64, holder: Option<Holder>) -> Error {
    let by = match holder {
        Some(it) => format!("{} process {}", it.host, it.process_id),
        None => "another process".to_owned(),
    };
    Error::new(
        Kind::Fenced,
        format!("lease epoch {epoch} was taken by {by}"),
    )
    .state("nothing of the open batch was written; every earlier batch is committed")
    .next("diffmig status shows who works now")
}

/// Fails when the lease is ours no longer.
///
/// Asks for more than the epoch: a target that was put back to an earlier moment gives numbers out a second time.
///
/// # Errors
/// The lease was taken (exit 16), or the query fails.
pub async fn prove(
    connection: &mut Connection,
    epoch: i64,
    host: &str,
    process_id: i32,
) -> Result<()> {
    let ours: bool = answered(
        sqlx::query_scalar(
            "select exists (select from diffmig.lease where name = 'target' and epoch = $1 \
             and session_id is not null and host = $2 and process_id = $3)",
        )
        .bind(epoch)
        .bind(host)
        .bind(process_id)
        .fetch_one(&mut *connection),
    )
    .await
    .map_err(failed("reading the lease"))?;
    match ours {
        true => Ok(()),
        false => Err(fenced(epoch, holder(connection).await?)),
    }
}

/// Renews the lease and notes memory and connections of its process; `false` means that it is ours no longer.
///
/// # Errors
/// The query fails.
pub async fn renew(
    connection: &mut Connection,
    epoch: i64,
    (memory_bytes, connections): (Option<i64>, Option<i32>),
) -> Result<bool> {
    let renewed = answered(sqlx::query(
        "update diffmig.lease_beat b set renewed_at = now(), expires_at = now() + make_interval(secs => $2), \
         memory_bytes = $3, connections = $4 from diffmig.lease l where b.name = 'target' and l.name = b.name and l.epoch = $1",
    )
    .bind(epoch)
    .bind(f64::from(LEASE_SECS))
    .bind(memory_bytes)
    .bind(connections)
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
    fence(connection, epoch).await
}

/// Proves the lease inside an open transaction, as [`begin_fenced`] does at its beginning.
///
/// # Errors
/// The lease was taken (exit 16), or the query fails.
pub async fn fence(connection: &mut Connection, epoch: i64) -> Result<Signal> {
    let failed = failed("proving the lease");
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
        None => Err(fenced(epoch, holder(connection).await?)),
    }
}

/// Records what the operators want of the running process; the caller has made sure that there is one.
///
/// # Errors
/// The query fails.
pub(crate) async fn set_signal(connection: &mut Connection, signal: Signal) -> Result<()> {
    answered(
        sqlx::query("update diffmig.lease_beat set desired_state = $1 where name = 'target'")
            .bind(signal.word())
            .execute(connection),
    )
    .await
    .map_err(failed("sending a signal"))?;
    Ok(())
}
