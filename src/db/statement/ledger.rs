//! Statements over the ledger of one entity.

use super::apply::is_there;
use super::key_range::{self, KeyRange};
use super::source::newer::{bits, bounds};
use super::source::{key_arrays, key_literals};
use super::{Statement, key_names, stored_key_equality};
use crate::db::control::quarantine::CHOSEN;
use crate::domain::identifier::{quote_identifier, quote_literal};
use crate::domain::key::{Key, KeyFault, KeyType};
use crate::domain::mapping::Missing;
use crate::domain::resolve::{ResolvedColumn, ResolvedEntity};

/// Returns the quoted, qualified name of an entity's ledger.
pub fn ledger_name(entity: &str) -> String {
    format!("diffmig.{}", quote_identifier(&ledger_table(entity)))
}

/// Returns the bare name of an entity's ledger table.
pub fn ledger_table(entity: &str) -> String {
    format!("ledger_{entity}")
}

/// The rows of which more is to say than that they are applied; few, and they have an index of their own.
const IS_SPECIAL: &str = "(outcome <> 'applied' or deleted_at is not null or pending)";

/// Indexes the rows that are not simply applied, with all it takes to count them. Rows that are gone are kept, so in
/// time they become many; by their outcome they lie apart from those that are set aside.
pub fn create_index(entity: &ResolvedEntity) -> Statement {
    let keys = key_names(entity.source.key.len()).join(", ");
    Statement::new(format!(
        "create index if not exists {} on {} (outcome, {keys}) include (deleted_at, pending) where {IS_SPECIAL}",
        quote_identifier(&format!("{}_outcome", ledger_table(&entity.name))),
        ledger_name(&entity.name)
    ))
}

/// Adds the unique index of the keys. It is no constraint: adding one would wait for every reader, a backup for
/// instance, and give up.
pub fn create_key(entity: &ResolvedEntity) -> Statement {
    let keys = key_names(entity.source.key.len()).join(", ");
    Statement::new(format!(
        "create unique index if not exists {} on {} ({keys})",
        quote_identifier(&format!("{}_key", ledger_table(&entity.name))),
        ledger_name(&entity.name)
    ))
}

/// Creates the ledger, without its indexes: a first load adds them when the rows are there.
pub fn create(entity: &ResolvedEntity) -> Statement {
    let keys = entity.key_types();
    let columns: String = keys
        .iter()
        .enumerate()
        .map(|(index, key_type)| {
            format!(
                "k{index} {}{} not null, ",
                key_type.sql_type(),
                key_type.order_suffix()
            )
        })
        .collect();
    Statement::new(format!(
        "create table if not exists {} ({columns}target_id {} not null, \
         row_hash bytea not null, applied_hash bytea, target_xmin xid, \
         outcome diffmig.outcome not null default 'applied', pending boolean not null default false, \
         session_number integer not null, deleted_at timestamptz) with (fillfactor = 90)",
        ledger_name(&entity.name),
        entity.id_type
    ))
}

/// The letter that says what is known of a row: `d` gone, `a` applied, `q` `h` `c` set aside, `u` gone but not
/// let go by the target; an upper-case letter (`Q`, `H`) means that an older content is in the target.
///
/// Nearly all rows are plain ones, so these are asked for first, and no letter is cast for each row.
pub(super) const LETTER: &str = "case \
     when deleted_at is null and outcome = 'applied' then 'a'::\"char\" \
     when outcome in ('applied', 'conflicted') and deleted_at is not null then 'd'::\"char\" \
     when outcome = 'conflicted' then 'c'::\"char\" \
     when outcome = 'quarantined' then case when target_xmin is null or deleted_at is not null \
       then 'q'::\"char\" else 'Q'::\"char\" end \
     when outcome = 'held' then case when target_xmin is null or deleted_at is not null \
       then 'h'::\"char\" else 'H'::\"char\" end \
     else 'u'::\"char\" end";

/// The rows that stand for a source row: all but those with the letter `d`.
const IS_LIVE: &str = "(deleted_at is null or outcome not in ('applied', 'conflicted'))";

/// The other rows, in terms of the index of special ones.
const IS_GONE: &str = "outcome in ('applied', 'conflicted') and deleted_at is not null";

/// Reads the ledger in key order: key, row hash, [`LETTER`].
pub fn read(entity: &ResolvedEntity) -> Statement {
    read_where(entity, "")
}

fn read_where(entity: &ResolvedEntity, condition: &str) -> Statement {
    let keys = key_names(entity.source.key.len()).join(", ");
    Statement::new(format!(
        "select {keys}, row_hash, {LETTER} from {}{condition} order by {keys}",
        ledger_name(&entity.name)
    ))
}

/// Reads the ledger rows of a list of keys.
///
/// # Errors
/// A key that does not fit the entity.
pub fn read_keys(entity: &ResolvedEntity, keys: &[Key]) -> Result<Statement, KeyFault> {
    Ok(read_where(entity, &keys_condition(entity, keys)?))
}

/// Chooses the ledger rows of a list of keys.
pub(super) fn keys_condition(entity: &ResolvedEntity, keys: &[Key]) -> Result<String, KeyFault> {
    let arrays = key_arrays(keys, &entity.key_types())?;
    let names = key_names(arrays.len()).join(", ");
    Ok(match arrays.as_slice() {
        [array] => format!(" where k0 = any({array})"),
        _ => format!(
            " where ({names}) in (select * from unnest({}))",
            arrays.join(", ")
        ),
    })
}

/// Reads the ledger rows from a key on, up to and without another.
///
/// # Errors
/// A key that does not fit the entity.
pub fn read_slice(
    entity: &ResolvedEntity,
    from: Option<&Key>,
    to: Option<&Key>,
) -> Result<Statement, KeyFault> {
    let types = entity.key_types();
    let names = key_names(types.len()).join(", ");
    let mut conditions = Vec::new();
    for (key, operator) in [(from, ">="), (to, "<")] {
        if let Some(key) = key {
            let values = key_literals(key, &types)?.join(", ");
            conditions.push(format!("({names}) {operator} ({values})"));
        }
    }
    let condition = match conditions.is_empty() {
        true => String::new(),
        false => format!(" where {}", conditions.join(" and ")),
    };
    Ok(read_where(entity, &condition))
}

/// Finds the rows that are set aside, in key order: key, row hash, [`LETTER`].
pub fn read_open(entity: &ResolvedEntity) -> Statement {
    read_where(
        entity,
        // `applied` is the first outcome, so that the others are one range of the index.
        &format!(" where outcome > 'applied' and {IS_SPECIAL} and {IS_LIVE}"),
    )
}

/// Reads what stands for a source row, in key order: key, row hash, [`LETTER`].
pub fn read_live(entity: &ResolvedEntity) -> Statement {
    read_where(entity, &format!(" where {IS_LIVE}"))
}

/// The smallest and the greatest key; only for one integer.
pub fn key_bounds(entity: &ResolvedEntity) -> Option<Statement> {
    (entity.key_types() == [KeyType::Integer]).then(|| bounds("k0", &ledger_name(&entity.name)))
}

/// The keys that stand for a source row as bits: 64 keys a row, in any order; only for one integer.
pub fn key_bits(entity: &ResolvedEntity) -> Option<Statement> {
    (entity.key_types() == [KeyType::Integer]).then(|| {
        let from = format!("{} where {IS_LIVE}", ledger_name(&entity.name));
        bits("k0", &from)
    })
}

/// Counts the keys of each range that stand for a source row; only for one integer.
pub fn range_counts(entity: &ResolvedEntity, ranges: &[KeyRange]) -> Option<Statement> {
    let ledger = ledger_name(&entity.name);
    let gone = format!("{ledger} where {IS_GONE}");
    (entity.key_types() == [KeyType::Integer])
        .then(|| key_range::counts("k0", &ledger, Some(&gone), ranges))
}

/// The keys of some ranges that stand for a source row as bits, as [`key_bits`].
pub fn range_bits(entity: &ResolvedEntity, ranges: &[KeyRange]) -> Option<Statement> {
    (entity.key_types() == [KeyType::Integer])
        .then(|| key_range::bits("k0", &ledger_name(&entity.name), Some(IS_LIVE), ranges))
}

/// Counts the rows that stand for no source row any more.
pub fn count_gone(entity: &ResolvedEntity) -> Statement {
    Statement::new(format!(
        "select count(*) from {} where {IS_GONE}",
        ledger_name(&entity.name)
    ))
}

/// Counts the rows that stand for a source row.
pub fn count_live(entity: &ResolvedEntity) -> Statement {
    Statement::new(format!(
        "select count(*) from {} where {IS_LIVE}",
        ledger_name(&entity.name)
    ))
}

/// A hash that no row has: whatever carries it is looked at again.
pub(super) const NO_HASH: &str = "pg_catalog.decode('00000000000000000000000000000000', 'hex')";

/// The hash that marks a key of which an adoption could not tell which target row is its own; in `applied_hash`.
pub(super) const DISPUTED: &str = "pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex')";

/// The condition that a ledger row is marked so.
pub(super) fn is_disputed(alias: &str) -> String {
    format!("coalesce({alias}.applied_hash = {DISPUTED} and {alias}.target_xmin is null, false)")
}

/// Tells whether any key is marked so. Only adoptions mark them, and are never forgotten; without one nothing is
/// read, since the ledger keeps every row that is gone.
pub fn has_disputed(entity: &str) -> Statement {
    Statement::new(format!(
        "select exists (select from diffmig.session s join diffmig.batch b using (session_id) \
         where s.command = 'adopt' and b.entity = {}) \
         and exists (select from {} l where {IS_SPECIAL} and {})",
        quote_literal(entity),
        ledger_name(entity),
        is_disputed("l")
    ))
}

/// Counts the rows by what became of them; of those that are set aside also how many were waived, and at last
/// those that stand for a source row, and all of them. Only the special ones are looked at; how many there are in all
/// is counted, unless it is known.
pub fn outcomes(entity: &ResolvedEntity, row_count: Option<i64>) -> Statement {
    const APPLIED: &str = "count(*) filter (where outcome = 'applied' and deleted_at is null)";
    let ledger = ledger_name(&entity.name);
    let all = match row_count {
        Some(row_count) => format!("select {row_count}::bigint as n"),
        None => format!("select count(*) as n from {ledger}"),
    };
    let plain = "(select n from a) - count(*)";
    Statement::new(format!(
        "with g as materialized (select key from diffmig.quarantine where entity = {} and status = 'waived'), \
         a as materialized ({all}) \
         select {plain} + {APPLIED}, \
         count(*) filter (where outcome = 'quarantined'), \
         count(*) filter (where outcome = 'held'), \
         count(*) filter (where outcome = 'conflicted' and deleted_at is null), \
         count(*) filter (where deleted_at is not null and outcome in ('applied', 'conflicted')), \
         count(*) filter (where pending), \
         count(*) filter (where outcome = 'conflicted' and deleted_at is not null \
           or outcome not in ('applied', 'quarantined', 'held', 'conflicted')), (select count(*) from g join {ledger} l on {} \
           where l.outcome <> 'applied'), {plain} + count(*) filter (where {IS_LIVE}), (select n from a) \
         from {ledger} where {IS_SPECIAL}",
        quote_literal(&entity.name),
        stored_key_equality("l", &entity.key_types(), "g.key"),
    ))
}

/// Tells whether the ledger has any row.
pub fn is_used(entity: &str) -> Statement {
    Statement::new(format!(
        "select exists (select from {})",
        ledger_name(entity)
    ))
}

/// Finds the waiting rows of an entity whose parent is there now.
pub fn released(entity: &str, parent: &str, parent_types: &[KeyType]) -> Statement {
    Statement::new(format!(
        "select distinct w.key from diffmig.pending_reference w join {} p \
         on {} where w.entity = {} and w.parent_entity = {} \
         and {}",
        ledger_name(parent),
        stored_key_equality("p", parent_types, "w.parent_key"),
        quote_literal(entity),
        quote_literal(parent),
        is_there("p")
    ))
}

/// Finds the rows that were held because even the parent to fall back on was not there, once it is; `None` when
/// the column has no such parent.
pub fn released_by_fallback(entity: &ResolvedEntity, column: &ResolvedColumn) -> Option<Statement> {
    let there = fallback_id(column)?;
    let name = quote_literal(&entity.name);
    // What waits for another parent as well has to wait on.
    let others = entity.columns.iter();
    let others = others.filter(|it| it.missing().is_some_and(Missing::keeps_out));
    let others: Vec<String> = others.map(|it| quote_literal(&it.name)).collect();
    let waits_on = match others.is_empty() {
        true => String::new(),
        false => format!(
            " and not exists (select from diffmig.pending_reference o where o.entity = w.entity \
             and o.key = w.key and o.column_name in ({}))",
            others.join(", ")
        ),
    };
    Some(Statement::new(format!(
        "select w.key from diffmig.pending_reference w join diffmig.quarantine q on q.entity = w.entity \
         and q.key = w.key and q.status = 'held' where w.entity = {name} and w.column_name = {} \
         and {there} is not null{waits_on}",
        quote_literal(&column.name)
    )))
}

/// The target id of the parent that a column falls back on, as a scalar query; `None` when it has none.
pub(super) fn fallback_id(column: &ResolvedColumn) -> Option<String> {
    let parent = column.parents().first().copied()?;
    let key = fallback_key(column, "d")?;
    Some(format!(
        "(select d.target_id from {} d where {key} and {})",
        ledger_name(parent),
        is_there("d")
    ))
}

/// The condition that a row of the parent's ledger is the one that a column falls back on.
pub(super) fn fallback_key(column: &ResolvedColumn, alias: &str) -> Option<String> {
    let parts = column.fallback().iter().zip(&column.key_types);
    let parts: Vec<String> = parts
        .enumerate()
        .map(|(index, (text, key_type))| {
            let value = quote_literal(text);
            format!("{alias}.k{index} = {value}::{}", key_type.sql_type())
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

/// Finds the keys that are gone from the source, but that the target did not let go because of other rows.
pub fn undeleted(entity: &str, types: &[KeyType]) -> Statement {
    Statement::new(format!(
        "select g.key from diffmig.quarantine g join {} l on {} \
         where g.entity = {} and g.status = 'open' and g.sqlstate = '23503' and l.outcome = 'undeleted'",
        ledger_name(entity),
        stored_key_equality("l", types, "g.key"),
        quote_literal(entity)
    ))
}

/// Finds the held rows whose missing parent is a row of the same entity, although the mapping wants such
/// rows quarantined; `None` when no column is of that kind.
pub fn waiting_for_themselves(entity: &ResolvedEntity) -> Option<Statement> {
    let columns: Vec<String> = entity
        .columns
        .iter()
        .filter(|column| column.missing() == Some(Missing::Quarantine))
        .filter(|column| column.parents().contains(&entity.name.as_str()))
        .map(|column| quote_literal(&column.name))
        .collect();
    if columns.is_empty() {
        return None;
    }
    let name = quote_literal(&entity.name);
    Some(Statement::new(format!(
        "select distinct w.key from diffmig.pending_reference w where w.entity = {name} \
         and w.parent_entity = {name} and w.column_name in ({})",
        columns.join(", ")
    )))
}

/// Reads what is known of one key; $1 is the stored key.
pub fn entry(entity: &str, types: &[KeyType]) -> Statement {
    Statement::new(format!(
        "select l.outcome::text as outcome, l.target_id::text as target_id, \
         l.target_xmin is not null as in_target, l.deleted_at, l.session_number, \
         l.row_hash = {NO_HASH} as retried \
         from {} l join (select $1::jsonb as key) g on {}",
        ledger_name(entity),
        stored_key_equality("l", types, "g.key")
    ))
}

/// Forgets the hashes of chosen rows that are set aside, so that the next detection reports them;
/// returns how many were chosen and how many of them it concerns.
///
/// What was applied of an older version is remembered in `applied_hash` already. A deletion in conflict
/// has no source row that could be read again, so it is left alone.
pub fn free(entity: &str, types: &[KeyType]) -> Statement {
    Statement::new(format!(
        "with g as materialized (select q.key from diffmig.quarantine q where {CHOSEN}), \
         freed as (update {} l set row_hash = {NO_HASH} from g where {} and l.outcome <> 'applied' \
         and (l.deleted_at is null or l.outcome <> 'conflicted') returning 1) \
         select (select count(*) from g) as chosen, (select count(*) from freed) as freed",
        ledger_name(entity),
        stored_key_equality("l", types, "g.key")
    ))
}
