//! Which entities name a table or a column, and where.

use crate::domain::catalog::Column;
use crate::domain::connection::Side;
use crate::domain::identifier::QualifiedName;
use crate::domain::mapping::uses::{Place, source_columns, target_columns};
use crate::domain::mapping::{ColumnRef, ColumnRule, Entity, Hop, Mapping, Rule, SourceRelation};
use std::collections::BTreeSet;

/// A place of an entity that names something.
#[derive(Debug, Clone, Copy)]
pub struct Use<'m> {
    /// The entity.
    pub entity: &'m Entity,
    /// The place.
    pub place: Place<'m>,
}

/// Looks the mapping up by what it names.
pub struct Usage<'m> {
    mapping: &'m Mapping,
    /// The columns of source tables, old and new ones.
    columns: &'m dyn Fn(&QualifiedName) -> Vec<Column>,
}

fn own_table(mapping: &Mapping, entity: &Entity) -> Option<QualifiedName> {
    match &entity.source {
        SourceRelation::Table(name) => Some(QualifiedName::parse(name, &mapping.source_schema)),
        SourceRelation::Query { .. } => None,
    }
}

fn hops_of(entity: &Entity) -> impl Iterator<Item = (&ColumnRule, &Hop)> {
    entity.columns.iter().flat_map(|rule| {
        let hops: &[Hop] = match &rule.rule {
            Rule::Reference { via, .. } => via,
            _ => &[],
        };
        hops.iter().map(move |hop| (rule, hop))
    })
}

/// The table of a hop, which names an entity or a table.
fn hop_table(mapping: &Mapping, hop: &Hop) -> Option<QualifiedName> {
    let entity = mapping.entities.iter().find(|it| it.name == hop.relation);
    match entity {
        Some(entity) => own_table(mapping, entity),
        None => Some(QualifiedName::parse(&hop.relation, &mapping.source_schema)),
    }
}

fn target_of(mapping: &Mapping, entity: &Entity) -> QualifiedName {
    QualifiedName::parse(&entity.target, &mapping.target_schema)
}

/// Lists the tables that a mapping names on one side.
pub fn named_tables(mapping: &Mapping, side: Side) -> BTreeSet<QualifiedName> {
    let entities = mapping.entities.iter();
    match side {
        Side::Source => entities.flat_map(|it| mapping.read_tables(it)).collect(),
        Side::Target => entities.map(|it| target_of(mapping, it)).collect(),
    }
}

impl<'m> Usage<'m> {
    /// Prepares the look-up; `columns` lists what a source table has or had.
    pub fn new(
        mapping: &'m Mapping,
        columns: &'m dyn Fn(&QualifiedName) -> Vec<Column>,
    ) -> Usage<'m> {
        Usage { mapping, columns }
    }

    /// Returns the mapping.
    pub fn mapping(&self) -> &'m Mapping {
        self.mapping
    }

    /// The entities whose own source, or target, is this table.
    pub fn of_own(&self, side: Side, table: &QualifiedName) -> Vec<&'m Entity> {
        let entities = self.mapping.entities.iter();
        let own = entities.filter(|it| match side {
            Side::Source => own_table(self.mapping, it).as_ref() == Some(table),
            Side::Target => target_of(self.mapping, it) == *table,
        });
        own.collect()
    }

    /// The entities that read or write this table in any way.
    pub fn of_table(&self, side: Side, table: &QualifiedName) -> Vec<&'m Entity> {
        let entities = self.mapping.entities.iter();
        let all = entities.filter(|it| match side {
            Side::Source => self.mapping.read_tables(it).contains(table),
            Side::Target => target_of(self.mapping, it) == *table,
        });
        all.collect()
    }

    /// The target table of an entity.
    pub fn target(&self, entity: &Entity) -> QualifiedName {
        target_of(self.mapping, entity)
    }

    /// The places that name a column of a table.
    pub fn of_column(&self, side: Side, table: &QualifiedName, column: &str) -> Vec<Use<'m>> {
        let mut found = Vec::new();
        for entity in self.of_table(side, table) {
            let places: Vec<Place<'m>> = match side {
                Side::Source => {
                    let named = source_columns(entity).into_iter();
                    let own = named.filter(|(_, it)| {
                        it.column == column && self.owner(entity, it).as_ref() == Some(table)
                    });
                    let hops = hops_of(entity).filter(|(_, hop)| {
                        let owner = hop_table(self.mapping, hop);
                        hop.column == column && owner.as_ref() == Some(table)
                    });
                    let hops = hops.map(|(rule, _)| Place::Rule(rule));
                    own.map(|(place, _)| place).chain(hops).collect()
                }
                Side::Target => {
                    let named = target_columns(entity).into_iter();
                    let own = named.filter(|(_, name)| *name == column);
                    own.map(|(place, _)| place).collect()
                }
            };
            found.extend(places.into_iter().map(|place| Use { entity, place }));
        }
        found
    }

    /// Finds the table that a column of an entity belongs to.
    pub fn owner(&self, entity: &Entity, column: &ColumnRef) -> Option<QualifiedName> {
        let own = own_table(self.mapping, entity);
        let joined = |name: &str| QualifiedName::parse(name, &self.mapping.source_schema);
        let mut joins = entity.joins.iter();
        if let Some(alias) = &column.table {
            if *alias == entity.alias {
                return own;
            }
            let join = joins.find(|join| join.alias == *alias);
            return join.map(|join| joined(&join.table));
        }
        let has = |table: &QualifiedName| {
            let columns = (self.columns)(table);
            columns.iter().any(|it| it.name == column.column)
        };
        if own.as_ref().is_some_and(has) {
            return own;
        }
        let mut with_it = joins.map(|join| joined(&join.table)).filter(|it| has(it));
        with_it.next().or(own)
    }
}
