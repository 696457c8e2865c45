//! A lane: rows are read from the source and applied, batch after batch, on connections of its own.

use super::batch::{BatchEnd, BatchWorker, Load};
use super::direct::DirectLoad;
use super::entity::{Session, unreadable};
use super::hands::{Hands, reader};
use super::reader::{Batch, Packer};
use super::tally::Tally;
use crate::db::standing::{Planner, plan};
use crate::db::statement::Statement;
use crate::db::statement::source::SourceStatements;
use crate::domain::connection::Side;
use crate::domain::key::Key;
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Kind, Result};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc::channel;

/// So many bytes of batches may wait until the whole entity is loaded.
const LATE_BYTES: usize = 4 * 1024 * 1024;

/// Batches of a first load that have to go through the stage. They wait for the end of the load, because the
/// stage needs the ledger's key, and a key that is there from the start makes the load slower.
#[derive(Debug, Default)]
pub(super) struct Late(Mutex<Vec<Batch>>);

impl Late {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a batch, or gives it back when too many wait.
    fn keep(&self, batch: Batch) -> Option<Batch> {
        let mut kept = self.lock();
        let bytes: usize = kept.iter().map(|it| it.buffer.len()).sum();
        if bytes + batch.buffer.len() > LATE_BYTES {
            return Some(batch);
        }
        kept.push(batch);
        None
    }

    /// Takes what waits.
    pub fn take(&self) -> Vec<Batch> {
        std::mem::take(&mut *self.lock())
    }
}

/// One lane of an entity.
pub(super) struct Lane<'l> {
    pub session: &'l Session<'l>,
    pub entity: &'l ResolvedEntity,
    pub statements: &'l SourceStatements,
    pub worker: &'l mut BatchWorker,
    pub hands: &'l mut Hands,
    pub tally: &'l Tally,
    pub batch_size: usize,
    /// The way past the stage, while a run of new rows is loaded.
    pub direct: Option<DirectLoad>,
    /// Where batches wait that cannot go that way.
    pub late: Option<&'l Late>,
    /// What is gathered instead of being applied.
    pub gathered: Option<&'l mut Load>,
}

impl Lane<'_> {
    /// Reads the rows of a list of keys and applies them; returns how many there were.
    pub async fn apply_keys(&mut self, keys: &[Key]) -> Result<u64> {
        if keys.is_empty() {
            return Ok(0);
        }
        let statement = self
            .statements
            .keys(keys)
            .map_err(unreadable(&self.entity.name))?;
        let read = self.apply_rows(&statement, Planner::ByKey).await?;
        self.tally.found(keys.len() as u64, read);
        Ok(read)
    }

    /// Streams rows from the source into batches; reading runs ahead of applying by one batch. Returns how
    /// many rows were read.
    pub async fn apply_rows(&mut self, statement: &Statement, planner: Planner) -> Result<u64> {
        let packer = Packer {
            entity: self.entity.clone(),
            installation_id: self.session.installation_id,
            batch_size: self.batch_size,
            sorts_out: self.direct.is_some(),
            gathers_from: self.gathered.as_ref().map(|it| it.row_count()),
        };
        let mut source = reader(self.hands, self.session).await?;
        let statement = statement.clone();
        let (send, mut receive) = channel::<Batch>(1);
        let reading = tokio::spawn(async move {
            plan(Side::Source, &mut source, planner).await?;
            let read = packer.pack(&mut source, &statement, &send).await?;
            plan(Side::Source, &mut source, Planner::Usual).await?;
            Ok::<_, Error>((source, read))
        });
        let mut applied = Ok(());
        let mut idle_since = Instant::now();
        while let Some(mut batch) = receive.recv().await {
            batch.times.idle = idle_since.elapsed();
            self.worker.times = Some(batch.times);
            applied = self.take_batch(batch).await;
            if applied.is_err() {
                break;
            }
            idle_since = Instant::now();
        }
        drop(receive);
        let read = reading.await;
        applied?;
        // Only a reader that came to the end of its rows is fit for the next statement.
        let stopped = |_| Error::new(Kind::Unexpected, "the reader of the source stopped");
        let (source, read) = read.map_err(stopped)??;
        self.hands.reader = Some(source);
        Ok(read)
    }

    async fn take_batch(&mut self, batch: Batch) -> Result<()> {
        self.session.lease.check()?;
        self.tally.check()?;
        if let Some(Load::Staged {
            row_count,
            last_key,
        }) = self.gathered.as_deref_mut()
        {
            self.session.stop_if_interrupted()?;
            self.worker.stage(&mut self.hands.writer, &batch).await?;
            *row_count += batch.row_count;
            last_key.clone_from(&batch.last_key);
            return Ok(());
        }
        if let Some(direct) = &mut self.direct {
            if !batch.is_faulty {
                let writer = &mut self.hands.writer;
                if let Some(end) = direct.apply(self.worker, writer, &batch).await? {
                    return self.finish_batch(&end).await;
                }
            }
            if let Some(late) = self.late {
                return match late.keep(batch) {
                    Some(batch) => self.apply_batch(&batch).await,
                    None => Ok(()),
                };
            }
        }
        self.apply_batch(&batch).await
    }

    /// Applies a batch through the stage.
    pub async fn apply_batch(&mut self, batch: &Batch) -> Result<()> {
        self.session
            .ensure_key(self.entity, &mut self.hands.control)
            .await?;
        let end = self.worker.apply(&mut self.hands.writer, batch).await?;
        self.finish_batch(&end).await
    }

    /// Counts a batch, tells of it, and stops when that is wished.
    pub async fn finish_batch(&mut self, end: &BatchEnd) -> Result<()> {
        let counts = end.counts;
        if counts.rows_in == 0 {
            return Ok(());
        }
        let sum = self.tally.add(counts);
        self.session.patience.advance();
        let name = &self.entity.name;
        self.session.say_batch(name, end.number, &counts);
        let total = self.tally.rows_total;
        self.session.say_progress(name, &sum, total, false);
        self.session.stop_if_asked(end.signal)?;
        if counts.quarantined > 0 {
            self.session.check_budget(&mut self.hands.control).await?;
        }
        Ok(())
    }
}
