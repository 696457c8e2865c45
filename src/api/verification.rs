//! What `diffmig verify` found last.

use super::answer::Answer;
use super::door::Door;
use crate::service::verify::{LastVerification, last_verification};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// The last verification, if there was one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerificationAnswer {
    /// `null` when nothing was verified yet, or by a role that may not record it.
    verification: Option<LastVerification>,
}

/// Show the last verification
#[utoipa::path(get, path = "/api/migration/verification", tag = "rows",
    responses((status = 200, description = "What it found", body = VerificationAnswer)))]
pub(super) async fn verification(
    State(door): State<Arc<Door>>,
) -> Answer<Json<VerificationAnswer>> {
    let _place = door.question().await?;
    let verification = last_verification(&door.target).await?;
    Ok(Json(VerificationAnswer { verification }))
}
