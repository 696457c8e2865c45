//! The merge of one entity: source rows against ledger rows, both in key order.

use super::sink::ChangeSink;
use crate::context::Context;
use crate::db::TupleStream;
use crate::db::control::detection;
use crate::db::server::Connection;
use crate::db::source::{self, Snapshot};
use crate::db::statement::ledger;
use crate::db::statement::source::SourceStatements;
use crate::domain::canonical::RowShape;
use crate::domain::connection::Side;
use crate::domain::detection::{ChangeKind, DetectionCounts};
use crate::domain::event::{Event, Progress};
use crate::domain::key::{Key, KeyType, encode_field};
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Kind, Result};
use crate::failpoint::pass;
use crate::service::rows::SourceRows;
use std::cmp::Ordering;
use std::collections::VecDeque;
use tokio::sync::Mutex;
use uuid::Uuid;

/// What the entities of one pass share.
pub(crate) struct Pass<'a> {
    pub context: &'a Context,
    pub snapshot: &'a Snapshot,
    pub ledgers: &'a [String],
    /// Where findings are stored; `None` counts only.
    pub detection_id: Option<Uuid>,
}

/// How often progress is reported, in rows.
const REPORT_EVERY: u64 = 20_000;

/// One row of the ledger.
#[derive(Debug, Default)]
struct LedgerRow {
    key: Key,
    hash: [u8; 16],
    letter: u8,
}

struct LedgerRows<'c> {
    stream: Option<TupleStream<'c>>,
    types: Vec<KeyType>,
    row: LedgerRow,
}

impl LedgerRows<'_> {
    /// Moves to the next ledger row; `false` after the last.
    async fn advance(&mut self) -> Result<bool> {
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        let Some(tuple) = stream.next().await? else {
            self.stream = None;
            return Ok(false);
        };
        let damaged = || Error::new(Kind::ControlState, "a ledger row has an unexpected shape");
        let mut fields = tuple.fields();
        self.row.key.0.clear();
        for key_type in &self.types {
            let field = fields.next().ok_or_else(damaged)?.map_err(|_| damaged())?;
            encode_field(*key_type, field, &mut self.row.key.0).map_err(|_| damaged())?;
        }
        let mut value = || fields.next().and_then(std::result::Result::ok).flatten();
        self.row.hash = value()
            .and_then(|it| it.try_into().ok())
            .ok_or_else(damaged)?;
        self.row.letter = *value().and_then(<[u8]>::first).ok_or_else(damaged)?;
        Ok(true)
    }
}

/// The connections of one detecting worker.
struct Hands {
    reader: Connection,
    target: Connection,
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
            done.push(detect(pass, entity, hands).await?);
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
    let Hands {
        reader,
        target,
        store,
    } = hands;
    let total = count_source(reader, entity, &statements).await?;
    let known = pass.ledgers.contains(&entity.name)
        && detection::ask(target, &ledger::is_used(&entity.name)).await?;
    let mut sink = ChangeSink::new(entity, pass.detection_id, store.as_mut());
    let mut counts = DetectionCounts {
        entity: entity.name.clone(),
        source_rows: total.relation,
        filtered: total.relation - total.passing,
        ..DetectionCounts::default()
    };
    if known {
        let streams = Streams { reader, target };
        merge(
            pass,
            entity,
            &statements,
            streams,
            &mut counts,
            &mut sink,
            total.passing,
        )
        .await?;
    } else {
        counts.new = total.passing;
        sink.push_whole(total.passing);
    }
    sink.finish().await?;
    pass!("detect.after_chunk");
    if let (Some(id), Some(connection)) = (pass.detection_id, store.as_mut()) {
        detection::save_counts(connection, id, &counts).await?;
    }
    report(pass, entity, total.passing, total.passing, true);
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

struct Streams<'a> {
    reader: &'a mut Connection,
    target: &'a mut Connection,
}

async fn merge(
    pass: &Pass<'_>,
    entity: &ResolvedEntity,
    statements: &SourceStatements,
    streams: Streams<'_>,
    counts: &mut DetectionCounts,
    sink: &mut ChangeSink<'_>,
    expected: u64,
) -> Result<()> {
    let stream = source::rows(streams.reader, &statements.all(), &entity.name).await?;
    let mut rows = SourceRows::new(stream, RowShape::new(entity), &entity.name);
    let label = format!("the ledger of {}", entity.name);
    let ledger =
        TupleStream::open(Side::Target, streams.target, &ledger::read(entity), label).await?;
    let mut known = LedgerRows {
        stream: Some(ledger),
        types: entity.key_types(),
        row: LedgerRow::default(),
    };
    let mut in_source = rows.advance().await?;
    let mut in_ledger = known.advance().await?;
    while in_source || in_ledger {
        let order = match (in_source, in_ledger) {
            (true, false) => Ordering::Less,
            (false, _) => Ordering::Greater,
            (true, true) => rows.row().key().cmp(&known.row.key),
        };
        match order {
            Ordering::Less => {
                counts.new += 1;
                sink.push(ChangeKind::New, rows.row().key()).await?;
            }
            Ordering::Equal => {
                judge(rows.row().hash(), &known.row, counts, sink).await?;
            }
            Ordering::Greater => {
                sink.break_run().await?;
                if known.row.letter != b'd' {
                    counts.deleted += 1;
                    sink.push(ChangeKind::Deleted, &known.row.key).await?;
                }
            }
        }
        if order != Ordering::Less {
            in_ledger = known.advance().await?;
        }
        if order != Ordering::Greater {
            in_source = rows.advance().await?;
            if rows.row_count().is_multiple_of(REPORT_EVERY) {
                report(pass, entity, rows.row_count(), expected, false);
                if pass.context.interrupt.is_raised() {
                    return Err(Error::new(Kind::Paused, "the detection was interrupted")
                        .state("nothing was applied")
                        .next("run the same command again"));
                }
            }
        }
    }
    Ok(())
}

/// Decides about a key that is on both sides.
async fn judge(
    hash: &[u8; 16],
    known: &LedgerRow,
    counts: &mut DetectionCounts,
    sink: &mut ChangeSink<'_>,
) -> Result<()> {
    sink.break_run().await?;
    let same = *hash == known.hash;
    let kind = match known.letter {
        b'a' if same => {
            counts.unchanged += 1;
            return Ok(());
        }
        b'd' => ChangeKind::New,
        _ if same => {
            counts.set_aside += 1;
            return Ok(());
        }
        b'q' | b'h' => ChangeKind::New,
        _ => ChangeKind::Modified,
    };
    match kind {
        ChangeKind::New => counts.new += 1,
        _ => counts.modified += 1,
    }
    sink.push_single(kind, &known.key).await
}

fn report(pass: &Pass<'_>, entity: &ResolvedEntity, done: u64, total: u64, finished: bool) {
    pass.context.emit(Event::Advanced(Progress {
        entity: entity.name.clone(),
        phase: "detect",
        rows_done: done,
        rows_total: total,
        finished,
    }));
}
