//! The rolling check: with each run one slice of the keys is compared in full, whatever the shortcut says.

use super::entity::Hands;
use super::shortcut::{Findings, Shortcut, unreadable};
use crate::domain::key::Key;
use crate::domain::watermark::{Watermark, slices};
use crate::error::{Error, Kind, Result};
use crate::service::parting::{Slice, cuts};
use serde_json::Value;

/// Chooses the slice of this run and notes it in the watermark.
pub(super) async fn next(
    shortcut: &Shortcut<'_>,
    hands: &mut Hands,
    watermark: &mut Watermark,
    rows: u64,
) -> Result<Slice> {
    let types = shortcut.entity.key_types();
    if watermark.slice_keys.is_none() {
        watermark.slice_keys = Some(part(shortcut, hands, rows).await?);
    }
    let stored = watermark.slice_keys.as_deref().unwrap_or_default();
    let keys: std::result::Result<Vec<Key>, _> = stored
        .iter()
        .map(|key| Key::from_json(key, &types))
        .collect();
    let keys = keys.map_err(unreadable(shortcut.entity))?;
    let slices = i32::try_from(keys.len()).unwrap_or(0) + 1;
    watermark.slice = (watermark.slice + 1).rem_euclid(slices);
    let number = usize::try_from(watermark.slice).unwrap_or(0);
    Ok(Slice::between(&keys, number))
}

/// Compares the slice and says so when the shortcut had missed something in it.
pub(super) async fn check(
    shortcut: &Shortcut<'_>,
    hands: &mut Hands,
    findings: &mut Findings<'_, '_>,
) -> Result<Option<String>> {
    let Some(slice) = findings.slice.clone() else {
        return Ok(None);
    };
    let missed = shortcut.compare_slice(hands, &slice, findings).await?;
    Ok((missed > 0).then(|| {
        format!(
            "the rolling check found {missed} changes that {} mode did not see",
            shortcut.mode.word()
        )
    }))
}

/// Finds the keys that part the rows into slices; none when they cannot be parted, so that all is one slice.
async fn part(shortcut: &Shortcut<'_>, hands: &mut Hands, rows: u64) -> Result<Vec<Value>> {
    if !shortcut.basis.can_be_parted {
        return Ok(Vec::new());
    }
    let (pass, entity) = (shortcut.pass, shortcut.entity);
    let slices = usize::try_from(slices(rows)).unwrap_or(1);
    let cuts = cuts(
        pass.context,
        entity,
        shortcut.statements,
        &mut hands.reader,
        rows,
        slices,
    )
    .await?;
    let types = entity.key_types();
    let values = cuts.iter().map(|key| key.to_json(&types));
    values
        .collect::<std::result::Result<_, _>>()
        .map_err(|fault| {
            Error::new(Kind::Unexpected, "a sampled key cannot be stored").cause(fault.to_string())
        })
}
