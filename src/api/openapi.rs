//! The description of the door, made from the handlers themselves.

use super::answer::ErrorDocument;
use super::router::operations;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

/// What every operation may answer instead; the code in the body says it more precisely.
const REFUSALS: &[(&str, &str)] = &[
    (
        "400",
        "A field, parameter or header is wrong; `details.field` names it",
    ),
    ("401", "No token, or one that is not accepted"),
    (
        "403",
        "The token may only look, or the host or origin is not allowed",
    ),
    ("404", "There is no such session"),
    (
        "409",
        "The state of the session, the mapping or a guard stands in the way",
    ),
    ("413", "The body is too large"),
    ("415", "The body is not application/json"),
    ("422", "The Idempotency-Key was used with another body"),
    (
        "429",
        "Too many requests; `Retry-After` says when to come again",
    ),
    ("500", "A defect of diffmig"),
    ("503", "A database is away, or this process is about to end"),
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "diffmig",
        description = "Differential migration of a legacy PostgreSQL database into Supabase: compare, migrate, watch.",
        contact()
    ),
    components(schemas(ErrorDocument)),
    security(("token" = [])),
    modifiers(&Shared),
    tags(
        (name = "migration", description = "Compare and migrate"),
        (name = "control", description = "Pause, resume and cancel"),
        (name = "sessions", description = "What runs and ran"),
        (name = "logs", description = "The execution log"),
        (name = "rows", description = "Rows that are set aside, or differ"),
        (name = "health", description = "For probes and monitoring")))]
pub(super) struct Description;

/// What the operations share.
struct Shared;

fn refusal(description: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("ErrorDocument")));
    ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
        .build()
}

impl Modify for Shared {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "A token of the token file; none is needed without one",
            ))
            .build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        for (status, description) in REFUSALS {
            let response = RefOr::T(refusal(description));
            components
                .responses
                .insert(format!("Refusal{status}"), response);
        }
    }
}

/// Tells which refusals an operation knows.
fn knows(path: &str, is_write: bool, status: &str) -> bool {
    let is_guarded = path.starts_with("/api/");
    match status {
        "400" => is_guarded,
        "500" | "503" => path != "/healthz",
        "401" | "403" => is_guarded || path == "/metrics",
        "404" => path.contains("{sessionId}"),
        "409" => is_write,
        "413" | "415" => is_write,
        "422" => path.ends_with("/execute"),
        "429" => is_guarded || path == "/metrics",
        _ => false,
    }
}

fn add_refusals(path: &str, is_write: bool, operation: &mut Operation) {
    for (status, _) in REFUSALS
        .iter()
        .filter(|(status, _)| knows(path, is_write, status))
    {
        let shared = Ref::from_response_name(format!("Refusal{status}"));
        operation
            .responses
            .responses
            .insert((*status).to_owned(), RefOr::Ref(shared));
    }
}

/// Makes the OpenAPI document.
fn describe() -> utoipa::openapi::OpenApi {
    let mut document = operations().into_openapi();
    for (path, item) in &mut document.paths.paths {
        let PathItem { get, post, .. } = item;
        for (operation, is_write) in [(get, false), (post, true)] {
            if let Some(operation) = operation {
                add_refusals(path, is_write, operation);
            }
        }
    }
    document
}

/// Writes the OpenAPI document.
pub fn document() -> String {
    describe().to_pretty_json().unwrap_or_default() + "\n"
}

/// Serves the document.
pub(super) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document())
}
