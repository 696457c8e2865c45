//! Which source table feeds which target table.

use super::evidence::{Evidence, Part, by_parents, by_themselves};
use super::name::{joined, legacy, words};
use super::shape::Shape;
use super::{Known, Nearest, Relation};
use crate::domain::identifier::QualifiedName;
use std::collections::{BTreeMap, BTreeSet};

/// From this score on, a pair is proposed.
const ENOUGH: f64 = 0.5;
/// A source table that feeds another target already needs a name that says so.
const ENOUGH_TO_SHARE: f64 = 0.85;

/// A table with its name taken apart.
pub(super) struct Side<'a> {
    pub relation: &'a Relation,
    /// The ways to read its name, singular and without joints: as it is, and without a prefix that others share.
    pub names: Vec<String>,
    /// The prefix.
    pub prefix: Option<String>,
    pub shapes: Vec<Shape>,
    /// How telling each column is: a name that many tables have tells little.
    pub weights: Vec<f64>,
    /// Of each column, what its name says of an old key: the thing without what joins its words, and whether it is a
    /// table.
    pub legacy: Vec<Option<(String, bool)>>,
}

impl Side<'_> {
    fn as_nearest(&self, score: f64) -> Nearest {
        Nearest {
            table: self.relation.table.name.clone(),
            score,
        }
    }
}

/// A source table and the target table that it feeds.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub source: usize,
    pub target: usize,
    pub score: f64,
    pub reasons: Vec<String>,
}

/// All tables and all pairs.
pub(super) struct Pairing<'a> {
    pub sources: Vec<Side<'a>>,
    pub targets: Vec<Side<'a>>,
    pub pairs: Vec<Pair>,
    scores: Vec<Vec<f64>>,
}

impl<'a> Pairing<'a> {
    /// Finds the source table that is most like a target table, chosen or not.
    pub fn nearest_source(&self, target: usize) -> Option<Nearest> {
        let scores = self.scores.iter().enumerate();
        let best = scores.map(|(source, row)| (source, row[target]));
        let (source, score) = best.max_by(|a, b| a.1.total_cmp(&b.1))?;
        (score > 0.1).then(|| self.sources[source].as_nearest(score))
    }

    /// Finds the target table that is most like a source table, chosen or not.
    pub fn nearest_target(&self, source: usize) -> Option<Nearest> {
        let scores = self.scores.get(source)?.iter().enumerate();
        let (target, score) = scores.max_by(|a, b| a.1.total_cmp(b.1))?;
        (*score > 0.1).then(|| self.targets[target].as_nearest(*score))
    }

    /// Lists the source tables that feed a target table.
    pub fn sources_of(&self, target: &QualifiedName) -> impl Iterator<Item = &Side<'a>> {
        let pairs = self.pairs.iter();
        let own = pairs.filter(move |it| self.targets[it.target].relation.table.name == *target);
        own.map(|it| &self.sources[it.source])
    }
}

fn sides(relations: &[Relation]) -> Vec<Side<'_>> {
    let mut first_words: BTreeMap<String, usize> = BTreeMap::new();
    let mut column_names: BTreeMap<String, usize> = BTreeMap::new();
    for relation in relations {
        let words = words(&relation.table.name.name);
        if words.len() > 1 {
            *first_words.entry(words[0].clone()).or_default() += 1;
        }
        let names: BTreeSet<&str> = relation
            .table
            .columns
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        for name in names {
            *column_names.entry(name.to_owned()).or_default() += 1;
        }
    }
    let share = |name: &str| {
        let tables = u32::try_from(relations.len()).unwrap_or(u32::MAX);
        let having = u32::try_from(column_names.get(name).copied().unwrap_or(1)).unwrap_or(1);
        1.0 - f64::from(having) / f64::from(tables.saturating_add(1))
    };
    relations
        .iter()
        .map(|relation| {
            let words = words(&relation.table.name.name);
            let full = joined(&words);
            let prefix = words.first().filter(|_| words.len() > 1);
            let known = ["tbl", "tb", "t", "auth", "app", "public", "dim", "fact"];
            let prefix = prefix
                .filter(|it| first_words[*it] > 1 || known.contains(&it.as_str()))
                .cloned();
            let short = prefix.as_ref().map(|_| joined(&words[1..]));
            let table = short.clone().unwrap_or_else(|| full.clone());
            let columns = &relation.table.columns;
            Side {
                relation,
                names: std::iter::once(full).chain(short).collect(),
                prefix,
                shapes: columns.iter().map(|it| Shape::of(it, &table)).collect(),
                legacy: columns
                    .iter()
                    .map(|it| legacy(&it.name).map(|it| (joined(&it.of), it.is_table)))
                    .collect(),
                weights: columns.iter().map(|it| share(&it.name)).collect(),
            }
        })
        .collect()
}

/// Tells whether a target column holds a key of another table.
pub(super) fn is_reference(relation: &Relation, column: &str) -> bool {
    let mut keys = relation.table.foreign_keys.iter();
    keys.any(|key| key.columns.len() == 1 && key.columns[0] == column)
}

/// Finds all pairs. Foreign keys are compared once the first pairs are known.
pub(super) fn pair(known: &Known) -> Pairing<'_> {
    let (sources, targets) = (sides(&known.source), sides(&known.target));
    let mut pairs: Vec<Pair> = Vec::new();
    let mut scores = Vec::new();
    let alone: Vec<Vec<Vec<Part>>> = sources
        .iter()
        .map(|source| {
            let row = targets.iter();
            row.map(|target| by_themselves(source, target)).collect()
        })
        .collect();
    for _ in 0..2 {
        let mut fed: BTreeMap<&QualifiedName, BTreeSet<&QualifiedName>> = BTreeMap::new();
        for pair in &pairs {
            let feeder = &sources[pair.source].relation.table.name;
            let table = &targets[pair.target].relation.table.name;
            fed.entry(table).or_default().insert(feeder);
        }
        let evidence: Vec<Vec<Evidence>> = sources
            .iter()
            .zip(&alone)
            .map(|(source, row)| {
                let row = targets.iter().zip(row);
                let row = row.map(|(target, parts)| {
                    let mut parts = parts.clone();
                    parts.push(by_parents(source, target, &fed));
                    Evidence::of(&parts)
                });
                row.collect()
            })
            .collect();
        pairs = choose(&evidence, &targets);
        scores = evidence
            .iter()
            .map(|row| row.iter().map(|it| it.score).collect())
            .collect();
    }
    Pairing {
        sources,
        targets,
        pairs,
        scores,
    }
}

/// Takes the best pairs first. A target is fed once, unless it keeps note of the tables its rows come from.
fn choose(evidence: &[Vec<Evidence>], targets: &[Side<'_>]) -> Vec<Pair> {
    let mut all: Vec<(usize, usize, &Evidence)> = Vec::new();
    for (source, row) in evidence.iter().enumerate() {
        let row = row.iter().enumerate();
        all.extend(row.map(|(target, it)| (source, target, it)));
    }
    all.retain(|(_, _, it)| it.score >= ENOUGH);
    all.sort_by(|a, b| b.2.score.total_cmp(&a.2.score));
    let (mut fed, mut used) = (BTreeSet::new(), BTreeSet::new());
    let mut pairs = Vec::new();
    for (source, target, it) in all {
        let may_share = !used.contains(&source) || it.by_name >= ENOUGH_TO_SHARE;
        let may_join = !fed.contains(&target)
            || (!used.contains(&source) && takes_many(targets[target].relation));
        if may_share && may_join {
            fed.insert(target);
            used.insert(source);
            pairs.push(Pair {
                source,
                target,
                score: it.score,
                reasons: it.reasons.clone(),
            });
        }
    }
    pairs.sort_by_key(|it| it.target);
    pairs
}

/// Tells whether a target table has a column for the name of the source table.
fn takes_many(relation: &Relation) -> bool {
    let mut columns = relation.table.columns.iter();
    columns.any(|it| legacy(&it.name).is_some_and(|it| it.is_table))
}
