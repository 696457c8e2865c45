//! The waves of a session: what is done to which entity, and in which order.

use super::entity::{EntityWork, Session};
use super::hands::Hands;
use super::knot::Knot;
use super::tally::Counted;
use crate::db::control::quarantine::entities_refused_by_others;
use crate::db::server::Connection;
use crate::domain::detection::DetectionCounts;
use crate::domain::plan::{Plan, PlannedEntity};
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Kind, Result};
use crate::failpoint::pass;
use futures::future::join_all;
use std::collections::BTreeMap;

/// What was counted, by entity.
pub(super) type Tallies = BTreeMap<String, Counted>;
/// An entity, or the entities of a knot.
type Unit<'a> = Vec<&'a PlannedEntity>;

fn add(done: &mut Tallies, tallies: Vec<(String, Counted)>) {
    for (entity, tally) in tallies {
        done.entry(entity).or_default().add(tally);
    }
}

/// What is done to an entity.
#[derive(Clone, Copy)]
enum Phase<'a> {
    /// New and modified rows, then the rows they release.
    Changes {
        wave: i32,
        counts: &'a [DetectionCounts],
    },
    /// Rows whose deferred parent has arrived.
    Releases,
    /// Rows that are gone.
    Deletions,
    /// Rows that other rows stood in the way of, then the rows they release.
    Retries,
    /// Rows of a circle that are gone and refer to these parents, which are gone as well.
    Loosening(&'a [String]),
    /// Rows that are gone, but that other rows kept in the target.
    Redeletions,
}

pub(super) fn changes_of(counts: &[DetectionCounts], entity: &str) -> u64 {
    let found = counts.iter().find(|counts| counts.entity == entity);
    found.map_or(0, DetectionCounts::changes)
}

/// The state of a step that ended so.
pub(super) fn step_state(applied: &Result<()>) -> &'static str {
    match applied {
        Ok(()) => "completed",
        // A step that was stopped on request goes on with the session.
        Err(error) if matches!(error.kind(), Kind::Paused | Kind::Cancelled) => "running",
        Err(_) => "failed",
    }
}

/// Applies wave after wave, then patches deferred references, then deletes in reverse order.
pub(super) async fn apply(
    session: &Session<'_>,
    control: &mut Connection,
    plan: &Plan,
    counts: &[DetectionCounts],
) -> Result<Tallies> {
    let mut done = Tallies::new();
    for (wave, planned) in (1..).zip(&plan.waves) {
        let units = Plan::units(planned);
        let jobs = units
            .iter()
            .map(|unit| carry_out(session, unit, Phase::Changes { wave, counts }));
        // Every job ends by itself, at a batch boundary, even when another one failed.
        for tallies in join_all(jobs).await {
            add(&mut done, tallies?);
        }
    }
    pass!("fk.after_null_pass");
    let all: Vec<_> = plan.waves.iter().flat_map(|it| Plan::units(it)).collect();
    let is_deferred = |unit: &&Unit<'_>| unit.iter().any(|it| !it.deferred.is_empty());
    for unit in all.iter().filter(is_deferred) {
        let tallies = carry_out(session, unit, Phase::Releases).await?;
        add(&mut done, tallies);
    }
    for unit in all.iter().rev() {
        let lost = counts.iter().filter(|counts| counts.deleted > 0);
        let mut lost = lost.map(|counts| &counts.entity);
        if lost.any(|name| unit.iter().any(|it| it.entity == *name)) {
            pass!("delete.before");
            let tallies = carry_out(session, unit, Phase::Deletions).await?;
            add(&mut done, tallies);
        }
    }
    let refused = entities_refused_by_others(control).await?;
    if refused.is_empty() {
        return Ok(done);
    }
    // Retries go in wave order, so that children of rows that get in now are released in the same run;
    // deletions against it.
    let forth = all.iter().map(|unit| (unit.clone(), Phase::Retries));
    let each = all.iter().flatten();
    let loosen = each.map(|it| (vec![*it], Phase::Loosening(&it.deferred)));
    let back = all.iter().rev().map(|it| (it.clone(), Phase::Redeletions));
    for (unit, phase) in forth.chain(loosen).chain(back) {
        let deletes = !matches!(phase, Phase::Retries);
        if deletes && !unit.iter().any(|it| refused.contains(&it.entity)) {
            continue;
        }
        add(&mut done, carry_out(session, &unit, phase).await?);
    }
    Ok(done)
}

/// Does one thing to an entity, or to the entities of a knot together.
async fn carry_out(
    session: &Session<'_>,
    unit: &Unit<'_>,
    phase: Phase<'_>,
) -> Result<Vec<(String, Counted)>> {
    let all = &session.context.entities;
    let found = unit
        .iter()
        .map(|planned| all.iter().find(|it| it.name == planned.entity));
    let found: Option<Vec<&ResolvedEntity>> = found.collect();
    let entities = found.ok_or_else(|| Error::new(Kind::Unexpected, "a planned entity is gone"))?;
    let (mut hands, _slot) = session.pool.take().await?;
    let tallies = match entities.as_slice() {
        [entity] => vec![alone(session, entity, &mut hands, phase).await?],
        _ => together(session, entities, &mut hands, phase).await?,
    };
    session.pool.give_back(hands).await;
    let names = unit.iter().map(|it| it.entity.clone());
    Ok(names.zip(tallies).collect())
}

async fn alone(
    session: &Session<'_>,
    entity: &ResolvedEntity,
    hands: &mut Hands,
    phase: Phase<'_>,
) -> Result<Counted> {
    let total = match phase {
        Phase::Changes { counts, .. } => changes_of(counts, &entity.name),
        _ => 0,
    };
    let mut work = EntityWork::begin(session, entity, total, hands).await?;
    match phase {
        Phase::Changes { wave, .. } => changes_step(&mut work, wave, total).await?,
        Phase::Releases => work.release().await?,
        Phase::Deletions => Box::pin(work.apply_deletions()).await?,
        Phase::Loosening(parents) => work.loosen(parents).await?,
        Phase::Redeletions => work.retry_deletions().await?,
        Phase::Retries => {
            work.retry_refused().await?;
            work.release().await?;
        }
    }
    let mut tally = work.end();
    if matches!(phase, Phase::Redeletions) && entity.needs_itself() {
        let mut knot = Knot::new(session, vec![entity]);
        knot.retry_deletions(hands).await?;
        for more in knot.end() {
            tally.add(more);
        }
    }
    Ok(tally)
}

async fn changes_step(work: &mut EntityWork<'_>, wave: i32, total: u64) -> Result<()> {
    let rows = i64::try_from(total).unwrap_or(i64::MAX);
    work.save_step(wave, "running", rows).await?;
    let applied = async {
        work.apply_changes().await?;
        work.release().await
    };
    let applied = applied.await;
    let saved = work.save_step(wave, step_state(&applied), rows).await;
    applied?;
    saved
}

/// Does one thing to the entities of a knot.
async fn together(
    session: &Session<'_>,
    entities: Vec<&ResolvedEntity>,
    hands: &mut Hands,
    phase: Phase<'_>,
) -> Result<Vec<Counted>> {
    let names = entities.iter().map(|it| it.name.clone());
    let names: Vec<String> = names.collect();
    let mut knot = Knot::new(session, entities);
    match phase {
        Phase::Changes { wave, counts } => {
            let totals = names.iter().map(|name| changes_of(counts, name));
            let totals: Vec<u64> = totals.collect();
            knot.changes_step(hands, wave, &totals).await?
        }
        Phase::Releases => knot.release(hands).await?,
        Phase::Deletions => knot.apply_deletions(hands).await?,
        Phase::Redeletions => knot.retry_deletions(hands).await?,
        Phase::Retries => knot.retry_refused(hands).await?,
        // Entities are loosened one by one.
        Phase::Loosening(_) => {}
    }
    Ok(knot.end())
}
