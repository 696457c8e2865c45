//! Runs fixture scripts on throw-away servers.

use super::failure::explain;
use crate::domain::connection::Side;
use crate::error::Result;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Runs a script of our own as one simple query, on a connection without pinned settings.
///
/// # Errors
/// No connection, or the script fails; it then had no effect.
pub async fn run(side: Side, url: &str, text: &str) -> Result<()> {
    let failed = |error: sqlx::Error| explain(side, "running a fixture script", &error);
    let mut connection = PgConnection::connect(url).await.map_err(failed)?;
    sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .execute(&mut connection)
        .await
        .map_err(failed)?;
    connection.close().await.map_err(failed)
}
