//! Statements that read the source.

pub mod evaluate;
mod from;
pub mod newer;

use super::Statement;
use super::projection::{Projection, project};
use crate::domain::canonical::layout;
use crate::domain::identifier::{QualifiedName, quote_identifier, quote_literal};
use crate::domain::key::{Key, KeyFault, KeyType};
use crate::domain::resolve::ResolvedEntity;
use from::From;
use uuid::Uuid;

/// The statements of one entity's source, with the shape of their rows.
#[derive(Debug, Clone)]
pub struct SourceStatements {
    select_list: String,
    /// The fields after the key, as the mapping makes them.
    fields: Vec<String>,
    /// What a row hash depends on, when rows are left out.
    projection: Option<String>,
    layout: String,
    alias: String,
    /// The table that the rows lie in, when they are not computed.
    table: Option<String>,
    relation: String,
    from: String,
    filter: Option<String>,
    keys: Vec<(String, KeyType)>,
    order: String,
    /// The column that tells when a row was changed last, and whether it has no time zone.
    updated_at: Option<(String, bool)>,
    /// Fields before the first non-key field.
    pub key_fields: usize,
    /// Compared fields after the key; the fault field follows.
    pub compared_fields: usize,
    /// Fields that only inserts write, after the fault field.
    pub owned_fields: usize,
    /// Whether a last field orders the target ids.
    pub has_time: bool,
}

impl SourceStatements {
    /// Compiles the entity. The values of rows that are known to be unreadable are left out.
    pub fn new(entity: &ResolvedEntity) -> Self {
        let mut statements = SourceStatements::compile(entity);
        statements.leave_out(&entity.unreadable);
        statements
    }

    fn compile(entity: &ResolvedEntity) -> Self {
        let scope = &entity.scope;
        let alias = quote_identifier(&entity.source.alias);
        let From {
            relation,
            joined: from,
            filter,
        } = From::of(&entity.source, scope);
        let keys: Vec<(String, KeyType)> = entity
            .source
            .key
            .iter()
            .map(|(name, key_type)| (format!("{alias}.{}", quote_identifier(name)), *key_type))
            .collect();
        let Projection {
            mut fields,
            compared_fields,
        } = project(entity);
        let owned_fields = fields.len() - compared_fields - 1;
        if let Some(time) = &entity.id_time {
            let time = scope.sql(time);
            fields.push(format!(
                "case when isfinite({time}) then (extract(epoch from {time}) * 1000)::bigint end"
            ));
        }
        let order = keys.iter().map(|(sql, key_type)| ordered(sql, *key_type));
        SourceStatements {
            updated_at: entity
                .updated_at
                .as_ref()
                .map(|it| (scope.sql(&it.column), it.is_naive)),
            order: order.collect::<Vec<_>>().join(", "),
            select_list: select_list(&keys, &fields),
            fields,
            projection: None,
            layout: layout(entity),
            alias,
            table: entity.source.own_table().map(QualifiedName::sql),
            key_fields: keys.len(),
            relation,
            from,
            filter,
            keys,
            compared_fields,
            owned_fields,
            has_time: entity.id_time.is_some(),
        }
    }

    pub(super) fn where_clause(&self, condition: Option<String>) -> String {
        let filter = self.filter.as_ref().map(|filter| format!("({filter})"));
        let conditions: Vec<String> = filter.into_iter().chain(condition).collect();
        if conditions.is_empty() {
            String::new()
        } else {
            format!(" where {}", conditions.join(" and "))
        }
    }

    fn select(&self, condition: Option<String>) -> Statement {
        let filter = self.where_clause(condition);
        Statement::new(format!(
            "select {} from {}{filter} order by {}",
            self.select_list, self.from, self.order
        ))
    }

    pub(super) fn alias(&self) -> &str {
        &self.alias
    }

    pub(super) fn relation(&self) -> &str {
        &self.relation
    }

    pub(super) fn joined(&self) -> &str {
        &self.from
    }

    /// The condition that chooses one key.
    pub(super) fn one(&self, key: &Key) -> Result<String, KeyFault> {
        self.row_compare(key, "=")
    }

    /// Returns what a row hash depends on: the columns that are filled, the fields, the relation and the filter.
    pub fn projection(&self) -> String {
        let (fields, layout) = (self.compared_fields, &self.layout);
        let whole = || format!("{fields} {layout} {}", self.all().as_str());
        self.projection.clone().unwrap_or_else(whole)
    }

    /// Every row in key order.
    pub fn all(&self) -> Statement {
        self.select(None)
    }

    /// The rows of a closed key range.
    ///
    /// # Errors
    /// A key that does not fit the entity.
    pub fn range(&self, first: &Key, last: &Key) -> Result<Statement, KeyFault> {
        Ok(self.select(Some(self.closed(first, last)?)))
    }

    /// The rows of a list of keys.
    ///
    /// # Errors
    /// A key that does not fit the entity.
    pub fn keys(&self, keys: &[Key]) -> Result<Statement, KeyFault> {
        Ok(self.select(Some(self.among(keys)?)))
    }

    /// The condition that chooses a list of keys.
    fn among(&self, keys: &[Key]) -> Result<String, KeyFault> {
        let types: Vec<KeyType> = self.keys.iter().map(|(_, key_type)| *key_type).collect();
        let arrays = key_arrays(keys, &types)?;
        if let ([(column, key_type)], [array]) = (self.keys.as_slice(), arrays.as_slice()) {
            return Ok(format!("{} = any({array})", ordered(column, *key_type)));
        }
        let columns: Vec<String> = self
            .keys
            .iter()
            .map(|(sql, key_type)| ordered(sql, *key_type))
            .collect();
        Ok(format!(
            "({}) in (select * from unnest({}))",
            columns.join(", "),
            arrays.join(", ")
        ))
    }

    fn row_compare(&self, key: &Key, operator: &str) -> Result<String, KeyFault> {
        let types: Vec<KeyType> = self.keys.iter().map(|(_, key_type)| *key_type).collect();
        let columns: Vec<String> = self
            .keys
            .iter()
            .map(|(sql, key_type)| ordered(sql, *key_type))
            .collect();
        let values = key_literals(key, &types)?;
        Ok(format!(
            "({}) {operator} ({})",
            columns.join(", "),
            values.join(", ")
        ))
    }

    /// Counts the rows that pass joins and filter.
    pub fn count_passing(&self) -> Statement {
        let filter = self
            .filter
            .as_ref()
            .map(|filter| format!(" where {filter}"));
        Statement::new(format!(
            "select count(*) from {}{}",
            self.from,
            filter.unwrap_or_default()
        ))
    }

    /// Counts the rows of the entity's own source, whatever joins and filter leave out.
    pub fn count_relation(&self) -> Statement {
        Statement::new(format!("select count(*) from {}", self.relation))
    }

    /// A statement that fails when the projection does not fit the source; it returns no row.
    pub fn probe(&self) -> Statement {
        Statement::new(format!(
            "select {} from {} where false",
            self.select_list, self.from
        ))
    }
}

fn select_list(keys: &[(String, KeyType)], fields: &[String]) -> String {
    let keys = keys
        .iter()
        .map(|(sql, key_type)| format!("{sql}::{}", key_type.sql_type()));
    let all: Vec<String> = keys.chain(fields.iter().cloned()).collect();
    all.join(", ")
}

fn ordered(sql: &str, key_type: KeyType) -> String {
    match key_type {
        KeyType::Text => format!("{sql}::text{}", key_type.order_suffix()),
        _ => sql.to_owned(),
    }
}

/// Renders the fields of one key as typed literals.
pub(super) fn key_literals(key: &Key, types: &[KeyType]) -> Result<Vec<String>, KeyFault> {
    let fields = key.fields(types)?;
    let rendered = types.iter().zip(fields).map(|(key_type, field)| {
        Ok(format!(
            "{}::{}",
            field_literal(*key_type, &field)?,
            key_type.sql_type()
        ))
    });
    rendered.collect()
}

fn field_literal(key_type: KeyType, field: &[u8]) -> Result<String, KeyFault> {
    Ok(match key_type {
        KeyType::Integer => {
            let bytes = field.try_into().map_err(|_| KeyFault::Length)?;
            quote_literal(&i64::from_be_bytes(bytes).to_string())
        }
        KeyType::Date => {
            let bytes = field.try_into().map_err(|_| KeyFault::Length)?;
            match i32::from_be_bytes(bytes) {
                i32::MAX => "'infinity'".into(),
                i32::MIN => "'-infinity'".into(),
                days => format!("(date '2000-01-01' + {days})"),
            }
        }
        KeyType::Uuid => {
            let bytes = field.try_into().map_err(|_| KeyFault::Length)?;
            quote_literal(&Uuid::from_bytes(bytes).to_string())
        }
        KeyType::Text => quote_literal(&String::from_utf8_lossy(field)),
    })
}

/// Renders many keys as one array per key column.
pub(super) fn key_arrays(keys: &[Key], types: &[KeyType]) -> Result<Vec<String>, KeyFault> {
    let mut columns: Vec<Vec<String>> = vec![Vec::with_capacity(keys.len()); types.len()];
    for key in keys {
        for (index, field) in key.fields(types)?.iter().enumerate() {
            columns[index].push(field_literal(types[index], field)?);
        }
    }
    let arrays = types
        .iter()
        .zip(columns)
        .map(|(key_type, values)| match key_type {
            KeyType::Integer | KeyType::Uuid => {
                let plain: Vec<&str> = values
                    .iter()
                    .map(|value| value.trim_matches('\''))
                    .collect();
                format!("'{{{}}}'::{}[]", plain.join(","), key_type.sql_type())
            }
            _ => format!("array[{}]::{}[]", values.join(","), key_type.sql_type()),
        });
    Ok(arrays.collect())
}

/// Locks tables against change of shape and truncation, before the snapshot is taken.
pub fn lock_tables(tables: &[QualifiedName]) -> Statement {
    let names: Vec<String> = tables.iter().map(QualifiedName::sql).collect();
    Statement::new(format!(
        "lock table {} in access share mode",
        names.join(", ")
    ))
}

/// Begins a read of another transaction's snapshot.
pub fn begin_snapshot(snapshot: &str) -> Statement {
    let snapshot = quote_literal(snapshot);
    Statement::new(format!(
        "begin isolation level repeatable read, read only; set transaction snapshot {snapshot}"
    ))
}
