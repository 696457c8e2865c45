//! Swagger UI, from files that this binary carries: `/docs` works without internet.

use super::page::{Page, serve};
use axum::extract::Request;
use axum::response::Response;

/// The page, and the files of swagger-ui-dist 5.32.6 (Apache License 2.0, see `swagger/LICENSE`).
pub(super) const FILES: &[Page] = &[
    Page {
        path: "/docs",
        media_type: "text/html; charset=utf-8",
        bytes: include_bytes!("swagger/index.html"),
        packed: false,
    },
    Page {
        path: "/docs/start.js",
        media_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("swagger/start.js"),
        packed: false,
    },
    Page {
        path: "/docs/swagger-ui-bundle.js",
        media_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("swagger/swagger-ui-bundle.js.gz"),
        packed: true,
    },
    Page {
        path: "/docs/swagger-ui.css",
        media_type: "text/css; charset=utf-8",
        bytes: include_bytes!("swagger/swagger-ui.css.gz"),
        packed: true,
    },
];

/// As for the dashboard, but Swagger UI sets styles of its own elements.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves a file.
pub(super) fn file(file: &'static Page, request: &Request) -> Response {
    serve(file, POLICY, request)
}
