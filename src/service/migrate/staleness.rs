//! Whether a stored detection may still be applied.

use crate::context::Context;
use crate::db::control::detection::{self, stored};
use crate::db::server::Connection;
use crate::db::source::Snapshot;
use crate::db::standing::shape;
use crate::error::{Error, Kind, Result};
use chrono::{TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

fn stale(detection_id: Uuid, cause: &str) -> Error {
    Error::new(
        Kind::Guard,
        format!("detection {detection_id} cannot be applied"),
    )
    .cause(cause)
    .state("nothing was applied")
    .next("run diffmig detect again, or diffmig migrate without --detection-id")
}

/// Checks that the source's tables and timeline are those of the detection; rows may have moved on,
/// since each is read again.
///
/// # Errors
/// They are not (exit 14).
pub(crate) async fn check_ground(
    context: &Context,
    control: &mut Connection,
    snapshot: &Snapshot,
    detection_id: Uuid,
) -> Result<()> {
    let grounds = stored::grounds(control, detection_id).await?;
    let mut reader = snapshot.reader().await?;
    let catalog = &context.catalogs.0;
    for (name, ground) in grounds {
        let Some(entity) = context.entities.iter().find(|it| it.name == name) else {
            continue;
        };
        if ground.timeline != snapshot.clock().timeline {
            let cause = "the source was restored or failed over since it was made";
            return Err(stale(detection_id, cause));
        }
        let tables = entity.source.watched.iter();
        let oids: Vec<i64> = tables
            .filter_map(|name| catalog.table(name))
            .map(|table| table.oid)
            .collect();
        if shape(&mut reader, &oids).await?.0 != ground.shape {
            let cause = format!("the source tables of {name} were changed since it was made");
            return Err(stale(detection_id, &cause));
        }
    }
    Ok(())
}

/// A list that is younger was not cleaned up by another session since it was looked at.
const KEPT_SURELY_DAYS: i64 = 20;

/// Checks that a stored detection still fits and that its list is whole; a list that was just found whole is not looked
/// at again unless it is old.
pub(crate) async fn check(
    context: &Context,
    control: &mut Connection,
    detection_id: Uuid,
    was_whole: bool,
) -> Result<()> {
    let stale = |cause: &str| stale(detection_id, cause);
    let Some(stored) = detection::find(control, detection_id).await? else {
        return Err(
            Error::new(Kind::Usage, format!("there is no detection {detection_id}"))
                .state("nothing was applied")
                .next("run diffmig detect"),
        );
    };
    let Some(_) = stored.finished_at else {
        return Err(stale("it was never finished"));
    };
    if stored.mapping_digest != context.mapping.digest {
        return Err(stale("the mapping has changed since it was made"));
    }
    if stored.source_identity != json!(context.catalogs.0.identity) {
        return Err(stale("it was made from another source database"));
    }
    if detection::applied_since(control, stored.started_at).await? {
        return Err(stale("rows were applied since it was made"));
    }
    let is_old = Utc::now() - stored.started_at > TimeDelta::days(KEPT_SURELY_DAYS);
    if (is_old || !was_whole) && !detection::is_whole(control, detection_id).await? {
        return Err(stale("its changes are not those that were counted"));
    }
    Ok(())
}
