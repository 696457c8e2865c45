//! Writes facts to the execution log on a connection of its own, and passes them on to the front end.

use crate::db::control::event::{self, NewEvent};
use crate::db::server::{Connection, Server};
use crate::domain::event::Event;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// How long events are gathered before they are written.
const GATHER: Duration = Duration::from_millis(200);
/// How many events one statement writes at most.
const PAGE: usize = 500;
/// How many events are kept while the target is away.
const KEPT: usize = 10_000;

/// The running writer.
pub(crate) struct Journal {
    writer: JoinHandle<()>,
    /// Where facts go from now on.
    pub events: UnboundedSender<Event>,
}

impl Journal {
    /// Starts to write the log of a session on this connection, or on others when it is lost; every fact also goes to
    /// `front`.
    pub fn start(
        server: &Server,
        connection: Connection,
        session_id: Uuid,
        front: UnboundedSender<Event>,
    ) -> Journal {
        let writer = Writer {
            connection: Some(connection),
            server: server.clone(),
            session_id,
            rows: Vec::new(),
            id: Uuid::new_v4(),
            ordinal: 0,
            dropped: 0,
        };
        let (events, received) = unbounded_channel();
        let writer = tokio::spawn(write(writer, received, front));
        Journal { writer, events }
    }

    /// Writes what is left, once nobody sends any more.
    pub async fn finish(self) {
        drop(self.events);
        let _ = tokio::time::timeout(Duration::from_secs(20), self.writer).await;
    }
}

fn to_row(event: &Event, ordinal: i64) -> Option<NewEvent> {
    match event {
        Event::Logged {
            level,
            entity,
            operation,
            message,
            context,
        } => Some(NewEvent {
            ordinal,
            level: level.word(),
            entity: entity.clone(),
            operation,
            message: message.clone(),
            context: context.clone(),
        }),
        Event::Advanced(_) | Event::Begun { .. } => None,
    }
}

struct Writer {
    connection: Option<Connection>,
    server: Server,
    session_id: Uuid,
    rows: Vec<NewEvent>,
    /// The name under which this journal writes, so that nothing is written twice.
    id: Uuid,
    /// How many events it had so far.
    ordinal: i64,
    /// Events that were given up in a long outage.
    dropped: usize,
}

impl Writer {
    /// Writes what was gathered; what cannot be written now is kept for the next time.
    async fn flush(&mut self) {
        if self.connection.is_none() {
            self.connection = self.server.open().await.ok();
        }
        while let Some(connection) = &mut self.connection {
            if self.rows.is_empty() {
                return;
            }
            if let Some(row) = given_up(std::mem::take(&mut self.dropped), self.ordinal + 1) {
                self.ordinal += 1;
                self.rows.insert(0, row);
            }
            let page = self.rows.len().min(PAGE);
            match event::append(connection, self.session_id, self.id, &self.rows[..page]).await {
                Ok(()) => drop(self.rows.drain(..page)),
                Err(error) => {
                    tracing::warn!(error = %error, "the execution log cannot be written");
                    self.connection = None;
                }
            }
        }
        // An outage must not fill the memory: of a long one, the latest events are kept.
        let excess = self.rows.len().saturating_sub(KEPT);
        self.rows.drain(..excess);
        self.dropped += excess;
    }

    /// Keeps an event to be written.
    fn take(&mut self, event: &Event) {
        if let Some(row) = to_row(event, self.ordinal + 1) {
            self.ordinal += 1;
            self.rows.push(row);
        }
    }
}

/// Says in the log that a part of it is missing.
fn given_up(events: usize, ordinal: i64) -> Option<NewEvent> {
    (events > 0).then(|| NewEvent {
        ordinal,
        level: "warn",
        entity: None,
        operation: "log",
        message: format!("{events} events of an outage were not kept"),
        context: serde_json::json!({ "events": events }),
    })
}

async fn write(
    mut writer: Writer,
    mut received: UnboundedReceiver<Event>,
    front: UnboundedSender<Event>,
) {
    let mut open = true;
    while open {
        let first = received.recv().await;
        open = first.is_some();
        let mut take = |event: Event| {
            writer.take(&event);
            let _ = front.send(event);
        };
        first.into_iter().for_each(&mut take);
        // More may come soon; but nobody waits for what cannot come any more.
        let gathered = tokio::time::sleep(GATHER);
        tokio::pin!(gathered);
        while open {
            tokio::select! {
                () = &mut gathered => break,
                event = received.recv() => match event {
                    Some(event) => take(event),
                    None => open = false,
                },
            }
        }
        writer.flush().await;
    }
}
