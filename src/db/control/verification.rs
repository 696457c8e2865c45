//! What `verify` found.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::error::Result;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Connection as _;

/// How many verifications are remembered.
const KEPT: i64 = 20;

/// A verification to store.
#[derive(Debug, Clone)]
pub struct NewVerification<'a> {
    /// The source's clock at its snapshot.
    pub snapshot_at: DateTime<Utc>,
    /// The mapping.
    pub mapping_digest: &'a str,
    /// The share of the keys in percent.
    pub sample: Option<f64>,
    /// Whether every row was proved.
    pub proved: bool,
    /// How many rows differ.
    pub differences: i64,
    /// The accounts by entity.
    pub entities: Value,
}

/// A verification as stored.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct VerificationRow {
    /// When it was complete.
    pub verified_at: DateTime<Utc>,
    /// The source's clock at its snapshot.
    pub snapshot_at: DateTime<Utc>,
    /// The mapping.
    pub mapping_digest: String,
    /// The share of the keys in percent.
    pub sample: Option<f64>,
    /// Whether every row was proved.
    pub proved: bool,
    /// How many rows differ.
    pub differences: i64,
    /// The accounts by entity.
    pub entities: Value,
}

/// Stores a verification and forgets old ones.
///
/// # Errors
/// The query fails, as for a role that may only read.
pub async fn store(connection: &mut Connection, new: &NewVerification<'_>) -> Result<()> {
    let failed = failed("recording the verification");
    let mut transaction = connection.begin().await.map_err(&failed)?;
    answered(
        sqlx::query(
            "insert into diffmig.verification \
             (snapshot_at, mapping_digest, sample, proved, differences, entities) values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(new.snapshot_at)
        .bind(new.mapping_digest)
        .bind(new.sample)
        .bind(new.proved)
        .bind(new.differences)
        .bind(&new.entities)
        .execute(&mut *transaction),
    )
    .await
    .map_err(&failed)?;
    answered(
        sqlx::query(
            "delete from diffmig.verification where verification_id not in \
             (select verification_id from diffmig.verification order by verification_id desc limit $1)",
        )
        .bind(KEPT)
        .execute(&mut *transaction),
    )
    .await
    .map_err(&failed)?;
    transaction.commit().await.map_err(&failed)
}

/// Reads the latest verification.
///
/// # Errors
/// The query fails.
pub async fn latest(connection: &mut Connection) -> Result<Option<VerificationRow>> {
    answered(
        sqlx::query_as(
            "select verified_at, snapshot_at, mapping_digest, sample, proved, differences, entities \
             from diffmig.verification order by verification_id desc limit 1",
        )
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("reading the last verification"))
}
