//! Creates and checks the control schema.

use super::failed;
use crate::db::server::Connection;
use crate::error::{Error, Kind, Result};
use sqlx::{Connection as _, Executor};
use uuid::Uuid;

/// The control schema this binary was made for.
pub const SCHEMA_VERSION: i32 = 9;

const MIGRATIONS: &[(i32, &str)] = &[
    (1, include_str!("../../../migrations/0001_control.sql")),
    (2, include_str!("../../../migrations/0002_kept_rows.sql")),
    (3, include_str!("../../../migrations/0003_watermarks.sql")),
    (4, include_str!("../../../migrations/0004_ledger_rows.sql")),
    (5, include_str!("../../../migrations/0005_schema.sql")),
    (6, include_str!("../../../migrations/0006_api.sql")),
    (7, include_str!("../../../migrations/0007_operators.sql")),
    (
        8,
        include_str!("../../../migrations/0008_session_options.sql"),
    ),
    (9, include_str!("../../../migrations/0009_changes.sql")),
];

/// The tables of that schema; the ledgers are made as they are needed.
const TABLES: &[&str] = &[
    "session",
    "step",
    "lease",
    "lease_beat",
    "detection",
    "detection_entity",
    "change",
    "checkpoint",
    "batch",
    "quarantine",
    "pending_reference",
    "event",
    "watermark",
];

/// Tables that came later, with the version that brought them.
const LATER_TABLES: &[(i32, &str)] = &[
    (5, "catalog_snapshot"),
    (5, "mapping_version"),
    (6, "verification"),
    (6, "request_key"),
];

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// No control schema.
    Absent,
    /// The schema of this installation.
    Present {
        /// Its id, part of every derived target id.
        installation_id: Uuid,
        /// What it was made or upgraded for; never more than [`SCHEMA_VERSION`].
        version: i32,
    },
}

/// Looks for the control schema without changing anything.
///
/// # Errors
/// It is damaged, or newer than this binary (exit 17).
pub async fn look(connection: &mut Connection) -> Result<Installed> {
    let (schema, table): (bool, bool) = sqlx::query_as(
        "select pg_catalog.to_regnamespace('diffmig') is not null, \
         pg_catalog.to_regclass('diffmig.installation') is not null",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed("looking for the control schema"))?;
    if !schema {
        return Ok(Installed::Absent);
    }
    if !table {
        return Err(Error::new(
            Kind::ControlState,
            "target: the schema diffmig is not a control schema",
        )
        .cause("it has no table diffmig.installation")
        .state("nothing was changed")
        .next("drop or rename the schema diffmig of the target if it is not needed"));
    }
    refuse_unlogged(connection).await?;
    let row: Option<(Uuid, i32)> =
        sqlx::query_as("select installation_id, schema_version from diffmig.installation")
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed("reading the control schema"))?;
    match row {
        Some((_, version)) if version > SCHEMA_VERSION => {
            let what =
                format!("control schema {version} is newer than this binary ({SCHEMA_VERSION})");
            Err(Error::new(Kind::ControlState, what)
                .state("nothing was changed")
                .next("use the newer diffmig"))
        }
        Some((installation_id, version)) => {
            refuse_missing_tables(connection, version).await?;
            Ok(Installed::Present {
                installation_id,
                version,
            })
        }
        None => Err(
            Error::new(Kind::ControlState, "the control schema is damaged")
                .cause("diffmig.installation is empty")
                .next("restore the schema diffmig from a backup of the target"),
        ),
    }
}

/// What a missing table held is lost, and an empty one in its place would lie.
async fn refuse_missing_tables(connection: &mut Connection, version: i32) -> Result<()> {
    let later = LATER_TABLES.iter().filter(|(since, _)| *since <= version);
    let tables = TABLES.iter().chain(later.map(|(_, name)| name));
    let tables: Vec<&str> = tables.copied().collect();
    let missing: Vec<(String,)> = sqlx::query_as(
        "select name from pg_catalog.unnest($1::text[]) as name \
         where pg_catalog.to_regclass('diffmig.' || name) is null",
    )
    .bind(tables)
    .fetch_all(connection)
    .await
    .map_err(failed("looking for the control schema"))?;
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name,)| name.as_str()).collect();
    Err(
        Error::new(Kind::ControlState, "the control schema is damaged")
            .cause(format!("it has no {}", names.join(", ")))
            .state("nothing was changed")
            .next("restore the schema diffmig from a backup of the target"),
    )
}

fn current(installed: Installed) -> Option<Uuid> {
    match installed {
        Installed::Present {
            installation_id,
            version,
        } if version == SCHEMA_VERSION => Some(installation_id),
        _ => None,
    }
}

/// A crash of the server empties unlogged tables, and an empty ledger would say that nothing was migrated.
async fn refuse_unlogged(connection: &mut Connection) -> Result<()> {
    let unlogged: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_catalog.pg_class c where c.relkind = 'r' and c.relpersistence = 'u' \
         and c.relnamespace = pg_catalog.to_regnamespace('diffmig') order by 1",
    )
    .fetch_all(connection)
    .await
    .map_err(failed("reading the control schema"))?;
    let Some(first) = unlogged.first() else {
        return Ok(());
    };
    let what = format!(
        "the control schema is damaged: {} is unlogged",
        unlogged.join(", ")
    );
    Err(Error::new(Kind::ControlState, what)
        .cause("an unlogged table is empty after a crash of the server")
        .state("nothing was changed")
        .next(format!(
            "when it is complete: alter table diffmig.{first} set logged; else restore the schema diffmig from a backup"
        )))
}

/// Fails when nothing can be written into the target.
///
/// # Errors
/// It is a standby, or made read-only (exit 15).
pub async fn refuse_read_only(connection: &mut Connection) -> Result<()> {
    let (read_only, standby): (bool, bool) = sqlx::query_as(
        "select pg_catalog.current_setting('transaction_read_only') = 'on', pg_catalog.pg_is_in_recovery()",
    )
    .fetch_one(connection)
    .await
    .map_err(failed("looking whether the target can be written"))?;
    if !read_only && !standby {
        return Ok(());
    }
    let error = Error::new(Kind::Resources, "target: it is read-only").state("nothing was started");
    Err(match standby {
        true => error
            .cause("the server is a standby")
            .next("give the URL of the primary"),
        false => error
            .cause("default_transaction_read_only is on; Supabase sets it when the disk is nearly full")
            .next("make room in the target or take the setting back, then run the same command again"),
    })
}

/// Creates the control schema when it is missing, or brings it up to date, in one transaction;
/// returns the installation's id.
///
/// # Errors
/// As [`look`], or the role may not create a schema.
pub async fn ensure(connection: &mut Connection) -> Result<Uuid> {
    if let Some(installation_id) = current(look(connection).await?) {
        return Ok(installation_id);
    }
    let failed = failed("creating or upgrading the control schema");
    let mut transaction = connection.begin().await.map_err(&failed)?;
    // Two first runs at the same time: the second waits here and finds the schema.
    sqlx::query("select pg_catalog.pg_advisory_xact_lock(7248301)")
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
    let found = look(&mut transaction).await?;
    if let Some(installation_id) = current(found) {
        return Ok(installation_id);
    }
    let before = match found {
        Installed::Absent => 0,
        Installed::Present { version, .. } => version,
    };
    for (_, script) in MIGRATIONS.iter().filter(|(version, _)| *version > before) {
        (&mut *transaction)
            .execute(*script)
            .await
            .map_err(&failed)?;
    }
    let (installation_id,): (Uuid,) = sqlx::query_as(
        "insert into diffmig.installation (schema_version) values ($1) \
         on conflict (only_row) do update set schema_version = excluded.schema_version returning installation_id",
    )
    .bind(SCHEMA_VERSION)
    .fetch_one(&mut *transaction)
    .await
    .map_err(&failed)?;
    transaction.commit().await.map_err(&failed)?;
    Ok(installation_id)
}

/// Tells which ledgers exist.
///
/// # Errors
/// The query fails.
pub async fn ledgers(connection: &mut Connection) -> Result<Vec<String>> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "select substring(c.relname::text from 8) from pg_catalog.pg_class c \
         where c.relnamespace = pg_catalog.to_regnamespace('diffmig') and c.relkind = 'r' \
         and c.relname::text like 'ledger\\_%'",
    )
    .fetch_all(connection)
    .await
    .map_err(failed("listing the ledgers"))?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_migration_is_the_version() {
        let versions: Vec<i32> = MIGRATIONS.iter().map(|(version, _)| *version).collect();
        let all: Vec<i32> = (1..=SCHEMA_VERSION).collect();
        assert_eq!(versions, all);
    }
}
