//! What the batches of one entity add up to, whichever lane they went through.

use crate::db::control::batch::BatchCounts;
use crate::error::{Error, Kind, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The counts of one phase, or of all phases of a session.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    pub counts: BatchCounts,
    pub vanished: u64,
    pub appeared: u64,
}

impl Counted {
    /// Adds what a later phase did.
    pub fn add(&mut self, other: Counted) {
        self.counts.add(other.counts);
        self.vanished += other.vanished;
        self.appeared += other.appeared;
    }
}

/// The counts of a phase while lanes work on it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Rows to be applied.
    pub rows_total: u64,
    counted: Mutex<Counted>,
    stopped: AtomicBool,
}

impl Tally {
    /// Begins to count.
    pub fn new(rows_total: u64) -> Self {
        Tally {
            rows_total,
            ..Tally::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch; returns what all batches add up to.
    pub fn add(&self, counts: BatchCounts) -> BatchCounts {
        let mut counted = self.lock();
        counted.counts.add(counts);
        counted.counts
    }

    /// Adds what was counted elsewhere.
    pub fn join(&self, other: Counted) {
        self.lock().add(other);
    }

    /// Notes that other rows were found than were expected: rows come and go between two looks.
    pub fn found(&self, expected: u64, read: u64) {
        let mut counted = self.lock();
        counted.vanished += expected.saturating_sub(read);
        counted.appeared += read.saturating_sub(expected);
    }

    /// Returns what was counted.
    pub fn counted(&self) -> Counted {
        *self.lock()
    }

    /// Forgets rows that were expected and not found, back to a number of them.
    pub fn forget_vanished(&self, vanished: u64) {
        self.lock().vanished = vanished;
    }

    /// Lets all lanes stop before their next batch.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Fails when another lane has failed.
    ///
    /// # Errors
    /// It has; its own error says more.
    pub fn check(&self) -> Result<()> {
        match self.stopped.load(Ordering::Relaxed) {
            true => Err(Error::new(Kind::Unexpected, "another lane stopped")),
            false => Ok(()),
        }
    }
}
