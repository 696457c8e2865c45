//! What can go wrong, sorted by what the person at the keyboard has to do about it.
//!
//! One [`Error`] travels from wherever it happened up to the door (CLI or REST). Its [`Kind`] alone
//! decides the exit code and whether a retry can help.

use std::fmt;

/// The class of a failure; the exit code is a contract (see `docs/exit-codes.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A defect of diffmig or something nobody foresaw.
    Unexpected,
    /// Wrong flags, a wrong configuration file or a wrong mapping.
    Usage,
    /// Finished, but rows were set aside.
    Rejects,
    /// `detect --exit-code` found differences.
    Differences,
    /// A server could not be reached; the same command may be run again.
    Connect,
    /// Another session holds the lease.
    LeaseHeld,
    /// Authentication, authorisation, TLS or row security.
    Permission,
    /// The mapping or a schema does not fit (any more).
    Drift,
    /// A value of some source row cannot be computed.
    Unreadable,
    /// A safety guard refused.
    Guard,
    /// Disk, connections, locks or timeouts.
    Resources,
    /// A lock or a concurrent transaction stood in the way; trying again may help.
    Busy,
    /// The lease was taken by somebody else while we worked.
    Fenced,
    /// The control schema is missing, damaged or newer than this binary.
    ControlState,
    /// Paused by an operator or by a first signal.
    Paused,
    /// Cancelled by an operator.
    Cancelled,
    /// Interrupted by a second signal; the value is the exit code, 130 or 143.
    Interrupted(u8),
}

impl Kind {
    /// Returns the process exit code of this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Unexpected => 1,
            Kind::Usage => 2,
            Kind::Rejects => 3,
            Kind::Differences => 4,
            Kind::Connect => 10,
            Kind::LeaseHeld => 11,
            Kind::Permission => 12,
            Kind::Drift | Kind::Unreadable => 13,
            Kind::Guard => 14,
            Kind::Resources | Kind::Busy => 15,
            Kind::Fenced => 16,
            Kind::ControlState => 17,
            Kind::Paused => 20,
            Kind::Cancelled => 21,
            Kind::Interrupted(code) => code,
        }
    }
}

#[derive(Debug)]
struct Report {
    kind: Kind,
    what: String,
    cause: Option<String>,
    state: Option<String>,
    next: Option<String>,
    entity: Option<String>,
}

/// A failure as the user sees it: what, cause, state, next.
///
/// `Display` prints `what` alone; the door prints the whole block.
#[derive(Debug)]
pub struct Error(Box<Report>);

/// The result of everything that can fail for a reason the user should read.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error of a kind that says `what` went wrong.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error(Box::new(Report {
            kind,
            what: what.into(),
            cause: None,
            state: None,
            next: None,
            entity: None,
        }))
    }

    /// Adds the server's or system's own words, free of row values.
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Says what is committed and what is not; an earlier, more precise statement is kept.
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.0.state.get_or_insert_with(|| state.into());
        self
    }

    /// Names the command or deed that helps; an earlier, more precise one is kept.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.0.next.get_or_insert_with(|| next.into());
        self
    }

    /// Says which entity's rows it is about.
    pub fn of_entity(mut self, entity: &str) -> Self {
        self.0.entity = Some(entity.to_owned());
        self
    }

    /// Returns the entity whose rows it is about, if it is known.
    pub fn entity(&self) -> Option<&str> {
        self.0.entity.as_deref()
    }

    /// Returns the class of the failure.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns what went wrong, without cause.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Returns the cause, if one is known.
    pub fn cause_text(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// Returns what is committed, if it was said.
    pub fn state_text(&self) -> Option<&str> {
        self.0.state.as_deref()
    }

    /// Returns the advised next step, if there is one.
    pub fn next_text(&self) -> Option<&str> {
        self.0.next.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_statement_of_state_and_next_wins() {
        let error = Error::new(Kind::Guard, "refused")
            .state("precise")
            .state("vague")
            .next("do this");
        assert_eq!(error.state_text(), Some("precise"));
        assert_eq!(error.next_text(), Some("do this"));
        assert_eq!(error.kind().exit_code(), 14);
    }
}
