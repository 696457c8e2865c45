//! One entity of a session: its changes, the rows they release, and its deletions.

use super::batch::{BatchEnd, BatchWorker, Load};
use super::budget::QuarantineBudget;
use super::direct::DirectLoad;
use super::hands::{Hands, reader};
use super::knot::Knot;
use super::reader::{Batch, Packer};
use super::stopped;
use crate::context::Context;
use crate::db::catalog::unique_columns;
use crate::db::control::batch::{BatchCounts, Checks};
use crate::db::control::detection::{self, StoredChange};
use crate::db::control::quarantine::{refused_by_others, refusing_constraints};
use crate::db::control::session::{StepNow, save_step};
use crate::db::source::Snapshot;
use crate::db::statement::Statement;
use crate::db::statement::apply::{ApplyStatements, Writer};
use crate::db::statement::content::ContentStatements;
use crate::db::statement::ledger;
use crate::db::statement::source::SourceStatements;
use crate::domain::canonical::RowShape;
use crate::domain::event::{Event, Level, Progress};
use crate::domain::key::{Key, KeyFault};
use crate::domain::resolve::ResolvedEntity;
use crate::domain::session::Signal;
use crate::error::{Error, Kind, Result};
use crate::service::give_way::Patience;
use crate::service::lease::HeldLease;
use serde_json::{Value, json};
use tokio::sync::mpsc::channel;
use uuid::Uuid;

/// Rows that may swap their unique values with one another; they go in one transaction.
const SWAPPED_TOGETHER: usize = 20_000;

/// A batch that is loaded directly has so many times the rows of one that is staged, as far as its bytes allow.
const DIRECT_FACTOR: usize = 10;
/// From so many rows a batch on; whoever asks for smaller ones gets what was asked for.
const USUAL_BATCH: usize = 5_000;

/// What every entity of a session shares.
pub(crate) struct Session<'a> {
    pub context: &'a Context,
    pub snapshot: &'a Snapshot,
    pub lease: &'a HeldLease,
    pub detection_id: Uuid,
    pub installation_id: Uuid,
    pub writer: Writer,
    pub batch_size: usize,
    pub patience: &'a Patience,
    pub budget: Option<QuarantineBudget>,
}

impl Session<'_> {
    /// Reports a committed batch.
    pub fn say_batch(&self, entity: &str, number: i32, counts: &BatchCounts) {
        let aside = counts.held + counts.quarantined + counts.conflicted;
        let message = format!(
            "batch {number}: {} rows: {} inserted, {} updated, {} retired, {aside} set aside",
            counts.rows_in, counts.inserted, counts.updated, counts.retired,
        );
        let level = match aside {
            0 => Level::Info,
            _ => Level::Warn,
        };
        let event = Event::of_entity(level, entity, "batch", message, json!(counts));
        self.context.emit(event);
    }

    /// Reports how far an entity is.
    pub fn say_progress(&self, entity: &str, counts: &BatchCounts, total: u64, finished: bool) {
        let done = u64::try_from(counts.rows_in).unwrap_or(0);
        self.context.emit(Event::Advanced(Progress {
            entity: entity.to_owned(),
            phase: "apply",
            rows_done: done,
            rows_total: total.max(done),
            finished,
        }));
    }

    /// Ends the session in the middle of work of which nothing is committed, when a signal asks for it.
    pub fn stop_if_interrupted(&self) -> Result<()> {
        match self.context.interrupt.signal() {
            Some(_) => Err(stopped(Signal::Pause)),
            None => Ok(()),
        }
    }

    /// Ends the session at a batch boundary when operators, a signal or the clock ask for it.
    pub fn stop_if_asked(&self, signal: Signal) -> Result<()> {
        match signal {
            Signal::Run if self.context.interrupt.is_raised() => Err(stopped(Signal::Pause)),
            Signal::Run => Ok(()),
            signal => Err(stopped(signal)),
        }
    }
}

/// What the batches of one entity add up to, over all phases of a session.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub counts: BatchCounts,
    pub vanished: u64,
    pub appeared: u64,
}

impl Tally {
    /// Adds what a later phase did.
    pub fn add(&mut self, other: Tally) {
        self.counts.add(other.counts);
        self.vanished += other.vanished;
        self.appeared += other.appeared;
    }
}

/// The work on one entity in one phase of a session.
pub(crate) struct EntityWork<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) entity: &'a ResolvedEntity,
    pub(super) statements: SourceStatements,
    pub(super) worker: BatchWorker,
    pub(super) hands: &'a mut Hands,
    tally: Tally,
    rows_total: u64,
    batch_size: usize,
    /// The way past the stage, while a run of new rows is loaded.
    direct: Option<DirectLoad>,
    /// What waits to be applied together with rows of other entities; `None` when batches are applied one by one.
    pub(super) gathered: Option<Load>,
}

pub(super) fn unreadable(entity: &str) -> impl Fn(KeyFault) -> Error {
    let what = format!("a stored key of {entity} cannot be read");
    move |fault| Error::new(Kind::ControlState, what.clone()).cause(fault.to_string())
}

impl<'a> EntityWork<'a> {
    /// Takes the work up with these hands.
    pub async fn begin(
        session: &'a Session<'a>,
        entity: &'a ResolvedEntity,
        rows_total: u64,
        hands: &'a mut Hands,
    ) -> Result<EntityWork<'a>> {
        let statements = ApplyStatements::new(entity);
        EntityWork::begin_with(session, entity, rows_total, hands, statements).await
    }

    /// Takes the work up with a stage of its own: rows are gathered there, or keys that are gone in a list,
    /// and nothing is applied.
    pub async fn begin_gathering(
        session: &'a Session<'a>,
        entity: &'a ResolvedEntity,
        hands: &'a mut Hands,
        statements: ApplyStatements,
        into: Load,
    ) -> Result<EntityWork<'a>> {
        let mut work = EntityWork::begin_with(session, entity, 0, hands, statements).await?;
        work.gathered = Some(into);
        Ok(work)
    }

    async fn begin_with(
        session: &'a Session<'a>,
        entity: &'a ResolvedEntity,
        rows_total: u64,
        hands: &'a mut Hands,
        statements: ApplyStatements,
    ) -> Result<EntityWork<'a>> {
        let session_id = session.writer.session_id;
        let (number, revisits) =
            detection::resume_point(&mut hands.control, session_id, &entity.name).await?;
        let worker = BatchWorker {
            statements,
            content: ContentStatements::new(entity),
            shape: RowShape::new(entity),
            entity: entity.name.clone(),
            key_types: entity.key_types(),
            writer: session.writer,
            epoch: session.lease.epoch,
            number,
            revisits,
            tentative: false,
            parking: None,
            checks: Checks::AtOnce,
        };
        worker.prepare(&mut hands.writer).await?;
        Ok(EntityWork {
            session,
            entity,
            statements: SourceStatements::new(entity),
            worker,
            hands,
            tally: Tally::default(),
            rows_total,
            batch_size: session.batch_size,
            direct: None,
            gathered: None,
        })
    }

    /// Ends the phase and returns what was done.
    pub fn end(self) -> Tally {
        self.tally
    }

    /// Ends the gathering and returns what was gathered, with the worker that can apply it.
    pub fn end_gathering(self) -> (BatchWorker, Option<Load>, Tally) {
        (self.worker, self.gathered, self.tally)
    }

    /// Records the state of the entity's step.
    pub async fn save_step(&mut self, wave: i32, state: &str, rows_total: i64) -> Result<()> {
        let step = StepNow {
            session_id: self.session.writer.session_id,
            epoch: self.session.lease.epoch,
            entity: &self.entity.name,
            wave,
            state,
            rows_total,
        };
        save_step(&mut self.hands.control, &step).await
    }

    /// Applies every new and modified row of the detection.
    pub async fn apply_changes(&mut self) -> Result<()> {
        let mut after = 0;
        loop {
            let page = detection::read_changes(
                &mut self.hands.control,
                self.session.detection_id,
                &self.entity.name,
                after,
                i64::try_from(self.session.batch_size).unwrap_or(i64::MAX),
            )
            .await?;
            let Some(last) = page.last() else { break };
            after = last.ordinal;
            self.apply_page(&page).await?;
        }
        self.progress(true);
        Ok(())
    }

    async fn apply_page(&mut self, page: &[StoredChange]) -> Result<()> {
        let mut singles = Vec::new();
        for change in page {
            match &change.last_key {
                None => singles.push(self.key(&change.key)?),
                Some(last) => {
                    self.apply_keys(&std::mem::take(&mut singles)).await?;
                    let statement = self.range(&change.key, last)?;
                    let expected = u64::try_from(change.row_count).unwrap_or(0);
                    self.load_run(&statement, expected).await?;
                }
            }
        }
        self.apply_keys(&singles).await
    }

    /// Applies a run of rows of which the ledger knows none, past the stage where that can be done.
    async fn load_run(&mut self, statement: &Statement, expected: u64) -> Result<()> {
        if self.gathered.is_none() {
            let control = &mut self.hands.control;
            self.direct = DirectLoad::open(self.session, self.entity, control).await?;
        }
        if self.direct.is_some() && self.batch_size >= USUAL_BATCH {
            self.batch_size = self.session.batch_size * DIRECT_FACTOR;
        }
        let applied = self.apply_rows(statement, expected).await;
        self.batch_size = self.session.batch_size;
        self.direct = None;
        applied
    }

    pub(super) fn key(&self, stored: &Value) -> Result<Key> {
        Key::from_json(stored, &self.entity.key_types()).map_err(unreadable(&self.entity.name))
    }

    fn range(&self, first: &Value, last: &Value) -> Result<Statement> {
        if first.as_array().is_some_and(Vec::is_empty) {
            return Ok(self.statements.all());
        }
        let (first, last) = (self.key(first)?, self.key(last)?);
        self.statements
            .range(&first, &last)
            .map_err(unreadable(&self.entity.name))
    }

    pub(super) async fn apply_keys(&mut self, keys: &[Key]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let statement = self
            .statements
            .keys(keys)
            .map_err(unreadable(&self.entity.name))?;
        self.apply_rows(&statement, keys.len() as u64).await
    }

    /// Streams rows from the source into batches; reading runs ahead of applying by one batch.
    async fn apply_rows(&mut self, statement: &Statement, expected: u64) -> Result<()> {
        let packer = Packer {
            entity: self.entity.clone(),
            installation_id: self.session.installation_id,
            batch_size: self.batch_size,
            sorts_out: self.direct.is_some(),
            gathers_from: self.gathered.as_ref().map(Load::row_count),
        };
        let mut source = reader(self.hands, self.session).await?;
        let statement = statement.clone();
        let (send, mut receive) = channel::<Batch>(1);
        let reading = tokio::spawn(async move {
            let read = packer.pack(&mut source, &statement, &send).await?;
            Ok::<_, Error>((source, read))
        });
        let mut applied = Ok(());
        while let Some(batch) = receive.recv().await {
            applied = self.apply_batch(&batch).await;
            if applied.is_err() {
                break;
            }
        }
        drop(receive);
        let read = reading.await;
        applied?;
        // Only a reader that came to the end of its rows is fit for the next statement.
        let stopped = |_| Error::new(Kind::Unexpected, "the reader of the source stopped");
        let (source, read) = read.map_err(stopped)??;
        self.hands.reader = Some(source);
        self.tally.vanished += expected.saturating_sub(read);
        self.tally.appeared += read.saturating_sub(expected);
        Ok(())
    }

    async fn apply_batch(&mut self, batch: &Batch) -> Result<()> {
        self.session.lease.check()?;
        let connection = &mut self.hands.writer;
        if let Some(Load::Staged {
            row_count,
            last_key,
        }) = &mut self.gathered
        {
            self.session.stop_if_interrupted()?;
            self.worker.stage(connection, batch).await?;
            *row_count += batch.row_count;
            last_key.clone_from(&batch.last_key);
            return Ok(());
        }
        let loaded = match &mut self.direct {
            Some(direct) if !batch.is_faulty => {
                direct.apply(&mut self.worker, connection, batch).await?
            }
            _ => None,
        };
        let end = match loaded {
            Some(end) => end,
            None => self.worker.apply(connection, batch).await?,
        };
        self.finish_batch(&end)?;
        if end.counts.quarantined > 0 {
            self.session.check_budget(&mut self.hands.control).await?;
        }
        Ok(())
    }

    pub(super) fn finish_batch(&mut self, end: &BatchEnd) -> Result<()> {
        let counts = end.counts;
        if counts.rows_in == 0 {
            return Ok(());
        }
        self.tally.counts.add(counts);
        self.session.patience.advance();
        self.session
            .say_batch(&self.entity.name, self.worker.number - 1, &counts);
        self.progress(false);
        self.session.stop_if_asked(end.signal)
    }

    fn progress(&self, finished: bool) {
        if self.gathered.is_some() {
            return;
        }
        self.session.say_progress(
            &self.entity.name,
            &self.tally.counts,
            self.rows_total,
            finished,
        );
    }

    /// Applies rows whose missing parent has arrived, until no more are released.
    ///
    /// Rows that refer to later rows of their own table wait for those first; only when they did not arrive,
    /// `missing = "quarantine"` is carried out.
    pub async fn release(&mut self) -> Result<()> {
        self.release_arrived().await?;
        self.release_circles().await?;
        let Some(statement) = ledger::waiting_for_themselves(self.entity) else {
            return Ok(());
        };
        let stored = detection::stored_keys(&mut self.hands.control, &statement).await?;
        let keys: Result<Vec<Key>> = stored.iter().map(|key| self.key(key)).collect();
        let mut keys = keys?;
        keys.sort();
        self.worker.revisits = true;
        self.worker.statements.strict = true;
        let vanished = self.tally.vanished;
        for page in keys.chunks(self.session.batch_size) {
            self.apply_keys(page).await?;
        }
        self.worker.statements.strict = false;
        self.tally.vanished = vanished;
        Ok(())
    }

    /// Applies rows together that wait for each other, because they lay in different batches.
    async fn release_circles(&mut self) -> Result<()> {
        if !self.entity.needs_itself() {
            return Ok(());
        }
        let mut knot = Knot::new(self.session, vec![self.entity]);
        knot.release(self.hands).await?;
        for tally in knot.end() {
            self.tally.add(tally);
        }
        let (control, name) = (&mut self.hands.control, &self.entity.name);
        let session_id = self.session.writer.session_id;
        (self.worker.number, _) = detection::resume_point(control, session_id, name).await?;
        Ok(())
    }

    /// A row that was released but is gone from the source stays in the list; the deletions see to it.
    async fn release_arrived(&mut self) -> Result<()> {
        let mut before = Vec::new();
        loop {
            let keys = self.released_keys().await?;
            if keys.is_empty() || keys == before {
                return Ok(());
            }
            self.worker.revisits = true;
            let vanished = self.tally.vanished;
            for page in keys.chunks(self.session.batch_size) {
                self.apply_keys(page).await?;
            }
            self.tally.vanished = vanished;
            if !self.entity.is_self_referencing() {
                return Ok(());
            }
            before = keys;
        }
    }

    /// Tries the rows once more that other rows stood in the way of; since then those may have moved or gone.
    pub async fn retry_refused(&mut self) -> Result<()> {
        let stored = refused_by_others(&mut self.hands.control, &self.entity.name).await?;
        let keys: Result<Vec<Key>> = stored.iter().map(|key| self.key(key)).collect();
        let mut keys = keys?;
        keys.sort();
        self.worker.revisits = true;
        self.worker.tentative = true;
        let vanished = self.tally.vanished;
        for page in keys.chunks(self.session.batch_size) {
            self.apply_keys(page).await?;
        }
        self.swap_refused().await?;
        self.worker.tentative = false;
        self.tally.vanished = vanished;
        Ok(())
    }

    /// Sets rows that want each other's unique values in one transaction, after moving those out of the way:
    /// first of the constraints that refused rows, then of all, since a row is refused by one at a time.
    async fn swap_refused(&mut self) -> Result<()> {
        for every in [false, true] {
            let name = &self.entity.name;
            let control = &mut self.hands.control;
            let refusing = refusing_constraints(control, name).await?;
            if refusing.is_empty() {
                return Ok(());
            }
            let chosen = (!every).then_some(refusing.as_slice());
            let columns = unique_columns(control, &self.entity.target, chosen).await?;
            let stored = refused_by_others(control, name).await?;
            let keys: Result<Vec<Key>> = stored.iter().map(|key| self.key(key)).collect();
            let mut keys = keys?;
            keys.sort();
            self.worker.parking = self.worker.statements.park(&columns);
            if self.worker.parking.is_none() {
                continue;
            }
            self.batch_size = SWAPPED_TOGETHER;
            for page in keys.chunks(SWAPPED_TOGETHER) {
                self.apply_keys(page).await?;
            }
            self.worker.parking = None;
            self.batch_size = self.session.batch_size;
        }
        Ok(())
    }

    async fn released_keys(&mut self) -> Result<Vec<Key>> {
        let mut keys = Vec::new();
        for column in &self.entity.columns {
            for parent in column.parents() {
                let statement = ledger::released(&self.entity.name, parent, column.key_type);
                let stored = detection::stored_keys(&mut self.hands.control, &statement).await?;
                for key in &stored {
                    keys.push(self.key(key)?);
                }
            }
        }
        keys.sort();
        keys.dedup();
        Ok(keys)
    }
}
