//! The deletions of one entity: what is gone from the source leaves the target as the policy says.

use super::batch::Load;
use super::entity::{EntityWork, unreadable};
use super::hands::reader;
use crate::db::control::{batch, detection, lease};
use crate::db::source;
use crate::db::standing::{Planner, plan};
use crate::db::statement::ledger;
use crate::db::statement::retire::Doomed;
use crate::domain::canonical::RowShape;
use crate::domain::connection::Side;
use crate::domain::key::Key;
use crate::domain::mapping::DeletePolicy;
use crate::error::Result;
use crate::service::rows::SourceRows;
use std::collections::BTreeSet;

impl EntityWork<'_> {
    /// Carries the delete policy out, from the highest key down: what was made last goes first, so rows
    /// that refer to older rows of the same table go before those.
    pub async fn apply_deletions(&mut self) -> Result<()> {
        let mut before = i64::MAX;
        loop {
            let page = detection::read_deletions(
                &mut self.hands.control,
                self.session.detection_id,
                &self.entity.name,
                before,
                i64::try_from(self.session.batch_size).unwrap_or(i64::MAX),
            )
            .await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            before = last.ordinal;
            let keys: Result<Vec<Key>> = page.iter().map(|change| self.key(&change.key)).collect();
            self.retire_gone(&keys?).await?;
        }
    }

    /// Makes rows that the target did not let go forget the rows of a circle that they refer to.
    pub async fn loosen(&mut self, parents: &[String]) -> Result<()> {
        if self.entity.delete != DeletePolicy::Delete {
            return Ok(());
        }
        let keys = self.undeleted().await?;
        for page in keys.chunks(self.session.batch_size) {
            let statement = self
                .worker
                .statements
                .loosen(self.session.writer, page, parents)
                .map_err(unreadable(&self.entity.name))?;
            let Some(statement) = statement else {
                return Ok(());
            };
            let writer = &mut self.hands.writer;
            lease::begin_fenced(writer, self.session.lease.epoch).await?;
            batch::run(writer, "loosening rows that are gone", &statement).await?;
            batch::commit_plain(writer).await?;
        }
        Ok(())
    }

    /// Tries the deletions again that other rows stood in the way of; since then those may be gone.
    pub async fn retry_deletions(&mut self) -> Result<()> {
        let keys = self.undeleted().await?;
        self.worker.tentative = true;
        let pages: Vec<&[Key]> = keys.chunks(self.session.batch_size).rev().collect();
        for page in pages {
            self.retire_gone(page).await?;
        }
        self.worker.tentative = false;
        Ok(())
    }

    async fn undeleted(&mut self) -> Result<Vec<Key>> {
        let statement = ledger::undeleted(&self.entity.name, &self.entity.key_types());
        let stored = detection::stored_keys(&mut self.hands.control, &statement).await?;
        let keys: Result<Vec<Key>> = stored.iter().map(|key| self.key(key)).collect();
        let mut keys = keys?;
        keys.sort();
        Ok(keys)
    }

    async fn retire_gone(&mut self, keys: &[Key]) -> Result<()> {
        let there = self.still_there(keys).await?;
        let gone: Vec<Key> = keys
            .iter()
            .filter(|key| !there.contains(*key))
            .cloned()
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        if let Some(Load::Doomed(doomed)) = &mut self.gathered {
            doomed.extend(gone.into_iter().map(Doomed::new));
            return Ok(());
        }
        self.session.lease.check()?;
        let end = self.worker.retire(&mut self.hands.writer, &gone).await?;
        self.finish_batch(&end).await
    }

    /// Reads keys again that were found gone: a detection is advice, and a stored one may be old.
    async fn still_there(&mut self, keys: &[Key]) -> Result<BTreeSet<Key>> {
        let statement = self
            .statements
            .keys(keys)
            .map_err(unreadable(&self.entity.name))?;
        let mut connection = reader(self.hands, self.session).await?;
        let mut there = BTreeSet::new();
        plan(Side::Source, &mut connection, Planner::ByKey).await?;
        {
            let stream = source::rows(&mut connection, &statement, &self.entity.name).await?;
            let mut rows = SourceRows::new(stream, RowShape::new(self.entity), &self.entity.name);
            while rows.advance().await? {
                there.insert(rows.row().key().clone());
            }
        }
        plan(Side::Source, &mut connection, Planner::Usual).await?;
        self.hands.reader = Some(connection);
        Ok(there)
    }
}
