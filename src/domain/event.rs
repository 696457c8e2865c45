//! Facts that the core emits; journal, bars and lines each make of them what they need.

use serde_json::Value;
use uuid::Uuid;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Details.
    Debug,
    /// What happens.
    Info,
    /// What somebody should look at.
    Warn,
    /// What stopped something.
    Error,
}

impl Level {
    /// Returns the stored word.
    pub fn word(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// How far the work on one entity is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The entity.
    pub entity: String,
    /// What is done: `detect` or `apply`.
    pub phase: &'static str,
    /// Rows done.
    pub rows_done: u64,
    /// Rows in all, as far as known.
    pub rows_total: u64,
    /// Whether the entity is finished.
    pub finished: bool,
}

/// A fact.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something worth a line in the log.
    Logged {
        /// How much it matters.
        level: Level,
        /// The entity, if it is about one.
        entity: Option<String>,
        /// What was done, as one word.
        operation: &'static str,
        /// In words, without row values.
        message: String,
        /// Counts and times.
        context: Value,
    },
    /// Work went on.
    Advanced(Progress),
    /// A session stands in the control tables and is worked on from now on.
    Begun {
        /// The session.
        session_id: Uuid,
        /// Whether an earlier process had begun it.
        resumed: bool,
    },
}

impl Event {
    /// Makes a log line about the whole session.
    pub fn info(operation: &'static str, message: impl Into<String>, context: Value) -> Event {
        Event::Logged {
            level: Level::Info,
            entity: None,
            operation,
            message: message.into(),
            context,
        }
    }

    /// Makes a log line about an entity.
    pub fn of_entity(
        level: Level,
        entity: &str,
        operation: &'static str,
        message: impl Into<String>,
        context: Value,
    ) -> Event {
        Event::Logged {
            level,
            entity: Some(entity.to_owned()),
            operation,
            message: message.into(),
            context,
        }
    }
}
