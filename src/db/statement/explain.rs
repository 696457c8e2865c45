//! Statements that show one row on its way: what the source has, what the mapping makes of it, what the target has.

use super::content::ContentStatements;
use super::projection::project;
use super::source::SourceStatements;
use super::{Statement, ledger::ledger_name};
use crate::domain::identifier::quote_identifier;
use crate::domain::key::{Key, KeyFault};
use crate::domain::resolve::ResolvedEntity;

/// The source row's own columns as names and texts.
///
/// # Errors
/// A key that does not fit the entity.
pub fn source_row(statements: &SourceStatements, key: &Key) -> Result<Statement, KeyFault> {
    let one = statements.one(key)?;
    Ok(Statement::new(format!(
        "select j.key, j.value from (select {alias}.* from {relation} where {one}) r, \
         lateral json_each_text(row_to_json(r)) j",
        alias = statements.alias(),
        relation = statements.relation(),
    )))
}

/// The fields that the mapping makes, in the order of [`field_sql`], as texts.
///
/// # Errors
/// A key that does not fit the entity.
pub fn mapped_row(
    entity: &ResolvedEntity,
    statements: &SourceStatements,
    key: &Key,
) -> Result<Statement, KeyFault> {
    let fields: Vec<String> = project(entity)
        .fields
        .iter()
        .map(|field| format!("({field})::text"))
        .collect();
    let filter = statements.where_clause(Some(statements.one(key)?));
    Ok(Statement::new(format!(
        "select u.n::text, u.value from (select array[{}] as fields from {}{filter}) r, \
         lateral unnest(r.fields) with ordinality as u (value, n) order by u.n",
        fields.join(", "),
        statements.joined()
    )))
}

/// The SQL of each compared field, for people.
pub fn field_sql(entity: &ResolvedEntity) -> Vec<String> {
    project(entity).fields
}

/// The target row's own columns as names and texts.
///
/// # Errors
/// A key that does not fit the entity.
pub fn target_row(entity: &ResolvedEntity, key: &Key) -> Result<Statement, KeyFault> {
    let condition = super::ledger::keys_condition(entity, std::slice::from_ref(key))?;
    Ok(Statement::new(format!(
        "select j.key, j.value from (select t.* from {} t where t.{} = (select target_id from {}{condition})) r, \
         lateral json_each_text(row_to_json(r)) j",
        entity.target.sql(),
        quote_identifier(&entity.id_column),
        ledger_name(&entity.name),
    )))
}

/// The fields of the target row as they are read back, as texts.
///
/// # Errors
/// A key that does not fit the entity.
pub fn read_back(
    contents: &ContentStatements,
    entity: &ResolvedEntity,
    key: &Key,
) -> Result<Statement, KeyFault> {
    let condition = super::ledger::keys_condition(entity, std::slice::from_ref(key))?;
    Ok(contents.as_texts(&condition))
}
