//! What monitoring asks for, from the control tables only.

use super::sessions::open_if_any;
use crate::db::control::metrics::{batches, lags, quarantine, standing};
use crate::db::server::Server;
use crate::error::Result;

pub use crate::db::control::metrics::{BatchSums, LATENCY_MILLIS, Standing};

/// A reading of everything.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Sums of the batches by entity.
    pub batches: Vec<BatchSums>,
    /// Rows that are set aside, by entity and status.
    pub quarantine: Vec<(String, String, i64)>,
    /// Seconds by which each entity may be behind its source.
    pub lags: Vec<(String, f64)>,
    /// How the sessions stand.
    pub standing: Standing,
}

/// Reads the metrics; nothing when nothing was migrated yet.
///
/// # Errors
/// The target cannot be read.
pub async fn metrics(target: &Server) -> Result<Option<Metrics>> {
    let Some(mut connection) = open_if_any(target).await? else {
        return Ok(None);
    };
    Ok(Some(Metrics {
        batches: batches(&mut connection).await?,
        quarantine: quarantine(&mut connection).await?,
        lags: lags(&mut connection).await?,
        standing: standing(&mut connection).await?,
    }))
}
