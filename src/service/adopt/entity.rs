//! One entity of an adoption: source rows and links, compared in key order.

use super::recorder::{Entry, Recorder};
use super::{Pass, ties};
use crate::db::TupleStream;
use crate::db::control::adopt as control;
use crate::db::server::Connection;
use crate::db::source::{self, count_on};
use crate::db::statement::adopt::{AdoptStatements, RELEASED};
use crate::db::statement::source::SourceStatements;
use crate::domain::adopt::{
    AdoptFault, AdoptFinding, DISPUTED, Differing, EntityAdoption, FOREIGN_CONTENT, NO_HASH,
};
use crate::domain::canonical::{CanonicalRow, RowShape};
use crate::domain::connection::Side;
use crate::domain::event::{Event, Progress};
use crate::domain::resolve::ResolvedEntity;
use crate::domain::tuple::put_field;
use crate::error::{Error, Kind, Result};
use crate::service::give_way::Patience;
use crate::service::migrate::reader::put_target_id;
use crate::service::rows::SourceRows;
use serde_json::Value;
use std::cmp::Ordering;

/// How often progress is reported, in rows.
const REPORT_EVERY: u64 = 20_000;

/// Compares an entity and records what can be adopted.
pub(super) async fn adopt(
    pass: &Pass<'_>,
    entity: &ResolvedEntity,
    (source, view): (&mut Connection, &mut Connection),
    patience: &Patience,
) -> Result<EntityAdoption> {
    let of_source = SourceStatements::new(entity);
    let passing = source::count(source, &of_source.count_passing(), &entity.name).await?;
    let mut report = EntityAdoption {
        entity: entity.name.clone(),
        ties: ties(entity),
        source_rows: passing,
        ..EntityAdoption::default()
    };
    if report.ties.is_empty() {
        report.new = passing;
        return Ok(report);
    }
    let gathered = pass.gathered();
    let statements = AdoptStatements::new(entity, &pass.context.entities, &gathered, &pass.ledgers);
    let before = pass.desk.as_ref().map(|it| it.committed(&entity.name));
    let recorder = match &pass.desk {
        Some(desk) => {
            let size = pass.request.batch_size;
            Some(Recorder::open(desk, entity, &statements, size).await?)
        }
        None => None,
    };
    let mut judge = Judge {
        pass,
        entity,
        recorder,
        report,
    };
    {
        let stream = source::rows(source, &of_source.all(), &entity.name).await?;
        let rows = SourceRows::new(stream, RowShape::new(entity), &entity.name);
        let what = format!("the target rows of {}", entity.name);
        let stream = TupleStream::open(Side::Target, view, &statements.content(), what).await?;
        judge
            .merge(rows, Links::new(stream, entity), patience)
            .await?;
    }
    let mut report = judge.report;
    if let Some(recorder) = judge.recorder {
        recorder.finish(wave_of(pass, entity)).await?;
    }
    note_malformed(&mut report, &statements, view).await?;
    report.native = count_on(Side::Target, view, &statements.native()).await?;
    if let Some(before) = before {
        join(&mut report, &before.counts);
    }
    report.findings.sort_by_key(|it| it.kind);
    if !report.adds_up() {
        let what = format!("the account of {} does not add up", entity.name);
        return Err(Error::new(Kind::Unexpected, what).cause(format!("{report:?}")));
    }
    Ok(report)
}

fn wave_of(pass: &Pass<'_>, entity: &ResolvedEntity) -> i32 {
    let waves = pass.context.plan.waves.iter();
    let at = waves.take_while(|wave| !wave.iter().any(|it| it.entity == entity.name));
    i32::try_from(at.count() + 1).unwrap_or(i32::MAX)
}

async fn note_malformed(
    report: &mut EntityAdoption,
    statements: &AdoptStatements<'_>,
    view: &mut Connection,
) -> Result<()> {
    let (count, ids) = control::malformed(view, &statements.malformed()).await?;
    if count > 0 {
        report.findings.push(AdoptFinding {
            kind: AdoptFault::Malformed,
            count: u64::try_from(count).unwrap_or(0),
            keys: ids.into_iter().map(|id| Value::from(vec![id])).collect(),
        });
    }
    Ok(())
}

/// Counts what was committed before an outage: by now the ledger knows those rows.
fn join(report: &mut EntityAdoption, before: &EntityAdoption) {
    // A row that was committed before may have gone from the source since.
    let committed = before.identical + before.differing + before.released;
    report.known = report.known.saturating_sub(committed);
    report.identical += before.identical;
    report.differing += before.differing;
    report.new += before.released;
    report.released += before.released;
    report.gone += before.gone;
    report.retired += before.retired;
}

/// What is known of one key.
struct Link {
    row: CanonicalRow,
    xmin: Option<[u8; 4]>,
    looks_retired: bool,
    fault: Option<String>,
    is_settled: bool,
    is_marked: bool,
    /// The target id as a framed field.
    target_id: Vec<u8>,
}

/// The links of an entity in key order.
struct Links<'c> {
    stream: TupleStream<'c>,
    fields: usize,
    entity: String,
    link: Link,
}

impl<'c> Links<'c> {
    fn new(stream: TupleStream<'c>, entity: &ResolvedEntity) -> Self {
        let shape = RowShape::of_target(entity);
        Links {
            stream,
            fields: shape.total_fields(),
            entity: entity.name.clone(),
            link: Link {
                row: CanonicalRow::new(shape),
                xmin: None,
                looks_retired: false,
                fault: None,
                is_settled: false,
                is_marked: false,
                target_id: Vec::new(),
            },
        }
    }

    async fn advance(&mut self) -> Result<bool> {
        let Some(tuple) = self.stream.next().await? else {
            return Ok(false);
        };
        let unreadable = || {
            let what = format!("a target row of {} cannot be read back", self.entity);
            Error::new(Kind::Unexpected, what)
        };
        let link = &mut self.link;
        link.row.read(tuple).map_err(|_| unreadable())?;
        let mut extra = tuple.fields().skip(self.fields).map(|it| it.ok().flatten());
        let mut next = || extra.next().ok_or_else(unreadable);
        let flag = |field: Option<&[u8]>| field == Some(&[1]);
        link.xmin = next()?.and_then(|bytes| bytes.try_into().ok());
        link.looks_retired = flag(next()?);
        link.fault = next()?.map(|text| String::from_utf8_lossy(text).into_owned());
        link.is_settled = flag(next()?);
        link.is_marked = flag(next()?);
        link.target_id.clear();
        put_field(&mut link.target_id, next()?);
        Ok(true)
    }
}

struct Judge<'a> {
    pass: &'a Pass<'a>,
    entity: &'a ResolvedEntity,
    recorder: Option<Recorder<'a>>,
    report: EntityAdoption,
}

impl Judge<'_> {
    async fn merge(
        &mut self,
        mut rows: SourceRows<'_>,
        mut links: Links<'_>,
        patience: &Patience,
    ) -> Result<()> {
        let mut in_source = rows.advance().await?;
        let mut is_linked = links.advance().await?;
        while in_source || is_linked {
            let order = match (in_source, is_linked) {
                (true, false) => Ordering::Less,
                (false, _) => Ordering::Greater,
                (true, true) => rows.row().key().cmp(links.link.row.key()),
            };
            match order {
                Ordering::Less => self.report.new += 1,
                Ordering::Equal => self.judge(Some(rows.row()), &links.link)?,
                Ordering::Greater => self.judge(None, &links.link)?,
            }
            if order != Ordering::Less {
                is_linked = links.advance().await?;
            }
            if order != Ordering::Greater {
                self.say(rows.row_count())?;
                in_source = rows.advance().await?;
            }
            if let Some(recorder) = self.recorder.as_mut().filter(|it| it.is_full()) {
                recorder.flush().await?;
                patience.advance();
            }
        }
        // The source was counted in the same snapshot.
        self.report.source_rows = rows.row_count();
        Ok(())
    }

    fn say(&self, done: u64) -> Result<()> {
        if !done.is_multiple_of(REPORT_EVERY) {
            return Ok(());
        }
        self.pass.context.emit(Event::Advanced(Progress {
            entity: self.entity.name.clone(),
            phase: "adopt",
            rows_done: done,
            rows_total: self.report.source_rows.max(done),
            finished: false,
        }));
        Ok(())
    }

    fn judge(&mut self, source: Option<&CanonicalRow>, link: &Link) -> Result<()> {
        if link.fault.as_deref() == Some(RELEASED) {
            return match source {
                Some(_) => self.release(link),
                None => Ok(()),
            };
        }
        let fault = link.fault.as_deref().and_then(AdoptFault::from_word);
        if let Some(fault) = fault {
            let types = self.entity.key_types();
            let key = || link.row.key().to_json(&types).unwrap_or_default();
            self.report.note(fault, key);
        }
        match (source, fault) {
            (source, _) if link.is_settled => {
                self.report.known += u64::from(source.is_some());
                Ok(())
            }
            (source, Some(fault)) => self.set_aside(source, link, fault),
            (Some(row), None) => self.adopt(row, link),
            (None, None) => self.adopt_gone(link),
        }
    }

    /// The target row is the source row's own.
    fn adopt(&mut self, row: &CanonicalRow, link: &Link) -> Result<()> {
        let differs = row.hash() != link.row.hash();
        let is_kept = differs && self.pass.request.differing == Differing::Keep;
        self.count(|counts| match differs {
            true => counts.differing += 1,
            false => counts.identical += 1,
        });
        self.record(link, |key| Entry {
            key,
            target_id: &link.target_id,
            row_hash: *link.row.hash(),
            applied_hash: is_kept.then_some(FOREIGN_CONTENT),
            // No row has this `xmin`, so it looks edited.
            target_xmin: if is_kept { Some([0; 4]) } else { link.xmin },
            outcome: "applied",
            is_gone: false,
            reason: None,
        })
    }

    /// The source row is gone, and nobody took the target row away.
    fn adopt_gone(&mut self, link: &Link) -> Result<()> {
        self.count(|counts| match link.looks_retired {
            true => counts.retired += 1,
            false => counts.gone += 1,
        });
        self.record(link, |key| Entry {
            key,
            target_id: &link.target_id,
            row_hash: *link.row.hash(),
            applied_hash: None,
            target_xmin: link.xmin,
            outcome: "applied",
            is_gone: link.looks_retired,
            reason: None,
        })
    }

    /// Nobody can say which target row is the key's own: the key waits, so that no second copy is made.
    fn set_aside(
        &mut self,
        source: Option<&CanonicalRow>,
        link: &Link,
        fault: AdoptFault,
    ) -> Result<()> {
        self.report.set_aside += u64::from(source.is_some());
        if link.is_marked {
            return Ok(());
        }
        let target_id = self.computed_id(source.unwrap_or(&link.row))?;
        self.record(link, |key| Entry {
            key,
            target_id: &target_id,
            row_hash: *source.unwrap_or(&link.row).hash(),
            applied_hash: Some(DISPUTED),
            target_xmin: None,
            outcome: if source.is_some() {
                "quarantined"
            } else {
                "applied"
            },
            is_gone: source.is_none(),
            reason: source.map(|_| fault.reason()),
        })
    }

    /// The key was set aside, and no target row claims it any more.
    fn release(&mut self, link: &Link) -> Result<()> {
        self.report.new += 1;
        self.count(|counts| counts.released += 1);
        let target_id = self.computed_id(&link.row)?;
        self.record(link, |key| Entry {
            key,
            target_id: &target_id,
            row_hash: NO_HASH,
            applied_hash: None,
            target_xmin: None,
            outcome: "quarantined",
            is_gone: false,
            reason: None,
        })
    }

    fn computed_id(&self, row: &CanonicalRow) -> Result<Vec<u8>> {
        let mut id = Vec::new();
        if let Some(desk) = &self.pass.desk {
            put_target_id(self.entity, desk.installation_id, row, &mut id)?;
        }
        Ok(id)
    }

    fn count(&mut self, add: impl Fn(&mut EntityAdoption)) {
        add(&mut self.report);
        if let Some(recorder) = &mut self.recorder {
            add(&mut recorder.counts);
        }
    }

    fn record<'r>(
        &mut self,
        link: &Link,
        entry: impl FnOnce(Vec<Vec<u8>>) -> Entry<'r>,
    ) -> Result<()> {
        let Some(recorder) = &mut self.recorder else {
            return Ok(());
        };
        let key = link.row.key().fields(&self.entity.key_types());
        let key = key.map_err(|fault| {
            Error::new(Kind::Unexpected, "a key cannot be read").cause(fault.to_string())
        })?;
        recorder.push(&entry(key));
        Ok(())
    }
}
