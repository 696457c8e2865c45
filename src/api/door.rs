//! What every handler has at hand.

use super::access::{Hosts, Tokens};
use super::answer::Answer;
use super::health::Readiness;
use super::limits::{Limits, busy};
use super::metrics::Reading;
use super::runner::Runner;
use crate::context::{Context, Interrupt, Server};
use crate::domain::event::Event;
use crate::error::Result;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// A context that is being opened.
pub type Opening = Pin<Box<dyn Future<Output = Result<Context>> + Send>>;
/// Opens a context for one piece of work; the mapping file is read again each time.
pub type Opener = Arc<dyn Fn(UnboundedSender<Event>, Interrupt) -> Opening + Send + Sync>;

/// How the door is opened.
pub struct DoorOptions {
    /// The legacy database.
    pub source: Server,
    /// The Supabase database, with the control schema.
    pub target: Server,
    /// Opens a context.
    pub opener: Opener,
    /// How the end of this process is asked for.
    pub interrupt: Interrupt,
    /// The tokens that are accepted.
    pub tokens: Tokens,
    /// Host names beside those of the address.
    pub allowed_hosts: Vec<String>,
    /// Writes that are accepted within a minute.
    pub writes_per_minute: u32,
}

/// What every handler has at hand.
pub struct Door {
    pub(super) source: Server,
    pub(super) target: Server,
    pub(super) tokens: Tokens,
    pub(super) hosts: Hosts,
    pub(super) limits: Limits,
    pub(super) runner: Runner,
    pub(super) reading: Reading,
    pub(super) readiness: Readiness,
    /// Cancelled when streams have to end.
    pub(super) closing: CancellationToken,
}

impl Door {
    /// Prepares the door of one address.
    pub(super) fn new(options: DoorOptions, address: SocketAddr) -> Arc<Door> {
        // A client that went away does not take its question back.
        let target = options.target.for_questions();
        Arc::new(Door {
            hosts: Hosts::new(address, &options.allowed_hosts),
            runner: Runner::new(options.opener, options.interrupt, target.clone()),
            source: options.source,
            target,
            tokens: options.tokens,
            limits: Limits::new(options.writes_per_minute),
            reading: Reading::default(),
            readiness: Readiness::default(),
            closing: CancellationToken::new(),
        })
    }
}

impl Door {
    /// Waits for a place to ask the databases something.
    pub(super) async fn question(&self) -> Answer<SemaphorePermit<'_>> {
        let place = tokio::time::timeout(PATIENCE, self.limits.questions.acquire()).await;
        match place {
            Ok(Ok(place)) => Ok(place),
            _ => Err(busy("too many requests at the same time")),
        }
    }
}
