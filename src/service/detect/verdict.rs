//! What a row is whose key both the source and the ledger have.

use super::ledger_rows::LedgerRow;
use crate::domain::detection::{ChangeKind, DetectionCounts};

/// The judgement on one source row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the target as it is.
    Unchanged,
    /// It was set aside and did not change since.
    SetAside,
    /// It is not in the target; its key came back after it had been gone.
    Returned,
    /// It was set aside before it got into the target, and has changed.
    New,
    /// It has changed.
    Modified,
}

/// Judges a row by its hash and by what the ledger knows.
pub fn judge(hash: &[u8; 16], known: &LedgerRow) -> Verdict {
    let same = *hash == known.hash;
    match known.letter {
        b'a' if same => Verdict::Unchanged,
        b'd' => Verdict::Returned,
        _ if same => Verdict::SetAside,
        b'q' | b'h' => Verdict::New,
        _ => Verdict::Modified,
    }
}

impl Verdict {
    /// Adds it to the counts.
    pub fn count(self, counts: &mut DetectionCounts) {
        match self {
            Verdict::Unchanged => counts.unchanged += 1,
            Verdict::SetAside => counts.set_aside += 1,
            Verdict::New | Verdict::Returned => counts.new += 1,
            Verdict::Modified => counts.modified += 1,
        }
    }

    /// Returns what `migrate` has to do.
    pub fn change(self) -> Option<ChangeKind> {
        match self {
            Verdict::Unchanged | Verdict::SetAside => None,
            Verdict::New | Verdict::Returned => Some(ChangeKind::New),
            Verdict::Modified => Some(ChangeKind::Modified),
        }
    }
}
