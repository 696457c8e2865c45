//! Source and ledger side by side, in key order.

use super::ledger_rows::LedgerRows;
use crate::error::Result;
use crate::service::rows::SourceRows;
use std::cmp::Ordering;

/// The merge of both sides of an entity.
pub struct Merge<'c> {
    /// The source; its row is the one at hand unless only the ledger has the key.
    pub rows: SourceRows<'c>,
    /// The ledger; its row is the one at hand unless only the source has the key.
    pub known: LedgerRows<'c>,
    in_source: bool,
    in_ledger: bool,
    order: Ordering,
}

impl<'c> Merge<'c> {
    /// Begins before the first key.
    pub fn new(rows: SourceRows<'c>, known: LedgerRows<'c>) -> Self {
        Merge {
            rows,
            known,
            in_source: true,
            in_ledger: true,
            order: Ordering::Equal,
        }
    }

    /// Moves to the next key and tells who has it: the source alone (`Less`), both (`Equal`), or the ledger alone
    /// (`Greater`); `None` after the last.
    ///
    /// # Errors
    /// A side cannot be read to its end.
    pub async fn next(&mut self) -> Result<Option<Ordering>> {
        if self.order != Ordering::Greater {
            self.in_source = self.rows.advance().await?;
        }
        if self.order != Ordering::Less {
            self.in_ledger = self.known.advance().await?;
        }
        self.order = match (self.in_source, self.in_ledger) {
            (false, false) => return Ok(None),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (true, true) => self.rows.row().key().cmp(&self.known.row().key),
        };
        Ok(Some(self.order))
    }
}
