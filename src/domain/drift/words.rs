//! Differences in words.

use super::compare::deeds;
use super::{Difference, What};
use crate::domain::catalog::{Column, ForeignKey};
use crate::domain::identifier::printable;

fn list(names: &[String]) -> String {
    match names.is_empty() {
        true => "none".to_owned(),
        false => printable(&names.join(", ")),
    }
}

fn typed(column: &Column) -> String {
    let null = if column.not_null { " not null" } else { "" };
    format!("{}{null}", printable(&column.column_type.display))
}

fn written(key: &ForeignKey) -> String {
    let columns = list(&key.columns);
    let deeds = deeds(key);
    let gap = if deeds.is_empty() { "" } else { " " };
    format!("({columns}) to {}{gap}{}", key.referenced, printable(deeds))
}

impl What {
    /// Returns the stable word of documents.
    pub fn word(&self) -> &'static str {
        match self {
            What::TableAdded => "table_added",
            What::TableDropped => "table_dropped",
            What::TableRenamed(_) => "table_renamed",
            What::ColumnAdded(_) => "column_added",
            What::ColumnDropped(_) => "column_dropped",
            What::ColumnRenamed { .. } => "column_renamed",
            What::ColumnRetyped { .. } => "column_retyped",
            What::ColumnRecreated(_) => "column_recreated",
            What::NullsChanged(_) => "nulls_changed",
            What::DefaultChanged { .. } => "default_changed",
            What::GeneratedChanged(_) => "generated_changed",
            What::KeyChanged { .. } => "key_changed",
            What::ConstraintAdded(_) => "constraint_added",
            What::ConstraintDropped(_) => "constraint_dropped",
            What::ForeignKeyAdded(_) => "foreign_key_added",
            What::ForeignKeyDropped(_) => "foreign_key_dropped",
            What::ForeignKeyChanged { .. } => "foreign_key_changed",
            What::LabelAdded(..) => "label_added",
            What::LabelRemoved(..) => "label_removed",
            What::LabelRenamed { .. } => "label_renamed",
        }
    }

    /// Returns the name of the column or constraint, where it is about one.
    pub fn name(&self) -> Option<&str> {
        match self {
            What::TableAdded
            | What::TableDropped
            | What::TableRenamed(_)
            | What::KeyChanged { .. } => None,
            What::ColumnAdded(column)
            | What::ColumnDropped(column)
            | What::ColumnRecreated(column)
            | What::NullsChanged(column)
            | What::GeneratedChanged(column)
            | What::DefaultChanged { to: column, .. }
            | What::ColumnRetyped { to: column, .. }
            | What::ColumnRenamed { from: column, .. }
            | What::LabelRenamed { column, .. }
            | What::LabelAdded(column, _)
            | What::LabelRemoved(column, _) => Some(&column.name),
            What::ConstraintAdded(it) | What::ConstraintDropped(it) => Some(&it.name),
            What::ForeignKeyAdded(it)
            | What::ForeignKeyDropped(it)
            | What::ForeignKeyChanged { from: it, .. } => Some(&it.name),
        }
    }

    /// Returns what it was, in words.
    pub fn was(&self) -> Option<String> {
        match self {
            What::ColumnDropped(column) => Some(typed(column)),
            What::ColumnRenamed { from, .. } => Some(printable(&from.name)),
            What::ColumnRetyped { from, .. } => Some(printable(&from.column_type.display)),
            What::NullsChanged(column) => Some(nulls(!column.not_null)),
            What::DefaultChanged { from, .. } => from.as_ref().map(|_| "a default".to_owned()),
            What::KeyChanged { from, .. } => Some(list(from)),
            What::ConstraintDropped(it) => Some(printable(&it.label())),
            What::ForeignKeyDropped(it) | What::ForeignKeyChanged { from: it, .. } => {
                Some(written(it))
            }
            What::LabelRemoved(_, label) | What::LabelRenamed { from: label, .. } => {
                Some(printable(label))
            }
            _ => None,
        }
    }

    /// Returns what it is now, in words.
    pub fn now(&self) -> Option<String> {
        match self {
            What::TableRenamed(to) => Some(to.to_string()),
            What::ColumnAdded(column) | What::ColumnRecreated(column) => Some(typed(column)),
            What::ColumnRenamed { to, .. } => Some(printable(&to.name)),
            What::ColumnRetyped { to, .. } => Some(printable(&to.column_type.display)),
            What::NullsChanged(column) => Some(nulls(column.not_null)),
            What::DefaultChanged { from, to } => {
                let word = if from.is_some() {
                    "another"
                } else {
                    "a default"
                };
                to.default.as_ref().map(|_| word.to_owned())
            }
            What::GeneratedChanged(column) => {
                let word = if column.is_generated {
                    "generated"
                } else {
                    "plain"
                };
                Some(word.to_owned())
            }
            What::KeyChanged { to, .. } => Some(list(to)),
            What::ConstraintAdded(it) => Some(printable(&it.label())),
            What::ForeignKeyAdded(it) | What::ForeignKeyChanged { to: it, .. } => Some(written(it)),
            What::LabelAdded(_, label) | What::LabelRenamed { to: label, .. } => {
                Some(printable(label))
            }
            _ => None,
        }
    }
}

fn nulls(not_null: bool) -> String {
    let word = if not_null { "not null" } else { "null" };
    word.to_owned()
}

impl Difference {
    /// Says what changed, in one line: `source: column phone of public.client was dropped`.
    pub fn sentence(&self) -> String {
        let table = &self.table;
        let name = printable(self.what.name().unwrap_or_default());
        let was = self.what.was().unwrap_or_else(|| "none".to_owned());
        let now = self.what.now().unwrap_or_else(|| "none".to_owned());
        let text = match &self.what {
            What::TableAdded => format!("table {table} is new"),
            What::TableDropped => format!("table {table} was dropped"),
            What::TableRenamed(_) => format!("table {table} was renamed to {now}"),
            What::ColumnAdded(_) => format!("column {name} of {table} is new ({now})"),
            What::ColumnDropped(_) => format!("column {name} of {table} was dropped"),
            What::ColumnRenamed { is_sure: true, .. } => {
                format!("column {name} of {table} was renamed to {now}")
            }
            What::ColumnRenamed { .. } => {
                format!("column {name} of {table} was dropped; renamed to {now}?")
            }
            What::ColumnRetyped { .. } => {
                format!("column {name} of {table} was {was} and is {now}")
            }
            What::ColumnRecreated(_) => {
                format!("column {name} of {table} was dropped and made anew")
            }
            What::NullsChanged(column) if column.not_null => {
                format!("column {name} of {table} is NOT NULL now")
            }
            What::NullsChanged(_) => format!("column {name} of {table} may be NULL now"),
            What::DefaultChanged { from, to } => match (from, &to.default) {
                (None, Some(_)) => format!("column {name} of {table} has a default now"),
                (Some(_), None) => format!("column {name} of {table} has no default any more"),
                _ => format!("column {name} of {table} has another default"),
            },
            What::GeneratedChanged(_) => format!("column {name} of {table} is {now} now"),
            What::KeyChanged { .. } => {
                format!("the primary key of {table} was ({was}) and is ({now})")
            }
            What::ConstraintAdded(_) => format!("constraint {name} of {table} is new ({now})"),
            What::ConstraintDropped(_) => format!("constraint {name} of {table} was dropped"),
            What::ForeignKeyAdded(_) => format!("foreign key {name} of {table} is new: {now}"),
            What::ForeignKeyDropped(_) => format!("foreign key {name} of {table} was dropped"),
            What::ForeignKeyChanged { .. } => {
                format!("foreign key {name} of {table} was {was} and is {now}")
            }
            What::LabelAdded(..) => format!("the enum of {name} of {table} has a new label {now}"),
            What::LabelRemoved(..) => format!("the enum of {name} of {table} has lost label {was}"),
            What::LabelRenamed { .. } => {
                format!("label {was} of the enum of {name} of {table} was renamed to {now}")
            }
        };
        format!("{}: {text}", self.side.word())
    }
}
