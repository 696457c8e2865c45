//! Applies one batch: stage, fence, apply, count, commit.

use super::bisect::{self, Found};
use super::edits;
use crate::db::control::adopt::matched;
use crate::db::control::batch::{self, Attempt, BatchCounts, BatchPlace, BatchTimes, Checks, Mark};
use crate::db::control::detection;
use crate::db::control::lease::begin_fenced;
use crate::db::copy::copy_in;
use crate::db::failure::Refusal;
use crate::db::server::Connection;
use crate::db::statement::Statement;
use crate::db::statement::adopt::matching::NaturalKey;
use crate::db::statement::apply::{ApplyStatements, Writer};
use crate::db::statement::content::ContentStatements;
use crate::db::statement::retire::Doomed;
use crate::domain::canonical::RowShape;
use crate::domain::key::{Key, KeyFault, KeyType};
use crate::domain::session::Signal;
use crate::error::{Error, Kind, Result};
use crate::service::migrate::reader::Batch;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// How often a batch is tried again after a deadlock, a serialization failure or a lock that did not come.
pub(super) const TRANSIENT_TRIES: u32 = 5;
/// How often a batch is searched for bad rows before the cause is called systemic.
pub(super) const SEARCH_ROUNDS: usize = 3;

/// Applies the batches of one entity, on a connection that it is lent.
#[derive(Clone)]
pub(crate) struct BatchWorker {
    pub statements: ApplyStatements,
    pub content: ContentStatements,
    pub shape: RowShape,
    /// How the rows were made by the mapping before this one, where that was another way.
    pub former: Option<(ContentStatements, RowShape)>,
    pub entity: String,
    pub key_types: Vec<KeyType>,
    pub writer: Writer,
    pub epoch: i64,
    /// The number of the next batch, whichever lane it goes through.
    pub number: Arc<AtomicI32>,
    /// Whether the connection has its stage table.
    pub is_prepared: bool,
    /// Finds target rows that new rows match by their values.
    pub natural_key: Option<Box<NaturalKey>>,
    /// Whether an adoption could not tell the target rows of some keys.
    pub is_disputed: bool,
    /// Whether earlier findings about the rows may exist.
    pub revisits: bool,
    /// Whether a batch that lets no row in is rolled back: a second try that failed is not worth a record.
    pub tentative: bool,
    /// Moves the unique values of the staged rows out of the way before they are set.
    pub parking: Option<Statement>,
    /// When the checks speak that the target puts off.
    pub checks: Checks,
    /// Where the time of the batch at hand went, until it is recorded.
    pub times: Option<BatchTimes>,
}

/// What a batch did, and what the operators want.
pub(crate) struct BatchEnd {
    pub counts: BatchCounts,
    pub signal: Signal,
    /// Its number, or that of the last one it fell apart into; 0 when nothing was committed.
    pub number: i32,
}

impl BatchEnd {
    fn nothing(signal: Signal) -> Self {
        BatchEnd {
            counts: BatchCounts::default(),
            signal,
            number: 0,
        }
    }
}

/// A batch that is applied and not committed yet.
pub(super) struct Done<'a> {
    pub counts: BatchCounts,
    /// Rows that are new in the ledger.
    pub ledger_rows: i64,
    /// The key to note as checkpoint.
    pub last_key: Option<&'a Key>,
}

impl Done<'_> {
    /// The end of the batch once it is committed.
    fn end(self, signal: Signal, number: i32) -> BatchEnd {
        BatchEnd {
            counts: self.counts,
            signal,
            number,
        }
    }
}

/// The rows of a batch: staged on the connection, or keys that are gone from the source.
pub(crate) enum Load {
    Staged { row_count: usize, last_key: Key },
    Doomed(Vec<Doomed>),
}

impl Load {
    pub fn row_count(&self) -> usize {
        match self {
            Load::Staged { row_count, .. } => *row_count,
            Load::Doomed(doomed) => doomed.len(),
        }
    }

    /// The key to note as checkpoint; deletions come after all changes and move none.
    pub fn last_key(&self) -> Option<&Key> {
        match self {
            Load::Staged { last_key, .. } => Some(last_key),
            Load::Doomed(_) => None,
        }
    }
}

impl BatchWorker {
    /// Stages a batch and applies it.
    pub async fn apply(&mut self, connection: &mut Connection, packed: &Batch) -> Result<BatchEnd> {
        let began = Instant::now();
        if self.is_prepared {
            let clear = &self.statements.clear_stage;
            batch::run(connection, "emptying the stage table", clear).await?;
        } else {
            self.prepare(connection).await?;
        }
        self.stage(connection, packed).await?;
        let load = Load::Staged {
            row_count: packed.row_count,
            last_key: packed.last_key.clone(),
        };
        self.settle(connection, load, began).await
    }

    /// Creates the stage table of this connection.
    pub async fn prepare(&mut self, connection: &mut Connection) -> Result<()> {
        let create = &self.statements.create_stage;
        batch::run(connection, "creating the stage table", create).await?;
        self.is_prepared = true;
        Ok(())
    }

    /// Adds the rows of a batch to the stage table.
    pub async fn stage(&self, connection: &mut Connection, packed: &Batch) -> Result<()> {
        let staged = copy_in(connection, &self.statements.copy_stage, &packed.buffer).await?;
        if usize::try_from(staged) != Ok(packed.row_count) {
            return Err(Error::new(
                Kind::Unexpected,
                "the stage table took another number of rows than were sent",
            ));
        }
        if self.is_disputed {
            let mark = self.statements.mark_disputed();
            batch::run(connection, "marking disputed keys", &mark).await?;
        }
        Ok(())
    }

    /// Carries the delete policy out for a list of keys.
    pub async fn retire(&mut self, connection: &mut Connection, keys: &[Key]) -> Result<BatchEnd> {
        let doomed = keys.iter().cloned().map(Doomed::new).collect();
        self.settle(connection, Load::Doomed(doomed), Instant::now())
            .await
    }

    /// Applies a load until it is committed: looks at rows that seem edited, sets rows aside that the
    /// target refuses, tries again what is worth it.
    async fn settle(
        &mut self,
        connection: &mut Connection,
        mut load: Load,
        began: Instant,
    ) -> Result<BatchEnd> {
        let (mut tries, mut rounds, mut looked) = (0, 0, false);
        loop {
            let tried = Instant::now();
            let signal = begin_fenced(connection, self.epoch).await?;
            let last = load.row_count().saturating_sub(1);
            let found = match self.attempt(connection, &load, 0, last).await? {
                Attempt::Applied { edited, .. } if edited > 0 && !looked => {
                    batch::mark(connection, Mark::RollBack).await?;
                    looked = true;
                    edits::note_untouched(self, connection, &mut load).await?;
                    continue;
                }
                Attempt::Applied { counts, .. }
                    if self.tentative && counts.let_in() == 0
                        || self.is_left_parked(connection).await? =>
                {
                    batch::mark(connection, Mark::RollBack).await?;
                    return Ok(BatchEnd::nothing(signal));
                }
                Attempt::Applied {
                    counts,
                    ledger_rows,
                    ..
                } => {
                    let last_key = load.last_key();
                    let done = Done {
                        counts,
                        ledger_rows,
                        last_key,
                    };
                    let number = self.commit(connection, &done, began).await?;
                    return Ok(done.end(signal, number));
                }
                Attempt::Transient(error) => {
                    batch::mark(connection, Mark::RollBack).await?;
                    Found::Transient(error)
                }
                Attempt::Refused(refusal) => {
                    batch::mark(connection, Mark::RollBack).await?;
                    rounds += 1;
                    let found = if rounds > SEARCH_ROUNDS {
                        Err(bisect::systemic(&self.entity, &refusal))
                    } else {
                        bisect::find_bad_rows(self, connection, &mut load).await
                    };
                    match self.worth_a_try(found)? {
                        Some(found) => found,
                        None => return Ok(BatchEnd::nothing(signal)),
                    }
                }
            };
            match found {
                Found::Marked => {}
                Found::GoodApart(ranges) => {
                    if !looked {
                        edits::note_untouched(self, connection, &mut load).await?;
                    }
                    return self.apply_apart(connection, &ranges, &load, signal).await;
                }
                Found::Transient(error) => {
                    tries += 1;
                    if tries >= TRANSIENT_TRIES {
                        return Err(error);
                    }
                    self.pause(tries, tried).await;
                }
            }
        }
    }

    /// Waits after a try that met somebody's lock, and notes what both have cost.
    async fn pause(&mut self, tries: u32, tried: Instant) {
        tokio::time::sleep(Duration::from_millis(100 << tries)).await;
        if let Some(times) = &mut self.times {
            times.lock += tried.elapsed();
        }
    }

    /// Applies ranges of a load one after the other, each as a batch of its own: rows that change
    /// places (a unique value that moves from one row to another) cannot always go in one statement.
    async fn apply_apart(
        &mut self,
        connection: &mut Connection,
        ranges: &[(usize, usize)],
        load: &Load,
        signal: Signal,
    ) -> Result<BatchEnd> {
        let mut end = BatchEnd::nothing(signal);
        for (first, last) in ranges {
            let began = Instant::now();
            begin_fenced(connection, self.epoch).await?;
            match self.attempt(connection, load, *first, *last).await? {
                Attempt::Applied {
                    counts,
                    ledger_rows,
                    ..
                } => {
                    let last_key = load.last_key();
                    let done = Done {
                        counts,
                        ledger_rows,
                        last_key,
                    };
                    end.number = self.commit(connection, &done, began).await?;
                    end.counts.add(counts);
                }
                Attempt::Transient(error) => return Err(error),
                Attempt::Refused(_) if self.tentative => {
                    batch::mark(connection, Mark::RollBack).await?;
                    return Ok(end);
                }
                Attempt::Refused(refusal) => return Err(bisect::systemic(&self.entity, &refusal)),
            }
        }
        Ok(end)
    }

    /// Tells what to do about the bad rows that were looked for; nothing where another try would do no good.
    fn worth_a_try(&self, found: Result<Found>) -> Result<Option<Found>> {
        match found {
            // What did not go the first time may fail as a whole the second time.
            Err(error) if self.tentative && error.kind() == Kind::Drift => Ok(None),
            // One by one, values that were moved away would be committed where they are.
            Ok(Found::GoodApart(_)) if self.parking.is_some() => Ok(None),
            found => found.map(Some),
        }
    }

    /// Applies a range of a load inside the open transaction.
    pub async fn attempt(
        &self,
        connection: &mut Connection,
        load: &Load,
        first: usize,
        last: usize,
    ) -> Result<Attempt> {
        match load {
            Load::Staged { .. } => {
                if self.revisits {
                    self.forget(connection).await?;
                }
                if let Some(parking) = &self.parking
                    && let Some(refused) = batch::park(connection, parking).await?
                {
                    return Ok(refused);
                }
                let taken = self.take_matches(connection, first, last).await?;
                let apply = self.statements.apply(self.writer, first, last);
                let mut attempt = batch::apply(connection, &apply, self.checks).await?;
                if let Attempt::Applied { ledger_rows, .. } = &mut attempt {
                    *ledger_rows += taken;
                }
                Ok(attempt)
            }
            Load::Doomed(doomed) => {
                let range = doomed.get(first..=last).unwrap_or_default();
                let retire = self.statements.retire(self.writer, range);
                let retire = retire.map_err(self.unreadable())?;
                batch::retire(connection, &retire, self.checks).await
            }
        }
    }

    /// Enters target rows into the ledger that new rows of the load match by their values; returns how many rows of
    /// the ledger are new. What is done with them then is as for every row that looks edited.
    async fn take_matches(
        &self,
        connection: &mut Connection,
        first: usize,
        last: usize,
    ) -> Result<i64> {
        let Some(natural_key) = &self.natural_key else {
            return Ok(0);
        };
        let doing = "waiting for others that match rows";
        batch::run(connection, doing, &natural_key.wait()).await?;
        let number = self.writer.session_number;
        let take = natural_key.take(self.statements.stage(), number, first, last);
        batch::free_planner(connection).await?;
        let taken = matched(connection, &take).await?;
        batch::bind_planner(connection).await?;
        Ok(taken)
    }

    /// Drops what was found about the staged rows before; what is still true is found again.
    pub async fn forget(&self, connection: &mut Connection) -> Result<()> {
        let forget = self.statements.forget();
        batch::run(connection, "revisiting rows that were set aside", &forget).await
    }

    /// A row whose values were moved away must not be committed without its new ones.
    async fn is_left_parked(&self, connection: &mut Connection) -> Result<bool> {
        if self.parking.is_none() {
            return Ok(false);
        }
        detection::ask(connection, &self.statements.is_left_out()).await
    }

    /// Marks one row of a load as bad, so that the next attempt sets it aside.
    pub async fn mark_bad(
        &self,
        connection: &mut Connection,
        load: &mut Load,
        ordinal: usize,
        refusal: &Refusal,
    ) -> Result<()> {
        let place = refusal.place.as_deref().unwrap_or_default();
        let fault = format!("{}|{}|{place}", refusal.sqlstate, refusal.reason);
        match load {
            Load::Staged { .. } => {
                let mark = self.statements.mark(ordinal, &fault);
                batch::run(connection, "marking a refused row", &mark).await
            }
            Load::Doomed(doomed) => {
                if let Some(row) = doomed.get_mut(ordinal) {
                    row.fault = Some(fault);
                }
                Ok(())
            }
        }
    }

    /// Compiles the statement that reads the rows of a load that seem edited, by the rules of now or of before.
    pub fn suspects(&self, content: &ContentStatements, load: &Load) -> Result<Statement> {
        match load {
            Load::Staged { .. } => Ok(content.staged(&self.statements)),
            Load::Doomed(doomed) => content.doomed(doomed).map_err(self.unreadable()),
        }
    }

    pub(super) fn unreadable(&self) -> impl Fn(KeyFault) -> Error {
        let what = format!("a stored key of {} cannot be read", self.entity);
        move |fault| Error::new(Kind::ControlState, what.clone()).cause(fault.to_string())
    }

    pub(super) async fn commit(
        &mut self,
        connection: &mut Connection,
        done: &Done<'_>,
        began: Instant,
    ) -> Result<i32> {
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        self.record(connection, done, began, number).await?;
        batch::commit(connection).await?;
        self.times = None;
        Ok(number)
    }

    /// Notes what a batch did, in its own transaction.
    pub(super) async fn record(
        &self,
        connection: &mut Connection,
        done: &Done<'_>,
        began: Instant,
        number: i32,
    ) -> Result<()> {
        let last_key = done
            .last_key
            .and_then(|key| key.to_json(&self.key_types).ok());
        let place = BatchPlace {
            session_id: self.writer.session_id,
            entity: &self.entity,
            number,
            epoch: self.epoch,
            last_key: last_key.as_ref(),
            ledger_rows: done.ledger_rows,
            elapsed_ms: i32::try_from(began.elapsed().as_millis()).unwrap_or(i32::MAX),
            times: self.times,
        };
        batch::record(connection, &place, &done.counts).await
    }
}
