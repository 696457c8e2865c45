//! What an adoption writes: rows of the ledger, and keys that are set aside.

use super::{AdoptStatements, declared};
use crate::db::statement::apply::ApplyStatements;
use crate::db::statement::ledger::{is_disputed, ledger_name};
use crate::db::statement::{Statement, key_equality};
use crate::domain::adopt::DISPUTED_SQLSTATE;
use crate::domain::identifier::quote_literal;
use uuid::Uuid;

/// The stage table of what is recorded.
const STAGE: &str = "pg_temp.diffmig_adopted";

impl AdoptStatements<'_> {
    /// Creates the stage of what is recorded.
    pub fn create_stage(&self) -> Statement {
        let keys = declared(&self.entity.key_types());
        Statement::new(format!(
            "drop table if exists {STAGE}; create temporary table diffmig_adopted ({keys}, target_id {}, row_hash bytea, \
             applied_hash bytea, target_xmin xid, outcome text, gone boolean, reason text) on commit preserve rows",
            self.entity.id_type
        ))
    }

    /// Empties it.
    pub fn clear_stage(&self) -> Statement {
        Statement::new(format!("truncate {STAGE}"))
    }

    /// Fills it.
    pub fn copy_stage(&self) -> Statement {
        Statement::new(format!(
            "copy {STAGE} ({}, target_id, row_hash, applied_hash, target_xmin, outcome, gone, reason) \
             from stdin (format binary)",
            self.keys().join(", ")
        ))
    }

    /// Records the staged rows and returns how many, and how many of them are new in the ledger. A row that the
    /// ledger knows to be in the target is left alone.
    pub fn record(&self, session_id: Uuid, session_number: i32) -> Statement {
        let name = quote_literal(&self.entity.name);
        let session = quote_literal(&session_id.to_string());
        let keys = self.keys().join(", ");
        let of_stage = self.key_list("s");
        let key = format!("jsonb_build_array({of_stage})");
        let values = [
            "target_id",
            "row_hash",
            "applied_hash",
            "target_xmin",
            "outcome",
            "pending",
            "session_number",
            "deleted_at",
        ];
        let settings = values.map(|it| format!("{it} = excluded.{it}"));
        Statement::new(format!(
            "with put as (insert into {} as l ({keys}, {}) select {of_stage}, s.target_id, s.row_hash, s.applied_hash, \
             s.target_xmin, s.outcome::diffmig.outcome, false, {session_number}, case when s.gone then now() end \
             from {STAGE} s order by {of_stage} on conflict ({keys}) do update set {} where l.target_xmin is null \
             returning (l.xmax = 0) as is_new), \
             settled as (update diffmig.quarantine q set status = 'resolved', updated_at = now() from {STAGE} s \
             where q.entity = {name} and q.key = {key} and q.status <> 'resolved' and s.reason is null), \
             aside as (insert into diffmig.quarantine as old (entity, key, status, sqlstate, reason, first_session, last_session) \
             select {name}, {key}, 'open', '{DISPUTED_SQLSTATE}', s.reason, {session}::uuid, {session}::uuid from {STAGE} s \
             where s.reason is not null order by 2 on conflict (entity, key) do update set status = excluded.status, \
             sqlstate = excluded.sqlstate, constraint_name = null, reason = excluded.reason, attempts = old.attempts + 1, \
             last_session = excluded.last_session, updated_at = now()), \
             waiting as (delete from diffmig.pending_reference w using {STAGE} s where w.entity = {name} and w.key = {key}), \
             forgotten as (delete from diffmig.watermark where entity = {name}) \
             select count(*), count(*) filter (where is_new) from put",
            ledger_name(&self.entity.name),
            values.join(", "),
            settings.join(", ")
        ))
    }
}

impl ApplyStatements {
    /// Returns the name of the stage table.
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// Marks the staged rows as bad of which an adoption could not tell which target row is theirs.
    pub fn mark_disputed(&self) -> Statement {
        let entity = &self.entity;
        Statement::new(format!(
            "update {} s set fault = '{DISPUTED_SQLSTATE}|' || coalesce((select q.reason from diffmig.quarantine q \
             where q.entity = {} and q.key = {} and q.sqlstate = '{DISPUTED_SQLSTATE}'), \
             'it is not known which target row is its own') || '|' from {} l where s.fault is null and {} and {}",
            self.stage,
            quote_literal(&entity.name),
            self.json_key("s"),
            ledger_name(&entity.name),
            key_equality("l", "s", entity.source.key.len()),
            is_disputed("l")
        ))
    }
}
