//! What a server tells of the tables of a mapping.

use super::{failed, split};
use crate::db::server::Connection;
use crate::domain::connection::Side;
use crate::domain::doctor::relation::{BareForeignKey, Published, Trigger, Unique};
use crate::domain::identifier::QualifiedName;
use crate::error::Result;

/// Lists the enabled triggers of target tables that fire for inserted or updated rows.
///
/// # Errors
/// The query fails.
pub async fn triggers(
    connection: &mut Connection,
    tables: &[QualifiedName],
) -> Result<Vec<Trigger>> {
    let (schemas, names) = split(tables);
    let rows: Vec<(String, String, String, String, bool)> =
        sqlx::query_as(include_str!("triggers.sql"))
            .bind(schemas)
            .bind(names)
            .fetch_all(connection)
            .await
            .map_err(failed(Side::Target, "looking for triggers"))?;
    let rows = rows.into_iter();
    let triggers = rows.map(|(schema, table, name, function, is_webhook)| Trigger {
        table: QualifiedName::new(schema, table),
        name,
        function,
        is_webhook,
    });
    Ok(triggers.collect())
}

/// Lists the publications that hold target tables.
///
/// # Errors
/// The query fails.
pub async fn published(
    connection: &mut Connection,
    tables: &[QualifiedName],
) -> Result<Vec<Published>> {
    let (schemas, names) = split(tables);
    let rows: Vec<(String, String, String, bool, bool)> =
        sqlx::query_as(include_str!("published.sql"))
            .bind(schemas)
            .bind(names)
            .fetch_all(connection)
            .await
            .map_err(failed(Side::Target, "looking for publications"))?;
    let rows = rows.into_iter();
    let published = rows.map(
        |(schema, table, publication, all_tables, refuses_updates)| Published {
            table: QualifiedName::new(schema, table),
            publication,
            all_tables,
            refuses_updates,
        },
    );
    Ok(published.collect())
}

/// Lists foreign keys from or to target tables that no index supports.
///
/// # Errors
/// The query fails.
pub async fn bare_foreign_keys(
    connection: &mut Connection,
    tables: &[QualifiedName],
) -> Result<Vec<BareForeignKey>> {
    let (schemas, names) = split(tables);
    let rows: Vec<(String, String, String, Vec<String>, String, String)> =
        sqlx::query_as(include_str!("bare_foreign_keys.sql"))
            .bind(schemas)
            .bind(names)
            .fetch_all(connection)
            .await
            .map_err(failed(Side::Target, "looking for foreign keys"))?;
    let rows = rows.into_iter();
    let keys = rows.map(
        |(schema, table, name, columns, other_schema, other)| BareForeignKey {
            table: QualifiedName::new(schema, table),
            name,
            columns,
            referenced: QualifiedName::new(other_schema, other),
        },
    );
    Ok(keys.collect())
}

/// Returns the places of those columns of source tables that no index begins with.
///
/// # Errors
/// The query fails.
pub async fn without_index(
    connection: &mut Connection,
    columns: &[(QualifiedName, String)],
) -> Result<Vec<usize>> {
    let tables: Vec<QualifiedName> = columns.iter().map(|(table, _)| table.clone()).collect();
    let (schemas, names) = split(&tables);
    let columns: Vec<&str> = columns.iter().map(|(_, column)| column.as_str()).collect();
    let places: Vec<i64> = sqlx::query_scalar(include_str!("without_index.sql"))
        .bind(schemas)
        .bind(names)
        .bind(columns)
        .fetch_all(connection)
        .await
        .map_err(failed(Side::Source, "looking for indexes"))?;
    Ok(places
        .into_iter()
        .filter_map(|place| usize::try_from(place - 1).ok())
        .collect())
}

/// Lists what keeps rows of target tables apart, besides their primary keys.
///
/// # Errors
/// The query fails.
pub async fn uniques(connection: &mut Connection, tables: &[QualifiedName]) -> Result<Vec<Unique>> {
    let (schemas, names) = split(tables);
    let rows: Vec<(String, String, String, Vec<String>)> =
        sqlx::query_as(include_str!("uniques.sql"))
            .bind(schemas)
            .bind(names)
            .fetch_all(connection)
            .await
            .map_err(failed(Side::Target, "looking for unique indexes"))?;
    let rows = rows.into_iter();
    let uniques = rows.map(|(schema, table, name, columns)| Unique {
        table: QualifiedName::new(schema, table),
        name,
        columns,
    });
    Ok(uniques.collect())
}

/// A sequence behind a column of a target table.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ColumnSequence {
    /// The schema of the table.
    pub schema: String,
    /// The table.
    pub relation: String,
    /// The column.
    pub column_name: String,
    /// The schema of the sequence.
    pub sequence_schema: String,
    /// The sequence.
    pub sequence_name: String,
    /// Whether the column owns it.
    pub is_owned: bool,
    /// Whether our role may take numbers from it, read it and move it.
    pub is_granted: bool,
}

/// Lists the sequences behind the columns of target tables.
///
/// # Errors
/// The query fails.
pub async fn sequences(
    connection: &mut Connection,
    tables: &[QualifiedName],
) -> Result<Vec<ColumnSequence>> {
    let (schemas, names) = split(tables);
    sqlx::query_as(include_str!("sequences.sql"))
        .bind(schemas)
        .bind(names)
        .fetch_all(connection)
        .await
        .map_err(failed(Side::Target, "looking for sequences"))
}

/// Lists the source tables that our role may write.
///
/// # Errors
/// The query fails.
pub async fn writable(
    connection: &mut Connection,
    tables: &[QualifiedName],
) -> Result<Vec<QualifiedName>> {
    let (schemas, names) = split(tables);
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select n.nspname::text, c.relname::text \
         from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) as w (schema, name) \
         join pg_catalog.pg_namespace n on n.nspname = w.schema \
         join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.name \
         where c.relkind in ('r', 'p') and pg_catalog.has_table_privilege(c.oid, 'insert, update, delete, truncate') \
         order by 1, 2",
    )
    .bind(schemas)
    .bind(names)
    .fetch_all(connection)
    .await
    .map_err(failed(Side::Source, "looking at the grants"))?;
    let tables = rows.into_iter();
    Ok(tables
        .map(|(schema, name)| QualifiedName::new(schema, name))
        .collect())
}

/// Reads the bytes of source tables with their partitions, indexes and long values.
///
/// # Errors
/// The query fails.
pub async fn sizes(
    connection: &mut Connection,
    tables: &[QualifiedName],
) -> Result<Vec<(QualifiedName, u64)>> {
    let (schemas, names) = split(tables);
    let rows: Vec<(String, String, i64)> = sqlx::query_as(include_str!("sizes.sql"))
        .bind(schemas)
        .bind(names)
        .fetch_all(connection)
        .await
        .map_err(failed(Side::Source, "reading the sizes of the tables"))?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|(schema, name, bytes)| {
            let bytes = u64::try_from(bytes).unwrap_or(0);
            (QualifiedName::new(schema, name), bytes)
        })
        .collect())
}

/// Reads how many rows each ledger held at the end of its last session; nothing before the first.
///
/// # Errors
/// The query fails.
pub async fn ledger_rows(connection: &mut Connection) -> Result<Vec<(String, u64)>> {
    let failed = failed(Side::Target, "reading the control schema");
    let there: bool =
        sqlx::query_scalar("select pg_catalog.to_regclass('diffmig.watermark') is not null")
            .fetch_one(&mut *connection)
            .await
            .map_err(&failed)?;
    if !there {
        return Ok(Vec::new());
    }
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select entity, live_rows from diffmig.watermark")
            .fetch_all(connection)
            .await
            .map_err(&failed)?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|(entity, rows)| (entity, u64::try_from(rows).unwrap_or(0)))
        .collect())
}
