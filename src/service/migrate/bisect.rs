//! Finds the rows that the target refuses, by halving a batch inside savepoints.
//!
//! The search runs in a transaction that is rolled back: it only marks the bad rows in the stage table.
//! The batch is then applied again as a whole, so that good rows, ledger and quarantine are still written
//! by one transaction at its top level, where the row's `xmin` is the transaction's.

use super::batch::{BatchWorker, Load};
use crate::db::control::batch::{self, Attempt, Mark};
use crate::db::control::lease::begin_fenced;
use crate::db::failure::Refusal;
use crate::db::server::Connection;
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// From how many bad rows on a common cause is looked for.
const MANY: usize = 20;

/// A row that the target refuses by itself.
pub(super) struct BadRow {
    pub ordinal: usize,
    pub refusal: Refusal,
}

/// Says that no single row explains the refusal.
pub(crate) fn systemic(entity: &str, refusal: &Refusal) -> Error {
    let place = refusal
        .place
        .as_ref()
        .map(|place| format!(" ({place})"))
        .unwrap_or_default();
    Error::new(
        Kind::Drift,
        format!("the target refuses rows of {entity} as a whole"),
    )
    .cause(format!(
        "{}{place}, SQLSTATE {}",
        refusal.reason, refusal.sqlstate
    ))
    .state("the open batch was rolled back; every earlier batch is committed")
    .next("mend the cause in the target or the mapping, then run the same command again")
}

/// What a search ended with.
pub(crate) enum Found {
    /// Bad rows, which are marked now.
    Marked,
    /// No row is bad by itself: these ranges can go one after the other, though not in one statement.
    GoodApart(Vec<(usize, usize)>),
    /// Something got in the way; the batch is worth another try.
    Transient(Error),
}

/// Searches the staged rows and marks the bad ones.
///
/// # Errors
/// The rows have one cause in common, or the search cannot go on.
pub(crate) async fn find_bad_rows(
    worker: &BatchWorker,
    connection: &mut Connection,
    load: &mut Load,
) -> Result<Found> {
    begin_fenced(connection, worker.epoch).await?;
    let (mut bad, mut good) = (Vec::new(), Vec::new());
    let whole = [(0, load.row_count().saturating_sub(1))];
    let disturbed = search(worker, connection, load, &whole, &mut bad, &mut good).await?;
    batch::mark(connection, Mark::RollBack).await?;
    if let Some(error) = disturbed {
        return Ok(Found::Transient(error));
    }
    if bad.is_empty() {
        return Ok(Found::GoodApart(good));
    }
    mark_all(worker, connection, load, &bad).await?;
    Ok(Found::Marked)
}

/// Marks the bad rows, unless they are so many that the cause is another one.
pub(super) async fn mark_all(
    worker: &BatchWorker,
    connection: &mut Connection,
    load: &mut Load,
    bad: &[BadRow],
) -> Result<()> {
    refuse_common_cause(&worker.entity, load.row_count(), bad)?;
    for row in bad {
        worker
            .mark_bad(connection, load, row.ordinal, &row.refusal)
            .await?;
    }
    Ok(())
}

/// Halves depth first and from the lowest key on, so that of rows that exclude each other the first one stays.
///
/// Returns a transient error that ended it early.
pub(super) async fn search(
    worker: &BatchWorker,
    connection: &mut Connection,
    load: &Load,
    ranges: &[(usize, usize)],
    bad: &mut Vec<BadRow>,
    good: &mut Vec<(usize, usize)>,
) -> Result<Option<Error>> {
    let mut open: Vec<(usize, usize)> = ranges.iter().rev().copied().collect();
    while let Some((first, last)) = open.pop() {
        batch::mark(connection, Mark::Savepoint).await?;
        match worker.attempt(connection, load, first, last).await? {
            Attempt::Applied { .. } => {
                batch::mark(connection, Mark::Release).await?;
                good.push((first, last));
            }
            Attempt::Transient(error) => return Ok(Some(error)),
            Attempt::Refused(refusal) => {
                batch::mark(connection, Mark::RollBackTo).await?;
                if first == last {
                    bad.push(BadRow {
                        ordinal: first,
                        refusal,
                    });
                } else {
                    let middle = first + (last - first) / 2;
                    open.push((middle + 1, last));
                    open.push((first, middle));
                }
            }
        }
    }
    Ok(None)
}

/// One cause for more than nine rows of ten is not a matter of rows.
fn refuse_common_cause(entity: &str, row_count: usize, bad: &[BadRow]) -> Result<()> {
    if bad.len() < MANY || bad.len() * 10 <= row_count * 9 {
        return Ok(());
    }
    let mut causes: BTreeMap<(&str, Option<&str>), usize> = BTreeMap::new();
    for row in bad {
        let cause = (row.refusal.sqlstate.as_str(), row.refusal.place.as_deref());
        *causes.entry(cause).or_default() += 1;
    }
    let common = causes.values().any(|count| count * 10 > row_count * 9);
    if common {
        Err(systemic(entity, &bad[0].refusal))
    } else {
        Ok(())
    }
}
