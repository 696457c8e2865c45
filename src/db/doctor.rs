//! What a server tells of itself, of our role, and of what others do there.

pub mod relation;
pub mod rows;

use super::failure::explain;
use super::server::Connection;
use crate::domain::connection::{ConnectionSpec, Side};
use crate::domain::doctor::relation::OpenTransaction;
use crate::domain::doctor::room::Connections;
use crate::domain::doctor::server::{Pooling, SETTINGS, ServerFacts, Setting};
use crate::domain::identifier::{QualifiedName, quote_identifier};
use crate::error::{Error, Result};
use std::time::Duration;

fn failed(side: Side, doing: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |error| explain(side, doing, &error)
}

/// The tables as two arrays that a statement joins.
fn split(tables: &[QualifiedName]) -> (Vec<&str>, Vec<&str>) {
    let pairs = tables.iter();
    pairs
        .map(|table| (table.schema.as_str(), table.name.as_str()))
        .unzip()
}

/// Lets the server end every statement of ours that takes too long, and refuse every one that writes.
///
/// # Errors
/// The query fails.
pub async fn restrain(side: Side, connection: &mut Connection, limit: Duration) -> Result<()> {
    let millis = limit.as_millis().to_string();
    sqlx::query(
        "select pg_catalog.set_config('statement_timeout', $1, false), \
         pg_catalog.set_config('default_transaction_read_only', 'on', false)",
    )
    .bind(millis)
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed(side, "setting the session up"))
}

#[derive(sqlx::FromRow)]
struct FactsRow {
    version: String,
    version_number: i32,
    role: String,
    superuser: bool,
    bypasses_row_security: bool,
    may_create_schema: bool,
    may_create_temporary: bool,
    tls: Option<String>,
    standby: bool,
    database: String,
    encoding: String,
    frozen_age: i64,
}

/// Reads what the server and our role on it are.
///
/// # Errors
/// A query fails.
pub async fn facts(
    spec: &ConnectionSpec,
    connection: &mut Connection,
    pooling: Pooling,
) -> Result<ServerFacts> {
    let side = spec.side;
    let doing = "asking the server what it is";
    let row: FactsRow = sqlx::query_as(include_str!("doctor/facts.sql"))
        .fetch_one(&mut *connection)
        .await
        .map_err(failed(side, doing))?;
    // Before PostgreSQL 15 only superusers could.
    let (verbosity, replication): (bool, bool) = match row.version_number {
        150_000.. => sqlx::query_as(
            "select pg_catalog.has_parameter_privilege('log_error_verbosity', 'set'), \
             pg_catalog.has_parameter_privilege('session_replication_role', 'set')",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(failed(side, doing))?,
        _ => (row.superuser, row.superuser),
    };
    Ok(ServerFacts {
        side: side.into(),
        address: spec.to_string(),
        version: row.version,
        role: row.role,
        superuser: row.superuser,
        bypasses_row_security: row.superuser || row.bypasses_row_security,
        may_create_schema: row.may_create_schema,
        may_create_temporary: row.may_create_temporary,
        may_set_log_verbosity: verbosity,
        may_set_replication_role: replication,
        tls: row.tls,
        pooling,
        standby: row.standby,
        database: row.database,
        encoding: row.encoding,
        database_bytes: None,
        frozen_age: row.frozen_age,
    })
}

/// Reads the size of the database in bytes.
///
/// # Errors
/// The query fails, or takes too long.
pub async fn database_bytes(side: Side, connection: &mut Connection) -> Result<u64> {
    let bytes: i64 =
        sqlx::query_scalar("select pg_catalog.pg_database_size(pg_catalog.current_database())")
            .fetch_one(connection)
            .await
            .map_err(failed(side, "reading the size of the database"))?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

#[derive(sqlx::FromRow)]
struct SettingRow {
    name: String,
    value: String,
    of_role: Option<bool>,
    of_database: Option<bool>,
    role: String,
    database: String,
}

impl SettingRow {
    fn into_setting(self) -> Setting {
        let name = &self.name;
        let (role, database) = (
            quote_identifier(&self.role),
            quote_identifier(&self.database),
        );
        let reset = match (self.of_role, self.of_database) {
            (Some(true), Some(true)) => Some(format!(
                "alter role {role} in database {database} reset {name};"
            )),
            (Some(true), _) => Some(format!("alter role {role} reset {name};")),
            (_, Some(true)) => Some(format!("alter database {database} reset {name};")),
            _ => None,
        };
        Setting {
            name: self.name,
            value: self.value,
            reset,
        }
    }
}

/// Reads the settings that sessions of our role begin with, and where they come from.
///
/// # Errors
/// The query fails.
pub async fn settings(side: Side, connection: &mut Connection) -> Result<Vec<Setting>> {
    let rows: Vec<SettingRow> = sqlx::query_as(include_str!("doctor/settings.sql"))
        .bind(SETTINGS)
        .fetch_all(connection)
        .await
        .map_err(failed(side, "reading the settings"))?;
    let settings = rows.into_iter().map(SettingRow::into_setting);
    Ok(settings.collect())
}

/// Counts connections, and reads their limits.
///
/// # Errors
/// The query fails.
pub async fn connections(side: Side, connection: &mut Connection) -> Result<Connections> {
    let row: (i64, i64, i64, i64, i64, i64, bool) =
        sqlx::query_as(include_str!("doctor/connections.sql"))
            .fetch_one(connection)
            .await
            .map_err(failed(side, "counting the connections"))?;
    let (open_to_all, used, role_limit, of_role, database_limit, of_database, superuser) = row;
    let limited = |limit: i64, used: i64| (limit >= 0 && !superuser).then_some((limit, used));
    Ok(Connections {
        open_to_all,
        used,
        of_role: limited(role_limit, of_role),
        of_database: limited(database_limit, of_database),
    })
}

/// Lists sessions that have been in one transaction for longer than some seconds, as far as our role may see them.
///
/// # Errors
/// The query fails.
pub async fn open_transactions(
    side: Side,
    connection: &mut Connection,
    longer_than_secs: i64,
) -> Result<Vec<OpenTransaction>> {
    let rows: Vec<(i32, String, String, String, i64)> = sqlx::query_as(
        "select a.pid, coalesce(a.usename::text, '?'), coalesce(a.application_name, '?'), coalesce(a.state, '?'), \
         extract(epoch from pg_catalog.clock_timestamp() - a.xact_start)::bigint \
         from pg_catalog.pg_stat_activity a where a.datname = pg_catalog.current_database() \
         and a.pid <> pg_catalog.pg_backend_pid() and a.backend_type = 'client backend' \
         and extract(epoch from pg_catalog.clock_timestamp() - a.xact_start)::bigint >= $1 \
         order by a.xact_start limit 10",
    )
    .bind(longer_than_secs)
    .fetch_all(connection)
    .await
    .map_err(failed(side, "looking for open transactions"))?;
    let rows = rows.into_iter();
    Ok(rows
        .map(
            |(process_id, role, application_name, state, age_secs)| OpenTransaction {
                process_id,
                role,
                application_name,
                state,
                age_secs,
            },
        )
        .collect())
}

/// Lists the prepared transactions of the database with their ages in seconds.
///
/// # Errors
/// The query fails.
pub async fn prepared_transactions(
    side: Side,
    connection: &mut Connection,
    longer_than_secs: i64,
) -> Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "select p.gid, extract(epoch from pg_catalog.clock_timestamp() - p.prepared)::bigint as age \
         from pg_catalog.pg_prepared_xacts p where p.database = pg_catalog.current_database() \
         and extract(epoch from pg_catalog.clock_timestamp() - p.prepared)::bigint >= $1 order by 2 desc limit 10",
    )
    .bind(longer_than_secs)
    .fetch_all(connection)
    .await
    .map_err(failed(side, "looking for prepared transactions"))
}

/// Returns how many transactions have begun since the oldest that is still open.
///
/// # Errors
/// The query fails.
pub async fn horizon_behind(connection: &mut Connection) -> Result<i64> {
    let clock = super::standing::clock(connection).await?;
    Ok(clock.next_xid.saturating_sub(clock.horizon))
}
