//! The statements of a first load: COPY into the target and its ledger, without a stage.

use super::ledger::ledger_name;
use super::{Statement, key_names};
use crate::domain::direct::DirectRows;
use crate::domain::identifier::quote_identifier;
use crate::domain::resolve::ResolvedEntity;

/// The two COPY statements of a batch.
#[derive(Debug, Clone)]
pub struct DirectStatements {
    /// Fills the target.
    pub copy_target: Statement,
    /// Fills the ledger.
    pub copy_ledger: Statement,
}

impl DirectStatements {
    /// Compiles the entity.
    pub fn new(entity: &ResolvedEntity, rows: &DirectRows) -> Self {
        let columns: Vec<String> = rows.columns.iter().map(|it| quote_identifier(it)).collect();
        let keys = key_names(entity.source.key.len()).join(", ");
        DirectStatements {
            copy_target: Statement::new(format!(
                "copy {} ({}) from stdin (format binary)",
                entity.target.sql(),
                columns.join(", ")
            )),
            copy_ledger: Statement::new(format!(
                "copy {} ({keys}, target_id, row_hash, target_xmin, session_number) from stdin (format binary)",
                ledger_name(&entity.name)
            )),
        }
    }
}
