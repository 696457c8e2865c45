//! One session as it goes on: its state and what it logs, on one connection that is opened again when it is lost.

use super::logs::EventRow;
use super::sessions::open_if_any;
use super::status::{SessionStatus, look_again};
use crate::db::control::event::{self, EventFilter, has_last_word};
use crate::db::server::{Connection, Server};
use crate::error::{Error, Kind, Result};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Events read at once.
const PAGE: i64 = 500;
/// How long the last word of a session that is over is waited for.
const LAST_WORD: Duration = Duration::from_secs(5);

/// Tells whether all of a session's log is there: who is gone says nothing more; who has ended says so last, and soon.
///
/// `over_since` keeps since when it is seen to be over.
pub(crate) async fn has_ended(
    connection: &mut Connection,
    session: &SessionStatus,
    over_since: &mut Option<Instant>,
) -> Result<bool> {
    if !session.is_over() {
        *over_since = None;
        return Ok(false);
    }
    let since = over_since.get_or_insert_with(Instant::now).elapsed();
    Ok(session.state == "interrupted"
        || since > LAST_WORD
        || has_last_word(connection, session.session_id).await?)
}

/// What is new of a session.
#[derive(Debug, Clone)]
pub struct News {
    /// How it stands.
    pub session: SessionStatus,
    /// What was logged since the last time, in order.
    pub events: Vec<EventRow>,
    /// Whether the session is over and all of its log was returned.
    pub is_complete: bool,
    /// Whether so much was read that more may be there.
    pub is_full: bool,
}

/// Follows one session.
#[derive(Debug)]
pub struct Follower {
    server: Server,
    connection: Option<Connection>,
    filter: EventFilter,
    session_id: Uuid,
    over_since: Option<Instant>,
}

impl Follower {
    /// Begins after an event of the log, or with some of the latest ones.
    pub fn new(server: &Server, session_id: Uuid, after: Option<i64>, tail: i64) -> Follower {
        Follower {
            server: server.clone(),
            connection: None,
            filter: EventFilter {
                session_id: Some(session_id),
                after,
                limit: if after.is_some() { PAGE } else { tail },
                ..EventFilter::default()
            },
            session_id,
            over_since: None,
        }
    }

    /// Returns the position in the log up to which events were returned.
    pub fn cursor(&self) -> i64 {
        self.filter.after.unwrap_or(0)
    }

    /// Returns how the session stands and the next events.
    ///
    /// # Errors
    /// The target cannot be read now; the next call tries again and continues from the same place.
    pub async fn next(&mut self) -> Result<News> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => open_if_any(&self.server)
                .await?
                .ok_or_else(|| gone(self.session_id))?,
        };
        // The state first: what is logged before an end is read after it.
        let session = look_again(&mut connection, Some(self.session_id)).await?;
        // Before the events: its last word may be written in between.
        let has_ended = has_ended(&mut connection, &session, &mut self.over_since).await?;
        let events = event::read(&mut connection, &self.filter).await?;
        let is_full = i64::try_from(events.len()).is_ok_and(|it| it >= self.filter.limit);
        let is_complete = has_ended && events.is_empty();
        self.connection = Some(connection);
        let last = events.last().map(|event| event.event_id);
        self.filter.after = Some(last.unwrap_or(self.cursor()));
        self.filter.limit = PAGE;
        Ok(News {
            session,
            events,
            is_complete,
            is_full,
        })
    }
}

fn gone(session_id: Uuid) -> Error {
    Error::new(Kind::Usage, format!("there is no session {session_id}"))
}
