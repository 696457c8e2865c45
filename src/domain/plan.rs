//! The order in which entities are applied: parents before children, in waves.

use super::catalog::ForeignKey;
use super::identifier::quote_identifier;
use super::mapping::Missing;
use super::resolve::{ResolvedColumn, ResolvedEntity};
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
    /// The entities of its knot in the order in which they are written, itself included; empty without one.
    pub knot: Vec<String>,
}

/// A circle of references that cannot be broken and whose foreign keys do not let its rows go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the entities {} refer to each other in a circle and none of the references may be NULL for a while", .entities.join(" -> "))]
pub struct Cycle {
    /// The entities of the circle.
    pub entities: Vec<String>,
    /// The foreign keys that check its references at once: table and constraint, quoted for SQL.
    pub constraints: Vec<(String, String)>,
    /// Those of the entities whose keys have several columns, by which a circle cannot be followed.
    pub composite: Vec<String>,
}

impl Plan {
    /// Parts a wave into what is applied by itself: an entity, or the entities of a knot in their order.
    pub fn units(wave: &[PlannedEntity]) -> Vec<Vec<&PlannedEntity>> {
        let knot_of = |first: &PlannedEntity| {
            let members = first.knot.iter();
            members
                .filter_map(|name| wave.iter().find(|it| it.entity == *name))
                .collect()
        };
        let firsts = wave.iter().filter_map(|it| match it.knot.first() {
            None => Some(vec![it]),
            Some(first) => (*first == it.entity).then(|| knot_of(it)),
        });
        firsts.collect()
    }

    /// Keeps the chosen entities. What is left of a knot stays one, as long as it is more than one entity.
    #[must_use]
    pub fn reduced(&self, is_chosen: impl Fn(&str) -> bool) -> Plan {
        let keep = |it: &PlannedEntity| {
            let mut kept = it.clone();
            kept.knot.retain(|name| is_chosen(name));
            if kept.knot.len() < 2 {
                kept.knot.clear();
            }
            kept
        };
        let waves = self.waves.iter().map(|wave| {
            let chosen = wave.iter().filter(|it| is_chosen(&it.entity));
            chosen.map(keep).collect::<Vec<_>>()
        });
        Plan {
            waves: waves.filter(|wave| !wave.is_empty()).collect(),
        }
    }
}

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

    /// Lets the entities of a knot wait for the parents of all of them, and not for each other.
    fn merge(&mut self, knot: &[&'a str]) {
        let parents = knot.iter().flat_map(|name| self.parents[name].iter());
        let outside: BTreeSet<&str> = parents
            .copied()
            .filter(|parent| !knot.contains(parent))
            .collect();
        for name in knot {
            self.parents.insert(name, outside.clone());
        }
    }
}

fn may_be_null(column: &ResolvedColumn) -> bool {
    column.missing() == Some(Missing::Null) && !column.not_null
}

fn may_defer(entity: &ResolvedEntity, parent: &str) -> bool {
    let references = entity.columns.iter();
    references
        .filter(|column| column.parents().contains(&parent))
        .all(may_be_null)
}

/// The foreign keys because of which a parent's rows must be written before the rows that refer to them.
fn binding<'a>(child: &'a ResolvedEntity, parent: &ResolvedEntity) -> Vec<&'a ForeignKey> {
    let columns = child.columns.iter();
    let columns = columns.filter(|it| it.parents().contains(&parent.name.as_str()));
    columns
        .filter(|column| !may_be_null(column))
        .flat_map(|column| child.checked_at_once(&column.name, parent))
        .collect()
}

/// Orders entities that refer to each other so that every foreign key that is checked at once finds its parent.
fn tie<'a>(members: &[&'a ResolvedEntity]) -> Result<Vec<&'a str>, Cycle> {
    let is_bound = |child: &ResolvedEntity, parent: &ResolvedEntity| {
        (child.name == parent.name || !may_defer(child, &parent.name))
            && !binding(child, parent).is_empty()
    };
    let mut order: Vec<&str> = Vec::new();
    while order.len() < members.len() {
        let left = members
            .iter()
            .filter(|it| !order.contains(&it.name.as_str()));
        let left: Vec<&ResolvedEntity> = left.copied().collect();
        let free = left
            .iter()
            .find(|child| !left.iter().any(|parent| is_bound(child, parent)));
        match free {
            Some(it) => order.push(&it.name),
            None => return Err(cycle(members, &left)),
        }
    }
    Ok(order)
}

fn cycle(members: &[&ResolvedEntity], stuck: &[&ResolvedEntity]) -> Cycle {
    let mut constraints = BTreeSet::new();
    for child in stuck {
        let keys = stuck.iter().flat_map(|parent| binding(child, parent));
        constraints.extend(keys.map(|key| (child.target.sql(), quote_identifier(&key.name))));
    }
    Cycle {
        entities: members.iter().map(|it| it.name.clone()).collect(),
        constraints: constraints.into_iter().collect(),
        composite: Vec::new(),
    }
}

/// Refuses a circle through a key of several columns.
fn check_keys(members: &[&ResolvedEntity]) -> Result<(), Cycle> {
    let composite = members.iter().filter(|it| it.source.key.len() > 1);
    let composite: Vec<String> = composite.map(|it| it.name.clone()).collect();
    match composite.is_empty() {
        true => Ok(()),
        false => Err(Cycle {
            composite,
            ..cycle(members, &[])
        }),
    }
}

/// Orders the entities. Parents outside the selection are taken as already there.
///
/// # Errors
/// A circle of references that all must be there at once, and are checked at once.
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
    let deferred = break_circles(entities, &mut edges);
    let mut knots: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for component in edges.components().iter().filter(|it| it.len() > 1) {
        let members = entities.iter();
        let members = members.filter(|it| component.contains(&it.name.as_str()));
        let members: Vec<&ResolvedEntity> = members.collect();
        check_keys(&members)?;
        let knot = tie(&members)?;
        edges.merge(&knot);
        knots.extend(knot.iter().map(|name| (*name, knot.clone())));
    }
    Ok(Plan {
        waves: layer(entities, &edges, &deferred, &knots),
    })
}

/// Takes the references that may be NULL for a while out of all circles.
fn break_circles<'a>(
    entities: &'a [ResolvedEntity],
    edges: &mut Edges<'a>,
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut deferred: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for component in edges.components().iter().filter(|it| it.len() > 1) {
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
    deferred
}

fn layer(
    entities: &[ResolvedEntity],
    edges: &Edges<'_>,
    deferred: &BTreeMap<&str, BTreeSet<&str>>,
    knots: &BTreeMap<&str, Vec<&str>>,
) -> Vec<Vec<PlannedEntity>> {
    let own = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
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
            knot: knots
                .get(entity.name.as_str())
                .map(|it| own(it))
                .unwrap_or_default(),
        });
        waves.push(planned.collect());
    }
    waves
}
