//! Moves sequences of the target, in a transaction that proves the lease.

use super::lease::begin_fenced;
use crate::db::failure::explain;
use crate::db::server::{Connection, answered};
use crate::db::statement::sequence::{advance as advancing, filled_columns};
use crate::domain::connection::Side;
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Kind, Result};

/// Moves the sequences behind an entity's columns and returns those that were behind, with their new values.
///
/// # Errors
/// The lease was taken (exit 16), or the role may not move a sequence (exit 12).
pub async fn advance(
    connection: &mut Connection,
    epoch: i64,
    entity: &ResolvedEntity,
) -> Result<Vec<(String, i64)>> {
    let doing = format!("moving the sequences of {}", entity.name);
    let failed = |error: sqlx::Error| explain(Side::Target, &doing, &error);
    let owned: Vec<(String, String)> = answered(
        sqlx::query_as(
            "select o.name, o.sequence from (select name, pg_catalog.pg_get_serial_sequence($1, name) as sequence \
             from pg_catalog.unnest($2::text[]) as name) o where o.sequence is not null",
        )
        .bind(entity.target.sql())
        .bind(filled_columns(entity))
        .fetch_all(&mut *connection),
    )
    .await
    .map_err(failed)?;
    if owned.is_empty() {
        return Ok(Vec::new());
    }
    let mut moved = Vec::new();
    begin_fenced(connection, epoch).await?;
    for (column, sequence) in owned {
        let statement = advancing(entity, &column, &sequence);
        let value: Option<(i64,)> = answered(
            sqlx::query_as(statement.safe())
                .persistent(false)
                .fetch_optional(&mut *connection),
        )
        .await
        .map_err(|error| refused(&sequence, failed(error)))?;
        moved.extend(value.map(|(value,)| (sequence, value)));
    }
    answered(sqlx::query("commit").execute(connection))
        .await
        .map_err(failed)?;
    Ok(moved)
}

fn refused(sequence: &str, error: Error) -> Error {
    let error = error.state("every row is applied and committed");
    match error.kind() {
        Kind::Permission => error.next(format!(
            "grant usage, select, update on sequence {sequence} to the role, then run the same command again"
        )),
        _ => error,
    }
}
