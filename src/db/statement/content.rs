//! The target's side of the canonical row, read back for rows that somebody may have edited.
//!
//! The fields are those of the source's projection, so that an untouched row has the row hash it was applied with.

use super::apply::ApplyStatements;
use super::ledger::{fallback_key, ledger_name};
use super::retire::Doomed;
use super::source::key_arrays;
use super::target_row::key_field_type;
use super::{Statement, key_equality, key_names};
use crate::domain::identifier::{QualifiedName, quote_identifier, quote_literal};
use crate::domain::key::{Key, KeyFault};
use crate::domain::resolve::{ExtractForm, ResolvedColumn, ResolvedEntity, ResolvedValue};

/// Extra fields after those of the canonical row: ordinal, `xmin`, the hash that was applied last.
pub const EXTRA_FIELDS: usize = 3;

/// Statements that read suspects: rows whose `xmin` is not the one that the ledger knows.
#[derive(Debug, Clone)]
pub struct ContentStatements {
    entity: ResolvedEntity,
    fields: Vec<String>,
    select: String,
    /// Translates references back; one scan of a parent's ledger serves all suspects.
    joins: String,
    /// What suspects must fulfil besides.
    only: String,
}

impl ContentStatements {
    /// Compiles the entity.
    pub fn new(entity: &ResolvedEntity) -> Self {
        ContentStatements::compiled(entity, &Parents::Ledgers, false)
    }

    /// Compiles an entity of an earlier mapping, whose integers may have become larger in the target.
    ///
    /// Rows are suspects only where that mapping can tell: its integers fit, and `fresh` columns, which it did not
    /// know, are NULL.
    pub fn of_former(entity: &ResolvedEntity, fresh: &[String]) -> Self {
        let mut statements = ContentStatements::compiled(entity, &Parents::Ledgers, true);
        let compared = entity.columns.iter().take(entity.compared_count());
        let plain = compared.filter(|it| it.parents().is_empty());
        let fits = plain.filter_map(|it| {
            let name = format!("t.{}", quote_identifier(&it.name));
            let bounds = bounds(&it.transport.base)?;
            Some(format!(" and ({name} is null or {name} between {bounds})"))
        });
        let empty = fresh.iter();
        let empty = empty.map(|name| format!(" and t.{} is null", quote_identifier(name)));
        statements.only = fits.chain(empty).collect();
        statements
    }

    /// Compiles the entity, its parents' ids being looked up elsewhere.
    pub(super) fn over(entity: &ResolvedEntity, parents: &Parents<'_>) -> Self {
        ContentStatements::compiled(entity, parents, false)
    }

    fn compiled(entity: &ResolvedEntity, parents: &Parents<'_>, is_former: bool) -> Self {
        let types = entity.key_types();
        let keys = types.iter().enumerate();
        let mut fields: Vec<String> = keys
            .map(|(index, key_type)| format!("l.k{index}::{}", key_type.sql_type()))
            .collect();
        let compared = entity.compared_count();
        let mut owned = Vec::new();
        let mut joins = String::new();
        for (index, column) in entity.columns.iter().enumerate() {
            let mut read = read_back(entity, index, column, parents);
            if is_former && column.parents().is_empty() {
                let name = format!("t.{}", quote_identifier(&column.name));
                read.values.iter_mut().for_each(|value| {
                    *value = within(&name, &column.transport.base, value);
                });
            }
            if index < compared {
                fields.extend(read.values);
                joins.push_str(&read.joins);
            } else {
                // What the target owns is never compared; its place is kept.
                owned.extend(read.values.iter().map(|_| "null::text".to_owned()));
            }
        }
        fields.push("null::text".into());
        fields.extend(owned);
        if entity.id_time.is_some() {
            fields.push("null::bigint".into());
        }
        ContentStatements {
            select: fields.join(", "),
            fields,
            joins,
            only: String::new(),
            entity: entity.clone(),
        }
    }

    /// The fields of the canonical row over a row `l` of keys and its target row `t`, and what must be joined to them.
    pub(super) fn parts(&self) -> (&str, &str) {
        (&self.select, &self.joins)
    }

    fn suspects(&self, rows: &str) -> Statement {
        let entity = &self.entity;
        let keys = entity.source.key.len();
        Statement::new(format!(
            "select {}, g.n::integer, t.xmin, coalesce(l.applied_hash, l.row_hash) from {rows} join {} l on {} \
             join {} t on t.{} = l.target_id{} where l.deleted_at is null and t.xmin <> l.target_xmin{}",
            self.select,
            ledger_name(&entity.name),
            key_equality("l", "g", keys),
            entity.target.sql(),
            quote_identifier(&entity.id_column),
            self.joins,
            self.only
        ))
    }

    /// Every row of the ledger with its target row, in key order: the fields of the canonical row, whether the
    /// target row is there, and the ledger's letter.
    pub fn everything(&self, sample: Option<f64>) -> Statement {
        let names = key_names(self.entity.source.key.len());
        let condition = sample.map(|percent| {
            let texts: Vec<String> = names.iter().map(|key| format!("{key}::text")).collect();
            format!(" where {}", sampled(&texts, percent))
        });
        self.paired(&condition.unwrap_or_default())
    }

    /// The same for a list of keys.
    ///
    /// # Errors
    /// A key that does not fit the entity.
    pub fn of_keys(&self, keys: &[Key]) -> Result<Statement, KeyFault> {
        let condition = super::ledger::keys_condition(&self.entity, keys)?;
        Ok(self.paired(&condition))
    }

    /// The compared fields of chosen target rows as numbered texts, keys left out.
    pub(super) fn as_texts(&self, condition: &str) -> Statement {
        let entity = &self.entity;
        let keys = entity.source.key.len();
        let texts: Vec<String> = self.fields[keys..]
            .iter()
            .map(|field| format!("({field})::text"))
            .collect();
        Statement::new(format!(
            "select u.n::text, u.value from (select array[{}] as fields from (select * from {}{condition}) l \
             join {} t on t.{} = l.target_id{}) r, lateral unnest(r.fields) with ordinality as u (value, n) order by u.n",
            texts.join(", "),
            ledger_name(&entity.name),
            entity.target.sql(),
            quote_identifier(&entity.id_column),
            self.joins
        ))
    }

    fn paired(&self, condition: &str) -> Statement {
        let entity = &self.entity;
        let order: Vec<String> = key_names(entity.source.key.len())
            .iter()
            .map(|key| format!("l.{key}"))
            .collect();
        let id = quote_identifier(&entity.id_column);
        Statement::new(format!(
            "select {}, t.{id} is not null, l.letter from (select *, {} as letter from {}{condition}) l \
             left join {} t on t.{id} = l.target_id{} order by {}",
            self.select,
            super::ledger::LETTER,
            ledger_name(&entity.name),
            entity.target.sql(),
            self.joins,
            order.join(", ")
        ))
    }

    /// Counts the target rows that no ledger row of any entity stands for.
    pub fn native(target: &QualifiedName, id_column: &str, entities: &[&str]) -> Statement {
        let id = quote_identifier(id_column);
        let ours: Vec<String> = entities
            .iter()
            .map(|entity| {
                let ledger = ledger_name(entity);
                format!("not exists (select from {ledger} l where l.target_id = t.{id} and l.target_xmin is not null)")
            })
            .collect();
        Statement::new(format!(
            "select count(*) from {} t where {}",
            target.sql(),
            ours.join(" and ")
        ))
    }

    /// Suspects among the rows that a batch has staged.
    pub fn staged(&self, apply: &ApplyStatements) -> Statement {
        self.suspects(&format!("{} g", apply.stage))
    }

    /// Suspects among keys that are gone from the source.
    ///
    /// # Errors
    /// A key that does not fit the entity.
    pub fn doomed(&self, doomed: &[Doomed]) -> Result<Statement, KeyFault> {
        let types = self.entity.key_types();
        let keys: Vec<Key> = doomed.iter().map(|it| it.key.clone()).collect();
        let arrays = key_arrays(&keys, &types)?;
        let names = key_names(types.len()).join(", ");
        Ok(self.suspects(&format!(
            "(select {names}, o - 1 as n from unnest({}) with ordinality as u ({names}, o)) g",
            arrays.join(", ")
        )))
    }
}

/// A condition that takes a share of the keys, the same ones on both servers.
pub(super) fn sampled(key_texts: &[String], percent: f64) -> String {
    let text = key_texts.join(" || ',' || ");
    #[expect(clippy::cast_possible_truncation, reason = "a share of 2^32, rounded")]
    let limit = (percent / 100.0 * f64::from(u32::MAX)).round() as i64;
    format!("('x' || left(md5({text}), 8))::bit(32)::bigint & 4294967295 <= {limit}")
}

/// Where the keys of parents are found by the ids of their target rows.
pub(super) enum Parents<'a> {
    /// In their ledgers; a reference that is NULL for now may be pending.
    Ledgers,
    /// In another relation for each of them, with the columns of its key and `target_id`; nothing is pending.
    Relations(&'a dyn Fn(&str) -> String),
}

/// How a column is read back: its fields as the source's projection makes them, and what must be joined.
struct ReadBack {
    values: Vec<String>,
    joins: String,
}

fn read_back(
    entity: &ResolvedEntity,
    index: usize,
    column: &ResolvedColumn,
    parents: &Parents<'_>,
) -> ReadBack {
    let name = format!("t.{}", quote_identifier(&column.name));
    match &column.value {
        ResolvedValue::Json { extract, .. }
            if extract
                .as_ref()
                .is_none_or(|it| it.form == ExtractForm::Json) =>
        {
            ReadBack {
                values: vec![format!("{name}::text")],
                joins: String::new(),
            }
        }
        ResolvedValue::Scalar | ResolvedValue::Json { .. } => {
            let to = &column.transport.sql;
            let value = format!("{name}::{to}");
            let value = match column.transport.base.as_str() {
                "float4" | "float8" => format!("({value} + 0.0::{to})::{to}"),
                "numeric" if to == "numeric" => format!("trim_scale({value})"),
                _ => value,
            };
            ReadBack {
                values: vec![value],
                joins: String::new(),
            }
        }
        ResolvedValue::Reference { .. } | ResolvedValue::Poly { .. } => {
            read_reference(entity, index, column, parents)
        }
    }
}

/// What an earlier integer type could hold.
fn bounds(base: &str) -> Option<&'static str> {
    match base {
        "int2" => Some("-32768 and 32767"),
        "int4" => Some("-2147483648 and 2147483647"),
        _ => None,
    }
}

/// A value that does not fit any more must not fail the cast; its row is not looked at.
fn within(name: &str, base: &str, value: &str) -> String {
    match bounds(base) {
        Some(bounds) => format!("case when {name} between {bounds} then {value} end"),
        None => value.to_owned(),
    }
}

fn read_reference(
    entity: &ResolvedEntity,
    index: usize,
    column: &ResolvedColumn,
    relations: &Parents<'_>,
) -> ReadBack {
    let name = format!("t.{}", quote_identifier(&column.name));
    let mut parents = column.parents();
    parents.sort_unstable();
    parents.dedup();
    let mut joins = String::new();
    let mut keys = Vec::new();
    let mut kinds = String::new();
    for (nth, parent) in parents.iter().enumerate() {
        let alias = format!("b{index}_{nth}");
        let relation = match relations {
            Parents::Ledgers => ledger_name(parent),
            Parents::Relations(of) => of(parent),
        };
        joins.push_str(&format!(
            " left join {relation} {alias} on {alias}.target_id = {name}"
        ));
        kinds.push_str(&format!(
            " when {alias}.k0 is not null then {}",
            quote_literal(parent)
        ));
        keys.push(parent_key(column, &alias));
    }
    let to = key_field_type(&column.key_types);
    let pending = |value: &str| match relations {
        Parents::Ledgers => pending(entity, column, value),
        Parents::Relations(_) => "null".to_owned(),
    };
    let pending_key = match column.key_types.len() {
        1 => pending("(w.parent_key ->> 0)"),
        _ => pending("w.parent_key"),
    };
    let keys = keys.join(", ");
    let mut values = vec![match fallback_key(column, &format!("b{index}_0")) {
        // Who refers to the parent to fall back on may wait for another one.
        Some(is_fallback) => format!(
            "(case when {is_fallback} then coalesce({pending_key}::{to}, {keys}) else {keys} end)::{to}"
        ),
        None => format!(
            "(case when {name} is null then {pending_key}::{to} else coalesce({keys}) end)::{to}"
        ),
    }];
    if matches!(column.value, ResolvedValue::Poly { .. }) {
        let kind = pending("w.parent_entity");
        values.push(format!(
            "(case when {name} is null then {kind} else case{kinds} end end)::text"
        ));
    }
    ReadBack { values, joins }
}

/// The key of a parent as the source sends it.
fn parent_key(column: &ResolvedColumn, alias: &str) -> String {
    if column.key_types.len() == 1 {
        return format!("{alias}.k0");
    }
    let names = key_names(column.key_types.len());
    let names: Vec<String> = names.iter().map(|key| format!("{alias}.{key}")).collect();
    format!(
        "case when {alias}.k0 is not null then jsonb_build_array({})::text end",
        names.join(", ")
    )
}

/// What a reference that is NULL, or leads to another parent, for now will be.
fn pending(entity: &ResolvedEntity, column: &ResolvedColumn, value: &str) -> String {
    let keys: Vec<String> = key_names(entity.source.key.len())
        .iter()
        .map(|key| format!("l.{key}"))
        .collect();
    format!(
        "(select {value} from diffmig.pending_reference w where w.entity = {} \
         and w.key = jsonb_build_array({}) and w.column_name = {})",
        quote_literal(&entity.name),
        keys.join(", "),
        quote_literal(&column.name)
    )
}
