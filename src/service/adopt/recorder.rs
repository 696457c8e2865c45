//! Writes what was adopted, batch by batch: ledger, quarantine and the record of the batch commit together.

use crate::context::Context;
use crate::db::control::adopt::{self as control, Adopter};
use crate::db::control::batch::{self, BatchCounts, BatchPlace, Mark};
use crate::db::control::lease::begin_fenced;
use crate::db::control::session::{StepNow, save_step};
use crate::db::copy::copy_in;
use crate::db::server::Connection;
use crate::db::statement::adopt::AdoptStatements;
use crate::domain::adopt::EntityAdoption;
use crate::domain::resolve::ResolvedEntity;
use crate::domain::tuple::{HEADER, TRAILER, put_field};
use crate::error::{Error, Kind, Result};
use crate::service::lease::HeldLease;
use crate::service::{host_name, process_id};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use uuid::Uuid;

/// What was committed of an entity, whatever happened in between.
#[derive(Debug, Clone, Default)]
pub(super) struct Committed {
    /// The number of the last batch.
    pub batches: i32,
    /// The rows of all of them.
    pub rows: i64,
    /// What they were.
    pub counts: EntityAdoption,
}

/// The session of an adoption.
pub(super) struct Desk<'a> {
    context: &'a Context,
    lease: &'a HeldLease,
    /// Part of every computed id.
    pub installation_id: Uuid,
    /// The session.
    pub session_id: Uuid,
    committed: Mutex<BTreeMap<String, Committed>>,
}

impl<'a> Desk<'a> {
    /// Opens it; nothing is written yet.
    pub fn new(context: &'a Context, lease: &'a HeldLease, installation_id: Uuid) -> Self {
        Desk {
            context,
            lease,
            installation_id,
            session_id: lease.name,
            committed: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Committed>> {
        self.committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether a batch was committed.
    pub fn is_used(&self) -> bool {
        self.lock().values().any(|it| it.rows > 0)
    }

    /// Returns what was committed of an entity so far.
    pub fn committed(&self, entity: &str) -> Committed {
        self.lock().get(entity).cloned().unwrap_or_default()
    }
}

/// One row of the ledger as it is to be.
pub(super) struct Entry<'r> {
    /// The binary fields of the key.
    pub key: Vec<Vec<u8>>,
    /// The target id, as a framed field.
    pub target_id: &'r [u8],
    pub row_hash: [u8; 16],
    pub applied_hash: Option<[u8; 16]>,
    pub target_xmin: Option<[u8; 4]>,
    pub outcome: &'static str,
    pub is_gone: bool,
    pub reason: Option<&'static str>,
}

/// Gathers the entries of one entity and writes them.
pub(super) struct Recorder<'a> {
    desk: &'a Desk<'a>,
    entity: &'a ResolvedEntity,
    statements: &'a AdoptStatements<'a>,
    writer: Connection,
    batch_size: usize,
    buffer: Vec<u8>,
    rows: usize,
    set_aside: i64,
    /// What the gathered entries are.
    pub counts: EntityAdoption,
}

impl<'a> Recorder<'a> {
    /// Opens a connection for it.
    pub async fn open(
        desk: &'a Desk<'a>,
        entity: &'a ResolvedEntity,
        statements: &'a AdoptStatements<'a>,
        batch_size: usize,
    ) -> Result<Recorder<'a>> {
        let mut writer = desk.context.target.open().await?;
        let create = statements.create_stage();
        batch::run(&mut writer, "creating the stage table", &create).await?;
        Ok(Recorder {
            desk,
            entity,
            statements,
            writer,
            batch_size: batch_size.clamp(1, 100_000),
            buffer: HEADER.to_vec(),
            rows: 0,
            set_aside: 0,
            counts: EntityAdoption::default(),
        })
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: &Entry<'_>) {
        let count = i16::try_from(entry.key.len() + 7).unwrap_or(i16::MAX);
        let out = &mut self.buffer;
        out.extend_from_slice(&count.to_be_bytes());
        for field in &entry.key {
            put_field(out, Some(field));
        }
        out.extend_from_slice(entry.target_id);
        put_field(out, Some(&entry.row_hash));
        put_field(out, entry.applied_hash.as_ref().map(<[u8; 16]>::as_slice));
        put_field(out, entry.target_xmin.as_ref().map(<[u8; 4]>::as_slice));
        put_field(out, Some(entry.outcome.as_bytes()));
        put_field(out, Some(&[u8::from(entry.is_gone)]));
        put_field(out, entry.reason.map(str::as_bytes));
        self.rows += 1;
        self.set_aside += i64::from(entry.reason.is_some());
    }

    /// Tells whether a batch is full.
    pub fn is_full(&self) -> bool {
        self.rows >= self.batch_size
    }

    /// Writes what was gathered.
    pub async fn flush(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        self.desk.lease.check()?;
        let began = Instant::now();
        self.buffer.extend_from_slice(TRAILER);
        let clear = self.statements.clear_stage();
        batch::run(&mut self.writer, "emptying the stage table", &clear).await?;
        copy_in(
            &mut self.writer,
            &self.statements.copy_stage(),
            &self.buffer,
        )
        .await?;
        let rows = i64::try_from(self.rows).unwrap_or(i64::MAX);
        let number = {
            let mut committed = self.desk.lock();
            let committed = committed.entry(self.entity.name.clone()).or_default();
            committed.batches += 1;
            committed.batches
        };
        self.write(rows, number, began).await?;
        let counts = std::mem::take(&mut self.counts);
        let mut committed = self.desk.lock();
        let committed = committed.entry(self.entity.name.clone()).or_default();
        committed.rows += rows;
        add(&mut committed.counts, &counts);
        self.buffer.truncate(HEADER.len());
        (self.rows, self.set_aside) = (0, 0);
        Ok(())
    }

    async fn write(&mut self, rows: i64, number: i32, began: Instant) -> Result<()> {
        let (desk, epoch) = (self.desk, self.desk.lease.epoch);
        let host = host_name();
        let adopter = Adopter {
            session_id: desk.session_id,
            mapping_digest: &desk.context.mapping.digest,
            host: &host,
            process_id: process_id(),
        };
        begin_fenced(&mut self.writer, epoch).await?;
        let session_number = control::note_session(&mut self.writer, &adopter).await?;
        let record = self.statements.record(desk.session_id, session_number);
        let (put, ledger_rows) = control::record(&mut self.writer, &record).await?;
        if put != rows {
            batch::mark(&mut self.writer, Mark::RollBack).await?;
            return Err(Error::new(
                Kind::Busy,
                "target: rows of a ledger were changed by somebody else",
            ));
        }
        let place = BatchPlace {
            session_id: desk.session_id,
            entity: &self.entity.name,
            number,
            epoch,
            last_key: None,
            ledger_rows,
            elapsed_ms: i32::try_from(began.elapsed().as_millis()).unwrap_or(i32::MAX),
            times: None,
        };
        let counts = BatchCounts {
            rows_in: rows,
            identical: rows - self.set_aside,
            quarantined: self.set_aside,
            ..BatchCounts::default()
        };
        batch::record(&mut self.writer, &place, &counts).await?;
        batch::commit(&mut self.writer).await
    }

    /// Writes the rest, and that the entity is done.
    pub async fn finish(mut self, wave: i32) -> Result<()> {
        self.flush().await?;
        let rows = self.desk.committed(&self.entity.name).rows;
        if rows == 0 {
            return Ok(());
        }
        let step = StepNow {
            session_id: self.desk.session_id,
            epoch: self.desk.lease.epoch,
            entity: &self.entity.name,
            wave,
            state: "completed",
            rows_total: rows,
        };
        save_step(&mut self.writer, &step).await
    }
}

fn add(sum: &mut EntityAdoption, part: &EntityAdoption) {
    sum.identical += part.identical;
    sum.differing += part.differing;
    sum.gone += part.gone;
    sum.retired += part.retired;
    sum.released += part.released;
}
