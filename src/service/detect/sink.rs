//! Collects changes and stores them in lists; long runs of new keys become one row.

use crate::db::control::detection::{StoredChange, forget_changes, save_changes};
use crate::db::server::Connection;
use crate::domain::detection::ChangeKind;
use crate::domain::key::{Key, KeyFault, KeyType};
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Kind, Result};
use serde_json::Value;
use uuid::Uuid;

/// Changes that are stored by one statement.
const PAGE: usize = 5_000;
/// From how many new keys in a row on they are stored as a range.
const RUN: usize = 1_000;

/// From one part of an entity to the next the ordinals leap so far: parts are read side by side.
const PART: i64 = 1 << 40;

/// The changes of one entity.
pub(crate) struct ChangeSink<'c> {
    entity: String,
    types: Vec<KeyType>,
    store: Option<(Uuid, &'c mut Connection)>,
    page: Vec<StoredChange>,
    ordinal: i64,
    run: Vec<Key>,
    run_last: Key,
    run_count: u64,
}

impl<'c> ChangeSink<'c> {
    /// Stores changes under a detection, or counts only when there is none.
    pub fn new(
        entity: &ResolvedEntity,
        detection_id: Option<Uuid>,
        connection: Option<&'c mut Connection>,
    ) -> Self {
        ChangeSink {
            entity: entity.name.clone(),
            types: entity.key_types(),
            store: detection_id.zip(connection),
            page: Vec::new(),
            ordinal: 0,
            run: Vec::new(),
            run_last: Key::default(),
            run_count: 0,
        }
    }

    /// Goes on with the part of this number; its changes are applied before those of the parts after it.
    pub async fn begin_part(&mut self, number: usize) -> Result<()> {
        self.break_run().await?;
        self.ordinal = i64::try_from(number).unwrap_or(0) * PART;
        Ok(())
    }

    /// Takes a change; new keys are collected as a run until [`ChangeSink::break_run`].
    pub async fn push(&mut self, kind: ChangeKind, key: &Key) -> Result<()> {
        if kind != ChangeKind::New {
            return self.push_single(kind, key).await;
        }
        if self.store.is_none() {
            return Ok(());
        }
        if self.run.len() < RUN {
            self.run.push(key.clone());
        }
        self.run_last.0.clear();
        self.run_last.0.extend_from_slice(&key.0);
        self.run_count += 1;
        Ok(())
    }

    /// Takes a change that stands for itself.
    pub async fn push_single(&mut self, kind: ChangeKind, key: &Key) -> Result<()> {
        if self.store.is_none() {
            return Ok(());
        }
        let key = self.json(key)?;
        self.store(kind, key, None, 1).await
    }

    /// Takes the whole entity as new: a first load.
    pub fn push_whole(&mut self, row_count: u64) {
        if row_count > 0 {
            let everything = Value::Array(Vec::new());
            self.ordinal += 1;
            self.page.push(StoredChange {
                ordinal: self.ordinal,
                kind: ChangeKind::New,
                key: everything.clone(),
                last_key: Some(everything),
                row_count: i64::try_from(row_count).unwrap_or(i64::MAX),
            });
        }
    }

    /// Ends a run of new keys: a known key stands between them and the next.
    pub async fn break_run(&mut self) -> Result<()> {
        if self.run_count == 0 {
            return Ok(());
        }
        let run = std::mem::take(&mut self.run);
        let count = std::mem::take(&mut self.run_count);
        if run.len() < RUN {
            for key in &run {
                self.push_single(ChangeKind::New, key).await?;
            }
            return Ok(());
        }
        let first = self.json(&run[0])?;
        let last = self.json(&self.run_last.clone())?;
        self.store(ChangeKind::New, first, Some(last), count).await
    }

    /// Forgets everything: the entity is read anew.
    pub async fn discard(&mut self) -> Result<()> {
        self.page.clear();
        self.run.clear();
        self.run_count = 0;
        if let Some((detection_id, connection)) = &mut self.store
            && self.ordinal > 0
        {
            forget_changes(connection, *detection_id, &self.entity).await?;
        }
        self.ordinal = 0;
        Ok(())
    }

    /// Stores what is left.
    pub async fn finish(mut self) -> Result<()> {
        self.break_run().await?;
        self.flush().await
    }

    fn json(&self, key: &Key) -> Result<Value> {
        key.to_json(&self.types).map_err(|fault: KeyFault| {
            Error::new(
                Kind::Unexpected,
                format!("a key of {} cannot be stored", self.entity),
            )
            .cause(fault.to_string())
        })
    }

    async fn store(
        &mut self,
        kind: ChangeKind,
        key: Value,
        last_key: Option<Value>,
        count: u64,
    ) -> Result<()> {
        self.ordinal += 1;
        self.page.push(StoredChange {
            ordinal: self.ordinal,
            kind,
            key,
            last_key,
            row_count: i64::try_from(count).unwrap_or(i64::MAX),
        });
        if self.page.len() >= PAGE {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let page = std::mem::take(&mut self.page);
        if let Some((detection_id, connection)) = &mut self.store
            && !page.is_empty()
        {
            save_changes(connection, *detection_id, &self.entity, page).await?;
        }
        Ok(())
    }
}
