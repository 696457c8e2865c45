//! The ledgers of a session: made when they are missing, and indexed as the work needs it.

use crate::context::Context;
use crate::db::control::batch::{build, run};
use crate::db::control::{detection, ledger as ledgers};
use crate::db::server::Connection;
use crate::db::statement::ledger;
use crate::domain::plan::Plan;
use crate::domain::resolve::ResolvedEntity;
use crate::error::Result;
use std::collections::BTreeSet;

/// Makes the ledgers of all entities; returns the empty ones that get their indexes when they are loaded.
///
/// Parents outside the selection need theirs too: references are translated through them.
pub(super) async fn prepare(
    context: &Context,
    control: &mut Connection,
    plan: &Plan,
) -> Result<BTreeSet<String>> {
    let known = ledgers::list(control).await?;
    // Entities that refer to one another look rows up while those are loaded.
    let planned = plan.waves.iter().flatten();
    let looked_up: BTreeSet<&str> = planned
        .flat_map(|it| it.deferred.iter().chain(&it.knot).map(String::as_str))
        .collect();
    let mut bare = BTreeSet::new();
    for entity in context.entities.iter() {
        let name = &entity.name;
        let found = known.iter().find(|it| it.entity == *name);
        if found.is_none() {
            run(control, "creating a ledger", &ledger::create(entity)).await?;
        }
        let (has_key, has_index) = found.map_or((false, false), |it| (it.has_key, it.has_index));
        let is_used = match found {
            Some(_) if !has_key => detection::ask(control, &ledger::is_used(name)).await?,
            _ => has_key,
        };
        if is_used || has_index || looked_up.contains(name.as_str()) || entity.is_self_referencing()
        {
            add_indexes(control, entity, has_key, has_index).await?;
        } else {
            bare.insert(name.clone());
        }
    }
    Ok(bare)
}

/// Adds the indexes of a ledger that has none.
pub(super) async fn index(control: &mut Connection, entity: &ResolvedEntity) -> Result<()> {
    add_indexes(control, entity, false, false).await
}

/// The key comes last: a ledger that has it has everything.
async fn add_indexes(
    control: &mut Connection,
    entity: &ResolvedEntity,
    has_key: bool,
    has_index: bool,
) -> Result<()> {
    if !has_index {
        let create = ledger::create_index(entity);
        build(control, "indexing a ledger", &create).await?;
    }
    if !has_key {
        let create = ledger::create_key(entity);
        build(control, "building the key of a ledger", &create).await?;
    }
    Ok(())
}

/// Makes the ledgers of some entities that are missing, and indexes them, since rows are looked up there.
pub(crate) async fn prepare_whole(
    control: &mut Connection,
    entities: &[&ResolvedEntity],
) -> Result<()> {
    let known = ledgers::list(control).await?;
    for entity in entities {
        let found = known.iter().find(|it| it.entity == entity.name);
        if found.is_none() {
            run(control, "creating a ledger", &ledger::create(entity)).await?;
        }
        let (has_key, has_index) = found.map_or((false, false), |it| (it.has_key, it.has_index));
        add_indexes(control, entity, has_key, has_index).await?;
    }
    Ok(())
}
