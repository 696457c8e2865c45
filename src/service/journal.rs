//! Writes facts to the execution log on a connection of its own, and passes them on to the front end.

use crate::db::control::event::{self, NewEvent};
use crate::db::server::{Connection, Server};
use crate::domain::event::Event;
use crate::error::Result;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// How long events are gathered before they are written.
const GATHER: Duration = Duration::from_millis(200);
/// How many events one statement writes at most.
const PAGE: usize = 500;

/// The running writer.
pub(crate) struct Journal {
    writer: JoinHandle<()>,
    /// Where facts go from now on.
    pub events: UnboundedSender<Event>,
}

impl Journal {
    /// Starts to write the log of a session; every fact also goes to `front`.
    pub async fn start(
        server: &Server,
        session_id: Uuid,
        front: UnboundedSender<Event>,
    ) -> Result<Journal> {
        let connection = server.open().await?;
        let (events, received) = unbounded_channel();
        let writer = tokio::spawn(write(connection, session_id, received, front));
        Ok(Journal { writer, events })
    }

    /// Writes what is left, once nobody sends any more.
    pub async fn finish(self) {
        drop(self.events);
        let _ = tokio::time::timeout(Duration::from_secs(20), self.writer).await;
    }
}

fn to_row(event: &Event) -> Option<NewEvent> {
    match event {
        Event::Logged {
            level,
            entity,
            operation,
            message,
            context,
        } => Some(NewEvent {
            level: level.word(),
            entity: entity.clone(),
            operation,
            message: message.clone(),
            context: context.clone(),
        }),
        Event::Advanced(_) => None,
    }
}

async fn write(
    mut connection: Connection,
    session_id: Uuid,
    mut received: UnboundedReceiver<Event>,
    front: UnboundedSender<Event>,
) {
    let mut rows = Vec::new();
    let mut open = true;
    while open {
        let first = received.recv().await;
        open = first.is_some();
        let mut take = |event: Event| {
            rows.extend(to_row(&event));
            let _ = front.send(event);
        };
        first.into_iter().for_each(&mut take);
        if open {
            tokio::time::sleep(GATHER).await;
        }
        while let Ok(event) = received.try_recv() {
            take(event);
        }
        for page in rows.chunks(PAGE) {
            if let Err(error) = event::append(&mut connection, session_id, page).await {
                tracing::warn!(error = %error, "the execution log cannot be written");
            }
        }
        rows.clear();
    }
}
