//! Sessions by id and by page, for front ends that may ask before anything was migrated.

use super::lease::expire_dead;
use super::migrate::MigrateRequest;
use super::migrate::options::SessionOptions;
use super::status::{SessionStatus, complete};
use crate::db::control::schema::{Installed, look};
use crate::db::control::session;
use crate::db::server::{Connection, Server};
use crate::error::{Error, Kind, Result};
use uuid::Uuid;

/// Opens the control schema, if there is one.
///
/// # Errors
/// No connection, or the schema is damaged.
pub(crate) async fn open_if_any(target: &Server) -> Result<Option<Connection>> {
    let mut connection = target.open().await?;
    match look(&mut connection).await? {
        Installed::Present { .. } => {
            // As for `status`: who may only read waits for the lease's end.
            let _ = expire_dead(&mut connection).await;
            Ok(Some(connection))
        }
        Installed::Absent => Ok(None),
    }
}

/// Finds a session; there may be none, or no control schema yet.
///
/// # Errors
/// The target cannot be read.
pub async fn find(target: &Server, session_id: Uuid) -> Result<Option<SessionStatus>> {
    let Some(mut connection) = open_if_any(target).await? else {
        return Ok(None);
    };
    read(&mut connection, session_id).await
}

/// Returns the request that goes on with a session as it was begun; `None` when that is not known.
///
/// # Errors
/// The target cannot be read, or what it says is not understood (exit 17).
pub async fn request_of(target: &Server, session_id: Uuid) -> Result<Option<MigrateRequest>> {
    let Some(mut connection) = open_if_any(target).await? else {
        return Ok(None);
    };
    let Some(stored) = session::options(&mut connection, session_id).await? else {
        return Ok(None);
    };
    // Going on with less than was said could mean more entities, or no limits.
    let options = serde_json::from_value::<SessionOptions>(stored).map_err(|_| {
        let what = "another version of diffmig wrote how the session works: say it in the body";
        Error::new(Kind::ControlState, what)
    })?;
    Ok(Some(options.request()))
}

/// Reads one session with its steps.
pub(crate) async fn read(
    connection: &mut Connection,
    session_id: Uuid,
) -> Result<Option<SessionStatus>> {
    let Some(found) = session::find(connection, Some(session_id)).await? else {
        return Ok(None);
    };
    let steps = session::steps(connection, session_id).await?;
    complete(connection, &found, &steps).await.map(Some)
}

/// Lists sessions, latest first, from below a number on.
///
/// # Errors
/// The target cannot be read.
pub async fn page(target: &Server, before: Option<i32>, limit: i64) -> Result<Vec<SessionStatus>> {
    let Some(mut connection) = open_if_any(target).await? else {
        return Ok(Vec::new());
    };
    let mut listed = Vec::new();
    for found in session::page(&mut connection, before, limit).await? {
        let steps = session::steps(&mut connection, found.session_id).await?;
        listed.push(complete(&mut connection, &found, &steps).await?);
    }
    Ok(listed)
}
