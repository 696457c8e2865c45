//! The states of a session and who may change them; the same rules stand as CHECKs in the control schema.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Created, nothing done. Set by the process that starts it.
    Pending,
    /// At work. Set by the lease holder.
    Running,
    /// An operator asked for a pause. Set by `control`, obeyed at the next batch.
    Pausing,
    /// Stopped at a batch boundary; can go on. Set by the lease holder.
    Paused,
    /// An operator asked for the end. Set by `control`.
    Cancelling,
    /// Ended on request; what is committed stays. Final.
    Cancelled,
    /// Everything applied. Final.
    Completed,
    /// Everything applied but rows that were set aside. Final.
    CompletedWithRejects,
    /// Stopped by an error; what is committed stays. Final.
    Failed,
}

/// Every state, in the order of the life cycle.
pub const ALL_STATES: &[SessionState] = &[
    SessionState::Pending,
    SessionState::Running,
    SessionState::Pausing,
    SessionState::Paused,
    SessionState::Cancelling,
    SessionState::Cancelled,
    SessionState::Completed,
    SessionState::CompletedWithRejects,
    SessionState::Failed,
];

impl SessionState {
    /// Returns the word stored in the control schema.
    pub fn word(self) -> &'static str {
        match self {
            SessionState::Pending => "pending",
            SessionState::Running => "running",
            SessionState::Pausing => "pausing",
            SessionState::Paused => "paused",
            SessionState::Cancelling => "cancelling",
            SessionState::Cancelled => "cancelled",
            SessionState::Completed => "completed",
            SessionState::CompletedWithRejects => "completed_with_rejects",
            SessionState::Failed => "failed",
        }
    }

    /// Reads the stored word.
    pub fn from_word(word: &str) -> Option<SessionState> {
        ALL_STATES
            .iter()
            .copied()
            .find(|state| state.word() == word)
    }

    /// Tells whether nothing can follow.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            SessionState::Cancelled
                | SessionState::Completed
                | SessionState::CompletedWithRejects
                | SessionState::Failed
        )
    }

    /// Tells whether the state may be followed by another.
    pub fn may_become(self, next: SessionState) -> bool {
        use SessionState as S;
        match self {
            S::Pending => matches!(next, S::Running | S::Cancelled | S::Failed),
            S::Running => matches!(
                next,
                S::Pausing
                    | S::Paused
                    | S::Cancelling
                    | S::Completed
                    | S::CompletedWithRejects
                    | S::Failed
            ),
            S::Pausing => matches!(
                next,
                S::Paused | S::Cancelling | S::Completed | S::CompletedWithRejects | S::Failed
            ),
            S::Paused => matches!(next, S::Running | S::Cancelling | S::Cancelled),
            S::Cancelling => matches!(
                next,
                S::Cancelled | S::Completed | S::CompletedWithRejects | S::Failed
            ),
            S::Cancelled | S::Completed | S::CompletedWithRejects | S::Failed => false,
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What an operator wants of the running process; recorded apart from the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Go on.
    Run,
    /// Stop at the next batch boundary, to go on later.
    Pause,
    /// Stop at the next batch boundary for good.
    Cancel,
}

impl Signal {
    /// Returns the stored word.
    pub fn word(self) -> &'static str {
        match self {
            Signal::Run => "run",
            Signal::Pause => "pause",
            Signal::Cancel => "cancel",
        }
    }

    /// Reads the stored word.
    pub fn from_word(word: &str) -> Option<Signal> {
        [Signal::Run, Signal::Pause, Signal::Cancel]
            .into_iter()
            .find(|signal| signal.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_have_no_successor_and_the_others_have_one() {
        for state in ALL_STATES {
            let successors = ALL_STATES.iter().filter(|next| state.may_become(**next));
            assert_eq!(successors.count() == 0, state.is_final(), "{state}");
            assert_eq!(SessionState::from_word(state.word()), Some(*state));
        }
    }
}
