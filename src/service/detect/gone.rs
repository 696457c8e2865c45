//! Finds the keys that are gone by comparing the sets of keys, without reading a row.

use super::entity::Hands;
use super::shortcut::{Findings, Shortcut, unreadable};
use crate::db::TupleStream;
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
    findings: &mut Findings<'_, '_>,
) -> Result<Difference> {
    let bits = shortcut.statements.key_bits();
    match (bits, ledger::key_bits(shortcut.entity)) {
        (Some(source), Some(known)) => by_bits(shortcut, hands, &source, &known, findings).await,
        _ => by_keys(shortcut, hands, findings).await,
    }
}

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
    let statement = shortcut.statements.key_list();
    let label = format!("the keys of {name}");
    let mut source = Keys {
        stream: TupleStream::open(Side::Source, &mut hands.reader, &statement, label).await?,
        types: types.clone(),
    };
    let statement = ledger::read_live(shortcut.entity);
    let label = format!("the ledger of {name}");
    let mut ledger = Keys {
        stream: TupleStream::open(Side::Target, &mut hands.target, &statement, label).await?,
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

/// Merges both sides' buckets of 64 integer keys.
async fn by_bits(
    shortcut: &Shortcut<'_>,
    hands: &mut Hands,
    source: &Statement,
    known: &Statement,
    findings: &mut Findings<'_, '_>,
) -> Result<Difference> {
    let name = &shortcut.entity.name;
    let label = format!("the keys of {name}");
    let mut source = TupleStream::open(Side::Source, &mut hands.reader, source, label).await?;
    let label = format!("the ledger of {name}");
    let mut ledger = TupleStream::open(Side::Target, &mut hands.target, known, label).await?;
    let mut difference = Difference {
        deleted: 0,
        arrived: 0,
    };
    let mut in_source = next_bits(&mut source).await?;
    let mut in_ledger = next_bits(&mut ledger).await?;
    loop {
        let (bucket, here, there) = match (in_source, in_ledger) {
            (None, None) => return Ok(difference),
            (Some((bucket, bits)), None) => (bucket, bits, 0),
            (None, Some((bucket, bits))) => (bucket, 0, bits),
            (Some((one, bits)), Some((other, known))) => match one.cmp(&other) {
                Ordering::Less => (one, bits, 0),
                Ordering::Equal => (one, bits, known),
                Ordering::Greater => (other, 0, known),
            },
        };
        difference.arrived += u64::from((here & !there).count_ones());
        let gone = there & !here;
        difference.deleted += u64::from(gone.count_ones());
        for bit in (0..64).filter(|bit| gone >> bit & 1 == 1) {
            let number = (bucket << 6) | bit;
            let mut key = Key::default();
            encode_field(KeyType::Integer, Some(&number.to_be_bytes()), &mut key.0)
                .map_err(unreadable(shortcut.entity))?;
            findings.push(ChangeKind::Deleted, &key).await?;
        }
        if in_source.is_some_and(|(it, _)| it == bucket) {
            in_source = next_bits(&mut source).await?;
        }
        if in_ledger.is_some_and(|(it, _)| it == bucket) {
            in_ledger = next_bits(&mut ledger).await?;
        }
    }
}
