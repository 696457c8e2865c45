//! Holds the source tree to the map in ARCHITECTURE.md.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use diffmig::db::control::schema::SCHEMA_VERSION;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A room and the rooms it may import, from the ground floor up.
const ROOMS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("failpoint", &[]),
    ("domain", &["error"]),
    ("db", &["domain", "error", "failpoint"]),
    ("config", &["domain", "error"]),
    ("sandbox", &["error"]),
    ("context", &["config", "db", "domain", "error"]),
    (
        "service",
        &["context", "sandbox", "db", "domain", "error", "failpoint"],
    ),
    ("api", &["service", "context", "domain", "error"]),
    (
        "cli",
        &["api", "service", "context", "config", "domain", "error"],
    ),
];

/// An outside crate and the only rooms that may name it.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("sqlx", &["db"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("comfy_table", &["cli"]),
    ("axum", &["api"]),
    ("utoipa_axum", &["api"]),
    ("hyper", &["api"]),
    ("hyper_util", &["api"]),
    ("subtle", &["api"]),
    // Derived beside `Serialize`, so that a shape is written once.
    ("utoipa", &["api", "service", "db", "domain"]),
    ("sqlparser", &["domain"]),
    ("petgraph", &["domain"]),
    ("blake3", &["domain"]),
    ("toml", &["domain", "config", "cli"]),
    ("rustix", &["sandbox", "service", "cli", "failpoint"]),
];

/// The only files that may vouch for SQL text made at run time.
const SQL_AT_RUN_TIME: &[&str] = &["db/statement.rs", "db/server.rs", "db/script.rs"];

const MAX_FILE_LINES: usize = 600;
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "misc", "types"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn leading_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// Returns the first segment of every `crate::…` path, groups included.
fn crate_imports(text: &str) -> Vec<&str> {
    let mut rooms = Vec::new();
    for path in text.split("crate::").skip(1) {
        let Some(group) = path.strip_prefix('{') else {
            rooms.push(leading_word(path));
            continue;
        };
        let (mut depth, mut at_start) = (0, true);
        for (index, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_start = true,
                _ if at_start && depth == 0 && !c.is_whitespace() => {
                    rooms.push(leading_word(&group[index..]));
                    at_start = false;
                }
                _ => {}
            }
        }
    }
    rooms
}

/// Tells whether code (not a text in quotes, such as a log filter) names an outside crate.
fn names_crate(code: &str, outside: &str) -> bool {
    let path = format!("{outside}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ',' | '"' | ':'))
    })
}

#[test]
fn rooms_import_only_downwards() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut faults = Vec::new();
    for file in &files {
        let name = file.strip_prefix(&src).unwrap().to_str().unwrap();
        let room = name.split('/').next().unwrap().trim_end_matches(".rs");
        if matches!(room, "main" | "lib") {
            continue;
        }
        let text: String = fs::read_to_string(file).unwrap();
        let code: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| [line, "\n"])
            .collect();
        let stem = file.file_stem().unwrap().to_str().unwrap();
        if EMPTY_NAMES.contains(&stem) {
            faults.push(format!("{name}: the name says nothing"));
        }
        let line_count = text.lines().count();
        if line_count > MAX_FILE_LINES {
            faults.push(format!(
                "{name}: {line_count} lines, at most {MAX_FILE_LINES}"
            ));
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(known, _)| *known == room) else {
            faults.push(format!("{name}: {room} is not a room on the map"));
            continue;
        };
        for target in crate_imports(&code) {
            let is_room = ROOMS.iter().any(|(known, _)| *known == target);
            if is_room && target != room && !allowed.contains(&target) {
                faults.push(format!("{name}: {room} may not import {target}"));
            }
        }
        if code.contains("AssertSqlSafe") && !SQL_AT_RUN_TIME.contains(&name) {
            faults.push(format!(
                "{name}: only {SQL_AT_RUN_TIME:?} may make SQL at run time"
            ));
        }
        for (outside, rooms) in OUTSIDE {
            if !rooms.contains(&room) && names_crate(&code, outside) {
                faults.push(format!("{name}: only {rooms:?} may name {outside}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_book_knows_every_decision_and_the_version_of_the_control_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join("docs/README.md")).unwrap();
    for file in fs::read_dir(root.join("docs/decisions")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(
            list.contains(&format!("(decisions/{name})")),
            "docs/README.md does not list {name}"
        );
    }
    let schema = fs::read_to_string(root.join("docs/control-schema.md")).unwrap();
    let version = format!("the version of this schema, {SCHEMA_VERSION}.");
    assert!(schema.contains(&version), "docs/control-schema.md");
}
