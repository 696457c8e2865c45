//! Looks closer at target rows that seem edited: another `xmin` alone is no edit.
//!
//! A restored dump, a rewritten table or a change of a column that the target owns moves the `xmin` and
//! leaves what diffmig wrote. The content that is mapped is read back and hashed the way the source's rows are.

use super::batch::{BatchWorker, Load};
use crate::db::TupleStream;
use crate::db::control::batch::{self, Mark};
use crate::db::control::lease;
use crate::db::server::Connection;
use crate::db::statement::content::ContentStatements;
use crate::domain::canonical::{CanonicalRow, RowShape};
use crate::domain::connection::Side;
use crate::domain::tuple::Tuple;
use crate::error::{Error, Kind, Result};
use std::collections::BTreeSet;

/// So many rows are noted by one statement.
const NOTED_TOGETHER: usize = 10_000;

/// A row of a load whose target row holds what was applied last.
struct Untouched {
    ordinal: usize,
    xmin: u32,
}

/// Notes the rows of a load that only seem edited; the next attempt takes them as they are, as long as
/// their `xmin` does not move again.
///
/// # Errors
/// The target cannot be read.
pub(crate) async fn note_untouched(
    worker: &BatchWorker,
    connection: &mut Connection,
    load: &mut Load,
) -> Result<()> {
    // Suspects can be many, and their parents' ledgers large: here the planner may choose any join.
    lease::begin_fenced(connection, worker.epoch).await?;
    batch::free_planner(connection).await?;
    let untouched = find(worker, connection, load).await?;
    batch::mark(connection, Mark::RollBack).await?;
    match load {
        Load::Staged { .. } => {
            let rows: Vec<(usize, u32)> =
                untouched.iter().map(|it| (it.ordinal, it.xmin)).collect();
            for rows in rows.chunks(NOTED_TOGETHER) {
                let note = worker.statements.note_seen(rows);
                batch::run(connection, "noting untouched rows", &note).await?;
            }
            Ok(())
        }
        Load::Doomed(doomed) => {
            for it in untouched {
                if let Some(row) = doomed.get_mut(it.ordinal) {
                    row.seen = Some(it.xmin);
                }
            }
            Ok(())
        }
    }
}

/// Finds the rows that hold what was applied last, by the rules of today or by those that applied it.
async fn find(
    worker: &BatchWorker,
    connection: &mut Connection,
    load: &Load,
) -> Result<Vec<Untouched>> {
    let mut untouched = read(worker, &worker.content, &worker.shape, connection, load).await?;
    if let Some((content, shape)) = &worker.former {
        let before = read(worker, content, shape, connection, load).await?;
        let known: BTreeSet<usize> = untouched.iter().map(|it| it.ordinal).collect();
        let others = before.into_iter();
        untouched.extend(others.filter(|it| !known.contains(&it.ordinal)));
    }
    Ok(untouched)
}

async fn read(
    worker: &BatchWorker,
    content: &ContentStatements,
    shape: &RowShape,
    connection: &mut Connection,
    load: &Load,
) -> Result<Vec<Untouched>> {
    let statement = worker.suspects(content, load)?;
    let what = format!("the target rows of {}", worker.entity);
    let mut rows = TupleStream::open(Side::Target, connection, &statement, what).await?;
    let fields = shape.total_fields();
    let mut row = CanonicalRow::new(shape.clone());
    let mut untouched = Vec::new();
    while let Some(tuple) = rows.next().await? {
        let extra = extra_fields(tuple, fields);
        let read = row.read(tuple);
        let (Some((found, applied)), Ok(())) = (extra, read) else {
            let what = format!("a target row of {} cannot be read back", worker.entity);
            return Err(Error::new(Kind::Unexpected, what));
        };
        if *row.hash() == applied {
            untouched.push(found);
        }
    }
    Ok(untouched)
}

/// Reads ordinal, `xmin` and the hash that was applied last.
fn extra_fields(tuple: Tuple<'_>, skipped: usize) -> Option<(Untouched, [u8; 16])> {
    let mut fields = tuple
        .fields()
        .skip(skipped)
        .map(|field| field.ok().flatten());
    let ordinal = i32::from_be_bytes(fields.next()??.try_into().ok()?);
    let xmin = u32::from_be_bytes(fields.next()??.try_into().ok()?);
    let applied = fields.next()??.try_into().ok()?;
    let found = Untouched {
        ordinal: usize::try_from(ordinal).ok()?,
        xmin,
    };
    Some((found, applied))
}
