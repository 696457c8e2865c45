//! What changes a value before it is converted: codes, normalisation, numbers, lengths, formats, defaults.

use super::{Value, fallback, literal};
use crate::domain::identifier::quote_literal;
use crate::domain::mapping::{Clamp, Codes, ColumnRule, Fallback, Format, Invalid, Normalize};
use crate::domain::resolve::ResolvedColumn;

/// Digits, perhaps with a point and an exponent, as text that `numeric` takes.
const NUMBER: &str = "^[ \\t\\n\\r\\f\\v]*[-+]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][-+]?[0-9]{1,3})?[ \\t\\n\\r\\f\\v]*$";

/// The condition under which a text can be cast to `numeric`.
pub(super) fn is_number(text: &str) -> String {
    format!("(({text}) ~ '{NUMBER}' and char_length({text}) <= 1000)")
}

fn translate_codes(value: &mut Value, codes: &Codes, unknown: &Fallback) {
    let input = format!("({})::text", value.sql);
    let arms: String = codes
        .pairs
        .iter()
        .map(|(code, label)| {
            format!(
                " when {} then {}",
                quote_literal(code),
                quote_literal(label)
            )
        })
        .collect();
    if *unknown == Fallback::Error {
        let known: Vec<String> = codes
            .pairs
            .iter()
            .map(|(code, _)| quote_literal(code))
            .collect();
        let condition = format!("{input} not in ({})", known.join(", "));
        value.faults.push((condition, "22023|unknown code"));
    }
    // NULL is no code: it stays NULL, whatever unknown codes become.
    value.sql = format!(
        "case when {input} is null then null else case {input}{arms} else {} end end",
        fallback(unknown)
    );
}

fn normalize(sql: &str, steps: &[Normalize]) -> String {
    steps
        .iter()
        .fold(format!("({sql})::text"), |sql, step| match step {
            Normalize::Trim => format!("btrim({sql}, E' \\t\\n\\r\\f\\x0b')"),
            Normalize::Lower => format!("lower({sql})"),
            Normalize::Upper => format!("upper({sql})"),
            Normalize::Digits => format!("regexp_replace({sql}, '[^0-9]', '', 'g')"),
            Normalize::Collapse => format!("regexp_replace({sql}, '\\s+', ' ', 'g')"),
            Normalize::Nfc => format!("normalize({sql}, nfc)"),
            Normalize::EmptyToNull => format!("nullif({sql}, '')"),
        })
}

/// Numbers as text come from codes, normalisation and text columns.
fn number(value: &mut Value, is_text: bool) {
    let input = std::mem::take(&mut value.sql);
    if is_text {
        let is_number = is_number(&input);
        let fault = format!("({input}) is not null and not {is_number}");
        value.faults.push((fault, "22P02|not a number"));
        value.sql = format!("case when {is_number} then ({input})::numeric end");
    } else {
        value.sql = format!("({input})::numeric");
    }
}

fn clamped(sql: &str, clamp: &Clamp) -> String {
    let mut bounded = format!("({sql})");
    if let Some(high) = &clamp.high {
        bounded = format!("least({bounded}, {high})");
    }
    if let Some(low) = &clamp.low {
        bounded = format!("greatest({bounded}, {low})");
    }
    // Both functions skip NULL, which would turn it into a bound.
    format!("case when ({sql}) is not null then {bounded} end")
}

/// The condition under which a text has a format.
pub(super) fn has_format(text: &str, format: &Format) -> String {
    match format {
        Format::Email => format!(
            "(({text}) ~ '^[^@[:space:]]+@[^@[:space:].]+(\\.[^@[:space:].]+)+$' and char_length({text}) <= 254)"
        ),
        Format::Uuid => format!("(({text}) ~* '{}')", super::convert::UUID),
        Format::Url => format!("(({text}) ~* '^https?://[^[:space:]/?#]+([/?#][^[:space:]]*)?$')"),
        Format::Pattern(pattern) => format!("(({text}) ~ {})", quote_literal(pattern)),
    }
}

fn check_format(value: &mut Value, format: &Format, invalid: Invalid) {
    let input = value.sql.clone();
    let fits = has_format(&format!("({input})::text"), format);
    match invalid {
        Invalid::Keep => {}
        Invalid::Null => value.sql = format!("case when {fits} then {input} end"),
        Invalid::Quarantine => {
            let fault = format!("({input}) is not null and not {fits}");
            value.faults.push((fault, "22023|not in the format"));
        }
    }
}

/// Applies the modifiers of a rule in their order.
pub(super) fn apply(value: &mut Value, column: &ResolvedColumn, source_is_text: bool) {
    let rule: &ColumnRule = &column.rule;
    let mut is_text = source_is_text;
    if let Some((codes, unknown)) = &rule.codes {
        translate_codes(value, codes, unknown);
        is_text = true;
    }
    if !rule.normalize.is_empty() {
        value.sql = normalize(&value.sql, &rule.normalize);
        is_text = true;
    }
    if rule.makes_number() {
        number(value, is_text);
    }
    if let Some(factor) = &rule.scale {
        value.sql = format!("({}) * {factor}", value.sql);
    }
    if let Some(clamp) = &rule.clamp {
        value.sql = clamped(&value.sql, clamp);
    }
    if let Some(length) = rule.truncate {
        value.sql = format!("left(({})::text, {length})", value.sql);
    }
    if let Some((format, invalid)) = &rule.format {
        check_format(value, format, *invalid);
    }
    if let Some(default) = &rule.default {
        value.sql = format!("coalesce({}, {})", value.sql, literal(default));
    }
}
