//! Findings of one side, and looks that did not come to their end.

use crate::domain::connection::Side;
use crate::domain::doctor::{Finding, code};
use crate::error::{Error, Kind, Result};
use std::time::Duration;

/// How much later than the server we give a look up; some are of several statements.
const GRACE: Duration = Duration::from_secs(60);

/// Waits for an answer as long as a look may take, and a little longer.
pub(super) async fn within<T>(
    limit: Duration,
    side: Side,
    look: impl Future<Output = Result<T>>,
) -> Result<T> {
    if limit.is_zero() {
        return look.await;
    }
    let answered = tokio::time::timeout(limit + GRACE, look).await;
    answered.unwrap_or_else(|_| {
        let what = format!("{}: the server stopped answering", side.word());
        Err(Error::new(Kind::Connect, what))
    })
}

/// What was found so far.
#[derive(Debug)]
pub(super) struct Notebook {
    pub findings: Vec<Finding>,
    limit: Duration,
    lost: bool,
}

impl Notebook {
    pub fn new(limit: Duration) -> Notebook {
        Notebook {
            findings: Vec::new(),
            limit,
            lost: false,
        }
    }

    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Takes a look that is bounded here as well: the server may be gone.
    pub async fn look<T>(
        &mut self,
        side: Side,
        what: &str,
        look: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        let seen = self.wait(side, look).await;
        self.keep(side, what, seen)
    }

    /// Waits for an answer as long as a look may take, and a little longer.
    pub async fn wait<T>(&self, side: Side, look: impl Future<Output = Result<T>>) -> Result<T> {
        within(self.limit, side, look).await
    }

    /// Returns what was seen, or notes why nothing was.
    pub fn keep<T>(&mut self, side: Side, what: &str, seen: Result<T>) -> Option<T> {
        let error = match seen {
            Ok(seen) => return Some(seen),
            Err(error) => error,
        };
        if error.kind() == Kind::Connect {
            if !self.lost {
                self.add(Finding::of_error(code::UNREACHABLE, side, &error));
            }
            self.lost = true;
            return None;
        }
        self.add(self.not_looked_at(side, what, &error));
        None
    }

    fn not_looked_at(&self, side: Side, what: &str, error: &Error) -> Finding {
        let cause = error.cause_text().unwrap_or_default();
        let was_cancelled = cause.ends_with("SQLSTATE 57014");
        if was_cancelled {
            let secs = self.limit.as_secs_f64();
            let found = format!("{what}: the look took longer than {secs} s and was given up");
            return Finding::new(code::NOT_LOOKED_AT, side, found)
                .mended_by("diffmig doctor --timeout 5m");
        }
        let found = format!("{what}: {}", error.what());
        let found = match cause.is_empty() {
            true => found,
            false => format!("{found}: {cause}"),
        };
        let mut finding = Finding::new(code::NOT_LOOKED_AT, side, found);
        finding.kind = error.kind();
        finding
    }
}
