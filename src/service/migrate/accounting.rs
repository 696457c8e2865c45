//! What a session did, and the proof that no row was forgotten.

use crate::db::control::batch::BatchCounts;
use crate::db::control::detection::LedgerCounts;
use crate::domain::detection::DetectionCounts;
use crate::error::{Error, Kind, Result};
use serde::Serialize;
use uuid::Uuid;

/// The outcome of one entity.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntityReport {
    /// The entity.
    pub entity: String,
    /// What the detection found.
    pub detected: DetectionCounts,
    /// What the batches of this session did.
    pub batches: BatchCounts,
    /// What the ledger says of all its rows afterwards.
    pub ledger: LedgerCounts,
    /// Rows that were detected, but gone when they were read again.
    pub vanished: u64,
    /// Rows that came into a detected run of new keys before it was read again, and were applied with it.
    pub appeared: u64,
}

/// The outcome of a session.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrateReport {
    /// The session.
    pub session_id: Uuid,
    /// The detection that was applied.
    pub detection_id: Uuid,
    /// `completed` or `completed_with_rejects`.
    pub state: String,
    /// The entities in mapping order.
    pub entities: Vec<EntityReport>,
    /// Seconds from start to end.
    pub elapsed_secs: f64,
}

impl MigrateReport {
    /// Returns how many rows were written: inserted, updated or retired.
    pub fn applied(&self) -> i64 {
        let written =
            |it: &EntityReport| it.batches.inserted + it.batches.updated + it.batches.retired;
        self.entities.iter().map(written).sum()
    }

    /// Returns how many rows are set aside, quarantined, held or conflicted, and were not waived.
    pub fn set_aside(&self) -> i64 {
        self.entities.iter().map(|it| it.ledger.set_aside()).sum()
    }

    /// Returns how many rows stay out because an operator accepts it.
    pub fn waived(&self) -> i64 {
        self.entities.iter().map(|it| it.ledger.waived).sum()
    }

    /// Returns rows per second over all batches.
    pub fn rate(&self) -> f64 {
        let rows: i64 = self.entities.iter().map(|it| it.batches.rows_in).sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rows = rows as f64;
        if self.elapsed_secs > 0.0 {
            rows / self.elapsed_secs
        } else {
            0.0
        }
    }
}

/// Checks that every source row of an entity is accounted for:
/// `source = filtered + applied + quarantined + held + conflicted`.
///
/// Rows that vanished between detection and application are left to the next run and make up the difference.
///
/// # Errors
/// A row was lost or counted twice; that is a defect and never passes in silence.
pub fn check(report: &EntityReport) -> Result<()> {
    let ledger = &report.ledger;
    let known = ledger.applied + ledger.quarantined + ledger.held + ledger.conflicted;
    let passing =
        i64::try_from(report.detected.source_rows - report.detected.filtered).unwrap_or(i64::MAX);
    let vanished = i64::try_from(report.vanished).unwrap_or(i64::MAX);
    let appeared = i64::try_from(report.appeared).unwrap_or(i64::MAX);
    if known <= passing.saturating_add(appeared) && known.saturating_add(vanished) >= passing {
        return Ok(());
    }
    Err(Error::new(Kind::Unexpected, format!("the rows of {} do not add up", report.entity))
        .cause(format!(
            "{passing} source rows pass the mapping, the ledger accounts for {known}, {vanished} vanished meanwhile"
        ))
        .state("every finished batch is committed")
        .next("run diffmig detect; report this as a defect if it stays"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(source_rows: u64, applied: i64, held: i64, vanished: u64) -> EntityReport {
        EntityReport {
            entity: "clients".into(),
            detected: DetectionCounts {
                source_rows,
                filtered: 2,
                ..DetectionCounts::default()
            },
            batches: BatchCounts::default(),
            ledger: LedgerCounts {
                applied,
                held,
                ..LedgerCounts::default()
            },
            vanished,
            appeared: 0,
        }
    }

    #[test]
    fn waived_rows_are_accounted_for_but_need_nobody() {
        let mut waived = report(10, 7, 1, 0);
        waived.ledger.waived = 1;
        assert!(check(&waived).is_ok());
        assert_eq!(waived.ledger.set_aside(), 0);
    }

    #[test]
    fn a_lost_row_is_noticed() {
        assert!(check(&report(10, 7, 1, 0)).is_ok());
        assert!(check(&report(10, 7, 0, 0)).is_err());
        assert!(check(&report(10, 7, 0, 1)).is_ok());
        assert!(check(&report(10, 8, 1, 0)).is_err());
    }
}
