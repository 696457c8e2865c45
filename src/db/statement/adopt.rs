//! Statements of an adoption: who claims which target row, which claims hold, and what is written of them.
//!
//! Claims are gathered and judged in temporary tables of one transaction of one connection, which are dropped with
//! it: `keys` (of the source), `claims` (key and id as found), `owned` (rows that belong to somebody else),
//! `links` (one row per key). Only [`record`](AdoptStatements::record) writes, on another connection.

mod claimed;
pub mod matching;
mod record;

use super::content::{ContentStatements, Parents};
use super::ledger::{is_disputed, ledger_name};
use super::target_row::TargetRow;
use super::{Statement, key_equality, key_names, stored_key_equality};
use crate::domain::identifier::{quote_identifier, quote_literal};
use crate::domain::key::KeyType;
use crate::domain::mapping::{DeletePolicy, IdStrategy, Literal};
use crate::domain::resolve::{ResolvedColumn, ResolvedEntity, ResolvedValue};
use std::collections::BTreeSet;

/// Extra fields after those of the canonical row: `xmin`, whether the row looks retired, the fault, whether the
/// ledger knows the key already, whether it is set aside already, the target id.
pub const EXTRA_FIELDS: usize = 6;

/// The fault of a key that was set aside and is claimed by no row any more.
pub const RELEASED: &str = "released";

/// The statements of one entity.
pub struct AdoptStatements<'a> {
    entity: &'a ResolvedEntity,
    /// All entities of the mapping.
    all: &'a [ResolvedEntity],
    /// Those whose claims are gathered.
    gathered: &'a BTreeSet<&'a str>,
    /// Those that have a ledger.
    ledgers: &'a BTreeSet<String>,
}

impl<'a> AdoptStatements<'a> {
    /// Compiles the entity. `gathered` are the entities whose claims are gathered in the same transaction.
    pub fn new(
        entity: &'a ResolvedEntity,
        all: &'a [ResolvedEntity],
        gathered: &'a BTreeSet<&'a str>,
        ledgers: &'a BTreeSet<String>,
    ) -> Self {
        AdoptStatements {
            entity,
            all,
            gathered,
            ledgers,
        }
    }

    fn keys(&self) -> Vec<String> {
        key_names(self.entity.source.key.len())
    }

    fn key_list(&self, alias: &str) -> String {
        let keys = self.keys().into_iter().map(|key| format!("{alias}.{key}"));
        keys.collect::<Vec<_>>().join(", ")
    }

    fn same_key(&self, left: &str, right: &str) -> String {
        key_equality(left, right, self.entity.source.key.len())
    }

    fn own(&self, kind: &str) -> String {
        temporary(kind, &self.entity.name)
    }

    /// The key column of the target row `t`, in the type in which claims name it.
    fn row_id(&self) -> String {
        let id = quote_identifier(&self.entity.id_column);
        wide(self.entity, &format!("t.{id}"))
    }

    fn ledger(&self, entity: &ResolvedEntity) -> String {
        if self.ledgers.contains(&entity.name) {
            return ledger_name(&entity.name);
        }
        format!(
            "(select {}, null::{} as target_id, null::bytea as applied_hash, null::xid as target_xmin where false)",
            no_key(&entity.key_types()),
            entity.id_type
        )
    }

    /// The values by which rows of this entity are known from those of others, as further conditions.
    fn only(&self) -> String {
        let only = self.entity.adoption.only.iter();
        only.map(|(column, value)| format!(" and {}", equals(column, value)))
            .collect()
    }

    /// Where the key of a parent is found by the id of its target row: in its ledger, or among the links of
    /// this adoption.
    fn parent(&self, name: &str) -> String {
        let parent = self.all.iter().find(|it| it.name == name);
        let keys = key_names(parent.map_or(1, |it| it.source.key.len())).join(", ");
        let known = parent.map(|it| {
            format!(
                "select {keys}, target_id from {} l where target_xmin is not null",
                self.ledger(it)
            )
        });
        let mut relations: Vec<String> = known.into_iter().collect();
        if self.gathered.contains(name) {
            relations.push(format!(
                "select {keys}, target_id from {} where fault is null and not settled",
                temporary("links", name)
            ));
        }
        format!("({})", relations.join(" union all "))
    }

    /// The columns of the source's rows that are needed to find target rows: keys, and the fields of `match`.
    pub fn needed_fields(&self) -> Vec<(String, String)> {
        let row = TargetRow::new(self.entity);
        let natural = self.entity.adoption.natural_key.iter();
        let natural: BTreeSet<String> = natural.map(|index| format!("c{index}")).collect();
        let keys: BTreeSet<String> = self.keys().into_iter().collect();
        let needed = row.stage_columns.into_iter();
        needed
            .filter(|(name, _)| keys.contains(name) || natural.contains(name))
            .collect()
    }

    /// Positions of those fields in a row of the source.
    pub fn needed_places(&self) -> Vec<usize> {
        let needed = self.needed_fields();
        let columns = TargetRow::new(self.entity).stage_columns;
        let place = |name: &String| columns.iter().position(|(it, _)| it == name);
        needed.iter().filter_map(|(name, _)| place(name)).collect()
    }

    /// Creates the table of the source's keys.
    pub fn create_keys(&self) -> Statement {
        let columns = self.needed_fields().into_iter();
        let columns: Vec<String> = columns
            .map(|(name, kind)| format!("{name} {kind}"))
            .collect();
        Statement::new(format!(
            "create temporary table {} ({}) on commit drop",
            bare("keys", &self.entity.name),
            columns.join(", ")
        ))
    }

    /// Fills it.
    pub fn copy_keys(&self) -> Statement {
        let names = self.needed_fields().into_iter().map(|(name, _)| name);
        Statement::new(format!(
            "copy {} ({}) from stdin (format binary)",
            self.own("keys"),
            names.collect::<Vec<_>>().join(", ")
        ))
    }

    /// Gathers the claims: from the legacy columns, the mappings table, and kept keys.
    pub fn claims(&self) -> Statement {
        let entity = self.entity;
        let types = entity.key_types();
        let mut parts = vec![format!(
            "select {}, {} as target_id, null::integer as origin where false",
            no_key(&types),
            wide(entity, "null")
        )];
        let (target, row_id) = (entity.target.sql(), self.row_id());
        if !entity.adoption.legacy.is_empty() {
            let (read, given) = carried("t", &entity.adoption.legacy, &types);
            parts.push(format!(
                "select {read}, {row_id}, 1 from {target} t where {given}{}",
                self.only()
            ));
        }
        if let Some(table) = &entity.adoption.table {
            let (read, given) = carried("m", &table.source_id, &types);
            let id = format!("m.{}", quote_identifier(&table.target_id.column));
            let which = table.discriminator.as_ref().map(|(column, value)| {
                format!(
                    " and m.{}::text = {}",
                    quote_identifier(column),
                    quote_literal(value)
                )
            });
            parts.push(format!(
                "select {read}, {}, 2 from {} m where {given} and {id} is not null{}",
                read_as(&id, &table.target_id.base, id_type(entity)),
                table.table.sql(),
                which.unwrap_or_default()
            ));
        }
        if entity.id_strategy == IdStrategy::Same {
            parts.push(format!(
                "select s.k0, {row_id}, 3 from {} s join {target} t on {row_id} = s.k0 where true{}",
                self.own("keys"),
                self.only()
            ));
        }
        self.create("claims", &parts.join(" union all "))
    }

    fn create(&self, kind: &str, query: &str) -> Statement {
        let name = bare(kind, &self.entity.name);
        Statement::new(format!(
            "create temporary table {name} on commit drop as {query}; analyze pg_temp.{name}"
        ))
    }

    /// Notes the target rows that belong to a key of this entity's ledger, or to another entity of the same target.
    pub fn owned(&self) -> Statement {
        let entity = self.entity;
        let id = wide(entity, "l.target_id");
        let mut parts = vec![format!(
            "select {id} as target_id from {} l where l.target_xmin is not null",
            self.ledger(entity)
        )];
        let others = self.all.iter();
        for other in others.filter(|it| it.target == entity.target && it.name != entity.name) {
            parts.push(format!(
                "select {id} from {} l where l.target_xmin is not null",
                self.ledger(other)
            ));
            if self.gathered.contains(other.name.as_str()) {
                parts.push(format!(
                    "select {id} from {} l where l.target_id is not null and {}",
                    temporary("claims", &other.name),
                    are_keys("l", other)
                ));
                // Rows that were matched are claimed by nobody.
                parts.push(format!(
                    "select {id} from {} l where l.target_id is not null",
                    temporary("links", &other.name)
                ));
            }
        }
        self.create("owned", &parts.join(" union "))
    }

    /// Creates the table of the links.
    pub fn create_links(&self) -> Statement {
        let types = self.entity.key_types();
        Statement::new(format!(
            "create temporary table {} ({}, target_id {}, fault text, settled boolean, marked boolean) on commit drop",
            bare("links", &self.entity.name),
            declared(&types),
            self.entity.id_type
        ))
    }

    /// Judges the claims: one row per key.
    pub fn links(&self) -> Statement {
        let entity = self.entity;
        let claims = self.own("claims");
        let (keys, of_pair) = (self.keys().join(", "), self.key_list("p"));
        let are_keys = are_keys("c", entity);
        let id = quote_identifier(&entity.id_column);
        let known = wide(entity, "s.known_id");
        Statement::new(format!(
            "insert into {links} ({keys}, target_id, fault, settled, marked) with pair as (select {of_claim}, c.target_id from {claims} c where {are_keys} group by {of_claim}, c.target_id), \
                 doubled as (select distinct {keys} from (select {of_claim}, c.origin from {claims} c where {are_keys} \
                 group by {of_claim}, c.target_id, c.origin) d group by {keys}, origin having count(*) > 1), \
                 seen as (select p.*, t.{id}::{} as row_id, l.target_xmin is not null as settled, l.target_id as known_id, \
                 {} as marked, count(*) over (partition by {of_pair}) as ids, \
                 count(*) over (partition by p.target_id) as keys from pair p \
                 left join {} t on {} = p.target_id left join {} l on {}), \
                 judged as (select s.*, case \
                 when s.settled then case when {known} is distinct from s.target_id then 'contradiction' end \
                 when s.ids > 1 and d.k0 is not null then 'duplicate' when s.ids > 1 then 'contradiction' \
                 when s.target_id is not null and s.keys > 1 then 'shared' \
                 when o.target_id is not null then 'taken' when s.row_id is null then 'dangling' end as fault \
                 from seen s left join doubled d on {} left join {} o on o.target_id = s.target_id) \
                 select distinct on ({keys}) {keys}, case when fault is null then row_id end as target_id, \
                 fault, settled, marked from judged order by {keys}, fault nulls last; analyze {links}",
            entity.id_type,
            is_disputed("l"),
            entity.target.sql(),
            self.row_id(),
            self.ledger(entity),
            self.same_key("l", "p"),
            self.same_key("d", "s"),
            self.own("owned"),
            of_claim = self.key_list("c"),
            links = self.own("links"),
        ))
    }

    /// Finds target rows for keys that nothing else ties to one, by the values of `match`; `None` without it.
    pub fn match_rows(&self) -> Option<Statement> {
        let entity = self.entity;
        if entity.adoption.natural_key.is_empty() {
            return None;
        }
        let mut joins = String::new();
        let mut equal = Vec::new();
        for index in &entity.adoption.natural_key {
            let column = &entity.columns[*index];
            let (join, condition) = matches(*index, column, &|name, _| self.parent(name));
            joins.push_str(&join);
            equal.push(condition);
        }
        let (keys, of_source) = (self.keys().join(", "), self.key_list("s"));
        let row_id = self.row_id();
        let id = quote_identifier(&entity.id_column);
        Some(Statement::new(format!(
            "insert into {links} ({keys}, target_id, fault, settled, marked) \
             with pair as (select {of_source}, t.{id}::{} as row_id, {} as marked, \
             count(*) over (partition by {of_source}) as ids, count(*) over (partition by t.{id}) as keys \
             from {} s left join {links} x on {} left join {} l on {}{joins} join {} t on {}{} \
             left join {} o on o.target_id = {row_id} left join {} c on c.target_id = {row_id} \
             where x.k0 is null and l.target_xmin is null and o.target_id is null and c.target_id is null) \
             select distinct on ({keys}) {keys}, case when ids = 1 and keys = 1 then row_id end, \
             case when ids > 1 or keys > 1 then 'ambiguous' end, false, marked from pair order by {keys}",
            entity.id_type,
            is_disputed("l"),
            self.own("keys"),
            self.same_key("x", "s"),
            self.ledger(entity),
            self.same_key("l", "s"),
            entity.target.sql(),
            equal.join(" and "),
            self.only(),
            self.own("owned"),
            self.own("claims"),
            links = self.own("links"),
        )))
    }

    /// Adds the keys that the ledger knows and nothing claims.
    pub fn known(&self) -> Statement {
        let links = self.own("links");
        let is_disputed = is_disputed("l");
        Statement::new(format!(
            "insert into {links} ({}, target_id, fault, settled, marked) select {}, null, \
             case when {is_disputed} then '{RELEASED}' end, not {is_disputed}, {is_disputed} \
             from {} l left join {links} x on {} where x.k0 is null; analyze {links}",
            self.keys().join(", "),
            self.key_list("l"),
            self.ledger(self.entity),
            self.same_key("x", "l")
        ))
    }

    /// The links in key order, those that hold with the content of their target rows: the fields of the canonical
    /// row, then [`EXTRA_FIELDS`].
    pub fn content(&self) -> Statement {
        let entity = self.entity;
        let of = |name: &str| self.parent(name);
        let content = ContentStatements::over(entity, &Parents::Relations(&of));
        let (fields, joins) = content.parts();
        Statement::new(format!(
            "select {fields}, t.xmin, coalesce({}, false), l.fault, l.settled, l.marked, l.target_id \
             from {} l left join {} t on t.{} = l.target_id and l.fault is null and not l.settled{joins} order by {}",
            self.looks_retired(),
            self.own("links"),
            entity.target.sql(),
            quote_identifier(&entity.id_column),
            self.key_list("l")
        ))
    }

    /// The condition that the target row `t` has what retiring would set.
    fn looks_retired(&self) -> String {
        let DeletePolicy::Retire(settings) = &self.entity.delete else {
            return "false".to_owned();
        };
        let conditions = settings.iter().map(|(column, value)| match value {
            Literal::Text(text) if text == "now" => {
                format!("t.{} is not null", quote_identifier(column))
            }
            value => equals(column, value),
        });
        conditions.collect::<Vec<_>>().join(" and ")
    }

    /// Counts the claims whose key is none, and names the first target rows of them.
    pub fn malformed(&self) -> Statement {
        let claims = self.own("claims");
        let are_keys = are_keys("c", self.entity);
        Statement::new(format!(
            "select (select count(*) from {claims} c where not ({are_keys})), \
             array(select distinct c.target_id::text from {claims} c where not ({are_keys}) \
             and c.target_id is not null order by 1 limit {})",
            crate::domain::adopt::SHOWN_KEYS
        ))
    }

    /// Counts the target rows that no key claims.
    pub fn native(&self) -> Statement {
        let row_id = self.row_id();
        let id = quote_identifier(&self.entity.id_column);
        Statement::new(format!(
            "select count(*) from {} t where not exists (select from {} o where o.target_id = {row_id}) \
             and not exists (select from {} c where c.target_id = {row_id}) \
             and not exists (select from {} l where l.target_id = t.{id}){}",
            self.entity.target.sql(),
            self.own("owned"),
            self.own("claims"),
            self.own("links"),
            self.only()
        ))
    }
}

/// The type in which the ids of an entity are compared.
fn id_type(entity: &ResolvedEntity) -> KeyType {
    KeyType::from_base_type(&entity.id_type).unwrap_or(KeyType::Text)
}

fn typed(name: &str, key_type: KeyType) -> String {
    format!("{name} {}{}", key_type.sql_type(), key_type.order_suffix())
}

/// The key columns of a table.
fn declared(types: &[KeyType]) -> String {
    let columns = key_names(types.len()).into_iter().zip(types);
    let columns: Vec<String> = columns.map(|(key, it)| typed(&key, *it)).collect();
    columns.join(", ")
}

/// The key columns of a relation without rows.
fn no_key(types: &[KeyType]) -> String {
    let columns = key_names(types.len()).into_iter().zip(types);
    let columns =
        columns.map(|(key, it)| format!("null::{}{} as {key}", it.sql_type(), it.order_suffix()));
    columns.collect::<Vec<_>>().join(", ")
}

fn wide(entity: &ResolvedEntity, sql: &str) -> String {
    let id_type = id_type(entity);
    format!("{sql}::{}{}", id_type.sql_type(), id_type.order_suffix())
}

fn bare(kind: &str, entity: &str) -> String {
    quote_identifier(&format!("diffmig_{kind}_{entity}"))
}

fn temporary(kind: &str, entity: &str) -> String {
    format!("pg_temp.{}", bare(kind, entity))
}

/// The condition that a claim names a whole key.
fn are_keys(alias: &str, entity: &ResolvedEntity) -> String {
    let keys = key_names(entity.source.key.len()).into_iter();
    let keys: Vec<String> = keys
        .map(|key| format!("{alias}.{key} is not null"))
        .collect();
    keys.join(" and ")
}

fn equals(column: &str, value: &Literal) -> String {
    let column = quote_identifier(column);
    match value {
        Literal::Text(text) => format!("t.{column}::text = {}", quote_literal(text)),
        Literal::Number(number) => format!("t.{column} = {}", number.replace('_', "")),
        Literal::Bool(flag) => format!("t.{column} = {flag}"),
    }
}

/// The columns read as the parts of a key, and the condition that there is one.
fn carried(
    alias: &str,
    columns: &[crate::domain::resolve::Carrier],
    types: &[KeyType],
) -> (String, String) {
    let named = columns
        .iter()
        .map(|it| format!("{alias}.{}", quote_identifier(&it.column)));
    let named: Vec<String> = named.collect();
    let read = named.iter().zip(columns).zip(types);
    let read: Vec<String> = read
        .map(|((sql, column), key_type)| read_as(sql, &column.base, *key_type))
        .collect();
    let given: Vec<String> = named
        .iter()
        .map(|sql| format!("{sql} is not null"))
        .collect();
    (read.join(", "), given.join(" and "))
}

/// Reads a value as a key; NULL when it is none.
fn read_as(sql: &str, base: &str, key_type: KeyType) -> String {
    const UUID: &str = "^(\\{([0-9a-f]{4}-?){7}[0-9a-f]{4}\\}|([0-9a-f]{4}-?){7}[0-9a-f]{4})$";
    let to = key_type.sql_type();
    if KeyType::from_base_type(base) == Some(key_type) || key_type == KeyType::Text {
        return format!("{sql}::{to}{}", key_type.order_suffix());
    }
    match (key_type, base) {
        (KeyType::Integer, "numeric") => {
            format!("case when {sql} = trunc({sql}) and abs({sql}) < 1e18 then {sql}::bigint end")
        }
        (KeyType::Integer, _) => format!(
            "case when {sql}::text ~ '^\\s*[-+]?[0-9]{{1,18}}\\s*$' then {sql}::text::bigint end"
        ),
        (KeyType::Uuid, _) => {
            format!("case when {sql}::text ~* '{UUID}' then {sql}::text::uuid end")
        }
        (KeyType::Text | KeyType::Date, _) => format!("{sql}::{to}"),
    }
}

/// How a column of `match` is compared: what must be joined to a row `s` of the source's fields, and the condition
/// that it has the value of the target row `t`.
fn matches(
    index: usize,
    column: &ResolvedColumn,
    parent: &dyn Fn(&str, usize) -> String,
) -> (String, String) {
    let name = quote_identifier(&column.name);
    if let ResolvedValue::Reference { entity, .. } = &column.value {
        let (alias, staged) = (format!("p{index}"), format!("s.c{index}"));
        let on = match column.key_types.len() {
            1 => format!("{alias}.k0 = {staged}"),
            _ => stored_key_equality(&alias, &column.key_types, &format!("{staged}::jsonb")),
        };
        let join = format!(
            " join {} {alias} on {on}",
            parent(entity, column.key_types.len())
        );
        return (join, format!("t.{name} = p{index}.target_id"));
    }
    let condition = if column.transport.compares_as_text() {
        let sql = &column.transport.sql;
        format!("t.{name}::{sql}::text collate \"C\" = s.c{index}::text collate \"C\"")
    } else if column.transport.base == "text" {
        format!("t.{name}::text collate \"C\" = s.c{index} collate \"C\"")
    } else {
        format!("t.{name} = s.c{index}")
    };
    (String::new(), condition)
}
