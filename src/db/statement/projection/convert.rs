//! The last step of a value: from what the rule made to the type in which it travels.

use super::Value;
use super::modify::is_number;
use crate::domain::identifier::quote_literal;
use crate::domain::resolve::{Conversion, Digits, ResolvedColumn};

/// A uuid as PostgreSQL reads it, whatever its case.
pub(super) const UUID: &str =
    "^(\\{([0-9a-f]{4}-?){7}[0-9a-f]{4}\\}|([0-9a-f]{4}-?){7}[0-9a-f]{4})$";
const SPACE: &str = "[ \\t\\n\\r\\f\\v]*";
const INTEGER: &str = "[-+]?[0-9]{1,100}";
/// Days that exist, of the years 1 to 9999.
const DATE: &str = "(?!0000)([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))\
|([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29)";
const TIME: &str = "([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,9})?)?";
const OFFSET: &str = "(Z|z|[-+](0[0-9]|1[0-5])(:?[0-5][0-9])?)";
const BOOLEAN: &str = "(t|tr|tru|true|y|ye|yes|on|1|f|fa|fal|fals|false|n|no|of|off|0)";

/// Keeps a value only where a condition holds; elsewhere the row is faulty.
fn guarded(value: &mut Value, condition: &str, cast: &str, reason: &'static str) {
    let input = std::mem::take(&mut value.sql);
    let fault = format!("({input}) is not null and not ({condition})");
    value.faults.push((fault, reason));
    value.sql = format!("case when {condition} then ({input})::{cast} end");
}

/// The condition under which a whole text matches a pattern, blanks around it aside.
fn matches(input: &str, pattern: &str) -> String {
    format!("({input}) ~ '^{SPACE}{pattern}{SPACE}$'")
}

fn in_digits(number: &str, digits: &Digits) -> String {
    let Digits {
        precision, scale, ..
    } = digits;
    let bound = format!("1e{}::numeric", precision - scale);
    // NaN fits every precision, and compares above every number.
    format!("({number} = 'NaN' or abs(round({number}, {scale})) < {bound})")
}

/// Sends rows to quarantine whose number would lose digits.
fn refuse_rounding(value: &mut Value, is_there: &str, number: &str, scale: i32) {
    let fault = format!(
        "case when {is_there} then {number} <> 'NaN' and {number} <> round({number}, {scale}) else false end"
    );
    value.faults.push((fault, "22003|digits would be lost"));
}

fn numeric_range(value: &mut Value, to: &str, digits: &Digits) {
    let number = format!("({})::numeric", value.sql);
    if digits.is_exact {
        let there = format!("({}) is not null", value.sql);
        refuse_rounding(value, &there, &number, digits.scale);
    }
    guarded(value, &in_digits(&number, digits), to, "22003|out of range");
}

fn number_to_integer(value: &mut Value, to: &str, bounds: (i64, i64), is_exact: bool) {
    let number = format!("({})", value.sql);
    if is_exact {
        let there = format!("{number} is not null");
        refuse_rounding(value, &there, &number, 0);
    }
    value.sql = format!("round({number})");
    let condition = format!("{} between {} and {}", value.sql, bounds.0, bounds.1);
    guarded(value, &condition, to, "22003|out of range");
}

fn text_to_numeric(value: &mut Value, to: &str, digits: Option<&Digits>) {
    let input = value.sql.clone();
    let is_number = is_number(&input);
    let Some(digits) = digits else {
        return guarded(value, &is_number, to, "22P02|not a number");
    };
    let number = format!("({input})::numeric");
    let fits = in_digits(&number, digits);
    let condition = format!("case when {is_number} then {fits} else false end");
    if digits.is_exact {
        refuse_rounding(value, &is_number, &number, digits.scale);
    }
    guarded(value, &condition, to, "22P02|not a number in range");
}

fn text_to_float(value: &mut Value, to: &str, bytes: u8) {
    let input = value.sql.clone();
    // The smallest normal and the largest number of the type, rounded towards each other.
    let (least, most) = if bytes == 4 {
        ("1.2e-38", "3.4e38")
    } else {
        ("2.3e-308", "1.79e308")
    };
    let number = format!("abs(({input})::numeric)");
    let condition = format!(
        "case when {} then {number} = 0 or {number} between {least}::numeric and {most}::numeric else false end",
        is_number(&input)
    );
    guarded(value, &condition, to, "22P02|not a number in range");
}

/// A text with an offset says what it means; without one it means the time zone of the mapping.
fn text_to_timestamptz(value: &mut Value, to: &str, zone: &str) {
    let input = value.sql.clone();
    let with_offset = matches(&input, &format!("{DATE}([ T]{TIME} ?{OFFSET})"));
    let naive = matches(&input, &format!("{DATE}([ T]{TIME})?"));
    let known = format!("(({with_offset}) or ({naive}))");
    let fault = format!("({input}) is not null and not {known}");
    value.faults.push((fault, "22007|not a date and time"));
    value.sql = format!(
        "case when {with_offset} then ({input})::{to} when {naive} then (({input})::timestamp at time zone {})::{to} end",
        quote_literal(zone)
    );
}

/// Converts the value to the type in which it travels.
pub(super) fn apply(value: &mut Value, column: &ResolvedColumn) {
    let to = column.transport.sql.as_str();
    let input = value.sql.clone();
    match &column.conversion {
        Conversion::Cast | Conversion::JsonText => value.sql = format!("({input})::{to}"),
        Conversion::IntegerRange(low, high) => {
            let condition = format!("({input}) between {low} and {high}");
            guarded(value, &condition, to, "22003|out of range");
        }
        Conversion::NumericRange(digits) => numeric_range(value, to, digits),
        Conversion::NumberToInteger {
            low,
            high,
            is_exact,
        } => number_to_integer(value, to, (*low, *high), *is_exact),
        Conversion::TextToInteger(low, high) => {
            let condition = format!(
                "case when {} then ({input})::numeric between {low} and {high} else false end",
                matches(&input, INTEGER)
            );
            guarded(value, &condition, to, "22P02|not an integer in range");
        }
        Conversion::TextToNumeric(digits) => text_to_numeric(value, to, digits.as_ref()),
        Conversion::TextToFloat(bytes) => text_to_float(value, to, *bytes),
        Conversion::TextToBoolean => {
            let condition = format!("({input}) ~* '^{SPACE}{BOOLEAN}{SPACE}$'");
            guarded(value, &condition, to, "22P02|not a boolean");
        }
        Conversion::TextToUuid => {
            let condition = format!("({input}) ~* '{UUID}'");
            guarded(value, &condition, "uuid", "22P02|not a uuid");
        }
        Conversion::TextToDate => {
            guarded(value, &matches(&input, DATE), to, "22007|not a date");
        }
        Conversion::TextToTime => {
            guarded(value, &matches(&input, TIME), to, "22007|not a time");
        }
        Conversion::TextToTimestamp => {
            let pattern = format!("{DATE}([ T]{TIME})?");
            guarded(
                value,
                &matches(&input, &pattern),
                to,
                "22007|not a date and time",
            );
        }
        Conversion::TextToTimestamptz(zone) => text_to_timestamptz(value, to, zone),
        Conversion::EnumLabels(labels) => {
            let labels: Vec<String> = labels.iter().map(|label| quote_literal(label)).collect();
            let condition = format!("({input})::text in ({})", labels.join(", "));
            guarded(value, &condition, "text", "22P02|not a label of the enum");
        }
        Conversion::TextLength(limit) => {
            let condition = format!("char_length(({input})::text) > {limit}");
            value
                .faults
                .push((condition, "22001|longer than the column"));
            value.sql = format!("({input})::text");
        }
        Conversion::AtTimeZone(zone) => {
            let zone = quote_literal(zone);
            value.sql = format!("(({input})::timestamp at time zone {zone})::{to}");
        }
    }
}
