//! Whether this process lives, and whether it can work.

use super::answer::{Answer, Refusal};
use super::door::Door;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// How long it is known whether both databases answer.
const FRESH: Duration = Duration::from_secs(2);

/// When it was tried last whether both databases answer, and whether they did; who comes meanwhile waits for it.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, bool)>>);

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
    // Who asks needs no token, so that many questions must not cost more than one.
    let mut last = door.readiness.0.lock().await;
    let known = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH);
    let is_ready = match known {
        Some((_, is_ready)) => *is_ready,
        None => {
            let opened = tokio::try_join!(door.source.open(), door.target.open());
            if let Err(error) = &opened {
                tracing::warn!(error = %error, "a database is away");
            }
            let is_ready = opened.is_ok();
            *last = Some((Instant::now(), is_ready));
            is_ready
        }
    };
    match is_ready {
        true => Ok(Json(Health { status: "ok" })),
        false => Err(Refusal::unavailable(
            "database_unavailable",
            "a database is away",
        )),
    }
}
