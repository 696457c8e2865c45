//! A column's name taken apart once, so that many pairs of columns can be compared quickly.

use super::name::{common, joined, singular, words};
use crate::domain::catalog::{Column, ColumnType};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a type is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Text,
    Number,
    Bool,
    Time,
    Json,
    Uuid,
    Enum,
    Other,
}

/// Tells what a type is about.
pub(super) fn class(column_type: &ColumnType) -> Class {
    if column_type.enum_labels.is_some() {
        return Class::Enum;
    }
    match column_type.base.as_str() {
        "text" | "varchar" | "bpchar" | "name" | "citext" => Class::Text,
        "int2" | "int4" | "int8" | "numeric" | "float4" | "float8" | "money" => Class::Number,
        "bool" => Class::Bool,
        "timestamp" | "timestamptz" | "date" | "time" | "timetz" => Class::Time,
        "json" | "jsonb" => Class::Json,
        "uuid" => Class::Uuid,
        _ => Class::Other,
    }
}

/// Tells whether a type says a day or a moment.
pub(super) fn is_moment(column_type: &ColumnType) -> bool {
    matches!(
        column_type.base.as_str(),
        "timestamp" | "timestamptz" | "date"
    )
}

/// A column's name in several degrees of coarseness.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// The name.
    pub name: String,
    /// Its words without what stands between them.
    pub joined: String,
    /// The same with words that mean the same made one.
    pub common: String,
    /// Only the words that are about the thing, not about its type.
    pub core: Vec<String>,
    /// The same as they are written, without what stands between them.
    pub joined_core: String,
    /// The words of the core in the order of the alphabet.
    pub sorted_core: String,
    /// The core without the name of the table in front.
    pub bare: Vec<String>,
    /// Hashes of all of these, in their order.
    marks: [u64; 7],
}

fn mark(text: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Words that say what type a value has.
fn is_filler(word: &str, class: Class) -> bool {
    match class {
        Class::Time => matches!(
            word,
            "at" | "on" | "date" | "time" | "datetime" | "timestamp" | "ts" | "dt" | "day"
        ),
        Class::Bool => matches!(word, "is" | "has" | "flag" | "was"),
        Class::Json => matches!(word, "json" | "data"),
        _ => matches!(word, "id" | "fk" | "code" | "key" | "uuid" | "value"),
    }
}

impl Shape {
    /// Takes a column's name apart; `table` is the name of its table in the singular, without what joins its words.
    pub fn of(column: &Column, table: &str) -> Shape {
        let words = words(&column.name);
        let class = class(&column.column_type);
        let all: Vec<String> = words.iter().map(|word| common(word)).collect();
        let core: Vec<String> = all
            .iter()
            .filter(|word| !is_filler(word, class))
            .cloned()
            .collect();
        let mut sorted = core.clone();
        sorted.sort();
        let bare = without_table(&core, table);
        let (all, joined) = (all.concat(), joined(&words));
        let about = words.iter().filter(|word| !is_filler(word, class));
        let joined_core: String = about.map(|word| singular(word)).collect();
        let sorted_core = sorted.join(" ");
        Shape {
            marks: [
                mark(&column.name),
                mark(&joined),
                mark(&all),
                mark(&joined_core),
                mark(&sorted_core),
                mark(&core),
                mark(&bare),
            ],
            name: column.name.clone(),
            joined,
            common: all,
            core,
            joined_core,
            sorted_core,
            bare,
        }
    }

    /// Tells quickly that two names have nothing in common; most pairs of a large schema do not.
    pub fn is_foreign_to(&self, other: &Shape) -> bool {
        let (own, there) = (&self.marks, &other.marks);
        let [.., core, bare] = own;
        let [.., other_core, other_bare] = there;
        own.iter().zip(there).all(|(a, b)| a != b) && bare != other_core && core != other_bare
    }
}

/// Takes the words off the front that name the table; nothing is taken when nothing would be left.
fn without_table(core: &[String], table: &str) -> Vec<String> {
    for count in 1..core.len() {
        if core[..count].concat() == table {
            return core[count..].to_vec();
        }
    }
    core.to_vec()
}
