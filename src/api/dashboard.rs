//! The dashboard: static files that ask the other paths for everything.

use super::page::{Page, serve};
use axum::extract::Request;
use axum::response::Response;

/// Names a file of the folder.
macro_rules! asset {
    ($media_type:literal, $name:literal) => {
        Page {
            path: concat!("/dashboard/", $name),
            media_type: $media_type,
            bytes: include_bytes!(concat!("dashboard/", $name)),
            packed: false,
        }
    };
}

/// Names a script of the folder.
macro_rules! script {
    ($name:literal) => {
        asset!("text/javascript; charset=utf-8", $name)
    };
}

/// Every file of the folder.
pub(super) const FILES: &[Page] = &[
    Page {
        path: "/",
        media_type: "text/html; charset=utf-8",
        bytes: include_bytes!("dashboard/index.html"),
        packed: false,
    },
    asset!("text/css; charset=utf-8", "style.css"),
    asset!("image/svg+xml", "icon.svg"),
    script!("app.js"),
    script!("chart.js"),
    script!("client.js"),
    script!("connection.js"),
    script!("dialogs.js"),
    script!("dom.js"),
    script!("entities.js"),
    script!("findings.js"),
    script!("format.js"),
    script!("keys.js"),
    script!("log.js"),
    script!("session.js"),
    script!("sessions.js"),
];

/// Nothing but files of this server, no text of a page run as a script, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves a file.
pub(super) fn file(file: &'static Page, request: &Request) -> Response {
    serve(file, POLICY, request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_file_of_the_folder_is_served_and_every_script_finds_what_it_imports() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/dashboard");
        let names = folder.read_dir().unwrap();
        let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        let there: BTreeSet<String> = names.filter(|it| it != "index.html").collect();
        let served = FILES
            .iter()
            .filter_map(|it| it.path.strip_prefix("/dashboard/"));
        let served: BTreeSet<String> = served.map(str::to_owned).collect();
        assert_eq!(there, served);
        for file in FILES.iter().filter(|it| it.path.ends_with(".js")) {
            let text = str::from_utf8(file.bytes).unwrap();
            for import in text.split(" from \"./").skip(1) {
                let name = import.split('"').next().unwrap();
                assert!(served.contains(name), "{}: {name}", file.path);
            }
        }
    }

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
