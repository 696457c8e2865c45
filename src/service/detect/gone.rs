//! Finds the keys that are gone by comparing the sets of keys, without reading a row.

use super::entity::Hands;
use super::ranges;
use super::shortcut::{Findings, Shortcut, unreadable};
use crate::db::TupleStream;
use crate::db::server::Connection;
use crate::db::standing::{Planner, bounds, plan};
use crate::db::statement::{Statement, ledger};
use crate::domain::connection::Side;
use crate::domain::detection::ChangeKind;
use crate::domain::key::{Key, KeyType, encode_field};
use crate::domain::tuple::Tuple;
use crate::error::{Error, Kind, Result};
use std::cmp::Ordering;

/// How the sets of keys differ.
pub(super) struct Difference {
    /// Keys that only the ledger has.
    pub deleted: u64,
    /// Keys that only the source has.
    pub arrived: u64,
}

/// Stores the keys that only the ledger has, and counts those that only the source has.
pub(super) async fn find(
    shortcut: &Shortcut<'_>,
    hands: &mut Hands,
    live: u64,
    findings: &mut Findings<'_, '_>,
) -> Result<Difference> {
    let rows = live.max(findings.counts.source_rows);
    if let Some(difference) = ranges::find(shortcut, hands, rows, findings).await? {
        return Ok(difference);
    }
    let bits = shortcut.statements.key_bits();
    match (bits, ledger::key_bits(shortcut.entity)) {
        (Some(source), Some(known)) if few_buckets(shortcut, hands, rows).await? => {
            by_bits(shortcut, hands, (&source, &known), findings).await
        }
        _ => by_keys(shortcut, hands, findings).await,
    }
}

/// Tells whether the buckets of both sides' keys are few enough to be kept: there are no more than their span
/// has room for, and no more than there are rows.
async fn few_buckets(shortcut: &Shortcut<'_>, hands: &mut Hands, rows: u64) -> Result<bool> {
    if rows <= MOST_BUCKETS {
        return Ok(true);
    }
    let statements = shortcut.statements.key_bounds();
    let (Some(source), Some(known)) = (statements, ledger::key_bounds(shortcut.entity)) else {
        return Ok(false);
    };
    let (one, other) = tokio::try_join!(
        bounds(Side::Source, &mut hands.reader, &source),
        bounds(Side::Target, &mut hands.target, &known)
    )?;
    let span = one.1.max(other.1).abs_diff(one.0.min(other.0));
    Ok(span / 64 < MOST_BUCKETS)
}

/// The most buckets of a side that are kept, at 16 bytes each.
pub(super) const MOST_BUCKETS: u64 = 1_000_000;

struct Keys<'c> {
    stream: TupleStream<'c>,
    types: Vec<KeyType>,
}

impl Keys<'_> {
    async fn next(&mut self, shortcut: &Shortcut<'_>) -> Result<Option<Key>> {
        let Some(tuple) = self.stream.next().await? else {
            return Ok(None);
        };
        let mut key = Key::default();
        let mut fields = tuple.fields();
        for key_type in &self.types {
            let field = fields.next().and_then(std::result::Result::ok).flatten();
            encode_field(*key_type, field, &mut key.0).map_err(unreadable(shortcut.entity))?;
        }
        Ok(Some(key))
    }
}

/// Merges both lists of keys.
async fn by_keys(
    shortcut: &Shortcut<'_>,
    hands: &mut Hands,
    findings: &mut Findings<'_, '_>,
) -> Result<Difference> {
    let name = &shortcut.entity.name;
    let types = shortcut.entity.key_types();
    let (list, live) = (
        shortcut.statements.key_list(),
        ledger::read_live(shortcut.entity),
    );
    let labels = (
        format!("the keys of {name}"),
        format!("the ledger of {name}"),
    );
    let (source, ledger) = tokio::try_join!(
        TupleStream::open(Side::Source, &mut hands.reader, &list, labels.0),
        TupleStream::open(Side::Target, &mut hands.target, &live, labels.1)
    )?;
    let mut source = Keys {
        stream: source,
        types: types.clone(),
    };
    let mut ledger = Keys {
        stream: ledger,
        types,
    };
    let mut difference = Difference {
        deleted: 0,
        arrived: 0,
    };
    let mut in_source = source.next(shortcut).await?;
    let mut in_ledger = ledger.next(shortcut).await?;
    loop {
        let order = match (&in_source, &in_ledger) {
            (None, None) => return Ok(difference),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.cmp(other),
        };
        if order == Ordering::Less {
            difference.arrived += 1;
        }
        if let (Ordering::Greater, Some(key)) = (order, &in_ledger) {
            difference.deleted += 1;
            findings.push(ChangeKind::Deleted, key).await?;
        }
        if order != Ordering::Less {
            in_ledger = ledger.next(shortcut).await?;
        }
        if order != Ordering::Greater {
            in_source = source.next(shortcut).await?;
        }
    }
}

/// Reads a bucket of 64 keys and the bits of those that are there.
async fn next_bits(stream: &mut TupleStream<'_>) -> Result<Option<(i64, u64)>> {
    let Some(tuple) = stream.next().await? else {
        return Ok(None);
    };
    let number = |tuple: Tuple<'_>, at: usize| {
        let field = tuple.fields().nth(at).and_then(std::result::Result::ok);
        let bytes = field.flatten().and_then(|it| it.try_into().ok());
        bytes.map(i64::from_be_bytes)
    };
    match (number(tuple, 0), number(tuple, 1)) {
        (Some(bucket), Some(bits)) => Ok(Some((bucket, bits.cast_unsigned()))),
        _ => Err(Error::new(
            Kind::Unexpected,
            "a bucket of keys cannot be read",
        )),
    }
}

/// Reads all buckets of a side, in order.
pub(super) async fn buckets(
    side: Side,
    connection: &mut Connection,
    statement: &Statement,
    planner: Planner,
    entity: &str,
) -> Result<Vec<(i64, u64)>> {
    plan(side, connection, planner).await?;
    let label = match side {
        Side::Source => format!("the keys of {entity}"),
        Side::Target => format!("the ledger of {entity}"),
    };
    let mut buckets = Vec::new();
    {
        let mut stream = TupleStream::open(side, connection, statement, label).await?;
        while let Some(bucket) = next_bits(&mut stream).await? {
            buckets.push(bucket);
        }
    }
    plan(side, connection, Planner::Usual).await?;
    buckets.sort_unstable();
    Ok(buckets)
}

/// Merges both sides' buckets of 64 integer keys.
async fn by_bits(
    shortcut: &Shortcut<'_>,
    hands: &mut Hands,
    statements: (&Statement, &Statement),
    findings: &mut Findings<'_, '_>,
) -> Result<Difference> {
    let name = &shortcut.entity.name;
    let planner = Planner::Hashing;
    let (source, ledger) = tokio::try_join!(
        buckets(Side::Source, &mut hands.reader, statements.0, planner, name),
        buckets(Side::Target, &mut hands.target, statements.1, planner, name)
    )?;
    compare_bits(source, ledger, findings).await
}

/// Merges buckets of keys, which rise.
pub(super) async fn compare_bits(
    source: Vec<(i64, u64)>,
    ledger: Vec<(i64, u64)>,
    findings: &mut Findings<'_, '_>,
) -> Result<Difference> {
    let mut difference = Difference {
        deleted: 0,
        arrived: 0,
    };
    let (mut source, mut ledger) = (source.into_iter().peekable(), ledger.into_iter().peekable());
    loop {
        let next = [source.peek(), ledger.peek()].into_iter().flatten();
        let Some(bucket) = next.map(|(bucket, _)| *bucket).min() else {
            return Ok(difference);
        };
        let here = source.next_if(|it| it.0 == bucket).map_or(0, |it| it.1);
        let there = ledger.next_if(|it| it.0 == bucket).map_or(0, |it| it.1);
        difference.arrived += u64::from((here & !there).count_ones());
        let gone = there & !here;
        difference.deleted += u64::from(gone.count_ones());
        for bit in (0..64).filter(|bit| gone >> bit & 1 == 1) {
            let key = Key::of_integer((bucket << 6) | bit);
            findings.push(ChangeKind::Deleted, &key).await?;
        }
    }
}
