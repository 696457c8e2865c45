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
#[derive(Debug, Clone)]
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
    /// The mapping that was applied last.
    pub mapping: Option<Applied>,
}

/// A mapping that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its digest.
    pub digest: String,
    /// The session that applied it last.
    pub session: i32,
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
            "select case when pg_catalog.to_regnamespace('diffmig') is null then false \
             when not pg_catalog.has_schema_privilege('diffmig', 'usage') then false \
             else pg_catalog.to_regclass('diffmig.catalog_snapshot') is not null end",
        )
        .fetch_one(connection),
    )
    .await
    .map_err(failed("looking for snapshots of the catalogs"))
}

#[derive(sqlx::FromRow)]
struct LatestRow {
    side: String,
    digest: String,
    session: Option<i32>,
    seen_at: DateTime<Utc>,
    mapping: Option<String>,
    applied_by: Option<i32>,
}

/// Finds the latest snapshot of both sides.
///
/// # Errors
/// The query fails.
pub async fn latest(connection: &mut Connection) -> Result<Latest> {
    let rows: Vec<LatestRow> = answered(
        sqlx::query_as(
            "select distinct on (s.side) s.side, s.digest, s.last_session as session, s.seen_at, \
             m.digest as mapping, m.last_session as applied_by from diffmig.catalog_snapshot s \
             left join (select v.digest, v.last_session from diffmig.mapping_version v \
               order by v.last_at desc limit 1) m on true order by s.side, s.seen_at desc",
        )
        .fetch_all(connection),
    )
    .await
    .map_err(failed("reading the snapshots of the catalogs"))?;
    let mut latest = Latest::default();
    for row in rows {
        let applied = row.mapping.zip(row.applied_by);
        latest.mapping = applied.map(|(digest, session)| Applied { digest, session });
        let taken = Some(Taken {
            digest: row.digest,
            session: row.session,
            seen_at: row.seen_at,
        });
        match row.side.as_str() {
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

/// Reads the structure that a session saw; nothing when it is not kept any more.
///
/// # Errors
/// The query fails.
pub async fn seen_by(
    connection: &mut Connection,
    side: Side,
    session: i32,
) -> Result<Option<CatalogSnapshot>> {
    let found: Option<Value> = answered(
        sqlx::query_scalar(
            "select structure from diffmig.catalog_snapshot where side = $1 \
             and first_session <= $2 and last_session >= $2 \
             order by last_session, first_session desc limit 1",
        )
        .bind(side.word())
        .bind(session)
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
               first_session = coalesce(old.first_session, excluded.first_session), \
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
