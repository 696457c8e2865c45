//! What would make the mapping fit again: edits of its text, and wishes for the target.

mod follow;
mod mend;
pub mod patch;
mod rename;
pub mod text;

use super::catalog::{Catalog, Column, ColumnType};
use super::drift::{Change, Usage, What};
use super::identifier::QualifiedName;
use super::mapping::{Entity, Mapping, MappingIssue};
use std::collections::BTreeSet;
use text::MappingText;

/// What should be done to the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Another column.
    AddColumn {
        /// Its type.
        column_type: ColumnType,
        /// The table and column that it refers to.
        references: Option<(QualifiedName, String)>,
    },
    /// Another type for a column.
    ChangeType(ColumnType),
    /// A column that may be NULL.
    AllowNull,
    /// Another label for the enum of a column.
    AddLabel(String),
}

/// A wish for the target; somebody else carries it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The table.
    pub table: QualifiedName,
    /// The column.
    pub column: String,
    /// The type of the column as it is; of no meaning for a new one.
    pub type_now: Option<ColumnType>,
    /// What should be done.
    pub deed: Deed,
    /// Why, and what it costs.
    pub why: String,
    /// Whether it is one of several ways out, for somebody to choose.
    pub is_choice: bool,
}

/// What a suggestion rests on.
pub struct Wanted<'a> {
    /// The mapping, by what it names.
    pub usage: &'a Usage<'a>,
    /// The source as it is.
    pub source: &'a Catalog,
    /// The target as it is.
    pub target: &'a Catalog,
    /// What does not fit.
    pub issues: &'a [MappingIssue],
    /// What has changed.
    pub changes: &'a [Change],
    /// Whether new columns of the source are to be ignored.
    pub ignore_new: bool,
}

/// The mapping as it could be, and what the target would need for it.
#[derive(Debug, Clone, Default)]
pub struct Suggestion {
    /// The text of the mapping.
    pub text: String,
    /// What the target would need.
    pub wishes: Vec<Wish>,
    /// What somebody has to decide.
    pub notes: Vec<String>,
}

/// Looks for what would make the mapping fit.
pub fn suggest(wanted: &Wanted<'_>) -> Suggestion {
    let mapping = wanted.usage.mapping();
    let mut builder = Builder {
        wanted,
        text: MappingText::new(&mapping.text),
        wishes: Vec::new(),
        notes: Vec::new(),
        taken_over: BTreeSet::new(),
    };
    builder.follow_tables();
    for entity in &mapping.entities {
        builder.follow_source(entity);
        builder.follow_target(entity);
        builder.take_new_columns(entity);
        builder.fill_required(entity);
    }
    for change in wanted.changes {
        builder.mend(change);
    }
    Suggestion {
        text: builder.text.finish(),
        wishes: builder.wishes,
        notes: builder.notes,
    }
}

struct Builder<'a> {
    wanted: &'a Wanted<'a>,
    text: MappingText<'a>,
    wishes: Vec<Wish>,
    notes: Vec<String>,
    /// Source columns that a rule reads from now on, by entity.
    taken_over: BTreeSet<(String, String)>,
}

impl Builder<'_> {
    fn mapping(&self) -> &Mapping {
        self.wanted.usage.mapping()
    }

    fn wish(&mut self, wish: Wish) {
        let known = self
            .wishes
            .iter()
            .any(|it| it.table == wish.table && it.column == wish.column && it.deed == wish.deed);
        if !known {
            self.wishes.push(wish);
        }
    }

    /// Finds the column of the target that a name of an entity means.
    fn target_column(&self, entity: &Entity, name: &str) -> Option<&Column> {
        let table = self.wanted.usage.target(entity);
        self.wanted.target.table(&table)?.column(name)
    }

    /// Finds the new name of a column that was renamed.
    fn new_name(
        &self,
        side: super::connection::Side,
        table: &QualifiedName,
        old: &str,
    ) -> Option<String> {
        let changes = self.wanted.changes.iter().map(|it| &it.difference);
        let mut own = changes.filter(|it| it.side == side && it.table == *table);
        own.find_map(|it| match &it.what {
            What::ColumnRenamed { from, to, .. } if from.name == old => Some(to.name.clone()),
            _ => None,
        })
    }
}

/// Changes a catalog as if the wishes had come true; those that somebody has to choose are left out.
pub fn grant(target: &mut Catalog, wishes: &[Wish]) {
    for wish in wishes.iter().filter(|it| !it.is_choice) {
        let Some(table) = target.tables.get_mut(&wish.table) else {
            continue;
        };
        if let Deed::AddColumn { column_type, .. } = &wish.deed {
            table.columns.push(Column {
                name: wish.column.clone(),
                column_type: column_type.clone(),
                not_null: false,
                has_default: false,
                is_generated: false,
                identity_always: false,
                number: 0,
                default: None,
            });
            continue;
        }
        let column = table.columns.iter_mut().find(|it| it.name == wish.column);
        let Some(column) = column else {
            continue;
        };
        match &wish.deed {
            Deed::AddColumn { .. } => {}
            Deed::ChangeType(column_type) => column.column_type = column_type.clone(),
            Deed::AllowNull => column.not_null = false,
            Deed::AddLabel(label) => {
                let labels = column.column_type.enum_labels.get_or_insert_default();
                labels.push(label.clone());
            }
        }
    }
}
