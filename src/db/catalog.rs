//! Reads what a database looks like.

use super::failure::explain;
use super::grants::Need;
use super::server::Connection;
use super::statement::Statement;
use crate::domain::catalog::{
    Catalog, Column, ColumnType, Constraint, DatabaseIdentity, ForeignKey, Referrer, RelationKind,
    Table, UniqueColumn,
};
use crate::domain::connection::Side;
use crate::domain::identifier::QualifiedName;
use crate::error::{Error, Kind, Result};
use sqlx::{Column as _, Executor, FromRow, SqlSafeStr, Statement as _};
use std::collections::BTreeMap;

const TABLES: &str = include_str!("catalog/tables.sql");
const COLUMNS: &str = include_str!("catalog/columns.sql");
const UNIQUE_COLUMNS: &str = include_str!("catalog/unique_columns.sql");
const UNIQUE_INDEXES: &str = include_str!("catalog/unique_indexes.sql");
const REFERRERS: &str = include_str!("catalog/referrers.sql");
const CONSTRAINTS: &str = include_str!("catalog/constraints.sql");
const TYPES: &str = include_str!("catalog/types.sql");

#[derive(FromRow)]
struct ColumnRow {
    relation_oid: i64,
    name: String,
    display: String,
    base: String,
    modifier: String,
    enum_labels: Option<Vec<String>>,
    is_domain: bool,
    is_builtin: bool,
    not_null: bool,
    has_default: bool,
    is_generated: bool,
    identity_always: bool,
    number: i16,
    default_digest: Option<String>,
}

impl ColumnRow {
    fn into_column(self) -> Column {
        Column {
            name: self.name,
            column_type: ColumnType {
                display: self.display,
                base: self.base,
                modifier: self.modifier,
                enum_labels: self.enum_labels,
                is_domain: self.is_domain,
                is_builtin: self.is_builtin,
            },
            not_null: self.not_null,
            has_default: self.has_default,
            is_generated: self.is_generated,
            identity_always: self.identity_always,
            number: self.number,
            default: self.default_digest,
        }
    }
}

#[derive(FromRow)]
struct ReferrerRow {
    referenced_oid: i64,
    name: String,
    schema: String,
    relation: String,
    column_name: String,
    referenced_column: String,
}

fn referrers_of(oid: i64, rows: &[ReferrerRow]) -> Vec<Referrer> {
    let own = rows.iter().filter(|row| row.referenced_oid == oid);
    own.map(|row| Referrer {
        name: row.name.clone(),
        table: QualifiedName::new(row.schema.clone(), row.relation.clone()),
        column: row.column_name.clone(),
        referenced: row.referenced_column.clone(),
    })
    .collect()
}

#[derive(FromRow)]
struct ConstraintRow {
    relation_oid: i64,
    name: String,
    is_foreign_key: bool,
    is_deferrable: bool,
    definition: String,
    columns: Vec<String>,
    schema: Option<String>,
    relation: Option<String>,
    referenced_columns: Vec<String>,
}

/// What the rows of one table must obey.
#[derive(Default)]
struct Rules {
    foreign_keys: Vec<ForeignKey>,
    constraints: Vec<Constraint>,
}

impl Rules {
    fn add(&mut self, row: ConstraintRow) {
        match (row.schema, row.relation) {
            (Some(schema), Some(relation)) if row.is_foreign_key => {
                self.foreign_keys.push(ForeignKey {
                    name: row.name,
                    columns: row.columns,
                    referenced: QualifiedName::new(schema, relation),
                    referenced_columns: row.referenced_columns,
                    is_deferrable: row.is_deferrable,
                    definition: row.definition,
                });
            }
            _ => self.constraints.push(Constraint {
                name: row.name,
                columns: row.columns,
                definition: row.definition,
            }),
        }
    }
}

async fn rules(
    connection: &mut Connection,
    schemas: &[String],
) -> Result<BTreeMap<i64, Rules>, sqlx::Error> {
    let rows: Vec<ConstraintRow> = sqlx::query_as(CONSTRAINTS)
        .bind(schemas)
        .fetch_all(connection)
        .await?;
    let mut by_relation: BTreeMap<i64, Rules> = BTreeMap::new();
    for row in rows {
        by_relation.entry(row.relation_oid).or_default().add(row);
    }
    Ok(by_relation)
}

#[derive(FromRow)]
struct TableRow {
    oid: i64,
    schema: String,
    name: String,
    kind: String,
    primary_key: Vec<String>,
    unique_columns: Vec<String>,
    is_partition: bool,
    estimated_rows: i64,
}

/// Reads what identifies the database.
///
/// # Errors
/// The query fails.
pub async fn identity(side: Side, connection: &mut Connection) -> Result<DatabaseIdentity> {
    let doing = "reading the database's identity";
    let (allowed, oid, database): (bool, i64, String) = sqlx::query_as(
        "select pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'execute'), \
         d.oid::bigint, d.datname::text from pg_catalog.pg_database d \
         where d.datname = pg_catalog.current_database()",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(|error| explain(side, doing, &error))?;
    let mut system_identifier = String::new();
    if allowed {
        (system_identifier,) =
            sqlx::query_as("select system_identifier::text from pg_catalog.pg_control_system()")
                .fetch_one(&mut *connection)
                .await
                .map_err(|error| explain(side, doing, &error))?;
    }
    Ok(DatabaseIdentity {
        system_identifier,
        database_oid: oid,
        database,
    })
}

/// Tells whether two sessions are in one database, whatever their URLs say: one sees the other's advisory lock.
///
/// # Errors
/// A query fails.
pub async fn is_shared(source: &mut Connection, target: &mut Connection) -> Result<bool> {
    let doing = "comparing the databases";
    let (key, _) = uuid::Uuid::new_v4().as_u64_pair();
    let key = key.cast_signed();
    sqlx::query("select pg_catalog.pg_advisory_lock_shared($1)")
        .bind(key)
        .execute(&mut *source)
        .await
        .map_err(|error| explain(Side::Source, doing, &error))?;
    let (seen,): (bool,) = sqlx::query_as(
        "select exists (select from pg_catalog.pg_locks l where l.locktype = 'advisory' and l.objsubid = 1 \
         and (l.classid::bigint << 32) | l.objid::bigint = $1 and l.database = \
         (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()))",
    )
    .bind(key)
    .fetch_one(target)
    .await
    .map_err(|error| explain(Side::Target, doing, &error))?;
    sqlx::query("select pg_catalog.pg_advisory_unlock_shared($1)")
        .bind(key)
        .execute(source)
        .await
        .map_err(|error| explain(Side::Source, doing, &error))?;
    Ok(seen)
}

/// Reads the tables of some schemas.
///
/// # Errors
/// A query fails.
pub async fn read(side: Side, connection: &mut Connection, schemas: &[String]) -> Result<Catalog> {
    let failed = |error: sqlx::Error| explain(side, "reading the catalog", &error);
    let (server_version,): (i32,) =
        sqlx::query_as("select pg_catalog.current_setting('server_version_num')::integer")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
    if server_version < 120_000 {
        let what = format!("{}: PostgreSQL 12 or newer is needed", side.word());
        return Err(Error::new(Kind::Usage, what).cause(format!("version {server_version}")));
    }
    let tables: Vec<TableRow> = sqlx::query_as(TABLES)
        .bind(schemas)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let columns: Vec<ColumnRow> = sqlx::query_as(COLUMNS)
        .bind(schemas)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let mut by_relation: BTreeMap<i64, Vec<Column>> = BTreeMap::new();
    for row in columns {
        let relation = row.relation_oid;
        by_relation
            .entry(relation)
            .or_default()
            .push(row.into_column());
    }
    let referrers: Vec<ReferrerRow> = sqlx::query_as(REFERRERS)
        .bind(schemas)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let mut rules = rules(connection, schemas).await.map_err(failed)?;
    let identity = identity(side, connection).await?;
    let tables = tables.into_iter().map(|row| {
        let name = QualifiedName::new(row.schema, row.name);
        let rules = rules.remove(&row.oid).unwrap_or_default();
        let table = Table {
            name: name.clone(),
            oid: row.oid,
            kind: match row.kind.as_str() {
                "p" => RelationKind::Partitioned,
                "v" | "m" => RelationKind::View,
                "f" => RelationKind::Foreign,
                _ => RelationKind::Table,
            },
            columns: by_relation.remove(&row.oid).unwrap_or_default(),
            primary_key: row.primary_key,
            referrers: referrers_of(row.oid, &referrers),
            unique_columns: row.unique_columns,
            foreign_keys: rules.foreign_keys,
            constraints: rules.constraints,
            is_partition: row.is_partition,
            estimated_rows: row.estimated_rows,
        };
        (name, table)
    });
    Ok(Catalog {
        identity,
        server_version,
        tables: tables.collect(),
    })
}

/// Lists what makes rows of a table exclude each other: the columns of each unique index, and no column for one
/// that has expressions or a predicate, and for an exclusion constraint.
///
/// # Errors
/// The query fails.
pub async fn unique_indexes(
    connection: &mut Connection,
    table: &QualifiedName,
) -> Result<Vec<Vec<String>>> {
    sqlx::query_scalar(UNIQUE_INDEXES)
        .bind(table.sql())
        .fetch_all(connection)
        .await
        .map_err(|error| explain(Side::Target, "reading the catalog", &error))
}

/// Reads the columns of a target table's unique and exclusion constraints: of the named ones, or of all.
///
/// # Errors
/// The query fails.
pub async fn unique_columns(
    connection: &mut Connection,
    table: &QualifiedName,
    constraints: Option<&[String]>,
) -> Result<Vec<UniqueColumn>> {
    let rows: Vec<(String, String, bool, bool, String)> = sqlx::query_as(UNIQUE_COLUMNS)
        .bind(table.sql())
        .bind(constraints)
        .fetch_all(connection)
        .await
        .map_err(|error| explain(Side::Target, "reading the catalog", &error))?;
    let columns = rows.into_iter();
    let columns = columns.map(
        |(constraint, name, not_null, nulls_collide, base)| UniqueColumn {
            constraint,
            name,
            not_null,
            nulls_collide,
            base,
        },
    );
    Ok(columns.collect())
}

/// Returns which of the target's tables are unlogged.
///
/// # Errors
/// The query fails.
pub async fn unlogged(connection: &mut Connection, needs: &[Need]) -> Result<Vec<String>> {
    let schemas: Vec<&str> = needs.iter().map(|it| it.table.schema.as_str()).collect();
    let names: Vec<&str> = needs.iter().map(|it| it.table.name.as_str()).collect();
    sqlx::query_scalar(
        "select distinct format('%I.%I', schema, relation) \
         from unnest($1::text[], $2::text[]) as t (schema, relation) \
         join pg_catalog.pg_namespace n on n.nspname = schema \
         join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = relation \
         where c.relpersistence = 'u' order by 1",
    )
    .bind(schemas)
    .bind(names)
    .fetch_all(connection)
    .await
    .map_err(|error| explain(Side::Target, "reading the catalog", &error))
}

/// Names those of the tables whose rows row security would hide from this role, or whose writes it would filter.
///
/// # Errors
/// The query fails.
pub async fn filtered_tables(
    side: Side,
    connection: &mut Connection,
    tables: &[QualifiedName],
) -> Result<Vec<QualifiedName>> {
    let (schemas, names): (Vec<&str>, Vec<&str>) = tables
        .iter()
        .map(|table| (table.schema.as_str(), table.name.as_str()))
        .unzip();
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select w.schema, w.name from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) as w (schema, name) \
         join pg_catalog.pg_namespace n on n.nspname = w.schema \
         join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.name \
         where pg_catalog.row_security_active(c.oid)",
    )
    .bind(schemas)
    .bind(names)
    .fetch_all(connection)
    .await
    .map_err(|error| explain(side, "looking for row security", &error))?;
    let tables = rows.into_iter();
    Ok(tables
        .map(|(schema, name)| QualifiedName::new(schema, name))
        .collect())
}

/// Asks the source what a query returns, without running it.
///
/// # Errors
/// The server refuses the query.
pub async fn describe_query(
    connection: &mut Connection,
    entity: &str,
    query: &Statement,
) -> Result<Vec<Column>> {
    let doing = format!("describing the source query of {entity}");
    let failed = |error: sqlx::Error| explain(Side::Source, &doing, &error);
    let described = (&mut *connection)
        .prepare(query.safe().into_sql_str())
        .await;
    let described = described.map_err(failed)?;
    let mut columns = Vec::new();
    for column in described.columns() {
        let oid = column.type_info().oid();
        let oid = oid.map(|oid| i64::from(oid.0)).ok_or_else(|| {
            Error::new(Kind::Drift, format!("{doing} failed")).cause("a column without a type")
        })?;
        let row: ColumnRow = sqlx::query_as(TYPES)
            .bind(oid)
            .bind(column.name())
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        columns.push(row.into_column());
    }
    Ok(columns)
}
