//! The transaction of a knot: every share is written, then the references between them are checked.
//!
//! Rows that cannot go are found in attempts that are rolled back, and noted. Each note keeps more rows out,
//! so the attempts come to an end; only one in which nothing is left to note is committed.

use super::Share;
use crate::db::control::batch::{self, Attempt, BatchCounts, Mark};
use crate::db::control::lease::fence;
use crate::db::direct;
use crate::db::failure::Refusal;
use crate::db::server::Connection;
use crate::db::statement::knot::{Check, KnotStatements};
use crate::domain::key::Key;
use crate::domain::session::Signal;
use crate::error::{Error, Kind, Result};
use crate::service::migrate::batch::{self as batch_worker, Load, SEARCH_ROUNDS, TRANSIENT_TRIES};
use crate::service::migrate::bisect::BadRow;
use crate::service::migrate::entity::Session;
use crate::service::migrate::{bisect, edits};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A part of a share that was written by one statement.
pub(super) struct Written {
    pub place: usize,
    pub number: i32,
    pub counts: BatchCounts,
    /// Rows that are new in the ledger.
    pub ledger_rows: i64,
}

/// What was committed, and what the operators want.
pub(super) struct Done {
    pub batches: Vec<Written>,
    pub signal: Signal,
}

impl Done {
    fn nothing() -> Self {
        Done {
            batches: Vec::new(),
            signal: Signal::Run,
        }
    }
}

/// How an attempt ended; unless it is done, it was rolled back.
enum Step {
    Done(Done),
    /// Something was noted, and the next attempt heeds it.
    Again,
    /// Nothing gets in that was out, and that is no news.
    Nothing,
    /// The target refuses rows of the share at this index.
    Refused(usize, Refusal),
    /// Worth another try.
    Transient(Error),
}

/// Rows that do not fit what this transaction leaves behind.
#[derive(Default)]
struct Misfits {
    /// Share and ordinals of rows that were to come and did not.
    absent: Vec<(usize, Vec<i32>)>,
    /// Share and rows whose reference leads nowhere, or that are still referred to.
    bad: Vec<(usize, Vec<BadRow>)>,
}

/// What makes a transaction worth its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// Whatever became of the rows.
    Anything,
    /// More than that all of them are still held.
    News,
    /// That a row gets in, or goes.
    Success,
}

impl Worth {
    fn is_met(self, written: &[Written]) -> bool {
        let mut counts = written.iter().map(|it| it.counts);
        match self {
            Worth::Anything => true,
            Worth::News => counts.any(|it| it.held < it.rows_in),
            Worth::Success => counts.any(|it| it.let_in() > 0),
        }
    }
}

/// The shares of a knot, on their way into the target.
pub(super) struct Transaction<'k> {
    session: &'k Session<'k>,
    statements: &'k KnotStatements,
    shares: Vec<Share>,
    worth: Worth,
    /// Whether rows that seem edited were looked at.
    looked: bool,
}

impl<'k> Transaction<'k> {
    pub fn new(
        session: &'k Session<'k>,
        statements: &'k KnotStatements,
        shares: Vec<Share>,
        worth: Worth,
    ) -> Self {
        Transaction {
            session,
            statements,
            shares,
            worth,
            looked: false,
        }
    }

    /// Tries until everything that can go is committed, and the rest is set aside with it.
    ///
    /// # Errors
    /// The target refuses everything, or cannot be reached; nothing is written then.
    pub async fn carry_out(mut self, connection: &mut Connection) -> Result<Done> {
        match self.try_all(connection).await {
            // What did not go the first time may fail as a whole the second time.
            Err(error) if self.worth == Worth::Success && error.kind() == Kind::Drift => {
                batch::mark(connection, Mark::RollBack).await?;
                Ok(Done::nothing())
            }
            ended => ended,
        }
    }

    async fn try_all(&mut self, connection: &mut Connection) -> Result<Done> {
        let (mut tries, mut rounds) = (0, 0);
        loop {
            let disturbed = match self.attempt(connection).await? {
                Step::Done(done) => return Ok(done),
                Step::Nothing => return Ok(Done::nothing()),
                Step::Again => None,
                Step::Transient(error) => Some(error),
                // Halved, rows that a foreign key holds together would all look bad.
                Step::Refused(..) if self.statements.is_checked_at_once() => {
                    return Ok(Done::nothing());
                }
                Step::Refused(index, refusal) => {
                    rounds += 1;
                    if rounds > SEARCH_ROUNDS * self.shares.len() {
                        let name = &self.shares[index].worker.entity;
                        return Err(bisect::systemic(name, &refusal));
                    }
                    self.search(connection, index).await?
                }
            };
            if let Some(error) = disturbed {
                tries += 1;
                if tries >= TRANSIENT_TRIES {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(100 << tries)).await;
            }
        }
    }

    async fn attempt(&mut self, connection: &mut Connection) -> Result<Step> {
        let began = Instant::now();
        self.hold_stuck(connection).await?;
        self.begin(connection).await?;
        let mut written = Vec::new();
        let mut edited = 0;
        for index in 0..self.shares.len() {
            match self.write(connection, index, &mut written).await? {
                Ok(seen) => edited += seen,
                Err(step) => return Ok(step),
            }
        }
        if edited > 0 && !self.looked {
            batch::mark(connection, Mark::RollBack).await?;
            self.looked = true;
            for share in &mut self.shares {
                edits::note_untouched(&share.worker, connection, &mut share.load).await?;
            }
            return Ok(Step::Again);
        }
        if !self.worth.is_met(&written) {
            batch::mark(connection, Mark::RollBack).await?;
            return Ok(Step::Nothing);
        }
        let misfits = self.misfits(connection).await?;
        if !misfits.absent.is_empty() || !misfits.bad.is_empty() {
            batch::mark(connection, Mark::RollBack).await?;
            self.note(connection, misfits).await?;
            return Ok(Step::Again);
        }
        let refused = match batch::settle_constraints(connection).await? {
            None => return self.commit(connection, written, began).await,
            Some(Attempt::Transient(error)) => error,
            // Somebody was quicker: the references were there a moment ago.
            Some(Attempt::Refused(refusal)) => self.systemic(&refusal),
            Some(Attempt::Applied { .. }) => self.defect(),
        };
        batch::mark(connection, Mark::RollBack).await?;
        Ok(Step::Transient(refused))
    }

    /// Begins a transaction in which only the references within the knot are checked at its end. The lease
    /// is proven right before the commit, so that a long transaction does not keep it locked.
    async fn begin(&self, connection: &mut Connection) -> Result<()> {
        direct::begin(connection).await?;
        let defer = self.statements.defer();
        batch::run(connection, "deferring constraints", &defer).await
    }

    async fn hold_stuck(&self, connection: &mut Connection) -> Result<()> {
        let mut shares = self.shares.iter();
        if shares.all(|share| matches!(share.load, Load::Doomed(_))) {
            return Ok(());
        }
        let hold = self.statements.hold_stuck();
        batch::run(connection, "following the references of a knot", &hold).await
    }

    /// Writes one share into the open transaction; returns how many rows seem edited, or why it was rolled back.
    async fn write(
        &self,
        connection: &mut Connection,
        index: usize,
        written: &mut Vec<Written>,
    ) -> Result<std::result::Result<i64, Step>> {
        let share = &self.shares[index];
        share.forget(connection).await?;
        let mut number = share.worker.number.load(Ordering::SeqCst);
        let mut seen = 0;
        for (first, last) in &share.ranges {
            self.session.lease.check()?;
            self.session.stop_if_interrupted()?;
            let attempt = share.worker.attempt(connection, &share.load, *first, *last);
            let step = match attempt.await? {
                Attempt::Applied {
                    counts,
                    edited,
                    ledger_rows,
                } => {
                    seen += edited;
                    written.push(Written {
                        place: share.place,
                        number,
                        counts,
                        ledger_rows,
                    });
                    number += 1;
                    continue;
                }
                Attempt::Refused(refusal) => Step::Refused(index, refusal),
                Attempt::Transient(error) => Step::Transient(error),
            };
            batch::mark(connection, Mark::RollBack).await?;
            return Ok(Err(step));
        }
        Ok(Ok(seen))
    }

    /// Looks for rows that would not fit after the commit.
    async fn misfits(&self, connection: &mut Connection) -> Result<Misfits> {
        let mut misfits = Misfits::default();
        for (index, share) in self.shares.iter().enumerate() {
            let doomed = match &share.load {
                Load::Doomed(doomed) => doomed,
                Load::Staged { .. } => {
                    let absent = self.statements.absent(share.place);
                    let absent = batch::ordinals(connection, &absent).await?;
                    if !absent.is_empty() {
                        misfits.absent.push((index, absent));
                    }
                    let checks = self.statements.dangling(share.place);
                    let reason = "the row it refers to is not there";
                    misfits.run(connection, checks, index, 0, reason).await?;
                    continue;
                }
            };
            let keys: Vec<Key> = doomed.iter().map(|it| it.key.clone()).collect();
            for (first, last) in &share.ranges {
                let keys = keys.get(*first..=*last).unwrap_or_default();
                let checks = self.statements.still_referred(share.place, keys);
                let checks = checks.map_err(share.worker.unreadable())?;
                let reason = "rows of the target still refer to it";
                misfits
                    .run(connection, checks, index, *first, reason)
                    .await?;
            }
        }
        Ok(misfits)
    }

    async fn note(&mut self, connection: &mut Connection, misfits: Misfits) -> Result<()> {
        for (index, ordinals) in misfits.absent {
            let leave = self
                .statements
                .leave_out(self.shares[index].place, &ordinals);
            batch::run(connection, "leaving rows out", &leave).await?;
        }
        for (index, bad) in misfits.bad {
            let Share { worker, load, .. } = &mut self.shares[index];
            bisect::mark_all(worker, connection, load, &bad).await?;
        }
        Ok(())
    }

    /// Searches the share at an index for rows that the target refuses; returns what got in the way.
    async fn search(&mut self, connection: &mut Connection, index: usize) -> Result<Option<Error>> {
        self.begin(connection).await?;
        for earlier in 0..index {
            match self.write(connection, earlier, &mut Vec::new()).await? {
                Ok(_) => {}
                Err(Step::Transient(error)) => return Ok(Some(error)),
                Err(Step::Refused(_, refusal)) => return Ok(Some(self.systemic(&refusal))),
                Err(_) => return Ok(Some(self.defect())),
            }
        }
        let share = &mut self.shares[index];
        share.forget(connection).await?;
        let (mut bad, mut good) = (Vec::new(), Vec::new());
        let (worker, load) = (&share.worker, &mut share.load);
        let ranges = &share.ranges;
        let disturbed =
            bisect::search(worker, connection, load, ranges, &mut bad, &mut good).await?;
        batch::mark(connection, Mark::RollBack).await?;
        if disturbed.is_some() {
            return Ok(disturbed);
        }
        if bad.is_empty() {
            // Rows that change places go one after the other, though not in one statement.
            share.ranges = good;
        } else {
            bisect::mark_all(worker, connection, load, &bad).await?;
        }
        Ok(None)
    }

    async fn commit(
        &self,
        connection: &mut Connection,
        written: Vec<Written>,
        began: Instant,
    ) -> Result<Step> {
        let Some(first) = self.shares.first() else {
            return Ok(Step::Nothing);
        };
        for it in &written {
            let share = self.shares.iter().find(|share| share.place == it.place);
            let Some(share) = share else { continue };
            let done = batch_worker::Done {
                counts: it.counts,
                ledger_rows: it.ledger_rows,
                last_key: share.load.last_key(),
            };
            let worker = &share.worker;
            worker.record(connection, &done, began, it.number).await?;
        }
        let signal = fence(connection, first.worker.epoch).await?;
        batch::commit(connection).await?;
        Ok(Step::Done(Done {
            batches: written,
            signal,
        }))
    }

    fn systemic(&self, refusal: &Refusal) -> Error {
        let names = self.shares.iter().map(|it| it.worker.entity.as_str());
        bisect::systemic(&names.collect::<Vec<_>>().join(", "), refusal)
    }

    fn defect(&self) -> Error {
        let names = self.shares.iter().map(|it| it.worker.entity.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        Error::new(
            Kind::Unexpected,
            format!("the rows of {names} cannot be applied together"),
        )
    }
}

impl Misfits {
    async fn run(
        &mut self,
        connection: &mut Connection,
        checks: Vec<Check>,
        index: usize,
        offset: usize,
        reason: &str,
    ) -> Result<()> {
        for check in checks {
            let found = batch::ordinals(connection, &check.statement).await?;
            let found = found.into_iter().filter_map(|it| usize::try_from(it).ok());
            let bad = found.map(|ordinal| BadRow {
                ordinal: offset + ordinal,
                refusal: Refusal {
                    sqlstate: "23503".into(),
                    place: Some(check.constraint.clone()),
                    reason: reason.into(),
                },
            });
            let bad: Vec<BadRow> = bad.collect();
            if !bad.is_empty() {
                self.bad.push((index, bad));
            }
        }
        Ok(())
    }
}

impl Share {
    async fn forget(&self, connection: &mut Connection) -> Result<()> {
        match (&self.load, self.revisits) {
            (Load::Staged { .. }, true) => self.worker.forget(connection).await,
            _ => Ok(()),
        }
    }
}
