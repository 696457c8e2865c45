//! Labels of enums that came or went.

use super::{Judge, Verdict, places};
use crate::domain::catalog::Column;
use crate::domain::connection::Side;
use crate::domain::identifier::{QualifiedName, printable, quote_literal};
use crate::domain::mapping::uses::Place;
use crate::domain::mapping::{ColumnRule, Entity, Fallback, Rule};

impl Judge<'_> {
    /// A source enum has a new label: does every rule know what to make of it?
    pub(super) fn new_label(&self, table: &QualifiedName, column: &Column, label: &str) -> Verdict {
        let uses = self.uses(Side::Source, table, column);
        let mut unknown = Vec::new();
        let mut fix = None;
        for it in uses {
            let Place::Rule(rule) = it.place else {
                continue;
            };
            if let Some(help) = self.lacks(it.entity, rule, label) {
                fix.get_or_insert(help);
                unknown.push(it);
            }
        }
        match fix {
            None => Verdict::harmless("every rule knows what to make of it"),
            Some(fix) => Verdict::loss(format!(
                "rows with it would be set aside by {}",
                places(&unknown)
            ))
            .fix(fix),
        }
    }

    /// Returns what helps when a rule does not know a label.
    fn lacks(&self, entity: &Entity, rule: &ColumnRule, label: &str) -> Option<String> {
        let shown = printable(label);
        if let Some((codes, unknown)) = &rule.codes {
            let known = codes.pairs.iter().any(|(code, _)| code == label);
            let is_refused = !known && *unknown == Fallback::Error;
            return is_refused.then(|| format!("add \"{shown}\" to the codes of {}", rule.target));
        }
        let target = self.target_column(entity, rule)?;
        let labels = target.column_type.enum_labels.as_ref()?;
        let is_refused = matches!(rule.rule, Rule::Column(_))
            && rule.normalize.is_empty()
            && !labels.iter().any(|it| it == label);
        let display = printable(&target.column_type.display);
        let label = printable(&quote_literal(label));
        is_refused.then(|| format!("alter type {display} add value {label}"))
    }

    /// A target enum has lost a label: does a rule write it?
    pub(super) fn lost_label(
        &self,
        table: &QualifiedName,
        column: &Column,
        fix: String,
    ) -> Verdict {
        let uses = self.uses(Side::Target, table, column);
        if self.is_refused(&uses) {
            return Verdict::breaking(format!("{} writes it", places(&uses))).fix(fix);
        }
        let writes = uses.iter().any(|it| match it.place {
            Place::Rule(rule) => rule.codes.is_none() && !matches!(rule.rule, Rule::Const(_)),
            _ => false,
        });
        match writes {
            true => {
                Verdict::loss(format!("rows of {} with it are set aside", places(&uses))).fix(fix)
            }
            false => Verdict::harmless("no rule writes it"),
        }
    }
}
