//! References: foreign keys of the target and the source columns that hold the same thing.

use super::entity::Head;
use super::likeness::like;
use super::name::{joined, words};
use super::pairing::{Pairing, is_reference};
use super::{EntityDraft, Known, RuleDraft};
use crate::domain::catalog::Column;
use crate::domain::identifier::QualifiedName;
use crate::domain::key::KeyType;
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use std::collections::BTreeSet;

impl EntityDraft {
    /// Names the entities that its rules refer to.
    pub(super) fn parents(&self) -> impl Iterator<Item = &str> {
        let rules = self.columns.iter();
        rules.filter_map(|it| match &it.rule {
            RuleDraft::Ref { entity, .. } => Some(entity.as_str()),
            _ => None,
        })
    }
}

/// The table that a target column refers to: by a foreign key, or by its name and type.
pub(super) fn parent_table(
    pairing: &Pairing<'_>,
    head: &Head<'_>,
    column: &Column,
) -> Option<QualifiedName> {
    let table = &head.target.relation.table;
    let mut keys = table.foreign_keys.iter();
    if let Some(key) = keys.find(|key| key.columns.len() == 1 && key.columns[0] == column.name) {
        return Some(key.referenced.clone());
    }
    let mut own = words(&column.name);
    if own.len() < 2 || own.pop().as_deref() != Some("id") {
        return None;
    }
    let wanted = joined(&own);
    let named = pairing
        .targets
        .iter()
        .find(|side| side.names.contains(&wanted))?;
    let id = super::identity::id_column(named.relation)?;
    let is_alike =
        id.column_type.base == column.column_type.base && column.column_type.base == "uuid";
    is_alike.then(|| named.relation.table.name.clone())
}

/// A reference that was found.
pub(super) struct Found {
    pub entity: String,
    pub by: String,
    pub score: f64,
    pub reason: String,
}

/// Finds the source column that holds the key of a target column's parent.
pub(super) fn find(
    heads: &[Head<'_>],
    head: &Head<'_>,
    column: &Column,
    parent: &QualifiedName,
) -> Option<Found> {
    let feeders = heads
        .iter()
        .filter(|it| it.target.relation.table.name == *parent);
    let mut best: Option<Found> = None;
    for feeder in feeders {
        let [key_type] = feeder.key_types.as_slice() else {
            continue;
        };
        for candidate in &head.source.relation.table.columns {
            if KeyType::from_base_type(&candidate.column_type.base) != Some(*key_type) {
                continue;
            }
            let Some((score, reason)) = weigh(head, feeder, candidate, column) else {
                continue;
            };
            if score >= 0.6 && best.as_ref().is_none_or(|it| score > it.score) {
                best = Some(Found {
                    entity: feeder.name.clone(),
                    by: candidate.name.clone(),
                    score,
                    reason,
                });
            }
        }
    }
    best
}

fn weigh(
    head: &Head<'_>,
    feeder: &Head<'_>,
    candidate: &Column,
    column: &Column,
) -> Option<(f64, String)> {
    let own = &head.source.relation.table;
    let parent = &feeder.source.relation.table;
    if own.primary_key.as_slice() == [candidate.name.clone()] {
        let is_own = own.name == parent.name && head.name != feeder.name;
        return is_own.then(|| {
            (
                0.65,
                format!("the same row of {} feeds `{}`", own.name.name, feeder.name),
            )
        });
    }
    let index = |side: &super::pairing::Side<'_>, name: &str| {
        side.shapes.iter().position(|it| it.name == name)
    };
    let source = &head.source.shapes[index(head.source, &candidate.name)?];
    let target = &head.target.shapes[index(head.target, &column.name)?];
    let by_name = like(source, target);
    let alike = by_name.as_ref().map_or(0.0, |it| it.0);
    let mut keys = own.foreign_keys.iter();
    let key = keys.find(|key| key.columns.len() == 1 && key.columns[0] == candidate.name);
    match key {
        Some(key) if key.referenced == parent.name && key.referenced_columns == feeder.key => {
            let reason = format!(
                "a foreign key to {}, which feeds `{}`",
                parent.name.name, feeder.name
            );
            return Some((0.7 + 0.3 * alike, reason));
        }
        // It refers to something else.
        Some(_) => return None,
        None => {}
    }
    if alike >= 1.0 {
        return Some((
            0.95,
            "same name, and a foreign key of the target".to_owned(),
        ));
    }
    let mut own_words = words(&candidate.name);
    let is_id = own_words.len() > 1 && own_words.last().is_some_and(|it| it == "id");
    if is_id {
        own_words.pop();
    }
    let about = joined(&own_words);
    if feeder.source.names.contains(&about) || feeder.target.names.contains(&about) {
        let reason = format!(
            "named after {}, which feeds `{}`",
            parent.name.name, feeder.name
        );
        return Some((0.85, reason));
    }
    let (score, reason) = by_name?;
    // Any number could be meant; a name that only shares a word must at least say that it is a key.
    (is_id || score >= 0.75).then_some((0.6 + 0.25 * score, reason))
}

/// Makes references of circles NULL at first where that is allowed, so that an order can be found.
pub(super) fn soften_circles(known: &Known, entities: &mut [EntityDraft]) {
    let names: Vec<String> = entities.iter().map(|it| it.entity.clone()).collect();
    let mut graph = DiGraphMap::<&str, ()>::new();
    for (entity, name) in entities.iter().zip(&names) {
        graph.add_node(name.as_str());
        for parent in entity.parents() {
            let parent = names.iter().find(|it| *it == parent);
            if let Some(parent) = parent.filter(|it| *it != name) {
                graph.add_edge(name.as_str(), parent.as_str(), ());
            }
        }
    }
    for circle in tarjan_scc(&graph).iter().filter(|it| it.len() > 1) {
        let members: BTreeSet<&str> = circle.iter().copied().collect();
        for entity in entities
            .iter_mut()
            .filter(|it| members.contains(it.entity.as_str()))
        {
            soften(known, entity, &members);
        }
    }
}

fn soften(known: &Known, entity: &mut EntityDraft, members: &BTreeSet<&str>) {
    let mut targets = known.target.iter();
    let Some(relation) = targets.find(|it| it.table.name == entity.target) else {
        return;
    };
    for column in &mut entity.columns {
        let may_be_null = relation
            .table
            .column(&column.column)
            .is_some_and(|it| !it.not_null);
        if let RuleDraft::Ref {
            entity: parent,
            is_soft,
            ..
        } = &mut column.rule
            && *parent != entity.entity
            && members.contains(parent.as_str())
            && may_be_null
        {
            *is_soft = true;
            column
                .reason
                .push_str("; one of a circle, so it is filled last");
        }
    }
}

/// Tells whether a target column is a key of a table that is not drafted, such as one of Supabase's own.
pub(super) fn leads_away(head: &Head<'_>, column: &Column) -> bool {
    is_reference(head.target.relation, &column.name)
}
