//! Names of tables and columns, quoted for SQL and escaped for people.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Quotes a name so that PostgreSQL reads it verbatim.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text literal; `standard_conforming_strings` is pinned to `on` in every session.
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Makes a name safe to print: control, escape and direction-changing characters are shown as `\u{..}`.
pub fn printable(name: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    name.chars()
        .flat_map(|c| {
            let escaped: Box<dyn Iterator<Item = char>> = if is_hidden(c) {
                Box::new(c.escape_unicode())
            } else {
                Box::new(std::iter::once(c))
            };
            escaped
        })
        .collect()
}

/// The schema-qualified name of a relation or type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QualifiedName {
    /// The schema.
    pub schema: String,
    /// The name inside the schema.
    pub name: String,
}

impl QualifiedName {
    /// Makes a name from its two parts, unquoted.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        QualifiedName {
            schema: schema.into(),
            name: name.into(),
        }
    }

    /// Reads `table` or `schema.table`, as written in the mapping file.
    pub fn parse(text: &str, default_schema: &str) -> Self {
        match text.split_once('.') {
            Some((schema, name)) => QualifiedName::new(schema, name),
            None => QualifiedName::new(default_schema, text),
        }
    }

    /// Returns the quoted form for SQL.
    pub fn sql(&self) -> String {
        format!(
            "{}.{}",
            quote_identifier(&self.schema),
            quote_identifier(&self.name)
        )
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", printable(&self.schema), printable(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_quoted_for_sql_and_escaped_for_people() {
        let name = "a\"; drop table w; --\u{1b}[31m\u{202e}";
        assert!(quote_identifier(name).starts_with("\"a\"\"; drop"));
        assert_eq!(printable(name), "a\"; drop table w; --\\u{1b}[31m\\u{202e}");
        assert_eq!(quote_literal("it's"), "'it''s'");
    }
}
