//! Whether the demo ends as its story says; the numbers come from the fixture.

use super::difference;
use crate::cli::migrate::accounting;
use crate::domain::detection::DetectionCounts;
use crate::error::{Error, Kind, Result};
use crate::service::analyze::{Baseline, BaselineStatus};
use crate::service::migrate::MigrateReport;
use crate::service::workshop::EXPECTED_COUNTS;
use serde::Deserialize;

/// The counts over all entities after one day, at scale 1.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Totals {
    source: u32,
    filtered: u32,
    applied: u32,
    quarantined: u32,
    held: u32,
    conflicted: u32,
    new: u32,
    modified: u32,
    deleted: u32,
    mended: u32,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Day {
    total: Totals,
}

/// What the fixture promises.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Expected {
    day1: Day,
    day2: Day,
}

impl Expected {
    /// Reads the promises.
    pub fn read() -> Result<Expected> {
        toml::from_str(EXPECTED_COUNTS).map_err(|error| {
            Error::new(
                Kind::Unexpected,
                "the expected counts of the demo cannot be read",
            )
            .cause(error.to_string())
            .state("nothing was started")
        })
    }

    /// Returns what must come out on the first day, if that is known for this scale.
    pub fn day1(&self, scale: u32) -> Option<Totals> {
        (scale == 1).then_some(self.day1.total)
    }

    /// Returns what must come out on the second day, if that is known for this scale.
    pub fn day2(&self, scale: u32) -> Option<Totals> {
        (scale == 1).then_some(self.day2.total)
    }
}

/// Collects everything that is not as it should be.
pub struct Checks {
    step: &'static str,
    faults: Vec<String>,
}

impl Checks {
    /// Begins to check a step.
    pub fn new(step: &'static str) -> Checks {
        Checks {
            step,
            faults: Vec::new(),
        }
    }

    fn same(&mut self, what: &str, found: impl Into<i128>, wanted: impl Into<i128>) {
        self.faults
            .extend(difference(what, found.into(), wanted.into()));
    }

    fn all(mut self, baseline: &Baseline, wanted: BaselineStatus) -> Checks {
        for it in &baseline.entities {
            if it.status != wanted {
                let word = crate::cli::analyze::word;
                let (found, wanted) = (word(it.status), word(wanted));
                self.faults
                    .push(format!("{} is {found} instead of {wanted}", it.entity));
            }
        }
        self
    }

    /// Nothing was migrated.
    pub fn missing(self, baseline: &Baseline) -> Checks {
        self.all(baseline, BaselineStatus::Missing)
    }

    /// Everything was migrated.
    pub fn synced(self, baseline: &Baseline) -> Checks {
        self.all(baseline, BaselineStatus::Synced)
    }

    /// The changes are those of the day.
    pub fn found(mut self, found: &[DetectionCounts], expected: &Option<Totals>) -> Checks {
        if let Some(wanted) = expected {
            let sum = |part: fn(&DetectionCounts) -> u64| found.iter().map(part).sum::<u64>();
            // A mended row was never in the target, so it counts as new.
            self.same("new", sum(|it| it.new), wanted.new + wanted.mended);
            self.same("modified", sum(|it| it.modified), wanted.modified);
            self.same("deleted", sum(|it| it.deleted), wanted.deleted);
        }
        self
    }

    /// The migration found the changes of the day.
    pub fn detected(self, report: &MigrateReport, expected: &Option<Totals>) -> Checks {
        let counts: Vec<DetectionCounts> = report
            .entities
            .iter()
            .map(|it| it.detected.clone())
            .collect();
        self.found(&counts, expected)
    }

    /// Every row is where the fixture says.
    pub fn accounted(mut self, report: &MigrateReport, expected: &Option<Totals>) -> Checks {
        let found = accounting(report);
        let parts = found.applied + found.quarantined + found.held + found.conflicted;
        let known = i128::from(parts) + i128::from(found.filtered);
        self.same("accounted rows", known, found.source_rows);
        if let Some(wanted) = expected {
            self.same("source rows", found.source_rows, wanted.source);
            self.same("applied", found.applied, wanted.applied);
            self.same("quarantined", found.quarantined, wanted.quarantined);
            self.same("held", found.held, wanted.held);
            self.same("conflicted", found.conflicted, wanted.conflicted);
            self.same("filtered", found.filtered, wanted.filtered);
        }
        self
    }

    /// There was nothing to do.
    pub fn idle(mut self, report: &MigrateReport) -> Checks {
        self.same("applied", report.applied(), 0);
        self
    }

    /// Fails when anything is not as it should be.
    pub fn end(self) -> Result<()> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let what = format!("{} did not come out as it should", self.step);
        Err(Error::new(Kind::Unexpected, what)
            .cause(self.faults.join("\n"))
            .state("the throw-away servers were removed")
            .next("report this as a defect"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_totals_are_read_from_the_fixture() {
        let expected = Expected::read().unwrap();
        let day1 = expected.day1(1).unwrap();
        assert_eq!(
            day1.source,
            day1.applied + day1.quarantined + day1.held + day1.conflicted + day1.filtered
        );
        assert!(expected.day2(2).is_none());
    }

    #[test]
    fn one_wrong_number_fails_the_demo() {
        let expected = Expected::read().unwrap().day2(1);
        let wanted = expected.unwrap();
        let mut counts = DetectionCounts {
            new: u64::from(wanted.new + wanted.mended),
            modified: u64::from(wanted.modified),
            deleted: u64::from(wanted.deleted),
            ..DetectionCounts::default()
        };
        let check = |it: &DetectionCounts| {
            let checks = Checks::new("a test").found(std::slice::from_ref(it), &expected);
            checks.end()
        };
        assert!(check(&counts).is_ok());
        counts.deleted += 1;
        let error = check(&counts).unwrap_err();
        assert_eq!(error.kind().exit_code(), 1);
        assert_eq!(error.cause_text(), Some("deleted: 60 instead of 59"));
    }
}
