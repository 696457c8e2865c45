//! Statements for somebody else to run: what a suggestion wishes of the target.

use super::Statement;
use crate::domain::identifier::{quote_identifier, quote_literal};
use crate::domain::suggestion::{Deed, Wish};

/// Writes what makes a wish come true. diffmig never runs it.
pub fn of_wish(wish: &Wish) -> Statement {
    let table = wish.table.sql();
    let column = quote_identifier(&wish.column);
    let sql = match &wish.deed {
        Deed::AddColumn {
            column_type,
            references,
        } => {
            let references = references.as_ref().map(|(parent, id)| {
                format!(" references {} ({})", parent.sql(), quote_identifier(id))
            });
            format!(
                "alter table {table} add column if not exists {column} {}{}",
                column_type.display,
                references.unwrap_or_default()
            )
        }
        Deed::ChangeType(column_type) => {
            let display = &column_type.display;
            format!(
                "alter table {table} alter column {column} type {display} using {column}::{display}"
            )
        }
        Deed::AllowNull => format!("alter table {table} alter column {column} drop not null"),
        Deed::AddLabel(label) => {
            let name = wish.type_now.as_ref().map_or("", |it| it.display.as_str());
            format!(
                "alter type {name} add value if not exists {}",
                quote_literal(label)
            )
        }
    };
    Statement::new(sql)
}

/// Tells PostgREST that the schema has changed.
pub fn reload() -> Statement {
    Statement::new("notify pgrst, 'reload schema'".to_owned())
}
