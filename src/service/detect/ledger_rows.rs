//! Reads ledger rows of an entity in key order.

use crate::db::TupleStream;
use crate::db::server::Connection;
use crate::db::statement::Statement;
use crate::domain::connection::Side;
use crate::domain::key::{Key, KeyType, encode_field};
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Kind, Result};

/// One row of the ledger.
#[derive(Debug, Default, Clone)]
pub struct LedgerRow {
    /// The source key.
    pub key: Key,
    /// The row hash that the row had when it was settled.
    pub hash: [u8; 16],
    /// What became of it; see `db/statement/ledger.rs`.
    pub letter: u8,
}

/// A stream of ledger rows.
pub struct LedgerRows<'c> {
    stream: TupleStream<'c>,
    types: Vec<KeyType>,
    row: LedgerRow,
}

impl<'c> LedgerRows<'c> {
    /// Starts a statement of `db/statement/ledger.rs`.
    ///
    /// # Errors
    /// The target refuses it.
    pub async fn open(
        connection: &'c mut Connection,
        statement: &Statement,
        entity: &ResolvedEntity,
    ) -> Result<LedgerRows<'c>> {
        let label = format!("the ledger of {}", entity.name);
        let stream = TupleStream::open(Side::Target, connection, statement, label).await?;
        Ok(LedgerRows::new(stream, entity.key_types()))
    }

    /// Wraps a stream of keys, hashes and letters.
    pub fn new(stream: TupleStream<'c>, types: Vec<KeyType>) -> Self {
        LedgerRows {
            stream,
            types,
            row: LedgerRow::default(),
        }
    }

    /// Returns the row.
    pub fn row(&self) -> &LedgerRow {
        &self.row
    }

    /// Moves to the next ledger row; `false` after the last.
    ///
    /// # Errors
    /// The stream breaks, or holds something else.
    pub async fn advance(&mut self) -> Result<bool> {
        let Some(tuple) = self.stream.next().await? else {
            return Ok(false);
        };
        let damaged = || Error::new(Kind::ControlState, "a ledger row has an unexpected shape");
        let mut fields = tuple.fields();
        self.row.key.0.clear();
        for key_type in &self.types {
            let field = fields.next().ok_or_else(damaged)?.map_err(|_| damaged())?;
            encode_field(*key_type, field, &mut self.row.key.0).map_err(|_| damaged())?;
        }
        let mut value = || fields.next().and_then(std::result::Result::ok).flatten();
        self.row.hash = value()
            .and_then(|it| it.try_into().ok())
            .ok_or_else(damaged)?;
        self.row.letter = *value().and_then(<[u8]>::first).ok_or_else(damaged)?;
        Ok(true)
    }
}
