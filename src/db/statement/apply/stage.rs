//! The stage table of an entity.

use crate::db::statement::target_row::TargetRow;
use crate::db::statement::{Statement, key_names};
use crate::domain::resolve::ResolvedEntity;

/// Creates the stage; in a knot it also says which rows come.
pub(super) fn create_stage(
    entity: &ResolvedEntity,
    row: &TargetRow,
    stage: &str,
    knotted: bool,
) -> Statement {
    let columns = row.stage_columns.iter();
    let columns: Vec<String> = columns
        .map(|(name, kind)| format!("{name} {kind}"))
        .collect();
    // The xmin of a target row whose content was looked at and is what was applied last.
    let mut columns = format!("{}, seen xid", columns.join(", "));
    let keys = key_names(entity.source.key.len()).join(", ");
    let referring = row.references.iter();
    let mut indexed: Vec<String> = referring
        .filter(|it| knotted || it.is_self(entity))
        .map(|it| it.key.clone())
        .collect();
    if knotted {
        // Whether the row is in the target once the transaction is committed.
        columns.push_str(", comes boolean not null default true");
        indexed.dedup();
        for key in &mut indexed {
            // Rows behind a stuck one are found by its key, which has this collation.
            let is_text = |(name, kind): &(String, String)| name == key && kind == "text";
            if row.stage_columns.iter().any(is_text) {
                key.push_str(" collate \"C\"");
            }
        }
        indexed.push("n".into());
    }
    if !indexed.is_empty() {
        indexed.push(keys);
    }
    let indexes: String = indexed
        .iter()
        .map(|keys| format!("; create index on {stage} ({keys})"))
        .collect();
    let name = stage.trim_start_matches("pg_temp.");
    Statement::new(format!(
        "drop table if exists {stage}; create temporary table {name} ({columns}) on commit preserve rows{indexes}"
    ))
}
