//! The statements of a batch: stage, apply, retire.

mod stage;

use super::ledger::{DISPUTED, ledger_name};
use super::target_row::{Reference, TargetRow};
use super::{Statement, key_equality, key_names};
use crate::domain::identifier::{quote_identifier, quote_literal};
use crate::domain::mapping::{ConflictPolicy, DeletePolicy, IdStrategy, Literal, Missing};
use crate::domain::resolve::ResolvedEntity;
use stage::create_stage;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The stage table of a worker's connection; temporary, so that nothing is left behind by a crash.
pub(super) const STAGE: &str = "pg_temp.diffmig_stage";

/// The stage tables of the parents whose rows may be written later in the same transaction, by column and entity.
pub(super) type Ahead = BTreeMap<(String, String), String>;

/// The `xmin` that rows written by this statement carry. It is the transaction's own only at its top
/// level, which is why no batch is committed from inside a savepoint.
pub(super) const THIS_XID: &str = "(select ((pg_catalog.txid_current() & 4294967295)::text)::xid)";

/// Why a row is in conflict; the same words whatever the policy makes of it.
const BOTH_CHANGED: &str = "case when p.l_xmin = '0' then 'adopted with other content than the source has' \
     else 'the row was changed on both sides' end";
const REMOVED: &str = "the row was removed in the target";

/// Who applies: recorded in ledger and quarantine.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// The session.
    pub session_id: Uuid,
    /// Its short number.
    pub session_number: i32,
}

/// The statements of one entity's batches.
#[derive(Debug, Clone)]
pub struct ApplyStatements {
    /// Whether rows that refer to missing rows of their own table are quarantined where the mapping says so;
    /// otherwise they are held, since those rows may come in a later batch.
    pub strict: bool,
    pub(super) entity: ResolvedEntity,
    pub(super) row: TargetRow,
    /// The stage table.
    pub(super) stage: String,
    /// In a knot: the references that find their parent in a stage.
    pub(super) ahead: Option<Ahead>,
    /// Creates the stage table.
    pub create_stage: Statement,
    /// Empties it.
    pub clear_stage: Statement,
    /// Fills it.
    pub copy_stage: Statement,
}

impl ApplyStatements {
    /// Compiles the entity.
    pub fn new(entity: &ResolvedEntity) -> Self {
        ApplyStatements::in_stage(entity, STAGE, None)
    }

    /// Compiles the entity for a stage table of its own, in a knot.
    pub(super) fn in_stage(entity: &ResolvedEntity, stage: &str, ahead: Option<Ahead>) -> Self {
        let row = TargetRow::new(entity);
        let staged = row.stage_columns.iter();
        let names: Vec<&str> = staged.map(|(name, _)| name.as_str()).collect();
        ApplyStatements {
            create_stage: create_stage(entity, &row, stage, ahead.is_some()),
            clear_stage: Statement::new(format!("truncate {stage}")),
            copy_stage: Statement::new(format!(
                "copy {stage} ({}) from stdin (format binary)",
                names.join(", ")
            )),
            // All rows that can come are staged together, so a parent that is not there is missing.
            strict: ahead.is_some(),
            entity: entity.clone(),
            row,
            stage: stage.to_owned(),
            ahead,
        }
    }

    /// Marks one staged row as bad, so that the next attempt sets it aside.
    ///
    /// The fault is `sqlstate|reason|place`.
    pub fn mark(&self, ordinal: usize, fault: &str) -> Statement {
        let fault = quote_literal(fault);
        Statement::new(format!(
            "update {} set fault = {fault} where n = {ordinal}",
            self.stage
        ))
    }

    /// Notes the `xmin` of target rows, by ordinal, that only seem edited.
    pub fn note_seen(&self, rows: &[(usize, u32)]) -> Statement {
        let ordinals: Vec<String> = rows
            .iter()
            .map(|(ordinal, _)| ordinal.to_string())
            .collect();
        let seen: Vec<String> = rows.iter().map(|(_, xmin)| format!("'{xmin}'")).collect();
        Statement::new(format!(
            "update {} s set seen = v.seen from unnest(array[{}], array[{}]::xid[]) as v (n, seen) where s.n = v.n",
            self.stage,
            ordinals.join(", "),
            seen.join(", ")
        ))
    }

    /// Drops earlier findings about the staged rows; a row that is still bad is recorded again by `apply`.
    pub fn forget(&self) -> Statement {
        let entity = quote_literal(&self.entity.name);
        let stage = &self.stage;
        let key = self.json_key("s");
        Statement::new(format!(
            "update diffmig.quarantine q set status = 'resolved', updated_at = now() from {stage} s \
             where q.entity = {entity} and q.key = {key} and q.status <> 'resolved'; \
             delete from diffmig.pending_reference w using {stage} s where w.entity = {entity} and w.key = {key}"
        ))
    }

    pub(super) fn json_key(&self, alias: &str) -> String {
        let keys = key_names(self.entity.source.key.len());
        let keys: Vec<String> = keys.iter().map(|key| format!("{alias}.{key}")).collect();
        format!("jsonb_build_array({})", keys.join(", "))
    }

    /// Applies the staged rows with ordinals in a closed range and returns the counts:
    /// rows in, inserted, updated, identical, conflicted, held, quarantined, rows really inserted, rows really
    /// updated, rows whose target row looks edited, rows new to the ledger, rows really added to it, rows that were
    /// written and are known to the ledger, such rows that it really knows as written.
    pub fn apply(&self, writer: Writer, first: usize, last: usize) -> Statement {
        let parts = [
            self.stuck(first, last),
            format!("resolved as materialized ({})", self.resolved(first, last)),
            format!("planned as materialized ({})", self.planned()),
            format!("inserted as ({})", self.insert()),
            format!("updated as ({})", self.update()),
            format!("recorded as ({})", self.record(writer)),
            format!("added as ({})", self.add(writer)),
            format!("aside as ({})", self.set_aside(writer)),
            self.waiting(),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let count = |action: &str| format!("count(*) filter (where action = '{action}')");
        Statement::new(format!(
            "with recursive {} select count(*), {}, {}, {}, {}, {}, {}, \
             (select count(*) from inserted), (select count(*) from updated), \
             count(*) filter (where edited and action in ('conflicted', 'quarantined')), \
             count(*) filter (where l_id is null), (select count(*) from added), \
             count(*) filter (where l_id is not null and action in ('inserted', 'updated')), \
             (select count(*) from recorded where is_written) from planned",
            parts.join(", "),
            count("inserted"),
            count("updated"),
            count("identical"),
            count("conflicted"),
            count("held"),
            count("quarantined"),
        ))
    }

    fn missing(&self, reference: &Reference) -> Missing {
        match reference.missing {
            Missing::Quarantine if reference.is_self(&self.entity) && !self.strict => Missing::Hold,
            missing => missing,
        }
    }

    /// The rows of this batch that cannot go now, followed along self references.
    fn stuck(&self, first: usize, last: usize) -> String {
        let references = &self.row.references;
        if self.ahead.is_some() || !references.iter().any(|it| it.is_self(&self.entity)) {
            return String::new();
        }
        let stage = &self.stage;
        let ledger = ledger_name(&self.entity.name);
        let mut blocked = vec!["s.fault is not null".to_owned()];
        let mut follow = Vec::new();
        for it in references.iter().filter(|it| it.missing != Missing::Null) {
            let (key, kind, alias) = (&it.key, it.kind_condition("s"), &it.alias);
            let mut unresolved = format!("s.{key} is not null{kind} and {alias}.target_id is null");
            if it.is_self(&self.entity) {
                unresolved.push_str(&format!(
                    " and not exists (select from {stage} p where p.k0 = s.{key} and p.n between {first} and {last})"
                ));
                follow.push(format!(
                    "(s.{key} = b.k0{kind} and not exists (select from {ledger} l where l.k0 = s.{key} and {}))",
                    is_there("l")
                ));
            }
            if let Some(fallback) = &it.fallback {
                unresolved.push_str(&format!(" and {fallback} is null"));
            }
            blocked.push(format!("({unresolved})"));
        }
        let seed = format!(
            "select s.k0 from {stage} s{} where s.n between {first} and {last} and ({})",
            self.parent_joins(first, last, false),
            blocked.join(" or ")
        );
        if follow.is_empty() {
            return format!("stuck (k0) as ({seed})");
        }
        format!(
            "stuck (k0) as ({seed} union select s.k0 from {stage} s join stuck b on {} \
             where s.n between {first} and {last})",
            follow.join(" or ")
        )
    }

    /// The stage in which a parent may be found that is not in the target yet.
    fn parent_stage(&self, reference: &Reference) -> Option<&str> {
        match &self.ahead {
            Some(ahead) => ahead
                .get(&(reference.column.clone(), reference.entity.clone()))
                .map(String::as_str),
            None => reference
                .is_self(&self.entity)
                .then_some(self.stage.as_str()),
        }
    }

    /// The condition that a staged parent gets into the target with this transaction.
    fn comes(&self, first: usize, last: usize) -> String {
        match &self.ahead {
            Some(_) => "p.comes".to_owned(),
            None => format!(
                "p.n between {first} and {last} and not exists (select from stuck b where b.k0 = p.k0)"
            ),
        }
    }

    fn parent_joins(&self, first: usize, last: usize, with_stage: bool) -> String {
        let mut joins = String::new();
        for reference in &self.row.references {
            let (alias, key) = (&reference.alias, &reference.key);
            let kind = reference.kind_condition("s");
            joins.push_str(&format!(
                " left join {} {alias} on {}{kind} and {}",
                ledger_name(&reference.entity),
                reference.matches(alias, "s"),
                is_there(alias)
            ));
            let (stage, comes) = match self.parent_stage(reference) {
                Some(stage) if with_stage => (stage, self.comes(first, last)),
                _ => continue,
            };
            let ledger = ledger_name(&reference.entity);
            joins.push_str(&format!(
                " left join lateral (select coalesce(lp.target_id, p.new_id) as target_id from {stage} p \
                 left join {ledger} lp on lp.k0 = p.k0 where p.k0 = s.{key} and {comes}) {alias}_stage on true{kind}"
            ));
        }
        joins
    }

    fn resolved(&self, first: usize, last: usize) -> String {
        let ledger = ledger_name(&self.entity.name);
        let keys = self.entity.source.key.len();
        let mut select = vec![
            "s.*".to_owned(),
            "l.ctid as l_ctid".into(),
            "l.target_id as l_id".into(),
            "l.row_hash as l_hash".into(),
            "l.applied_hash as l_applied".into(),
            "l.target_xmin as l_xmin".into(),
            "l.deleted_at as l_deleted".into(),
        ];
        let mut verdicts = " when s.fault is not null then s.fault".to_owned();
        let mut held = Vec::new();
        let mut pending = Vec::new();
        for reference in &self.row.references {
            let found = if self.parent_stage(reference).is_some() {
                format!(
                    "coalesce({0}.target_id, {0}_stage.target_id)",
                    reference.alias
                )
            } else {
                format!("{}.target_id", reference.alias)
            };
            select.push(format!("{found} as {}", reference.found));
            let kind = reference.kind_condition("s");
            let unresolved = format!(
                "(s.{} is not null{kind} and {found} is null)",
                reference.key
            );
            match self.missing(reference) {
                Missing::Quarantine => {
                    let fault = format!("23503|the parent is not there|{}", reference.column);
                    verdicts.push_str(&format!(
                        " when {unresolved} then {}",
                        quote_literal(&fault)
                    ));
                }
                Missing::Hold => held.push(unresolved),
                Missing::Null => pending.push(unresolved),
                Missing::Fallback => {
                    if let Some(fallback) = &reference.fallback {
                        let stand_in = reference.stand_in();
                        select.push(format!(
                            "case when {unresolved} then {fallback} end as {stand_in}"
                        ));
                        held.push(format!("({unresolved} and {fallback} is null)"));
                    }
                    pending.push(unresolved);
                }
            }
        }
        select.push(format!("case{verdicts} end as bad"));
        select.push(format!("{} as waits", any_of(&held)));
        select.push(format!("{} as nulled", any_of(&pending)));
        format!(
            "select {} from {} s left join {ledger} l on {}{} where s.n between {first} and {last}",
            select.join(", "),
            self.stage,
            key_equality("l", "s", keys),
            self.parent_joins(first, last, true)
        )
    }

    fn planned(&self) -> String {
        let entity = &self.entity;
        let id = quote_identifier(&entity.id_column);
        let differs = self.row.difference();
        let refused = match entity.conflict {
            ConflictPolicy::KeepTarget => Some("conflicted"),
            ConflictPolicy::Quarantine => Some("quarantined"),
            ConflictPolicy::SourceWins => None,
        };
        let arm = |condition: &str| match refused {
            Some(action) => format!(" when {condition} then '{action}'"),
            None => String::new(),
        };
        let removed = arm("t.xmin is null and r.l_xmin is not null and r.l_deleted is null");
        let edited = arm("e.edited");
        // With kept or derived keys a row under the same key may be native to the target; it is not ours to change,
        // not even at a second look.
        let native = match entity.id_strategy {
            IdStrategy::Same | IdStrategy::Named => " when r.l_xmin is null then 'conflicted'",
            IdStrategy::Ordered | IdStrategy::Random => "",
        };
        format!(
            "select r.*, coalesce(r.l_id, r.new_id) as id, t.ctid as t_ctid, t.xmin as t_xmin, e.edited, case \
             when r.bad is not null then 'quarantined' when r.waits then 'held' \
             {removed} when t.{id} is null then 'inserted' \
             when r.l_deleted is null and not ({differs}) then 'identical'{native}{edited} \
             else 'updated' end as action \
             from resolved r left join {} t on t.{id} = coalesce(r.l_id, r.new_id) \
             cross join lateral (select coalesce(t.xmin <> r.l_xmin and t.xmin is distinct from r.seen, false) \
             as edited) e",
            entity.target.sql()
        )
    }

    fn insert(&self) -> String {
        let entity = &self.entity;
        let mut columns = vec![quote_identifier(&entity.id_column)];
        let mut values = vec!["p.id".to_owned()];
        for (column, value) in self.row.inserted_values() {
            columns.push(quote_identifier(&column));
            values.push(value);
        }
        let overriding = if entity.overrides_identity {
            " overriding system value"
        } else {
            ""
        };
        format!(
            "insert into {} ({}){overriding} select {} from planned p where p.action = 'inserted' order by p.id returning 1",
            entity.target.sql(),
            columns.join(", "),
            values.join(", ")
        )
    }

    fn update(&self) -> String {
        let entity = &self.entity;
        let mut settings: Vec<String> = self
            .row
            .updated_values()
            .into_iter()
            .map(|(column, value)| format!("{} = {value}", quote_identifier(&column)))
            .collect();
        settings.extend(self.revival());
        if settings.is_empty() {
            // Nothing but the key is mapped: touching the key column keeps the statement's shape.
            let id = quote_identifier(&entity.id_column);
            settings.push(format!("{id} = p.id"));
        }
        format!(
            "update {} t set {} from planned p where p.action = 'updated' and t.ctid = p.t_ctid and t.{} = p.id \
             and t.xmin = p.t_xmin returning 1",
            entity.target.sql(),
            settings.join(", "),
            quote_identifier(&entity.id_column)
        )
    }

    /// Undoes what retiring set, when a key comes back: `"now"` becomes NULL, a boolean flips, the rest is mapped anew.
    fn revival(&self) -> Vec<String> {
        let DeletePolicy::Retire(settings) = &self.entity.delete else {
            return Vec::new();
        };
        let unmapped = settings
            .iter()
            .filter(|(column, _)| !self.entity.columns.iter().any(|it| it.name == *column));
        unmapped
            .map(|(column, value)| {
                let column = quote_identifier(column);
                let revived = match value {
                    Literal::Bool(flag) => (!flag).to_string(),
                    _ => "null".to_owned(),
                };
                format!(
                    "{column} = case when p.l_deleted is null then t.{column} else {revived} end"
                )
            })
            .collect()
    }

    /// What the ledger says of every row afterwards, in the order of its columns.
    fn recorded_values(&self, writer: Writer) -> [(&'static str, String); 8] {
        let aside = "p.action in ('quarantined', 'held', 'conflicted')";
        [
            ("target_id", "p.id".to_owned()),
            ("row_hash", "p.row_hash".to_owned()),
            (
                "applied_hash",
                format!(
                    "case when {aside} and (p.l_xmin is not null and p.l_deleted is null or p.l_applied = {DISPUTED}) \
                     then coalesce(p.l_applied, p.l_hash) end"
                ),
            ),
            (
                "target_xmin",
                format!(
                    "case when p.action in ('inserted', 'updated') then {THIS_XID} \
                     when p.action = 'identical' then p.t_xmin else p.l_xmin end"
                ),
            ),
            (
                "outcome",
                format!("(case when {aside} then p.action else 'applied' end)::diffmig.outcome"),
            ),
            ("pending", format!("p.nulled and not {aside}")),
            ("session_number", writer.session_number.to_string()),
            (
                "deleted_at",
                "case when p.action in ('quarantined', 'held') then p.l_deleted end".to_owned(),
            ),
        ]
    }

    /// Writes the ledger: rows that it knows are updated where they stand, unless nothing is new about them.
    fn record(&self, writer: Writer) -> String {
        let ledger = ledger_name(&self.entity.name);
        let values = self.recorded_values(writer);
        let settings: Vec<String> = values
            .iter()
            .map(|(column, value)| format!("{column} = {value}"))
            .collect();
        let compared = values.iter().filter(|it| {
            // The session is no news, and an id never changes.
            !["session_number", "target_id"].contains(&it.0)
        });
        // What was written has another `xmin`, whatever else there is.
        let written = "p.action in ('inserted', 'updated')".to_owned();
        let differs =
            compared.map(|(column, value)| format!("l.{column} is distinct from ({value})"));
        let differs: Vec<String> = std::iter::once(written).chain(differs).collect();
        format!(
            "update {ledger} l set {} from planned p where l.ctid = p.l_ctid and {} and ({}) returning p.action in ('inserted', 'updated') as is_written",
            settings.join(", "),
            key_equality("l", "p", self.entity.source.key.len()),
            differs.join(" or ")
        )
    }

    /// Adds the rows that the ledger does not know.
    fn add(&self, writer: Writer) -> String {
        let keys = key_names(self.entity.source.key.len());
        let values = self.recorded_values(writer);
        let columns = values.iter().map(|(column, _)| (*column).to_owned());
        let columns: Vec<String> = keys.iter().cloned().chain(columns).collect();
        let ordered: Vec<String> = keys.iter().map(|key| format!("p.{key}")).collect();
        let selected: Vec<String> = ordered
            .iter()
            .cloned()
            .chain(values.into_iter().map(|(_, value)| value))
            .collect();
        format!(
            "insert into {} ({}) select {} from planned p where p.l_id is null order by {} returning 1",
            ledger_name(&self.entity.name),
            columns.join(", "),
            selected.join(", "),
            ordered.join(", ")
        )
    }

    fn set_aside(&self, writer: Writer) -> String {
        let entity = quote_literal(&self.entity.name);
        let key = self.json_key("p");
        let session = quote_literal(&writer.session_id.to_string());
        // A row that is quarantined without a fault of its own is one that both sides changed.
        let bad = format!(
            "coalesce(p.bad, '40000|' || case when p.t_xmin is null then '{REMOVED}' else {BOTH_CHANGED} end)"
        );
        format!(
            "insert into diffmig.quarantine as old (entity, key, status, sqlstate, constraint_name, reason, first_session, last_session) \
             select {entity}, {key}, case p.action when 'quarantined' then 'open' when 'held' then 'held' else 'conflict' end, \
             case p.action when 'quarantined' then split_part({bad}, '|', 1) when 'held' then '23503' else '40000' end, \
             case p.action when 'quarantined' then nullif(split_part({bad}, '|', 3), '') end, \
             case when p.action = 'quarantined' then split_part({bad}, '|', 2) \
             when p.action = 'held' then 'waits for a parent that is not there' \
             when p.t_xmin is null then '{REMOVED}' \
             else {BOTH_CHANGED} end, \
             {session}::uuid, {session}::uuid \
             from planned p where p.action in ('quarantined', 'held', 'conflicted') order by 2 \
             on conflict (entity, key) do update set status = excluded.status, sqlstate = excluded.sqlstate, \
             constraint_name = excluded.constraint_name, reason = excluded.reason, attempts = old.attempts + 1, \
             last_session = excluded.last_session, updated_at = now()"
        )
    }

    /// Remembers the references that wait for their parent.
    fn waiting(&self) -> String {
        let entity = quote_literal(&self.entity.name);
        let key = self.json_key("p");
        let rows: Vec<String> = self
            .row
            .references
            .iter()
            .filter(|it| self.missing(it) != Missing::Quarantine)
            .map(|it| {
                let applies = match self.missing(it) {
                    Missing::Hold => "p.action = 'held'",
                    // A row whose parent to fall back on is missing as well is held, and waits for its own.
                    Missing::Fallback => {
                        "(p.action <> 'quarantined' or (p.edited and p.t_xmin is not null))"
                    }
                    // In a conflict the target row stays, with the NULL that waits.
                    _ => "(p.action not in ('quarantined', 'held') or (p.edited and p.t_xmin is not null))",
                };
                let (column, parent) = (quote_literal(&it.column), quote_literal(&it.entity));
                let (by, found, kind) = (&it.key, &it.found, it.kind_condition("p"));
                let stored = it.stored_key("p");
                format!(
                    "select {entity}, {key}, {column}, {parent}, {stored} from planned p \
                     where {applies} and p.{found} is null and p.{by} is not null{kind}"
                )
            })
            .collect();
        if rows.is_empty() {
            return String::new();
        }
        format!(
            "waiting as (insert into diffmig.pending_reference (entity, key, column_name, parent_entity, parent_key) {} \
             on conflict (entity, key, column_name) do update set parent_entity = excluded.parent_entity, \
             parent_key = excluded.parent_key)",
            rows.join(" union all ")
        )
    }
}

/// A parent is there as long as its row is in the target: one that was retired or left the mapping still is.
pub(super) fn is_there(alias: &str) -> String {
    format!("{alias}.target_xmin is not null")
}

fn any_of(conditions: &[String]) -> String {
    if conditions.is_empty() {
        "false".to_owned()
    } else {
        format!("({})", conditions.join(" or "))
    }
}
