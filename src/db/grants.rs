//! What our role may not do: every missing right at once, as the statement that grants it.

use super::failure::explain;
use super::server::Connection;
use crate::domain::connection::Side;
use crate::domain::identifier::QualifiedName;
use crate::error::{Error, Kind, Result};

/// A right on a table that is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The table.
    pub table: QualifiedName,
    /// `select`, `insert`, `update` or `delete`.
    pub right: &'static str,
}

/// Returns what is missing, as statements for somebody who may grant it.
///
/// # Errors
/// The query fails.
pub async fn missing(
    side: Side,
    connection: &mut Connection,
    needs: &[Need],
) -> Result<Vec<String>> {
    let column = |pick: fn(&Need) -> &str| {
        needs
            .iter()
            .map(|it| pick(it).to_owned())
            .collect::<Vec<_>>()
    };
    // Rights on single columns will do for writing; `lock table` wants the whole table for reading.
    sqlx::query_scalar(
        "with need as (select * from unnest($1::text[], $2::text[], $3::text[]) as t (schema, relation, right_word)), \
         bare as (select distinct schema from need where exists (select from pg_catalog.pg_namespace n \
           where n.nspname = schema and not pg_catalog.has_schema_privilege(n.oid, 'usage'))) \
         select format('grant usage on schema %I to %I;', schema, current_user) from bare \
         union all \
         select format('grant %s on %I.%I to %I;', string_agg(right_word, ', ' order by right_word), \
           schema, relation, current_user) \
         from need join pg_catalog.pg_namespace n on n.nspname = schema \
         join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = relation \
         where not (pg_catalog.has_table_privilege(c.oid, right_word) \
           or case when right_word in ('insert', 'update') then \
              pg_catalog.has_any_column_privilege(c.oid, right_word) else false end) \
         group by schema, relation",
    )
    .bind(column(|it| &it.table.schema))
    .bind(column(|it| &it.table.name))
    .bind(column(|it| it.right))
    .fetch_all(connection)
    .await
    .map_err(|error| explain(side, "looking at the grants", &error))
}

/// Fails when a right is missing, and names them all.
///
/// # Errors
/// Rights are missing (exit 12), or the query fails.
pub async fn require(side: Side, connection: &mut Connection, needs: &[Need]) -> Result<()> {
    let missing = missing(side, connection, needs).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!(
        "{}: the role lacks rights ({} grants are missing)",
        side.word(),
        missing.len()
    );
    Err(Error::new(Kind::Permission, what)
        .cause("permission denied, SQLSTATE 42501")
        .state("nothing was started")
        .next(format!(
            "let the owner of the tables run:\n{}",
            missing.join("\n")
        )))
}

/// Returns the statement that lets our role create the control schema, when it is missing and the role may not.
///
/// # Errors
/// The query fails.
pub async fn missing_for_control_schema(connection: &mut Connection) -> Result<Option<String>> {
    sqlx::query_scalar(
        "select format('grant create on database %I to %I;', current_database(), current_user) \
         where not exists (select from pg_catalog.pg_namespace where nspname = 'diffmig') \
         and not pg_catalog.has_database_privilege(current_database(), 'create')",
    )
    .fetch_optional(connection)
    .await
    .map_err(|error| explain(Side::Target, "looking at the grants", &error))
}

/// Fails when the control schema is missing and our role may not create it.
///
/// # Errors
/// The right is missing (exit 12), or the query fails.
pub async fn require_control_schema(connection: &mut Connection) -> Result<()> {
    match missing_for_control_schema(connection).await? {
        None => Ok(()),
        Some(grant) => Err(Error::new(
            Kind::Permission,
            "target: the role may not create the control schema",
        )
        .cause("permission denied, SQLSTATE 42501")
        .state("nothing was started")
        .next(format!("let the owner of the database run:\n{grant}"))),
    }
}
