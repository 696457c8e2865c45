//! How much is taken from whom.

use super::answer::Refusal;
use axum::http::StatusCode;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Connections at the same time; more wait to be accepted.
pub(super) const CONNECTIONS: usize = 128;
/// Event streams at the same time: each holds a connection to the target.
pub(super) const STREAMS: usize = 8;
/// Bytes of a body.
pub(super) const BODY: usize = 64 * 1024;
/// Headers of a request.
pub(super) const HEADERS: usize = 64;
/// Bytes of all headers of a request.
pub(super) const HEADER_BYTES: usize = 32 * 1024;
/// How long a client may take to send its headers, or be silent between two requests.
pub(super) const HEADER_TIME: Duration = Duration::from_secs(30);
/// How long an answer may take.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How long an answer may take for which the databases are read.
pub(super) const WORK_TIME: Duration = Duration::from_secs(900);
/// Wrong tokens from one address within a minute, after which it is told so; a right one is let in all the same, so
/// that nobody behind the same address can keep others out.
const FAILURES: u32 = 20;
/// Requests to the databases that are answered at the same time.
const QUESTIONS: usize = 8;

const MINUTE: Duration = Duration::from_secs(60);

/// What happened within the present minute.
#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    count: u32,
}

impl Window {
    fn new() -> Window {
        Window {
            began: Instant::now(),
            count: 0,
        }
    }

    fn left_secs(self) -> u64 {
        MINUTE.saturating_sub(self.began.elapsed()).as_secs() + 1
    }

    fn current(self) -> Window {
        match self.began.elapsed() < MINUTE {
            true => self,
            false => Window::new(),
        }
    }
}

/// The counters.
#[derive(Debug)]
pub(super) struct Limits {
    writes_per_minute: u32,
    writes: Mutex<Window>,
    failures: Mutex<HashMap<IpAddr, Window>>,
    /// Places for event streams.
    pub streams: Arc<Semaphore>,
    /// Places for questions to the databases.
    pub questions: Semaphore,
    /// The place for work that reads the databases whole.
    pub work: Semaphore,
}

fn too_many(message: &str, secs: u64) -> Refusal {
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message).retry_after(secs)
}

impl Limits {
    pub fn new(writes_per_minute: u32) -> Limits {
        Limits {
            writes_per_minute,
            writes: Mutex::new(Window::new()),
            failures: Mutex::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            questions: Semaphore::new(QUESTIONS),
            work: Semaphore::new(1),
        }
    }

    /// Takes a write, unless there were too many within this minute.
    pub fn take_write(&self) -> Result<(), Refusal> {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        *writes = writes.current();
        if writes.count >= self.writes_per_minute {
            return Err(too_many(
                "too many writes within a minute",
                writes.left_secs(),
            ));
        }
        writes.count += 1;
        Ok(())
    }

    /// Refuses an address that has tried too many wrong tokens.
    pub fn check_failures(&self, peer: IpAddr) -> Result<(), Refusal> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(&peer).map(|it| it.current()) {
            Some(window) if window.count >= FAILURES => {
                Err(too_many("too many wrong tokens", window.left_secs()))
            }
            _ => Ok(()),
        }
    }

    /// Counts a wrong token.
    pub fn note_failure(&self, peer: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, window| window.began.elapsed() < MINUTE);
        // Whoever has thousands of addresses is not held up by this; the memory must not pay for it.
        if failures.len() < 4_096 || failures.contains_key(&peer) {
            failures.entry(peer).or_insert_with(Window::new).count += 1;
        }
    }
}

/// A place could not be had.
pub(super) fn busy(message: &str) -> Refusal {
    too_many(message, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_wrong_tokens_are_counted() {
        let limits = Limits::new(2);
        assert!(limits.take_write().is_ok() && limits.take_write().is_ok());
        let refusal = limits.take_write().unwrap_err();
        assert_eq!(refusal.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(refusal.retry_after.is_some_and(|it| (1..=61).contains(&it)));
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        for _ in 0..FAILURES {
            assert!(limits.check_failures(one).is_ok());
            limits.note_failure(one);
        }
        assert!(limits.check_failures(one).is_err());
        assert!(limits.check_failures(other).is_ok());
    }
}
