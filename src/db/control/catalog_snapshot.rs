//! What both databases looked like when a session had ended well.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::domain::connection::Side;
use crate::domain::drift::CatalogSnapshot;
use crate::error::Result;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;

/// How many structures of a side are kept.
const KEPT: i32 = 20;

/// The latest snapshot of a side, without its structure.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Taken {
    /// The digest of the structure.
    pub digest: String,
    /// The session that saw it last; nothing when somebody accepted it.
    pub session: Option<i32>,
    /// When it was seen last.
    pub seen_at: DateTime<Utc>,
}

/// Both sides of what is known; a side is missing before the first session has ended.
#[derive(Debug, Clone, Default)]
pub struct Latest {
    /// The source.
    pub source: Option<Taken>,
    /// The target.
    pub target: Option<Taken>,
    /// The digest of the mapping that was applied last.
    pub mapping: Option<String>,
}

impl Latest {
    /// Returns one side.
    pub fn of(&self, side: Side) -> Option<&Taken> {
        match side {
            Side::Source => self.source.as_ref(),
            Side::Target => self.target.as_ref(),
        }
    }
}

/// Tells whether the control schema is there and has snapshots; nothing is changed.
///
/// # Errors
/// The query fails.
pub async fn is_kept(connection: &mut Connection) -> Result<bool> {
    answered(
        sqlx::query_scalar(
            "select pg_catalog.to_regclass('diffmig.catalog_snapshot') is not null \
             and pg_catalog.has_schema_privilege('diffmig', 'usage')",
        )
        .fetch_one(connection),
    )
    .await
    .map_err(failed("looking for snapshots of the catalogs"))
}

/// Finds the latest snapshot of both sides.
///
/// # Errors
/// The query fails.
pub async fn latest(connection: &mut Connection) -> Result<Latest> {
    let rows: Vec<(String, String, Option<i32>, DateTime<Utc>, Option<String>)> = answered(
        sqlx::query_as(
            "select distinct on (side) side, digest, last_session, seen_at, \
             (select m.digest from diffmig.mapping_version m order by m.last_at desc limit 1) \
             from diffmig.catalog_snapshot order by side, seen_at desc",
        )
        .fetch_all(connection),
    )
    .await
    .map_err(failed("reading the snapshots of the catalogs"))?;
    let mut latest = Latest::default();
    for (side, digest, session, seen_at, mapping) in rows {
        latest.mapping = mapping;
        let taken = Some(Taken {
            digest,
            session,
            seen_at,
        });
        match side.as_str() {
            "source" => latest.source = taken,
            _ => latest.target = taken,
        }
    }
    Ok(latest)
}

/// Reads the structure of a snapshot; one that this version cannot read is as good as none.
///
/// # Errors
/// The query fails.
pub async fn structure(
    connection: &mut Connection,
    side: Side,
    digest: &str,
) -> Result<Option<CatalogSnapshot>> {
    let found: Option<Value> = answered(
        sqlx::query_scalar(
            "select structure from diffmig.catalog_snapshot where side = $1 and digest = $2",
        )
        .bind(side.word())
        .bind(digest)
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading a snapshot of a catalog"))?;
    Ok(found.and_then(|it| serde_json::from_value(it).ok()))
}

/// Keeps a structure as the latest of its side, and forgets the oldest.
///
/// # Errors
/// The query fails.
pub async fn save(
    connection: &mut Connection,
    side: Side,
    snapshot: &CatalogSnapshot,
    session: Option<i32>,
) -> Result<()> {
    answered(
        sqlx::query(
            "with kept as (insert into diffmig.catalog_snapshot as old \
               (side, digest, structure, first_session, last_session) values ($1, $2, $3, $4, $4) \
               on conflict (side, digest) do update set seen_at = now(), \
               last_session = coalesce(excluded.last_session, old.last_session)) \
             delete from diffmig.catalog_snapshot where side = $1 and digest <> $2 and digest not in \
             (select digest from diffmig.catalog_snapshot where side = $1 and digest <> $2 \
              order by seen_at desc limit $5 - 1)",
        )
        .bind(side.word())
        .bind(snapshot.digest())
        .bind(Json(snapshot))
        .bind(session)
        .bind(KEPT)
        .execute(connection),
    )
    .await
    .map(drop)
    .map_err(failed("storing a snapshot of a catalog"))
}
