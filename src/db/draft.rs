//! What a draft wants to know beyond the catalog: small facts about tables, and the values of columns with codes.

use super::catalog;
use super::failure::explain;
use super::server::Connection;
use super::statement::draft::codes;
use crate::domain::catalog::{Catalog, RelationKind};
use crate::domain::connection::Side;
use crate::domain::draft::{Codes, MAX_CODES, Question, Relation, ZoneDraft};
use crate::error::{Kind, Result};
use std::collections::{BTreeMap, BTreeSet};

const RELATION_FACTS: &str = include_str!("catalog/relation_facts.sql");
const UNIQUE_KEYS: &str = include_str!("catalog/unique_keys.sql");

/// The longest text that is taken for a code, in characters.
const MAX_CODE_LENGTH: usize = 60;

/// Reads the tables of a schema: no views, no partitions, nothing that belongs to an extension.
///
/// # Errors
/// A query fails.
pub async fn relations(
    side: Side,
    connection: &mut Connection,
    schema: &str,
) -> Result<(Catalog, Vec<Relation>)> {
    let schemas = [schema.to_owned()];
    let catalog = catalog::read(side, connection, &schemas).await?;
    let failed = |error: sqlx::Error| explain(side, "reading the catalog", &error);
    let facts: Vec<(i64, bool, bool)> = sqlx::query_as(RELATION_FACTS)
        .bind(&schemas)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let keys: Vec<(i64, Vec<String>)> = sqlx::query_as(UNIQUE_KEYS)
        .bind(&schemas)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let parts: BTreeSet<i64> = facts.iter().filter(|it| it.1).map(|it| it.0).collect();
    let touched: BTreeSet<i64> = facts.iter().filter(|it| it.2).map(|it| it.0).collect();
    let mut unique: BTreeMap<i64, Vec<Vec<String>>> = BTreeMap::new();
    for (oid, columns) in keys {
        unique.entry(oid).or_default().push(columns);
    }
    let tables = catalog.tables.values().filter(|it| {
        matches!(it.kind, RelationKind::Table | RelationKind::Partitioned)
            && !parts.contains(&it.oid)
    });
    let relations = tables.map(|table| Relation {
        table: table.clone(),
        unique_keys: unique.remove(&table.oid).unwrap_or_default(),
        is_touched: touched.contains(&table.oid),
    });
    let relations = relations.collect();
    Ok((catalog, relations))
}

/// Finds out what naive times of the source may mean. Our own sessions are pinned to UTC, so what counts is what
/// was set for the role or the database, and else the zone of the server's log, which `initdb` sets alike.
///
/// # Errors
/// The query fails.
pub async fn time_zone(connection: &mut Connection) -> Result<ZoneDraft> {
    let (name, reason): (String, String) = sqlx::query_as(
        "select zone, reason from ( \
           select pg_catalog.split_part(setting, '=', 2) as zone, \
                  'the TimeZone that is set for this role or database; CHECK it' as reason, \
                  (s.setdatabase <> 0)::integer + 2 * (s.setrole <> 0)::integer as place \
           from pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) as setting \
           where pg_catalog.lower(setting) like 'timezone=%' \
             and s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d \
                                       where d.datname = pg_catalog.current_database())) \
             and s.setrole in (0, (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user)) \
           union all \
           select pg_catalog.current_setting('log_timezone'), 'the time zone of the server''s log; CHECK it', -1 \
         ) known order by place desc limit 1",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| explain(Side::Source, "reading the time zone", &error))?;
    Ok(ZoneDraft { name, reason })
}

/// Reads the codes of a column, or of a table of codes. Nothing when there are too many, when they are too long, or
/// when they cannot be read in time: they only make a draft better.
///
/// # Errors
/// The connection is lost.
pub async fn answer(connection: &mut Connection, question: &Question) -> Result<Option<Codes>> {
    let doing = "reading codes";
    let failed = |error: sqlx::Error| explain(Side::Source, doing, &error);
    sqlx::raw_sql("begin read only; set local statement_timeout = '10s'")
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let read: sqlx::Result<Codes> = sqlx::query_as(codes(question).safe())
        .persistent(false)
        .fetch_all(&mut *connection)
        .await;
    sqlx::raw_sql("rollback")
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let codes = match read.map_err(failed) {
        Ok(codes) => codes,
        Err(error) if error.kind() == Kind::Connect => return Err(error),
        Err(_) => return Ok(None),
    };
    let is_short = |it: &(String, Option<String>)| it.0.chars().count() <= MAX_CODE_LENGTH;
    Ok((codes.len() <= MAX_CODES && codes.iter().all(is_short)).then_some(codes))
}
