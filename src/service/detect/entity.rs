//! One entity of a pass: the choice of a mode, and what is stored of it.

use super::full::Full;
use super::shortcut::{Attempt, Shortcut};
use super::sink::ChangeSink;
use super::standing::basis;
use crate::context::Context;
use crate::db::control::{detection, watermark};
use crate::db::server::Connection;
use crate::db::source::{self, Snapshot};
use crate::db::standing::{Newer, Totals, count_at_once};
use crate::db::statement::ledger;
use crate::db::statement::source::SourceStatements;
use crate::db::statement::source::newer::Window;
use crate::domain::detection::{DetectMode, DetectionCounts, Reading};
use crate::domain::event::{Event, Level, Progress};
use crate::domain::resolve::ResolvedEntity;
use crate::domain::watermark::{Choice, ReadMode, Watermark, choose, could_miss};
use crate::error::{Error, Kind, Result};
use crate::failpoint::pass;
use chrono::{DateTime, Utc};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore};
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
    /// How many readers there may be at a time.
    pub readers: usize,
    /// About how many rows a part has that one of them takes.
    pub part_rows: u64,
    /// One permit for each of them.
    pub reading: Arc<Semaphore>,
}

impl Pass<'_> {
    /// Stops between two rows when that is asked for.
    pub fn check_interrupt(&self) -> Result<()> {
        check_interrupt(self.context)
    }

    /// Reports progress.
    pub fn report(&self, entity: &ResolvedEntity, done: u64, total: u64, finished: bool) {
        report(self.context, &entity.name, (done, total), finished);
    }

    /// Opens the connections of one more reader.
    pub(super) async fn hands(&self) -> Result<Hands> {
        let store = async {
            match self.detection_id {
                Some(_) => self.context.target.open().await.map(Some),
                None => Ok(None),
            }
        };
        let (reader, target, store) =
            tokio::try_join!(self.snapshot.reader(), self.context.target.open(), store)?;
        Ok(Hands {
            reader,
            target,
            store,
        })
    }

    /// The transactions since a watermark.
    pub(super) fn window(&self, watermark: &Watermark) -> Window {
        Window {
            horizon: watermark.horizon,
            next_xid: self.snapshot.clock().next_xid,
            server_version: self.context.catalogs.0.server_version,
        }
    }
}

/// Stops between two rows when that is asked for.
pub(super) fn check_interrupt(context: &Context) -> Result<()> {
    if context.interrupt.is_raised() {
        return Err(Error::new(Kind::Paused, "the detection was interrupted")
            .state("nothing was applied")
            .next("run the same command again"));
    }
    Ok(())
}

/// Reports progress: rows done, and rows in all.
pub(super) fn report(context: &Context, entity: &str, rows: (u64, u64), finished: bool) {
    context.emit(Event::Advanced(Progress {
        entity: entity.to_owned(),
        phase: "detect",
        rows_done: rows.0,
        rows_total: rows.1.max(rows.0),
        finished,
    }));
}

/// How often progress is reported, in rows.
pub(super) const REPORT_EVERY: u64 = 20_000;

/// The connections of one detecting worker.
pub(super) struct Hands {
    pub reader: Connection,
    pub target: Connection,
    pub store: Option<Connection>,
}

/// Compares entities from a queue until it is empty.
pub(crate) async fn work(
    pass: &Pass<'_>,
    queue: &Mutex<VecDeque<&ResolvedEntity>>,
) -> Result<Vec<DetectionCounts>> {
    let mut done = Vec::new();
    let mut hands = None;
    // Given back when the queue is empty, so that others can read with more hands.
    let _reading = pass.reading.acquire().await;
    loop {
        let Some(entity) = queue.lock().await.pop_front() else {
            return Ok(done);
        };
        if hands.is_none() {
            hands = Some(pass.hands().await?);
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
    let known = pass.ledgers.contains(&entity.name)
        && detection::ask(&mut hands.target, &ledger::is_used(&entity.name)).await?;
    let basis = basis(pass, entity, &statements, hands).await?;
    let choice = match pass.since {
        Some(_) => (ReadMode::Timestamp, "--since was given".to_owned()),
        None => choose(pass.wish, &basis.standing, basis.before()),
    };
    // The rows of a query have no xmin of their own.
    let window = match (known, choice.0, entity.source.own_table()) {
        (true, ReadMode::Xmin, Some(_)) => basis.before().map(|it| pass.window(it)),
        _ => None,
    };
    let total = count_source(&mut hands.reader, entity, &statements, window).await?;
    let mut store = hands.store.take();
    let mut sink = ChangeSink::new(entity, pass.detection_id, store.as_mut());
    let mut counts = DetectionCounts {
        entity: entity.name.clone(),
        source_rows: total.relation,
        filtered: total.relation - total.passing,
        ..DetectionCounts::default()
    };
    let proposed = if known {
        let full = Full {
            pass,
            entity,
            statements: &statements,
            basis: &basis,
        };
        let choice = (choice, total.newer);
        compare(&full, hands, choice, &mut counts, &mut sink).await?
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
    full: &Full<'_>,
    hands: &mut Hands,
    choice: (Choice, Option<Newer>),
    counts: &mut DetectionCounts,
    sink: &mut ChangeSink<'_>,
) -> Result<Watermark> {
    let ((mut mode, mut reason), newer) = choice;
    let (pass, entity, basis) = (full.pass, full.entity, full.basis);
    let mut distrust = None;
    if mode != ReadMode::Full {
        let shortcut = Shortcut {
            pass,
            entity,
            statements: full.statements,
            basis,
            mode,
            newer,
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
    full.merge(hands, counts, sink).await?;
    let mut watermark = basis.fresh_watermark(pass, hands).await?;
    watermark.distrust = distrust.or(watermark.distrust);
    Ok(watermark)
}

/// Counts the source relation, with and without the rows that the mapping leaves out.
async fn count_source(
    reader: &mut Connection,
    entity: &ResolvedEntity,
    statements: &SourceStatements,
    window: Option<Window>,
) -> Result<Totals> {
    if let Some(statement) = statements.count_at_once(window) {
        return count_at_once(reader, &statement, &entity.name).await;
    }
    let relation = source::count(reader, &statements.count_relation(), &entity.name).await?;
    let passing = if entity.may_filter() {
        source::count(reader, &statements.count_passing(), &entity.name).await?
    } else {
        relation
    };
    Ok(Totals {
        relation: relation.max(passing),
        passing,
        newer: None,
    })
}
