//! Names that changed: of tables, and of columns on both sides.

use super::text::{Entry, Rename, string};
use super::{Builder, Deed, Wish};
use crate::domain::connection::Side;
use crate::domain::drift::What;
use crate::domain::identifier::{QualifiedName, printable};
use crate::domain::mapping::uses::{Place, source_columns, target_columns};
use crate::domain::mapping::{ColumnRef, Entity, Rule};
use std::collections::BTreeSet;

/// Where the value of a place stands.
fn path_of<'p>(place: &Place<'p>) -> Vec<&'p str> {
    match place {
        Place::Rule(rule) => vec!["columns", &rule.target],
        Place::Filter => vec!["where"],
        Place::Join => vec!["join"],
        Place::Key => vec!["key"],
        Place::Ignore => vec!["ignore"],
        Place::IdTime | Place::Id => vec!["id"],
        Place::UpdatedAt => vec!["updated_at"],
        Place::Legacy => vec!["legacy"],
        Place::Retire => vec!["delete", "retire"],
        Place::Validate => vec!["validate"],
        Place::Dedupe => vec!["dedupe"],
    }
}

impl Builder<'_> {
    fn entry_of(&self, entity: &Entity, place: &Place<'_>) -> Option<Entry> {
        self.text.entry(&entity.name, &path_of(place))
    }

    /// Writes the new names of tables.
    pub(super) fn follow_tables(&mut self) {
        for change in self.wanted.changes {
            let difference = &change.difference;
            let What::TableRenamed(to) = &difference.what else {
                continue;
            };
            let (side, usage) = (difference.side, self.wanted.usage);
            let (schema, key) = match side {
                Side::Source => (&self.mapping().source_schema, "source"),
                Side::Target => (&self.mapping().target_schema, "target"),
            };
            let written = match to.schema == *schema {
                true => to.name.clone(),
                false => format!("{}.{}", to.schema, to.name),
            };
            let own = usage.of_own(side, &difference.table);
            for entity in usage.of_table(side, &difference.table) {
                let is_own = own.iter().any(|it| it.name == entity.name);
                let Some(entry) = self.text.entry(&entity.name, &[key]).filter(|_| is_own) else {
                    self.notes.push(format!(
                        "{}: write {to} in the place of {}, with `as = \"{}\"` where it has no alias",
                        entity.name,
                        difference.table,
                        printable(&difference.table.name)
                    ));
                    continue;
                };
                self.text.replace(entry.value, string(&written));
                let has_alias = self.text.entry(&entity.name, &["as"]).is_some();
                if side == Side::Source && !has_alias {
                    let line = format!("as = {}", string(&entity.alias));
                    self.text.add_lines(&entity.name, None, &line);
                }
            }
        }
    }

    /// Writes the new names of source columns, and takes out what reads columns that are gone.
    pub(super) fn follow_source(&mut self, entity: &Entity) {
        let usage = self.wanted.usage;
        let mut gone = BTreeSet::new();
        for (place, column) in source_columns(entity) {
            let Some(table) = usage.owner(entity, &column) else {
                continue;
            };
            let Some(now) = self.wanted.source.table(&table) else {
                continue;
            };
            if now.column(&column.column).is_some() {
                continue;
            }
            match self.new_name(Side::Source, &table, &column.column) {
                Some(to) => {
                    self.taken_over.insert((entity.name.clone(), to.clone()));
                    self.rename_source(entity, &place, &column, &to);
                }
                None => self.drop_source(entity, &place, &column, &mut gone),
            }
        }
    }

    fn rename_source(&mut self, entity: &Entity, place: &Place<'_>, column: &ColumnRef, to: &str) {
        if matches!(place, Place::Legacy) {
            let entry = self.text.entry(&entity.name, &["legacy", &column.column]);
            if let Some(entry) = entry {
                self.text.replace(entry.key, super::text::key(to));
            }
            return;
        }
        if matches!(place, Place::Validate) {
            self.notes.push(format!(
                "{}.validate: {} is called {} now",
                entity.name,
                printable(&column.column),
                printable(to)
            ));
            return;
        }
        let Some(entry) = self.entry_of(entity, place) else {
            return;
        };
        if let Place::Rule(rule) = place
            && self.is_shorthand(entity, &rule.target, &entry)
        {
            self.write_column(&entry, to);
            return;
        }
        let names = Rename {
            from: &column.column,
            to,
            aliases: column.table.as_deref().into_iter().collect(),
            is_bare: column.table.is_none(),
        };
        self.text.rename_in(&entry.value, &names);
    }

    /// Tells whether a rule takes the column of its own name without saying so.
    fn is_shorthand(&self, entity: &Entity, target: &str, entry: &Entry) -> bool {
        let rules = [
            "column",
            "expr",
            "case",
            "template",
            "json_parse",
            "json",
            "json_path",
            "ref",
            "poly",
            "const",
        ];
        let named = |rule: &&str| {
            let path = ["columns", target, rule];
            self.text.entry(&entity.name, &path).is_some()
        };
        self.text.part(&entry.value).starts_with('{') && !rules.iter().any(named)
    }

    /// Lets a rule say which column it takes.
    fn write_column(&mut self, entry: &Entry, column: &str) {
        let inside = self.text.part(&entry.value).trim_matches(['{', '}']);
        if inside.trim().is_empty() {
            self.text.replace(entry.value.clone(), string(column));
        } else {
            let at = entry.value.start + 1;
            let text = format!(" column = {},", string(column));
            self.text.replace(at..at, text);
        }
    }

    fn drop_source(
        &mut self,
        entity: &Entity,
        place: &Place<'_>,
        column: &ColumnRef,
        gone: &mut BTreeSet<String>,
    ) {
        let name = printable(&column.column);
        match place {
            Place::Ignore => {
                let names = std::slice::from_ref(&column.column);
                self.text.take_from_list(&entity.name, "ignore", names);
            }
            Place::Rule(rule)
                if matches!(
                    rule.rule,
                    Rule::Column(_) | Rule::JsonParse { .. } | Rule::Reference { .. }
                ) =>
            {
                if !gone.insert(rule.target.clone()) {
                    return;
                }
                let Some(entry) = self.entry_of(entity, place) else {
                    return;
                };
                self.text.remove(&entry);
                self.notes.push(format!(
                    "{}: the source column {name} is gone: {} keeps what it holds, and new rows get its default",
                    entity.name,
                    printable(&rule.target)
                ));
                let found = self.target_column(entity, &rule.target);
                let Some(found) = found.filter(|it| it.not_null && !it.has_default) else {
                    return;
                };
                let wish = Wish {
                    table: self.wanted.usage.target(entity),
                    column: rule.target.clone(),
                    type_now: Some(found.column_type.clone()),
                    deed: Deed::AllowNull,
                    why: format!(
                        "the source column {name} is gone, so new rows have no value for it"
                    ),
                    is_choice: false,
                };
                self.wish(wish);
            }
            _ => self.notes.push(format!(
                "{}.{}: the source column {name} is gone; say what takes its place",
                entity.name,
                place.path()
            )),
        }
    }

    /// Writes the new names of target columns, and takes out what fills columns that are gone.
    pub(super) fn follow_target(&mut self, entity: &Entity) {
        let table = self.wanted.usage.target(entity);
        let Some(now) = self.wanted.target.table(&table) else {
            return;
        };
        for (place, name) in target_columns(entity) {
            if now.column(name).is_some() {
                continue;
            }
            match self.new_name(Side::Target, &table, name) {
                Some(to) => self.rename_target(entity, &place, name, &to),
                None => self.drop_target(entity, &place, name, &table),
            }
        }
    }

    fn rename_target(&mut self, entity: &Entity, place: &Place<'_>, name: &str, to: &str) {
        match place {
            Place::Rule(_) => {
                let Some(entry) = self.entry_of(entity, place) else {
                    return;
                };
                if self.is_shorthand(entity, name, &entry) {
                    self.write_column(&entry, name);
                }
                self.text.replace(entry.key, super::text::key(to));
            }
            Place::Retire => {
                let entry = self.text.entry(&entity.name, &["delete", "retire", name]);
                if let Some(entry) = entry {
                    self.text.replace(entry.key, super::text::key(to));
                }
            }
            _ => {
                let Some(entry) = self.entry_of(entity, place) else {
                    let line = format!("id = {{ column = {} }}", string(to));
                    self.text.add_lines(&entity.name, None, &line);
                    return;
                };
                let names = Rename {
                    from: name,
                    to,
                    aliases: Vec::new(),
                    is_bare: true,
                };
                self.text.rename_in(&entry.value, &names);
            }
        }
    }

    fn drop_target(
        &mut self,
        entity: &Entity,
        place: &Place<'_>,
        name: &str,
        table: &QualifiedName,
    ) {
        let shown = printable(name);
        let (Place::Rule(rule), Some(entry)) = (place, self.entry_of(entity, place)) else {
            self.notes.push(format!(
                "{}.{}: {table} has no column {shown} any more; say what takes its place",
                entity.name,
                place.path()
            ));
            return;
        };
        self.text.remove(&entry);
        let only_here: Vec<String> = self.read_only_by(entity, &rule.target);
        self.text.add_to_list(&entity.name, "ignore", &only_here);
        self.notes.push(format!(
            "{}: {table} has no column {shown} any more: what it held is gone, and its source is ignored from now on",
            entity.name
        ));
    }

    /// The columns of the entity's own source that nothing but one rule reads.
    fn read_only_by(&self, entity: &Entity, target: &str) -> Vec<String> {
        let usage = self.wanted.usage;
        let own: Vec<_> = source_columns(entity)
            .into_iter()
            .filter(|(_, column)| {
                let table = usage.owner(entity, column);
                table.is_some_and(|table| {
                    usage
                        .of_own(Side::Source, &table)
                        .iter()
                        .any(|it| it.name == entity.name)
                })
            })
            .collect();
        let is_here =
            |place: &Place<'_>| matches!(place, Place::Rule(rule) if rule.target == target);
        let mut names: Vec<String> = own
            .iter()
            .filter(|(place, _)| is_here(place))
            .map(|(_, column)| column.column.clone())
            .filter(|name| {
                let mut others = own.iter().filter(|(place, _)| !is_here(place));
                !others.any(|(_, column)| column.column == *name)
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}
