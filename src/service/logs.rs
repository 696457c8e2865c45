//! The execution log, page by page and as it grows.

mod follow;

pub use follow::{Follower, Heard, Outage};

use super::follow::has_ended;
use super::sessions::open_if_any;
use super::status::{SessionStatus, look_if_any, open_control};
use crate::db::control::event::{EventFilter, newest, read};
use crate::db::server::{Connection, Server};
use crate::error::Result;
use chrono::{DateTime, Utc};
use std::time::Instant;
use uuid::Uuid;

pub use crate::db::control::event::EventRow;

/// Which events to show.
#[derive(Debug, Clone, Default)]
pub struct LogRequest {
    /// Only this session.
    pub session_id: Option<Uuid>,
    /// The lowest level shown.
    pub level: Option<String>,
    /// Only this entity.
    pub entity: Option<String>,
    /// Only from this moment on.
    pub since: Option<DateTime<Utc>>,
    /// Only before this moment.
    pub until: Option<DateTime<Utc>>,
    /// Only events whose entity, operation and message match this regular expression of PostgreSQL.
    pub grep: Option<String>,
    /// Only events after this one; 0 begins with the oldest, nothing with the latest.
    ///
    /// A cursor: every event with a smaller id that can still come is there when an id can be read, so whoever goes
    /// on after the last id seen misses nothing and sees nothing twice.
    pub after: Option<i64>,
    /// How many events to begin with: the oldest after the cursor, or without one the latest.
    pub limit: i64,
}

const LEVELS: &[&str] = &["debug", "info", "warn", "error"];
/// Events read at once while following.
const PAGE: i64 = 1_000;

impl LogRequest {
    fn filter(&self) -> EventFilter {
        let levels = match &self.level {
            None => Vec::new(),
            Some(lowest) => LEVELS
                .iter()
                .skip_while(|level| *level != lowest)
                .map(|level| (*level).to_owned())
                .collect(),
        };
        EventFilter {
            session_id: self.session_id,
            levels,
            entity: self.entity.clone(),
            since: self.since,
            until: self.until,
            grep: self.grep.clone(),
            after: self.after,
            limit: self.limit,
        }
    }
}

/// An open log: the first page, then whatever came since.
pub struct LogReader {
    connection: Connection,
    filter: EventFilter,
}

impl LogReader {
    /// Opens the log.
    ///
    /// # Errors
    /// The target cannot be read, or nothing was ever migrated.
    pub async fn open(target: &Server, request: &LogRequest) -> Result<LogReader> {
        Ok(LogReader {
            connection: open_control(target).await?,
            filter: request.filter(),
        })
    }

    /// As [`LogReader::open`], where nothing may have been migrated yet.
    async fn open_if_any(target: &Server, request: &LogRequest) -> Result<Option<LogReader>> {
        let found = open_if_any(target).await?;
        Ok(found.map(|connection| LogReader {
            connection,
            filter: request.filter(),
        }))
    }

    /// Returns the next events in order; none when nothing new came.
    ///
    /// # Errors
    /// The target cannot be read.
    pub async fn next(&mut self) -> Result<Vec<EventRow>> {
        let newest = newest(&mut self.connection).await?;
        let events = read(&mut self.connection, &self.filter).await?;
        let last = events.last().map(|it| it.event_id);
        let is_full = i64::try_from(events.len()).is_ok_and(|it| it >= self.filter.limit);
        self.filter.after = match (self.filter.after, last) {
            // More may lie between this page and the newest event.
            (Some(_), Some(last)) if is_full => Some(last),
            // What does not match the filter is not looked at again.
            (after, last) => last.max(after).max(Some(newest)),
        };
        self.filter.limit = PAGE;
        Ok(events)
    }

    /// Returns the cursor: the id after which [`LogReader::next`] goes on, once something was read.
    pub fn cursor(&self) -> Option<i64> {
        self.filter.after
    }

    /// Looks at a session, the latest when no id is given; there may be none yet.
    async fn session(&mut self, session_id: Option<Uuid>) -> Result<Option<SessionStatus>> {
        look_if_any(&mut self.connection, session_id).await
    }

    /// Tells whether a session is over and all of its log is there.
    async fn has_ended(
        &mut self,
        session: &SessionStatus,
        over_since: &mut Option<Instant>,
    ) -> Result<bool> {
        has_ended(&mut self.connection, session, over_since).await
    }
}
