//! After a detection is applied to its end: from its snapshot on, changes are unknown.

use super::accounting::EntityReport;
use crate::context::Context;
use crate::db::control::detection::stored;
use crate::db::control::watermark;
use crate::db::server::Connection;
use crate::db::source;
use crate::db::statement::ledger;
use crate::domain::connection::Side;
use crate::error::Result;
use uuid::Uuid;

/// How long the lists of changes of detections are kept, in days.
const KEEP_CHANGES_DAYS: i32 = 30;

/// Makes the watermarks of the detection those of its entities.
///
/// Rows that were set aside need no earlier one: every detection reads them again by their keys.
pub(crate) async fn promote(
    context: &Context,
    control: &mut Connection,
    epoch: i64,
    session_number: i32,
    detection_id: Uuid,
    reports: &[EntityReport],
) -> Result<()> {
    let mut counted = Vec::new();
    for entity in context.entities.iter() {
        if reports.iter().any(|it| it.entity == entity.name) {
            let statement = ledger::count_live(entity);
            let live = source::count_on(Side::Target, control, &statement).await?;
            let live = i64::try_from(live).unwrap_or(i64::MAX);
            counted.push((entity.name.clone(), live));
        }
    }
    watermark::promote(control, epoch, session_number, detection_id, &counted).await?;
    // The lists of old detections are of no use to anybody; their counts are.
    stored::purge_changes(control, KEEP_CHANGES_DAYS).await?;
    Ok(())
}
