//! How alike two columns are by their names.

use super::name::likeness;
use super::shape::Shape;

/// From this likeness on, two columns are taken for the same.
pub(super) const ENOUGH: f64 = 0.6;

/// How alike two columns are, from 0 to 1, and why.
pub(super) type Like = (f64, String);

/// Compares two names.
pub(super) fn like(source: &Shape, target: &Shape) -> Option<Like> {
    same(source, target).or_else(|| near(source, target))
}

/// Compares two names as far as that is cheap: only names that are made of the same words are alike.
pub(super) fn same(source: &Shape, target: &Shape) -> Option<Like> {
    if source.is_foreign_to(target) {
        return None;
    }
    if source.name == target.name {
        return Some((1.0, "same name".to_owned()));
    }
    let renamed = |score: f64, why: &str| Some((score, format!("`{}`: {why}", source.name)));
    if source.joined == target.joined {
        return renamed(0.97, "the same words");
    }
    if source.common == target.common {
        return renamed(0.92, "a word for the same");
    }
    if source.core.is_empty() || target.core.is_empty() {
        return None;
    }
    if source.core == target.core || source.joined_core == target.joined_core {
        return renamed(0.88, "the same but for its ending");
    }
    if source.bare == target.core || source.core == target.bare || source.bare == target.bare {
        return renamed(0.86, "the same but for the table's name");
    }
    if source.sorted_core == target.sorted_core {
        return renamed(0.84, "the same words in another order");
    }
    None
}

fn near(source: &Shape, target: &Shape) -> Option<Like> {
    let renamed = |score: f64, why: &str| Some((score, format!("`{}`: {why}", source.name)));
    if source.core.is_empty() || target.core.is_empty() {
        return None;
    }
    let (one, other) = (source.core.concat(), target.core.concat());
    let (short, long) = if one.len() < other.len() {
        (&one, &other)
    } else {
        (&other, &one)
    };
    if short.len() >= 4
        && long.starts_with(short.as_str())
        && source.core.len() == target.core.len()
    {
        return renamed(0.75, "one is short for the other");
    }
    if likeness(&source.common, &target.common) >= 0.93 {
        return renamed(0.7, "a similar name");
    }
    let (few, many) = if source.core.len() < target.core.len() {
        (&source.core, &target.core)
    } else {
        (&target.core, &source.core)
    };
    if few.len() < many.len() && few.iter().all(|word| many.contains(word)) {
        return renamed(0.62, "shares its words");
    }
    None
}
