//! Whether fewer values pass a conversion than before.

use crate::domain::catalog::ColumnType;
use crate::domain::mapping::{ColumnRule, Rule};
use crate::domain::resolve::Conversion;
use crate::domain::resolve::conversion::{Terms, check_of_computed, convert};

/// Finds what a value of a rule must pass on its way into a type; `None` when it cannot go there at all.
fn conversion(rule: &ColumnRule, from: Option<&ColumnType>, to: &ColumnType) -> Option<Conversion> {
    let is_plain = matches!(rule.rule, Rule::Column(_))
        && rule.codes.is_none()
        && rule.normalize.is_empty()
        && rule.scale.is_none()
        && rule.clamp.is_none()
        && rule.truncate.is_none();
    let terms = Terms {
        // Which zone does not matter here.
        time_zone: Some("UTC"),
        allow_loss: rule.allow_loss,
    };
    match from.filter(|_| is_plain) {
        Some(from) => convert(from, to, terms).ok(),
        None => Some(check_of_computed(to)),
    }
}

fn limit(conversion: &Conversion) -> Option<(i128, i128)> {
    let wide = |number: i64| i128::from(number);
    match conversion {
        Conversion::IntegerRange(low, high)
        | Conversion::TextToInteger(low, high)
        | Conversion::NumberToInteger { low, high, .. } => Some((wide(*low), wide(*high))),
        Conversion::TextLength(length) => Some((0, i128::from(*length))),
        _ => None,
    }
}

fn is_stricter(old: &Conversion, new: &Conversion) -> bool {
    if old == new {
        return false;
    }
    let is_zoned = |it: &Conversion| matches!(it, Conversion::AtTimeZone(_));
    match (old, new) {
        // The same text of a time means another moment.
        (old, new) if is_zoned(old) != is_zoned(new) => true,
        (_, Conversion::Cast | Conversion::AtTimeZone(_)) => false,
        (Conversion::EnumLabels(old), Conversion::EnumLabels(new)) => {
            old.iter().any(|label| !new.contains(label))
        }
        (Conversion::NumericRange(old), Conversion::NumericRange(new)) => {
            new.precision - new.scale < old.precision - old.scale || new.scale < old.scale
        }
        (old, new) => match (limit(old), limit(new)) {
            (Some(old), Some(new)) => new.0 > old.0 || new.1 < old.1,
            _ => true,
        },
    }
}

/// Types of both ends of a rule.
pub(super) struct Ends<'a> {
    pub from: Option<&'a ColumnType>,
    pub to: &'a ColumnType,
}

/// Tells whether values that passed before may not pass any more.
pub(super) fn is_narrower(rule: &ColumnRule, before: &Ends<'_>, now: &Ends<'_>) -> bool {
    let old = conversion(rule, before.from, before.to);
    let new = conversion(rule, now.from, now.to);
    match (old, new) {
        (Some(old), Some(new)) => is_stricter(&old, &new) || is_shorter(before.to, now.to),
        _ => true,
    }
}

/// Tells whether a target type holds less than another, where no guard says so.
fn is_shorter(old: &ColumnType, new: &ColumnType) -> bool {
    let width = |base: &str| {
        let widths = [["int2", "float4"], ["int4", "float8"], ["int8", "numeric"]];
        widths.iter().position(|it| it.contains(&base))
    };
    let family = |base: &str| base.starts_with("int");
    match (width(&old.base), width(&new.base)) {
        (Some(a), Some(b)) if family(&old.base) == family(&new.base) => b < a,
        _ => is_less_precise(old, new),
    }
}

/// `timestamp` without precision has six digits, `timestamp(3)` three.
fn is_less_precise(old: &ColumnType, new: &ColumnType) -> bool {
    let digits = |it: &ColumnType| {
        let inner = it.modifier.trim_matches(['(', ')']);
        inner.parse::<u8>().unwrap_or(6)
    };
    let timed = ["timestamp", "timestamptz", "time", "timetz", "interval"];
    timed.contains(&old.base.as_str()) && old.base == new.base && digits(new) < digits(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::resolve::conversion::Digits;

    #[test]
    fn fewer_values_pass_a_smaller_range_and_a_shorter_text() {
        let (small, large) = (
            Conversion::IntegerRange(-5, 5),
            Conversion::IntegerRange(-9, 9),
        );
        assert!(is_stricter(&large, &small));
        assert!(!is_stricter(&small, &large));
        assert!(is_stricter(&Conversion::Cast, &Conversion::TextLength(3)));
        assert!(!is_stricter(&Conversion::TextLength(3), &Conversion::Cast));
        let numeric = |precision, scale| {
            Conversion::NumericRange(Digits {
                precision,
                scale,
                is_exact: false,
            })
        };
        assert!(is_stricter(&numeric(8, 4), &numeric(8, 2)));
        assert!(!is_stricter(&numeric(8, 2), &numeric(9, 3)));
    }
}
