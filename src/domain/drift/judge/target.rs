//! Differences of the target.

use super::strictness::{Ends, is_narrower};
use super::{Judge, Verdict, names, places};
use crate::domain::catalog::{Column, ColumnType, Constraint, ForeignKey};
use crate::domain::connection::Side;
use crate::domain::drift::What;
use crate::domain::drift::compare::deeds;
use crate::domain::drift::usage::Use;
use crate::domain::identifier::{QualifiedName, printable, quote_identifier, quote_literal};
use crate::domain::mapping::uses::Place;
use crate::domain::mapping::{Literal, Rule};

const SIDE: Side = Side::Target;

impl Judge<'_> {
    pub(super) fn of_target(&self, table: &QualifiedName, what: &What) -> Verdict {
        match what {
            What::TableAdded => Verdict::harmless("no entity writes it"),
            What::TableDropped => self.of_table(SIDE, table, None),
            What::TableRenamed(to) => self.of_table(SIDE, table, Some(to)),
            What::ColumnAdded(column) => self.unfilled(table, column, "no rule fills it"),
            What::ColumnDropped(column) => self.lost(table, column),
            What::ColumnRenamed { from, to, .. } => self.retargeted(table, from, to),
            What::ColumnRetyped { from, to } => self.reshaped(table, from, to),
            What::ColumnRecreated(column) => match self.uses(SIDE, table, column).is_empty() {
                true => Verdict::harmless(""),
                false => Verdict::loss("what was written there is gone")
                    .fix("diffmig verify shows the rows; those that change are filled again"),
            },
            What::NullsChanged(column) => self.required(table, column),
            What::DefaultChanged { to, .. } => self.unfilled(table, to, ""),
            What::GeneratedChanged(column) => {
                let uses = self.uses(SIDE, table, column);
                match self.is_refused(&uses) {
                    true => Verdict::breaking(format!("{} writes it", places(&uses)))
                        .fix("take the rule out"),
                    false => self.unfilled(table, column, ""),
                }
            }
            What::KeyChanged { to, .. } => self.unkeyed(table, to),
            What::ConstraintAdded(it) => self.constrained(table, it),
            What::ForeignKeyAdded(it) => self.bound(table, it),
            What::ForeignKeyChanged { from, to } => self.rebound(table, from, to),
            What::LabelRemoved(column, label) => {
                let display = printable(&column.column_type.display);
                let fix = format!(
                    "alter type {display} add value {}",
                    printable(&quote_literal(label))
                );
                self.lost_label(table, column, fix)
            }
            What::LabelRenamed { column, to, .. } => self.lost_label(
                table,
                column,
                format!("write {} in its place", printable(to)),
            ),
            What::ConstraintDropped(_) | What::ForeignKeyDropped(_) | What::LabelAdded(..) => {
                Verdict::harmless("")
            }
        }
    }

    fn mapped(&self, table: &QualifiedName, columns: &[String]) -> Vec<Use<'_>> {
        let uses = columns
            .iter()
            .flat_map(|it| self.usage.of_column(SIDE, table, it));
        uses.filter(|it| matches!(it.place, Place::Rule(_)))
            .collect()
    }

    /// A required column that an insert leaves out.
    fn unfilled(&self, table: &QualifiedName, column: &Column, otherwise: &str) -> Verdict {
        let is_filled = column.has_default || column.is_generated || !column.not_null;
        let uses = self.uses(SIDE, table, column);
        let entities = self.usage.of_own(SIDE, table).into_iter();
        let unfilled = entities.filter(|entity| {
            let filled = |it: &Use<'_>| !matches!(it.place, Place::Retire);
            let own = uses.iter().filter(|it| it.entity.name == entity.name);
            !own.into_iter().any(filled)
        });
        let unfilled = names(unfilled);
        if is_filled || unfilled.is_empty() {
            let reason = if uses.is_empty() { otherwise } else { "" };
            return Verdict::harmless(reason);
        }
        let name = printable(&column.name);
        let (table, quoted) = (
            printable(&table.sql()),
            printable(&quote_identifier(&column.name)),
        );
        Verdict::breaking(format!(
            "NOT NULL without a default, and no rule of {} fills it",
            unfilled.join(", ")
        ))
        .fix(format!(
            "add a rule for `{name}`, or: alter table {table} alter column {quoted} drop not null"
        ))
    }

    fn lost(&self, table: &QualifiedName, column: &Column) -> Verdict {
        let uses = self.uses(SIDE, table, column);
        match uses.is_empty() {
            true => Verdict::harmless("no rule names it"),
            false => Verdict::breaking(format!("named by {}", places(&uses)))
                .fix("take its rule out and ignore what it read, or make the column again"),
        }
    }

    fn retargeted(&self, table: &QualifiedName, from: &Column, to: &Column) -> Verdict {
        let uses = self.uses(SIDE, table, from);
        match uses.is_empty() {
            true => self.unfilled(table, to, ""),
            false => Verdict::breaking(format!("named by {}", places(&uses)))
                .fix(format!("write {} in its place", printable(&to.name))),
        }
    }

    fn reshaped(&self, table: &QualifiedName, from: &Column, to: &Column) -> Verdict {
        let uses = self.uses(SIDE, table, to);
        if self.is_refused(&uses) {
            return Verdict::breaking(format!("{} cannot be converted to it", places(&uses)))
                .fix("write another rule, or give the column its old type");
        }
        let narrower = uses.iter().copied().filter(|it| {
            let Place::Rule(rule) = it.place else {
                return false;
            };
            let source = self.source_type(it, rule);
            let before = Ends {
                from: source.as_ref(),
                to: &from.column_type,
            };
            let now = Ends {
                from: source.as_ref(),
                to: &to.column_type,
            };
            is_narrower(rule, &before, &now)
        });
        let narrower: Vec<_> = narrower.collect();
        match narrower.is_empty() {
            true => Verdict::harmless("every value still fits"),
            false => Verdict::loss(format!(
                "values of {} that do not fit are set aside or rounded",
                places(&narrower)
            ))
            .fix("give the column a wider type"),
        }
    }

    fn source_type(
        &self,
        it: &Use<'_>,
        rule: &crate::domain::mapping::ColumnRule,
    ) -> Option<ColumnType> {
        let Rule::Column(column) = &rule.rule else {
            return None;
        };
        let table = self.usage.owner(it.entity, column)?;
        let column = self.source.table(&table)?.column(&column.column)?;
        Some(column.column_type.clone())
    }

    fn required(&self, table: &QualifiedName, column: &Column) -> Verdict {
        if !column.not_null {
            return Verdict::harmless("");
        }
        let uses = self.mapped(table, std::slice::from_ref(&column.name));
        if uses.is_empty() {
            return self.unfilled(table, column, "");
        }
        let gives_null = uses.iter().any(|it| match it.place {
            Place::Rule(rule) => rule.default.is_none() && !is_always_there(&rule.rule),
            _ => false,
        });
        match (self.is_refused(&uses), gives_null) {
            (true, _) => Verdict::breaking(format!("{} may write NULL", places(&uses)))
                .fix("use missing = \"hold\" or \"quarantine\""),
            (false, true) => Verdict::loss(format!(
                "rows without a value for {} are set aside",
                places(&uses)
            ))
            .fix("add `default` to the rule"),
            (false, false) => Verdict::harmless("its rule always gives a value"),
        }
    }

    fn unkeyed(&self, table: &QualifiedName, key: &[String]) -> Verdict {
        let own = self.usage.of_own(SIDE, table).into_iter();
        let unkeyed = names(own.filter(|it| key != [it.id.column.clone()]));
        match unkeyed.is_empty() {
            true => Verdict::harmless(""),
            false => Verdict::loss(format!(
                "the id of {} is not the primary key any more and may come twice",
                unkeyed.join(", ")
            )),
        }
    }

    fn constrained(&self, table: &QualifiedName, it: &Constraint) -> Verdict {
        let mapped = self.mapped(table, &it.columns);
        match mapped.is_empty() && !it.columns.is_empty() {
            true => Verdict::harmless("no rule writes what it checks"),
            false => Verdict::loss("rows that break it are set aside"),
        }
    }

    fn bound(&self, table: &QualifiedName, key: &ForeignKey) -> Verdict {
        let uses = self.mapped(table, &key.columns);
        if uses.is_empty() {
            return Verdict::harmless("no rule writes its columns");
        }
        let mut others = Vec::new();
        for it in &uses {
            let Place::Rule(rule) = it.place else {
                continue;
            };
            let Rule::Reference { entity, .. } = &rule.rule else {
                return Verdict::loss("rows without a parent there are set aside");
            };
            let mut entities = self.usage.mapping().entities.iter();
            let parent = entities.find(|it| it.name == *entity);
            let target = parent.map(|it| self.usage.target(it));
            if target.is_some_and(|it| it != key.referenced) {
                others.push((it, entity));
            }
        }
        let Some((it, parent)) = others.first() else {
            return Verdict::harmless("it is what the mapping refers to");
        };
        Verdict::breaking(format!(
            "{} writes ids of `{parent}`, which are in another table",
            places(&[**it])
        ))
        .fix(format!("refer to the entity that fills {}", key.referenced))
    }

    fn rebound(&self, table: &QualifiedName, from: &ForeignKey, to: &ForeignKey) -> Verdict {
        if from.referenced != to.referenced || from.columns != to.columns {
            return self.bound(table, to);
        }
        match deeds(to).contains("ON DELETE") && !deeds(to).contains("ON DELETE RESTRICT") {
            true => {
                Verdict::harmless("diffmig leaves rows alone whose deletion would touch others")
            }
            false => Verdict::harmless(""),
        }
    }
}

fn is_always_there(rule: &Rule) -> bool {
    matches!(
        rule,
        Rule::Const(Literal::Text(_) | Literal::Number(_) | Literal::Bool(_))
    )
}
