//! One entity of a pass: the choice of a mode, and the full merge of source and ledger.

use super::ledger_rows::LedgerRows;
use super::shortcut::{Attempt, Shortcut};
use super::sink::ChangeSink;
use super::standing::{Basis, basis};
use super::verdict::judge;
use crate::context::Context;
use crate::db::control::{detection, watermark};
use crate::db::server::Connection;
use crate::db::source::{self, Snapshot};
use crate::db::statement::ledger;
use crate::db::statement::source::SourceStatements;
use crate::domain::canonical::RowShape;
use crate::domain::detection::{ChangeKind, DetectMode, DetectionCounts, Reading};
use crate::domain::event::{Event, Level, Progress};
use crate::domain::resolve::ResolvedEntity;
use crate::domain::watermark::{ReadMode, Watermark, choose, could_miss};
use crate::error::{Error, Kind, Result};
use crate::failpoint::pass;
use crate::service::rows::SourceRows;
use chrono::{DateTime, Utc};
use serde_json::json;
use std::cmp::Ordering;
use std::collections::VecDeque;
use tokio::sync::Mutex;
use uuid::Uuid;

/// What the entities of one pass share.
pub(crate) struct Pass<'a> {
    pub context: &'a Context,
    pub snapshot: &'a Snapshot,
    pub ledgers: &'a [String],
    /// The mode that was asked for.
    pub wish: DetectMode,
    /// Reads rows that were changed since then, instead of since the watermark.
    pub since: Option<DateTime<Utc>>,
    /// Where findings are stored; `None` counts only.
    pub detection_id: Option<Uuid>,
}

impl Pass<'_> {
    /// Stops between two rows when that is asked for.
    pub fn check_interrupt(&self) -> Result<()> {
        if self.context.interrupt.is_raised() {
            return Err(Error::new(Kind::Paused, "the detection was interrupted")
                .state("nothing was applied")
                .next("run the same command again"));
        }
        Ok(())
    }

    /// Reports progress.
    pub fn report(&self, entity: &ResolvedEntity, done: u64, total: u64, finished: bool) {
        self.context.emit(Event::Advanced(Progress {
            entity: entity.name.clone(),
            phase: "detect",
            rows_done: done,
            rows_total: total.max(done),
            finished,
        }));
    }
}

/// How often progress is reported, in rows.
pub(super) const REPORT_EVERY: u64 = 20_000;

/// The connections of one detecting worker.
pub(super) struct Hands {
    pub reader: Connection,
    pub target: Connection,
    store: Option<Connection>,
}

/// Compares entities from a queue until it is empty.
pub(crate) async fn work(
    pass: &Pass<'_>,
    queue: &Mutex<VecDeque<&ResolvedEntity>>,
) -> Result<Vec<DetectionCounts>> {
    let mut done = Vec::new();
    let mut hands = None;
    loop {
        let Some(entity) = queue.lock().await.pop_front() else {
            return Ok(done);
        };
        if hands.is_none() {
            hands = Some(Hands {
                reader: pass.snapshot.reader().await?,
                target: pass.context.target.open().await?,
                store: match pass.detection_id {
                    Some(_) => Some(pass.context.target.open().await?),
                    None => None,
                },
            });
        }
        if let Some(hands) = &mut hands {
            done.push(Box::pin(detect(pass, entity, hands)).await?);
        }
    }
}

/// Compares one entity and returns its counts.
async fn detect(
    pass: &Pass<'_>,
    entity: &ResolvedEntity,
    hands: &mut Hands,
) -> Result<DetectionCounts> {
    let statements = SourceStatements::new(entity);
    let total = count_source(&mut hands.reader, entity, &statements).await?;
    let known = pass.ledgers.contains(&entity.name)
        && detection::ask(&mut hands.target, &ledger::is_used(&entity.name)).await?;
    let mut store = hands.store.take();
    let mut sink = ChangeSink::new(entity, pass.detection_id, store.as_mut());
    let mut counts = DetectionCounts {
        entity: entity.name.clone(),
        source_rows: total.relation,
        filtered: total.relation - total.passing,
        ..DetectionCounts::default()
    };
    let basis = basis(pass, entity, &statements, hands).await?;
    let proposed = if known {
        compare(
            pass,
            entity,
            &statements,
            hands,
            &basis,
            &mut counts,
            &mut sink,
        )
        .await?
    } else {
        counts.new = total.passing;
        counts.reading.reason = "nothing of it was migrated yet".to_owned();
        sink.push_whole(total.passing);
        basis.fresh_watermark(pass, hands).await?
    };
    sink.finish().await?;
    pass!("detect.after_chunk");
    if let (Some(id), Some(connection)) = (pass.detection_id, store.as_mut()) {
        detection::save_counts(connection, id, &counts).await?;
        if pass.since.is_none() {
            watermark::propose(connection, id, &entity.name, &proposed).await?;
        }
    }
    hands.store = store;
    pass.report(entity, total.passing, total.passing, true);
    if !counts.adds_up() {
        return Err(Error::new(
            Kind::Unexpected,
            format!("the count of {} does not add up", entity.name),
        )
        .cause(format!("{counts:?}"))
        .state("nothing was applied"));
    }
    Ok(counts)
}

/// Compares in the mode that is chosen, and in full when that one comes to nothing.
async fn compare(
    pass: &Pass<'_>,
    entity: &ResolvedEntity,
    statements: &SourceStatements,
    hands: &mut Hands,
    basis: &Basis,
    counts: &mut DetectionCounts,
    sink: &mut ChangeSink<'_>,
) -> Result<Watermark> {
    let before = basis.stored.as_ref().map(|it| &it.watermark);
    let (mut mode, mut reason) = match pass.since {
        Some(_) => (ReadMode::Timestamp, "--since was given".to_owned()),
        None => choose(pass.wish, &basis.standing, before),
    };
    let mut distrust = None;
    if mode != ReadMode::Full {
        let shortcut = Shortcut {
            pass,
            entity,
            statements,
            basis,
            mode,
        };
        let attempt = Box::pin(shortcut.attempt(hands, counts, sink)).await?;
        match attempt {
            Attempt::Done(watermark) => {
                let overlap = entity.updated_at.as_ref().map_or(0, |it| it.overlap_secs);
                counts.reading.mode = mode;
                counts.reading.reason = reason;
                counts.reading.could_miss = could_miss(mode, overlap, pass.since.is_some());
                return Ok(*watermark);
            }
            Attempt::FellBack(because) => reason = because,
            Attempt::Distrusted(because) => {
                let message = format!("{}: {because}; it is read in full from now on", entity.name);
                let event =
                    Event::of_entity(Level::Warn, &entity.name, "detect", message, json!({}));
                pass.context.emit(event);
                distrust = Some(because.clone());
                reason = because;
            }
        }
        mode = ReadMode::Full;
        sink.discard().await?;
    }
    *counts = DetectionCounts {
        entity: entity.name.clone(),
        source_rows: counts.source_rows,
        filtered: counts.filtered,
        reading: Reading {
            mode,
            reason,
            rows_read: counts.reading.rows_read,
            could_miss: None,
        },
        ..DetectionCounts::default()
    };
    let full = Full {
        pass,
        entity,
        statements,
    };
    full.merge(hands, counts, sink).await?;
    let mut watermark = basis.fresh_watermark(pass, hands).await?;
    watermark.distrust = distrust.or(watermark.distrust);
    Ok(watermark)
}

struct Totals {
    relation: u64,
    passing: u64,
}

/// Counts the source relation, with and without the rows that the mapping leaves out.
async fn count_source(
    reader: &mut Connection,
    entity: &ResolvedEntity,
    statements: &SourceStatements,
) -> Result<Totals> {
    let relation = source::count(reader, &statements.count_relation()).await?;
    let passing = if entity.may_filter() {
        source::count(reader, &statements.count_passing()).await?
    } else {
        relation
    };
    Ok(Totals {
        relation: relation.max(passing),
        passing,
    })
}

/// The comparison of everything.
struct Full<'a> {
    pass: &'a Pass<'a>,
    entity: &'a ResolvedEntity,
    statements: &'a SourceStatements,
}

impl Full<'_> {
    async fn merge(
        &self,
        hands: &mut Hands,
        counts: &mut DetectionCounts,
        sink: &mut ChangeSink<'_>,
    ) -> Result<()> {
        let expected = counts.source_rows - counts.filtered;
        let name = &self.entity.name;
        let stream = source::rows(&mut hands.reader, &self.statements.all(), name).await?;
        let mut rows = SourceRows::new(stream, RowShape::new(self.entity), name);
        let statement = ledger::read(self.entity);
        let mut known = LedgerRows::open(&mut hands.target, &statement, self.entity).await?;
        let mut in_source = rows.advance().await?;
        let mut in_ledger = known.advance().await?;
        while in_source || in_ledger {
            let order = order(in_source, in_ledger, &rows, &known);
            match order {
                Ordering::Less => {
                    counts.new += 1;
                    sink.push(ChangeKind::New, rows.row().key()).await?;
                }
                Ordering::Equal => {
                    sink.break_run().await?;
                    let verdict = judge(rows.row().hash(), known.row());
                    verdict.count(counts);
                    if let Some(kind) = verdict.change() {
                        sink.push_single(kind, &known.row().key).await?;
                    }
                }
                Ordering::Greater => {
                    sink.break_run().await?;
                    if known.row().letter != b'd' {
                        counts.deleted += 1;
                        sink.push(ChangeKind::Deleted, &known.row().key).await?;
                    }
                }
            }
            if order != Ordering::Less {
                in_ledger = known.advance().await?;
            }
            if order != Ordering::Greater {
                in_source = rows.advance().await?;
                if rows.row_count().is_multiple_of(REPORT_EVERY) {
                    self.pass
                        .report(self.entity, rows.row_count(), expected, false);
                    self.pass.check_interrupt()?;
                }
            }
        }
        counts.reading.rows_read += rows.row_count();
        Ok(())
    }
}

/// Tells which side's row comes first.
pub(super) fn order(
    in_source: bool,
    in_ledger: bool,
    rows: &SourceRows<'_>,
    known: &LedgerRows<'_>,
) -> Ordering {
    match (in_source, in_ledger) {
        (true, false) => Ordering::Less,
        (false, _) => Ordering::Greater,
        (true, true) => rows.row().key().cmp(&known.row().key),
    }
}
