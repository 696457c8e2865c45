//! Whether rows are there that an adoption would take over.

use super::{AdoptStatements, carried, id_type, read_as};
use crate::db::statement::Statement;
use crate::domain::identifier::{quote_identifier, quote_literal};

impl AdoptStatements<'_> {
    /// Tells whether a target row that no ledger knows carries a source key, or is named by the mappings table.
    /// What is no key ties nothing. `None` when nothing ties rows to keys.
    pub fn has_claims(&self) -> Option<Statement> {
        let entity = self.entity;
        let types = entity.key_types();
        let (target, only) = (entity.target.sql(), self.only());
        let mut found = Vec::new();
        if !entity.adoption.legacy.is_empty() {
            let (key, given) = carried("t", &entity.adoption.legacy, &types);
            let given = format!("{given} and ({key}) is not null");
            found.push(format!("select from {target} t where {given}{only}"));
        }
        if let Some(table) = &entity.adoption.table {
            let (key, given) = carried("m", &table.source_id, &types);
            let id = format!("m.{}", quote_identifier(&table.target_id.column));
            let which = table.discriminator.as_ref().map(|(column, value)| {
                let column = quote_identifier(column);
                format!(" and m.{column}::text = {}", quote_literal(value))
            });
            found.push(format!(
                "select from {} m join {target} t on {} = {} where {given} and ({key}) is not null{}{only}",
                table.table.sql(),
                self.row_id(),
                read_as(&id, &table.target_id.base, id_type(entity)),
                which.unwrap_or_default()
            ));
        }
        if found.is_empty() {
            return None;
        }
        let id = quote_identifier(&entity.id_column);
        let neighbours = self.all.iter().filter(|it| it.target == entity.target);
        let unknown: String = neighbours
            .map(|it| {
                let ledger = self.ledger(it);
                format!(
                    " and not exists (select from {ledger} l where l.target_id = t.{id} and l.target_xmin is not null)"
                )
            })
            .collect();
        let found: Vec<String> = found
            .iter()
            .map(|it| format!("exists ({it}{unknown})"))
            .collect();
        Some(Statement::new(format!("select {}", found.join(" or "))))
    }
}
