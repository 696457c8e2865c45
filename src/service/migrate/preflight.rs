//! What can be known of the target before anything is written there.

use crate::context::Context;
use crate::db::catalog;
use crate::db::control::schema;
use crate::db::grants::{self, Need};
use crate::db::server::Connection;
use crate::domain::catalog::Referrer;
use crate::domain::connection::Side;
use crate::domain::event::{Event, Level};
use crate::domain::identifier::QualifiedName;
use crate::domain::mapping::DeletePolicy;
use crate::domain::resolve::ResolvedEntity;
use crate::error::Result;
use serde_json::json;

const RIGHTS: [&str; 3] = ["select", "insert", "update"];

/// Lists the rights that an entity needs in the target.
pub(crate) fn needs_of<'a>(
    target: &QualifiedName,
    delete: &DeletePolicy,
    cascades: impl Iterator<Item = &'a Referrer>,
) -> Vec<Need> {
    let need = |table: &QualifiedName, right| Need {
        table: table.clone(),
        right,
    };
    let mut needs: Vec<Need> = RIGHTS.map(|right| need(target, right)).into();
    if *delete == DeletePolicy::Delete {
        needs.push(need(target, "delete"));
        // Rows that a cascade would take along are looked for.
        needs.extend(cascades.map(|it| need(&it.table, "select")));
    }
    needs
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
