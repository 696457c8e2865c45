//! Finds the keys that are gone where few of them are: keys are counted by ranges, which an index answers alone, and
//! only the ranges that have lost some are looked into.

use super::entity::Hands;
use super::gone::{Difference, MOST_BUCKETS, buckets, compare_bits};
use super::shortcut::{Findings, Shortcut};
use crate::db::standing::{Planner, bounds, indexed_key};
use crate::db::statement::Statement;
use crate::db::statement::key_range::KeyRange;
use crate::db::statement::ledger::{self, ledger_name};
use crate::domain::connection::Side;
use crate::domain::watermark::ReadMode;
use crate::error::Result;
use std::collections::BTreeMap;

/// With fewer rows all keys are compared at once.
const FEW_ROWS: u64 = 20_000;
/// About how many rows a range has; fewer cost more looks into the index, more have to be looked into.
const RANGE_ROWS: u64 = 512;
/// The most ranges.
const MOST_RANGES: u64 = 16_384;
/// How much wider than the number of rows the span of the keys may be to be cut evenly.
const SPARSE: u64 = 8;
/// Of all rows at most one in so many may lie in ranges that have lost some.
const LOOKED_INTO: u64 = 4;

/// Places with numbers, or buckets with bits.
type Pairs = Vec<(i64, u64)>;

/// Stores the keys that only the ledger has, and counts those that only the source has; `None` when it is better
/// to compare all keys.
pub(super) async fn find(
    shortcut: &Shortcut<'_>,
    hands: &mut Hands,
    rows: u64,
    findings: &mut Findings<'_, '_>,
) -> Result<Option<Difference>> {
    let name = &shortcut.entity.name;
    let Some(arrivals) = findings.arrivals.take() else {
        return Ok(None);
    };
    // Elsewhere some keys that came may not be known, and could stand for others that went.
    if shortcut.mode != ReadMode::Xmin || rows < FEW_ROWS {
        return Ok(None);
    }
    let Some(ranges) = ranges(shortcut, hands, rows).await? else {
        return Ok(None);
    };
    let counting = (
        shortcut.statements.range_counts(&ranges),
        ledger::range_counts(shortcut.entity, &ranges),
    );
    let Some((source, known)) = both_sides(hands, counting, name).await? else {
        return Ok(None);
    };
    let mut arrived = BTreeMap::<i64, u64>::new();
    for key in &arrivals {
        *arrived.entry(place_of(&ranges, *key)).or_default() += 1;
    }
    let (mut lossy, mut inside, mut arrived_outside) = (Vec::new(), 0, 0);
    let mut most_buckets = 0;
    for ((place, here), (_, known)) in source.into_iter().zip(known) {
        let arrived = arrived.get(&place).copied().unwrap_or(0);
        if here == known + arrived {
            arrived_outside += arrived;
            continue;
        }
        let range = usize::try_from(place - 1).ok();
        let Some(range) = range.and_then(|range| ranges.get(range)) else {
            return Ok(None);
        };
        inside += known;
        most_buckets += (known + arrived)
            .max(here)
            .min(range.1.abs_diff(range.0) / 64 + 2);
        lossy.push(*range);
    }
    if inside > rows / LOOKED_INTO || most_buckets > MOST_BUCKETS {
        return Ok(None);
    }
    let looking = (
        shortcut.statements.range_bits(&lossy),
        ledger::range_bits(shortcut.entity, &lossy),
    );
    let Some((source, known)) = both_sides(hands, looking, name).await? else {
        return Ok(None);
    };
    let mut difference = compare_bits(source, known, findings).await?;
    // Where the numbers agree, every key that the ledger knows is still there: all others had arrived.
    difference.arrived += arrived_outside;
    Ok(Some(difference))
}

/// Asks both sides for pairs of numbers, and sorts them.
async fn both_sides(
    hands: &mut Hands,
    statements: (Option<Statement>, Option<Statement>),
    entity: &str,
) -> Result<Option<(Pairs, Pairs)>> {
    let (Some(source), Some(known)) = statements else {
        return Ok(None);
    };
    let planner = Planner::ByRange;
    tokio::try_join!(
        buckets(Side::Source, &mut hands.reader, &source, planner, entity),
        buckets(Side::Target, &mut hands.target, &known, planner, entity)
    )
    .map(Some)
}

/// Returns the place, from 1 on, of the range that holds a key.
fn place_of(ranges: &[KeyRange], key: i64) -> i64 {
    i64::try_from(ranges.partition_point(|range| range.0 <= key)).unwrap_or(0)
}

/// Cuts all integers into ranges of about as many rows each; `None` when an index of one side does not answer, or
/// nobody knows where the keys lie.
async fn ranges(
    shortcut: &Shortcut<'_>,
    hands: &mut Hands,
    rows: u64,
) -> Result<Option<Vec<KeyRange>>> {
    let entity = shortcut.entity;
    let (Some(source), Some(known)) =
        (shortcut.statements.key_bounds(), ledger::key_bounds(entity))
    else {
        return Ok(None);
    };
    let (Some(table), [(column, _)]) = (entity.source.own_table(), entity.source.key.as_slice())
    else {
        return Ok(None);
    };
    let (table, ledger) = (table.sql(), ledger_name(&entity.name));
    let (of_source, of_ledger) = tokio::try_join!(
        indexed_key(Side::Source, &mut hands.reader, &table, column),
        indexed_key(Side::Target, &mut hands.target, &ledger, "k0")
    )?;
    let (Some(of_source), Some(of_ledger)) = (of_source, of_ledger) else {
        return Ok(None);
    };
    if !of_source.is_walked_easily() || !of_ledger.is_walked_easily() {
        return Ok(None);
    }
    let (one, other) = tokio::try_join!(
        bounds(Side::Source, &mut hands.reader, &source),
        bounds(Side::Target, &mut hands.target, &known)
    )?;
    let (first, last) = (one.0.min(other.0), one.1.max(other.1));
    let wanted = (rows / RANGE_ROWS).clamp(1, MOST_RANGES);
    if last.abs_diff(first) / SPARSE <= rows {
        return Ok(Some(evenly(&[first, last], wanted)));
    }
    // Between two of the server's own quantiles the keys are taken for evenly spread.
    Ok(of_source.histogram.map(|mut quantiles| {
        quantiles.extend([first, last]);
        quantiles.sort_unstable();
        evenly(&quantiles, wanted)
    }))
}

/// Cuts all integers at even distances between each two of some that rise, into about so many ranges.
fn evenly(quantiles: &[i64], wanted: u64) -> Vec<KeyRange> {
    let slices = u64::try_from(quantiles.len().saturating_sub(1)).unwrap_or(u64::MAX);
    let pieces = i128::from((wanted / slices.max(1)).max(1));
    let starts = quantiles.windows(2).flat_map(|pair| {
        let (low, high) = (i128::from(pair[0]), i128::from(pair[1]));
        (0..pieces).filter_map(move |nth| i64::try_from(low + (high - low) * nth / pieces).ok())
    });
    between(starts)
}

/// All integers, cut before each of these, which rise.
fn between(starts: impl Iterator<Item = i64>) -> Vec<KeyRange> {
    let mut ranges = Vec::new();
    let mut low = i64::MIN;
    for start in starts {
        if start > low {
            ranges.push((low, start - 1));
            low = start;
        }
    }
    ranges.push((low, i64::MAX));
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_integer_is_in_one_range() {
        let all = [
            evenly(&[1, 5_000_000], 9_765),
            evenly(&[i64::MIN, i64::MAX], 16_384),
            evenly(&[-3, -3], 4),
            evenly(&[i64::MAX - 10, i64::MAX], 64),
            evenly(&[i64::MIN, -7, -7, 0, 100, i64::MAX], 64),
            evenly(&[], 64),
            between([5, 5, i64::MAX].into_iter()),
            between(std::iter::empty()),
        ];
        for ranges in all {
            assert_eq!(ranges.first().map(|it| it.0), Some(i64::MIN));
            assert_eq!(ranges.last().map(|it| it.1), Some(i64::MAX));
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].1 + 1, pair[1].0);
            }
            for key in [i64::MIN, -3, 0, 1, 5, 4_999_999, i64::MAX] {
                let place = usize::try_from(place_of(&ranges, key)).unwrap();
                let (low, high) = ranges[place - 1];
                assert!(low <= key && key <= high, "{key} in {low}..={high}");
            }
        }
    }
}
