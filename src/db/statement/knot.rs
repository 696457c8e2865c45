//! The statements of a knot: entities whose rows need each other and go in one transaction.
//!
//! Every entity has a stage table of its own that holds all of its rows. A row *comes* when each of its
//! parents is in the target or comes as well; references to rows that come are translated before those are
//! written, and the server checks them at the end of the transaction.

use super::apply::{Ahead, ApplyStatements, THIS_XID, is_there};
use super::ledger::{fallback_id, ledger_name};
use super::source::key_arrays;
use super::target_row::{Reference, TargetRow};
use super::{Statement, key_equality, stored_key_equality};
use crate::domain::catalog::ForeignKey;
use crate::domain::identifier::{quote_identifier, quote_literal};
use crate::domain::key::{Key, KeyFault};
use crate::domain::mapping::{DeletePolicy, Missing};
use crate::domain::resolve::ResolvedEntity;
use std::collections::BTreeSet;

/// The SQLSTATEs with which the target refuses a row because of other rows.
const REFUSED_BY_OTHERS: &str = "('23503', '23505', '23P01')";

/// A check that finds what a foreign key refuses before the server does: the server names no row.
#[derive(Debug, Clone)]
pub struct Check {
    /// The name of the foreign key.
    pub constraint: String,
    /// Returns the ordinals of the rows that it refuses.
    pub statement: Statement,
}

struct Member {
    entity: ResolvedEntity,
    references: Vec<Reference>,
    stage: String,
    ahead: Ahead,
}

impl Member {
    fn ledger(&self) -> String {
        ledger_name(&self.entity.name)
    }

    fn key_type(&self) -> &'static str {
        let types = self.entity.key_types();
        types.first().map_or("text", |it| it.sql_type())
    }

    /// The references without which a row cannot go.
    fn needs(&self) -> impl Iterator<Item = &Reference> {
        let references = self.references.iter();
        references.filter(|it| it.missing.keeps_out())
    }
}

/// The statements of one knot.
pub struct KnotStatements {
    members: Vec<Member>,
}

impl KnotStatements {
    /// Compiles the entities, in the order in which they are written.
    pub fn new(entities: &[&ResolvedEntity]) -> Self {
        let stage = |place: usize| format!("pg_temp.diffmig_stage_{place}");
        let members = entities.iter().enumerate().map(|(place, entity)| {
            let references = TargetRow::new(entity).references;
            let ahead = references.iter().filter_map(|it| {
                let parent = entities
                    .iter()
                    .position(|parent| parent.name == it.entity)?;
                let checks = &mut entity.checked_at_once(&it.column, entities[parent]);
                let key = (it.column.clone(), it.entity.clone());
                let waits = entities.len() == 1 || checks.next().is_none();
                waits.then(|| (key, stage(parent)))
            });
            Member {
                ahead: ahead.collect(),
                references,
                stage: stage(place),
                entity: (*entity).clone(),
            }
        });
        KnotStatements {
            members: members.collect(),
        }
    }

    /// The statements with which the entity at this place stages and applies its rows.
    pub fn of_member(&self, place: usize) -> ApplyStatements {
        let member = &self.members[place];
        let ahead = Some(member.ahead.clone());
        ApplyStatements::in_stage(&member.entity, &member.stage, ahead)
    }

    /// Tells whether rows that need each other must be written by one statement, since a foreign key checks
    /// them right after it. Only one entity by itself can be written so.
    pub fn is_checked_at_once(&self) -> bool {
        let [member] = self.members.as_slice() else {
            return false;
        };
        let mut needs = member.needs();
        needs.any(|it| {
            let own = it.is_self(&member.entity);
            let checks = &mut member.entity.checked_at_once(&it.column, &member.entity);
            own && checks.next().is_some()
        })
    }

    fn place_of(&self, entity: &str) -> Option<usize> {
        self.members.iter().position(|it| it.entity.name == entity)
    }

    /// The deferrable foreign keys between tables of the knot, each with the place of its table.
    fn deferrable(&self) -> impl Iterator<Item = (usize, &ForeignKey)> {
        let targets: BTreeSet<_> = self.members.iter().map(|it| &it.entity.target).collect();
        let members = self.members.iter().enumerate();
        let keys = members
            .flat_map(|(place, it)| it.entity.foreign_keys.iter().map(move |key| (place, key)));
        keys.filter(move |(_, key)| key.is_deferrable && targets.contains(&key.referenced))
    }

    /// Puts the checks between the tables of the knot off to the end of the transaction, and no others.
    pub fn defer(&self) -> Statement {
        let names: BTreeSet<String> = self
            .deferrable()
            .map(|(place, key)| {
                let schema = quote_identifier(&self.members[place].entity.target.schema);
                format!("{schema}.{}", quote_identifier(&key.name))
            })
            .collect();
        let names: Vec<String> = names.into_iter().collect();
        let deferred = match names.is_empty() {
            true => String::new(),
            false => format!("; set constraints {} deferred", names.join(", ")),
        };
        Statement::new(format!("set constraints all immediate{deferred}"))
    }

    /// Drops the stage tables.
    pub fn drop(&self) -> Statement {
        let stages: Vec<&str> = self.members.iter().map(|it| it.stage.as_str()).collect();
        Statement::new(format!("drop table if exists {}", stages.join(", ")))
    }

    /// Takes staged rows out of those that come: bad ones, those whose parent is missing, and whatever
    /// needs one of them.
    pub fn hold_stuck(&self) -> Statement {
        let seeds = (0..self.members.len()).map(|place| self.stuck_by_itself(place));
        let seeds: Vec<String> = seeds.collect();
        let follow: Vec<String> = (0..self.members.len())
            .flat_map(|place| self.stuck_behind(place))
            .collect();
        let held = self.members.iter().enumerate().map(|(place, it)| {
            format!(
                "held_{place} as (update {} s set comes = false from stuck b where s.k0 = {} and s.comes returning 1)",
                it.stage,
                self.stuck_key(place)
            )
        });
        let spread = match follow.is_empty() {
            true => String::new(),
            false => format!(
                " union select v.member, v.k from stuck b cross join lateral ({}) v",
                follow.join(" union all ")
            ),
        };
        Statement::new(format!(
            "with recursive stuck (member, k) as ({}{spread}), {} select 1",
            seeds.join(" union all "),
            held.collect::<Vec<_>>().join(", ")
        ))
    }

    /// The key of a stuck row `b`, if it is one of this entity's.
    fn stuck_key(&self, place: usize) -> String {
        let key_type = self.members[place].key_type();
        format!("(case when b.member = {place} then b.k end)::{key_type}")
    }

    fn stuck_by_itself(&self, place: usize) -> String {
        let member = &self.members[place];
        let mut joins = String::new();
        let mut reasons = vec!["s.fault is not null".to_owned()];
        for it in member.needs() {
            let (key, alias, kind) = (&it.key, &it.alias, it.kind_condition("s"));
            joins.push_str(&format!(
                " left join {} {alias} on {}{kind} and {}",
                ledger_name(&it.entity),
                it.matches(alias, "s"),
                is_there(alias)
            ));
            let mut reason = format!("s.{key} is not null{kind} and {alias}.target_id is null");
            if let Some(parent) = self.place_of(&it.entity) {
                reason.push_str(&format!(
                    " and not exists (select from {} p where p.k0 = s.{key} and p.comes)",
                    self.members[parent].stage
                ));
            }
            reasons.push(format!("({reason})"));
        }
        format!(
            "select {place}, s.k0::text collate \"C\" from {} s{joins} where s.comes and ({})",
            member.stage,
            reasons.join(" or ")
        )
    }

    fn stuck_behind(&self, place: usize) -> Vec<String> {
        let member = &self.members[place];
        let behind = member.needs().filter_map(|it| {
            let parent = self.place_of(&it.entity)?;
            Some(format!(
                "select {place} as member, s.k0::text collate \"C\" as k from {} s where s.{} = {}{} \
                 and not exists (select from {} l where l.k0 = s.{} and {})",
                member.stage,
                it.key,
                self.stuck_key(parent),
                it.kind_condition("s"),
                self.members[parent].ledger(),
                it.key,
                is_there("l")
            ))
        });
        behind.collect()
    }

    /// Finds the rows that were to come and are not in the target after all.
    pub fn absent(&self, place: usize) -> Statement {
        let member = &self.members[place];
        Statement::new(format!(
            "select s.n from {} s join {} l on {} where s.comes and not {}",
            member.stage,
            member.ledger(),
            key_equality("l", "s", member.entity.source.key.len()),
            is_there("l")
        ))
    }

    /// Takes chosen rows out of those that come.
    pub fn leave_out(&self, place: usize, ordinals: &[i32]) -> Statement {
        let ordinals: Vec<String> = ordinals.iter().map(ToString::to_string).collect();
        Statement::new(format!(
            "update {} set comes = false where n = any(array[{}])",
            self.members[place].stage,
            ordinals.join(", ")
        ))
    }

    /// The checks of the deferred foreign keys over the rows that this transaction has written.
    pub fn dangling(&self, place: usize) -> Vec<Check> {
        let member = &self.members[place];
        let keys = self.deferrable().filter(|(of, _)| *of == place);
        let checks = keys.map(|(_, key)| {
            let pairs = key.columns.iter().zip(&key.referenced_columns);
            let pairs = pairs.map(|(own, other)| {
                let (own, other) = (quote_identifier(own), quote_identifier(other));
                (
                    format!("t.{own} is not null"),
                    format!("x.{other} = t.{own}"),
                )
            });
            let (set, equal): (Vec<String>, Vec<String>) = pairs.unzip();
            Check {
                constraint: key.name.clone(),
                statement: Statement::new(format!(
                    "select s.n from {} s join {} l on {} join {} t on t.{} = l.target_id \
                     where t.xmin = {THIS_XID} and {} and not exists (select from {} x where {})",
                    member.stage,
                    member.ledger(),
                    key_equality("l", "s", member.entity.source.key.len()),
                    member.entity.target.sql(),
                    quote_identifier(&member.entity.id_column),
                    set.join(" and "),
                    key.referenced.sql(),
                    equal.join(" and ")
                )),
            }
        });
        checks.collect()
    }

    /// The checks of the deferred foreign keys over rows that this transaction has deleted; the ordinals
    /// are places in the list of keys.
    ///
    /// # Errors
    /// A key that does not fit the entity.
    pub fn still_referred(&self, place: usize, keys: &[Key]) -> Result<Vec<Check>, KeyFault> {
        let member = &self.members[place];
        let entity = &member.entity;
        if entity.delete != DeletePolicy::Delete || keys.is_empty() {
            return Ok(Vec::new());
        }
        let gone = key_arrays(keys, &entity.key_types())?.join(", ");
        let mut checks = Vec::new();
        for (child, key) in self.deferrable() {
            let mut pairs = key.columns.iter().zip(&key.referenced_columns);
            let to_id = pairs.find(|(_, referenced)| **referenced == entity.id_column);
            let (true, Some((column, _))) = (key.referenced == entity.target, to_id) else {
                continue;
            };
            checks.push(Check {
                constraint: key.name.clone(),
                statement: Statement::new(format!(
                    "select (g.n - 1)::integer from unnest({gone}) with ordinality as g (k0, n) join {} l on l.k0 = g.k0 \
                     where not exists (select from {} x where x.{} = l.target_id) \
                     and exists (select from {} c where c.{} = l.target_id)",
                    member.ledger(),
                    entity.target.sql(),
                    quote_identifier(&entity.id_column),
                    self.members[child].entity.target.sql(),
                    quote_identifier(column)
                )),
            });
        }
        Ok(checks)
    }

    /// Finds the waiting rows that can go now, because each parent is there or is such a row itself: entity
    /// and key. With `retried`, rows that other rows stood in the way of are taken as parents that come.
    pub fn releasable(&self, retried: bool) -> Statement {
        let waiting = self.members.iter().flat_map(|it| waiting(&it.entity));
        let waiting: Vec<String> = waiting.collect();
        let refused = match retried {
            true => format!(
                " union select q.entity, q.key from diffmig.quarantine q where q.entity in ({}) \
                 and q.status = 'open' and q.sqlstate in {REFUSED_BY_OTHERS}",
                self.names()
            ),
            false => String::new(),
        };
        Statement::new(format!(
            "with recursive waiting as materialized ({}), \
             coming as materialized (select entity, key from waiting where holds{refused}), \
             blocked (entity, key) as (select w.entity, w.key from waiting w where w.holds and not w.there \
             and not exists (select from coming p where p.entity = w.parent_entity and p.key = w.parent_key) \
             union select w.entity, w.key from blocked b join waiting w on w.parent_entity = b.entity \
             and w.parent_key = b.key where w.holds and not w.there) \
             select distinct w.entity, w.key from waiting w where (w.there or exists (select from coming p \
             where p.entity = w.parent_entity and p.key = w.parent_key and not exists \
             (select from blocked b where b.entity = p.entity and b.key = p.key))) \
             and not exists (select from blocked b where b.entity = w.entity and b.key = w.key)",
            waiting.join(" union all ")
        ))
    }

    fn names(&self) -> String {
        let names = self.members.iter();
        let names: Vec<String> = names.map(|it| quote_literal(&it.entity.name)).collect();
        names.join(", ")
    }
}

/// The references of one entity that wait: whether the row is kept out by it, and whether the parent is there.
fn waiting(entity: &ResolvedEntity) -> Vec<String> {
    let name = quote_literal(&entity.name);
    let mut selects = Vec::new();
    for column in &entity.columns {
        for parent in column.parents().into_iter().collect::<BTreeSet<_>>() {
            // A row that was held because nobody could stand in goes when somebody can.
            let stand_in = fallback_id(column).map(|id| {
                format!(
                    " or {id} is not null and exists (select from diffmig.quarantine q \
                     where q.entity = w.entity and q.key = w.key and q.status = 'held')"
                )
            });
            let stand_in = stand_in.unwrap_or_default();
            selects.push(format!(
                "select w.entity, w.key, w.parent_entity, w.parent_key, {} as holds, \
                 (exists (select from {} l where {} and {}){stand_in}) as there \
                 from diffmig.pending_reference w where w.entity = {name} and w.column_name = {} and w.parent_entity = {}",
                column.missing().is_some_and(Missing::keeps_out),
                ledger_name(parent),
                stored_key_equality("l", &column.key_types, "w.parent_key"),
                is_there("l"),
                quote_literal(&column.name),
                quote_literal(parent)
            ));
        }
    }
    selects
}
