//! The words of `--status`.

use crate::domain::quarantine::{ANY_STATUS, QuarantineStatus, UNSETTLED};
use clap::ValueEnum;

/// How the wanted rows stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Standing {
    /// They cannot be applied.
    Open,
    /// They wait for a parent.
    Held,
    /// Both sides changed.
    Conflict,
    /// An operator accepts that they stay out.
    Waived,
    /// All of them, those that were resolved as well.
    All,
}

impl Standing {
    /// Returns the statuses that are wanted; without a word those that somebody should look at.
    pub fn statuses(wanted: Option<Standing>) -> &'static [QuarantineStatus] {
        match wanted {
            None => UNSETTLED,
            Some(Standing::Open) => &[QuarantineStatus::Open],
            Some(Standing::Held) => &[QuarantineStatus::Held],
            Some(Standing::Conflict) => &[QuarantineStatus::Conflict],
            Some(Standing::Waived) => &[QuarantineStatus::Waived],
            Some(Standing::All) => ANY_STATUS,
        }
    }
}
