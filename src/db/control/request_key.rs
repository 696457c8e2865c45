//! Keys of requests that began a session.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::domain::request_key::RequestKey;
use crate::error::{Error, Kind, Result};
use serde_json::Value;
use uuid::Uuid;

/// What a key stands for.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct KnownKey {
    /// What was asked for.
    pub body: Value,
    /// The session that it began or took up.
    pub session_id: Uuid,
    /// Whether an earlier process had begun that session.
    pub resumed: bool,
}

/// Finds a key.
///
/// # Errors
/// The query fails.
pub async fn find(connection: &mut Connection, key: &str) -> Result<Option<KnownKey>> {
    answered(
        sqlx::query_as("select body, session_id, resumed from diffmig.request_key where key = $1")
            .bind(key)
            .fetch_optional(connection),
    )
    .await
    .map_err(failed("looking for the key of the request"))
}

/// Remembers the key of the request that began a session; the caller's transaction makes both or neither.
///
/// # Errors
/// The key is there already, since another process was asked the same at the same time (exit 11), or the query fails.
pub async fn remember(
    connection: &mut Connection,
    key: &RequestKey,
    session_id: Uuid,
    resumed: bool,
) -> Result<()> {
    let written = answered(
        sqlx::query(
            "insert into diffmig.request_key (key, body, session_id, resumed) values ($1, $2, $3, $4) \
             on conflict (key) do nothing",
        )
        .bind(&key.key)
        .bind(&key.body)
        .bind(session_id)
        .bind(resumed)
        .execute(connection),
    )
    .await
    .map_err(failed("remembering the key of the request"))?;
    if written.rows_affected() == 0 {
        let what = "the same request has begun a session";
        return Err(
            Error::new(Kind::LeaseHeld, what).next("ask again; the answer is known by then")
        );
    }
    Ok(())
}
