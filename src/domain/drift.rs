//! How both databases have changed since the last migration, and whom it concerns.

mod compare;
mod former;
mod judge;
mod snapshot;
mod usage;
mod words;

pub use compare::{compare, deeds};
pub use former::{Former, former};
pub use judge::{Judge, judge};
pub use snapshot::{CatalogSnapshot, OtherTable};
pub use usage::{Usage, named_tables};

use super::catalog::{Column, Constraint, ForeignKey};
use super::connection::Side;
use super::identifier::QualifiedName;
use serde::{Deserialize, Serialize};

/// What changed in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is new.
    TableAdded,
    /// It is gone.
    TableDropped,
    /// It has another name.
    TableRenamed(QualifiedName),
    /// A column is new.
    ColumnAdded(Column),
    /// A column is gone.
    ColumnDropped(Column),
    /// A column has another name.
    ColumnRenamed {
        /// As it was.
        from: Column,
        /// As it is.
        to: Column,
        /// Whether the database says so; else it is one of the same type with a like name or in the same place.
        is_sure: bool,
    },
    /// A column has another type.
    ColumnRetyped {
        /// As it was.
        from: Column,
        /// As it is.
        to: Column,
    },
    /// A column was dropped, and another made with its name.
    ColumnRecreated(Column),
    /// A column takes NULL now, or does not any more.
    NullsChanged(Column),
    /// A column has another default.
    DefaultChanged {
        /// The old expression.
        from: Option<String>,
        /// The column now.
        to: Column,
    },
    /// A column is computed by the database now, or is not any more.
    GeneratedChanged(Column),
    /// Another primary key.
    KeyChanged {
        /// The old columns.
        from: Vec<String>,
        /// The new ones.
        to: Vec<String>,
    },
    /// A unique, check or exclusion constraint is new.
    ConstraintAdded(Constraint),
    /// One is gone.
    ConstraintDropped(Constraint),
    /// A foreign key is new.
    ForeignKeyAdded(ForeignKey),
    /// One is gone.
    ForeignKeyDropped(ForeignKey),
    /// One refers to something else, or does something else.
    ForeignKeyChanged {
        /// As it was.
        from: ForeignKey,
        /// As it is.
        to: ForeignKey,
    },
    /// The enum of a column has a new label.
    LabelAdded(Column, String),
    /// It has lost one.
    LabelRemoved(Column, String),
    /// One has another name, in the rows as well.
    LabelRenamed {
        /// The column.
        column: Column,
        /// The old label.
        from: String,
        /// The new one.
        to: String,
    },
}

/// A difference between then and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The database.
    pub side: Side,
    /// The table, by the name it had.
    pub table: QualifiedName,
    /// What changed.
    pub what: What,
}

/// How much a change matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing has to be done.
    Harmless,
    /// Rows or values would be left out.
    Loss,
    /// The mapping does not fit any more, or would write something else than it means.
    Breaking,
}

impl Severity {
    /// Returns the word in tables and documents.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Harmless => "harmless",
            Severity::Loss => "loss",
            Severity::Breaking => "breaking",
        }
    }
}

/// A difference with what it means for the mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The difference.
    pub difference: Difference,
    /// How much it matters.
    pub severity: Severity,
    /// The entities that it concerns.
    pub entities: Vec<String>,
    /// Why it matters; empty when there is nothing to say.
    pub reason: String,
    /// What helps, in one line.
    pub fix: Option<String>,
}

impl Change {
    /// Says what changed and why it matters, in one line.
    pub fn sentence(&self) -> String {
        let what = self.difference.sentence();
        match self.reason.is_empty() {
            true => what,
            false => format!("{what}: {}", self.reason),
        }
    }
}
