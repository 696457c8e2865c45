//! Stored detections: listed, shown again, and read out change by change.

use super::status::open_control;
use crate::db::control::detection::{self, stored};
use crate::db::server::{Connection, Server};
use crate::domain::detection::{DetectMode, Detection};
use crate::error::{Error, Kind, Result};
use uuid::Uuid;

pub use crate::db::control::detection::stored::{DetectionLine, ExportedChange};

/// How many detections a list shows.
const LISTED: i64 = 50;
/// Changes that are read at once.
const PAGE: i64 = 5_000;

/// Lists the latest detections, the newest first.
///
/// # Errors
/// The target cannot be read, or nothing was ever detected.
pub async fn list(target: &Server) -> Result<Vec<DetectionLine>> {
    let mut control = open_control(target).await?;
    stored::list(&mut control, LISTED).await
}

/// Reads a stored detection.
///
/// # Errors
/// There is none of that id (exit 2), or it was never complete (exit 14).
pub async fn load(target: &Server, detection_id: Uuid) -> Result<Detection> {
    let mut control = open_control(target).await?;
    let Some((mode, mapping_digest, started_at, finished_at)) =
        stored::head(&mut control, detection_id).await?
    else {
        return Err(
            Error::new(Kind::Usage, format!("there is no detection {detection_id}"))
                .state("nothing was changed")
                .next("diffmig detect --list"),
        );
    };
    let Some(finished_at) = finished_at else {
        let what = format!("detection {detection_id} was never complete");
        return Err(Error::new(Kind::Guard, what)
            .state("nothing was changed")
            .next("run diffmig detect again"));
    };
    Ok(Detection {
        detection_id,
        started_at,
        finished_at,
        mode: DetectMode::from_word(&mode).unwrap_or_default(),
        mapping_digest,
        entities: detection::counts(&mut control, detection_id).await?,
    })
}

/// Reads the changes of a detection page by page.
pub struct ChangeReader {
    connection: Connection,
    detection_id: Uuid,
    last: Option<ExportedChange>,
}

impl ChangeReader {
    /// Opens the list.
    ///
    /// # Errors
    /// The target cannot be read.
    pub async fn open(target: &Server, detection_id: Uuid) -> Result<ChangeReader> {
        Ok(ChangeReader {
            connection: open_control(target).await?,
            detection_id,
            last: None,
        })
    }

    /// Returns the next changes; none after the last.
    ///
    /// # Errors
    /// The target cannot be read.
    pub async fn next(&mut self) -> Result<Vec<ExportedChange>> {
        let last = self.last.as_ref();
        let page = stored::page(&mut self.connection, self.detection_id, last, PAGE).await?;
        self.last = page.last().cloned().or(self.last.take());
        Ok(page)
    }
}
