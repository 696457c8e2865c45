//! How much of a source must be read: what is known from the last complete pass, and whether it still holds.

use super::catalog::DatabaseIdentity;
use super::detection::DetectMode;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Into how many slices the keys of a small entity are cut; `auto` reads one of them in full with each run.
pub const FEWEST_SLICES: u64 = 7;
/// Into how many slices the keys of a large entity are cut: a full read of one of four weeks' nights.
pub const MOST_SLICES: u64 = 28;
/// From how many rows on a slice gets smaller than a seventh.
const SLICE_ROWS: u64 = 25_000;
/// Below so many rows a full read costs no more than thinking about it.
pub const FEW_ROWS: i64 = 1_000;
/// How far a horizon may lie back, in transactions; comparison by age is ambiguous from 2^31 on.
pub const HORIZON_LIMIT: i64 = 1_500_000_000;
/// How far before its watermark timestamp mode reads, in seconds, unless the mapping says otherwise.
pub const OVERLAP_SECS: i64 = 900;

/// What must be the same for a horizon and a row hash to mean what they meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ground {
    /// The database.
    pub identity: DatabaseIdentity,
    /// `server_version_num`.
    pub server_version: i32,
    /// The server's timeline; it changes with every restore and fail-over.
    pub timeline: String,
    /// A digest of the tables: oids, columns, enum labels, partitions.
    pub shape: String,
    /// A digest of the entity's projection.
    pub projection: String,
}

/// Returns into how many slices an entity of so many rows is cut for the rolling check.
pub fn slices(rows: u64) -> u64 {
    (rows / SLICE_ROWS).clamp(FEWEST_SLICES, MOST_SLICES)
}

impl Ground {
    /// Returns the digest of a projection.
    pub fn digest(projection: &str) -> String {
        let hash = blake3::hash(projection.as_bytes()).to_hex();
        hash[..32].to_owned()
    }

    /// Says what differs from an earlier ground.
    fn change_since(&self, before: &Ground) -> Option<&'static str> {
        if self.identity != before.identity {
            Some("the source is another database")
        } else if self.server_version != before.server_version {
            Some("the source server has another version")
        } else if self.timeline != before.timeline {
            Some("the source server was restored or failed over")
        } else if self.shape != before.shape {
            Some("the source tables were changed")
        } else if self.projection != before.projection {
            Some("the mapping of the entity was changed")
        } else {
            None
        }
    }
}

/// Up to where an entity's changes are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watermark {
    /// The oldest transaction that was running at the snapshot, with its epoch.
    pub horizon: i64,
    /// The source's clock at the snapshot.
    pub seen_at: DateTime<Utc>,
    /// What it stands on.
    pub ground: Ground,
    /// Rows of each joined or watched table at the snapshot.
    pub watched_rows: BTreeMap<String, u64>,
    /// Which slice was read in full last.
    pub slice: i32,
    /// The keys that part the slices, when they are known.
    pub slice_keys: Option<Vec<Value>>,
    /// Why the shortcut is not taken any more.
    pub distrust: Option<String>,
}

/// What a pass finds on the source before it reads an entity.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The ground as it is now.
    pub ground: Ground,
    /// The next transaction that the source will number.
    pub next_xid: i64,
    /// Why rows cannot be chosen by the transaction that wrote them.
    pub no_xmin: Option<&'static str>,
    /// Whether the mapping names a column that tells when a row was changed.
    pub has_updated_at: bool,
    /// How many rows the ledger has, as of the watermark.
    pub ledger_rows: i64,
}

/// How an entity is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadMode {
    /// Every row.
    #[default]
    Full,
    /// Rows that were written since the watermark.
    Xmin,
    /// Rows whose `updated_at` is not before the watermark.
    Timestamp,
}

impl ReadMode {
    /// Returns the stored word.
    pub fn word(self) -> &'static str {
        match self {
            ReadMode::Full => "full",
            ReadMode::Xmin => "xmin",
            ReadMode::Timestamp => "timestamp",
        }
    }

    /// Reads the stored word.
    pub fn from_word(word: &str) -> Option<ReadMode> {
        [ReadMode::Full, ReadMode::Xmin, ReadMode::Timestamp]
            .into_iter()
            .find(|mode| mode.word() == word)
    }
}

/// The choice of a mode, with its reason.
pub type Choice = (ReadMode, String);

/// Chooses how an entity is read; whatever is in doubt is read in full.
pub fn choose(wish: DetectMode, now: &Standing, before: Option<&Watermark>) -> Choice {
    let full = |reason: &str| (ReadMode::Full, reason.to_owned());
    if wish == DetectMode::Full {
        return full("it was asked for");
    }
    let Some(before) = before else {
        return full("there is no watermark yet: no run has applied this entity to its end");
    };
    if let Some(change) = now.ground.change_since(&before.ground) {
        return full(change);
    }
    if before.horizon > now.next_xid {
        return full("the source is older than the last run: restored, or a standby that lags");
    }
    if wish == DetectMode::Auto {
        if let Some(distrust) = &before.distrust {
            return full(distrust);
        }
        if now.ledger_rows < FEW_ROWS {
            return full("it has few rows");
        }
    }
    let by_time = now.has_updated_at && wish != DetectMode::Xmin;
    if by_time && wish == DetectMode::Timestamp {
        return (ReadMode::Timestamp, "it was asked for".to_owned());
    }
    if wish == DetectMode::Timestamp {
        return full("the mapping names no `updated_at` of this entity");
    }
    let refusal = now.no_xmin.or_else(|| {
        let age = now.next_xid - before.horizon;
        (age >= HORIZON_LIMIT).then_some("the watermark is 1.5 billion transactions old")
    });
    match refusal {
        None => {
            let reason = match wish {
                DetectMode::Xmin => "it was asked for",
                _ => "every change since the watermark shows in xmin",
            };
            (ReadMode::Xmin, reason.to_owned())
        }
        Some(refusal) if by_time => (ReadMode::Timestamp, refusal.to_owned()),
        Some(refusal) => full(refusal),
    }
}

/// Returns from when on timestamp mode reads.
pub fn lower_bound(seen_at: DateTime<Utc>, overlap_secs: i64) -> DateTime<Utc> {
    let overlap = TimeDelta::try_seconds(overlap_secs).unwrap_or_default();
    seen_at.checked_sub_signed(overlap).unwrap_or(seen_at)
}

/// Says what a mode can miss; `None` when it misses nothing.
pub fn could_miss(mode: ReadMode, overlap_secs: i64, since: bool) -> Option<String> {
    if since {
        return Some("deletions, and whatever was changed before the given moment".to_owned());
    }
    (mode == ReadMode::Timestamp).then(|| {
        format!(
            "changes that do not touch the `updated_at` column, and those of transactions \
             that were open for more than {overlap_secs} s before they were committed"
        )
    })
}

/// Counts deletions without looking for them: what was known, plus what came, less what is there.
///
/// `None` when the counts contradict each other.
pub fn deletions(live_rows: u64, arrived: u64, passing: u64) -> Option<u64> {
    live_rows.checked_add(arrived)?.checked_sub(passing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> Ground {
        Ground {
            identity: DatabaseIdentity {
                system_identifier: "7".into(),
                database_oid: 5,
                database: "shop".into(),
            },
            server_version: 150_004,
            timeline: "00000001".into(),
            shape: "s".into(),
            projection: "p".into(),
        }
    }

    fn standing() -> Standing {
        Standing {
            ground: ground(),
            next_xid: 2_000,
            no_xmin: None,
            has_updated_at: false,
            ledger_rows: 50_000,
        }
    }

    fn watermark() -> Watermark {
        Watermark {
            horizon: 1_000,
            seen_at: Utc::now(),
            ground: ground(),
            watched_rows: BTreeMap::new(),
            slice: 0,
            slice_keys: None,
            distrust: None,
        }
    }

    fn mode(wish: DetectMode, now: &Standing, before: &Watermark) -> ReadMode {
        choose(wish, now, Some(before)).0
    }

    #[test]
    fn the_shortcut_needs_a_watermark_on_the_same_ground() {
        let now = standing();
        assert_eq!(mode(DetectMode::Auto, &now, &watermark()), ReadMode::Xmin);
        assert_eq!(choose(DetectMode::Auto, &now, None).0, ReadMode::Full);
        let changes: [fn(&mut Ground); 5] = [
            |it| it.identity.database_oid = 6,
            |it| it.server_version = 160_000,
            |it| it.timeline = "00000002".into(),
            |it| it.shape = "t".into(),
            |it| it.projection = "q".into(),
        ];
        let mut reasons = Vec::new();
        for change in changes {
            let mut now = standing();
            change(&mut now.ground);
            for wish in [DetectMode::Auto, DetectMode::Xmin, DetectMode::Timestamp] {
                let (mode, reason) = choose(wish, &now, Some(&watermark()));
                assert_eq!(mode, ReadMode::Full);
                reasons.push(reason);
            }
        }
        reasons.dedup();
        assert_eq!(reasons.len(), 5);
    }

    #[test]
    fn a_horizon_may_be_neither_too_old_nor_in_the_future() {
        let mut now = standing();
        now.next_xid = 1_000 + HORIZON_LIMIT;
        assert_eq!(mode(DetectMode::Xmin, &now, &watermark()), ReadMode::Full);
        now.has_updated_at = true;
        assert_eq!(
            mode(DetectMode::Auto, &now, &watermark()),
            ReadMode::Timestamp
        );
        now.next_xid = 999;
        assert_eq!(mode(DetectMode::Auto, &now, &watermark()), ReadMode::Full);
    }

    #[test]
    fn distrust_binds_auto_but_not_who_asks_for_a_mode() {
        let mut before = watermark();
        before.distrust = Some("the rolling check found a change".into());
        assert_eq!(mode(DetectMode::Auto, &standing(), &before), ReadMode::Full);
        assert_eq!(mode(DetectMode::Xmin, &standing(), &before), ReadMode::Xmin);
    }

    #[test]
    fn timestamps_are_the_second_choice() {
        let mut now = standing();
        now.has_updated_at = true;
        assert_eq!(mode(DetectMode::Auto, &now, &watermark()), ReadMode::Xmin);
        now.no_xmin = Some("it is a view");
        assert_eq!(
            mode(DetectMode::Auto, &now, &watermark()),
            ReadMode::Timestamp
        );
        assert_eq!(mode(DetectMode::Xmin, &now, &watermark()), ReadMode::Full);
        now.has_updated_at = false;
        assert_eq!(
            mode(DetectMode::Timestamp, &now, &watermark()),
            ReadMode::Full
        );
    }

    #[test]
    fn deletions_are_what_does_not_add_up() {
        assert_eq!(deletions(10, 2, 12), Some(0));
        assert_eq!(deletions(10, 2, 9), Some(3));
        assert_eq!(deletions(10, 0, 11), None);
    }
}
