//! Numbers of JSON, printed as PostgreSQL's `numeric` prints them.

use super::{JsonFault, is_word_byte};

/// Digits before the decimal point that `numeric` can hold.
const MAX_INTEGER_DIGITS: i64 = 131_072;
/// Digits after the decimal point that `numeric` can hold.
const MAX_SCALE: i64 = 16_383;
/// `numeric` input refuses exponents from here on before it looks at the digits.
const EXPONENT_LIMIT: i64 = 1_073_741_823;

/// Reads the number at `start`, appends its canonical text and returns the offset after it.
pub(super) fn canonical(text: &[u8], start: usize, out: &mut Vec<u8>) -> Result<usize, JsonFault> {
    let mut at = start;
    let negative = text.get(at) == Some(&b'-');
    at += usize::from(negative);
    let integer = digits(text, at)?;
    if integer.len() > 1 && integer[0] == b'0' {
        return Err(JsonFault::Syntax(at));
    }
    at += integer.len();
    let mut fraction: &[u8] = &[];
    if text.get(at) == Some(&b'.') {
        fraction = digits(text, at + 1)?;
        at += 1 + fraction.len();
    }
    let mut exponent = 0;
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1;
        let sign = text.get(at).copied();
        at += usize::from(matches!(sign, Some(b'+' | b'-')));
        let written = digits(text, at)?;
        at += written.len();
        let size = exponent_value(written);
        exponent = if sign == Some(b'-') { -size } else { size };
    }
    if text.get(at).is_some_and(|byte| is_word_byte(*byte)) {
        return Err(JsonFault::Syntax(at));
    }
    let number = Number {
        negative,
        integer,
        fraction,
        exponent,
    };
    match number.write(out) {
        Some(()) => Ok(at),
        None => Err(JsonFault::NumberOutOfRange(start)),
    }
}

fn digits(text: &[u8], at: usize) -> Result<&[u8], JsonFault> {
    let rest = text.get(at..).unwrap_or_default();
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match (count, rest.first()) {
        (0, None) => Err(JsonFault::UnexpectedEnd(at)),
        (0, Some(_)) => Err(JsonFault::Syntax(at)),
        _ => Ok(&rest[..count]),
    }
}

/// The exponent without sign, capped where `numeric` gives up anyway.
fn exponent_value(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |value: i64, digit| {
        (value * 10 + i64::from(digit - b'0')).min(EXPONENT_LIMIT)
    })
}

struct Number<'a> {
    negative: bool,
    integer: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl Number<'_> {
    /// Appends the number without exponent; `None` when it exceeds the limits of `numeric`.
    fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        if self.exponent.abs() >= EXPONENT_LIMIT {
            return None;
        }
        let fraction_digits = i64::try_from(self.fraction.len()).ok()?;
        let scale = (fraction_digits - self.exponent).max(0);
        if scale > MAX_SCALE {
            return None;
        }
        let scale = usize::try_from(scale).ok()?;
        let digits = [self.integer, self.fraction].concat();
        let Some(leading) = digits.iter().position(|digit| *digit != b'0') else {
            out.push(b'0');
            write_fraction(&[], scale, out);
            return Some(());
        };
        // The decimal point stands after this many digits; it may lie outside of those written.
        let point = i64::try_from(self.integer.len()).ok()? + self.exponent;
        let leading = i64::try_from(leading).ok()?;
        if point - leading > MAX_INTEGER_DIGITS {
            return None;
        }
        if self.negative {
            out.push(b'-');
        }
        let before = usize::try_from(point.max(0)).ok()?;
        let (whole, rest) = digits.split_at(before.min(digits.len()));
        match usize::try_from(leading).ok().and_then(|it| whole.get(it..)) {
            Some(significant) if !significant.is_empty() => {
                out.extend_from_slice(significant);
                out.resize(out.len() + before - whole.len(), b'0');
            }
            _ => out.push(b'0'),
        }
        write_fraction(rest, scale, out);
        Some(())
    }
}

/// Appends the decimal point and `scale` digits, the last of which are `digits`.
fn write_fraction(digits: &[u8], scale: usize, out: &mut Vec<u8>) {
    if scale > 0 {
        out.push(b'.');
        out.resize(out.len() + scale.saturating_sub(digits.len()), b'0');
        out.extend_from_slice(digits);
    }
}
