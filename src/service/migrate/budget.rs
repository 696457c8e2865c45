//! How many rows may be quarantined before the session stops.

use super::entity::Session;
use crate::db::control::quarantine::{Choice, counts};
use crate::db::server::Connection;
use crate::domain::quarantine::QuarantineStatus;
use crate::error::{Error, Kind, Result};

/// A limit for all quarantined rows of the chosen entities, those of earlier sessions included: otherwise
/// running the same command again would lift it.
#[derive(Debug, Clone)]
pub(crate) struct QuarantineBudget {
    pub entities: Vec<String>,
    pub rows: u64,
}

impl Session<'_> {
    /// Counts the quarantined rows when there is a budget.
    ///
    /// # Errors
    /// More rows than the budget are quarantined and not waived (exit 14).
    pub async fn check_budget(&self, connection: &mut Connection) -> Result<()> {
        let Some(budget) = &self.budget else {
            return Ok(());
        };
        let open = Choice {
            statuses: &[QuarantineStatus::Open],
            entity: None,
            reason: None,
            keys: None,
        };
        let found = counts(connection, &open).await?.into_iter();
        let ours = found.filter(|(entity, _)| budget.entities.contains(entity));
        let rows: u64 = ours.map(|(_, rows)| u64::try_from(rows).unwrap_or(0)).sum();
        if rows <= budget.rows {
            return Ok(());
        }
        let limit = budget.rows;
        Err(Error::new(
            Kind::Guard,
            format!(
                "{rows} rows are quarantined, more than the {limit} that --max-quarantine allows"
            ),
        )
        .state("every finished batch is committed")
        .next("diffmig quarantine list --summary says why; mend or waive them, or raise the limit"))
    }
}
