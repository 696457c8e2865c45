//! What the mapping said: one row per text that a session has applied.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::error::Result;

/// How many texts are kept.
const KEPT: i32 = 50;

/// A mapping that was applied.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct MappingVersion {
    /// The digest of its text.
    pub digest: String,
    /// Its text.
    pub text: String,
    /// The session that applied it last.
    pub last_session: i32,
}

/// Finds the mapping that was applied last.
///
/// # Errors
/// The query fails.
pub async fn latest(connection: &mut Connection) -> Result<Option<MappingVersion>> {
    answered(
        sqlx::query_as(
            "select digest, text, last_session from diffmig.mapping_version \
             order by last_at desc limit 1",
        )
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading the mapping that was applied last"))
}

/// Notes that a session has applied what is known already: the catalogs and the mapping; tells whether the
/// mapping's text is kept.
///
/// # Errors
/// The query fails.
pub async fn touch(
    connection: &mut Connection,
    digest: &str,
    catalogs: [&str; 2],
    session: i32,
) -> Result<bool> {
    answered(
        sqlx::query_scalar(
            "with seen as (update diffmig.catalog_snapshot set seen_at = now(), last_session = $3, \
               first_session = coalesce(first_session, $3) where (side, digest) in (('source', $1), ('target', $2))), \
             applied as (update diffmig.mapping_version set last_at = now(), last_session = $3 \
               where digest = $4 returning 1) \
             select exists (select from applied)",
        )
        .bind(catalogs[0])
        .bind(catalogs[1])
        .bind(session)
        .bind(digest)
        .fetch_one(connection),
    )
    .await
    .map_err(failed("noting the mapping"))
}

/// Keeps the text of a mapping that a session has applied, and forgets the oldest.
///
/// # Errors
/// The query fails.
pub async fn save(
    connection: &mut Connection,
    digest: &str,
    text: &str,
    session: i32,
) -> Result<()> {
    answered(
        sqlx::query(
            "with kept as (insert into diffmig.mapping_version (digest, text, first_session, last_session) \
               values ($1, $2, $3, $3) \
               on conflict (digest) do update set last_at = now(), last_session = excluded.last_session) \
             delete from diffmig.mapping_version where digest <> $1 and digest not in \
             (select digest from diffmig.mapping_version where digest <> $1 \
              order by last_at desc limit $4 - 1)",
        )
        .bind(digest)
        .bind(text)
        .bind(session)
        .bind(KEPT)
        .execute(connection),
    )
    .await
    .map(drop)
    .map_err(failed("keeping the mapping"))
}
