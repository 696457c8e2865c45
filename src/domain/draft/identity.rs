//! Keys: which columns name a row on either side, and what carries the old key in the new row.

use super::name::{joined, legacy, words};
use super::pairing::Side;
use super::shape::{Class, class, is_moment};
use super::{ColumnDraft, IdDraft, Relation, RuleDraft, Todo};
use crate::domain::catalog::{Column, Table};
use crate::domain::key::KeyType;

/// The key of a source table: the primary key, or else the shortest unique key without NULL.
pub(super) fn key_of(relation: &Relation) -> Option<Vec<String>> {
    let table = &relation.table;
    let can_be_key = |names: &&Vec<String>| {
        !names.is_empty()
            && names.iter().all(|name| {
                let column = table.column(name);
                column.is_some_and(|it| KeyType::from_base_type(&it.column_type.base).is_some())
            })
    };
    let primary = Some(&table.primary_key).filter(can_be_key);
    let unique = relation.unique_keys.iter().filter(can_be_key);
    primary
        .or_else(|| unique.min_by_key(|it| it.len()))
        .cloned()
}

/// The types of a key.
pub(super) fn key_types(relation: &Relation, key: &[String]) -> Vec<KeyType> {
    let columns = key.iter().filter_map(|name| relation.table.column(name));
    columns
        .filter_map(|it| KeyType::from_base_type(&it.column_type.base))
        .collect()
}

/// The key column of a target table.
pub(super) fn id_column(relation: &Relation) -> Option<&Column> {
    let table = &relation.table;
    match table.primary_key.as_slice() {
        [single] => table.column(single),
        _ => table.column("id").or_else(|| table.column("uuid")),
    }
}

/// Chooses how target ids are made, and says what stands in the way.
pub(super) fn identity(source: &Side<'_>, target: &Side<'_>) -> (IdDraft, Option<Todo>) {
    let mut id = IdDraft {
        column: "id".to_owned(),
        strategy: "ordered",
        time: None,
        reason: String::new(),
    };
    let todo = |need: String| {
        Some(Todo {
            key: "id".to_owned(),
            need,
        })
    };
    let Some(column) = id_column(target.relation) else {
        let need = format!(
            "{} has no key of one column, which diffmig needs: give it one, or take this entity out",
            target.relation.table.name
        );
        return (id, todo(need));
    };
    id.column.clone_from(&column.name);
    let refers = refers_to(target.relation, &column.name);
    let reason = |text: &str| format!("{text}{refers}");
    // Without a key that can be used, the check goes on with what can be used of the primary key.
    let key = key_of(source.relation).unwrap_or_else(|| usable(&source.relation.table));
    let types = key_types(source.relation, &key);
    let own = KeyType::from_base_type(&column.column_type.base);
    if own.is_some() && types.as_slice() == own.as_slice() {
        id.strategy = "same";
        id.reason = reason("both keys are of one family: keys are kept");
        let width = |it: &Column| {
            ["int2", "int4", "int8"]
                .iter()
                .position(|base| *base == it.column_type.base)
        };
        let own = source.relation.table.column(&key[0]);
        let wider = own.is_some_and(|it| width(it) > width(column));
        let need = format!("the source's keys may not fit into `{}`", column.name);
        return (id, wider.then(|| todo(need)).flatten());
    }
    if own == Some(KeyType::Uuid) {
        id.time = time_of(source);
        id.reason = reason("new ids, always the same for a key");
        return (id, None);
    }
    id.strategy = "same";
    let need = format!(
        "`{}` is {}, which no strategy makes of the source's key ({})",
        column.name,
        column.column_type.display,
        key.join(", ")
    );
    (id, todo(need))
}

/// What must be known of a key that is a foreign key itself, as that of Supabase's usual `profiles`.
fn refers_to(relation: &Relation, column: &str) -> String {
    let mut keys = relation.table.foreign_keys.iter();
    let key = keys.find(|it| it.columns.len() == 1 && it.columns[0] == column);
    key.map_or_else(String::new, |it| {
        let parent = &it.referenced;
        format!("; CHECK: a foreign key to {parent}, so a row with this id must be there first")
    })
}

/// The columns of the primary key that could be part of a key.
fn usable(table: &Table) -> Vec<String> {
    let is_usable = |name: &&String| {
        let column = table.column(name);
        column.is_some_and(|it| KeyType::from_base_type(&it.column_type.base).is_some())
    };
    table
        .primary_key
        .iter()
        .filter(is_usable)
        .cloned()
        .collect()
}

/// The column that says when a row was made: by its name, or the only moment that is always there.
fn time_of(source: &Side<'_>) -> Option<String> {
    let columns = &source.relation.table.columns;
    let moments: Vec<(usize, &Column)> = columns
        .iter()
        .enumerate()
        .filter(|(_, it)| is_moment(&it.column_type))
        .collect();
    let created = |at: usize| {
        let core = &source.shapes[at].core;
        core.len() == 1 && core[0] == "created"
    };
    let named = moments.iter().find(|(at, _)| created(*at));
    let required: Vec<&(usize, &Column)> = moments
        .iter()
        .filter(|(at, it)| it.not_null && !is_update(source, *at))
        .collect();
    let only = required.first().copied().filter(|_| required.len() == 1);
    named.or(only).map(|(_, it)| it.name.clone())
}

fn is_update(source: &Side<'_>, at: usize) -> bool {
    let shape = &source.shapes[at];
    shape.core.iter().any(|it| it == "updated")
}

/// The column that says when a row was changed last.
pub(super) fn updated_at(source: &Side<'_>) -> Option<String> {
    let columns = source.relation.table.columns.iter().enumerate();
    let mut moments = columns.filter(|(_, it)| is_moment(&it.column_type));
    let found = moments.find(|(at, _)| {
        let core = &source.shapes[*at].core;
        is_update(source, *at) && core.iter().all(|it| it == "updated" || it == "last")
    });
    found.map(|(_, it)| it.name.clone())
}

/// What a target column that is named after an old key gets.
pub(super) enum Carried {
    /// The key itself.
    Key(String),
    /// Another column.
    Rule(ColumnDraft),
}

/// Finds what a column such as `legacy_client_id` holds.
pub(super) fn carried(
    source: &Side<'_>,
    column: &Column,
    key: &[String],
    is_one_of_many: bool,
) -> Option<Carried> {
    let name = legacy(&column.name)?;
    let own = &source.relation.table;
    if name.is_table {
        let rule = ColumnDraft {
            column: column.name.clone(),
            rule: RuleDraft::Const {
                value: own.name.name.clone(),
            },
            score: 0.8,
            reason: "the table that the row comes from".to_owned(),
        };
        let holds_text = class(&column.column_type) == Class::Text;
        return holds_text.then_some(Carried::Rule(rule));
    }
    let of = joined(&name.of);
    let names_table = of.is_empty()
        || source.names.contains(&of)
        || (of.len() >= 4 && source.names.iter().any(|it| it.ends_with(&of)));
    if let [single] = key
        && (names_table || is_one_of_many)
    {
        let fits = class(&column.column_type) == Class::Text
            || own.column(single).map(|it| class(&it.column_type))
                == Some(class(&column.column_type));
        return fits.then(|| Carried::Key(single.clone()));
    }
    let refers = own.columns.iter().find(|it| {
        let mut own = words(&it.name);
        let is_id = own.last().is_some_and(|last| last == "id");
        own.pop();
        is_id && joined(&own) == of
    })?;
    super::cast::fit(&refers.column_type, &column.column_type)
        .filter(|it| *it == super::cast::Fit::Plain)?;
    Some(Carried::Rule(ColumnDraft {
        column: column.name.clone(),
        rule: RuleDraft::column(&refers.name),
        score: 0.85,
        reason: format!("named after `{}`", refers.name),
    }))
}
