//! Rows of the target that new rows of a batch match by their values.

use super::{equals, matches};
use crate::db::statement::ledger::{NO_HASH, ledger_name};
use crate::db::statement::{Statement, key_equality, key_names};
use crate::domain::adopt::{AdoptFault, DISPUTED_SQLSTATE};
use crate::domain::identifier::{quote_identifier, quote_literal};
use crate::domain::resolve::ResolvedEntity;

/// The statements by which a batch finds such rows.
#[derive(Debug, Clone)]
pub struct NaturalKey {
    entity: ResolvedEntity,
    /// The entities that feed the same target, this one included.
    owners: Vec<String>,
}

impl NaturalKey {
    /// Compiles the entity; `None` when it has no `match`.
    pub fn new(entity: &ResolvedEntity, all: &[ResolvedEntity]) -> Option<NaturalKey> {
        if entity.adoption.natural_key.is_empty() {
            return None;
        }
        let owners = all.iter().filter(|it| it.target == entity.target);
        Some(NaturalKey {
            entity: entity.clone(),
            owners: owners.map(|it| it.name.clone()).collect(),
        })
    }

    /// Waits until no other batch looks for rows of this table: two lanes must not take the same one.
    pub fn wait(&self) -> Statement {
        Statement::new(format!(
            "select pg_catalog.pg_advisory_xact_lock(7248302, pg_catalog.hashtext({}))",
            quote_literal(&self.entity.target.to_string())
        ))
    }

    /// Enters the target rows that staged rows match into the ledger, as rows with foreign content, and marks staged
    /// rows as bad of which several match; returns how many rows are new in the ledger.
    ///
    /// All staged rows are looked at, those with ordinals in a closed range are entered.
    pub fn take(&self, stage: &str, session_number: i32, first: usize, last: usize) -> Statement {
        let entity = &self.entity;
        let count = entity.source.key.len();
        let keys = key_names(count).join(", ");
        let of = |alias: &str| {
            let keys = key_names(count).into_iter();
            let keys: Vec<String> = keys.map(|key| format!("{alias}.{key}")).collect();
            keys.join(", ")
        };
        let ledger = ledger_name(&entity.name);
        let id = quote_identifier(&entity.id_column);
        let parent = |name: &str, keys: usize| {
            let (ledger, keys) = (ledger_name(name), key_names(keys).join(", "));
            format!("(select {keys}, target_id from {ledger} where target_xmin is not null)")
        };
        let mut joins = String::new();
        let mut equal = Vec::new();
        for index in &entity.adoption.natural_key {
            let (join, condition) = matches(*index, &entity.columns[*index], &parent);
            joins.push_str(&join);
            equal.push(condition);
        }
        // A row that carries another source key is that key's.
        equal.extend(entity.legacy.iter().map(|(index, column)| {
            let column = quote_identifier(column);
            format!("(t.{column} is null or t.{column}::text = s.k{index}::text)")
        }));
        let only = entity.adoption.only.iter();
        equal.extend(only.map(|(column, value)| equals(column, value)));
        let owned = self.owners.iter().map(|owner| {
            let ledger = ledger_name(owner);
            format!(
                " and not exists (select from {ledger} o where o.target_id = t.{id} and o.target_xmin is not null)"
            )
        });
        let fault = format!("{DISPUTED_SQLSTATE}|{}|", AdoptFault::Ambiguous.reason());
        Statement::new(format!(
            "with pair as materialized (select {}, s.n, s.row_hash, t.{id}::{} as row_id, \
             count(*) over (partition by s.n) as ids, count(*) over (partition by t.{id}) as keys \
             from {stage} s left join {ledger} l on {}{joins} join {} t on {} \
             where s.fault is null and l.target_xmin is null{}), \
             taken as (insert into {ledger} as l ({keys}, target_id, row_hash, applied_hash, target_xmin, outcome, \
             pending, session_number) select {}, p.row_id, p.row_hash, {NO_HASH}, '0', 'applied', false, {session_number} \
             from pair p where p.ids = 1 and p.keys = 1 and p.n between {first} and {last} order by {} \
             on conflict ({keys}) do update set target_id = excluded.target_id, applied_hash = excluded.applied_hash, \
             target_xmin = excluded.target_xmin, deleted_at = null where l.target_xmin is null returning (l.xmax = 0) as is_new), \
             doubtful as (update {stage} s set fault = {} from (select distinct n from pair where ids > 1 or keys > 1) p \
             where s.n = p.n) \
             select count(*) filter (where is_new) from taken",
            of("s"),
            entity.id_type,
            key_equality("l", "s", count),
            entity.target.sql(),
            equal.join(" and "),
            owned.collect::<String>(),
            of("p"),
            of("p"),
            quote_literal(&fault)
        ))
    }
}
