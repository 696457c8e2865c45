//! A knot: entities whose rows need each other, so that none of them can be written first.
//!
//! What is to be done is gathered first: rows in one stage table for each entity, keys that are gone in
//! lists. Then all of it goes in one transaction ([`transaction`]), at the end of which the target checks
//! the references. One entity by itself is a knot as far as its rows wait for each other.

mod transaction;

use super::batch::{BatchWorker, Load};
use super::entity::{EntityWork, Session, unreadable};
use super::hands::Hands;
use super::tally::Counted;
use super::waves::step_state;
use crate::db::control::batch::{self, Checks};
use crate::db::control::detection;
use crate::db::control::quarantine::refused_by_others;
use crate::db::control::session::{StepNow, save_step};
use crate::db::server::Connection;
use crate::db::statement::knot::KnotStatements;
use crate::domain::key::Key;
use crate::domain::resolve::ResolvedEntity;
use crate::error::Result;
use serde_json::Value;
use transaction::{Transaction, Worth};

/// The work on the entities of one knot in one phase of a session.
pub(crate) struct Knot<'a> {
    session: &'a Session<'a>,
    /// In the order in which they are written.
    entities: Vec<&'a ResolvedEntity>,
    statements: KnotStatements,
    tallies: Vec<Counted>,
}

/// What one entity brings into the transaction.
struct Share {
    /// The entity's place in the knot.
    place: usize,
    worker: BatchWorker,
    load: Load,
    /// The parts that are written by one statement each.
    ranges: Vec<(usize, usize)>,
    /// Whether earlier findings about the rows may exist.
    revisits: bool,
}

/// What is gathered of an entity.
enum Wanted<'k> {
    /// The new and modified rows of the detection.
    Changes,
    /// The rows with these keys.
    Rows(&'k [Key]),
    /// The keys that the detection found gone.
    Deletions,
    /// The keys that are gone, but that other rows kept in the target.
    Undeleted,
}

/// Keys of every entity, by its place.
type Keys = Vec<Vec<Key>>;

/// So many rows are written by one statement where a foreign key does not let them be parted.
const ROWS_AT_ONCE: usize = 20_000;

fn is_empty(keys: &Keys) -> bool {
    keys.iter().all(Vec::is_empty)
}

impl<'a> Knot<'a> {
    /// Takes the entities of a knot, in its order.
    pub fn new(session: &'a Session<'a>, entities: Vec<&'a ResolvedEntity>) -> Self {
        Knot {
            session,
            statements: KnotStatements::new(&entities),
            tallies: vec![Counted::default(); entities.len()],
            entities,
        }
    }

    /// Ends the phase and gives back what was done, in the order of the knot.
    pub fn end(self) -> Vec<Counted> {
        self.tallies
    }

    /// Applies the changes of all entities, then what waits for them, and records their steps.
    pub async fn changes_step(
        &mut self,
        hands: &mut Hands,
        wave: i32,
        totals: &[u64],
    ) -> Result<()> {
        let control = &mut hands.control;
        self.save_steps(control, wave, totals, "running").await?;
        let applied = self.apply_changes(hands).await;
        let control = &mut hands.control;
        let saved = self
            .save_steps(control, wave, totals, step_state(&applied))
            .await;
        applied?;
        saved
    }

    async fn save_steps(
        &self,
        control: &mut Connection,
        wave: i32,
        totals: &[u64],
        state: &str,
    ) -> Result<()> {
        for (entity, total) in self.entities.iter().zip(totals) {
            let step = StepNow {
                session_id: self.session.writer.session_id,
                epoch: self.session.lease.epoch,
                entity: &entity.name,
                wave,
                state,
                rows_total: i64::try_from(*total).unwrap_or(i64::MAX),
            };
            save_step(control, &step).await?;
        }
        Ok(())
    }

    async fn apply_changes(&mut self, hands: &mut Hands) -> Result<()> {
        let mut shares = Vec::new();
        for place in 0..self.entities.len() {
            self.gather(hands, place, Wanted::Changes, &mut shares)
                .await?;
        }
        self.carry_out(hands, shares, Worth::Anything).await?;
        self.release(hands).await
    }

    /// Applies rows whose missing parents have arrived or can come with them, until no more are released.
    pub async fn release(&mut self, hands: &mut Hands) -> Result<()> {
        let mut before = Vec::new();
        loop {
            let keys = self.releasable(hands, false).await?;
            if is_empty(&keys) || keys == before || self.is_too_much(&keys) {
                return Ok(());
            }
            self.apply_rows(hands, &keys, Worth::News).await?;
            before = keys;
        }
    }

    /// Tries the rows once more that other rows stood in the way of, with the rows that wait for them.
    pub async fn retry_refused(&mut self, hands: &mut Hands) -> Result<()> {
        let mut refused = Keys::new();
        for entity in &self.entities {
            let stored = refused_by_others(&mut hands.control, &entity.name).await?;
            refused.push(keys_of(entity, &stored)?);
        }
        if !is_empty(&refused) {
            let mut keys = self.releasable(hands, true).await?;
            for (own, more) in keys.iter_mut().zip(refused) {
                own.extend(more);
                own.sort();
                own.dedup();
            }
            self.apply_rows(hands, &keys, Worth::Success).await?;
        }
        for (entity, tally) in self.entities.iter().zip(&mut self.tallies) {
            let mut work = EntityWork::begin(self.session, entity, 0, hands).await?;
            work.retry_refused().await?;
            tally.add(work.end());
        }
        self.release(hands).await
    }

    /// Carries the delete policies out for what is gone.
    pub async fn apply_deletions(&mut self, hands: &mut Hands) -> Result<()> {
        self.delete(hands, false).await
    }

    /// Tries the deletions again that other rows stood in the way of.
    pub async fn retry_deletions(&mut self, hands: &mut Hands) -> Result<()> {
        self.delete(hands, true).await
    }

    async fn delete(&mut self, hands: &mut Hands, again: bool) -> Result<()> {
        let mut shares = Vec::new();
        let worth = match again {
            true => Worth::Success,
            false => Worth::Anything,
        };
        for place in (0..self.entities.len()).rev() {
            let wanted = match again {
                true => Wanted::Undeleted,
                false => Wanted::Deletions,
            };
            self.gather(hands, place, wanted, &mut shares).await?;
        }
        self.carry_out(hands, shares, worth).await
    }

    async fn releasable(&self, hands: &mut Hands, retried: bool) -> Result<Keys> {
        let statement = self.statements.releasable(retried);
        let stored = detection::stored_rows(&mut hands.control, &statement).await?;
        let mut keys = Keys::new();
        for entity in &self.entities {
            let own = stored.iter().filter(|(name, _)| *name == entity.name);
            let own: Vec<Value> = own.map(|(_, key)| key.clone()).collect();
            keys.push(keys_of(entity, &own)?);
        }
        Ok(keys)
    }

    fn is_too_much(&self, keys: &Keys) -> bool {
        self.statements.is_checked_at_once() && keys.iter().any(|it| it.len() > ROWS_AT_ONCE)
    }

    async fn apply_rows(&mut self, hands: &mut Hands, keys: &Keys, worth: Worth) -> Result<()> {
        let mut shares = Vec::new();
        for (place, keys) in keys.iter().enumerate() {
            self.gather(hands, place, Wanted::Rows(keys), &mut shares)
                .await?;
        }
        self.carry_out(hands, shares, worth).await
    }

    /// Reads what one entity brings along.
    async fn gather(
        &mut self,
        hands: &mut Hands,
        place: usize,
        wanted: Wanted<'_>,
        shares: &mut Vec<Share>,
    ) -> Result<()> {
        let into = match wanted {
            Wanted::Changes | Wanted::Rows(_) => Load::Staged {
                row_count: 0,
                last_key: Key::default(),
            },
            Wanted::Deletions | Wanted::Undeleted => Load::Doomed(Vec::new()),
        };
        let (session, entity) = (self.session, self.entities[place]);
        let statements = self.statements.of_member(place);
        let mut work =
            EntityWork::begin_gathering(session, entity, hands, statements, into).await?;
        match wanted {
            Wanted::Changes => work.apply_changes().await?,
            Wanted::Rows(keys) => {
                for page in keys.chunks(session.batch_size) {
                    work.apply_keys(page).await?;
                }
            }
            Wanted::Deletions => Box::pin(work.apply_deletions()).await?,
            Wanted::Undeleted => work.retry_deletions().await?,
        }
        let (mut worker, load, tally) = work.end_gathering();
        // A row that was released but is gone from the source is the deletions' matter.
        if matches!(wanted, Wanted::Changes) {
            self.tallies[place].add(tally);
        }
        let load = load.unwrap_or(Load::Doomed(Vec::new()));
        worker.checks = Checks::AtTheEnd;
        shares.push(Share {
            place,
            revisits: std::mem::take(&mut worker.revisits),
            ranges: parts(load.row_count(), self.rows_of_a_part()),
            worker,
            load,
        });
        Ok(())
    }

    fn rows_of_a_part(&self) -> usize {
        match self.statements.is_checked_at_once() {
            true => ROWS_AT_ONCE,
            false => self.session.batch_size,
        }
    }

    /// Carries everything out that was gathered, and reports it.
    async fn carry_out(
        &mut self,
        hands: &mut Hands,
        shares: Vec<Share>,
        worth: Worth,
    ) -> Result<()> {
        if shares.iter().any(|share| share.load.row_count() > 0) {
            let transaction = Transaction::new(self.session, &self.statements, shares, worth);
            let done = transaction.carry_out(&mut hands.writer).await?;
            for it in &done.batches {
                let name = &self.entities[it.place].name;
                self.tallies[it.place].counts.add(it.counts);
                self.session.say_batch(name, it.number, &it.counts);
            }
            if !done.batches.is_empty() {
                self.session.patience.advance();
            }
            self.say_progress();
            if done.batches.iter().any(|it| it.counts.quarantined > 0) {
                self.session.check_budget(&mut hands.control).await?;
            }
            self.session.stop_if_asked(done.signal)?;
        }
        let drop = self.statements.drop();
        batch::run(&mut hands.writer, "dropping the stage tables", &drop).await
    }
}

impl Knot<'_> {
    fn say_progress(&self) {
        if self.entities.len() == 1 {
            // Its phase is not over, and reports for itself.
            return;
        }
        for (entity, tally) in self.entities.iter().zip(&self.tallies) {
            let counts = &tally.counts;
            self.session.say_progress(&entity.name, counts, 0, true);
        }
    }
}

fn keys_of(entity: &ResolvedEntity, stored: &[Value]) -> Result<Vec<Key>> {
    let types = entity.key_types();
    let keys = stored.iter().map(|key| Key::from_json(key, &types));
    let keys: std::result::Result<Vec<Key>, _> = keys.collect();
    let mut keys = keys.map_err(unreadable(&entity.name))?;
    keys.sort();
    Ok(keys)
}

/// Parts rows into closed ranges of at most so many.
fn parts(row_count: usize, size: usize) -> Vec<(usize, usize)> {
    let firsts = (0..row_count).step_by(size.max(1));
    firsts
        .map(|first| (first, (first + size).min(row_count) - 1))
        .collect()
}
