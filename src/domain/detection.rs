//! What a comparison of source and ledger found.

use super::key::Key;
use super::watermark::ReadMode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The kind of a change since the last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// In the source, not yet in the target.
    New,
    /// In both, with another content than when it was applied.
    Modified,
    /// Applied once, gone from the source.
    Deleted,
}

impl ChangeKind {
    /// Returns the stored word.
    pub fn word(self) -> &'static str {
        match self {
            ChangeKind::New => "new",
            ChangeKind::Modified => "modified",
            ChangeKind::Deleted => "deleted",
        }
    }

    /// Reads the stored word.
    pub fn from_word(word: &str) -> Option<ChangeKind> {
        [ChangeKind::New, ChangeKind::Modified, ChangeKind::Deleted]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// One finding: a key, or a run of keys that are all new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The key, or the first key of a run.
    pub key: Key,
    /// The last key of a run; `None` for a single row.
    pub last_key: Option<Key>,
    /// How many rows it stands for.
    pub row_count: u64,
}

/// How a detection read the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetectMode {
    /// The cheapest mode that misses nothing.
    #[default]
    Auto,
    /// Every row.
    Full,
    /// Rows that were written since the watermark, by the transaction that wrote them.
    Xmin,
    /// Rows whose `updated_at` is not before the watermark.
    Timestamp,
}

impl DetectMode {
    /// Reads the word.
    pub fn from_word(word: &str) -> Option<DetectMode> {
        [
            DetectMode::Auto,
            DetectMode::Full,
            DetectMode::Xmin,
            DetectMode::Timestamp,
        ]
        .into_iter()
        .find(|mode| mode.word() == word)
    }

    /// Returns the word.
    pub fn word(self) -> &'static str {
        match self {
            DetectMode::Auto => "auto",
            DetectMode::Full => "full",
            DetectMode::Xmin => "xmin",
            DetectMode::Timestamp => "timestamp",
        }
    }
}

/// The counts of one entity; `source_rows` adds up from the others but `deleted`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DetectionCounts {
    /// The entity.
    pub entity: String,
    /// Rows of the source relation, filtered ones included.
    pub source_rows: u64,
    /// Rows left out by `where` or an inner join.
    pub filtered: u64,
    /// Rows that are in the target as they are.
    pub unchanged: u64,
    /// Rows to insert.
    pub new: u64,
    /// Rows to update.
    pub modified: u64,
    /// Rows that are gone from the source.
    pub deleted: u64,
    /// Rows that were set aside before and did not change since.
    pub set_aside: u64,
    /// How the entity was read.
    #[serde(flatten)]
    pub reading: Reading,
}

/// How an entity was read, and what that says about the result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    /// The mode.
    pub mode: ReadMode,
    /// Why that mode.
    pub reason: String,
    /// Rows that left the source.
    pub rows_read: u64,
    /// What can be missed; `None` when nothing can.
    pub could_miss: Option<String>,
}

impl DetectionCounts {
    /// Returns how many rows `migrate` would touch.
    pub fn changes(&self) -> u64 {
        self.new + self.modified + self.deleted
    }

    /// Returns the share of changed rows in percent of the larger side.
    pub fn changed_percent(&self) -> f64 {
        let known = self.unchanged + self.modified + self.deleted + self.new + self.set_aside;
        if known == 0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let percent = self.changes() as f64 * 100.0 / known as f64;
        percent
    }

    /// Tells whether every source row is accounted for.
    pub fn adds_up(&self) -> bool {
        self.source_rows
            == self.filtered + self.unchanged + self.new + self.modified + self.set_aside
    }
}

/// A stored detection.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Detection {
    /// Its id.
    pub detection_id: Uuid,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When its last entity was complete.
    pub finished_at: DateTime<Utc>,
    /// How it read.
    pub mode: DetectMode,
    /// The mapping it was made with.
    pub mapping_digest: String,
    /// The counts by entity.
    pub entities: Vec<DetectionCounts>,
}

/// A limit in rows, or as a share of all rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RowLimit {
    /// So many rows.
    Rows(u64),
    /// So many of a hundred source rows.
    Percent(f64),
}

impl RowLimit {
    /// Returns the limit in rows of a source of that size; fractions of a row are cut off.
    pub fn of(self, source_rows: u64) -> u64 {
        match self {
            RowLimit::Rows(rows) => rows,
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of at most the source's rows"
            )]
            RowLimit::Percent(percent) => (source_rows as f64 * percent / 100.0) as u64,
        }
    }
}

/// The most rows one run may delete without being told so.
///
/// `max(100, 1 %)` of the live ledger rows.
pub fn delete_limit(live_rows: u64) -> u64 {
    (live_rows / 100).max(100)
}

/// Why deletions were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteRefusal {
    /// The source read no row at all, but rows had been migrated.
    EmptySource {
        /// Rows migrated so far.
        live_rows: u64,
    },
    /// Another database is read than the one that was migrated before.
    AnotherSource,
    /// More rows are gone than the limit allows.
    OverLimit {
        /// Rows that are gone.
        deleted: u64,
        /// The limit.
        limit: u64,
    },
}

/// Decides whether the deletions of one entity may be carried out.
///
/// `allowed` is the exact upper bound given with `--allow-deletes`.
pub fn check_deletes(
    counts: &DetectionCounts,
    live_rows: u64,
    allowed: Option<u64>,
) -> Option<DeleteRefusal> {
    if counts.deleted == 0 {
        return None;
    }
    match allowed {
        Some(limit) if counts.deleted <= limit => None,
        Some(limit) => Some(DeleteRefusal::OverLimit {
            deleted: counts.deleted,
            limit,
        }),
        None if counts.source_rows == counts.filtered => {
            Some(DeleteRefusal::EmptySource { live_rows })
        }
        None => {
            let limit = delete_limit(live_rows);
            (counts.deleted > limit).then_some(DeleteRefusal::OverLimit {
                deleted: counts.deleted,
                limit,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(source_rows: u64, deleted: u64) -> DetectionCounts {
        DetectionCounts {
            source_rows,
            deleted,
            ..DetectionCounts::default()
        }
    }

    #[test]
    fn a_limit_is_a_number_or_a_share() {
        assert_eq!(RowLimit::Rows(7).of(3), 7);
        assert_eq!(RowLimit::Percent(0.5).of(1_000), 5);
        assert_eq!(RowLimit::Percent(0.5).of(199), 0);
        assert_eq!(RowLimit::Percent(100.0).of(12), 12);
    }

    #[test]
    fn deletes_need_a_read_source_and_stay_below_the_limit() {
        assert_eq!(check_deletes(&counts(10, 0), 0, None), None);
        assert_eq!(check_deletes(&counts(10, 100), 500, None), None);
        assert_eq!(
            check_deletes(&counts(10, 101), 500, None),
            Some(DeleteRefusal::OverLimit {
                deleted: 101,
                limit: 100
            })
        );
        assert_eq!(
            check_deletes(&counts(0, 3), 3, None),
            Some(DeleteRefusal::EmptySource { live_rows: 3 })
        );
        assert_eq!(check_deletes(&counts(0, 3), 3, Some(3)), None);
        assert!(check_deletes(&counts(10, 4), 400, Some(3)).is_some());
    }
}
