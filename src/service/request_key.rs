//! What a client's key stands for already.

use super::sessions::open_if_any;
use crate::db::control::request_key::find;
use crate::db::control::schema::{Installed, look};
use crate::db::server::Server;
use crate::domain::request_key::RequestKey;
use crate::error::Result;
use uuid::Uuid;

/// The version of the control schema that brought the keys.
const SINCE: i32 = 6;

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Nothing yet.
    Unknown,
    /// The same request began this session.
    Same {
        /// The session.
        session_id: Uuid,
        /// Whether an earlier process had begun it.
        resumed: bool,
    },
    /// Another request has the key.
    Other,
}

/// Looks a key up.
///
/// # Errors
/// The target cannot be read.
pub async fn recall(target: &Server, key: &RequestKey) -> Result<Known> {
    let Some(mut connection) = open_if_any(target).await? else {
        return Ok(Known::Unknown);
    };
    let installed = look(&mut connection).await?;
    if !matches!(installed, Installed::Present { version, .. } if version >= SINCE) {
        return Ok(Known::Unknown);
    }
    Ok(match find(&mut connection, &key.key).await? {
        None => Known::Unknown,
        Some(known) if known.body == key.body => Known::Same {
            session_id: known.session_id,
            resumed: known.resumed,
        },
        Some(_) => Known::Other,
    })
}
