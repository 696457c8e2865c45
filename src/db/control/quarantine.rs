//! Rows that are set aside: listed, counted, waived, and given free for another try.

use super::lease::{Holder, holder};
use super::{failed, schema};
use crate::db::server::{Connection, answered};
use crate::db::statement::ledger;
use crate::domain::key::KeyType;
use crate::domain::quarantine::QuarantineStatus;
use crate::error::{Error, Kind, Result};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Connection as _;
use uuid::Uuid;

/// Which rows of the table are meant; every condition that is given must hold.
#[derive(Debug, Clone)]
pub struct Choice {
    /// How they stand.
    pub statuses: &'static [QuarantineStatus],
    /// Of this entity.
    pub entity: Option<String>,
    /// With this text in their reason, or with this SQLSTATE.
    pub reason: Option<String>,
    /// With one of these stored keys.
    pub keys: Option<Vec<Value>>,
}

impl Choice {
    fn words(&self) -> Vec<String> {
        let words = self.statuses.iter().map(|it| it.word().to_owned());
        words.collect()
    }
}

/// The condition of a [`Choice`] on `diffmig.quarantine q`: $1 statuses, $2 entity, $3 reason, $4 keys.
macro_rules! chosen {
    () => {
        "q.status = any($1::text[]) and ($2::text is null or q.entity = $2) \
         and ($3::text is null or pg_catalog.strpos(pg_catalog.lower(q.reason), pg_catalog.lower($3)) > 0 \
           or q.sqlstate = pg_catalog.upper($3)) \
         and ($4::jsonb[] is null or q.key = any($4))"
    };
}

/// The condition of a [`Choice`], for statements that are made at run time.
pub(crate) const CHOSEN: &str = chosen!();

/// A row of the table.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct QuarantineRow {
    /// The entity.
    pub entity: String,
    /// The key as stored: an array.
    pub key: Value,
    /// How it stands.
    pub status: String,
    /// What the server or diffmig says of the kind of fault.
    pub sqlstate: String,
    /// The constraint or column that refused it.
    pub constraint_name: Option<String>,
    /// In words, without values.
    pub reason: String,
    /// How often it was set aside.
    pub attempts: i32,
    /// The session that set it aside first.
    pub first_session: Uuid,
    /// The session that set it aside last.
    pub last_session: Uuid,
    /// Since when it is known.
    pub created_at: DateTime<Utc>,
    /// When it changed last.
    pub updated_at: DateTime<Utc>,
}

/// How many rows are set aside for one reason.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ReasonCount {
    /// The entity.
    pub entity: String,
    /// How they stand.
    pub status: String,
    /// The kind of fault.
    pub sqlstate: String,
    /// In words.
    pub reason: String,
    /// How many.
    pub row_count: i64,
}

/// A reference that waits for its parent.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct WaitRow {
    /// The column of the target.
    pub column_name: String,
    /// The entity of the parent.
    pub parent_entity: String,
    /// The parent's key as stored.
    pub parent_key: Value,
    /// How the parent stands when it is set aside itself.
    pub parent_status: Option<String>,
}

/// What the ledger says of one key.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct LedgerEntry {
    /// What became of the source version that was looked at last.
    pub outcome: String,
    /// The id of its row in the target, there or not.
    pub target_id: String,
    /// Whether something of this key was written into the target.
    pub in_target: bool,
    /// When the key was found gone from the source.
    pub deleted_at: Option<DateTime<Utc>>,
    /// The short number of the session that wrote this.
    pub session_number: i32,
    /// Whether the next detection reports the row although it is unchanged.
    pub retried: bool,
}

/// Lists the chosen rows by entity and key; all of them when there is no limit.
///
/// # Errors
/// The query fails.
pub async fn list(
    connection: &mut Connection,
    choice: &Choice,
    limit: Option<i64>,
) -> Result<Vec<QuarantineRow>> {
    sqlx::query_as(concat!(
        "select q.* from diffmig.quarantine q where ",
        chosen!(),
        " order by q.entity collate \"C\", q.key limit $5"
    ))
    .bind(choice.words())
    .bind(&choice.entity)
    .bind(&choice.reason)
    .bind(&choice.keys)
    .bind(limit)
    .fetch_all(connection)
    .await
    .map_err(failed("listing the quarantine"))
}

/// Lists the chosen rows by entity and key, from behind one of them on.
///
/// # Errors
/// The query fails.
pub async fn page(
    connection: &mut Connection,
    choice: &Choice,
    after: Option<&(String, Value)>,
    limit: i64,
) -> Result<Vec<QuarantineRow>> {
    answered(
        sqlx::query_as(concat!(
            "select q.* from diffmig.quarantine q where ",
            chosen!(),
            " and ($5::text is null or (q.entity collate \"C\", q.key) > ($5::text collate \"C\", $6::jsonb)) \
             order by q.entity collate \"C\", q.key limit $7"
        ))
        .bind(choice.words())
        .bind(&choice.entity)
        .bind(&choice.reason)
        .bind(&choice.keys)
        .bind(after.map(|it| &it.0))
        .bind(after.map(|it| &it.1))
        .bind(limit)
        .fetch_all(connection),
    )
    .await
    .map_err(failed("listing the quarantine"))
}

/// Counts the chosen rows by entity, status, SQLSTATE and reason.
///
/// # Errors
/// The query fails.
pub async fn summary(connection: &mut Connection, choice: &Choice) -> Result<Vec<ReasonCount>> {
    sqlx::query_as(concat!(
        "select q.entity, q.status, q.sqlstate, q.reason, count(*) as row_count \
         from diffmig.quarantine q where ",
        chosen!(),
        " group by 1, 2, 3, 4 order by q.entity collate \"C\", q.status, q.sqlstate, q.reason collate \"C\""
    ))
    .bind(choice.words())
    .bind(&choice.entity)
    .bind(&choice.reason)
    .bind(&choice.keys)
    .fetch_all(connection)
    .await
    .map_err(failed("counting the quarantine"))
}

/// Counts the chosen rows by entity.
///
/// # Errors
/// The query fails.
pub async fn counts(connection: &mut Connection, choice: &Choice) -> Result<Vec<(String, i64)>> {
    sqlx::query_as(concat!(
        "select q.entity, count(*) from diffmig.quarantine q where ",
        chosen!(),
        " group by q.entity order by q.entity collate \"C\""
    ))
    .bind(choice.words())
    .bind(&choice.entity)
    .bind(&choice.reason)
    .bind(&choice.keys)
    .fetch_all(connection)
    .await
    .map_err(failed("counting the quarantine"))
}

/// Reads the references of a row that wait for their parents.
///
/// # Errors
/// The query fails.
pub async fn waits(connection: &mut Connection, entity: &str, key: &Value) -> Result<Vec<WaitRow>> {
    sqlx::query_as(
        "select w.column_name, w.parent_entity, w.parent_key, q.status as parent_status \
         from diffmig.pending_reference w left join diffmig.quarantine q \
         on q.entity = w.parent_entity and q.key = w.parent_key and q.status <> 'resolved' \
         where w.entity = $1 and w.key = $2 order by w.column_name collate \"C\"",
    )
    .bind(entity)
    .bind(key)
    .fetch_all(connection)
    .await
    .map_err(failed("reading the references that wait"))
}

/// Accepts that the chosen rows stay out; returns how many of which entity.
///
/// # Errors
/// The query fails.
pub async fn waive(connection: &mut Connection, choice: &Choice) -> Result<Vec<(String, i64)>> {
    sqlx::query_as(concat!(
        "with waived as (update diffmig.quarantine q set status = 'waived', updated_at = now() where ",
        chosen!(),
        " returning q.entity) \
         select entity, count(*) from waived group by entity order by entity collate \"C\""
    ))
    .bind(choice.words())
    .bind(&choice.entity)
    .bind(&choice.reason)
    .bind(&choice.keys)
    .fetch_all(connection)
    .await
    .map_err(failed("waiving rows"))
}

/// Reads the types of a ledger's key columns; none when there is no such ledger.
async fn key_types(connection: &mut Connection, entity: &str) -> Result<Vec<KeyType>> {
    let names: Vec<String> = sqlx::query_scalar(
        "select t.typname::text from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid \
         where a.attrelid = pg_catalog.to_regclass($1) and a.attname ~ '^k[0-9]+$' and not a.attisdropped \
         order by a.attnum",
    )
    .bind(ledger::ledger_name(entity))
    .fetch_all(connection)
    .await
    .map_err(failed("reading the shape of a ledger"))?;
    let types: Option<Vec<KeyType>> = names
        .iter()
        .map(|name| KeyType::from_base_type(name))
        .collect();
    types.ok_or_else(|| {
        Error::new(
            Kind::ControlState,
            format!("the ledger of {entity} has an unexpected shape"),
        )
    })
}

/// Reads what the ledger says of a key; nothing when the ledger or the key is not there.
///
/// # Errors
/// The query fails.
pub async fn entry(
    connection: &mut Connection,
    entity: &str,
    key: &Value,
) -> Result<Option<LedgerEntry>> {
    let types = key_types(connection, entity).await?;
    if types.is_empty() {
        return Ok(None);
    }
    let statement = ledger::entry(entity, &types);
    sqlx::query_as(statement.safe())
        .persistent(false)
        .bind(key)
        .fetch_optional(connection)
        .await
        .map_err(failed("reading a ledger"))
}

/// What was given free in one entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Freed {
    /// Rows that were chosen.
    pub chosen: i64,
    /// Rows that the next detection reports.
    pub freed: i64,
}

/// What became of the wish to give rows free.
#[derive(Debug)]
pub enum Freeing {
    /// It is done, by entity.
    Done(Vec<(String, Freed)>),
    /// A session is at work; nothing was changed.
    Busy(Holder),
}

/// Makes the next detection report the chosen rows although they are unchanged, in one transaction.
///
/// The lease is kept from changing hands meanwhile, so that no session begins in between.
///
/// # Errors
/// A query fails, or a ledger is not there.
pub async fn free(connection: &mut Connection, choice: &Choice) -> Result<Freeing> {
    let failed = failed("marking rows for another try");
    let mut transaction = connection.begin().await.map_err(&failed)?;
    sqlx::query("select 1 from diffmig.lease where name = 'target' for share")
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
    if let Some(holder) = holder(&mut transaction).await?
        && !holder.expired
    {
        transaction.rollback().await.map_err(&failed)?;
        return Ok(Freeing::Busy(holder));
    }
    let mut done = Vec::new();
    for (entity, _) in counts(&mut transaction, choice).await? {
        let types = key_types(&mut transaction, &entity).await?;
        if types.is_empty() {
            return Err(Error::new(
                Kind::ControlState,
                format!("the ledger of {entity} is not there"),
            ));
        }
        let statement = ledger::free(&entity, &types);
        let freed: Freed = sqlx::query_as(statement.safe())
            .persistent(false)
            .bind(choice.words())
            .bind(&entity)
            .bind(&choice.reason)
            .bind(&choice.keys)
            .fetch_one(&mut *transaction)
            .await
            .map_err(&failed)?;
        done.push((entity, freed));
    }
    transaction.commit().await.map_err(&failed)?;
    Ok(Freeing::Done(done))
}

/// Returns the entities that this target knows, when the given one is not among them.
///
/// # Errors
/// The query fails.
pub async fn others(connection: &mut Connection, entity: &str) -> Result<Option<Vec<String>>> {
    let mut known = schema::ledgers(connection).await?;
    known.sort();
    Ok((!known.iter().any(|it| it == entity)).then_some(known))
}

/// Finds the rows of an entity that the target refused, in this session or before, because of other rows:
/// a unique value that was still taken, a parent row that was not there, an exclusion.
///
/// # Errors
/// The query fails.
pub async fn refused_by_others(connection: &mut Connection, entity: &str) -> Result<Vec<Value>> {
    answered(
        sqlx::query_scalar(
            "select key from diffmig.quarantine where entity = $1 and status = 'open' \
             and sqlstate in ('23503', '23505', '23P01') order by key",
        )
        .bind(entity)
        .fetch_all(connection),
    )
    .await
    .map_err(failed("finding refused rows"))
}

/// Lists the unique and exclusion constraints that refused open rows of an entity.
///
/// # Errors
/// The query fails.
pub async fn refusing_constraints(
    connection: &mut Connection,
    entity: &str,
) -> Result<Vec<String>> {
    answered(
        sqlx::query_scalar(
            "select distinct constraint_name from diffmig.quarantine where entity = $1 and status = 'open' \
             and sqlstate in ('23505', '23P01') and constraint_name is not null",
        )
        .bind(entity)
        .fetch_all(connection),
    )
    .await
    .map_err(failed("finding refused rows"))
}

/// Tells which entities have rows that the target refused because of other rows.
///
/// # Errors
/// The query fails.
pub async fn entities_refused_by_others(connection: &mut Connection) -> Result<Vec<String>> {
    answered(
        sqlx::query_scalar(
            "select distinct entity from diffmig.quarantine where status = 'open' \
             and sqlstate in ('23503', '23505', '23P01')",
        )
        .fetch_all(connection),
    )
    .await
    .map_err(failed("finding refused rows"))
}
