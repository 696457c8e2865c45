//! The first load of a table by COPY, straight into target and ledger.

use super::control::failed;
use super::failure::explain;
use super::server::{Connection, answered};
use super::statement::Statement;
use crate::domain::connection::Side;
use crate::domain::direct::ProvenReference;
use crate::domain::identifier::QualifiedName;
use crate::error::{Error, Kind, Result};
use crate::failpoint::pass;
use std::time::Duration;

const ADMITS_COPY: &str = include_str!("catalog/admits_copy.sql");
const PROVES_PARENT: &str = include_str!("catalog/proves_parent.sql");

/// How long the server may take for the rows of one batch.
const COPY_LIMIT: Duration = Duration::from_secs(600);

/// Tells whether COPY into a table does just what INSERT would: no trigger or rule looks at the rows, row
/// security does not, and a row whose id is there already is refused.
///
/// # Errors
/// The query fails.
pub async fn admits(
    connection: &mut Connection,
    table: &QualifiedName,
    id_column: &str,
) -> Result<bool> {
    let admits: Option<bool> = answered(
        sqlx::query_scalar(ADMITS_COPY)
            .bind(table.sql())
            .bind(id_column)
            .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading the catalog"))?;
    Ok(admits.unwrap_or(false))
}

/// Tells whether a foreign key in force proves that the parents of a column are there.
///
/// # Errors
/// The query fails.
pub async fn proves(
    connection: &mut Connection,
    table: &QualifiedName,
    reference: &ProvenReference,
) -> Result<bool> {
    answered(
        sqlx::query_scalar(PROVES_PARENT)
            .bind(table.sql())
            .bind(&reference.column)
            .bind(reference.parent.sql())
            .bind(&reference.parent_id)
            .fetch_one(connection),
    )
    .await
    .map_err(failed("reading the catalog"))
}

/// Begins a transaction and returns its number, which its rows will carry as `xmin`. The lease is not
/// locked yet: it is proven right before the commit.
///
/// # Errors
/// The connection is gone.
pub async fn begin(connection: &mut Connection) -> Result<u32> {
    let failed = failed("beginning a batch");
    answered(sqlx::query("begin isolation level read committed").execute(&mut *connection))
        .await
        .map_err(&failed)?;
    let xid: i64 = answered(
        sqlx::query_scalar("select pg_catalog.txid_current() & 4294967295").fetch_one(connection),
    )
    .await
    .map_err(&failed)?;
    u32::try_from(xid).map_err(|_| Error::new(Kind::Unexpected, "a transaction without a number"))
}

/// What a source of chunks says of the one it has just filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// More follow.
    More,
    /// It is the last one.
    Last,
    /// The rows are not fit to be sent after all.
    Unfit,
}

/// Sends binary COPY in chunks that `fill` makes; returns the rows the server took, or `None` when it refused
/// them or they turned out to be unfit.
///
/// # Errors
/// The connection is gone, or the server does not take the rows in time.
pub async fn copy(
    connection: &mut Connection,
    statement: &Statement,
    mut fill: impl FnMut(&mut Vec<u8>) -> Chunk,
) -> Result<Option<u64>> {
    let sending = async {
        let mut copy = connection.copy_in_raw(statement.as_str()).await?;
        let mut buffer = Vec::new();
        loop {
            let chunk = fill(&mut buffer);
            if chunk == Chunk::Unfit {
                // Not aborted: the driver would leave the end of a refusal unread. It is rolled back anyway.
                return match copy.finish().await {
                    Ok(_) | Err(sqlx::Error::Database(_)) => Ok(None),
                    Err(error) => Err(error),
                };
            }
            copy.send(buffer.as_slice()).await?;
            buffer.clear();
            if chunk == Chunk::Last {
                pass!("stage.mid_copy");
                return copy.finish().await.map(Some);
            }
        }
    };
    match tokio::time::timeout(COPY_LIMIT, sending).await {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(sqlx::Error::Database(_))) => Ok(None),
        Ok(Err(error)) => Err(explain(Side::Target, "loading a batch", &error)),
        Err(_) => Err(Error::new(Kind::Connect, "the target stopped taking rows")),
    }
}
