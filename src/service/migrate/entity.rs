//! One entity of a session: its changes, the rows they release, and its deletions.

use super::batch::{BatchWorker, Load};
use super::budget::QuarantineBudget;
use super::crew;
use super::hands::{Hands, HandsPool};
use super::knot::Knot;
use super::lane::Lane;
use super::ledgers::index;
use super::stopped;
use super::tally::{Counted, Tally};
use crate::context::{Context, Drift};
use crate::db::catalog::unique_columns;
use crate::db::control::batch::{BatchCounts, Checks};
use crate::db::control::detection;
use crate::db::control::quarantine::{refused_by_others, refusing_constraints};
use crate::db::control::session::{StepNow, save_step};
use crate::db::server::Connection;
use crate::db::source::Snapshot;
use crate::db::statement::adopt::matching::NaturalKey;
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
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use tokio::sync::Mutex;
use uuid::Uuid;

/// Rows that may swap their unique values with one another; they go in one transaction.
const SWAPPED_TOGETHER: usize = 20_000;

/// What every entity of a session shares.
pub(crate) struct Session<'a> {
    pub context: &'a Context,
    pub snapshot: &'a Snapshot,
    pub lease: &'a HeldLease,
    pub pool: &'a HandsPool,
    pub detection_id: Uuid,
    pub installation_id: Uuid,
    pub writer: Writer,
    pub batch_size: usize,
    pub patience: &'a Patience,
    pub budget: Option<QuarantineBudget>,
    /// Entities whose ledgers were bare at first, and whether they still are.
    pub keyless: BTreeMap<String, Mutex<bool>>,
    /// How the databases and the mapping have changed since the last session.
    pub drift: &'a Drift,
}

impl Session<'_> {
    /// How an entity's rows were made before, where that was another way.
    fn former(&self, entity: &ResolvedEntity) -> Option<(ContentStatements, RowShape)> {
        let former = self.drift.former(entity, &self.context.catalogs.1)?;
        Some((
            ContentStatements::of_former(&former.entity, &former.fresh),
            former.shape,
        ))
    }

    /// Adds the indexes of an entity's ledger, if it has none yet: all but a first load look rows up in it.
    pub async fn ensure_key(
        &self,
        entity: &ResolvedEntity,
        connection: &mut Connection,
    ) -> Result<()> {
        let Some(is_bare) = self.keyless.get(&entity.name) else {
            return Ok(());
        };
        let mut is_bare = is_bare.lock().await;
        if *is_bare {
            index(connection, entity).await?;
            *is_bare = false;
        }
        Ok(())
    }

    /// Reports a committed batch.
    pub fn say_batch(&self, entity: &str, number: i32, counts: &BatchCounts) {
        let aside = counts.held + counts.quarantined + counts.conflicted;
        let parts = [
            (counts.inserted, "inserted"),
            (counts.updated, "updated"),
            (counts.identical, "identical"),
            (counts.retired, "retired"),
            (aside, "set aside"),
        ];
        let parts = parts.iter().filter(|(rows, _)| *rows > 0);
        let parts: Vec<String> = parts.map(|(rows, what)| format!("{rows} {what}")).collect();
        let message = format!(
            "batch {number}: {} rows: {}",
            counts.rows_in,
            parts.join(", ")
        );
        let level = match aside {
            0 => Level::Info,
            _ => Level::Warn,
        };
        let event = Event::of_entity(level, entity, "batch", message, json!(counts));
        self.context.emit(event);
    }

    /// Reports that another lane works on an entity.
    pub fn say_lanes(&self, entity: &str, lanes: usize) {
        let (message, context) = (
            format!("{entity}: {lanes} lanes"),
            json!({ "lanes": lanes }),
        );
        let event = Event::of_entity(Level::Debug, entity, "lane", message, context);
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

/// The work on one entity in one phase of a session.
pub(crate) struct EntityWork<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) entity: &'a ResolvedEntity,
    pub(super) statements: SourceStatements,
    pub(super) worker: BatchWorker,
    pub(super) hands: &'a mut Hands,
    pub(super) tally: Tally,
    batch_size: usize,
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
        // Its parents are not known yet when a row would be matched.
        work.worker.natural_key = None;
        // The other entities look into it, also when nothing is put there.
        work.worker.prepare(&mut work.hands.writer).await?;
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
        let disputed = ledger::has_disputed(&entity.name);
        let is_disputed = detection::ask(&mut hands.control, &disputed).await?;
        let worker = BatchWorker {
            is_disputed,
            natural_key: NaturalKey::new(entity, &session.context.entities).map(Box::new),
            statements,
            content: ContentStatements::new(entity),
            shape: RowShape::of_target(entity),
            former: session.former(entity),
            entity: entity.name.clone(),
            key_types: entity.key_types(),
            writer: session.writer,
            epoch: session.lease.epoch,
            number: Arc::new(AtomicI32::new(number)),
            is_prepared: false,
            revisits,
            tentative: false,
            parking: None,
            checks: Checks::AtOnce,
            times: None,
        };
        Ok(EntityWork {
            session,
            entity,
            statements: SourceStatements::new(entity),
            worker,
            hands,
            tally: Tally::new(rows_total),
            batch_size: session.batch_size,
            gathered: None,
        })
    }

    /// Ends the phase and returns what was done.
    pub fn end(self) -> Counted {
        self.tally.counted()
    }

    /// Ends the gathering and returns what was gathered, with the worker that can apply it.
    pub fn end_gathering(self) -> (BatchWorker, Option<Load>, Counted) {
        (self.worker, self.gathered, self.tally.counted())
    }

    /// A lane over these hands.
    pub(super) fn lane(&mut self) -> Lane<'_> {
        Lane {
            session: self.session,
            entity: self.entity,
            statements: &self.statements,
            worker: &mut self.worker,
            hands: self.hands,
            tally: &self.tally,
            batch_size: self.batch_size,
            direct: None,
            late: None,
            gathered: self.gathered.as_mut(),
        }
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
        crew::apply_changes(self).await?;
        self.session
            .ensure_key(self.entity, &mut self.hands.control)
            .await?;
        if self.gathered.is_none() {
            let (counts, total) = (self.tally.counted().counts, self.tally.rows_total);
            self.session
                .say_progress(&self.entity.name, &counts, total, true);
        }
        Ok(())
    }

    pub(super) fn key(&self, stored: &Value) -> Result<Key> {
        Key::from_json(stored, &self.entity.key_types()).map_err(unreadable(&self.entity.name))
    }

    pub(super) async fn apply_keys(&mut self, keys: &[Key]) -> Result<()> {
        self.lane().apply_keys(keys).await.map(drop)
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
        let vanished = self.tally.counted().vanished;
        for page in keys.chunks(self.session.batch_size) {
            self.apply_keys(page).await?;
        }
        self.worker.statements.strict = false;
        self.tally.forget_vanished(vanished);
        Ok(())
    }

    /// Applies rows together that wait for each other, because they lay in different batches.
    async fn release_circles(&mut self) -> Result<()> {
        if !self.entity.needs_itself() {
            return Ok(());
        }
        let mut knot = Knot::new(self.session, vec![self.entity]);
        knot.release(self.hands).await?;
        for counted in knot.end() {
            self.tally.join(counted);
        }
        // The knot had stage tables of its own on this connection.
        self.worker.is_prepared = false;
        let (control, name) = (&mut self.hands.control, &self.entity.name);
        let session_id = self.session.writer.session_id;
        let (number, _) = detection::resume_point(control, session_id, name).await?;
        self.worker.number.store(number, Ordering::SeqCst);
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
            let vanished = self.tally.counted().vanished;
            for page in keys.chunks(self.session.batch_size) {
                self.apply_keys(page).await?;
            }
            self.tally.forget_vanished(vanished);
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
        let vanished = self.tally.counted().vanished;
        for page in keys.chunks(self.session.batch_size) {
            self.apply_keys(page).await?;
        }
        self.swap_refused().await?;
        self.worker.tentative = false;
        self.tally.forget_vanished(vanished);
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
        let mut statements = Vec::new();
        for column in &self.entity.columns {
            for parent in column.parents() {
                let statement = ledger::released(&self.entity.name, parent, &column.key_types);
                statements.push(statement);
            }
            statements.extend(ledger::released_by_fallback(self.entity, column));
        }
        let mut keys = Vec::new();
        for statement in &statements {
            let stored = detection::stored_keys(&mut self.hands.control, statement).await?;
            for key in &stored {
                keys.push(self.key(key)?);
            }
        }
        keys.sort();
        keys.dedup();
        Ok(keys)
    }
}
