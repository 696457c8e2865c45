//! Reads the examples of docs/mapping.md.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;

/// One statement of an example: a key with its value, or a table with its keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Statement(String);

impl Statement {
    /// Reads a text of TOML; white space and comments make no difference.
    pub fn of(text: &str) -> Option<Statement> {
        let table: toml::Table = toml::from_str(text).ok()?;
        Some(Statement::of_table(&table))
    }

    /// The same for a table that was read already.
    pub fn of_table(table: &toml::Table) -> Statement {
        Statement(serde_json::to_string(table).unwrap())
    }
}

/// The text of a section of the page, by its heading and the next one of its rank.
pub fn section(from: &str, to: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mapping.md");
    let page = std::fs::read_to_string(page).unwrap();
    let start = page.find(&format!("\n## {from}")).unwrap();
    let end = page.find(&format!("\n## {to}")).unwrap();
    page[start..end].to_owned()
}

/// The blocks of TOML in a text.
pub fn blocks(text: &str) -> Vec<String> {
    let blocks = text.split("```toml\n").skip(1);
    let blocks = blocks.map(|it| it.split("```").next().unwrap().to_owned());
    blocks.collect()
}

/// The statements of a block, which may show several ways to write one key.
pub fn statements(block: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = String::new();
    let mut in_table = false;
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        let begins_table = open.is_empty() && line.starts_with('[');
        if begins_table {
            in_table = true;
            found.push(format!("{line}\n"));
            continue;
        }
        open.push_str(line);
        open.push('\n');
        if toml::from_str::<toml::Table>(&open).is_err() {
            continue;
        }
        match found.last_mut().filter(|_| in_table) {
            Some(table) => table.push_str(&open),
            None => found.push(open.clone()),
        }
        open.clear();
    }
    assert_eq!(open, "", "an example is no TOML");
    found
}
