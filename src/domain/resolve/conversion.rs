//! How a source value becomes the bytes that are compared, staged and written.

use crate::domain::catalog::ColumnType;

/// The type in which a column travels, the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// The SQL type, with precision where assignment would round: `numeric(5,4)`.
    pub sql: String,
    /// The base type's name.
    pub base: String,
    /// The cast that assignment to the column needs (`::public.mood`); `None` when assignment does it.
    pub assignment_cast: Option<String>,
}

const SAME: &[&str] = &[
    "bool", "int2", "int4", "int8", "float4", "float8", "uuid", "date", "jsonb", "bytea", "inet",
    "cidr", "macaddr",
];
const WITH_MODIFIER: &[&str] = &[
    "numeric",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
];
const TEXTUAL: &[&str] = &["text", "varchar", "bpchar", "name"];

impl Transport {
    /// Chooses the transport of a target column.
    pub fn of(column_type: &ColumnType) -> Transport {
        let base = column_type.base.as_str();
        let plain = |sql: String, cast: bool| Transport {
            base: sql.split('(').next().unwrap_or_default().to_owned(),
            sql,
            assignment_cast: cast.then(|| column_type.display.clone()),
        };
        if let Some(element) = base.strip_prefix('_')
            && column_type.is_builtin
            && (SAME.contains(&element) || TEXTUAL.contains(&element))
        {
            let element = if TEXTUAL.contains(&element) {
                "text"
            } else {
                element
            };
            return Transport {
                sql: format!("{element}[]"),
                base: base.to_owned(),
                assignment_cast: None,
            };
        }
        if column_type.is_builtin && SAME.contains(&base) {
            return plain(base.to_owned(), false);
        }
        if column_type.is_builtin && WITH_MODIFIER.contains(&base) {
            return plain(format!("{base}{}", column_type.modifier), false);
        }
        let is_text = column_type.is_builtin && TEXTUAL.contains(&base);
        plain("text".to_owned(), !is_text)
    }

    /// Tells whether equality of the type is coarser than equality of its bytes (`1.0` and `1.00`).
    pub fn compares_as_text(&self) -> bool {
        matches!(
            self.base.as_str(),
            "numeric" | "jsonb" | "interval" | "float4" | "float8" | "timetz"
        ) || self.base.starts_with('_')
    }
}

/// A checked way from a source type to a transport.
#[derive(Debug, Clone, PartialEq)]
pub enum Conversion {
    /// An explicit cast that cannot fail for any value.
    Cast,
    /// An integer must lie between two bounds.
    IntegerRange(i64, i64),
    /// A number must fit precision and scale.
    NumericRange {
        /// Digits in all.
        precision: i32,
        /// Digits after the point.
        scale: i32,
    },
    /// A text must be an integer between two bounds.
    TextToInteger(i64, i64),
    /// A text must be a uuid.
    TextToUuid,
    /// A text must be one of the labels.
    EnumLabels(Vec<String>),
    /// A text must not be longer, in characters.
    TextLength(i32),
    /// A naive timestamp means this time zone.
    AtTimeZone(String),
    /// JSON text, brought to PostgreSQL's canonical form in diffmig.
    JsonText,
}

impl Conversion {
    /// Returns the time zone that naive timestamps mean, if there is one.
    pub fn time_zone(&self) -> Option<&str> {
        match self {
            Conversion::AtTimeZone(zone) => Some(zone),
            _ => None,
        }
    }
}

fn integer_bounds(base: &str) -> Option<(i64, i64)> {
    match base {
        "int2" => Some((i64::from(i16::MIN), i64::from(i16::MAX))),
        "int4" => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
        "int8" => Some((i64::MIN, i64::MAX)),
        _ => None,
    }
}

fn is_text(base: &str) -> bool {
    TEXTUAL.contains(&base) || base == "citext"
}

/// Reads `(5,4)` or `(20)`.
fn modifier_numbers(modifier: &str) -> Option<(i32, i32)> {
    let inner = modifier.strip_prefix('(')?.strip_suffix(')')?;
    let mut numbers = inner.split(',').map(|number| number.trim().parse::<i32>());
    let first = numbers.next()?.ok()?;
    Some((first, numbers.next().and_then(Result::ok).unwrap_or(0)))
}

fn text_check(target: &ColumnType, source: Option<&ColumnType>) -> Conversion {
    if let Some(labels) = &target.enum_labels {
        return Conversion::EnumLabels(labels.clone());
    }
    let limit = match target.base.as_str() {
        "varchar" | "bpchar" => modifier_numbers(&target.modifier).map(|(length, _)| length),
        _ => None,
    };
    let source_limit = source
        .filter(|it| it.base == "varchar")
        .and_then(|it| modifier_numbers(&it.modifier));
    match (limit, source_limit) {
        (Some(limit), Some((own, _))) if own <= limit => Conversion::Cast,
        (Some(limit), _) => Conversion::TextLength(limit),
        (None, _) => Conversion::Cast,
    }
}

fn numeric_check(target: &ColumnType) -> Conversion {
    match modifier_numbers(&target.modifier) {
        Some((precision, scale)) => Conversion::NumericRange { precision, scale },
        None => Conversion::Cast,
    }
}

/// Checks what a value without a known source type (expression, constant) must still prove.
pub fn check_of_computed(target: &ColumnType) -> Conversion {
    match Transport::of(target).base.as_str() {
        "text" => text_check(target, None),
        "numeric" => numeric_check(target),
        _ => Conversion::Cast,
    }
}

/// Finds the conversion from a source column to a target column.
///
/// `time_zone` says what naive timestamps mean.
///
/// # Errors
/// What is impossible, and what to write instead.
pub fn convert(
    source: &ColumnType,
    target: &ColumnType,
    time_zone: Option<&str>,
) -> Result<Conversion, (String, String)> {
    let transport = Transport::of(target);
    let (from, to) = (source.base.as_str(), transport.base.as_str());
    let naive = |zone: Option<&str>| {
        zone.map(|zone| Conversion::AtTimeZone(zone.to_owned()))
            .ok_or_else(|| {
                let what = "a timestamp without time zone needs `time_zone` to become timestamptz";
                (what.to_owned(), "set it here or in [source]".to_owned())
            })
    };
    let refuse = |advice: &str| {
        Err((
            format!(
                "no safe conversion from {} to {}",
                source.display, target.display
            ),
            advice.to_owned(),
        ))
    };
    if target.enum_labels.is_some() && !is_text(from) && source.enum_labels.is_none() {
        return refuse("translate it with `codes` or `case`");
    }
    match (from, to) {
        ("json", "jsonb") => Ok(Conversion::JsonText),
        (_, "jsonb") if is_text(from) => refuse("use `json_parse`"),
        (_, "text") => Ok(text_check(target, Some(source))),
        ("timestamp" | "date", "timestamptz") => naive(time_zone),
        ("numeric", "numeric") if source.modifier == target.modifier => Ok(Conversion::Cast),
        ("numeric", "numeric") => Ok(numeric_check(target)),
        (a, b) if a == b => Ok(Conversion::Cast),
        (a, "numeric") if integer_bounds(a).is_some() => Ok(numeric_check(target)),
        ("float4" | "float8", "numeric") => refuse("round it with `expr`"),
        ("float4", "float8") | ("date", "timestamp") | ("cidr", "inet") => Ok(Conversion::Cast),
        (a, "float8") if a == "int2" || a == "int4" => Ok(Conversion::Cast),
        (a, b) => match (integer_bounds(a), integer_bounds(b)) {
            (Some(own), Some(bounds)) if own.0 >= bounds.0 => Ok(Conversion::Cast),
            (Some(_), Some((low, high))) => Ok(Conversion::IntegerRange(low, high)),
            (None, Some((low, high))) if is_text(a) => Ok(Conversion::TextToInteger(low, high)),
            _ if b == "uuid" && is_text(a) => Ok(Conversion::TextToUuid),
            (Some(_), None) if b == "bool" => refuse("write `expr = \"c.flag <> 0\"`"),
            _ => refuse("write the conversion as `expr`"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builtin(base: &str, modifier: &str) -> ColumnType {
        ColumnType {
            display: format!("{base}{modifier}"),
            base: base.into(),
            modifier: modifier.into(),
            enum_labels: None,
            is_domain: false,
            is_builtin: true,
        }
    }

    #[test]
    fn narrowing_is_guarded_and_widening_is_not() {
        let (int4, int8) = (builtin("int4", ""), builtin("int8", ""));
        assert_eq!(convert(&int4, &int8, None), Ok(Conversion::Cast));
        assert_eq!(
            convert(&int8, &int4, None),
            Ok(Conversion::IntegerRange(
                i64::from(i32::MIN),
                i64::from(i32::MAX)
            ))
        );
        let money = builtin("numeric", "(5,4)");
        assert_eq!(
            convert(&builtin("numeric", "(9,2)"), &money, None),
            Ok(Conversion::NumericRange {
                precision: 5,
                scale: 4
            })
        );
    }

    #[test]
    fn a_text_limit_is_checked_and_never_cut() {
        let short = builtin("varchar", "(20)");
        assert_eq!(Transport::of(&short).sql, "text");
        assert_eq!(
            convert(&builtin("text", ""), &short, None),
            Ok(Conversion::TextLength(20))
        );
        assert_eq!(
            convert(&builtin("varchar", "(10)"), &short, None),
            Ok(Conversion::Cast)
        );
    }

    #[test]
    fn a_naive_timestamp_needs_a_time_zone() {
        let (naive, aware) = (builtin("timestamp", ""), builtin("timestamptz", ""));
        assert!(convert(&naive, &aware, None).is_err());
        assert!(convert(&naive, &aware, Some("UTC")).is_ok());
    }
}
