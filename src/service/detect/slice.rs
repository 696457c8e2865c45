//! The rolling check: with each run one slice of the keys is compared in full, whatever the shortcut says.

use super::entity::Hands;
use super::shortcut::{Findings, Shortcut, unreadable};
use crate::db::TupleStream;
use crate::domain::connection::Side;
use crate::domain::key::{Key, encode_field};
use crate::domain::resolve::SourceFrom;
use crate::domain::watermark::{SLICES, Watermark};
use crate::error::{Error, Kind, Result};
use serde_json::Value;

/// How many sampled keys are enough to part the slices.
const SAMPLE: f64 = 5_000.0;

/// A range of keys: from one on, up to and without another.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    pub from: Option<Key>,
    pub to: Option<Key>,
}

impl Slice {
    /// Tells whether a key is in it.
    pub fn holds(&self, key: &Key) -> bool {
        self.from.as_ref().is_none_or(|from| key >= from)
            && self.to.as_ref().is_none_or(|to| key < to)
    }
}

/// Chooses the slice of this run and notes it in the watermark; `None` when the rows cannot be parted.
pub(super) async fn next(
    shortcut: &Shortcut<'_>,
    hands: &mut Hands,
    watermark: &mut Watermark,
) -> Result<Option<Slice>> {
    let types = shortcut.entity.key_types();
    if watermark.slice_keys.is_none() {
        watermark.slice_keys = Some(part(shortcut, hands).await?);
    }
    let stored = watermark.slice_keys.as_deref().unwrap_or_default();
    let keys: std::result::Result<Vec<Key>, _> = stored
        .iter()
        .map(|key| Key::from_json(key, &types))
        .collect();
    let keys = keys.map_err(unreadable(shortcut.entity))?;
    let slices = i32::try_from(keys.len()).unwrap_or(SLICES) + 1;
    watermark.slice = (watermark.slice + 1).rem_euclid(slices);
    let at = usize::try_from(watermark.slice).unwrap_or(0);
    Ok(Some(Slice {
        from: at
            .checked_sub(1)
            .and_then(|before| keys.get(before).cloned()),
        to: keys.get(at).cloned(),
    }))
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

/// Finds the keys that part the rows into slices of about the same size.
async fn part(shortcut: &Shortcut<'_>, hands: &mut Hands) -> Result<Vec<Value>> {
    let entity = shortcut.entity;
    let SourceFrom::Table(name) = &entity.source.from else {
        return Ok(Vec::new());
    };
    let table = shortcut.pass.context.catalogs.0.table(name);
    let Some(table) = table.filter(|_| shortcut.basis.standing.no_xmin.is_none()) else {
        return Ok(Vec::new());
    };
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let rows = table.estimated_rows.max(1) as f64;
    let percent = (SAMPLE * 100.0 / rows).clamp(0.01, 100.0);
    let statement = shortcut.statements.key_sample(percent);
    let label = format!("a sample of {}", entity.name);
    let types = entity.key_types();
    let mut stream = TupleStream::open(Side::Source, &mut hands.reader, &statement, label).await?;
    let mut keys = Vec::new();
    while let Some(tuple) = stream.next().await? {
        let mut key = Key::default();
        let mut fields = tuple.fields();
        for key_type in &types {
            let field = fields.next().and_then(std::result::Result::ok).flatten();
            encode_field(*key_type, field, &mut key.0).map_err(unreadable(entity))?;
        }
        keys.push(key);
    }
    keys.dedup();
    let slices = usize::try_from(SLICES).unwrap_or(1);
    let parted = (1..slices).filter_map(|nth| keys.get(keys.len() * nth / slices));
    let mut parted: Vec<&Key> = parted.collect();
    parted.dedup();
    let values = parted.into_iter().map(|key| key.to_json(&types));
    values
        .collect::<std::result::Result<_, _>>()
        .map_err(|fault| {
            Error::new(Kind::Unexpected, "a sampled key cannot be stored").cause(fault.to_string())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_leave_no_gap() {
        let key = |byte: u8| Key(vec![byte]);
        let low = Slice {
            from: None,
            to: Some(key(5)),
        };
        let high = Slice {
            from: Some(key(5)),
            to: None,
        };
        for byte in 0..10 {
            assert_ne!(low.holds(&key(byte)), high.holds(&key(byte)));
        }
    }
}
