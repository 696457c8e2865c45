//! A first load: batches are copied straight into target and ledger, without a stage.
//!
//! One transaction writes the rows, their ledger and the batch, as everywhere. Only the order differs: the
//! lease is proven last, so that no COPY keeps it locked. Whatever the target refuses, the batch is rolled
//! back and goes through the stage instead, where refused rows are looked for.

use super::batch::{BatchEnd, BatchWorker, Done};
use super::entity::Session;
use super::reader::Batch;
use crate::db::Connection;
use crate::db::control::adopt::has_adopted;
use crate::db::control::batch::{self, Attempt, BatchCounts, Mark};
use crate::db::control::lease::fence;
use crate::db::direct::{self, Chunk};
use crate::db::statement::direct::DirectStatements;
use crate::domain::direct::{DirectRows, DirectWriter, Stamp};
use crate::domain::resolve::ResolvedEntity;
use crate::domain::tuple::{HEADER, TRAILER};
use crate::error::Result;
use std::time::Instant;
use uuid::Uuid;

/// After so many refused batches more than accepted ones, the rest goes through the stage at once.
const PATIENCE: i32 = 3;

/// About how many bytes of target rows are sent at a time.
const CHUNK_BYTES: usize = 128 * 1024;
/// About how many bytes a row of a ledger takes.
const LEDGER_BYTES: usize = 80;

/// The direct way into one target table.
pub(crate) struct DirectLoad {
    rows: DirectRows,
    statements: DirectStatements,
    installation_id: Uuid,
    patience: i32,
}

impl DirectLoad {
    /// Looks whether the way is open: for the mapping, and in the target as it is now.
    pub async fn open(
        session: &Session<'_>,
        entity: &ResolvedEntity,
        connection: &mut Connection,
    ) -> Result<Option<DirectLoad>> {
        let context = session.context;
        let table = context.catalogs.1.table(&entity.target);
        let rows = table.and_then(|it| DirectRows::of(entity, it, &context.entities));
        let Some(rows) = rows else { return Ok(None) };
        // Rows may be there already.
        if !entity.adoption.natural_key.is_empty() {
            return Ok(None);
        }
        // The ids of adopted parents are not those that are computed from their keys.
        let parents: Vec<&str> = entity.parents().into_iter().collect();
        if !parents.is_empty() && has_adopted(connection, &parents).await? {
            return Ok(None);
        }
        if !direct::admits(connection, &entity.target, &entity.id_column).await? {
            return Ok(None);
        }
        for reference in &rows.references {
            if !direct::proves(connection, &entity.target, reference).await? {
                return Ok(None);
            }
        }
        Ok(Some(DirectLoad {
            statements: DirectStatements::new(entity, &rows),
            rows,
            installation_id: session.installation_id,
            patience: PATIENCE,
        }))
    }

    /// Loads a batch; `None` when it has to go through the stage.
    pub async fn apply(
        &mut self,
        worker: &mut BatchWorker,
        connection: &mut Connection,
        packed: &Batch,
    ) -> Result<Option<BatchEnd>> {
        if self.patience == 0 || worker.revisits {
            return Ok(None);
        }
        let began = Instant::now();
        if !self.load(worker, connection, packed).await? {
            batch::mark(connection, Mark::RollBack).await?;
            self.patience -= 1;
            return Ok(None);
        }
        self.patience = (self.patience + 1).min(PATIENCE);
        let signal = fence(connection, worker.epoch).await?;
        let rows = i64::try_from(packed.row_count).unwrap_or(i64::MAX);
        let counts = BatchCounts {
            rows_in: rows,
            inserted: rows,
            ..BatchCounts::default()
        };
        let done = Done {
            counts,
            ledger_rows: rows,
            last_key: Some(&packed.last_key),
        };
        let number = worker.commit(connection, &done, began).await?;
        Ok(Some(BatchEnd {
            counts,
            signal,
            number,
        }))
    }

    /// Writes the rows and their ledger in a new transaction; `false` when they did not all arrive.
    async fn load(
        &self,
        worker: &BatchWorker,
        connection: &mut Connection,
        packed: &Batch,
    ) -> Result<bool> {
        let stamp = Stamp {
            installation_id: self.installation_id,
            xid: direct::begin(connection).await?,
            session_number: worker.writer.session_number,
        };
        let mut staged = packed.tuples();
        let mut ledger = Vec::with_capacity(packed.row_count * LEDGER_BYTES);
        let mut writer = DirectWriter::new(&self.rows, stamp);
        let mut is_first = true;
        let statement = &self.statements.copy_target;
        let target = direct::copy(connection, statement, |chunk| {
            if std::mem::take(&mut is_first) {
                chunk.extend_from_slice(HEADER);
            }
            if !writer.write(&mut staged, CHUNK_BYTES, chunk, &mut ledger) {
                return Chunk::Unfit;
            }
            if !staged.is_empty() {
                return Chunk::More;
            }
            chunk.extend_from_slice(TRAILER);
            Chunk::Last
        });
        // A trigger that was made meanwhile may have swallowed some.
        let all = u64::try_from(packed.row_count).ok();
        if target.await? != all {
            return Ok(false);
        }
        let statement = &self.statements.copy_ledger;
        let recorded = direct::copy(connection, statement, |chunk| {
            chunk.extend_from_slice(HEADER);
            chunk.append(&mut ledger);
            chunk.extend_from_slice(TRAILER);
            Chunk::Last
        });
        if recorded.await? != all {
            return Ok(false);
        }
        let arrived = batch::settle_constraints(connection).await?;
        Ok(!matches!(
            arrived,
            Some(Attempt::Refused(_) | Attempt::Transient(_))
        ))
    }
}
