//! Makes entities of pairs.

use super::column::Work;
use super::identity::{identity, key_of, key_types};
use super::leftover;
use super::name::words;
use super::pairing::{Pair, Pairing, Side};
use super::{Draft, EntityDraft, Known, Todo};
use crate::domain::key::KeyType;
use std::collections::{BTreeMap, BTreeSet};

/// What other entities need to know of one.
pub(super) struct Head<'a> {
    pub name: String,
    pub source: &'a Side<'a>,
    pub target: &'a Side<'a>,
    pub key: Vec<String>,
    pub key_types: Vec<KeyType>,
}

/// Drafts all entities and lists what is left of both sides.
pub(super) fn draft_all(known: &Known, pairing: &Pairing<'_>) -> Draft {
    let heads = heads(pairing);
    let mut questions = BTreeSet::new();
    let mut entities = Vec::new();
    let mut needs_zone = false;
    for (pair, head) in pairing.pairs.iter().zip(&heads) {
        let mut work = Work::new(known, pairing, &heads, head, begin(pair, head));
        work.fill();
        needs_zone |= work.needs_zone;
        questions.append(&mut work.questions);
        entities.push(work.finish());
    }
    Draft {
        source_schema: known.source_schema.clone(),
        target_schema: known.target_schema.clone(),
        time_zone: needs_zone.then(|| known.time_zone.clone()),
        entities: parents_first(entities),
        unmatched_targets: leftover::targets(pairing),
        unmatched_sources: leftover::sources(pairing),
        questions,
    }
}

fn begin(pair: &Pair, head: &Head<'_>) -> EntityDraft {
    let (id, open) = identity(head.source, head.target);
    let primary = &head.source.relation.table.primary_key;
    let mut todo: Vec<Todo> = open.into_iter().collect();
    if head.key.is_empty() {
        let need = format!(
            "{} has no key of integers, texts, uuids or dates without NULL: name columns that are one, key = [\"...\"]",
            head.source.relation.table.name
        );
        todo.insert(
            0,
            Todo {
                key: "key".to_owned(),
                need,
            },
        );
    }
    EntityDraft {
        entity: head.name.clone(),
        source: head.source.relation.table.name.clone(),
        alias: alias(
            &head.source.relation.table.name.name,
            head.source.prefix.as_deref(),
        ),
        join: None,
        target: head.target.relation.table.name.clone(),
        score: pair.score,
        reasons: pair.reasons.clone(),
        key: (!head.key.is_empty() && head.key != *primary).then(|| head.key.clone()),
        id,
        legacy: Default::default(),
        updated_at: None,
        columns: Vec::new(),
        left: Vec::new(),
        ignore: Vec::new(),
        hints: Vec::new(),
        todo,
    }
}

fn heads<'a>(pairing: &'a Pairing<'a>) -> Vec<Head<'a>> {
    let mut count: BTreeMap<usize, usize> = BTreeMap::new();
    for pair in &pairing.pairs {
        *count.entry(pair.target).or_default() += 1;
    }
    let mut taken = BTreeSet::new();
    let heads = pairing.pairs.iter().map(|pair| {
        let (source, target) = (&pairing.sources[pair.source], &pairing.targets[pair.target]);
        let mut name = plain(&target.relation.table.name.name);
        if count[&pair.target] > 1 {
            let own = words(&source.relation.table.name.name);
            let skip = usize::from(source.prefix.is_some());
            name = format!("{name}_{}", plain(&own[skip..].join("_")));
        }
        name.truncate(40);
        let key = key_of(source.relation).unwrap_or_default();
        Head {
            name: unique(name, &mut taken),
            source,
            target,
            key_types: key_types(source.relation, &key),
            key,
        }
    });
    heads.collect()
}

/// Keeps what an entity's name may consist of.
fn plain(name: &str) -> String {
    let mut plain: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if plain.is_empty() {
        plain.push('_');
    }
    plain
}

fn unique(name: String, taken: &mut BTreeSet<String>) -> String {
    let mut candidate = name.clone();
    let mut number = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}_{number}");
        number += 1;
    }
    candidate
}

/// Words that cannot stand for a table in an expression.
const WORDS: &[&str] = &[
    "as", "at", "by", "do", "go", "if", "in", "is", "no", "of", "on", "or", "to",
];

/// The first letters of a table's name.
pub(super) fn alias(table: &str, prefix: Option<&str>) -> String {
    let words = words(table);
    let skip = usize::from(prefix.is_some() && words.len() > 1);
    let letters: String = words[skip..]
        .iter()
        .filter_map(|word| word.chars().next())
        .collect();
    let is_plain = letters.starts_with(|c: char| c.is_ascii_lowercase())
        && letters
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !is_plain || WORDS.contains(&letters.as_str()) || letters.len() > 8 {
        return "src".to_owned();
    }
    letters
}

/// Puts parents in front of the entities that refer to them; what is in a circle keeps its place.
fn parents_first(mut left: Vec<EntityDraft>) -> Vec<EntityDraft> {
    let mut done: Vec<EntityDraft> = Vec::new();
    while !left.is_empty() {
        let is_open =
            |name: &str, own: &str| name != own && left.iter().any(|it| it.entity == name);
        let next = left.iter().position(|it| {
            let mut parents = it.parents();
            !parents.any(|name| is_open(name, &it.entity))
        });
        done.push(left.remove(next.unwrap_or(0)));
    }
    done
}
