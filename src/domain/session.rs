//! The states of a session, what may be done to it, and by whom: the one source of these rules.
//!
//! Whatever writes a state asks [`SessionState::after`]; the control schema only knows the words.

use crate::error::Kind;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// At work. Set by the lease holder, and by an operator who takes a pause or cancel back.
    Running,
    /// An operator asked for a pause. Set by `control`, obeyed at the next batch.
    Pausing,
    /// Stopped at a batch boundary; can go on. Set by the lease holder.
    Paused,
    /// An operator asked for the end. Set by `control`, obeyed at the next batch.
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
    SessionState::Running,
    SessionState::Pausing,
    SessionState::Paused,
    SessionState::Cancelling,
    SessionState::Cancelled,
    SessionState::Completed,
    SessionState::CompletedWithRejects,
    SessionState::Failed,
];

/// Who acts on a session, and what must be true of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The process that holds the lease; proven by the lease's epoch.
    Holder,
    /// An operator, while a process works on the session.
    Beside,
    /// An operator, while no process does.
    Alone,
}

/// What is done to a session. Nothing else changes a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `migrate` takes an unfinished session up; its old process is gone, else it would hold the lease.
    TakeUp,
    /// The holder stops at a batch boundary, to go on later.
    Pause,
    /// The holder stops at a batch boundary for good.
    Cancel,
    /// The holder has applied everything.
    Complete,
    /// The holder has applied everything but rows that are set aside.
    CompleteWithRejects,
    /// Something stopped the holder.
    Fail,
    /// `control pause` beside a process.
    AskPause,
    /// `control cancel` beside a process.
    AskCancel,
    /// `control resume` beside a process: takes back what was not obeyed yet.
    AskResume,
    /// `control cancel` of a session that is paused or whose process is gone.
    CancelIdle,
    /// `control list --cleanup` of a session whose process is gone.
    CleanUp,
}

/// Every action.
pub const ALL_ACTIONS: &[Action] = &[
    Action::TakeUp,
    Action::Pause,
    Action::Cancel,
    Action::Complete,
    Action::CompleteWithRejects,
    Action::Fail,
    Action::AskPause,
    Action::AskCancel,
    Action::AskResume,
    Action::CancelIdle,
    Action::CleanUp,
];

impl Action {
    /// Tells who may do it.
    pub fn actor(self) -> Actor {
        match self {
            Action::TakeUp
            | Action::Pause
            | Action::Cancel
            | Action::Complete
            | Action::CompleteWithRejects
            | Action::Fail => Actor::Holder,
            Action::AskPause | Action::AskCancel | Action::AskResume => Actor::Beside,
            Action::CancelIdle | Action::CleanUp => Actor::Alone,
        }
    }

    /// Returns what an operator's wish means, by whether a process works on the session.
    pub fn asked(signal: Signal, has_process: bool) -> Option<Action> {
        match (signal, has_process) {
            (Signal::Pause, true) => Some(Action::AskPause),
            (Signal::Cancel, true) => Some(Action::AskCancel),
            (Signal::Run, true) => Some(Action::AskResume),
            (Signal::Cancel, false) => Some(Action::CancelIdle),
            (Signal::Pause | Signal::Run, false) => None,
        }
    }
}

impl SessionState {
    /// The state in which a session begins.
    pub const FIRST: SessionState = SessionState::Running;

    /// Returns the word stored in the control schema.
    pub fn word(self) -> &'static str {
        match self {
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

    /// Returns the exit code of the process that left a session in this state; nothing where the state alone
    /// does not tell: while it works, and after a failure.
    pub fn exit_code(self) -> Option<u8> {
        let kind = match self {
            SessionState::Completed => return Some(0),
            SessionState::CompletedWithRejects => Kind::Rejects,
            SessionState::Paused => Kind::Paused,
            SessionState::Cancelled => Kind::Cancelled,
            SessionState::Running
            | SessionState::Pausing
            | SessionState::Cancelling
            | SessionState::Failed => return None,
        };
        Some(kind.exit_code())
    }

    /// Tells whether a process works on such a session, unless it was killed.
    pub fn is_at_work(self) -> bool {
        matches!(
            self,
            SessionState::Running | SessionState::Pausing | SessionState::Cancelling
        )
    }

    /// Returns the state after an action, or nothing when it may not be done now.
    ///
    /// A cancel that was asked for wins over a pause, whichever of the two the holder came to know.
    pub fn after(self, action: Action) -> Option<SessionState> {
        use Action as A;
        use SessionState as S;
        match (action, self) {
            (_, S::Cancelled | S::Completed | S::CompletedWithRejects | S::Failed) => None,
            (A::TakeUp, S::Running | S::Pausing | S::Paused) => Some(S::Running),
            (A::TakeUp, S::Cancelling) => None,
            (A::CancelIdle, _) => Some(S::Cancelled),
            // What is paused has no process that could do or obey anything.
            (_, S::Paused) => None,
            (A::Pause, S::Running | S::Pausing) => Some(S::Paused),
            (A::Pause, S::Cancelling) | (A::Cancel, _) => Some(S::Cancelled),
            (A::Complete, _) => Some(S::Completed),
            (A::CompleteWithRejects, _) => Some(S::CompletedWithRejects),
            (A::Fail, _) => Some(S::Failed),
            (A::AskPause, S::Running | S::Pausing) => Some(S::Pausing),
            (A::AskPause, S::Cancelling) => None,
            (A::AskCancel, _) => Some(S::Cancelling),
            (A::AskResume, _) => Some(S::Running),
            (A::CleanUp, S::Running | S::Pausing) => Some(S::Failed),
            (A::CleanUp, S::Cancelling) => Some(S::Cancelled),
        }
    }

    /// Tells whether some action leads from this state to another.
    pub fn may_become(self, next: SessionState) -> bool {
        ALL_ACTIONS
            .iter()
            .any(|action| self.after(*action) == Some(next))
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

    /// The model once more, written as a table by hand: a row per state, a column per action.
    ///
    /// The columns stand in the order of [`ALL_ACTIONS`]: take up, pause, cancel, complete, complete with
    /// rejects, fail | ask pause, ask cancel, ask resume | cancel idle, clean up.
    const TABLE: &[(&str, &str)] = &[
        ("running", "R P X C J F | p x R | X F"),
        ("pausing", "R P X C J F | p x R | X F"),
        ("paused", "R - - - - - | - - - | X -"),
        ("cancelling", "- X X C J F | - x R | X X"),
        ("cancelled", "- - - - - - | - - - | - -"),
        ("completed", "- - - - - - | - - - | - -"),
        ("completed_with_rejects", "- - - - - - | - - - | - -"),
        ("failed", "- - - - - - | - - - | - -"),
    ];

    fn meant(letter: &str) -> Option<SessionState> {
        let state = match letter {
            "R" => SessionState::Running,
            "p" => SessionState::Pausing,
            "P" => SessionState::Paused,
            "x" => SessionState::Cancelling,
            "X" => SessionState::Cancelled,
            "C" => SessionState::Completed,
            "J" => SessionState::CompletedWithRejects,
            "F" => SessionState::Failed,
            _ => return None,
        };
        Some(state)
    }

    #[test]
    fn every_action_of_every_actor_in_every_state_does_what_the_table_says() {
        assert_eq!(TABLE.len(), ALL_STATES.len());
        for ((word, row), state) in TABLE.iter().zip(ALL_STATES) {
            assert_eq!(*word, state.word());
            let cells: Vec<&str> = row.split_whitespace().filter(|it| *it != "|").collect();
            assert_eq!(cells.len(), ALL_ACTIONS.len());
            for (cell, action) in cells.iter().zip(ALL_ACTIONS) {
                assert_eq!(state.after(*action), meant(cell), "{state} {action:?}");
            }
        }
    }

    #[test]
    fn final_states_have_no_successor_and_the_others_can_reach_an_end() {
        for state in ALL_STATES {
            let others = ALL_STATES.iter().filter(|next| *next != state);
            let successors = others.filter(|next| state.may_become(**next)).count();
            assert_eq!(successors == 0, state.is_final(), "{state}");
            assert_eq!(SessionState::from_word(state.word()), Some(*state));
        }
    }

    #[test]
    fn who_is_alone_ends_a_session_and_never_sets_it_to_work() {
        let alone = ALL_ACTIONS
            .iter()
            .filter(|action| action.actor() == Actor::Alone);
        for action in alone {
            for state in ALL_STATES {
                let after = state.after(*action);
                assert!(
                    after.is_none_or(SessionState::is_final),
                    "{state} {action:?}"
                );
            }
        }
    }

    #[test]
    fn the_diagram_shows_exactly_the_moves_of_the_model() {
        let page = include_str!("../../docs/state_machine.md");
        let mut drawn: Vec<(&str, &str)> = page
            .lines()
            .filter_map(|line| line.trim().split_once(" --> "))
            .map(|(from, to)| (from, to.split(':').next().unwrap_or(to).trim()))
            .collect();
        drawn.sort_unstable();
        let mut meant = vec![("[*]", SessionState::FIRST.word())];
        for state in ALL_STATES {
            let others = ALL_STATES.iter().filter(|next| *next != state);
            let moves = others.filter(|next| state.may_become(**next));
            meant.extend(moves.map(|next| (state.word(), next.word())));
            if state.is_final() {
                meant.push((state.word(), "[*]"));
            }
        }
        meant.sort_unstable();
        assert_eq!(drawn, meant);
    }
}
