//! The dashboard: static files that ask the other paths for everything.

use super::page::{Page, serve};
use axum::extract::Request;
use axum::response::Response;

/// Every file of the folder.
pub(super) const FILES: &[Page] = &[
    Page {
        path: "/",
        media_type: "text/html; charset=utf-8",
        bytes: include_bytes!("dashboard/index.html"),
        packed: false,
    },
    Page {
        path: "/app.js",
        media_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("dashboard/app.js"),
        packed: false,
    },
    Page {
        path: "/style.css",
        media_type: "text/css; charset=utf-8",
        bytes: include_bytes!("dashboard/style.css"),
        packed: false,
    },
];

/// Nothing but files of this server, no text of a page run as a script, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves a file.
pub(super) fn file(file: &'static Page, request: &Request) -> Response {
    serve(file, POLICY, request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_needs_more_than_the_policy_allows() {
        for file in FILES
            .iter()
            .filter(|it| it.media_type.starts_with("text/html"))
        {
            let page = str::from_utf8(file.bytes).unwrap().to_ascii_lowercase();
            for forbidden in [
                " style=\"",
                " onclick=",
                " onload=",
                "javascript:",
                "=\"http",
                "<style",
            ] {
                assert!(!page.contains(forbidden), "{}: {forbidden}", file.path);
            }
            for script in page.split("<script").skip(1) {
                let tag = script.split('>').next().unwrap();
                assert!(tag.contains(" src=\""), "{}: {tag}", file.path);
            }
        }
    }
}
