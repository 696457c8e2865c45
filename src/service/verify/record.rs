//! The last verification, kept in the control schema for whoever shows it.

use super::{EntityVerification, Verification};
use crate::context::Context;
use crate::db::control::schema::{Installed, look};
use crate::db::control::verification::{NewVerification, latest, store};
use crate::db::server::{Connection, Server};
use crate::error::{Error, Kind, Result};
use crate::service::sessions::open_if_any;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

/// The version of the control schema that brought the table.
const SINCE: i32 = 6;
/// How many findings of an entity are kept.
const FINDINGS: usize = 20;

/// A verification as it was recorded.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastVerification {
    /// When it was complete.
    pub verified_at: DateTime<Utc>,
    /// The source's clock at its snapshot.
    pub snapshot_at: DateTime<Utc>,
    /// The mapping it was made with.
    pub mapping_digest: String,
    /// The share of the keys in percent; `null` when all were compared.
    pub sample: Option<f64>,
    /// Whether every row was proved.
    pub proved: bool,
    /// How many rows differ.
    pub differences: i64,
    /// The entities in mapping order, each with the first rows that differ.
    pub entities: Vec<EntityVerification>,
}

async fn has_table(connection: &mut Connection) -> Result<bool> {
    let installed = look(connection).await?;
    Ok(matches!(installed, Installed::Present { version, .. } if version >= SINCE))
}

/// Records what was found, where this role may and the control schema knows how.
///
/// A verification is no worse for not being recorded: it writes nothing else.
pub(super) async fn record(context: &Context, verification: &Verification) {
    if let Err(error) = try_record(context, verification).await {
        tracing::info!(error = %error, "the verification is not recorded");
    }
}

async fn try_record(context: &Context, verification: &Verification) -> Result<()> {
    let mut connection = context.target.open().await?;
    if !has_table(&mut connection).await? {
        return Ok(());
    }
    let mut entities = verification.entities.clone();
    for it in &mut entities {
        it.findings.truncate(FINDINGS);
    }
    let new = NewVerification {
        snapshot_at: verification.snapshot_at,
        mapping_digest: &context.mapping.digest,
        sample: verification.sample,
        proved: verification.is_proved(),
        differences: i64::try_from(verification.differences()).unwrap_or(i64::MAX),
        entities: json!(entities),
    };
    store(&mut connection, &new).await
}

/// Reads the last verification that was recorded.
///
/// # Errors
/// The target cannot be read.
pub async fn last_verification(target: &Server) -> Result<Option<LastVerification>> {
    let Some(mut connection) = open_if_any(target).await? else {
        return Ok(None);
    };
    if !has_table(&mut connection).await? {
        return Ok(None);
    }
    let Some(row) = latest(&mut connection).await? else {
        return Ok(None);
    };
    let entities = serde_json::from_value(row.entities).map_err(|error| {
        Error::new(
            Kind::ControlState,
            "the recorded verification cannot be read",
        )
        .cause(error.to_string())
        .next("diffmig verify records a new one")
    })?;
    Ok(Some(LastVerification {
        verified_at: row.verified_at,
        snapshot_at: row.snapshot_at,
        mapping_digest: row.mapping_digest,
        sample: row.sample,
        proved: row.proved,
        differences: row.differences,
        entities,
    }))
}
