//! Guesses about columns whose names do not agree: opposites, names of people, the only time that is left.

use super::column::Work;
use super::pairing::Side;
use super::reference;
use super::render::sql_column;
use super::shape::{Class, class, is_moment};
use super::{ColumnDraft, JoinDraft, RuleDraft};
use crate::domain::catalog::Column;

/// Words for flags and their opposites.
const OPPOSITES: &[(&str, &[&str])] = &[
    (
        "active",
        &[
            "suspended",
            "disabled",
            "inactive",
            "blocked",
            "banned",
            "deactivated",
            "closed",
        ],
    ),
    ("enabled", &["disabled", "inactive", "suspended"]),
    ("visible", &["hidden", "invisible"]),
    ("public", &["private", "hidden"]),
    ("published", &["draft", "unpublished"]),
    ("open", &["closed"]),
    ("available", &["unavailable", "discontinued"]),
];

const FIRST: &[&str] = &["firstname", "givenname", "forename"];
const LAST: &[&str] = &["lastname", "surname", "familyname"];

impl Work<'_> {
    /// Fills columns by what they could only mean.
    pub(super) fn fill_guesses(&mut self) {
        for (at, column) in self.open() {
            let core = self.head.target.shapes[at].core.clone();
            if class(&column.column_type) == Class::Bool {
                self.fill_opposite(column, &core);
            } else if class(&column.column_type) == Class::Text {
                self.fill_name(column, &core);
            }
        }
        self.fill_only_key();
        self.fill_only_time();
    }

    fn unused(&self) -> Vec<(usize, &Column)> {
        let used = self.used();
        let columns = self.head.source.relation.table.columns.iter().enumerate();
        columns.filter(|(_, it)| !used.contains(&it.name)).collect()
    }

    fn fill_opposite(&mut self, column: &Column, core: &[String]) {
        let word = core.concat();
        let opposite = |other: &str| {
            let listed = |a: &str, b: &str| {
                OPPOSITES
                    .iter()
                    .any(|(one, many)| *one == a && many.contains(&b))
            };
            listed(&word, other) || listed(other, &word)
        };
        let found = self.unused().into_iter().find(|(at, it)| {
            class(&it.column_type) == Class::Bool
                && opposite(&self.head.source.shapes[*at].core.concat())
        });
        if let Some(name) = found.map(|(_, it)| it.name.clone()) {
            let rule = RuleDraft::Expr {
                sql: format!("not {}", self.own(&name)),
                columns: vec![name.clone()],
            };
            self.push(
                column,
                rule,
                0.7,
                format!("`{name}`: a word for the opposite; CHECK it"),
            );
        }
    }

    fn push(&mut self, column: &Column, rule: RuleDraft, score: f64, reason: String) {
        self.draft.columns.push(ColumnDraft {
            column: column.name.clone(),
            rule,
            score,
            reason,
        });
    }

    /// A name of a person, from its two halves: in the own source, or in the table that a reference names.
    fn fill_name(&mut self, column: &Column, core: &[String]) {
        let is_name = matches!(
            core.concat().as_str(),
            "fullname" | "displayname" | "name" | "realname"
        );
        if !is_name {
            return;
        }
        if let Some((first, last)) = halves(self.head.source) {
            let template = name_template(&self.draft.alias, &first, &last);
            let columns = vec![first, last];
            let reason = "both halves of a name".to_owned();
            let rule = RuleDraft::Template { template, columns };
            self.push(column, rule, 0.75, reason);
        } else if self.draft.join.is_none() {
            self.fill_parents_name(column);
        }
    }

    fn fill_parents_name(&mut self, column: &Column) {
        let rules = self.draft.columns.iter();
        let mut parents = rules.filter_map(|it| {
            let RuleDraft::Ref { entity, by, .. } = &it.rule else {
                return None;
            };
            let mut heads = self.heads.iter().filter(|it| it.name != self.head.name);
            let parent = heads.find(|it| it.name == *entity)?;
            let [key] = parent.key.as_slice() else {
                return None;
            };
            Some((parent, key, by.clone(), halves(parent.source)?))
        });
        let Some((parent, key, by, (first, last))) = parents.next() else {
            return;
        };
        let table = &parent.source.relation.table.name;
        let mut alias = super::entity::alias(&table.name, parent.source.prefix.as_deref());
        if alias == self.draft.alias {
            alias.push('2');
        }
        let on = format!("{} = {}", sql_column(&alias, key), self.own(&by));
        let rule = RuleDraft::Template {
            template: name_template(&alias, &first, &last),
            columns: Vec::new(),
        };
        let reason = format!("both halves of a name in {}, joined by `{by}`", table.name);
        self.draft.join = Some(JoinDraft {
            table: table.clone(),
            alias,
            on,
            by,
        });
        self.push(column, rule, 0.65, reason);
    }

    /// The only reference that has no key, and the only key that has no use.
    fn fill_only_key(&mut self) {
        let open = self.open();
        let open: Vec<_> = open
            .iter()
            .filter(|(_, it)| reference::leads_away(self.head, it))
            .collect();
        let ([(_, column)], heads) = (open.as_slice(), self.heads) else {
            return;
        };
        let Some(parent) = reference::parent_table(self.pairing, self.head, column) else {
            return;
        };
        let feeders = heads
            .iter()
            .filter(|it| it.target.relation.table.name == parent);
        let Some(feeder) = feeders.into_iter().find(|it| it.key.len() == 1) else {
            return;
        };
        let table = &self.head.source.relation.table;
        let unused = self.unused();
        let keys = unused.iter().filter(|(_, it)| {
            let is_key = crate::domain::key::KeyType::from_base_type(&it.column_type.base);
            let refers = table
                .foreign_keys
                .iter()
                .any(|key| key.columns.contains(&it.name));
            is_key == feeder.key_types.first().copied() && it.name.ends_with("id") && !refers
        });
        let keys: Vec<String> = keys.map(|(_, it)| it.name.clone()).collect();
        if let [by] = keys.as_slice() {
            let rule = RuleDraft::Ref {
                entity: feeder.name.clone(),
                by: by.clone(),
                is_soft: false,
            };
            self.push(
                column,
                rule,
                0.5,
                format!("`{by}`: the only key that is left; CHECK it"),
            );
        }
    }

    /// The only time of the target that has no source, and the only time of the source that has no use.
    fn fill_only_time(&mut self) {
        let is_end = |at: usize| {
            let core = &self.head.target.shapes[at].core;
            let ends = [
                "deleted", "retired", "archived", "removed", "expired", "closed",
            ];
            core.iter().any(|it| ends.contains(&it.as_str()))
        };
        let open = self.open();
        let open = open
            .iter()
            .filter(|(at, it)| is_moment(&it.column_type) && !it.has_default && !is_end(*at));
        let open: Vec<&Column> = open.map(|(_, it)| *it).collect();
        let [column] = open.as_slice() else {
            return;
        };
        let rules = self.draft.columns.iter().flat_map(|it| it.rule.columns());
        let ruled: Vec<&str> = rules.collect();
        let times = self.head.source.relation.table.columns.iter();
        let times = times.filter(|it| {
            is_moment(&it.column_type)
                && !ruled.contains(&it.name.as_str())
                && self.draft.updated_at.as_ref() != Some(&it.name)
                && super::cast::fit(&it.column_type, &column.column_type).is_some()
        });
        let times: Vec<Column> = times.cloned().collect();
        if let [time] = times.as_slice() {
            let reason = format!("`{}`: the only time that is left; CHECK it", time.name);
            self.fill_from(column, time, 0.5, reason);
        }
    }
}

/// The columns with the two halves of a name.
fn halves(side: &Side<'_>) -> Option<(String, String)> {
    let find = |words: &[&str]| {
        let mut shapes = side.shapes.iter();
        let found = shapes.find(|it| words.contains(&it.joined.as_str()))?;
        (!found.name.contains(['{', '}', '|'])).then(|| found.name.clone())
    };
    Some((find(FIRST)?, find(LAST)?))
}

fn name_template(alias: &str, first: &str, last: &str) -> String {
    format!("{{{alias}.{first}}} {{{alias}.{last}}}")
}
