//! Which aliases and columns the expressions of an entity may name.

use crate::domain::catalog::Column;
use crate::domain::expression::ColumnName;
use crate::domain::identifier::quote_identifier;
use crate::domain::mapping::ColumnRef;
use crate::domain::mapping::issue::did_you_mean;

/// The source relation of an entity and its joins.
#[derive(Debug, Clone)]
pub struct Scope {
    tables: Vec<(String, Vec<Column>)>,
    /// `server_version_num` of the source.
    server_version: i32,
    /// How many of the tables, the first ones, have columns that need no alias.
    named: usize,
}

/// A name that is not in scope: the message and perhaps a hint.
pub type ScopeFault = (String, Option<String>);

impl Scope {
    /// Starts with the entity's own source.
    pub fn new(alias: &str, columns: Vec<Column>, server_version: i32) -> Self {
        Scope {
            server_version,
            tables: vec![(alias.to_owned(), columns)],
            named: 1,
        }
    }

    /// Returns `server_version_num` of the source.
    pub fn server_version(&self) -> i32 {
        self.server_version
    }

    /// Adds a joined table.
    pub fn join(&mut self, alias: &str, columns: Vec<Column>) {
        self.tables.push((alias.to_owned(), columns));
        self.named = self.tables.len();
    }

    /// Adds a joined table whose columns are found by its alias only; after all others.
    pub fn join_unnamed(&mut self, alias: &str, columns: Vec<Column>) {
        self.tables.push((alias.to_owned(), columns));
    }

    /// Returns the alias of the entity's own source.
    pub fn main_alias(&self) -> &str {
        &self.tables[0].0
    }

    /// Returns the names of the own source's columns.
    pub fn main_columns(&self) -> impl Iterator<Item = &str> {
        self.tables[0].1.iter().map(|column| column.name.as_str())
    }

    /// Finds a column; without an alias the own source comes first, then the only join that has it.
    ///
    /// # Errors
    /// No such alias, no such column, or more than one.
    pub fn find(&self, table: Option<&str>, column: &str) -> Result<(&str, &Column), ScopeFault> {
        let in_table = |wanted: &str| {
            let (alias, columns) = self.tables.iter().find(|(alias, _)| alias == wanted)?;
            let found = columns.iter().find(|it| it.name == column)?;
            Some((alias.as_str(), found))
        };
        if let Some(table) = table {
            if let Some(found) = in_table(table) {
                return Ok(found);
            }
            let Some((_, columns)) = self.tables.iter().find(|(alias, _)| alias == table) else {
                let aliases = self.tables.iter().map(|(alias, _)| alias.as_str());
                let hint = did_you_mean(table, aliases);
                return Err((format!("no table or alias `{table}` in this entity"), hint));
            };
            let hint = did_you_mean(column, columns.iter().map(|it| it.name.as_str()));
            return Err((format!("`{table}` has no column `{column}`"), hint));
        }
        if let Some(found) = in_table(self.main_alias()) {
            return Ok(found);
        }
        let mut joined = self.tables[1..self.named]
            .iter()
            .filter_map(|(alias, _)| in_table(alias));
        match (joined.next(), joined.next()) {
            (Some(found), None) => Ok(found),
            (Some(_), Some(_)) => Err((
                format!("column `{column}` is in more than one joined table"),
                Some("write alias.column".into()),
            )),
            (None, _) => {
                let all = self.tables[..self.named]
                    .iter()
                    .flat_map(|(_, columns)| columns);
                let hint = did_you_mean(column, all.map(|it| it.name.as_str()));
                Err((format!("the source has no column `{column}`"), hint))
            }
        }
    }

    /// Finds a column of the mapping language.
    ///
    /// # Errors
    /// As [`Scope::find`].
    pub fn column(&self, column: &ColumnRef) -> Result<(&str, &Column), ScopeFault> {
        self.find(column.table.as_deref(), &column.column)
    }

    /// Renders a column for SQL; an unknown one is quoted as it stands, for the server to refuse.
    pub fn sql(&self, column: &ColumnRef) -> String {
        let alias = match self.column(column) {
            Ok((alias, _)) => alias,
            Err(_) => column.table.as_deref().unwrap_or(self.main_alias()),
        };
        format!(
            "{}.{}",
            quote_identifier(alias),
            quote_identifier(&column.column)
        )
    }

    /// Renders a column that a SQL expression names.
    pub fn expression_column(&self, name: &ColumnName) -> String {
        self.sql(&ColumnRef {
            table: name.table.clone(),
            column: name.column.clone(),
        })
    }
}
