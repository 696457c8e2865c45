//! How much a difference matters to the mapping, why, and what helps.

use super::usage::{Usage, Use};
use super::{Change, Difference, Severity};
use crate::domain::catalog::{Catalog, Column};
use crate::domain::connection::Side;
use crate::domain::identifier::{QualifiedName, printable};
use crate::domain::mapping::uses::Place;
use crate::domain::mapping::{ColumnRule, Entity, MappingIssue, Rule};

mod labels;
mod source;
mod strictness;
mod target;

/// What a judgement rests on.
pub struct Judge<'a> {
    /// The mapping, by what it names.
    pub usage: &'a Usage<'a>,
    /// The source as it is.
    pub source: &'a Catalog,
    /// The target as it is.
    pub target: &'a Catalog,
    /// What does not fit any more.
    pub issues: &'a [MappingIssue],
    /// Entities whose projection the source refuses.
    pub refused: &'a [String],
}

/// A judgement: how much it matters, why, and what helps.
pub(super) struct Verdict {
    severity: Severity,
    reason: String,
    fix: Option<String>,
}

impl Verdict {
    fn harmless(reason: impl Into<String>) -> Verdict {
        Verdict {
            severity: Severity::Harmless,
            reason: reason.into(),
            fix: None,
        }
    }

    fn loss(reason: impl Into<String>) -> Verdict {
        Verdict {
            severity: Severity::Loss,
            ..Verdict::harmless(reason)
        }
    }

    fn breaking(reason: impl Into<String>) -> Verdict {
        Verdict {
            severity: Severity::Breaking,
            ..Verdict::harmless(reason)
        }
    }

    fn fix(mut self, fix: impl Into<String>) -> Verdict {
        self.fix = Some(fix.into());
        self
    }
}

/// Judges differences, the gravest first.
pub fn judge(judge: &Judge<'_>, differences: Vec<Difference>) -> Vec<Change> {
    let mut changes: Vec<Change> = differences.into_iter().map(|it| judge.of(it)).collect();
    changes.sort_by_key(|it| std::cmp::Reverse(it.severity));
    changes
}

/// Lists places as `clients.columns.phone, tickets.where`.
fn places(uses: &[Use<'_>]) -> String {
    let named = uses
        .iter()
        .map(|it| format!("{}.{}", it.entity.name, it.place.path()));
    let mut named: Vec<String> = named.collect();
    named.dedup();
    printable(&named.join(", "))
}

fn names<'e>(entities: impl Iterator<Item = &'e Entity>) -> Vec<String> {
    let mut names: Vec<String> = entities.map(|it| it.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

impl Judge<'_> {
    fn of(&self, difference: Difference) -> Change {
        let verdict = match difference.side {
            Side::Source => self.of_source(&difference.table, &difference.what),
            Side::Target => self.of_target(&difference.table, &difference.what),
        };
        let uses = difference.what.name().map(|name| {
            self.usage
                .of_column(difference.side, &difference.table, name)
        });
        let mut entities = names(uses.iter().flatten().map(|it| it.entity));
        if entities.is_empty() {
            let of_table = self.usage.of_table(difference.side, &difference.table);
            entities = names(of_table.into_iter());
        }
        Change {
            difference,
            severity: verdict.severity,
            entities,
            reason: verdict.reason,
            fix: verdict.fix,
        }
    }

    fn uses(&self, side: Side, table: &QualifiedName, column: &Column) -> Vec<Use<'_>> {
        self.usage.of_column(side, table, &column.name)
    }

    /// A table is gone, or called something else.
    fn of_table(&self, side: Side, table: &QualifiedName, to: Option<&QualifiedName>) -> Verdict {
        let entities = names(self.usage.of_table(side, table).into_iter());
        if entities.is_empty() {
            return Verdict::harmless("no entity names it");
        }
        let reason = format!("{} of {}", side.word(), entities.join(", "));
        match to {
            Some(to) => Verdict::breaking(reason).fix(format!("write {to} in its place")),
            None => Verdict::breaking(reason).fix("take the entity out of the mapping"),
        }
    }

    /// Tells whether the mapping does not fit at a place any more.
    fn has_issue(&self, it: &Use<'_>) -> bool {
        let path = format!("entities.{}.{}", it.entity.name, it.place.path());
        self.issues.iter().any(|issue| issue.path == path)
    }

    /// Tells whether the mapping does not fit at one of the places any more.
    fn is_refused(&self, uses: &[Use<'_>]) -> bool {
        let computed = |it: &Use<'_>| match it.place {
            Place::Rule(rule) => matches!(rule.rule, Rule::Expr(_) | Rule::Case { .. }),
            Place::Filter | Place::Join => true,
            _ => false,
        };
        uses.iter()
            .any(|it| self.has_issue(it) || computed(it) && self.refused.contains(&it.entity.name))
    }

    fn target_column(&self, entity: &Entity, rule: &ColumnRule) -> Option<&Column> {
        let table = self.target.table(&self.usage.target(entity))?;
        table.column(&rule.target)
    }
}
