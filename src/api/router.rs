//! Which path leads where.

use super::door::Door;
use super::openapi::{self, Description};
use super::{
    analysis, control, dashboard, entrance, events, execute, health, history, logs, metrics,
    quarantine, session, swagger, verification,
};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Every operation that the OpenAPI document describes.
pub(super) fn operations() -> OpenApiRouter<Arc<Door>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(analysis::baseline))
        .routes(routes!(analysis::differential))
        .routes(routes!(execute::execute))
        .routes(routes!(control::pause))
        .routes(routes!(control::resume))
        .routes(routes!(control::cancel))
        .routes(routes!(session::sessions))
        .routes(routes!(session::status))
        .routes(routes!(events::events))
        .routes(routes!(history::history))
        .routes(routes!(logs::logs))
        .routes(routes!(logs::export))
        .routes(routes!(quarantine::quarantine))
        .routes(routes!(verification::verification))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
}

/// The whole door.
pub(super) fn router(door: Arc<Door>) -> Router {
    let (mut router, _) = operations().split_for_parts();
    router = router.route("/openapi.json", get(openapi::openapi));
    for file in dashboard::FILES {
        let handler = move |request: Request| async move { dashboard::file(file, &request) };
        router = router.route(file.path, get(handler));
    }
    for file in swagger::FILES {
        let handler = move |request: Request| async move { swagger::file(file, &request) };
        router = router.route(file.path, get(handler));
    }
    router
        .layer(from_fn_with_state(Arc::clone(&door), entrance::guard))
        .layer(from_fn(entrance::answer_in_shape))
        .with_state(door)
}
