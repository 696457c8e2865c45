//! One entity of a verification.

use super::EntityVerification;
use super::merge::{Accountant, TargetRows};
use crate::context::Context;
use crate::db::TupleStream;
use crate::db::server::Connection;
use crate::db::source::{self, Snapshot};
use crate::db::standing::{begin_ledger_view, end_ledger_view};
use crate::db::statement::Statement;
use crate::db::statement::content::ContentStatements;
use crate::db::statement::source::SourceStatements;
use crate::domain::canonical::RowShape;
use crate::domain::connection::Side;
use crate::domain::event::{Event, Progress};
use crate::domain::key::{Key, KeyFault};
use crate::domain::resolve::ResolvedEntity;
use crate::domain::verification::FindingKind;
use crate::error::{Error, Kind, Result};
use crate::service::rows::SourceRows;
use std::collections::VecDeque;
use tokio::sync::Mutex;

/// What the entities of one pass share.
pub(super) struct Pass<'a> {
    pub context: &'a Context,
    pub snapshot: &'a Snapshot,
    pub ledgers: &'a [String],
    pub sample: Option<f64>,
}

/// How often progress is reported, in rows.
const REPORT_EVERY: u64 = 20_000;
/// Rows that are looked at again by one statement.
const PAGE: usize = 1_000;

impl Pass<'_> {
    fn report(&self, entity: &ResolvedEntity, done: u64, total: u64, finished: bool) {
        self.context.emit(Event::Advanced(Progress {
            entity: entity.name.clone(),
            phase: "verify",
            rows_done: done,
            rows_total: total.max(done),
            finished,
        }));
    }

    fn check_interrupt(&self) -> Result<()> {
        if self.context.interrupt.is_raised() {
            return Err(Error::new(Kind::Paused, "the verification was interrupted")
                .state("nothing was changed")
                .next("run the same command again"));
        }
        Ok(())
    }
}

struct Hands {
    reader: Connection,
    target: Connection,
}

/// Verifies entities from a queue until it is empty.
pub(super) async fn work(
    pass: &Pass<'_>,
    queue: &Mutex<VecDeque<&ResolvedEntity>>,
) -> Result<Vec<EntityVerification>> {
    let mut done = Vec::new();
    let mut hands = None;
    loop {
        let Some(entity) = queue.lock().await.pop_front() else {
            return Ok(done);
        };
        if hands.is_none() {
            hands = Some(open(pass).await?);
        }
        if let Some(hands) = &mut hands {
            done.push(Box::pin(verify(pass, entity, hands)).await?);
        }
    }
}

async fn open(pass: &Pass<'_>) -> Result<Hands> {
    Ok(Hands {
        reader: pass.snapshot.reader().await?,
        target: pass.context.target.open().await?,
    })
}

async fn verify(
    pass: &Pass<'_>,
    entity: &ResolvedEntity,
    hands: &mut Hands,
) -> Result<EntityVerification> {
    if !pass.ledgers.contains(&entity.name) {
        let what = format!("{} was never migrated", entity.name);
        return Err(Error::new(Kind::ControlState, what)
            .state("nothing was changed")
            .next("run diffmig migrate, or leave it out with --exclude"));
    }
    let statements = SourceStatements::new(entity);
    let contents = ContentStatements::new(entity);
    let passing = match pass.sample {
        Some(percent) => statements.count_sample(percent),
        None => statements.count_passing(),
    };
    let passing = source::count(&mut hands.reader, &passing, &entity.name).await?;
    let relation = match pass.sample {
        Some(_) => passing,
        None => {
            source::count(
                &mut hands.reader,
                &statements.count_relation(),
                &entity.name,
            )
            .await?
        }
    };
    let mut accountant = Accountant::new(entity);
    accountant.account.source_rows = relation.max(passing);
    accountant.account.filtered = relation.saturating_sub(passing);
    let rows = match pass.sample {
        Some(percent) => statements.sample(percent),
        None => statements.all(),
    };
    // One view: the native rows are those that the same ledgers do not know.
    begin_ledger_view(&mut hands.target).await?;
    let everything = contents.everything(pass.sample);
    compare(
        pass,
        entity,
        hands,
        (&rows, &everything),
        &mut accountant,
        passing,
    )
    .await?;
    accountant.account.native = native(pass, entity, &mut hands.target).await?;
    end_ledger_view(&mut hands.target).await?;
    pass.report(entity, passing, passing, true);
    if !accountant.account.adds_up() {
        let what = format!("the account of {} does not add up", entity.name);
        return Err(Error::new(Kind::Unexpected, what)
            .cause(format!("{:?}", accountant.account))
            .state("nothing was changed"));
    }
    Ok(EntityVerification {
        account: accountant.account,
        findings: accountant.findings,
    })
}

async fn compare(
    pass: &Pass<'_>,
    entity: &ResolvedEntity,
    hands: &mut Hands,
    (source, target): (&Statement, &Statement),
    accountant: &mut Accountant<'_>,
    expected: u64,
) -> Result<()> {
    let name = &entity.name;
    let stream = source::rows(&mut hands.reader, source, name).await?;
    let mut rows = SourceRows::new(stream, RowShape::new(entity), name);
    let label = format!("the target rows of {name}");
    let stream = TupleStream::open(Side::Target, &mut hands.target, target, label).await?;
    let mut known = TargetRows::new(stream, entity);
    let progress = |done: u64| {
        if done.is_multiple_of(REPORT_EVERY) {
            pass.report(entity, done, expected, false);
            pass.check_interrupt()?;
        }
        Ok(())
    };
    accountant.merge(&mut rows, &mut known, progress).await
}

async fn native(pass: &Pass<'_>, entity: &ResolvedEntity, target: &mut Connection) -> Result<u64> {
    let entities = pass.context.entities.iter();
    let sharing: Vec<&str> = entities
        .filter(|it| it.target == entity.target && pass.ledgers.contains(&it.name))
        .map(|it| it.name.as_str())
        .collect();
    let statement = ContentStatements::native(&entity.target, &entity.id_column, &sharing);
    source::count_on(Side::Target, target, &statement).await
}

/// Reads the rows that differed once more; those that agree now have only moved.
pub(super) async fn look_again(pass: &Pass<'_>, found: &mut EntityVerification) -> Result<()> {
    let entities = pass.context.entities.iter();
    let Some(entity) = entities.clone().find(|it| it.name == found.account.entity) else {
        return Ok(());
    };
    let statements = SourceStatements::new(entity);
    let contents = ContentStatements::new(entity);
    let unreadable = |fault: KeyFault| {
        let what = format!("a key of {} cannot be read", entity.name);
        Error::new(Kind::Unexpected, what).cause(fault.to_string())
    };
    let mut hands = open(pass).await?;
    begin_ledger_view(&mut hands.target).await?;
    let mut left = Vec::new();
    let (mut equal, mut set_aside) = (0, 0);
    for page in found.findings.chunks(PAGE) {
        let keys: Vec<Key> = page.iter().map(|it| it.at.clone()).collect();
        let rows = statements.keys(&keys).map_err(unreadable)?;
        let known = contents.of_keys(&keys).map_err(unreadable)?;
        let mut again = Accountant::new(entity);
        compare(pass, entity, &mut hands, (&rows, &known), &mut again, 0).await?;
        equal += again.account.equal;
        set_aside += again.account.set_aside;
        left.extend(again.findings);
    }
    end_ledger_view(&mut hands.target).await?;
    settle(found, left, equal, set_aside);
    Ok(())
}

/// Writes into the account what the second look found.
fn settle(
    found: &mut EntityVerification,
    left: Vec<crate::domain::verification::Finding>,
    equal: u64,
    set_aside: u64,
) {
    let account = &mut found.account;
    let count = |findings: &[crate::domain::verification::Finding], kind| {
        findings.iter().filter(|it| it.kind == kind).count() as u64
    };
    for (kind, counted) in [
        (FindingKind::Missing, &mut account.missing),
        (FindingKind::Mismatching, &mut account.mismatching),
        (FindingKind::Extraneous, &mut account.extraneous),
    ] {
        *counted = *counted + count(&left, kind) - count(&found.findings, kind);
    }
    account.moved = (found.findings.len() - left.len()) as u64;
    account.equal += equal;
    account.set_aside += set_aside;
    // A row that came or went meanwhile is one more or less than was counted.
    let known = account.equal + account.missing + account.mismatching + account.set_aside;
    account.source_rows = account.filtered + known;
    found.findings = left;
}
