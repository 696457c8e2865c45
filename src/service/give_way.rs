//! Gives the source's locks back when somebody waits behind them.
//!
//! A pass holds ACCESS SHARE locks from its first read to its last. A migration of the source that waits for
//! ACCESS EXCLUSIVE would wait with it, and everybody else behind that migration.

use crate::context::{Context, Server};
use crate::db::server::Connection;
use crate::db::source::{Holders, Waiter, end_backends, waiting_behind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often the source is asked for waiters.
const LOOK: Duration = Duration::from_secs(1);
/// How old a snapshot may get while rows are applied; until then the source's vacuum cannot clean up behind it.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(3_600);

/// What the work and its watch tell each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patience {
    reason: Arc<Mutex<Option<String>>>,
    progress: Arc<AtomicU64>,
}

impl Patience {
    /// Counts a step that need not be done again.
    pub fn advance(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many steps were counted.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Returns why the snapshot was given back, once.
    pub fn take_reason(&self) -> Option<String> {
        self.lock().take()
    }

    fn give(&self, reason: String) {
        *self.lock() = Some(reason);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look-out that ends with the value.
pub(crate) struct Watch(JoinHandle<()>);

impl Watch {
    /// Watches over the backends of a snapshot until it is dropped.
    pub fn start(context: &Context, holders: Holders, patience: &Patience) -> Watch {
        let (source, patience) = (context.source.clone(), patience.clone());
        Watch(tokio::spawn(look_out(source, holders, patience)))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn look_out(source: Server, holders: Holders, patience: Patience) {
    let began = (Instant::now(), patience.progress());
    let mut connection: Option<Connection> = None;
    let mut seen: Option<Waiter> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        if connection.is_none() {
            connection = source.open().await.ok();
        }
        let Some(open) = connection.as_mut() else {
            continue;
        };
        let Ok(waiter) = waiting_behind(open, &holders).await else {
            connection = None;
            continue;
        };
        // Who is still there at the second look waits for more than a moment.
        let waits = waiter.is_some() && waiter == seen;
        let old = began.0.elapsed() > SNAPSHOT_LIMIT && patience.progress() > began.1;
        let reason = match (&waiter, waits, old) {
            (Some(waiter), true, _) => Some(format!("{waiter} waited for it")),
            (_, _, true) => Some("it was an hour old and kept vacuum from cleaning up".to_owned()),
            _ => None,
        };
        if let Some(reason) = reason {
            patience.give(reason);
            if end_backends(open, &holders).await.is_ok() {
                return;
            }
            let _ = patience.take_reason();
            connection = None;
        }
        seen = waiter;
    }
}
