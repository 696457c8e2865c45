//! The order in which entities are applied: parents before children, in waves.

use super::mapping::Missing;
use super::resolve::ResolvedEntity;
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What `migrate` will do, as a value; `--dry-run` prints exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Entities that may run at the same time, wave after wave.
    pub waves: Vec<Vec<PlannedEntity>>,
}

/// An entity in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedEntity {
    /// Its name.
    pub entity: String,
    /// The source relation, for people.
    pub source: String,
    /// The target table, for people.
    pub target: String,
    /// Parents it refers to, itself included.
    pub parents: Vec<String>,
    /// Parents whose references are written as NULL first and patched later.
    pub deferred: Vec<String>,
}

/// A cycle of references that cannot be broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the entities {} refer to each other in a circle and none of the references may be NULL for a while", .0.join(" -> "))]
pub struct Cycle(pub Vec<String>);

struct Edges<'a> {
    parents: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Edges<'a> {
    fn components(&self) -> Vec<Vec<&'a str>> {
        let mut graph = DiGraphMap::<&str, ()>::new();
        for (child, parents) in &self.parents {
            graph.add_node(*child);
            for parent in parents {
                graph.add_edge(*child, *parent, ());
            }
        }
        tarjan_scc(&graph)
    }
}

fn may_defer(entity: &ResolvedEntity, parent: &str) -> bool {
    entity
        .columns
        .iter()
        .filter(|column| column.parents().contains(&parent))
        .all(|column| column.missing() == Some(Missing::Null) && !column.not_null)
}

/// Orders the entities. Parents outside the selection are taken as already there.
///
/// # Errors
/// A circle of references that all must be there at once.
pub fn plan(entities: &[ResolvedEntity]) -> Result<Plan, Cycle> {
    let names: BTreeSet<&str> = entities.iter().map(|entity| entity.name.as_str()).collect();
    let mut edges = Edges {
        parents: BTreeMap::new(),
    };
    for entity in entities {
        let parents = entity.parents().into_iter();
        let inside = parents.filter(|parent| *parent != entity.name && names.contains(parent));
        edges.parents.insert(&entity.name, inside.collect());
    }
    let mut deferred: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for component in edges.components() {
        if component.len() < 2 {
            continue;
        }
        for entity in entities
            .iter()
            .filter(|it| component.contains(&it.name.as_str()))
        {
            let Some(parents) = edges.parents.get_mut(entity.name.as_str()) else {
                continue;
            };
            let soft: Vec<&str> = parents
                .iter()
                .copied()
                .filter(|parent| component.contains(parent) && may_defer(entity, parent))
                .collect();
            for parent in soft {
                parents.remove(parent);
                deferred.entry(&entity.name).or_default().insert(parent);
            }
        }
    }
    if let Some(cycle) = edges.components().into_iter().find(|it| it.len() > 1) {
        return Err(Cycle(cycle.into_iter().map(str::to_owned).collect()));
    }
    Ok(Plan {
        waves: layer(entities, &edges, &deferred),
    })
}

fn layer(
    entities: &[ResolvedEntity],
    edges: &Edges<'_>,
    deferred: &BTreeMap<&str, BTreeSet<&str>>,
) -> Vec<Vec<PlannedEntity>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut waves = Vec::new();
    while done.len() < entities.len() {
        let ready: Vec<&ResolvedEntity> = entities
            .iter()
            .filter(|entity| !done.contains(entity.name.as_str()))
            .filter(|entity| edges.parents[entity.name.as_str()].is_subset(&done))
            .collect();
        done.extend(ready.iter().map(|entity| entity.name.as_str()));
        let planned = ready.into_iter().map(|entity| PlannedEntity {
            entity: entity.name.clone(),
            source: entity.source.label(),
            target: entity.target.to_string(),
            parents: entity.parents().into_iter().map(str::to_owned).collect(),
            deferred: deferred
                .get(entity.name.as_str())
                .map(|it| it.iter().map(|parent| (*parent).to_owned()).collect())
                .unwrap_or_default(),
        });
        waves.push(planned.collect());
    }
    waves
}
