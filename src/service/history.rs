//! How far a session was at which time, for a chart.

use super::sessions::open_if_any;
use crate::db::control::history::{SlotRow, slots, span};
use crate::db::control::session;
use crate::db::server::Server;
use crate::error::Result;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// How many points in time there are at most.
const POINTS: u32 = 200;

/// The rows of one entity.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntityHistory {
    /// The entity.
    pub entity: String,
    /// Rows done so far, at each of the times.
    pub rows_done: Vec<i64>,
}

/// How far a session was at which time.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionHistory {
    /// The session.
    pub session_id: Uuid,
    /// The times, oldest first and evenly apart; none before the first batch.
    pub times: Vec<DateTime<Utc>>,
    /// The entities that have batches, by name.
    pub entities: Vec<EntityHistory>,
}

/// Reads the history of a session; nothing when there is no such session.
///
/// # Errors
/// The target cannot be read.
pub async fn history(target: &Server, session_id: Uuid) -> Result<Option<SessionHistory>> {
    let Some(mut connection) = open_if_any(target).await? else {
        return Ok(None);
    };
    if session::find(&mut connection, Some(session_id))
        .await?
        .is_none()
    {
        return Ok(None);
    }
    let Some((first, last)) = span(&mut connection, session_id).await? else {
        return Ok(Some(SessionHistory {
            session_id,
            times: Vec::new(),
            entities: Vec::new(),
        }));
    };
    let slot = slot_of(last - first);
    let slot_secs = f64::from(slot) / 1000.0;
    let rows = slots(&mut connection, session_id, first, slot_secs).await?;
    Ok(Some(assemble(session_id, (first, last), slot, &rows)))
}

/// Returns the milliseconds of a slot: as many as give not more than the wanted points.
fn slot_of(span: TimeDelta) -> u32 {
    let millis = span.num_milliseconds().max(0) / i64::from(POINTS - 1) + 1;
    u32::try_from(millis.max(100)).unwrap_or(u32::MAX)
}

fn assemble(
    session_id: Uuid,
    (first, last): (DateTime<Utc>, DateTime<Utc>),
    slot: u32,
    rows: &[SlotRow],
) -> SessionHistory {
    let count = (last - first).num_milliseconds().max(0) / i64::from(slot) + 1;
    let ends = (1..=count).map(|it| first + TimeDelta::milliseconds(it * i64::from(slot)));
    // A slot that is not over yet was looked at up to the last batch.
    let times: Vec<DateTime<Utc>> = ends.map(|it| it.min(last)).collect();
    let mut entities: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for row in rows {
        let done = entities
            .entry(&row.entity)
            .or_insert_with(|| vec![0; times.len()]);
        let slot = usize::try_from(row.slot).unwrap_or(0).min(times.len() - 1);
        done[slot] += row.row_count;
    }
    let entities = entities.into_iter().map(|(entity, mut rows_done)| {
        let mut sum = 0;
        for rows in &mut rows_done {
            sum += *rows;
            *rows = sum;
        }
        EntityHistory {
            entity: entity.to_owned(),
            rows_done,
        }
    });
    SessionHistory {
        session_id,
        entities: entities.collect(),
        times,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_points_than_wanted_and_the_last_one_has_all_rows() {
        for millis in [
            0,
            1,
            99,
            100,
            101,
            19_900,
            20_000,
            3_600_000,
            86_400_000_017,
        ] {
            let first = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
            let span = TimeDelta::milliseconds(millis);
            let slot = slot_of(span);
            let at = |slot: i64, row_count| SlotRow {
                entity: "a".into(),
                slot,
                row_count,
            };
            let end = millis / i64::from(slot);
            let history = assemble(
                Uuid::nil(),
                (first, first + span),
                slot,
                &[at(0, 3), at(end, 4)],
            );
            assert!((1..=200).contains(&history.times.len()), "{millis}");
            assert_eq!(history.entities[0].rows_done.last(), Some(&7), "{millis}");
            assert!(history.times.is_sorted() && history.times.last() <= Some(&(first + span)));
        }
    }
}
