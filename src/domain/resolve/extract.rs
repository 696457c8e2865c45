//! One value out of a document that is kept as text.

use super::column::{Checker, ResolvedValue, check_owned};
use super::conversion::{Conversion, Transport, check_of_computed};
use crate::domain::catalog::{Column, ColumnType};
use crate::domain::mapping::{ColumnRule, Rule};

/// One value taken out of a JSON document.
#[derive(Debug, Clone)]
pub struct Extract {
    /// Names of members and positions in arrays, from the outside in.
    pub path: Vec<String>,
    /// The form in which it is sent.
    pub form: ExtractForm,
}

/// The form of an extracted value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtractForm {
    /// JSON.
    Json,
    /// Text: at most so many characters, or one of these labels.
    Text {
        /// The longest text, in characters.
        limit: Option<usize>,
        /// The labels of an enum.
        labels: Option<Vec<String>>,
    },
    /// An integer of so many bytes.
    Integer(u8),
    /// True or false.
    Boolean,
    /// A uuid.
    Uuid,
}

/// Checks a value inside a document that is kept as text, which only diffmig can parse safely.
pub(super) fn check_extract(
    checker: &mut Checker<'_>,
    rule: &ColumnRule,
    column: &Column,
) -> Option<ResolvedValue> {
    let Rule::JsonPath {
        column: text,
        path,
        on_error,
        empty_is_null,
    } = &rule.rule
    else {
        return None;
    };
    checker.check_column(rule, text);
    check_owned(checker, rule, on_error);
    let form = extract_form(&column.column_type);
    let cannot_fail = matches!(
        form,
        Some(
            ExtractForm::Json
                | ExtractForm::Text {
                    limit: None,
                    labels: None
                }
        )
    );
    if rule.target_owned && !cannot_fail {
        let message = "a column owned by the target cannot quarantine a row";
        checker.report(rule, message.into(), Some("fill text or jsonb".into()));
    }
    if let Some(modifier) = rule.first_modifier() {
        let message = format!("`{modifier}` does not work on JSON that is kept as text");
        let hint = "parse the document in a source query, or let the target column be jsonb";
        checker.report(rule, message, Some(hint.into()));
    }
    if form.is_none() {
        let message = format!(
            "`json_path` of a text fills text, enum, integer, boolean, uuid and jsonb, not {}",
            column.column_type.display
        );
        let hint = "take it as text, or cast the document to jsonb in a source query";
        checker.report(rule, message, Some(hint.into()));
    }
    Some(ResolvedValue::Json {
        column: text.clone(),
        extract: Some(Extract {
            path: path.clone(),
            form: form?,
        }),
        on_error: on_error.clone(),
        empty_is_null: *empty_is_null,
    })
}

fn extract_form(target: &ColumnType) -> Option<ExtractForm> {
    let text = |limit: i32, labels: Option<Vec<String>>| ExtractForm::Text {
        limit: usize::try_from(limit).ok(),
        labels,
    };
    match Transport::of(target).base.as_str() {
        "jsonb" => Some(ExtractForm::Json),
        "bool" => Some(ExtractForm::Boolean),
        "uuid" => Some(ExtractForm::Uuid),
        "int2" => Some(ExtractForm::Integer(2)),
        "int4" => Some(ExtractForm::Integer(4)),
        "int8" => Some(ExtractForm::Integer(8)),
        "text" => match check_of_computed(target) {
            Conversion::EnumLabels(labels) => Some(text(-1, Some(labels))),
            Conversion::TextLength(limit) => Some(text(limit, None)),
            _ => Some(text(-1, None)),
        },
        _ => None,
    }
}
