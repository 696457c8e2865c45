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
    NumericRange(Digits),
    /// A number must be an integer between two bounds.
    NumberToInteger {
        /// The smallest value.
        low: i64,
        /// The largest value.
        high: i64,
        /// Whether digits after the point are refused; else the number is rounded.
        is_exact: bool,
    },
    /// A text must be a number, of some digits if the target counts them.
    TextToNumeric(Option<Digits>),
    /// A text must be a number that fits `real` (4) or `double precision` (8).
    TextToFloat(u8),
    /// A text must be a word for true or false.
    TextToBoolean,
    /// A text must be a date, `YYYY-MM-DD`.
    TextToDate,
    /// A text must be a time of day.
    TextToTime,
    /// A text must be a date and time without a time zone.
    TextToTimestamp,
    /// A text must be a date and time; without an offset it means this time zone.
    TextToTimestamptz(String),
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

/// What `numeric(p, s)` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digits {
    /// Digits in all.
    pub precision: i32,
    /// Digits after the point.
    pub scale: i32,
    /// Whether a value with more digits after the point is refused; else it is rounded.
    pub is_exact: bool,
}

impl Conversion {
    /// Returns the time zone that naive timestamps mean, if there is one.
    pub fn time_zone(&self) -> Option<&str> {
        match self {
            Conversion::AtTimeZone(zone) | Conversion::TextToTimestamptz(zone) => Some(zone),
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

/// The digits of a numeric column; `None` when it takes any number.
fn digits(target: &ColumnType, is_exact: bool) -> Option<Digits> {
    let (precision, scale) = modifier_numbers(&target.modifier)?;
    Some(Digits {
        precision,
        scale,
        is_exact,
    })
}

fn numeric_check(target: &ColumnType, is_exact: bool) -> Conversion {
    digits(target, is_exact).map_or(Conversion::Cast, Conversion::NumericRange)
}

/// Tells whether a source column may have more digits after the point than the target holds.
fn may_round(source: &ColumnType, target: &ColumnType) -> bool {
    let own = modifier_numbers(&source.modifier).map(|(_, scale)| scale);
    let there = modifier_numbers(&target.modifier).map(|(_, scale)| scale);
    there.is_some_and(|there| own.is_none_or(|own| own > there))
}

fn no_zone() -> (String, String) {
    let what = "a timestamp without time zone needs `time_zone` to become timestamptz";
    (what.to_owned(), "set it here or in [source]".to_owned())
}

/// What a rule knows besides the types.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// What naive timestamps mean.
    pub time_zone: Option<&'a str>,
    /// Whether digits may be rounded away.
    pub allow_loss: bool,
}

/// Finds the conversion of a text to a target column; other types are cast by the source.
///
/// # Errors
/// A `timestamptz` without a time zone: what is missing, and where to write it.
pub fn convert_text(target: &ColumnType, terms: Terms<'_>) -> Result<Conversion, (String, String)> {
    let exact = !terms.allow_loss;
    let base = Transport::of(target).base;
    Ok(match base.as_str() {
        "text" => text_check(target, None),
        "numeric" => Conversion::TextToNumeric(digits(target, exact)),
        "float4" => Conversion::TextToFloat(4),
        "float8" => Conversion::TextToFloat(8),
        "bool" => Conversion::TextToBoolean,
        "uuid" => Conversion::TextToUuid,
        "date" => Conversion::TextToDate,
        "time" => Conversion::TextToTime,
        "timestamp" => Conversion::TextToTimestamp,
        "timestamptz" => {
            let zone = terms.time_zone.ok_or_else(no_zone)?;
            Conversion::TextToTimestamptz(zone.to_owned())
        }
        other => match integer_bounds(other) {
            Some((low, high)) => Conversion::TextToInteger(low, high),
            None => Conversion::Cast,
        },
    })
}

/// Finds the conversion of a computed number to a target column.
///
/// # Errors
/// What is impossible, and what to write instead.
pub fn convert_number(
    target: &ColumnType,
    terms: Terms<'_>,
) -> Result<Conversion, (String, String)> {
    let is_exact = !terms.allow_loss;
    let base = Transport::of(target).base;
    match (base.as_str(), integer_bounds(&base)) {
        ("text", _) => Ok(text_check(target, None)),
        ("numeric", _) => Ok(numeric_check(target, is_exact)),
        ("float4" | "float8", _) => Ok(Conversion::Cast),
        (_, Some((low, high))) => Ok(Conversion::NumberToInteger {
            low,
            high,
            is_exact,
        }),
        _ => Err((
            format!("a number does not become {}", target.display),
            "remove `scale` and `clamp`, or write the conversion as `expr`".to_owned(),
        )),
    }
}

/// Checks what a value without a known source type (expression, constant) must still prove.
pub fn check_of_computed(target: &ColumnType) -> Conversion {
    match Transport::of(target).base.as_str() {
        "text" => text_check(target, None),
        "numeric" => numeric_check(target, false),
        _ => Conversion::Cast,
    }
}

/// Finds the conversion from a source column to a target column.
///
/// # Errors
/// What is impossible, and what to write instead.
pub fn convert(
    source: &ColumnType,
    target: &ColumnType,
    terms: Terms<'_>,
) -> Result<Conversion, (String, String)> {
    let transport = Transport::of(target);
    let (from, to) = (source.base.as_str(), transport.base.as_str());
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
        ("timestamp" | "date", "timestamptz") => {
            let zone = terms.time_zone.ok_or_else(no_zone)?;
            Ok(Conversion::AtTimeZone(zone.to_owned()))
        }
        ("numeric", "numeric") if source.modifier == target.modifier => Ok(Conversion::Cast),
        ("numeric", "numeric") => {
            let is_exact = !terms.allow_loss && may_round(source, target);
            Ok(numeric_check(target, is_exact))
        }
        (a, b) if a == b => Ok(Conversion::Cast),
        (a, "numeric") if integer_bounds(a).is_some() => Ok(numeric_check(target, false)),
        ("float4" | "float8", "numeric") => refuse("round it with `expr`"),
        ("float4", "float8") | ("date", "timestamp") | ("cidr", "inet") => Ok(Conversion::Cast),
        (a, "float8") if a == "int2" || a == "int4" => Ok(Conversion::Cast),
        (a, b) => match (integer_bounds(a), integer_bounds(b)) {
            (Some(own), Some(bounds)) if own.0 >= bounds.0 => Ok(Conversion::Cast),
            (Some(_), Some((low, high))) => Ok(Conversion::IntegerRange(low, high)),
            _ if is_text(a) => match convert_text(target, terms)? {
                Conversion::Cast => refuse("write the conversion as `expr`"),
                conversion => Ok(conversion),
            },
            (Some(_), None) if b == "bool" => refuse("write `expr = \"c.flag <> 0\"`"),
            _ => refuse("write the conversion as `expr`"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms<'_> = Terms {
        time_zone: None,
        allow_loss: false,
    };

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
        assert_eq!(convert(&int4, &int8, TERMS), Ok(Conversion::Cast));
        assert_eq!(
            convert(&int8, &int4, TERMS),
            Ok(Conversion::IntegerRange(
                i64::from(i32::MIN),
                i64::from(i32::MAX)
            ))
        );
        let money = builtin("numeric", "(5,4)");
        assert_eq!(
            convert(&builtin("numeric", "(9,2)"), &money, TERMS),
            Ok(Conversion::NumericRange(Digits {
                precision: 5,
                scale: 4,
                is_exact: false
            }))
        );
    }

    #[test]
    fn a_text_limit_is_checked_and_never_cut() {
        let short = builtin("varchar", "(20)");
        assert_eq!(Transport::of(&short).sql, "text");
        assert_eq!(
            convert(&builtin("text", ""), &short, TERMS),
            Ok(Conversion::TextLength(20))
        );
        assert_eq!(
            convert(&builtin("varchar", "(10)"), &short, TERMS),
            Ok(Conversion::Cast)
        );
    }

    #[test]
    fn a_naive_timestamp_needs_a_time_zone() {
        let (naive, aware) = (builtin("timestamp", ""), builtin("timestamptz", ""));
        assert!(convert(&naive, &aware, TERMS).is_err());
        let utc = Terms {
            time_zone: Some("UTC"),
            ..TERMS
        };
        assert!(convert(&naive, &aware, utc).is_ok());
        let text = builtin("text", "");
        assert!(convert(&text, &aware, TERMS).is_err());
        assert!(convert(&text, &aware, utc).is_ok());
    }

    #[test]
    fn digits_are_rounded_away_only_where_that_is_allowed() {
        let price = builtin("numeric", "(8,2)");
        let exact = |source: &ColumnType, allow_loss| {
            let terms = Terms {
                allow_loss,
                ..TERMS
            };
            match convert(source, &price, terms) {
                Ok(Conversion::NumericRange(digits)) => digits.is_exact,
                other => panic!("{other:?}"),
            }
        };
        assert!(exact(&builtin("numeric", ""), false));
        assert!(exact(&builtin("numeric", "(9,4)"), false));
        assert!(!exact(&builtin("numeric", "(9,4)"), true));
        assert!(!exact(&builtin("numeric", "(12,1)"), false));
        assert!(!exact(&builtin("int4", ""), false));
    }
}
