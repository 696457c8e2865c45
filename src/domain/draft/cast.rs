//! What it takes for the value of one column to fit into another.

use super::shape::{Class, class};
use crate::domain::catalog::ColumnType;
use crate::domain::resolve::conversion::{Terms, convert};

/// How a value gets from one type to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fit {
    /// A plain column rule does it.
    Plain,
    /// A plain column rule does it, when naive times mean something.
    InTimeZone,
    /// A text holds JSON.
    Json,
    /// Codes become labels.
    Codes,
    /// An expression over `{}` does it; with what should be known about it.
    Expr(String, &'static str),
}

const OUT_OF_RANGE: &str = "a number out of range goes to quarantine";

/// Tells how a value fits, if it does.
pub(super) fn fit(source: &ColumnType, target: &ColumnType) -> Option<Fit> {
    let converts = |time_zone| {
        let terms = Terms {
            time_zone,
            allow_loss: false,
        };
        convert(source, target, terms).is_ok()
    };
    if converts(None) {
        return Some(Fit::Plain);
    }
    if converts(Some("UTC")) {
        return Some(Fit::InTimeZone);
    }
    let (from, to) = (class(source), class(target));
    let (have, want) = (source.base.as_str(), target.base.as_str());
    let expr = |sql: &str, note| Some(Fit::Expr(sql.to_owned(), note));
    match (from, to) {
        (Class::Text, Class::Json) if want == "jsonb" => Some(Fit::Json),
        (Class::Number, Class::Enum) if have.starts_with("int") => Some(Fit::Codes),
        (Class::Number, Class::Bool) if have.starts_with("int") => expr("{} <> 0", ""),
        (Class::Bool, Class::Number) => expr("case when {} then 1 when not {} then 0 end", ""),
        (Class::Number, Class::Number) => number(source, target),
        (Class::Time, Class::Time) => match (have, want) {
            ("timestamptz", "timestamp") => expr("{} at time zone 'UTC'", "in UTC"),
            ("timestamptz", "date") => expr("({} at time zone 'UTC')::date", "the day in UTC"),
            ("timestamp", "date") => expr("{}::date", "without its time of day"),
            _ => None,
        },
        _ => None,
    }
}

fn number(source: &ColumnType, target: &ColumnType) -> Option<Fit> {
    let expr = |sql: String, note| Some(Fit::Expr(sql, note));
    let is_whole = source.modifier.ends_with(",0)") || source.base.starts_with("int");
    match (source.base.as_str(), target.base.as_str()) {
        ("float4" | "float8", "numeric") => {
            let scale = target.modifier.trim_end_matches(')').split_once(',');
            match scale {
                Some((_, scale)) => expr(format!("round({{}}::numeric, {scale})"), "rounded"),
                None => expr("{}::numeric".to_owned(), ""),
            }
        }
        (_, "float4" | "float8") => {
            let word = cast_word(&target.base)?;
            expr(format!("{{}}::{word}"), "a float keeps 15 digits at most")
        }
        ("numeric", "int2" | "int4" | "int8") if is_whole => {
            let word = cast_word(&target.base)?;
            expr(format!("{{}}::{word}"), OUT_OF_RANGE)
        }
        _ => None,
    }
}

fn cast_word(base: &str) -> Option<&'static str> {
    Some(match base {
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        "numeric" => "numeric",
        "float4" => "real",
        "float8" => "double precision",
        "bool" => "boolean",
        "date" => "date",
        "time" => "time",
        "timestamp" => "timestamp",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::draft::tests::column_type;

    #[test]
    fn types_that_need_a_rule_get_one() {
        let fit = |from: &str, to: &str| fit(&column_type(from), &column_type(to));
        assert_eq!(fit("varchar(20)", "text"), Some(Fit::Plain));
        assert_eq!(fit("timestamp", "timestamptz"), Some(Fit::InTimeZone));
        assert_eq!(fit("text", "jsonb"), Some(Fit::Json));
        assert_eq!(fit("int2", "enum(a,b)"), Some(Fit::Codes));
        assert_eq!(fit("text", "enum(a,b)"), Some(Fit::Plain));
        assert_eq!(fit("int4", "bool"), Some(Fit::Expr("{} <> 0".into(), "")));
        assert_eq!(
            fit("float8", "numeric(10,2)"),
            Some(Fit::Expr("round({}::numeric, 2)".into(), "rounded"))
        );
        assert_eq!(fit("text", "numeric(10,2)"), Some(Fit::Plain));
        assert_eq!(fit("text", "timestamptz"), Some(Fit::InTimeZone));
        // Rounding would lose something and say nothing.
        assert_eq!(fit("numeric(10,2)", "int4"), None);
        assert_eq!(fit("int4", "uuid"), None);
        assert_eq!(fit("bytea", "jsonb"), None);
    }
}
