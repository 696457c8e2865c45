//! Templates: text with `{column|filter}` holes.

use super::column::ColumnRef;

/// What a NULL inside a template does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullPolicy {
    /// Any NULL makes the whole value NULL. The default.
    Null,
    /// A NULL counts as an empty text.
    Empty,
}

/// A change made to a hole's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFilter {
    /// `pad6`: zeros on the left up to a width; longer values stay whole.
    Pad(u32),
    /// `trunc50`: at most so many characters.
    Truncate(u32),
    /// `lower`
    Lower,
    /// `upper`
    Upper,
    /// `trim`
    Trim,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text as it stands.
    Text(String),
    /// A column, changed by filters from left to right.
    Hole(ColumnRef, Vec<TextFilter>),
}

/// Parses a template; `{{` and `}}` stand for braces.
///
/// # Errors
/// A message for the operator.
pub fn parse_template(text: &str) -> Result<Vec<TemplatePart>, String> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        let after = &rest[at + 1..];
        if let Some(doubled) = after.strip_prefix(brace) {
            plain.push_str(brace);
            rest = doubled;
            continue;
        }
        if brace == "}" {
            return Err("a `}` without `{`; write `}}` for a brace".into());
        }
        let (hole, tail) = after
            .split_once('}')
            .ok_or("a `{` without `}`; write `{{` for a brace")?;
        if !plain.is_empty() {
            parts.push(TemplatePart::Text(std::mem::take(&mut plain)));
        }
        parts.push(parse_hole(hole)?);
        rest = tail;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(TemplatePart::Text(plain));
    }
    Ok(parts)
}

fn parse_hole(hole: &str) -> Result<TemplatePart, String> {
    let mut words = hole.split('|').map(str::trim);
    let column = words.next().unwrap_or_default();
    if column.is_empty() {
        return Err("an empty `{}`; write `{{}}` for braces".into());
    }
    let filters: Result<Vec<TextFilter>, String> = words.map(parse_filter).collect();
    Ok(TemplatePart::Hole(ColumnRef::parse(column), filters?))
}

fn parse_filter(word: &str) -> Result<TextFilter, String> {
    let number = |digits: &str| {
        digits
            .parse::<u32>()
            .ok()
            .filter(|n| (1..=1000).contains(n))
    };
    let filter = match word {
        "lower" => Some(TextFilter::Lower),
        "upper" => Some(TextFilter::Upper),
        "trim" => Some(TextFilter::Trim),
        _ => word
            .strip_prefix("pad")
            .and_then(number)
            .map(TextFilter::Pad)
            .or_else(|| {
                let digits = word.strip_prefix("trunc")?;
                number(digits).map(TextFilter::Truncate)
            }),
    };
    filter.ok_or_else(|| {
        format!("unknown filter `{word}`; known: pad6, trunc50, lower, upper, trim (any number)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_filters_and_braces() {
        let parts = parse_template("CL-{c.id|pad6} {{x}}").unwrap();
        assert_eq!(
            parts,
            vec![
                TemplatePart::Text("CL-".into()),
                TemplatePart::Hole(ColumnRef::parse("c.id"), vec![TextFilter::Pad(6)]),
                TemplatePart::Text(" {x}".into()),
            ]
        );
        assert!(parse_template("{c.id").is_err());
        assert!(parse_template("{c.id|shout}").is_err());
        assert!(parse_template("a}").is_err());
    }
}
