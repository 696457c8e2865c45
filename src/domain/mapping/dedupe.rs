//! Several source rows that are one: what they have in common, and whose values are taken.

use super::Spot;
use super::reader::{Reader, Section};
use crate::domain::expression::{Expression, parse_expression};

/// One criterion of preference.
#[derive(Debug, Clone)]
pub struct Preference {
    /// What is compared.
    pub expression: Expression,
    /// Whether the largest value wins.
    pub is_descending: bool,
    /// Whether NULL comes first; `None` for PostgreSQL's own order.
    pub nulls_first: Option<bool>,
}

/// Rows with the same values are one. The values are those of the first by preference, then by key; the key is the
/// lowest one, so that a target row stays the same when another source row is preferred.
#[derive(Debug, Clone)]
pub struct Dedupe {
    /// What such rows have in common; a row with NULL in one of them stands alone.
    pub by: Vec<Expression>,
    /// Who is preferred, the most important criterion first.
    pub prefer: Vec<Preference>,
    /// Where it stands.
    pub spot: Spot,
}

impl Dedupe {
    /// Returns every expression.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let preferred = self.prefer.iter().map(|it| &it.expression);
        self.by.iter().chain(preferred)
    }
}

/// Reads `dedupe = { by = [...], prefer = [...] }`.
pub(super) fn read(reader: &mut Reader<'_>, entity: &Section<'_>) -> Option<Dedupe> {
    if !entity.has("dedupe") {
        return None;
    }
    let section = entity.section(reader, "dedupe")?;
    section.only(reader, &["by", "prefer"]);
    let mut by = Vec::new();
    for text in section.strings(reader, "by").unwrap_or_default() {
        by.extend(expression(reader, &section, "by", &text));
    }
    if !section.has("by") {
        section.fault(reader, "by", "this key is missing", None);
    } else if by.is_empty() {
        section.fault(reader, "by", "names nothing that rows have in common", None);
    }
    let mut prefer = Vec::new();
    for text in section.strings(reader, "prefer").unwrap_or_default() {
        let (text, nulls_first) = suffix(&text, &[("nulls first", true), ("nulls last", false)]);
        let (text, is_descending) = suffix(text, &[("desc", true), ("asc", false)]);
        prefer.extend(
            expression(reader, &section, "prefer", text).map(|expression| Preference {
                expression,
                is_descending: is_descending.unwrap_or(false),
                nulls_first,
            }),
        );
    }
    Some(Dedupe {
        by,
        prefer,
        spot: reader.spot(entity.offset_of("dedupe")),
    })
}

fn expression(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    text: &str,
) -> Option<Expression> {
    match parse_expression(text) {
        Ok(expression) => Some(expression),
        Err(fault) => {
            let hint = fault.hint.clone();
            section.fault(reader, key, fault.to_string(), hint);
            None
        }
    }
}

/// Takes one of several endings off, whatever its case and the blanks in it.
fn suffix<'t, T: Copy>(text: &'t str, endings: &[(&str, T)]) -> (&'t str, Option<T>) {
    for (ending, value) in endings {
        let mut rest = text.trim_end();
        let mut words = ending.rsplit(' ');
        let all = words.all(|word| {
            let Some(at) = rest.len().checked_sub(word.len()) else {
                return false;
            };
            let is_there = rest
                .get(at..)
                .is_some_and(|it| it.eq_ignore_ascii_case(word))
                && rest[..at].ends_with(char::is_whitespace);
            if is_there {
                rest = rest[..at].trim_end();
            }
            is_there
        });
        if all {
            return (rest, Some(*value));
        }
    }
    (text, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_taken_off_in_their_order() {
        let nulls = [("nulls first", true), ("nulls last", false)];
        assert_eq!(
            suffix("a.b DESC nulls  LAST ", &nulls),
            ("a.b DESC", Some(false))
        );
        assert_eq!(suffix("a.b desc", &[("desc", 1)]), ("a.b", Some(1)));
        assert_eq!(suffix("a.desc", &[("desc", 1)]), ("a.desc", None));
        assert_eq!(suffix("desc", &[("desc", 1)]), ("desc", None));
    }
}
