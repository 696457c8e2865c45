//! After a detection is applied to its end: from its snapshot on, changes are unknown.

use super::accounting::EntityReport;
use crate::context::{Context, Drift};
use crate::db::control::detection::stored;
use crate::db::control::watermark::{self, CountedLedger};
use crate::db::server::Connection;
use crate::error::Result;
use crate::service::schema::remember;
use uuid::Uuid;

/// How long the lists of changes of detections are kept, in days.
const KEEP_CHANGES_DAYS: i32 = 30;

/// Makes the watermarks of the detection those of its entities.
///
/// Rows that were set aside need no earlier one: every detection reads them again by their keys.
pub(crate) async fn promote(
    control: &mut Connection,
    (context, drift): (&Context, &Drift),
    epoch: i64,
    session_number: i32,
    detection_id: Uuid,
    reports: &[EntityReport],
) -> Result<()> {
    let counted: Vec<_> = reports
        .iter()
        .map(|it| CountedLedger {
            entity: &it.entity,
            live_rows: it.ledger.live,
            ledger_rows: it.ledger.all,
        })
        .collect();
    watermark::promote(control, epoch, session_number, detection_id, &counted).await?;
    // A session of some entities says nothing about what the others were made of.
    if reports.len() == context.entities.len() {
        remember(control, context, drift, session_number).await?;
    }
    watermark::keep(control).await?;
    // The lists of old detections are of no use to anybody; their counts are.
    stored::purge_changes(control, KEEP_CHANGES_DAYS).await?;
    Ok(())
}
