//! Whether this process lives, and whether it can work.

use super::answer::Answer;
use super::door::Door;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A word that all is well.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Tell whether the process lives
#[utoipa::path(get, path = "/healthz", tag = "health", security(()),
    responses((status = 200, description = "It does", body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Tell whether both databases answer
#[utoipa::path(get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, description = "They do", body = Health)))]
pub(super) async fn readyz(State(door): State<Arc<Door>>) -> Answer<Json<Health>> {
    let _place = door.question().await?;
    tokio::try_join!(door.source.open(), door.target.open())?;
    Ok(Json(Health { status: "ok" }))
}
