//! The built-in scalar types a value may be cast to.

use super::ExpressionFault;
use sqlparser::ast::{CharacterLength, DataType, ExactNumberInfo, TimezoneInfo};

/// Renders an allowed type under its one canonical name.
pub(super) fn render(data_type: &DataType) -> Result<String, ExpressionFault> {
    let name = match data_type {
        DataType::Int2(None) | DataType::SmallInt(None) => "smallint",
        DataType::Int4(None) | DataType::Int(None) | DataType::Integer(None) => "integer",
        DataType::Int8(None) | DataType::BigInt(None) => "bigint",
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => {
            return Ok(numeric(info));
        }
        DataType::Real | DataType::Float4 => "real",
        DataType::Float8 | DataType::DoublePrecision => "double precision",
        DataType::Text => "text",
        DataType::Varchar(length)
        | DataType::CharacterVarying(length)
        | DataType::CharVarying(length) => match length {
            None => "varchar",
            Some(CharacterLength::IntegerLength { length, unit: None }) => {
                return Ok(format!("varchar({length})"));
            }
            Some(_) => return Err(refused(data_type)),
        },
        DataType::Bool | DataType::Boolean => "boolean",
        DataType::Date => "date",
        DataType::Time(digits, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            return Ok(with_digits("time", *digits));
        }
        DataType::Timestamp(digits, zone) => {
            let name = match zone {
                TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => "timestamp",
                TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => "timestamptz",
            };
            return Ok(with_digits(name, *digits));
        }
        DataType::Interval {
            fields: None,
            precision: None,
        } => "interval",
        DataType::Uuid => "uuid",
        DataType::JSON => "json",
        DataType::JSONB => "jsonb",
        _ => return Err(refused(data_type)),
    };
    Ok(name.to_owned())
}

/// True for the types whose input knows words like `now` and `today`.
pub(super) fn reads_clock_words(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Date | DataType::Time(..) | DataType::Timestamp(..)
    )
}

fn numeric(info: &ExactNumberInfo) -> String {
    match info {
        ExactNumberInfo::None => "numeric".to_owned(),
        ExactNumberInfo::Precision(precision) => format!("numeric({precision})"),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => {
            format!("numeric({precision}, {scale})")
        }
    }
}

/// `timestamp(3) with time zone` is spelled `timestamptz(3)`, which PostgreSQL reads as the same type.
fn with_digits(name: &str, digits: Option<u64>) -> String {
    match digits {
        None => name.to_owned(),
        Some(digits) => format!("{name}({digits})"),
    }
}

fn refused(data_type: &DataType) -> ExpressionFault {
    ExpressionFault::new(format!("the type {data_type} is not allowed")).hint(
        "use a built-in scalar type such as text, bigint, numeric, date, timestamptz or jsonb",
    )
}
