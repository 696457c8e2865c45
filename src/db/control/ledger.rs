//! The ledgers as tables: which there are, how they are indexed, and how many rows they have.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::error::Result;
use uuid::Uuid;

/// A ledger that exists.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Ledger {
    /// The entity it belongs to.
    pub entity: String,
    /// Whether it has the unique index of its keys; during a first load that comes last.
    pub has_key: bool,
    /// Whether it has the index of the rows that are not simply applied, by their outcome; older ones began with the key.
    pub has_index: bool,
}

/// Lists the ledgers.
///
/// # Errors
/// The query fails.
pub async fn list(connection: &mut Connection) -> Result<Vec<Ledger>> {
    answered(
        sqlx::query_as(
            "select substring(c.relname::text from 8) as entity, \
             coalesce(bool_or(i.indisunique), false) as has_key, \
             coalesce(bool_or(i.indpred is not null and i.indkey[0] = (select a.attnum from pg_catalog.pg_attribute a \
               where a.attrelid = c.oid and a.attname = 'outcome')), false) as has_index \
             from pg_catalog.pg_class c left join pg_catalog.pg_index i on i.indrelid = c.oid and i.indisvalid \
             where c.relnamespace = pg_catalog.to_regnamespace('diffmig') and c.relkind = 'r' \
             and c.relname::text like 'ledger\\_%' group by c.oid, c.relname order by 1",
        )
        .fetch_all(connection),
    )
    .await
    .map_err(failed("listing the ledgers"))
}

/// Tells whether a ledger has the unique index of its keys.
///
/// # Errors
/// The query fails.
pub async fn has_key(connection: &mut Connection, entity: &str) -> Result<bool> {
    answered(
        sqlx::query_scalar(
            "select exists (select from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indrelid \
             where c.relnamespace = pg_catalog.to_regnamespace('diffmig') and c.relname::text = 'ledger_' || $1 \
             and i.indisunique and i.indisvalid)",
        )
        .bind(entity)
        .fetch_one(connection),
    )
    .await
    .map_err(failed("listing the ledgers"))
}

/// Forgets how many rows ledgers had when a session had ended that goes on after all: its later batches carry
/// the same number and would not be counted.
///
/// # Errors
/// The query fails.
pub async fn forget_counts(connection: &mut Connection, session_number: i32) -> Result<()> {
    answered(
        sqlx::query("update diffmig.watermark set ledger_rows = null where session_number = $1")
            .bind(session_number)
            .execute(connection),
    )
    .await
    .map(drop)
    .map_err(failed("counting a ledger"))
}

/// Returns how many rows the batches of one session added to a ledger; all it has when it was empty before.
///
/// # Errors
/// The query fails.
pub async fn added(
    connection: &mut Connection,
    session_id: Uuid,
    entity: &str,
) -> Result<Option<i64>> {
    answered(
        sqlx::query_scalar(
            "select case when count(*) = count(ledger_rows) then coalesce(sum(ledger_rows), 0)::bigint end \
             from diffmig.batch where session_id = $1 and entity = $2",
        )
        .bind(session_id)
        .bind(entity)
        .fetch_one(connection),
    )
    .await
    .map_err(failed("counting a ledger"))
}

/// How many rows a ledger has, as far as it is known without counting them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct KnownRows {
    /// All rows: those that were counted once, and those that batches added since.
    pub all: i64,
    /// Those that stand for a source row; nothing when batches came since they were counted.
    pub live: Option<i64>,
}

/// Returns how many rows a ledger has; `None` when they were never counted, or some batch did not say what it added.
///
/// # Errors
/// The query fails.
pub async fn row_count(connection: &mut Connection, entity: &str) -> Result<Option<KnownRows>> {
    answered(
        sqlx::query_as(
            "select w.ledger_rows + b.added as all, case when b.batches = 0 then w.live_rows end as live \
             from diffmig.watermark w cross join lateral (select count(*) as batches, \
               case when count(*) = count(b.ledger_rows) then coalesce(sum(b.ledger_rows), 0)::bigint end as added \
               from diffmig.session s join diffmig.batch b using (session_id) \
               where s.number > w.session_number and b.entity = w.entity) b \
             where w.entity = $1 and w.ledger_rows is not null and b.added is not null",
        )
        .bind(entity)
        .fetch_optional(connection),
    )
    .await
    .map_err(failed("counting a ledger"))
}
