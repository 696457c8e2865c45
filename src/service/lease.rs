//! Holds the right to write while a session runs.

use super::{host_name, process_id, vitals};
use crate::context::Interrupt;
use crate::db::control::lease::{self, Holder};
use crate::db::server::{Connection, Server};
use crate::error::{Error, Kind, Result};
use crate::failpoint::pass;
use rustix::process::{Pid, test_kill_process};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// How often the heartbeat is renewed: three times within the life of a lease.
const BEAT: Duration = Duration::from_secs(10);
/// How often a waiting process looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A lease with its heartbeat.
pub(crate) struct HeldLease {
    /// The epoch that every batch proves.
    pub epoch: i64,
    /// The name it was taken under: for who begins no session with it, the id of its own.
    pub name: Uuid,
    /// Who held the lease until it ran out; nothing when it was free.
    pub taken_from: Option<Holder>,
    /// The way to the target for everything that is done under this lease.
    pub server: Server,
    lost: Arc<OnceLock<Option<Holder>>>,
    beat: JoinHandle<()>,
}

impl HeldLease {
    /// Takes the lease, waiting up to `patience` for another holder, or until a signal comes.
    ///
    /// # Errors
    /// Somebody else holds it (exit 11).
    pub async fn take(
        server: &Server,
        connection: &mut Connection,
        patience: Duration,
        interrupt: &Interrupt,
    ) -> Result<HeldLease> {
        // Until the holder knows which session it works on, it needs a name of its own.
        let session_id = Uuid::new_v4();
        let deadline = Instant::now() + patience;
        let taken = loop {
            expire_dead(connection).await?;
            let acquired = lease::acquire(connection, session_id, &host_name(), process_id()).await;
            match acquired {
                Ok(taken) => break taken,
                Err(error) if error.kind() == Kind::LeaseHeld && Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    if let Some(code) = interrupt.signal() {
                        return Err(Error::new(
                            Kind::Interrupted(code),
                            "interrupted while waiting for another session",
                        )
                        .cause(error.what())
                        .state("nothing was started"));
                    }
                }
                Err(error) => return Err(error),
            }
        };
        pass!("lease.acquired");
        let epoch = taken.epoch;
        let server = server.of_epoch(epoch);
        let lost = Arc::new(OnceLock::new());
        let beat = tokio::spawn(beat(server.clone(), epoch, Arc::clone(&lost)));
        Ok(HeldLease {
            epoch,
            name: session_id,
            taken_from: taken.from,
            server,
            lost,
            beat,
        })
    }

    /// Fails when the heartbeat found another epoch.
    ///
    /// # Errors
    /// The lease was taken (exit 16).
    pub fn check(&self) -> Result<()> {
        match self.lost.get() {
            Some(holder) => Err(lease::fenced(self.epoch, holder.clone())),
            None => Ok(()),
        }
    }

    /// Asks the target whether the lease is still ours; needed where a connection was lost, since a
    /// takeover ends the connections of the old holder.
    ///
    /// # Errors
    /// The lease was taken (exit 16), or the target cannot be asked.
    pub async fn prove(&self) -> Result<()> {
        self.check()?;
        let mut connection = self.server.open().await?;
        lease::prove(&mut connection, self.epoch, &host_name(), process_id()).await
    }

    /// Stops the heartbeat and gives the lease back, on a connection that is open or on a new one.
    ///
    /// # Errors
    /// The target cannot be reached; the lease then runs out by itself.
    pub async fn release(self, connection: Option<Connection>) -> Result<()> {
        self.beat.abort();
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.server.open().await?,
        };
        lease::release(&mut connection, self.epoch).await
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.beat.abort();
    }
}

/// Lets a lease run out at once when its holder was a process of this host that is gone.
///
/// A wrong guess costs the holder its session, never its data: the takeover fences it.
pub(crate) async fn expire_dead(connection: &mut Connection) -> Result<()> {
    let Some(holder) = lease::holder(connection).await? else {
        return Ok(());
    };
    let alive = Pid::from_raw(holder.process_id)
        .is_none_or(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)));
    if holder.host == host_name() && !alive {
        lease::expire(connection, holder.session_id, holder.process_id).await?;
    }
    Ok(())
}

/// Renews on a connection of its own, so that a long batch never starves the heartbeat.
async fn beat(server: Server, epoch: i64, lost: Arc<OnceLock<Option<Holder>>>) {
    let mut connection = None;
    loop {
        tokio::time::sleep(BEAT).await;
        if connection.is_none() {
            connection = server.open().await.ok();
        }
        let Some(open) = connection.as_mut() else {
            continue;
        };
        let vitals = vitals::of_this_process();
        let vitals = (vitals.memory_bytes, vitals.connections);
        match tokio::time::timeout(BEAT, lease::renew(open, epoch, vitals)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                let _ = lost.set(lease::holder(open).await.ok().flatten());
                return;
            }
            // The connection is of no use any more; the next beat opens another.
            Ok(Err(_)) | Err(_) => connection = None,
        }
    }
}
