//! What a database looks like: tables, columns, types, keys.

use super::identifier::QualifiedName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What makes a database the same one as yesterday.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseIdentity {
    /// The cluster's system identifier; empty when the role may not read it.
    pub system_identifier: String,
    /// The database's oid.
    pub database_oid: i64,
    /// The database's name.
    pub database: String,
}

/// The kind of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelationKind {
    /// A plain table.
    Table,
    /// A partitioned table.
    Partitioned,
    /// A view, materialised or not.
    View,
    /// A foreign table.
    Foreign,
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnType {
    /// As PostgreSQL prints it, quoted and qualified where needed: `numeric(5,4)`, `public.mood`.
    pub display: String,
    /// The name of the base type after following domains: `int4`, `text`, `numeric`, `_text`.
    pub base: String,
    /// Precision, length or scale of the type as printed: `(5,4)`; empty without.
    pub modifier: String,
    /// The labels when it is an enum.
    pub enum_labels: Option<Vec<String>>,
    /// Whether the declared type is a domain.
    pub is_domain: bool,
    /// Whether the base type is built in (schema `pg_catalog`).
    pub is_builtin: bool,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its exact name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Whether an insert may leave it out.
    pub has_default: bool,
    /// Whether PostgreSQL computes it.
    pub is_generated: bool,
    /// Whether it is `generated always as identity`.
    pub identity_always: bool,
    /// Its number in the table, which a rename keeps; 0 for a column of a query.
    #[serde(default)]
    pub number: i16,
    /// A digest of the expression of its default, or of what it is generated from.
    #[serde(default)]
    pub default: Option<String>,
}

/// A column of a unique or exclusion constraint, or of a unique index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueColumn {
    /// The name of the constraint or index.
    pub constraint: String,
    /// The column.
    pub name: String,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Whether two NULLs count as equal (`nulls not distinct`).
    pub nulls_collide: bool,
    /// The base type.
    pub base: String,
}

/// A foreign key of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// The name of the constraint; its schema is the table's.
    pub name: String,
    /// The referring columns.
    pub columns: Vec<String>,
    /// The table it refers to.
    pub referenced: QualifiedName,
    /// The columns it refers to, in the order of `columns`.
    pub referenced_columns: Vec<String>,
    /// Whether its check can be put off to the end of a transaction.
    pub is_deferrable: bool,
    /// What it does on update and delete, and when it checks.
    #[serde(default)]
    pub definition: String,
}

/// A unique, check or exclusion constraint, or a unique index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// Its name.
    pub name: String,
    /// The columns that it names, in its order; those of expressions are not listed.
    pub columns: Vec<String>,
    /// Its kind in words, and after ` #` a digest of its expressions.
    pub definition: String,
}

impl Constraint {
    /// Returns what people can read of it: `check (age)`.
    pub fn label(&self) -> String {
        let kind = self.definition.split('#').next().unwrap_or_default();
        format!("{} ({})", kind.trim(), self.columns.join(", "))
    }
}

/// A foreign key that changes referring rows when the row it refers to is deleted
/// (`on delete cascade`, `set null` or `set default`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referrer {
    /// The name of the constraint.
    pub name: String,
    /// The referring table.
    pub table: QualifiedName,
    /// The referring column.
    pub column: String,
    /// The column it refers to.
    pub referenced: String,
}

/// A table, view or foreign table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: QualifiedName,
    /// Its oid.
    pub oid: i64,
    /// Its kind.
    pub kind: RelationKind,
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// The columns of the primary key, in key order.
    pub primary_key: Vec<String>,
    /// Foreign keys of other tables (or its own) that act when a row is deleted here.
    pub referrers: Vec<Referrer>,
    /// Its own foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// Columns each of which a whole unique index of its own keeps unique.
    #[serde(default)]
    pub unique_columns: Vec<String>,
    /// What else its rows must obey; without its primary key.
    #[serde(default)]
    pub constraints: Vec<Constraint>,
    /// Whether it is a partition of another table.
    #[serde(default)]
    pub is_partition: bool,
    /// The planner's estimate; -1 when it was never analysed.
    pub estimated_rows: i64,
}

impl Table {
    /// Finds a column by its exact name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Tells whether a unique index makes sure that no two rows have the same value in a column.
    pub fn is_unique(&self, name: &str) -> bool {
        self.unique_columns.iter().any(|column| column == name)
    }
}

/// The tables of the schemas that were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// The database it belongs to.
    pub identity: DatabaseIdentity,
    /// `server_version_num`, as 150004.
    pub server_version: i32,
    /// The tables by name.
    pub tables: BTreeMap<QualifiedName, Table>,
}

impl Catalog {
    /// Finds a table.
    pub fn table(&self, name: &QualifiedName) -> Option<&Table> {
        self.tables.get(name)
    }
}
