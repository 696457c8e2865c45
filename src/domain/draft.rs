//! A first mapping, guessed from what both databases look like.
//!
//! [`draft`] knows catalogs only. Where a guess needs the values of a column that holds codes, it says so in
//! [`Draft::questions`]; whoever may ask the source answers, and the draft is made once more.

mod cast;
mod code;
mod column;
mod entity;
mod evidence;
mod generic;
mod guess;
mod identity;
mod label;
mod leftover;
mod likeness;
mod name;
mod pairing;
mod reference;
mod render;
mod shape;
#[cfg(test)]
mod tests;

pub use render::render;

use super::catalog::Table;
use super::identifier::QualifiedName;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A table as a draft sees it.
#[derive(Debug, Clone)]
pub struct Relation {
    /// The table.
    pub table: Table,
    /// The columns of every unique index over NOT NULL columns.
    pub unique_keys: Vec<Vec<String>>,
    /// Whether a trigger may change a row of it before it is written.
    pub is_touched: bool,
}

/// The most codes of a column that are written into a draft.
pub const MAX_CODES: usize = 32;

/// A column whose values the draft would like to know, because they are codes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// The table.
    pub table: QualifiedName,
    /// The column with the codes.
    pub code: String,
    /// The columns that say what a code means, when the table is a table of codes; joined by `_`.
    pub meaning: Vec<String>,
}

/// Codes, in order, and what they mean where that is known.
pub type Codes = Vec<(String, Option<String>)>;

/// Everything a draft is made from.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The schema of the source.
    pub source_schema: String,
    /// The schema of the target.
    pub target_schema: String,
    /// The tables of the source.
    pub source: Vec<Relation>,
    /// The tables of the target.
    pub target: Vec<Relation>,
    /// What naive times of the source mean.
    pub time_zone: ZoneDraft,
    /// The answers to questions; a column with too many values has none.
    pub answers: BTreeMap<Question, Codes>,
}

/// What naive times mean, and how that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ZoneDraft {
    /// The name of the time zone.
    pub name: String,
    /// How it is known.
    pub reason: String,
}

/// A draft of a mapping.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    /// The schema of the source.
    pub source_schema: String,
    /// The schema of the target.
    pub target_schema: String,
    /// What naive times mean; absent when no rule needs it.
    pub time_zone: Option<ZoneDraft>,
    /// The entities, parents before children where there is no circle.
    pub entities: Vec<EntityDraft>,
    /// Target tables without a source.
    pub unmatched_targets: Vec<Unmatched>,
    /// Source tables that no entity reads.
    pub unmatched_sources: Vec<Unmatched>,
    /// What the source could tell that the catalogs do not.
    #[serde(skip)]
    pub questions: BTreeSet<Question>,
}

/// A table without a counterpart.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unmatched {
    /// The table.
    #[serde(serialize_with = "as_text")]
    pub table: QualifiedName,
    /// The table on the other side that is most like it.
    pub nearest: Option<Nearest>,
}

/// The table that is most like another one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Nearest {
    /// The table.
    #[serde(serialize_with = "as_text")]
    pub table: QualifiedName,
    /// How much, from 0 to 1.
    pub score: f64,
}

fn as_text<S: serde::Serializer>(name: &QualifiedName, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(name)
}

/// An entity of the draft.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntityDraft {
    /// Its name.
    pub entity: String,
    /// The source table.
    #[serde(serialize_with = "as_text")]
    pub source: QualifiedName,
    /// Its alias.
    #[serde(skip)]
    pub alias: String,
    /// A joined table.
    pub join: Option<JoinDraft>,
    /// The target table.
    #[serde(serialize_with = "as_text")]
    pub target: QualifiedName,
    /// How sure the pair is, from 0 to 1.
    pub score: f64,
    /// Why.
    pub reasons: Vec<String>,
    /// The key, when it is not the primary key.
    pub key: Option<Vec<String>>,
    /// The target's key.
    pub id: IdDraft,
    /// Source key columns and the target columns that carry them.
    pub legacy: BTreeMap<String, String>,
    /// The column that tells when a row was changed.
    pub updated_at: Option<String>,
    /// The rules.
    pub columns: Vec<ColumnDraft>,
    /// Target columns that are left to the target.
    pub left: Vec<Unused>,
    /// Source columns that are not used.
    pub ignore: Vec<Unused>,
    /// What somebody might want to do; the file is valid without.
    pub hints: Vec<String>,
    /// What somebody must write before the mapping can be used.
    pub todo: Vec<Todo>,
}

/// A column without a rule, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unused {
    /// The column.
    pub column: String,
    /// Why.
    pub reason: String,
}

/// A table that is joined for some of its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JoinDraft {
    /// The table.
    #[serde(serialize_with = "as_text")]
    pub table: QualifiedName,
    /// Its alias.
    pub alias: String,
    /// The condition.
    pub on: String,
    /// The column of the entity's own source in it.
    #[serde(skip)]
    pub by: String,
}

/// How target keys are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdDraft {
    /// The target column.
    pub column: String,
    /// `same` or `ordered`.
    pub strategy: &'static str,
    /// The column that orders the ids.
    pub time: Option<String>,
    /// Why.
    pub reason: String,
}

/// A rule of the draft.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ColumnDraft {
    /// The target column.
    pub column: String,
    /// How it is filled.
    pub rule: RuleDraft,
    /// How sure the guess is, from 0 to 1.
    pub score: f64,
    /// Why.
    pub reason: String,
}

/// How a target column is filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(
    tag = "kind",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub enum RuleDraft {
    /// By a column.
    Column {
        /// The column.
        column: String,
        /// Steps that its text goes through.
        normalize: Vec<&'static str>,
    },
    /// By what a code means; a code without a meaning has to be filled in.
    Codes {
        /// The column.
        column: String,
        /// The codes.
        codes: Codes,
    },
    /// By the JSON in a text.
    JsonParse {
        /// The column.
        column: String,
    },
    /// By the id of another entity's row.
    Ref {
        /// The entity.
        entity: String,
        /// The column with its key.
        by: String,
        /// Whether it is NULL until the parent is there, so that a circle can be broken.
        is_soft: bool,
    },
    /// By the id of a row of one of several entities.
    Poly {
        /// The column that says which.
        type_column: String,
        /// The column with its key.
        id_column: String,
        /// The types; one without an entity has to be filled in.
        map: Codes,
    },
    /// By an expression.
    Expr {
        /// The expression.
        sql: String,
        /// The columns in it.
        columns: Vec<String>,
    },
    /// By a text with columns in it.
    Template {
        /// The text.
        template: String,
        /// The columns of the entity's own source in it.
        columns: Vec<String>,
    },
    /// By the same text for every row.
    Const {
        /// The text.
        value: String,
    },
}

impl RuleDraft {
    /// Makes the plainest rule.
    fn column(column: &str) -> RuleDraft {
        RuleDraft::Column {
            column: column.to_owned(),
            normalize: Vec::new(),
        }
    }

    /// Names the columns of the source that it uses.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            RuleDraft::Column { column, .. }
            | RuleDraft::Codes { column, .. }
            | RuleDraft::JsonParse { column } => vec![column],
            RuleDraft::Ref { by, .. } => vec![by],
            RuleDraft::Poly {
                type_column,
                id_column,
                ..
            } => vec![type_column, id_column],
            RuleDraft::Expr { columns, .. } | RuleDraft::Template { columns, .. } => {
                columns.iter().map(String::as_str).collect()
            }
            RuleDraft::Const { .. } => Vec::new(),
        }
    }
}

/// A place that somebody has to fill in; the check of the mapping refuses the file until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Todo {
    /// The key below the entity that the check will name: `columns`, `columns.status`, `key`, `id`.
    pub key: String,
    /// What is needed.
    pub need: String,
}

/// Drafts a mapping.
pub fn draft(known: &Known) -> Draft {
    let pairing = pairing::pair(known);
    let mut draft = entity::draft_all(known, &pairing);
    reference::soften_circles(known, &mut draft.entities);
    draft
}
