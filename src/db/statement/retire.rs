//! The statement that carries the delete policy out.

use super::apply::{ApplyStatements, THIS_XID, Writer};
use super::ledger::ledger_name;
use super::source::key_arrays;
use super::{Statement, key_equality, key_names};
use crate::domain::catalog::Referrer;
use crate::domain::identifier::{quote_identifier, quote_literal};
use crate::domain::key::{Key, KeyFault};
use crate::domain::mapping::{ConflictPolicy, DeletePolicy, Literal};

/// A key that is gone from the source.
#[derive(Debug, Clone)]
pub struct Doomed {
    /// The key.
    pub key: Key,
    /// The `xmin` of a target row whose content was looked at and is what was applied last.
    pub seen: Option<u32>,
    /// Why the target refuses to let the row go: `sqlstate|reason|place`.
    pub fault: Option<String>,
}

impl Doomed {
    /// A key about which nothing more is known.
    pub fn new(key: Key) -> Self {
        Doomed {
            key,
            seen: None,
            fault: None,
        }
    }
}

/// What the policy does to target rows.
struct Act {
    /// The statement that changes them.
    change: String,
    /// What the ledger notes as their `xmin` afterwards.
    xmin_after: &'static str,
}

impl ApplyStatements {
    /// Carries the delete policy out for a list of keys and returns rows in, retired, conflicted, refused,
    /// rows to change, rows really changed, rows whose target row looks edited, rows that the ledger really notes.
    ///
    /// # Errors
    /// A key that does not fit the entity.
    pub fn retire(&self, writer: Writer, doomed: &[Doomed]) -> Result<Statement, KeyFault> {
        let entity = &self.entity;
        let count = entity.source.key.len();
        let act = self.act();
        let edited = match (&act, entity.conflict) {
            // Under `ignore` the target row stays as it is, so an edit of it is no conflict.
            (None, _) | (_, ConflictPolicy::SourceWins) => "false",
            (Some(_), ConflictPolicy::KeepTarget | ConflictPolicy::Quarantine) => {
                "coalesce(t.xmin <> l.target_xmin and t.xmin is distinct from g.seen, false)"
            }
        };
        let (change, xmin_after) = match &act {
            Some(act) => (act.change.as_str(), act.xmin_after),
            None => ("select 1 where false", "g.target_xmin"),
        };
        let acts = act.is_some();
        let ledger = ledger_name(&entity.name);
        Ok(Statement::new(format!(
            "with doomed as materialized (select l.*, l.ctid as l_ctid, t.ctid as t_ctid, t.xmin as t_xmin, \
             {edited} as edited, g.fault as given \
             from {} join {ledger} l on {} left join {} t on t.{} = l.target_id \
             where l.deleted_at is null or l.outcome in ('quarantined', 'held')), \
             judged as materialized (select d.*, {} as fault from doomed d), \
             gone as materialized (select j.*, {acts} and not j.edited and j.fault is null \
             and j.target_xmin is not null and j.t_xmin is not null as acts from judged j), \
             changed as ({change}), \
             recorded as (update {ledger} l set \
             deleted_at = case when g.fault is null then now() end, \
             outcome = (case when g.fault is not null then 'undeleted' when g.edited then 'conflicted' \
             else 'applied' end)::diffmig.outcome, pending = false, \
             target_xmin = case when g.acts then {xmin_after} when g.t_xmin is not null then l.target_xmin end, \
             session_number = {} from gone g where l.ctid = g.l_ctid and {} returning 1), {} \
             select count(*), count(*) filter (where not edited and fault is null), \
             count(*) filter (where edited and fault is null), count(*) filter (where fault is not null), \
             count(*) filter (where acts), (select count(*) from changed), \
             count(*) filter (where edited), (select count(*) from recorded) from gone",
            self.doomed_list(doomed)?,
            key_equality("l", "g", count),
            entity.target.sql(),
            quote_identifier(&entity.id_column),
            self.fault(),
            writer.session_number,
            key_equality("l", "g", count),
            self.aside_of_gone(writer),
        )))
    }

    /// Sets the references to `parents`, and to rows of the same table, to NULL in rows that are gone from the
    /// source and will be deleted; `None` when there is nothing to loosen.
    ///
    /// # Errors
    /// A key that does not fit the entity.
    pub fn loosen(
        &self,
        writer: Writer,
        keys: &[Key],
        parents: &[String],
    ) -> Result<Option<Statement>, KeyFault> {
        let entity = &self.entity;
        let loose = |parent: &str| parent == entity.name || parents.iter().any(|it| it == parent);
        let columns: Vec<String> = entity
            .columns
            .iter()
            .filter(|column| !column.not_null && column.parents().into_iter().any(loose))
            .map(|column| quote_identifier(&column.name))
            .collect();
        if columns.is_empty() {
            return Ok(None);
        }
        let doomed: Vec<Doomed> = keys.iter().cloned().map(Doomed::new).collect();
        let count = entity.source.key.len();
        let id = quote_identifier(&entity.id_column);
        let ledger = ledger_name(&entity.name);
        let target = entity.target.sql();
        let bound: Vec<String> = columns
            .iter()
            .map(|column| format!("t.{column} is not null"))
            .collect();
        let settings: Vec<String> = columns
            .iter()
            .map(|column| format!("{column} = null"))
            .collect();
        Ok(Some(Statement::new(format!(
            "with gone as materialized (select l.*, t.xmin as t_xmin from {} join {ledger} l on {} \
             join {target} t on t.{id} = l.target_id where l.outcome = 'undeleted' and t.xmin = l.target_xmin \
             and ({})), \
             changed as (update {target} t set {} from gone g where t.{id} = g.target_id and t.xmin = g.t_xmin \
             returning t.{id} as id) \
             update {ledger} l set target_xmin = {THIS_XID}, session_number = {} from gone g join changed c \
             on c.id = g.target_id where {}",
            self.doomed_list(&doomed)?,
            key_equality("l", "g", count),
            bound.join(" or "),
            settings.join(", "),
            writer.session_number,
            key_equality("l", "g", count)
        ))))
    }

    fn act(&self) -> Option<Act> {
        let entity = &self.entity;
        let target = entity.target.sql();
        let id = quote_identifier(&entity.id_column);
        let which = format!(
            "g.acts and t.ctid = g.t_ctid and t.{id} = g.target_id and t.xmin = g.t_xmin returning 1"
        );
        match &entity.delete {
            DeletePolicy::Ignore => None,
            DeletePolicy::Retire(settings) => {
                let settings: Vec<String> = settings
                    .iter()
                    .map(|(column, value)| {
                        format!("{} = {}", quote_identifier(column), retire_value(value))
                    })
                    .collect();
                Some(Act {
                    change: format!(
                        "update {target} t set {} from gone g where {which}",
                        settings.join(", ")
                    ),
                    xmin_after: THIS_XID,
                })
            }
            DeletePolicy::Delete => Some(Act {
                change: format!("delete from {target} t using gone g where {which}"),
                xmin_after: "null",
            }),
        }
    }

    /// Why a row may not go: what an attempt found, or rows that the server would change along with it.
    ///
    /// A foreign key with `on delete cascade` or `set null` would act on rows that nobody planned to touch.
    fn fault(&self) -> String {
        if self.entity.delete != DeletePolicy::Delete || self.entity.cascades.is_empty() {
            return "d.given".to_owned();
        }
        let arms = self.entity.cascades.iter().map(|referrer| {
            let text = format!(
                "23503|rows of the target still refer to it|{}",
                referrer.name
            );
            let text = quote_literal(&text);
            format!(" when {} then {text}", self.is_referred_to(referrer))
        });
        format!("coalesce(d.given, case{} end)", arms.collect::<String>())
    }

    fn is_referred_to(&self, referrer: &Referrer) -> String {
        let column = quote_identifier(&referrer.column);
        let leaves_too = if referrer.table == self.entity.target {
            let id = quote_identifier(&self.entity.id_column);
            format!(
                " and not exists (select from doomed o where o.target_id = c.{id} and not o.edited and o.given is null)"
            )
        } else {
            String::new()
        };
        format!(
            "exists (select from {} c where c.{column} = d.target_id{leaves_too})",
            referrer.table.sql()
        )
    }

    /// A `values`-like list named `g (k0, ..., seen, fault)`.
    fn doomed_list(&self, doomed: &[Doomed]) -> Result<String, KeyFault> {
        let types = self.entity.key_types();
        let keys: Vec<Key> = doomed.iter().map(|it| it.key.clone()).collect();
        let arrays = key_arrays(&keys, &types)?;
        let names = key_names(types.len()).join(", ");
        if doomed
            .iter()
            .all(|it| it.seen.is_none() && it.fault.is_none())
        {
            return Ok(format!(
                "(select {names}, null::xid as seen, null::text as fault from unnest({}) as k ({names})) g",
                arrays.join(", ")
            ));
        }
        let seen = doomed.iter().map(|it| match it.seen {
            Some(xmin) => format!("'{xmin}'"),
            None => "null".to_owned(),
        });
        let faults = doomed.iter().map(|it| match &it.fault {
            Some(fault) => quote_literal(fault),
            None => "null".to_owned(),
        });
        Ok(format!(
            "unnest({}, array[{}]::xid[], array[{}]::text[]) as g ({}, seen, fault)",
            arrays.join(", "),
            seen.collect::<Vec<_>>().join(", "),
            faults.collect::<Vec<_>>().join(", "),
            names
        ))
    }

    /// Records conflicts and refusals, settles what was recorded of the other rows.
    fn aside_of_gone(&self, writer: Writer) -> String {
        let entity = quote_literal(&self.entity.name);
        let session = quote_literal(&writer.session_id.to_string());
        let key = self.json_key("g");
        let status = match self.entity.conflict {
            ConflictPolicy::Quarantine => "open",
            ConflictPolicy::KeepTarget | ConflictPolicy::SourceWins => "conflict",
        };
        format!(
            "aside as (insert into diffmig.quarantine as old (entity, key, status, sqlstate, constraint_name, reason, \
             first_session, last_session) \
             select {entity}, {key}, case when g.fault is null then '{status}' else 'open' end, \
             case when g.fault is null then '40000' else split_part(g.fault, '|', 1) end, \
             nullif(split_part(g.fault, '|', 3), ''), \
             case when g.fault is null then 'deleted in the source, changed in the target' \
             else 'gone from the source, and its target row cannot go: ' || split_part(g.fault, '|', 2) end, \
             {session}::uuid, {session}::uuid from gone g where g.edited or g.fault is not null \
             on conflict (entity, key) do update set status = excluded.status, reason = excluded.reason, \
             sqlstate = excluded.sqlstate, constraint_name = excluded.constraint_name, attempts = old.attempts + 1, \
             last_session = excluded.last_session, updated_at = now()), \
             settled as (update diffmig.quarantine q set status = 'resolved', updated_at = now() from gone g \
             where not g.edited and g.fault is null and q.entity = {entity} and q.key = {key} \
             and q.status <> 'resolved'), \
             released as (delete from diffmig.pending_reference w using gone g where w.entity = {entity} and w.key = {key})"
        )
    }
}

fn retire_value(value: &Literal) -> String {
    match value {
        Literal::Text(text) if text == "now" => "now()".into(),
        Literal::Text(text) => quote_literal(text),
        Literal::Number(number) => number.clone(),
        Literal::Bool(flag) => flag.to_string(),
    }
}
