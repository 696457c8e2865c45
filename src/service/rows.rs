//! Reads canonical rows of an entity in strict key order.

use crate::db::TupleStream;
use crate::domain::canonical::{CanonicalFault, CanonicalRow, RowShape};
use crate::domain::key::{Key, KeyFault, KeyType, encode_field};
use crate::error::{Error, Kind, Result};
use std::time::{Duration, Instant};

/// A stream of source rows; the keys must rise, or the key is not unique.
pub struct SourceRows<'c> {
    stream: TupleStream<'c>,
    row: CanonicalRow,
    entity: String,
    previous: Key,
    row_count: u64,
    /// How long our own work on the rows took so far, estimated from a sample.
    busy: Duration,
}

/// The time of every so many rows is measured; more would cost more than it tells.
const SAMPLED: u64 = 64;

impl<'c> SourceRows<'c> {
    /// Wraps a stream of an entity.
    pub fn new(stream: TupleStream<'c>, shape: RowShape, entity: &str) -> Self {
        SourceRows {
            stream,
            row: CanonicalRow::new(shape),
            entity: entity.to_owned(),
            previous: Key::default(),
            row_count: 0,
            busy: Duration::ZERO,
        }
    }

    /// Moves to the next row; `false` after the last.
    ///
    /// # Errors
    /// The stream breaks, a key is NULL, or two rows have the same key (exit 13).
    pub async fn advance(&mut self) -> Result<bool> {
        let is_sampled = self.is_sampled();
        let Some(tuple) = self.stream.next().await? else {
            return Ok(false);
        };
        self.previous.0.clear();
        self.previous.0.extend_from_slice(&self.row.key().0);
        let began = is_sampled.then(Instant::now);
        self.row.read(tuple).map_err(|fault| self.explain(&fault))?;
        if let Some(began) = began {
            self.add_sample(began.elapsed());
        }
        if self.row_count > 0 && *self.row.key() <= self.previous {
            return Err(self.unordered());
        }
        self.row_count += 1;
        Ok(true)
    }

    /// Tells whether the time of this row is measured.
    pub fn is_sampled(&self) -> bool {
        self.row_count.is_multiple_of(SAMPLED)
    }

    /// Adds time that was spent on a row that is measured.
    pub fn add_sample(&mut self, spent: Duration) {
        self.busy += spent * u32::try_from(SAMPLED).unwrap_or(1);
    }

    /// Returns how long hashing and packing took so far, about.
    pub fn busy(&self) -> Duration {
        self.busy
    }

    /// Returns the row.
    pub fn row(&self) -> &CanonicalRow {
        &self.row
    }

    /// Returns how many rows were read.
    pub fn row_count(&self) -> u64 {
        self.row_count
    }

    fn unordered(&self) -> Error {
        let what = format!(
            "the source of {} gives more than one row for the same key",
            self.entity
        );
        Error::new(Kind::Drift, what)
            .cause("the key columns are not unique there, or a join multiplies rows")
            .next("choose unique key columns, or join on a unique column")
    }

    fn explain(&self, fault: &CanonicalFault) -> Error {
        match fault {
            CanonicalFault::Key(KeyFault::Null) => {
                let what = format!(
                    "the source of {} gives a row whose key is NULL",
                    self.entity
                );
                Error::new(Kind::Drift, what)
                    .next("leave such rows out with `where`, or choose another key")
            }
            other => Error::new(
                Kind::Unexpected,
                format!("a row of {} cannot be read", self.entity),
            )
            .cause(other.to_string()),
        }
    }
}

/// Reads a stream that holds keys alone.
///
/// # Errors
/// The stream breaks, or a key is not of its types.
pub(crate) async fn read_keys(
    mut stream: TupleStream<'_>,
    types: &[KeyType],
    entity: &str,
) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    while let Some(tuple) = stream.next().await? {
        let mut key = Key::default();
        let mut fields = tuple.fields();
        for key_type in types {
            let field = fields.next().and_then(std::result::Result::ok).flatten();
            encode_field(*key_type, field, &mut key.0).map_err(|fault| {
                let what = format!("a key of {entity} cannot be read");
                Error::new(Kind::Unexpected, what).cause(fault.to_string())
            })?;
        }
        keys.push(key);
    }
    Ok(keys)
}
