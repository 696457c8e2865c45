//! Differences of the source.

use super::strictness::{Ends, is_narrower};
use super::{Judge, Verdict, names, places};
use crate::domain::catalog::{Column, Constraint};
use crate::domain::connection::Side;
use crate::domain::drift::What;
use crate::domain::identifier::{QualifiedName, printable};
use crate::domain::mapping::Rule;
use crate::domain::mapping::uses::Place;

const SIDE: Side = Side::Source;

impl Judge<'_> {
    pub(super) fn of_source(&self, table: &QualifiedName, what: &What) -> Verdict {
        match what {
            What::TableAdded => Verdict::harmless("no entity reads it"),
            What::TableDropped => self.of_table(SIDE, table, None),
            What::TableRenamed(to) => self.of_table(SIDE, table, Some(to)),
            What::ColumnAdded(column) => self.unread(table, column),
            What::ColumnDropped(column) => self.dropped(table, column),
            What::ColumnRenamed { from, to, .. } => self.renamed(table, from, to),
            What::ColumnRetyped { from, to } => self.retyped(table, from, to),
            What::ColumnRecreated(column) => match self.uses(SIDE, table, column).is_empty() {
                true => Verdict::harmless(""),
                false => Verdict::loss("its rows will be taken over as they are now"),
            },
            What::NullsChanged(column) => self.nulls(table, column),
            What::DefaultChanged { .. } | What::GeneratedChanged(_) => Verdict::harmless(""),
            What::KeyChanged { from, .. } => self.rekeyed(table, from),
            What::ConstraintDropped(it) => self.unguarded(table, it),
            What::LabelAdded(column, label)
            | What::LabelRenamed {
                column, to: label, ..
            } => self.new_label(table, column, label),
            What::ConstraintAdded(_)
            | What::LabelRemoved(..)
            | What::ForeignKeyAdded(_)
            | What::ForeignKeyDropped(_)
            | What::ForeignKeyChanged { .. } => Verdict::harmless(""),
        }
    }

    /// A column that no rule of an entity's own source names would be left behind silently.
    fn unread(&self, table: &QualifiedName, column: &Column) -> Verdict {
        let uses = self.uses(SIDE, table, column);
        let own = self.usage.of_own(SIDE, table).into_iter();
        let named = |name: &str| uses.iter().any(|it| it.entity.name == name);
        let key = self.source.table(table).map(|it| &it.primary_key);
        let is_key = key.is_some_and(|key| key.contains(&column.name));
        let unread = own.filter(|it| !(named(&it.name) || is_key && it.key.is_none()));
        let unread = names(unread);
        let Some(first) = unread.first() else {
            return Verdict::harmless("");
        };
        let name = printable(&column.name);
        Verdict::loss(format!(
            "neither mapped nor ignored by {}",
            unread.join(", ")
        ))
        .fix(format!(
            "add `{name} = {{}}` to [entities.{first}.columns], or \"{name}\" to its `ignore`"
        ))
    }

    fn dropped(&self, table: &QualifiedName, column: &Column) -> Verdict {
        let uses = self.uses(SIDE, table, column);
        if uses.is_empty() {
            return Verdict::harmless("no rule names it");
        }
        let fix = match uses.iter().all(|it| matches!(it.place, Place::Ignore)) {
            true => "take it out of `ignore`",
            false => "take its rules out, or give them another source",
        };
        Verdict::breaking(format!("named by {}", places(&uses))).fix(fix)
    }

    fn renamed(&self, table: &QualifiedName, from: &Column, to: &Column) -> Verdict {
        let uses = self.uses(SIDE, table, from);
        if !uses.is_empty() {
            return Verdict::breaking(format!("named by {}", places(&uses)))
                .fix(format!("write {} in its place", printable(&to.name)));
        }
        self.unread(table, to)
    }

    fn retyped(&self, table: &QualifiedName, from: &Column, to: &Column) -> Verdict {
        let uses = self.uses(SIDE, table, to);
        if self.is_refused(&uses) {
            return Verdict::breaking(format!("{} cannot convert it", places(&uses)))
                .fix("write another rule, or give the target column another type");
        }
        let narrower: Vec<_> = uses
            .iter()
            .copied()
            .filter(|it| {
                let Place::Rule(rule) = it.place else {
                    return false;
                };
                let Some(target) = self.target_column(it.entity, rule) else {
                    return false;
                };
                // References travel as keys, whose type is checked.
                let is_value = !matches!(rule.rule, Rule::Reference { .. } | Rule::Poly { .. });
                let (before, now) = (ends(from, target), ends(to, target));
                is_value && is_narrower(rule, &before, &now)
            })
            .collect();
        if narrower.is_empty() {
            return Verdict::harmless("every value still fits");
        }
        Verdict::loss(format!(
            "values that do not fit are set aside by {}",
            places(&narrower)
        ))
        .fix("give the target column the type of the source")
    }

    fn nulls(&self, table: &QualifiedName, column: &Column) -> Verdict {
        if column.not_null {
            return Verdict::harmless("");
        }
        let uses = self.uses(SIDE, table, column).into_iter();
        let required = uses.filter(|it| match it.place {
            Place::Rule(rule) => {
                let target = self.target_column(it.entity, rule);
                rule.default.is_none() && target.is_some_and(|it| it.not_null)
            }
            _ => false,
        });
        let required: Vec<_> = required.collect();
        match required.is_empty() {
            true => Verdict::harmless(""),
            false => Verdict::loss(format!(
                "rows with NULL are set aside by {}",
                places(&required)
            ))
            .fix("add `default` to the rule, or let the target column be NULL"),
        }
    }

    fn rekeyed(&self, table: &QualifiedName, from: &[String]) -> Verdict {
        let own = self.usage.of_own(SIDE, table).into_iter();
        let moved = names(own.filter(|it| it.key.is_none()));
        if moved.is_empty() {
            return Verdict::harmless("every entity names its own key");
        }
        let quoted: Vec<String> = from
            .iter()
            .map(|name| format!("\"{}\"", printable(name)))
            .collect();
        Verdict::breaking(format!(
            "the ledger of {} has the old key",
            moved.join(", ")
        ))
        .fix(format!(
            "add `key = [{}]` to its section, as long as that is unique",
            quoted.join(", ")
        ))
    }

    /// A key that the mapping names is unique only as long as something says so.
    fn unguarded(&self, table: &QualifiedName, constraint: &Constraint) -> Verdict {
        let own = self.usage.of_own(SIDE, table).into_iter();
        let keyed = names(own.filter(|it| it.key.as_ref() == Some(&constraint.columns)));
        match keyed.is_empty() {
            true => Verdict::harmless(""),
            false => Verdict::loss(format!(
                "the key of {} may not be unique any more, and a key twice stops the command",
                keyed.join(", ")
            )),
        }
    }
}

fn ends<'a>(from: &'a Column, to: &'a Column) -> Ends<'a> {
    Ends {
        from: Some(&from.column_type),
        to: &to.column_type,
    }
}
