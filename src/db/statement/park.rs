//! Makes room for rows that change places: a unique value that moves from one row to another.
//!
//! Rows that take each other's values cannot be updated one after the other. So the values are first moved
//! out of the way, in the transaction that sets the right ones.

use super::apply::{ApplyStatements, STAGE, THIS_XID};
use super::ledger::ledger_name;
use super::{Statement, key_equality};
use crate::domain::catalog::UniqueColumn;
use crate::domain::identifier::quote_identifier;
use crate::domain::mapping::ConflictPolicy;
use std::collections::BTreeMap;

/// A value that no other row has, or NULL where that excludes nothing; `None` when the type has none to offer.
fn parked_value(column: &UniqueColumn, target: &str) -> Option<String> {
    let name = quote_identifier(&column.name);
    if !column.not_null && !column.nulls_collide {
        return Some("null".into());
    }
    match column.base.as_str() {
        "uuid" => Some("gen_random_uuid()".into()),
        "text" | "varchar" | "bpchar" => Some("md5(random()::text || s.n::text)".into()),
        "int2" | "int4" | "int8" | "numeric" => Some(format!(
            "(select coalesce(min({name}), 0) from {target}) - 1 - s.n"
        )),
        _ => None,
    }
}

fn preference(column: &UniqueColumn) -> u8 {
    match (
        column.not_null || column.nulls_collide,
        column.base.as_str(),
    ) {
        (false, _) => 0,
        (true, "uuid") => 1,
        (true, "text" | "varchar" | "bpchar") => 2,
        (true, _) => 3,
    }
}

impl ApplyStatements {
    /// Moves the values of unique columns out of the way, for staged rows that are in the target, untouched and
    /// without fault; returns how many. `None` when no constraint has a column that can be parked.
    pub fn park(&self, columns: &[UniqueColumn]) -> Option<Statement> {
        let entity = &self.entity;
        let target = entity.target.sql();
        let mut by_constraint: BTreeMap<&str, Vec<&UniqueColumn>> = BTreeMap::new();
        // Only what the update right after writes again may be moved: not what the target owns or nobody maps.
        let compared = &entity.columns[..entity.compared_count()];
        let written_again = |name: &str| compared.iter().any(|column| column.name == name);
        for column in columns.iter().filter(|it| written_again(&it.name)) {
            by_constraint
                .entry(&column.constraint)
                .or_default()
                .push(column);
        }
        let mut settings = BTreeMap::new();
        for mut choice in by_constraint.into_values() {
            choice.sort_by_key(|column| preference(column));
            let found = choice
                .iter()
                .find_map(|column| Some((*column, parked_value(column, &target)?)));
            settings.extend(found.map(|(column, value)| (quote_identifier(&column.name), value)));
        }
        if settings.is_empty() {
            return None;
        }
        let settings: Vec<String> = settings
            .iter()
            .map(|(column, value)| format!("{column} = {value}"))
            .collect();
        let untouched = match entity.conflict {
            ConflictPolicy::SourceWins => String::new(),
            ConflictPolicy::KeepTarget | ConflictPolicy::Quarantine => {
                " and (t.xmin = l.target_xmin or t.xmin = s.seen)".to_owned()
            }
        };
        let id = quote_identifier(&entity.id_column);
        Some(Statement::new(format!(
            "with parked as (update {target} t set {} from {STAGE} s join {} l on {} \
             where t.{id} = l.target_id and s.fault is null and l.deleted_at is null{untouched} \
             returning s.n, t.xmin as seen), \
             noted as (update {STAGE} s set seen = parked.seen from parked where s.n = parked.n) \
             select count(*) from parked",
            settings.join(", "),
            ledger_name(&entity.name),
            key_equality("l", "s", entity.source.key.len())
        )))
    }

    /// Tells whether some parked row did not get its new values.
    pub fn is_left_out(&self) -> Statement {
        Statement::new(format!(
            "select exists (select from {STAGE} s join {} l on {} where s.seen = {THIS_XID} and l.outcome <> 'applied')",
            ledger_name(&self.entity.name),
            key_equality("l", "s", self.entity.source.key.len())
        ))
    }
}
