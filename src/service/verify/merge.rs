//! The merge of both sides: source rows, and ledger rows with their target rows, in key order.

use crate::db::TupleStream;
use crate::domain::canonical::{CanonicalRow, RowShape};
use crate::domain::mapping::DeletePolicy;
use crate::domain::resolve::ResolvedEntity;
use crate::domain::verification::{
    EntityAccount, Finding, FindingKind, KEPT_FINDINGS, RowDigest, differing_column,
};
use crate::error::{Error, Kind, Result};
use crate::service::rows::SourceRows;
use std::cmp::Ordering;

/// Ledger rows with their target rows.
pub(super) struct TargetRows<'c> {
    stream: TupleStream<'c>,
    row: CanonicalRow,
    fields: usize,
    entity: String,
    present: bool,
    letter: u8,
}

impl<'c> TargetRows<'c> {
    /// Wraps a stream of `db/statement/content.rs`.
    pub fn new(stream: TupleStream<'c>, entity: &ResolvedEntity) -> Self {
        let shape = RowShape::of_target(entity);
        TargetRows {
            stream,
            fields: shape.total_fields(),
            row: CanonicalRow::new(shape),
            entity: entity.name.clone(),
            present: false,
            letter: b'd',
        }
    }

    /// Moves to the next row; `false` after the last.
    pub async fn advance(&mut self) -> Result<bool> {
        let Some(tuple) = self.stream.next().await? else {
            return Ok(false);
        };
        let unreadable = || {
            let what = format!("a target row of {} cannot be read back", self.entity);
            Error::new(Kind::Unexpected, what)
        };
        let extra = tuple.fields().skip(self.fields);
        let mut extra = extra.map(|field| field.ok().flatten());
        let mut byte = || extra.next().flatten().and_then(<[u8]>::first).copied();
        let (Some(present), Some(letter)) = (byte(), byte()) else {
            return Err(unreadable());
        };
        (self.present, self.letter) = (present == 1, letter);
        self.row.read(tuple).map_err(|_| unreadable())?;
        Ok(true)
    }
}

/// The account of an entity while it is made up.
pub(super) struct Accountant<'a> {
    entity: &'a ResolvedEntity,
    pub account: EntityAccount,
    pub findings: Vec<Finding>,
    source: RowDigest,
    target: RowDigest,
}

impl<'a> Accountant<'a> {
    /// Begins with nothing.
    pub fn new(entity: &'a ResolvedEntity) -> Self {
        Accountant {
            entity,
            account: EntityAccount {
                entity: entity.name.clone(),
                ..EntityAccount::default()
            },
            findings: Vec::new(),
            source: RowDigest::default(),
            target: RowDigest::default(),
        }
    }

    /// Compares both streams to their ends; `progress` is called with every source row's number.
    pub async fn merge(
        &mut self,
        rows: &mut SourceRows<'_>,
        known: &mut TargetRows<'_>,
        mut progress: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut in_source = rows.advance().await?;
        let mut in_ledger = known.advance().await?;
        while in_source || in_ledger {
            let order = match (in_source, in_ledger) {
                (true, false) => Ordering::Less,
                (false, _) => Ordering::Greater,
                (true, true) => rows.row().key().cmp(known.row.key()),
            };
            match order {
                Ordering::Less => self.missing(rows.row())?,
                Ordering::Equal => self.both(rows.row(), known)?,
                Ordering::Greater => self.gone(known)?,
            }
            if order != Ordering::Less {
                in_ledger = known.advance().await?;
            }
            if order != Ordering::Greater {
                progress(rows.row_count())?;
                in_source = rows.advance().await?;
            }
        }
        self.account.source_digest = self.source.finish();
        self.account.target_digest = self.target.finish();
        Ok(())
    }

    fn missing(&mut self, row: &CanonicalRow) -> Result<()> {
        self.source.push(row);
        self.account.missing += 1;
        self.note(FindingKind::Missing, row, None)
    }

    /// The key is on both sides.
    fn both(&mut self, row: &CanonicalRow, known: &TargetRows<'_>) -> Result<()> {
        match known.letter {
            b'a' if known.present => {}
            b'a' | b'd' => return self.missing(row),
            _ => {
                self.account.set_aside += 1;
                return Ok(());
            }
        }
        self.source.push(row);
        self.target.push(&known.row);
        if row.hash() == known.row.hash() {
            self.account.equal += 1;
            return Ok(());
        }
        self.account.mismatching += 1;
        let column = differing_column(self.entity, row, &known.row);
        self.note(FindingKind::Mismatching, row, column)
    }

    /// The source row is gone.
    fn gone(&mut self, known: &TargetRows<'_>) -> Result<()> {
        if !known.present {
            return Ok(());
        }
        let stays = self.entity.delete != DeletePolicy::Delete;
        match known.letter {
            b'u' => self.account.retired += 1,
            b'd' if stays => self.account.retired += 1,
            b'q' | b'h' => {}
            _ => {
                self.target.push(&known.row);
                self.account.extraneous += 1;
                self.note(FindingKind::Extraneous, &known.row, None)?;
            }
        }
        Ok(())
    }

    fn note(
        &mut self,
        kind: FindingKind,
        row: &CanonicalRow,
        column: Option<String>,
    ) -> Result<()> {
        if self.findings.len() >= KEPT_FINDINGS {
            return Ok(());
        }
        let key = row.key().to_json(&self.entity.key_types());
        let key = key.map_err(|fault| {
            let what = format!("a key of {} cannot be read", self.entity.name);
            Error::new(Kind::Unexpected, what).cause(fault.to_string())
        })?;
        self.findings.push(Finding {
            kind,
            key,
            column,
            at: row.key().clone(),
        });
        Ok(())
    }
}
