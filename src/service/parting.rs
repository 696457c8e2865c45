//! Keys that part the rows of an entity, and the slices between them.

use crate::context::Context;
use crate::db::TupleStream;
use crate::db::server::Connection;
use crate::db::statement::source::SourceStatements;
use crate::domain::connection::Side;
use crate::domain::key::Key;
use crate::domain::resolve::{ResolvedEntity, SourceFrom};
use crate::error::Result;
use crate::service::rows::read_keys;

/// How many sampled keys are enough to part the slices.
const SAMPLE: f64 = 5_000.0;

/// A range of keys: from one on, up to and without another.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub from: Option<Key>,
    pub to: Option<Key>,
}

impl Slice {
    /// The slice of this number; `n` keys part `n + 1` slices.
    pub fn between(cuts: &[Key], number: usize) -> Slice {
        let before = number.checked_sub(1);
        Slice {
            from: before.and_then(|before| cuts.get(before).cloned()),
            to: cuts.get(number).cloned(),
        }
    }

    /// Tells whether a key is in it.
    pub fn holds(&self, key: &Key) -> bool {
        self.from.as_ref().is_none_or(|from| key >= from)
            && self.to.as_ref().is_none_or(|to| key < to)
    }
}

/// Finds the keys that part so many rows into slices of about the same size, wherever the keys lie.
pub(crate) async fn cuts(
    context: &Context,
    entity: &ResolvedEntity,
    statements: &SourceStatements,
    reader: &mut Connection,
    rows: u64,
    slices: usize,
) -> Result<Vec<Key>> {
    let SourceFrom::Table(name) = &entity.source.from else {
        return Ok(Vec::new());
    };
    let Some(table) = context.catalogs.0.table(name) else {
        return Ok(Vec::new());
    };
    // A table that was never analysed has no estimate, and one that has may have many more rows than are asked for.
    let rows = rows
        .max(u64::try_from(table.estimated_rows).unwrap_or(0))
        .max(1);
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let rows = rows as f64;
    let percent = (SAMPLE * 100.0 / rows).clamp(0.01, 100.0);
    let statement = statements.key_sample(percent);
    let label = format!("a sample of {}", entity.name);
    let types = entity.key_types();
    let stream = TupleStream::open(Side::Source, reader, &statement, label).await?;
    let mut keys = read_keys(stream, &types, &entity.name).await?;
    keys.dedup();
    let cuts = (1..slices).filter_map(|nth| keys.get(keys.len() * nth / slices));
    let mut cuts: Vec<Key> = cuts.cloned().collect();
    cuts.dedup();
    Ok(cuts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_one_slice() {
        let key = |byte: u8| Key(vec![byte]);
        let cuts = [key(3), key(5)];
        let slices = [0, 1, 2].map(|number| Slice::between(&cuts, number));
        for byte in 0..10 {
            let holding = slices.iter().filter(|it| it.holds(&key(byte)));
            assert_eq!(holding.count(), 1, "{byte}");
        }
        assert!(slices[1].holds(&key(3)) && slices[2].holds(&key(5)));
        assert!(Slice::between(&[], 0).holds(&key(0)));
    }
}
