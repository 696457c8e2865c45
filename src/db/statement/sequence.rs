//! Sequences behind mapped columns: the application's next number must be behind every migrated one.

use super::Statement;
use crate::domain::identifier::quote_identifier;
use crate::domain::mapping::IdStrategy;
use crate::domain::resolve::ResolvedEntity;

/// Names the target columns that rows bring values for.
pub fn filled_columns(entity: &ResolvedEntity) -> Vec<String> {
    let kept = (entity.id_strategy == IdStrategy::Same).then_some(&entity.id_column);
    let legacy = entity.legacy.iter().map(|(_, column)| column);
    let mapped = entity.columns.iter().map(|column| &column.name);
    kept.into_iter()
        .chain(legacy)
        .chain(mapped)
        .cloned()
        .collect()
}

/// Moves a sequence behind the largest value of its column, never back; returns where it stands if it was moved.
///
/// `sequence` is quoted by the server that named it.
pub fn advance(entity: &ResolvedEntity, column: &str, sequence: &str) -> Statement {
    let quoted = crate::domain::identifier::quote_literal(sequence);
    Statement::new(format!(
        "select pg_catalog.setval({quoted}, t.top) from \
         (select max({})::bigint as top from {}) t, {sequence} s, pg_catalog.pg_sequence d \
         where d.seqrelid = {quoted}::regclass and d.seqincrement > 0 \
         and (t.top > s.last_value or (t.top = s.last_value and not s.is_called))",
        quote_identifier(column),
        entity.target.sql(),
    ))
}
