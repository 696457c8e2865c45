//! What speaks for a pair of tables.

use super::cast::fit;
use super::likeness::same;
use super::name::likeness;
use super::pairing::{Side, is_reference};
use crate::domain::identifier::QualifiedName;
use crate::domain::key::KeyType;
use std::collections::{BTreeMap, BTreeSet};

/// How much one thing speaks for a pair, from 0 to 1, and in words.
pub(super) type Part = (f64, String);

/// The most that each part can count for: names, keys of the old system, columns, foreign keys.
const WEIGHTS: [f64; 4] = [0.9, 0.85, 0.8, 0.4];

/// All that speaks for a pair.
pub(super) struct Evidence {
    pub score: f64,
    /// How much a name says it: that of the table, or that of a column for its key.
    pub by_name: f64,
    pub reasons: Vec<String>,
}

impl Evidence {
    /// Adds parts up: each takes away a share of what is left of the doubt.
    pub fn of(parts: &[Part]) -> Evidence {
        let doubt = parts
            .iter()
            .zip(WEIGHTS)
            .map(|(part, weight)| 1.0 - weight * part.0);
        let told = parts.iter().filter(|part| part.0 > 0.0);
        Evidence {
            score: 1.0 - doubt.product::<f64>(),
            by_name: parts.iter().take(2).map(|part| part.0).fold(0.0, f64::max),
            reasons: told.map(|part| part.1.clone()).collect(),
        }
    }
}

/// What speaks for a pair when nothing is known of other pairs.
pub(super) fn by_themselves(source: &Side<'_>, target: &Side<'_>) -> Vec<Part> {
    vec![
        by_name(source, target),
        by_legacy(source, target),
        by_columns(source, target),
    ]
}

/// Compares the names of two tables.
fn by_name(source: &Side<'_>, target: &Side<'_>) -> Part {
    let (one, other) = (
        &source.relation.table.name.name,
        &target.relation.table.name.name,
    );
    if one == other {
        return (1.0, "same name".to_owned());
    }
    if source.names[0] == target.names[0] {
        return (0.97, "same name, singular and plural".to_owned());
    }
    let same = source.names.iter().any(|it| target.names.contains(it));
    if same {
        let prefix = source.prefix.iter().chain(&target.prefix).next();
        let prefix = prefix.map_or("", String::as_str);
        return (0.95, format!("same name without the prefix `{prefix}`"));
    }
    let shortest = |side: &Side<'_>| side.names.last().cloned().unwrap_or_default();
    let (one, other) = (shortest(source), shortest(target));
    let (short, long) = if one.len() < other.len() {
        (&one, &other)
    } else {
        (&other, &one)
    };
    if short.len() >= 5 && long.starts_with(short.as_str()) {
        return (0.7, "one name begins with the other".to_owned());
    }
    let alike = likeness(&one, &other);
    if alike >= 0.9 {
        return (0.8 * alike, "a similar name".to_owned());
    }
    (0.0, String::new())
}

/// Looks for a target column that says whose key it holds: `legacy_client_id`.
fn by_legacy(source: &Side<'_>, target: &Side<'_>) -> Part {
    let mut best = (0.0, String::new());
    for (column, legacy) in target.relation.table.columns.iter().zip(&target.legacy) {
        let Some((of, false)) = legacy.as_ref().filter(|(of, _)| !of.is_empty()) else {
            continue;
        };
        let ends_so = source.names.iter().any(|name| name.ends_with(of));
        let score = match source.names.contains(of) {
            true => 1.0,
            false if of.len() >= 4 && ends_so => 0.6,
            false => 0.0,
        };
        if score > best.0 {
            best = (score, format!("`{}` is named after its key", column.name));
        }
    }
    best
}

/// Compares the columns: how many of each side are on the other, weighed by how telling they are.
fn by_columns(source: &Side<'_>, target: &Side<'_>) -> Part {
    let (mut shared, mut of_target, mut of_source) = (0.0, 0.0, 0.0);
    let mut count = 0;
    let mut all = 0;
    for (at, column) in target.relation.table.columns.iter().enumerate() {
        let is_key = target.relation.table.primary_key.contains(&column.name);
        if column.is_generated || (is_key && target.relation.table.primary_key.len() == 1) {
            continue;
        }
        if target.legacy[at].is_some() {
            continue;
        }
        all += 1;
        of_target += target.weights[at];
        let is_reference = is_reference(target.relation, &column.name);
        let best = source.relation.table.columns.iter().enumerate();
        let best = best.filter_map(|(own, candidate)| {
            let (score, _) = same(&source.shapes[own], &target.shapes[at])?;
            let fits = if is_reference {
                KeyType::from_base_type(&candidate.column_type.base).is_some()
            } else {
                fit(&candidate.column_type, &column.column_type).is_some()
            };
            fits.then_some(score)
        });
        if let Some(score) = best.max_by(f64::total_cmp) {
            shared += score * target.weights[at];
            count += 1;
        }
    }
    for (at, column) in source.relation.table.columns.iter().enumerate() {
        if !source.relation.table.primary_key.contains(&column.name) {
            of_source += source.weights[at];
        }
    }
    if count == 0 || of_target <= 0.0 {
        return (0.0, String::new());
    }
    let both = 0.5 * (shared / of_target) + 0.5 * (shared / of_source.max(shared));
    let told = 1.0 - 0.5_f64.powf(shared / 0.8);
    (both * told, format!("{count} of {all} columns"))
}

/// How many parents of the target are fed by parents of the source, of those that are fed at all.
pub(super) fn by_parents(
    source: &Side<'_>,
    target: &Side<'_>,
    fed: &BTreeMap<&QualifiedName, BTreeSet<&QualifiedName>>,
) -> Part {
    let own = &source.relation.table.foreign_keys;
    let parents: BTreeSet<&QualifiedName> = own.iter().map(|key| &key.referenced).collect();
    let (mut count, mut all) = (0_u32, 0_u32);
    for key in &target.relation.table.foreign_keys {
        let Some(feeders) = fed.get(&key.referenced) else {
            continue;
        };
        all += 1;
        if feeders.iter().any(|feeder| parents.contains(feeder)) {
            count += 1;
        }
    }
    if count == 0 {
        return (0.0, String::new());
    }
    let score = f64::from(count) / f64::from(all);
    (score, format!("{count} of {all} foreign keys correspond"))
}
