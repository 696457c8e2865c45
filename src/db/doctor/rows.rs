//! Looks for rows of the source that the mapping cannot take as they are.

use crate::db::failure::{explain, row_refusal};
use crate::db::server::Connection;
use crate::db::statement::Statement;
use crate::domain::connection::Side;
use crate::domain::doctor::FoundValue;
use crate::error::{Error, Kind, Result};

/// What is wrong when a statement meets a row that a rule cannot work with.
fn failed(entity: &str) -> impl Fn(sqlx::Error) -> Error {
    move |error| {
        let explained = explain(Side::Source, &format!("reading {entity}"), &error);
        match row_refusal(&error) {
            Some(_) => Error::new(Kind::Unexpected, explained.what())
                .cause(explained.cause_text().unwrap_or_default())
                .next("guard the rule with case when"),
            None => explained,
        }
    }
}

/// Runs a statement that returns one array of counts.
///
/// # Errors
/// The query fails, also because of a row; or it takes too long.
pub async fn counts(
    connection: &mut Connection,
    entity: &str,
    statement: &Statement,
) -> Result<Vec<u64>> {
    let counts: Vec<i64> = sqlx::query_scalar(statement.safe())
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(failed(entity))?;
    let counts = counts.into_iter();
    Ok(counts
        .map(|count| u64::try_from(count).unwrap_or(0))
        .collect())
}

/// Runs a statement that lists values with the rows that have them.
///
/// # Errors
/// As [`counts`].
pub async fn values(
    connection: &mut Connection,
    entity: &str,
    statement: &Statement,
) -> Result<Vec<FoundValue>> {
    let rows: Vec<(Option<String>, i64)> = sqlx::query_as(statement.safe())
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(failed(entity))?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|(value, rows)| FoundValue {
            value,
            rows: u64::try_from(rows).unwrap_or(0),
        })
        .collect())
}

/// Runs a statement that counts.
///
/// # Errors
/// As [`counts`].
pub async fn count(
    connection: &mut Connection,
    entity: &str,
    statement: &Statement,
) -> Result<u64> {
    let count: i64 = sqlx::query_scalar(statement.safe())
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(failed(entity))?;
    Ok(u64::try_from(count).unwrap_or(0))
}
