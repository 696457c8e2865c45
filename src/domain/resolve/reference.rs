//! References to parents: their keys, the way there, and what stands in for a parent that is not there.

use super::column::{Checker, ResolvedValue};
use crate::domain::catalog::Column;
use crate::domain::key::KeyType;
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::mapping::{ColumnRef, ColumnRule, Literal, Missing, Rule};
use chrono::NaiveDate;
use std::slice;
use uuid::Uuid;

impl Checker<'_> {
    /// Returns the types of an entity's key; `None`, and a report, for a name that is none.
    fn key_of(&mut self, rule: &ColumnRule, entity: &str) -> Option<Vec<KeyType>> {
        let Some(types) = self.keys.get(entity) else {
            let hint = did_you_mean(entity, self.keys.keys().map(String::as_str));
            self.report(rule, format!("no entity `{entity}` in this mapping"), hint);
            return None;
        };
        // A key that could not be found out was reported with its entity.
        (!types.is_empty()).then(|| types.clone())
    }

    fn check_key_column(&mut self, rule: &ColumnRule, by: &ColumnRef, wanted: KeyType) {
        if let Some(column) = self.check_column(rule, by) {
            let found = KeyType::from_base_type(&column.column_type.base);
            if found != Some(wanted) {
                let message = format!(
                    "`{}` is {}, but the parent's key is {}",
                    by.column,
                    column.column_type.display,
                    wanted.sql_type()
                );
                self.report(rule, message, None);
            }
        }
    }

    /// Checks that as many values are given as the parent's key has columns.
    fn check_count(
        &mut self,
        rule: &ColumnRule,
        what: &str,
        given: usize,
        types: &[KeyType],
    ) -> bool {
        if given != types.len() {
            let parts: Vec<&str> = types.iter().map(|it| it.sql_type()).collect();
            let message = format!(
                "{what} has {given} parts, but the parent's key has {}: {}",
                types.len(),
                parts.join(", ")
            );
            let hint = "name them in the order of the parent's key";
            self.report(rule, message, Some(hint.into()));
        }
        given == types.len()
    }
}

/// Checks a reference to an entity; returns it with the types of the parent's key.
pub(super) fn check_reference(
    checker: &mut Checker<'_>,
    rule: &ColumnRule,
    column: &Column,
) -> Option<(ResolvedValue, Vec<KeyType>)> {
    let Rule::Reference {
        entity,
        by,
        via,
        missing,
        fallback,
    } = &rule.rule
    else {
        return None;
    };
    let types = checker.key_of(rule, entity)?;
    let route = checker.routes.get(&rule.target);
    if let (true, [_, _, ..]) = (!via.is_empty(), by.as_slice()) {
        let message = "a way through other rows begins with one column".to_owned();
        checker.report(rule, message, Some("name one column in `by`".into()));
        return None;
    }
    if route.is_none() && !via.is_empty() {
        // What is wrong with the way was reported when its joins were made.
        return None;
    }
    let by = route.map_or(by.as_slice(), |route| slice::from_ref(&route.by));
    let hops = route.map_or_else(Vec::new, |route| route.hops.clone());
    let ungrouped = route.and_then(|route| route.ungrouped.clone());
    let by = by.to_vec();
    if checker.check_count(rule, "`by`", by.len(), &types) {
        for (by, wanted) in by.iter().zip(&types) {
            checker.check_key_column(rule, by, *wanted);
        }
    }
    if types.len() > 1 {
        check_composite(checker, rule, entity);
    }
    check_null(checker, rule, column, *missing);
    let fallback = check_stand_in(checker, rule, entity, fallback, &types);
    let value = ResolvedValue::Reference {
        entity: entity.clone(),
        by,
        hops,
        ungrouped,
        missing: *missing,
        fallback,
    };
    Some((value, types))
}

/// What a key of several columns cannot do.
fn check_composite(checker: &mut Checker<'_>, rule: &ColumnRule, entity: &str) {
    if checker.grouped.contains(entity) {
        let message = format!("`{entity}` has `dedupe` and a key of several columns");
        checker.report(rule, message, None);
    }
    if checker.entity == entity {
        let message = "rows cannot refer to rows of their own entity by a key of several columns";
        let hint = "give the entity a key of one column, from a source query for instance";
        checker.report(rule, message.into(), Some(hint.into()));
    }
}

fn check_null(checker: &mut Checker<'_>, rule: &ColumnRule, column: &Column, missing: Missing) {
    if missing == Missing::Null && column.not_null {
        let message = format!("`missing = \"null\"`, but `{}` is NOT NULL", column.name);
        checker.report(rule, message, Some("use \"hold\" or \"quarantine\"".into()));
    }
}

/// Checks the key of the parent to fall back on and returns it as texts.
fn check_stand_in(
    checker: &mut Checker<'_>,
    rule: &ColumnRule,
    entity: &str,
    fallback: &[Literal],
    types: &[KeyType],
) -> Vec<String> {
    if fallback.is_empty() || !checker.check_count(rule, "`missing`", fallback.len(), types) {
        return Vec::new();
    }
    if checker.entity == entity {
        let message = "rows cannot fall back on a row of their own entity";
        checker.report(rule, message.into(), None);
    }
    let mut key = Vec::new();
    for (part, wanted) in fallback.iter().zip(types) {
        let text = match part {
            Literal::Text(text) | Literal::Number(text) => text.clone(),
            Literal::Bool(flag) => flag.to_string(),
        };
        match key_text(part, &text, *wanted) {
            Some(text) => key.push(text),
            None => {
                let message = format!("the key to fall back on is no {}", wanted.sql_type());
                checker.report(rule, message, None);
            }
        }
    }
    key
}

/// Writes a part of a key the way the database reads it.
fn key_text(part: &Literal, text: &str, wanted: KeyType) -> Option<String> {
    match (wanted, part) {
        (KeyType::Integer, Literal::Number(_)) => text.parse().ok().map(|it: i64| it.to_string()),
        (KeyType::Text, Literal::Text(_)) => (!text.contains('\0')).then(|| text.to_owned()),
        (KeyType::Uuid, Literal::Text(_)) => Uuid::parse_str(text).ok().map(|it| it.to_string()),
        (KeyType::Date, Literal::Text(_)) => {
            let date = NaiveDate::parse_from_str(text, "%F").ok();
            date.map(|it| it.format("%F").to_string())
        }
        _ => None,
    }
}

/// Checks a reference whose entity depends on the row; returns it with the type of the parents' keys.
pub(super) fn check_poly(
    checker: &mut Checker<'_>,
    rule: &ColumnRule,
    column: &Column,
) -> Option<(ResolvedValue, Vec<KeyType>)> {
    let Rule::Poly {
        type_column,
        id_column,
        targets,
        missing,
    } = &rule.rule
    else {
        return None;
    };
    let mut types = Vec::new();
    for target in targets {
        if checker.grouped.contains(target.entity.as_str()) {
            let message = format!(
                "`{}` has `dedupe`, which a generic reference cannot follow",
                target.entity
            );
            let hint = "refer to it by `ref`, or find the group in a source query";
            checker.report(rule, message, Some(hint.into()));
        }
        types = checker.key_of(rule, &target.entity)?;
        let [single] = types.as_slice() else {
            let message = format!(
                "`{}` has a key of {} columns, which a generic reference cannot name",
                target.entity,
                types.len()
            );
            checker.report(rule, message, None);
            return None;
        };
        checker.check_key_column(rule, id_column, *single);
    }
    checker.check_column(rule, type_column);
    check_null(checker, rule, column, *missing);
    let value = ResolvedValue::Poly {
        type_column: type_column.clone(),
        id_column: id_column.clone(),
        targets: targets.clone(),
        missing: *missing,
    };
    Some((value, types))
}
