//! New columns: of the source, which need a rule, and required ones of the target, which need a value.

use super::text::{key, string};
use super::{Builder, Deed, Wish};
use crate::domain::catalog::{Column, ColumnType, Table};
use crate::domain::connection::Side;
use crate::domain::identifier::{QualifiedName, printable};
use crate::domain::mapping::uses::{Place, source_columns, target_columns};
use crate::domain::mapping::{Entity, IdStrategy, SourceRelation};
use crate::domain::resolve::conversion::{Terms, convert};

/// The type of a target column that takes every value of a source column.
fn type_for(column: &ColumnType) -> (ColumnType, bool) {
    if column.is_builtin && !column.is_domain {
        return (column.clone(), true);
    }
    let text = ColumnType {
        display: "text".to_owned(),
        base: "text".to_owned(),
        modifier: String::new(),
        enum_labels: None,
        is_domain: false,
        is_builtin: true,
    };
    (text, false)
}

impl Builder<'_> {
    /// Gives every source column that nobody reads a rule, or a place in `ignore`.
    pub(super) fn take_new_columns(&mut self, entity: &Entity) {
        let SourceRelation::Table(name) = &entity.source else {
            return;
        };
        let name = QualifiedName::parse(name, &self.mapping().source_schema);
        let Some(table) = self.wanted.source.table(&name) else {
            return;
        };
        let mut unread = Vec::new();
        for column in &table.columns {
            let is_key = entity.key.is_none() && table.primary_key.contains(&column.name);
            let renamed = (entity.name.clone(), column.name.clone());
            let uses = self
                .wanted
                .usage
                .of_column(Side::Source, &name, &column.name);
            let mut own = uses.iter().filter(|it| it.entity.name == entity.name);
            let is_read = own.any(|it| !matches!(it.place, Place::Legacy));
            if !is_key && !is_read && !self.taken_over.contains(&renamed) {
                unread.push(column.clone());
            }
        }
        if self.wanted.ignore_new {
            let names: Vec<String> = unread.into_iter().map(|it| it.name).collect();
            self.text.add_to_list(&entity.name, "ignore", &names);
            return;
        }
        for column in unread {
            self.take_column(entity, table, &column);
        }
    }

    fn take_column(&mut self, entity: &Entity, table: &Table, column: &Column) {
        let taken = target_columns(entity);
        let is_free = |name: &str| !taken.iter().any(|(_, it)| *it == name);
        let found = self.target_column(entity, &column.name);
        let found = found.filter(|it| !it.is_generated).cloned();
        let target = match is_free(&column.name) {
            true => column.name.clone(),
            false => format!("source_{}", column.name),
        };
        let parent = self.parent_of(table, &column.name);
        let rule = match (&parent, target == column.name) {
            (Some((parent, ..)), _) => format!(
                "{{ ref = {}, by = {} }}",
                string(parent),
                string(&format!("{}.{}", entity.alias, column.name))
            ),
            (None, true) => "{}".to_owned(),
            (None, false) => string(&column.name),
        };
        let zone = self.mapping().source_time_zone.clone();
        let terms = Terms {
            time_zone: zone.as_deref(),
            allow_loss: false,
        };
        if let (Some(found), None) = (&found, &parent)
            && let Err((message, advice)) = convert(&column.column_type, &found.column_type, terms)
        {
            self.notes.push(format!(
                "{}: {} is new, and the target has a column of this name: {message} ({advice})",
                entity.name,
                printable(&column.name)
            ));
            return;
        }
        let line = format!("{} = {rule}", key(&target));
        if !self.text.add_lines(&entity.name, Some("columns"), &line) {
            self.notes
                .push(format!("{}: add to its columns: {line}", entity.name));
        }
        if found.is_none() || target != column.name {
            self.add_column(entity, column, &target, parent);
        }
    }

    fn add_column(
        &mut self,
        entity: &Entity,
        column: &Column,
        target: &str,
        parent: Option<(String, QualifiedName, Column)>,
    ) {
        let name = printable(&column.name);
        let (column_type, why, references) = match parent {
            Some((_, table, id)) => {
                let why = format!("the source has a new reference {name}");
                (id.column_type, why, Some((table, id.name)))
            }
            None => {
                let (column_type, is_same) = type_for(&column.column_type);
                let why = match is_same {
                    true => format!("the source has a new column {name}"),
                    false => format!(
                        "the source has a new column {name} of type {}, which becomes text here",
                        printable(&column.column_type.display)
                    ),
                };
                (column_type, why, None)
            }
        };
        let wish = Wish {
            table: self.wanted.usage.target(entity),
            column: target.to_owned(),
            type_now: None,
            deed: Deed::AddColumn {
                column_type,
                references,
            },
            why,
            is_choice: false,
        };
        self.wish(wish);
    }

    /// Finds the entity whose rows a foreign key of the source points to, with the id that they have in the target.
    fn parent_of(&self, table: &Table, column: &str) -> Option<(String, QualifiedName, Column)> {
        let key = table
            .foreign_keys
            .iter()
            .find(|it| it.columns == [column])?;
        let usage = self.wanted.usage;
        let mut parents = usage.of_own(Side::Source, &key.referenced).into_iter();
        parents.find_map(|parent| {
            let relation = self.wanted.source.table(&key.referenced)?;
            let own_key = parent.key.as_ref().unwrap_or(&relation.primary_key);
            let target = usage.target(parent);
            let id = self.target_column(parent, &parent.id.column)?;
            let has_own_ids = parent.id.strategy != IdStrategy::Same;
            (own_key.as_slice() == key.referenced_columns.as_slice() && has_own_ids)
                .then(|| (parent.name.clone(), target, id.clone()))
        })
    }

    /// Gives required target columns a value where the source has one of the name; else somebody has to say.
    pub(super) fn fill_required(&mut self, entity: &Entity) {
        let target = self.wanted.usage.target(entity);
        let Some(table) = self.wanted.target.table(&target) else {
            return;
        };
        let named = target_columns(entity);
        let renamed = |column: &Column| {
            named.iter().any(|(_, name)| {
                self.new_name(Side::Target, &target, name).as_ref() == Some(&column.name)
            })
        };
        let open: Vec<Column> = table
            .columns
            .iter()
            .filter(|it| it.not_null && !it.has_default && !it.is_generated)
            .filter(|it| !named.iter().any(|(_, name)| *name == it.name) && !renamed(it))
            .cloned()
            .collect();
        for column in open {
            let name = printable(&column.name);
            if self.offers(entity, &column.name) {
                // As a new column it has got its rule already.
                if entity.ignore.contains(&column.name) {
                    self.text.take_from_list(
                        &entity.name,
                        "ignore",
                        std::slice::from_ref(&column.name),
                    );
                    let line = format!("{} = {{}}", key(&column.name));
                    self.text.add_lines(&entity.name, Some("columns"), &line);
                }
                continue;
            }
            let line = format!(
                "# {} = {{ const = ... }}      # NOT NULL in the target, and no rule fills it",
                key(&column.name)
            );
            self.text.add_lines(&entity.name, Some("columns"), &line);
            self.notes.push(format!(
                "{}: {target}.{name} is NOT NULL and has no default: say what fills it",
                entity.name
            ));
            let wish = Wish {
                table: target.clone(),
                column: column.name.clone(),
                type_now: Some(column.column_type.clone()),
                deed: Deed::AllowNull,
                why: "or let it be empty, instead of a rule".to_owned(),
                is_choice: true,
            };
            self.wish(wish);
        }
    }

    /// Tells whether the entity's own source has a column of a name that no rule reads.
    fn offers(&self, entity: &Entity, name: &str) -> bool {
        let SourceRelation::Table(table) = &entity.source else {
            return false;
        };
        let table = QualifiedName::parse(table, &self.mapping().source_schema);
        let has = self
            .wanted
            .source
            .table(&table)
            .is_some_and(|it| it.column(name).is_some());
        let mut rules = source_columns(entity).into_iter();
        has && !rules.any(|(place, column)| {
            matches!(place, Place::Rule(_)) && column.column == name && column.table.is_none()
        })
    }
}
