//! The execution log, page by page and as it grows.

use super::status::open_control;
use crate::db::control::event::{EventFilter, read};
use crate::db::server::{Connection, Server};
use crate::error::Result;
use uuid::Uuid;

pub use crate::db::control::event::EventRow;

/// Which events to show.
#[derive(Debug, Clone)]
pub struct LogRequest {
    /// Only this session.
    pub session_id: Option<Uuid>,
    /// The lowest level shown.
    pub level: Option<String>,
    /// Only this entity.
    pub entity: Option<String>,
    /// How many of the latest events to begin with.
    pub tail: i64,
}

const LEVELS: &[&str] = &["debug", "info", "warn", "error"];
/// Events read at once while following.
const PAGE: i64 = 1_000;

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
        let levels = match &request.level {
            None => Vec::new(),
            Some(lowest) => LEVELS
                .iter()
                .skip_while(|level| *level != lowest)
                .map(|level| (*level).to_owned())
                .collect(),
        };
        Ok(LogReader {
            connection: open_control(target).await?,
            filter: EventFilter {
                session_id: request.session_id,
                levels,
                entity: request.entity.clone(),
                after: None,
                limit: request.tail,
            },
        })
    }

    /// Returns the next events in order; none when nothing new came.
    ///
    /// # Errors
    /// The target cannot be read.
    pub async fn next(&mut self) -> Result<Vec<EventRow>> {
        let events = read(&mut self.connection, &self.filter).await?;
        self.filter.after = Some(
            events
                .last()
                .map_or(self.filter.after.unwrap_or(0), |event| event.event_id),
        );
        self.filter.limit = PAGE;
        Ok(events)
    }
}
