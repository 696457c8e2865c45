//! What can be known of the target before anything is written there.

use crate::context::Context;
use crate::db::catalog;
use crate::db::control::{adopt, batch, detection, ledger as ledgers, schema};
use crate::db::grants::{self, Need};
use crate::db::server::Connection;
use crate::db::statement::adopt::AdoptStatements;
use crate::db::statement::ledger;
use crate::domain::catalog::Referrer;
use crate::domain::connection::Side;
use crate::domain::event::{Event, Level};
use crate::domain::identifier::QualifiedName;
use crate::domain::mapping::{DeletePolicy, IdStrategy};
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Kind, Result};
use serde_json::json;
use std::collections::BTreeSet;

const RIGHTS: [&str; 3] = ["select", "insert", "update"];

fn need(table: &QualifiedName, right: &'static str) -> Need {
    Need {
        table: table.clone(),
        right,
    }
}

/// Lists the rights that an entity needs in the target.
pub(crate) fn needs_of<'a>(
    target: &QualifiedName,
    delete: &DeletePolicy,
    cascades: impl Iterator<Item = &'a Referrer>,
) -> Vec<Need> {
    let mut needs: Vec<Need> = RIGHTS.map(|right| need(target, right)).into();
    if *delete == DeletePolicy::Delete {
        needs.push(need(target, "delete"));
        // Rows that a cascade would take along are looked for.
        needs.extend(cascades.map(|it| need(&it.table, "select")));
    }
    needs
}

/// Fails when the target has rows that stand for source rows of entities that were never applied or adopted:
/// a first load would insert a second copy of each.
///
/// # Errors
/// As said (exit 14), with nothing started.
pub(crate) async fn refuse_unadopted(
    context: &Context,
    connection: &mut Connection,
    entities: &[&ResolvedEntity],
) -> Result<()> {
    let known: BTreeSet<String> = ledgers::list(connection)
        .await?
        .into_iter()
        .map(|it| it.entity)
        .collect();
    adopt::begin_view(connection).await?;
    let unadopted = unadopted(context, connection, entities, &known).await?;
    adopt::end_view(connection).await?;
    if unadopted.is_empty() {
        return Ok(());
    }
    let names = unadopted.join(",");
    Err(Error::new(
        Kind::Guard,
        format!("the target has rows already that stand for source rows of {names}"),
    )
    .cause("they carry source keys, and no ledger knows them; each would get a second copy")
    .state("nothing was started")
    .next(format!(
        "diffmig adopt --entities {names} (or `adopt = \"never\"` in entities whose rows are to be inserted all the same)"
    )))
}

/// Finds the entities that were never applied or adopted, and whose rows are there all the same.
async fn unadopted<'e>(
    context: &Context,
    connection: &mut Connection,
    entities: &[&'e ResolvedEntity],
    known: &BTreeSet<String>,
) -> Result<Vec<&'e str>> {
    let gathered = BTreeSet::new();
    let mut unadopted = Vec::new();
    for entity in entities {
        let statements = AdoptStatements::new(entity, &context.entities, &gathered, known);
        let Some(has_claims) = statements.has_claims() else {
            continue;
        };
        let is_used = known.contains(&entity.name)
            && detection::ask(connection, &ledger::is_used(&entity.name)).await?;
        // Rows of a ledger that was lost are ours: ids that are computed from keys come out the same.
        let is_computed = entity.id_strategy != IdStrategy::Random;
        if is_used || is_computed && batch::has_any(connection, &entity.name).await? {
            continue;
        }
        let table = entity.adoption.table.as_ref();
        let needs: Vec<Need> = table
            .map(|it| need(&it.table, "select"))
            .into_iter()
            .collect();
        grants::require(Side::Target, connection, &needs).await?;
        if detection::ask(connection, &has_claims).await? {
            unadopted.push(entity.name.as_str());
        }
    }
    Ok(unadopted)
}

/// Fails when the target cannot be written: read-only, or rights are missing, all of which are named.
///
/// # Errors
/// As said, with nothing started.
pub(crate) async fn check_target(
    context: &Context,
    connection: &mut Connection,
    entities: &[&ResolvedEntity],
) -> Result<()> {
    schema::refuse_read_only(connection).await?;
    grants::require_control_schema(connection).await?;
    let mut needs: Vec<Need> = entities
        .iter()
        .flat_map(|it| needs_of(&it.target, &it.delete, it.cascades.iter()))
        .collect();
    needs.sort();
    needs.dedup();
    grants::require(Side::Target, connection, &needs).await?;
    for table in catalog::unlogged(connection, &needs).await? {
        context.emit(Event::Logged {
            level: Level::Warn,
            entity: None,
            operation: "unlogged",
            message: format!(
                "{table} is an unlogged table: after a crash of the target it is empty, and detections do not see that"
            ),
            context: json!({}),
        });
    }
    Ok(())
}
