//! The connections that work: few, shared by all entities, given back only when they are in order.

use super::entity::Session;
use crate::db::server::{Connection, Server};
use crate::error::{Error, Kind, Result};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

/// What one worker holds: two connections to the target, one to the source once it reads.
pub(crate) struct Hands {
    /// Reads control tables.
    pub control: Connection,
    /// Stages and applies.
    pub writer: Connection,
    /// Reads the source; a reader that did not come to the end of its rows is dropped.
    pub reader: Option<Connection>,
}

/// At most so many hands as entities are worked on at the same time.
pub(crate) struct HandsPool {
    server: Server,
    /// The most hands there may be.
    pub width: usize,
    slots: Semaphore,
    idle: Mutex<Vec<Hands>>,
}

impl HandsPool {
    /// Opens nothing yet.
    pub fn new(server: &Server, width: usize) -> Self {
        HandsPool {
            server: server.clone(),
            width: width.max(1),
            slots: Semaphore::new(width.max(1)),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Waits for a free slot and takes hands, new ones if none are idle.
    pub async fn take(&self) -> Result<(Hands, SemaphorePermit<'_>)> {
        let closed = |_| Error::new(Kind::Unexpected, "the workers are gone");
        let permit = self.slots.acquire().await.map_err(closed)?;
        Ok((self.hands().await?, permit))
    }

    /// Takes hands when a slot is free.
    pub async fn try_take(&self) -> Result<Option<(Hands, SemaphorePermit<'_>)>> {
        match self.slots.try_acquire() {
            Ok(permit) => Ok(Some((self.hands().await?, permit))),
            Err(_) => Ok(None),
        }
    }

    async fn hands(&self) -> Result<Hands> {
        if let Some(hands) = self.idle.lock().await.pop() {
            return Ok(hands);
        }
        let (control, writer) = tokio::try_join!(self.server.open(), self.server.open())?;
        Ok(Hands {
            control,
            writer,
            reader: None,
        })
    }

    /// Takes hands back. Hands that met an error never come here: their connections may be out of step.
    pub async fn give_back(&self, hands: Hands) {
        self.idle.lock().await.push(hands);
    }
}

/// Takes the reader of these hands, or opens another one of the session's snapshot.
pub(crate) async fn reader(hands: &mut Hands, session: &Session<'_>) -> Result<Connection> {
    match hands.reader.take() {
        Some(reader) => Ok(reader),
        None => session.snapshot.reader().await,
    }
}
