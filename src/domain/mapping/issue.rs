//! A problem of the mapping file, with the place where it stands.

use serde::Serialize;
use std::fmt;

/// A place in the mapping file; both numbers count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Default)]
pub struct Spot {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Spot {
    /// Finds the line and column of a byte offset.
    pub fn of(text: &str, offset: usize) -> Spot {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        Spot {
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[line_start..])
                .chars()
                .count()
                + 1,
        }
    }
}

/// One problem; `Display` is `line:column: message (hint)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MappingIssue {
    /// Where it stands.
    pub spot: Spot,
    /// The key it is about, as `entities.clients.columns.email`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead, if that is known.
    pub hint: Option<String>,
}

impl fmt::Display for MappingIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.spot.line, self.spot.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Returns `did you mean ...?` when one of the candidates is close to the word.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let close = |candidate: &&str| {
        strsim::damerau_levenshtein(word, candidate) <= 1 + word.chars().count() / 4
            || (word.len() > 3 && candidate.contains(word))
    };
    candidates
        .into_iter()
        .filter(close)
        .min_by_key(|candidate| strsim::damerau_levenshtein(word, candidate))
        .map(|candidate| format!("did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spots_count_lines_and_characters_from_one() {
        let text = "a = 1\nβ = x";
        assert_eq!(Spot::of(text, 0), Spot { line: 1, column: 1 });
        let at = text.find('x').unwrap();
        assert_eq!(Spot::of(text, at), Spot { line: 2, column: 5 });
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        assert_eq!(
            did_you_mean("colum", ["column", "const"]).as_deref(),
            Some("did you mean `column`?")
        );
        assert_eq!(did_you_mean("zzz", ["column", "const"]), None);
    }
}
