//! What is forgotten of old sessions, and what is not.

use super::failed;
use crate::db::server::{Connection, answered};
use crate::error::Result;
use sqlx::Connection as _;
use uuid::Uuid;

/// How many sessions are deleted in one transaction.
const PORTION: i64 = 50;

/// Chooses some sessions that ended so many days ago and that nothing depends on, and keeps others from choosing them.
///
/// Kept are the session that says which source was migrated last, without which another database could take its place
/// unnoticed, and adoptions, without which ids would be computed that the rows do not have.
const CHOOSE: &str = "select s.session_id from diffmig.session s \
    where s.finished_at < now() - make_interval(days => $1) and s.command <> 'adopt' \
    and s.session_id is distinct from (select x.session_id from diffmig.session x \
      join diffmig.detection d using (detection_id) \
      where exists (select from diffmig.batch b where b.session_id = x.session_id) order by x.number desc limit 1) \
    order by s.number limit $2 for update of s skip locked";

/// Deletes sessions that ended so many days ago, with steps, batches and log, then detections as old; returns how many
/// sessions there were.
///
/// States that are final do not change any more, so nobody else has to be kept away, least of all a heartbeat.
///
/// # Errors
/// A query fails; what was deleted before stays deleted.
pub async fn forget_old(connection: &mut Connection, keep_days: i32) -> Result<u64> {
    let mut forgotten = 0;
    loop {
        let portion = forget_portion(connection, keep_days).await?;
        if portion == 0 {
            break;
        }
        forgotten += portion;
    }
    forget_detections(connection, keep_days).await?;
    Ok(forgotten)
}

/// Changes without a detection: those of what was just deleted, and what a version left behind that relied on a foreign
/// key. The ids of detections are taken from the index, one look for each.
const FORGET_CHANGES: &str = "with recursive listed as ( \
    (select detection_id from diffmig.change order by detection_id limit 1) \
    union all select (select c.detection_id from diffmig.change c where c.detection_id > l.detection_id \
      order by c.detection_id limit 1) from listed l where l.detection_id is not null) \
    delete from diffmig.change c using listed l where c.detection_id = l.detection_id \
    and not exists (select from diffmig.detection d where d.detection_id = l.detection_id)";

/// Deletes detections that began so many days ago and that no session is of, with their changes.
async fn forget_detections(connection: &mut Connection, keep_days: i32) -> Result<()> {
    let failed = failed("cleaning up sessions");
    let mut transaction = connection.begin().await.map_err(&failed)?;
    answered(
        sqlx::query(
            "delete from diffmig.detection d where d.started_at < now() - make_interval(days => $1) \
             and not exists (select from diffmig.session s where s.detection_id = d.detection_id)",
        )
        .bind(keep_days)
        .execute(&mut *transaction),
    )
    .await
    .map_err(&failed)?;
    // After the others, so that nothing is left of a list that was just being stored.
    answered(sqlx::query(FORGET_CHANGES).execute(&mut *transaction))
        .await
        .map_err(&failed)?;
    transaction.commit().await.map_err(&failed)
}

async fn forget_portion(connection: &mut Connection, keep_days: i32) -> Result<u64> {
    let failed = failed("cleaning up sessions");
    let mut transaction = connection.begin().await.map_err(&failed)?;
    let chosen: Vec<Uuid> = answered(
        sqlx::query_scalar(CHOOSE)
            .bind(keep_days)
            .bind(PORTION)
            .fetch_all(&mut *transaction),
    )
    .await
    .map_err(&failed)?;
    for sql in [
        // What the batches of these sessions added to a ledger cannot be summed up afterwards.
        "update diffmig.watermark w set ledger_rows = null where exists (select from diffmig.session s \
         join diffmig.batch b using (session_id) where s.number > w.session_number and b.entity = w.entity \
         and s.session_id = any($1))",
        "delete from diffmig.event where session_id = any($1)",
        "delete from diffmig.session where session_id = any($1)",
    ] {
        if chosen.is_empty() {
            break;
        }
        answered(sqlx::query(sql).bind(&chosen).execute(&mut *transaction))
            .await
            .map_err(&failed)?;
    }
    transaction.commit().await.map_err(&failed)?;
    Ok(chosen.len().try_into().unwrap_or(0))
}
