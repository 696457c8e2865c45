//! The comparison of everything: source and ledger merged in key order, in parts that several readers share.

use super::entity::{Hands, Pass, REPORT_EVERY, check_interrupt, report};
use super::ledger_rows::LedgerRows;
use super::merge::Merge;
use super::shortcut::unreadable;
use super::sink::ChangeSink;
use super::standing::Basis;
use super::verdict::judge;
use crate::context::Context;
use crate::db::control::ledger::has_key;
use crate::db::source;
use crate::db::statement::ledger;
use crate::db::statement::source::SourceStatements;
use crate::domain::canonical::RowShape;
use crate::domain::detection::{ChangeKind, DetectionCounts};
use crate::domain::key::Key;
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Kind, Result};
use crate::service::parting::{self, Slice};
use crate::service::rows::SourceRows;
use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering as Atomic};
use std::time::Duration;
use tokio::task::JoinSet;
use uuid::Uuid;

/// The most parts of an entity.
const MOST_PARTS: u64 = 64;
/// How often a reader that would help looks whether another one has ended.
const LOOK: Duration = Duration::from_millis(50);

/// The comparison of everything of one entity.
pub(super) struct Full<'a> {
    pub pass: &'a Pass<'a>,
    pub entity: &'a ResolvedEntity,
    pub statements: &'a SourceStatements,
    pub basis: &'a Basis,
}

/// What the readers of an entity share.
struct Work {
    context: Context,
    entity: ResolvedEntity,
    statements: SourceStatements,
    detection_id: Option<Uuid>,
    expected: u64,
    cuts: Vec<Key>,
    next: AtomicUsize,
    rows_read: AtomicU64,
}

impl Full<'_> {
    /// Reads everything and counts what differs.
    pub async fn merge(
        &self,
        hands: &mut Hands,
        counts: &mut DetectionCounts,
        sink: &mut ChangeSink<'_>,
    ) -> Result<()> {
        let pass = self.pass;
        let expected = counts.source_rows - counts.filtered;
        let parts = match pass.readers {
            1 => 1,
            _ => usize::try_from((expected / pass.part_rows.max(1)).clamp(1, MOST_PARTS))
                .unwrap_or(1),
        };
        let cuts = match self.basis.can_be_parted {
            // Without its index a part of the ledger costs as much as all of it.
            true if parts > 1 && has_key(&mut hands.target, &self.entity.name).await? => {
                parting::cuts(
                    pass.context,
                    self.entity,
                    self.statements,
                    &mut hands.reader,
                    expected,
                    parts,
                )
                .await?
            }
            _ => Vec::new(),
        };
        let work = Arc::new(Work {
            context: pass.context.clone(),
            entity: self.entity.clone(),
            statements: self.statements.clone(),
            detection_id: pass.detection_id,
            expected,
            cuts,
            next: AtomicUsize::new(0),
            rows_read: AtomicU64::new(0),
        });
        let mut helpers = JoinSet::new();
        let (own, ()) = tokio::try_join!(
            work.read_parts(hands, sink),
            self.find_help(&work, &mut helpers)
        )?;
        add(counts, &own);
        while let Some(helped) = helpers.join_next().await {
            let helped = helped.map_err(|error| {
                Error::new(Kind::Unexpected, "a reader ended by itself").cause(error.to_string())
            })?;
            add(counts, &helped?);
        }
        counts.reading.rows_read += work.rows_read.load(Atomic::Relaxed);
        Ok(())
    }

    /// Lets readers that have nothing else to do take parts as well.
    async fn find_help(
        &self,
        work: &Arc<Work>,
        helpers: &mut JoinSet<Result<DetectionCounts>>,
    ) -> Result<()> {
        while helpers.len() + 1 < self.pass.readers && work.is_left() {
            let Ok(reading) = Arc::clone(&self.pass.reading).try_acquire_owned() else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            let mut hands = self.pass.hands().await?;
            let work = Arc::clone(work);
            helpers.spawn(async move {
                let _reading = reading;
                let mut store = hands.store.take();
                let mut sink = ChangeSink::new(&work.entity, work.detection_id, store.as_mut());
                let counts = work.read_parts(&mut hands, &mut sink).await?;
                sink.finish().await?;
                Ok(counts)
            });
        }
        Ok(())
    }
}

fn add(sum: &mut DetectionCounts, part: &DetectionCounts) {
    sum.new += part.new;
    sum.modified += part.modified;
    sum.deleted += part.deleted;
    sum.unchanged += part.unchanged;
    sum.set_aside += part.set_aside;
}

impl Work {
    fn is_left(&self) -> bool {
        self.next.load(Atomic::Relaxed) <= self.cuts.len()
    }

    /// Merges parts until none is left.
    async fn read_parts(
        &self,
        hands: &mut Hands,
        sink: &mut ChangeSink<'_>,
    ) -> Result<DetectionCounts> {
        let mut counts = DetectionCounts::default();
        loop {
            let part = self.next.fetch_add(1, Atomic::Relaxed);
            if part > self.cuts.len() {
                return Ok(counts);
            }
            sink.begin_part(part).await?;
            let slice = Slice::between(&self.cuts, part);
            self.merge(&slice, hands, &mut counts, sink).await?;
        }
    }

    async fn merge(
        &self,
        slice: &Slice,
        hands: &mut Hands,
        counts: &mut DetectionCounts,
        sink: &mut ChangeSink<'_>,
    ) -> Result<()> {
        let (from, to) = (slice.from.as_ref(), slice.to.as_ref());
        let unreadable = unreadable(&self.entity);
        let statement = self.statements.slice(from, to).map_err(&unreadable)?;
        let name = &self.entity.name;
        let ledger = ledger::read_slice(&self.entity, from, to).map_err(&unreadable)?;
        let (stream, known) = tokio::try_join!(
            source::rows(&mut hands.reader, &statement, name),
            LedgerRows::open(&mut hands.target, &ledger, &self.entity)
        )?;
        let rows = SourceRows::new(stream, RowShape::new(&self.entity), name);
        let mut both = Merge::new(rows, known);
        while let Some(order) = both.next().await? {
            match order {
                Ordering::Less => {
                    counts.new += 1;
                    sink.push(ChangeKind::New, both.rows.row().key()).await?;
                }
                Ordering::Equal => {
                    sink.break_run().await?;
                    let verdict = judge(both.rows.row().hash(), both.known.row());
                    verdict.count(counts);
                    if let Some(kind) = verdict.change() {
                        sink.push_single(kind, &both.known.row().key).await?;
                    }
                }
                Ordering::Greater => {
                    sink.break_run().await?;
                    let known = both.known.row();
                    if known.letter != b'd' {
                        counts.deleted += 1;
                        sink.push(ChangeKind::Deleted, &known.key).await?;
                    }
                }
            }
            if order != Ordering::Greater && both.rows.row_count().is_multiple_of(REPORT_EVERY) {
                let done = self.rows_read.fetch_add(REPORT_EVERY, Atomic::Relaxed);
                let rows = (done + REPORT_EVERY, self.expected);
                report(&self.context, name, rows, false);
                check_interrupt(&self.context)?;
            }
        }
        self.rows_read
            .fetch_add(both.rows.row_count() % REPORT_EVERY, Atomic::Relaxed);
        Ok(())
    }
}
