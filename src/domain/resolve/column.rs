//! One target column, bound to its source and checked.

use super::conversion::{
    Conversion, Terms, Transport, check_of_computed, convert, convert_number, convert_text,
};
use super::extract::{Extract, check_extract};
use super::reference::{check_poly, check_reference};
use super::scope::{Scope, ScopeFault};
use super::via::{ResolvedHop, Routes};
use crate::domain::catalog::{Column, ColumnType};
use crate::domain::expression::Expression;
use crate::domain::key::KeyType;
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::mapping::{
    ColumnRef, ColumnRule, Fallback, JsonFallback, JsonMember, Literal, MappingIssue, Missing,
    PolyTarget, Rule, TemplatePart,
};
use std::collections::{BTreeMap, BTreeSet};

/// How the value is made, after every name was checked.
#[derive(Debug, Clone)]
pub enum ResolvedValue {
    /// One SQL value of the source row.
    Scalar,
    /// JSON text, parsed in diffmig.
    Json {
        /// The text.
        column: ColumnRef,
        /// What is taken out of the document; `None` takes it whole.
        extract: Option<Extract>,
        /// What malformed text becomes.
        on_error: JsonFallback,
        /// Whether `''` is NULL.
        empty_is_null: bool,
    },
    /// The key of a parent, translated in the target.
    Reference {
        /// The parent entity.
        entity: String,
        /// The parent's key, in its order.
        by: Vec<ColumnRef>,
        /// The source rows on the way to it.
        hops: Vec<ResolvedHop>,
        /// What holds the key when the parent is in no group, for parents that are one with others.
        ungrouped: Option<ColumnRef>,
        /// When it is not there.
        missing: Missing,
        /// The key of the parent to fall back on, as texts; empty without one.
        fallback: Vec<String>,
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
    /// The types of the parent's key when it is a reference; otherwise none.
    pub key_types: Vec<KeyType>,
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

    /// Returns the key of the parent to fall back on, as texts; empty without one.
    pub fn fallback(&self) -> &[String] {
        match &self.value {
            ResolvedValue::Reference { fallback, .. } => fallback,
            _ => &[],
        }
    }

    /// Tells whether it is a reference whose entity depends on the row, and so has a field more.
    pub fn is_generic(&self) -> bool {
        matches!(self.value, ResolvedValue::Poly { .. })
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
    pub routes: &'a Routes,
    pub time_zone: Option<&'a str>,
    pub keys: &'a BTreeMap<String, Vec<KeyType>>,
    /// Entities whose rows may be one with others.
    pub grouped: BTreeSet<&'a str>,
    /// The entity whose columns they are.
    pub entity: &'a str,
    pub path: String,
    pub issues: &'a mut Vec<MappingIssue>,
}

impl Checker<'_> {
    pub(super) fn report(&mut self, rule: &ColumnRule, message: String, hint: Option<String>) {
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

    pub(super) fn check_column(&mut self, rule: &ColumnRule, column: &ColumnRef) -> Option<Column> {
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

    fn is_text(&self, column: &ColumnRef) -> bool {
        let found = self.scope.column(column);
        found.is_ok_and(|(_, it)| {
            matches!(it.column_type.base.as_str(), "text" | "varchar" | "bpchar")
        })
    }
}

const CLOCK_WORDS: &[&str] = &["now", "today", "tomorrow", "yesterday"];
const TIME_TYPES: &[&str] = &["date", "time", "timetz", "timestamp", "timestamptz"];

fn check_constant(checker: &mut Checker<'_>, rule: &ColumnRule, column: &Column, value: &Literal) {
    if let Literal::Text(text) = value
        && TIME_TYPES.contains(&column.column_type.base.as_str())
        && CLOCK_WORDS.contains(&text.trim().to_ascii_lowercase().as_str())
    {
        let message = format!("`{}` is another time in every run", text.trim());
        checker.report(rule, message, Some("write the moment itself".into()));
    }
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
    let (value, conversion, key_types) = match &rule.rule {
        Rule::Reference { .. } => {
            let (value, key_types) = check_reference(checker, rule, column)?;
            (value, computed, key_types)
        }
        Rule::Poly { .. } => {
            let (value, key_types) = check_poly(checker, rule, column)?;
            (value, computed, key_types)
        }
        Rule::JsonParse { .. } => {
            let value = check_json(checker, rule, column)?;
            (value, computed, Vec::new())
        }
        Rule::JsonPath { column: text, .. } if checker.is_text(text) => {
            let value = check_extract(checker, rule, column)?;
            (value, computed, Vec::new())
        }
        _ => {
            let conversion = check_scalar(checker, rule, column, zone.as_deref(), computed);
            (scalar_value(rule, &conversion), conversion, Vec::new())
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
        key_types,
    })
}

/// A json column becomes jsonb the way JSON text does: parsed in diffmig.
fn scalar_value(rule: &ColumnRule, conversion: &Conversion) -> ResolvedValue {
    match (&rule.rule, conversion) {
        (Rule::Column(text), Conversion::JsonText) => ResolvedValue::Json {
            column: text.clone(),
            extract: None,
            on_error: JsonFallback::Error,
            empty_is_null: false,
        },
        _ => ResolvedValue::Scalar,
    }
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
    check_owned(checker, rule, on_error);
    Some(ResolvedValue::Json {
        column: text.clone(),
        extract: None,
        on_error: on_error.clone(),
        empty_is_null: *empty_is_null,
    })
}

/// The fault field precedes the columns that the target owns, so they cannot report one.
pub(super) fn check_owned(checker: &mut Checker<'_>, rule: &ColumnRule, on_error: &JsonFallback) {
    if rule.target_owned && *on_error == JsonFallback::Error {
        let message = "a column owned by the target cannot quarantine a row";
        let hint = match rule.rule {
            Rule::JsonParse { .. } => "set on_error to \"null\" or { wrap = \"raw\" }",
            _ => "set on_error to \"null\"",
        };
        checker.report(rule, message.into(), Some(hint.into()));
    }
}

/// What a value is before it is converted to the target's type.
enum Input {
    /// What a source column holds.
    Column(Box<ColumnType>),
    /// Text.
    Text,
    /// `numeric`.
    Number,
    /// Nobody knows before the source says.
    Unknown,
}

/// Follows the modifiers of a rule.
fn modified(checker: &mut Checker<'_>, rule: &ColumnRule, input: Input) -> Input {
    let is_text = rule.codes.is_some() || !rule.normalize.is_empty();
    let input = if is_text { Input::Text } else { input };
    if let (true, Input::Column(found)) = (rule.makes_number(), &input) {
        let (base, display) = (found.base.as_str(), &found.display);
        let fits = matches!(
            base,
            "int2" | "int4" | "int8" | "numeric" | "text" | "varchar" | "bpchar"
        );
        if !fits {
            let message = format!("`scale` and `clamp` need a number, not {display}");
            checker.report(rule, message, Some("round it with `expr`".into()));
        }
    }
    let input = if rule.makes_number() {
        Input::Number
    } else {
        input
    };
    if rule.truncate.is_some() {
        Input::Text
    } else {
        input
    }
}

fn check_scalar(
    checker: &mut Checker<'_>,
    rule: &ColumnRule,
    column: &Column,
    zone: Option<&str>,
    computed: Conversion,
) -> Conversion {
    let target = &column.column_type;
    let Some(input) = input_of(checker, rule, column) else {
        return computed;
    };
    let terms = Terms {
        time_zone: zone,
        allow_loss: rule.allow_loss,
    };
    let found = match modified(checker, rule, input) {
        Input::Column(source) => convert(&source, target, terms),
        Input::Text => convert_text(target, terms),
        Input::Number => convert_number(target, terms),
        // Whether an expression is naive is not known here, and UTC would be a silent guess.
        Input::Unknown if target.base == "timestamptz" && matches!(rule.rule, Rule::Expr(_)) => {
            rule.time_zone
                .clone()
                .map(Conversion::AtTimeZone)
                .ok_or_else(|| {
                    let hint =
                        "\"UTC\" if it gives timestamptz already, else what a naive result means";
                    let message = "an expression for timestamptz needs `time_zone`";
                    (message.to_owned(), hint.to_owned())
                })
        }
        Input::Unknown => Ok(computed.clone()),
    };
    found.unwrap_or_else(|(message, advice)| {
        checker.report(rule, message, Some(advice));
        computed
    })
}

/// Checks the names of a rule and tells what its value is.
fn input_of(checker: &mut Checker<'_>, rule: &ColumnRule, column: &Column) -> Option<Input> {
    Some(match &rule.rule {
        Rule::Column(source) => {
            Input::Column(Box::new(checker.check_column(rule, source)?.column_type))
        }
        Rule::Const(value) => {
            check_constant(checker, rule, column, value);
            Input::Unknown
        }
        Rule::Expr(expression) => {
            checker.check_expression(rule, expression);
            Input::Unknown
        }
        Rule::Case { arms, otherwise } => {
            for arm in arms {
                checker.check_expression(rule, &arm.when);
                check_constant(checker, rule, column, &arm.then);
            }
            check_fallback(checker, rule, column, otherwise);
            Input::Unknown
        }
        Rule::Template { parts, .. } => {
            for part in parts {
                if let TemplatePart::Hole(source, _) = part {
                    checker.check_column(rule, source);
                }
            }
            Input::Text
        }
        Rule::Json { members, .. } => {
            for member in JsonMember::leaves(members) {
                match member {
                    JsonMember::Column(source) => drop(checker.check_column(rule, source)),
                    JsonMember::Expr(expression) => checker.check_expression(rule, expression),
                    JsonMember::Const(_) | JsonMember::Object(_) => {}
                }
            }
            if column.column_type.base != "jsonb" {
                let found = &column.column_type.display;
                checker.report(rule, format!("`json` fills jsonb, not {found}"), None);
            }
            Input::Unknown
        }
        Rule::JsonPath { column: source, .. } => {
            let found = checker.check_column(rule, source)?.column_type;
            if !matches!(found.base.as_str(), "json" | "jsonb") {
                let message = format!("`{}` is {}, not JSON", source.column, found.display);
                checker.report(rule, message, None);
            }
            match column.column_type.base.as_str() {
                "jsonb" => Input::Unknown,
                _ => Input::Text,
            }
        }
        Rule::JsonParse { .. } | Rule::Reference { .. } | Rule::Poly { .. } => return None,
    })
}
