//! What an adoption found: rows of the target that belong to source keys, and claims that do not hold.

use serde::Serialize;
use serde_json::Value;

/// How many keys of each finding are shown.
pub const SHOWN_KEYS: usize = 10;
/// The SQLSTATE with which a key is set aside until it is known which target row is meant.
pub const DISPUTED_SQLSTATE: &str = "DM002";

/// In the place of the hash that was applied last: what is in the target is not what diffmig wrote.
pub const FOREIGN_CONTENT: [u8; 16] = [0; 16];
/// In the place of the hash that was applied last: nobody can say which target row is the key's own.
pub const DISPUTED: [u8; 16] = [0xff; 16];
/// A hash that no row has: whatever carries it is looked at again.
pub const NO_HASH: [u8; 16] = [0; 16];

/// What becomes of target rows that differ from what the mapping makes of their source rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Differing {
    /// They count as edited: the entity's `conflict` policy decides. The default.
    #[default]
    Keep,
    /// They count as stale: the source overwrites them.
    Source,
}

/// What ties target rows to source keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tie {
    /// Columns of the target carry the key.
    Legacy,
    /// A mappings table.
    Table,
    /// The source key is the target key.
    Same,
    /// The values of `match`.
    Match,
}

impl Tie {
    /// Returns the word.
    pub fn word(self) -> &'static str {
        match self {
            Tie::Legacy => "legacy",
            Tie::Table => "table",
            Tie::Same => "same",
            Tie::Match => "match",
        }
    }
}

/// Why a claim does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AdoptFault {
    /// Several target rows claim one key.
    Duplicate,
    /// The key's target row is another one by the mappings table, the legacy column or the ledger.
    Contradiction,
    /// Several keys claim one target row.
    Shared,
    /// The target row belongs to another key of the ledger, or to another entity.
    Taken,
    /// There is no such target row.
    Dangling,
    /// Several rows have the same values of `match`.
    Ambiguous,
    /// What should be a key is none.
    Malformed,
}

impl AdoptFault {
    const ALL: [AdoptFault; 7] = [
        AdoptFault::Duplicate,
        AdoptFault::Contradiction,
        AdoptFault::Shared,
        AdoptFault::Taken,
        AdoptFault::Dangling,
        AdoptFault::Ambiguous,
        AdoptFault::Malformed,
    ];

    /// Returns the word.
    pub fn word(self) -> &'static str {
        match self {
            AdoptFault::Duplicate => "duplicate",
            AdoptFault::Contradiction => "contradiction",
            AdoptFault::Shared => "shared",
            AdoptFault::Taken => "taken",
            AdoptFault::Dangling => "dangling",
            AdoptFault::Ambiguous => "ambiguous",
            AdoptFault::Malformed => "malformed",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<AdoptFault> {
        AdoptFault::ALL.into_iter().find(|it| it.word() == word)
    }

    /// Returns why the key is set aside, in words.
    pub fn reason(self) -> &'static str {
        match self {
            AdoptFault::Duplicate => "several target rows claim this key",
            AdoptFault::Contradiction => "this key has different target rows in different places",
            AdoptFault::Shared => "several keys claim the same target row",
            AdoptFault::Taken => "its target row belongs to another key or entity",
            AdoptFault::Dangling => "its target row is not there",
            AdoptFault::Ambiguous => "several rows match each other",
            AdoptFault::Malformed => "what should be a key is none",
        }
    }
}

/// Claims that do not hold for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdoptFinding {
    /// The reason.
    pub kind: AdoptFault,
    /// How many keys; for malformed ones, how many claims.
    pub count: u64,
    /// The first keys in their order, as arrays; for malformed ones, ids of target rows as texts.
    pub keys: Vec<Value>,
}

/// The adoption of one entity; `source_rows` is the sum of `known`, `identical`, `differing`, `set_aside` and `new`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntityAdoption {
    /// The entity.
    pub entity: String,
    /// What ties its rows to source keys; nothing: it was left alone.
    pub ties: Vec<Tie>,
    /// Source rows that pass the mapping.
    pub source_rows: u64,
    /// Source rows that the ledger knew before.
    pub known: u64,
    /// Source rows whose target row was adopted and is what the mapping makes of them.
    pub identical: u64,
    /// Source rows whose target row was adopted and differs.
    pub differing: u64,
    /// Keys that are set aside because nobody can say which target row is theirs.
    pub set_aside: u64,
    /// Source rows without a target row.
    pub new: u64,
    /// Target rows that were adopted although their source row is gone.
    pub gone: u64,
    /// Such rows that look as if they had been retired already; they are remembered as retired.
    pub retired: u64,
    /// Keys of which the target holds no disputed row any more; the next migration inserts them.
    pub released: u64,
    /// Target rows that no key claims.
    pub native: u64,
    /// Claims that do not hold.
    pub findings: Vec<AdoptFinding>,
}

impl EntityAdoption {
    /// Returns how many rows were adopted.
    pub fn adopted(&self) -> u64 {
        self.identical + self.differing + self.gone + self.retired
    }

    /// Tells whether every source row is accounted for.
    pub fn adds_up(&self) -> bool {
        self.source_rows == self.known + self.identical + self.differing + self.set_aside + self.new
    }

    /// Returns how many claims do not hold.
    pub fn faults(&self) -> u64 {
        self.findings.iter().map(|it| it.count).sum()
    }

    /// Notes a claim that does not hold.
    pub fn note(&mut self, kind: AdoptFault, key: impl FnOnce() -> Value) {
        let found = self.findings.iter_mut().find(|it| it.kind == kind);
        match found {
            Some(it) => {
                it.count += 1;
                if it.keys.len() < SHOWN_KEYS {
                    it.keys.push(key());
                }
            }
            None => self.findings.push(AdoptFinding {
                kind,
                count: 1,
                keys: vec![key()],
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_keys_are_shown_and_all_are_counted() {
        let mut adoption = EntityAdoption::default();
        for number in 0..25 {
            adoption.note(AdoptFault::Dangling, || Value::from(number));
        }
        adoption.note(AdoptFault::Shared, || Value::from(1));
        assert_eq!(adoption.faults(), 26);
        assert_eq!(adoption.findings[0].count, 25);
        assert_eq!(adoption.findings[0].keys.len(), SHOWN_KEYS);
    }

    #[test]
    fn words_are_read_back() {
        for kind in AdoptFault::ALL {
            assert_eq!(AdoptFault::from_word(kind.word()), Some(kind));
        }
    }
}
