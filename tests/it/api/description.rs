//! The OpenAPI document: the one that is served is the one that is kept in `docs`.
//!
//! `DIFFMIG_BLESS=1 cargo test --test it description` writes it anew.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use serde_json::Value;
use std::path::Path;

#[test]
fn the_openapi_document_is_as_agreed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let document = diffmig::api::document();
    if std::env::var_os("DIFFMIG_BLESS").is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let agreed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        agreed == document,
        "docs/openapi.json is stale; DIFFMIG_BLESS=1 writes it anew"
    );
}

#[test]
fn every_operation_is_documented_with_an_example_and_its_refusals() {
    let document: Value = serde_json::from_str(&diffmig::api::document()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let page = include_str!("../../../docs/rest-api.md");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let heading = format!("`{} {path}`", method.to_uppercase());
            assert!(page.contains(&heading), "docs/rest-api.md lacks {heading}");
            for part in ["summary", "operationId"] {
                assert!(operation[part].is_string(), "{heading} lacks {part}");
            }
            let responses = operation["responses"].as_object().unwrap();
            if path.starts_with("/api/") {
                for status in ["400", "401", "403", "429", "503"] {
                    assert!(responses.contains_key(status), "{heading} lacks {status}");
                }
            }
        }
    }
}

#[test]
fn every_code_of_a_refusal_is_documented() {
    let page = include_str!("../../../docs/rest-api.md");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
    let mut found = 0;
    for entry in std::fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for place in [
            "Refusal::new(",
            "Refusal::conflict(",
            "Refusal::unavailable(",
        ] {
            for call in text.split(place).skip(1) {
                let arguments = call.split(')').next().unwrap();
                let Some(code) = arguments.split('"').nth(1).filter(|it| !it.contains(' ')) else {
                    continue;
                };
                found += 1;
                assert!(
                    page.contains(&format!("`{code}`")),
                    "docs/rest-api.md lacks `{code}`"
                );
            }
        }
    }
    assert!(found > 12, "{found}");
}
