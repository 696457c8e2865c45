//! Detection that reads what changed: rows since the watermark, rows that are set aside, and counts for the rest.

use super::entity::{Hands, Pass, REPORT_EVERY};
use super::ledger_rows::{LedgerRow, LedgerRows};
use super::merge::Merge;
use super::sink::ChangeSink;
use super::standing::Basis;
use super::verdict::{Verdict, judge};
use super::{gone, slice};
use crate::db::control;
use crate::db::server::Connection;
use crate::db::source;
use crate::db::standing::{Newer, Planner, begin_ledger_view, count_newer, end_ledger_view, plan};
use crate::db::statement::Statement;
use crate::db::statement::ledger;
use crate::db::statement::source::SourceStatements;
use crate::db::statement::source::newer::{self, Since};
use crate::domain::canonical::RowShape;
use crate::domain::connection::Side;
use crate::domain::detection::{ChangeKind, DetectMode, DetectionCounts};
use crate::domain::key::{Key, KeyFault};
use crate::domain::resolve::ResolvedEntity;
use crate::domain::watermark::{ReadMode, Watermark, deletions, lower_bound};
use crate::error::{Error, Kind, Result};
use crate::service::parting::Slice;
use crate::service::rows::SourceRows;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

/// Rows that are looked up in the ledger by one statement.
const PAGE: usize = 2_000;
/// From so many rows since the watermark on, reading everything in order is cheaper than looking them up.
const MANY_ROWS: u64 = 100_000;
/// The same as a share of all rows.
const MANY_OF: u64 = 20;

/// From so many blocks on, one in a hundred says about how many rows were written since the watermark.
const MANY_BLOCKS: u64 = 2_000;

/// How an attempt ended.
pub(super) enum Attempt {
    /// The counts are exact; this is the watermark once they are applied.
    Done(Box<Watermark>),
    /// The shortcut does not apply after all.
    FellBack(String),
    /// It missed something.
    Distrusted(String),
}

/// Counts and changes as far as they are known.
pub(super) struct Findings<'a, 'c> {
    pub counts: &'a mut DetectionCounts,
    pub sink: &'a mut ChangeSink<'c>,
    /// Keys that are in the source now, but not in the ledger's live rows.
    pub arrived: u64,
    /// The same as integers, in no order; nothing when they are none, or more than are kept.
    pub arrivals: Option<Vec<i64>>,
    /// The slice that is read in full afterwards, and the changed keys in it.
    pub slice: Option<Slice>,
    pub found: HashSet<Key>,
}

/// The most arrived keys that are kept, at 8 bytes each.
const MOST_ARRIVALS: usize = 500_000;

impl Findings<'_, '_> {
    /// Notes a key that is in the source, but not in the ledger's live rows.
    fn arrive(&mut self, key: &Key) {
        self.arrived += 1;
        let room = self.arrivals.take_if(|it| it.len() < MOST_ARRIVALS);
        self.arrivals = room.zip(key.integer()).map(|(mut arrivals, number)| {
            arrivals.push(number);
            arrivals
        });
    }

    pub async fn push(&mut self, kind: ChangeKind, key: &Key) -> Result<()> {
        if self.slice.as_ref().is_some_and(|it| it.holds(key)) {
            self.found.insert(key.clone());
        }
        self.sink.push_single(kind, key).await
    }
}

/// The shortcut of one entity.
pub(super) struct Shortcut<'a> {
    pub pass: &'a Pass<'a>,
    pub entity: &'a ResolvedEntity,
    pub statements: &'a SourceStatements,
    pub basis: &'a Basis,
    pub mode: ReadMode,
    /// Where the rows lie that were written since the watermark, if that is known.
    pub newer: Option<Newer>,
}

/// A reason to read everything after all.
type Refusal = Option<String>;

impl Shortcut<'_> {
    /// Tries it; whatever does not add up ends it, never the command.
    pub async fn attempt(
        &self,
        hands: &mut Hands,
        counts: &mut DetectionCounts,
        sink: &mut ChangeSink<'_>,
    ) -> Result<Attempt> {
        begin_ledger_view(&mut hands.target).await?;
        let attempt = self.read(hands, counts, sink).await?;
        end_ledger_view(&mut hands.target).await?;
        Ok(attempt)
    }

    async fn read(
        &self,
        hands: &mut Hands,
        counts: &mut DetectionCounts,
        sink: &mut ChangeSink<'_>,
    ) -> Result<Attempt> {
        let mut watched_rows = BTreeMap::new();
        if self.mode == ReadMode::Xmin
            && let Some(refusal) = self.beside(&mut hands.reader, &mut watched_rows).await?
        {
            return Ok(Attempt::FellBack(refusal));
        }
        let mut watermark = self.basis.watermark(self.pass, watched_rows);
        let slice = match self.pass.wish {
            DetectMode::Auto if self.pass.since.is_none() => {
                Some(slice::next(self, hands, &mut watermark, counts.source_rows).await?)
            }
            _ => None,
        };
        if self.pass.wish != DetectMode::Auto {
            watermark.distrust = None;
        }
        let mut findings = Findings {
            counts,
            sink,
            arrived: 0,
            arrivals: Some(Vec::new()),
            slice,
            found: HashSet::new(),
        };
        if let Some(refusal) = self.changed_rows(hands, &mut findings).await? {
            return Ok(Attempt::FellBack(refusal));
        }
        self.open_rows(hands, &mut findings).await?;
        if let Some(refusal) = self.rest(hands, &mut findings).await? {
            return Ok(Attempt::FellBack(refusal));
        }
        if let Some(distrust) = slice::check(self, hands, &mut findings).await? {
            return Ok(Attempt::Distrusted(distrust));
        }
        Ok(Attempt::Done(Box::new(watermark)))
    }

    /// Makes sure that nothing changed in the tables beside: a row that went from there leaves no trace here.
    async fn beside(
        &self,
        reader: &mut Connection,
        watched_rows: &mut BTreeMap<String, u64>,
    ) -> Result<Refusal> {
        let Some(stored) = &self.basis.stored else {
            return Ok(Some("there is no watermark".to_owned()));
        };
        for table in &self.basis.beside {
            let statement = newer::count_newer(table, self.pass.window(&stored.watermark));
            let (rows, newer) = count_newer(reader, &statement).await?;
            let before = stored.watermark.watched_rows.get(&table.to_string());
            if newer > 0 || before != Some(&rows) {
                return Ok(Some(format!("{table}, which it also reads, has changed")));
            }
            watched_rows.insert(table.to_string(), rows);
        }
        Ok(None)
    }

    fn since(&self) -> Option<Since> {
        let stored = self.basis.stored.as_ref().map(|it| &it.watermark);
        match self.mode {
            ReadMode::Full => None,
            ReadMode::Xmin => Some(Since::Written(self.pass.window(stored?))),
            ReadMode::Timestamp => Some(Since::Time(match self.pass.since {
                Some(since) => since,
                None => {
                    let overlap = self.entity.updated_at.as_ref()?.overlap_secs;
                    lower_bound(stored?.seen_at, overlap)
                }
            })),
        }
    }

    /// Tells whether other rows of its tables have a say in a row.
    fn is_query(&self) -> bool {
        self.entity.source.own_table().is_none()
    }

    /// Reads the rows since the watermark and looks each up in the ledger.
    async fn changed_rows(
        &self,
        hands: &mut Hands,
        findings: &mut Findings<'_, '_>,
    ) -> Result<Refusal> {
        if self.is_query() && self.mode == ReadMode::Xmin {
            // None of its tables changed, so neither did its rows.
            return Ok(None);
        }
        let Some(since) = self.since() else {
            return Ok(Some("there is no watermark".to_owned()));
        };
        let passing = findings.counts.source_rows - findings.counts.filtered;
        let limit = MANY_ROWS.max(passing / MANY_OF);
        if self.newer.is_some_and(|it| it.first_block.is_none()) {
            return Ok(None);
        }
        if self.are_many(&mut hands.reader, since, limit).await? {
            return Ok(too_many(limit));
        }
        let side = Side::Source;
        let (statement, planner) = self.newer_rows(since);
        plan(side, &mut hands.reader, planner).await?;
        let name = &self.entity.name;
        let stream = source::rows(&mut hands.reader, &statement, name).await?;
        let mut rows = SourceRows::new(stream, RowShape::new(self.entity), name);
        let mut page = Vec::with_capacity(PAGE);
        let mut refusal = None;
        while rows.advance().await? {
            page.push((rows.row().key().clone(), *rows.row().hash()));
            if page.len() >= PAGE {
                self.judge_page(&mut hands.target, &page, true, findings)
                    .await?;
                page.clear();
            }
            if rows.row_count() > limit {
                refusal = too_many(limit);
                break;
            }
            if rows.row_count().is_multiple_of(REPORT_EVERY) {
                self.pass
                    .report(self.entity, rows.row_count(), passing, false);
                self.pass.check_interrupt()?;
            }
        }
        findings.counts.reading.rows_read += rows.row_count();
        drop(rows);
        if refusal.is_some() {
            // A stream that was left in the middle spoils its connection.
            hands.reader = self.pass.snapshot.reader().await?;
            return Ok(refusal);
        }
        plan(side, &mut hands.reader, Planner::Usual).await?;
        self.judge_page(&mut hands.target, &page, true, findings)
            .await?;
        Ok(None)
    }

    /// Tells whether a sample leaves no doubt that there are more of them than is worth while, before that many are
    /// read. Of a small table they soon are.
    async fn are_many(&self, reader: &mut Connection, since: Since, limit: u64) -> Result<bool> {
        let (Some(newer), Since::Written(window)) = (self.newer, since) else {
            return Ok(false);
        };
        if newer.blocks < MANY_BLOCKS {
            return Ok(false);
        }
        let statement = self.statements.sample_newer(window);
        let (_, newer) = count_newer(reader, &statement).await?;
        Ok(newer * 100 > 2 * limit)
    }

    /// How the rows since the watermark are read best.
    fn newer_rows(&self, since: Since) -> (Statement, Planner) {
        let start = self.newer.as_ref().and_then(Newer::start);
        let tail = match (since, start) {
            (Since::Written(window), Some(block)) => self.statements.newer_from(window, block),
            _ => None,
        };
        match tail {
            Some(statement) => (statement, Planner::Usual),
            None => (self.statements.newer(since), Planner::Parallel),
        }
    }

    /// Reads the rows that are set aside, whenever they were changed.
    async fn open_rows(&self, hands: &mut Hands, findings: &mut Findings<'_, '_>) -> Result<()> {
        let statement = ledger::read_open(self.entity);
        let mut keys = Vec::new();
        let mut open = LedgerRows::open(&mut hands.target, &statement, self.entity).await?;
        while open.advance().await? {
            keys.push(open.row().key.clone());
        }
        drop(open);
        plan(Side::Source, &mut hands.reader, Planner::ByKey).await?;
        for keys in keys.chunks(PAGE) {
            let statement = self
                .statements
                .keys(keys)
                .map_err(unreadable(self.entity))?;
            let name = &self.entity.name;
            let stream = source::rows(&mut hands.reader, &statement, name).await?;
            let mut rows = SourceRows::new(stream, RowShape::new(self.entity), name);
            let mut page = Vec::with_capacity(keys.len());
            while rows.advance().await? {
                page.push((rows.row().key().clone(), *rows.row().hash()));
            }
            findings.counts.reading.rows_read += rows.row_count();
            drop(rows);
            self.judge_page(&mut hands.target, &page, false, findings)
                .await?;
            self.pass.check_interrupt()?;
        }
        plan(Side::Source, &mut hands.reader, Planner::Usual).await?;
        Ok(())
    }

    /// Judges rows that were read; those that are set aside are left to their own page.
    async fn judge_page(
        &self,
        target: &mut Connection,
        page: &[(Key, [u8; 16])],
        skip_open: bool,
        findings: &mut Findings<'_, '_>,
    ) -> Result<()> {
        if page.is_empty() {
            return Ok(());
        }
        let keys: Vec<Key> = page.iter().map(|(key, _)| key.clone()).collect();
        let statement = ledger::read_keys(self.entity, &keys).map_err(unreadable(self.entity))?;
        plan(Side::Target, target, Planner::ByKey).await?;
        let known = ledger_rows(target, &statement, self.entity).await?;
        plan(Side::Target, target, Planner::Usual).await?;
        for (key, hash) in page {
            let Some(row) = known.get(key) else {
                findings.arrive(key);
                findings.counts.new += 1;
                findings.push(ChangeKind::New, key).await?;
                continue;
            };
            if skip_open && !matches!(row.letter, b'a' | b'd') {
                continue;
            }
            let verdict = judge(hash, row);
            match verdict {
                // What did not change is what is left at the end.
                Verdict::Unchanged => continue,
                Verdict::Returned => findings.arrive(key),
                _ => {}
            }
            verdict.count(findings.counts);
            if let Some(kind) = verdict.change() {
                findings.push(kind, key).await?;
            }
        }
        Ok(())
    }

    /// Finds out how many rows are gone, and which, and that all others are unchanged.
    async fn rest(&self, hands: &mut Hands, findings: &mut Findings<'_, '_>) -> Result<Refusal> {
        let passing = findings.counts.source_rows - findings.counts.filtered;
        if self.pass.since.is_some() {
            // What was changed before is not known, so neither is what is gone.
            return Ok(self.unchanged(passing, findings));
        }
        let live = live_rows(&mut hands.target, self.entity).await?;
        let Some(deleted) = deletions(live, findings.arrived, passing) else {
            return Ok(contradiction());
        };
        if deleted > 0 {
            let arrived = findings.arrived;
            let found = gone::find(self, hands, live, findings).await?;
            if found.deleted != deleted || found.arrived != arrived {
                return Ok(contradiction());
            }
        }
        findings.counts.deleted = deleted;
        Ok(self.unchanged(passing, findings))
    }

    /// What was neither changed nor set aside is unchanged.
    fn unchanged(&self, passing: u64, findings: &mut Findings<'_, '_>) -> Refusal {
        let counts = &mut *findings.counts;
        let touched = counts.new + counts.modified + counts.set_aside;
        let Some(unchanged) = passing.checked_sub(touched) else {
            return contradiction();
        };
        counts.unchanged = unchanged;
        None
    }

    /// Compares a slice of the keys in full and counts what had not been found.
    pub async fn compare_slice(
        &self,
        hands: &mut Hands,
        slice: &Slice,
        findings: &mut Findings<'_, '_>,
    ) -> Result<u64> {
        let (from, to) = (slice.from.as_ref(), slice.to.as_ref());
        let unreadable = unreadable(self.entity);
        let statement = self.statements.slice(from, to).map_err(&unreadable)?;
        let name = &self.entity.name;
        let ledger = ledger::read_slice(self.entity, from, to).map_err(&unreadable)?;
        let (stream, known) = tokio::try_join!(
            source::rows(&mut hands.reader, &statement, name),
            LedgerRows::open(&mut hands.target, &ledger, self.entity)
        )?;
        let rows = SourceRows::new(stream, RowShape::new(self.entity), name);
        let mut both = Merge::new(rows, known);
        let mut missed = 0;
        while let Some(order) = both.next().await? {
            let (row, known) = (both.rows.row(), both.known.row());
            let (changed, key) = match order {
                Ordering::Less => (true, row.key()),
                Ordering::Equal => (judge(row.hash(), known).change().is_some(), row.key()),
                Ordering::Greater => (known.letter != b'd', &known.key),
            };
            if changed && !findings.found.contains(key) {
                missed += 1;
            }
            if order != Ordering::Greater && both.rows.row_count().is_multiple_of(REPORT_EVERY) {
                self.pass.check_interrupt()?;
            }
        }
        findings.counts.reading.rows_read += both.rows.row_count();
        Ok(missed)
    }
}

/// Counts the ledger rows that stand for a source row, or knows how many the last session left.
async fn live_rows(target: &mut Connection, entity: &ResolvedEntity) -> Result<u64> {
    let known = control::ledger::row_count(target, &entity.name).await?;
    if let Some(live) = known.and_then(|it| it.live) {
        return Ok(u64::try_from(live).unwrap_or(0));
    }
    let statement = match known {
        Some(_) => ledger::count_gone(entity),
        None => ledger::count_live(entity),
    };
    let counted = source::count_on(Side::Target, target, &statement).await?;
    Ok(match known.map(|it| u64::try_from(it.all)) {
        Some(Ok(all)) => all.saturating_sub(counted),
        _ => counted,
    })
}

fn too_many(limit: u64) -> Refusal {
    Some(format!(
        "more than {limit} rows were written since the last run"
    ))
}

fn contradiction() -> Refusal {
    Some("its counts contradict what was read".to_owned())
}

/// Reads ledger rows into a map; only for pages.
async fn ledger_rows(
    target: &mut Connection,
    statement: &Statement,
    entity: &ResolvedEntity,
) -> Result<BTreeMap<Key, LedgerRow>> {
    let mut rows = LedgerRows::open(target, statement, entity).await?;
    let mut known = BTreeMap::new();
    while rows.advance().await? {
        known.insert(rows.row().key.clone(), rows.row().clone());
    }
    Ok(known)
}

/// Says that a key does not fit its entity; keys come from the entity's own streams, so that is a defect.
pub(super) fn unreadable(entity: &ResolvedEntity) -> impl Fn(KeyFault) -> Error {
    move |fault| {
        let what = format!("a key of {} cannot be read", entity.name);
        Error::new(Kind::Unexpected, what).cause(fault.to_string())
    }
}
