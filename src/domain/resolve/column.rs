//! One target column, bound to its source and checked.

use super::conversion::{Conversion, Transport, check_of_computed, convert};
use super::scope::{Scope, ScopeFault};
use crate::domain::catalog::Column;
use crate::domain::expression::Expression;
use crate::domain::key::KeyType;
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::mapping::{
    ColumnRef, ColumnRule, Fallback, JsonFallback, Literal, MappingIssue, Missing, PolyTarget,
    Rule, TemplatePart,
};
use std::collections::BTreeMap;

/// How the value is made, after every name was checked.
#[derive(Debug, Clone)]
pub enum ResolvedValue {
    /// One SQL value of the source row.
    Scalar,
    /// JSON text, parsed in diffmig.
    Json {
        /// The text.
        column: ColumnRef,
        /// What malformed text becomes.
        on_error: JsonFallback,
        /// Whether `''` is NULL.
        empty_is_null: bool,
    },
    /// The key of a parent, translated in the target.
    Reference {
        /// The parent entity.
        entity: String,
        /// The parent's key.
        by: ColumnRef,
        /// When it is not there.
        missing: Missing,
    },
    /// The key of one of several parents.
    Poly {
        /// The type column.
        type_column: ColumnRef,
        /// The key column.
        id_column: ColumnRef,
        /// The parents.
        targets: Vec<PolyTarget>,
        /// When it is not there.
        missing: Missing,
    },
}

/// A target column with everything SQL generation needs.
#[derive(Debug, Clone)]
pub struct ResolvedColumn {
    /// The target column.
    pub name: String,
    /// The rule as written.
    pub rule: ColumnRule,
    /// How the value is made.
    pub value: ResolvedValue,
    /// What is sent.
    pub transport: Transport,
    /// What is checked or changed on the way.
    pub conversion: Conversion,
    /// The time zone of naive timestamps in computed values.
    pub time_zone: Option<String>,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// The key type when it is a reference.
    pub key_type: KeyType,
}

impl ResolvedColumn {
    /// Returns the parents this column refers to.
    pub fn parents(&self) -> Vec<&str> {
        match &self.value {
            ResolvedValue::Reference { entity, .. } => vec![entity],
            ResolvedValue::Poly { targets, .. } => targets
                .iter()
                .map(|target| target.entity.as_str())
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Returns what happens when the parent is not there; `None` unless it is a reference.
    pub fn missing(&self) -> Option<Missing> {
        match &self.value {
            ResolvedValue::Reference { missing, .. } | ResolvedValue::Poly { missing, .. } => {
                Some(*missing)
            }
            _ => None,
        }
    }
}

/// What the checks of one entity's columns share.
pub(super) struct Checker<'a> {
    pub scope: &'a Scope,
    pub time_zone: Option<&'a str>,
    pub keys: &'a BTreeMap<String, Vec<KeyType>>,
    pub path: String,
    pub issues: &'a mut Vec<MappingIssue>,
}

impl Checker<'_> {
    fn report(&mut self, rule: &ColumnRule, message: String, hint: Option<String>) {
        self.issues.push(MappingIssue {
            spot: rule.spot,
            path: format!("{}.columns.{}", self.path, rule.target),
            message,
            hint,
        });
    }

    fn report_fault(&mut self, rule: &ColumnRule, (message, hint): ScopeFault) {
        self.report(rule, message, hint);
    }

    fn check_column(&mut self, rule: &ColumnRule, column: &ColumnRef) -> Option<Column> {
        match self.scope.column(column) {
            Ok((_, found)) => Some(found.clone()),
            Err(fault) => {
                self.report_fault(rule, fault);
                None
            }
        }
    }

    fn check_expression(&mut self, rule: &ColumnRule, expression: &Expression) {
        for name in expression.columns() {
            if let Err(fault) = self.scope.find(name.table.as_deref(), &name.column) {
                self.report_fault(rule, fault);
            }
        }
    }

    fn key_of(&mut self, rule: &ColumnRule, entity: &str) -> Option<KeyType> {
        let Some(types) = self.keys.get(entity) else {
            let hint = did_you_mean(entity, self.keys.keys().map(String::as_str));
            self.report(rule, format!("no entity `{entity}` in this mapping"), hint);
            return None;
        };
        if let [single] = types.as_slice() {
            return Some(*single);
        }
        if !types.is_empty() {
            let message = format!("`{entity}` has a composite key, which a reference cannot name");
            self.report(rule, message, None);
        }
        None
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
}

fn check_constant(checker: &mut Checker<'_>, rule: &ColumnRule, column: &Column, value: &Literal) {
    let (Some(labels), Literal::Text(text)) = (&column.column_type.enum_labels, value) else {
        return;
    };
    if !labels.contains(text) {
        let hint = did_you_mean(text, labels.iter().map(String::as_str))
            .or_else(|| Some(format!("labels: {}", labels.join(", "))));
        let message = format!("`{text}` is not a label of {}", column.column_type.display);
        checker.report(rule, message, hint);
    }
}

fn check_fallback(checker: &mut Checker<'_>, rule: &ColumnRule, column: &Column, it: &Fallback) {
    if let Fallback::Value(value) = it {
        check_constant(checker, rule, column, value);
    }
}

/// Checks the rule of a target column.
pub(super) fn resolve(
    checker: &mut Checker<'_>,
    rule: &ColumnRule,
    column: &Column,
) -> Option<ResolvedColumn> {
    let before = checker.issues.len();
    let zone = rule.time_zone.as_deref().or(checker.time_zone);
    let zone = zone.map(str::to_owned);
    if let Some(value) = &rule.default {
        check_constant(checker, rule, column, value);
    }
    if let Some((codes, unknown)) = &rule.codes {
        for (_, label) in &codes.pairs {
            check_constant(checker, rule, column, &Literal::Text(label.clone()));
        }
        check_fallback(checker, rule, column, unknown);
    }
    let computed = check_of_computed(&column.column_type);
    let (value, conversion, key_type) = match &rule.rule {
        Rule::Reference { .. } | Rule::Poly { .. } => {
            let (value, key_type) = check_reference(checker, rule, column)?;
            (value, computed, key_type)
        }
        Rule::JsonParse { .. } => {
            let value = check_json(checker, rule, column)?;
            (value, computed, KeyType::Integer)
        }
        _ => {
            let conversion = check_scalar(checker, rule, column, zone.as_deref(), computed);
            (
                scalar_value(rule, &conversion),
                conversion,
                KeyType::Integer,
            )
        }
    };
    (checker.issues.len() == before).then(|| ResolvedColumn {
        name: column.name.clone(),
        rule: rule.clone(),
        value,
        transport: Transport::of(&column.column_type),
        conversion,
        time_zone: zone,
        not_null: column.not_null,
        key_type,
    })
}

/// A json column becomes jsonb the way JSON text does: parsed in diffmig.
fn scalar_value(rule: &ColumnRule, conversion: &Conversion) -> ResolvedValue {
    match (&rule.rule, conversion) {
        (Rule::Column(text), Conversion::JsonText) => ResolvedValue::Json {
            column: text.clone(),
            on_error: JsonFallback::Error,
            empty_is_null: false,
        },
        _ => ResolvedValue::Scalar,
    }
}

fn check_reference(
    checker: &mut Checker<'_>,
    rule: &ColumnRule,
    column: &Column,
) -> Option<(ResolvedValue, KeyType)> {
    let mut key_type = KeyType::Integer;
    let value = match &rule.rule {
        Rule::Reference {
            entity,
            by,
            missing,
        } => {
            key_type = checker.key_of(rule, entity)?;
            checker.check_key_column(rule, by, key_type);
            ResolvedValue::Reference {
                entity: entity.clone(),
                by: by.clone(),
                missing: *missing,
            }
        }
        Rule::Poly {
            type_column,
            id_column,
            targets,
            missing,
        } => {
            for target in targets {
                key_type = checker.key_of(rule, &target.entity)?;
                checker.check_key_column(rule, id_column, key_type);
            }
            checker.check_column(rule, type_column);
            ResolvedValue::Poly {
                type_column: type_column.clone(),
                id_column: id_column.clone(),
                targets: targets.clone(),
                missing: *missing,
            }
        }
        _ => return None,
    };
    let (ResolvedValue::Reference { missing, .. } | ResolvedValue::Poly { missing, .. }) = &value
    else {
        return None;
    };
    if *missing == Missing::Null && column.not_null {
        let message = format!("`missing = \"null\"`, but `{}` is NOT NULL", column.name);
        checker.report(rule, message, Some("use \"hold\" or \"quarantine\"".into()));
    }
    Some((value, key_type))
}

fn check_json(
    checker: &mut Checker<'_>,
    rule: &ColumnRule,
    column: &Column,
) -> Option<ResolvedValue> {
    let Rule::JsonParse {
        column: text,
        on_error,
        empty_is_null,
    } = &rule.rule
    else {
        return None;
    };
    checker.check_column(rule, text);
    if column.column_type.base != "jsonb" {
        let found = &column.column_type.display;
        checker.report(rule, format!("json_parse fills jsonb, not {found}"), None);
    }
    // The fault field precedes the columns that the target owns, so they cannot report one.
    if rule.target_owned && *on_error == JsonFallback::Error {
        let message = "a column owned by the target cannot quarantine a row";
        checker.report(
            rule,
            message.into(),
            Some("set on_error to \"null\" or { wrap = \"raw\" }".into()),
        );
    }
    Some(ResolvedValue::Json {
        column: text.clone(),
        on_error: on_error.clone(),
        empty_is_null: *empty_is_null,
    })
}

fn check_scalar(
    checker: &mut Checker<'_>,
    rule: &ColumnRule,
    column: &Column,
    zone: Option<&str>,
    computed: Conversion,
) -> Conversion {
    match &rule.rule {
        Rule::Column(source) => {
            let Some(found) = checker.check_column(rule, source) else {
                return computed;
            };
            // Codes and normalisation give text, whatever the source column was.
            if rule.codes.is_some() || !rule.normalize.is_empty() {
                return computed;
            }
            match convert(&found.column_type, &column.column_type, zone) {
                Ok(conversion) => return conversion,
                Err((message, advice)) => checker.report(rule, message, Some(advice)),
            }
        }
        Rule::Const(value) => check_constant(checker, rule, column, value),
        Rule::Expr(expression) => {
            checker.check_expression(rule, expression);
            // Whether an expression is naive is not known here, and UTC would be a silent guess.
            if column.column_type.base == "timestamptz" {
                match &rule.time_zone {
                    Some(zone) => return Conversion::AtTimeZone(zone.clone()),
                    None => {
                        let message = "an expression for timestamptz needs `time_zone`";
                        let hint = "\"UTC\" if it gives timestamptz already, else what a naive result means";
                        checker.report(rule, message.into(), Some(hint.into()));
                    }
                }
            }
        }
        Rule::Case { arms, otherwise } => {
            for arm in arms {
                checker.check_expression(rule, &arm.when);
                check_constant(checker, rule, column, &arm.then);
            }
            check_fallback(checker, rule, column, otherwise);
        }
        Rule::Template { parts, .. } => {
            for part in parts {
                if let TemplatePart::Hole(source, _) = part {
                    checker.check_column(rule, source);
                }
            }
        }
        _ => {}
    }
    computed
}
