//! What every row of an entity must keep, bound to its columns.

use super::column::{ResolvedColumn, ResolvedValue};
use super::entity::Work;
use super::scope::Scope;
use crate::domain::catalog::Table;
use crate::domain::expression::Expression;
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::mapping::{Demand, Format, Literal, Validation};

/// A demand that the source checks for every row.
#[derive(Debug, Clone)]
pub enum ResolvedValidation {
    /// The value of a target column has a format.
    Format(String, Format),
    /// The value of a target column lies between two bounds.
    Range(String, Option<Literal>, Option<Literal>),
    /// A condition over the source row is true.
    Condition(Expression),
}

impl ResolvedValidation {
    /// Names the target column, if it is about one.
    pub fn column(&self) -> Option<&str> {
        match self {
            ResolvedValidation::Format(column, _) | ResolvedValidation::Range(column, ..) => {
                Some(column)
            }
            ResolvedValidation::Condition(_) => None,
        }
    }
}

/// Binds the validations; a required value is one that its column may not leave out.
pub(super) fn resolve(
    work: &mut Work<'_>,
    target: &Table,
    scope: &Scope,
    columns: &mut [ResolvedColumn],
) -> Vec<ResolvedValidation> {
    let mut resolved = Vec::new();
    for validation in &work.entity.validations {
        if let Demand::Condition(condition) = &validation.demand {
            for name in condition.columns() {
                if let Err((message, hint)) = scope.find(name.table.as_deref(), &name.column) {
                    work.report(validation.spot, "validate", message, hint);
                }
            }
            resolved.push(ResolvedValidation::Condition(condition.clone()));
            continue;
        }
        resolved.extend(of_column(work, target, validation, columns));
    }
    resolved
}

fn of_column(
    work: &mut Work<'_>,
    target: &Table,
    validation: &Validation,
    columns: &mut [ResolvedColumn],
) -> Option<ResolvedValidation> {
    let name = validation.column.clone()?;
    let spot = validation.spot;
    if !work.entity.columns.iter().any(|rule| rule.target == name) {
        let names = work.entity.columns.iter().map(|rule| rule.target.as_str());
        let hint = did_you_mean(&name, names);
        let message = format!("no rule fills `{name}`");
        work.report(spot, "validate", message, hint);
        return None;
    }
    // A rule with a problem of its own was reported and left out.
    let column = columns.iter_mut().find(|column| column.name == name)?;
    let is_plain = matches!(column.value, ResolvedValue::Scalar);
    match &validation.demand {
        Demand::Required => column.not_null = true,
        Demand::Unique if !target.is_unique(&name) => {
            let message = format!("no unique index of {} makes `{name}` unique", target.name);
            let hint = Some("create one: the target then sends duplicates to quarantine".into());
            work.report(spot, "validate", message, hint);
        }
        Demand::Unique | Demand::Condition(_) => {}
        Demand::Format(_) | Demand::Range(..) if !is_plain => {
            let message = format!("`{name}` is a reference or JSON, which has no format or range");
            work.report(spot, "validate", message, None);
        }
        Demand::Format(format) => {
            return Some(ResolvedValidation::Format(name, format.clone()));
        }
        Demand::Range(low, high) => {
            return Some(ResolvedValidation::Range(name, low.clone(), high.clone()));
        }
    }
    None
}
