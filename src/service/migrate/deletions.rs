//! The deletions of one entity: what is gone from the source leaves the target as the policy says.

use super::batch::Load;
use super::entity::{EntityWork, Session, unreadable};
use super::hands::reader;
use super::lane::Lane;
use crate::db::control::detection::StoredChange;
use crate::db::control::{batch, detection, lease};
use crate::db::server::Connection;
use crate::db::source;
use crate::db::standing::{Planner, plan};
use crate::db::statement::ledger;
use crate::db::statement::retire::Doomed;
use crate::domain::canonical::RowShape;
use crate::domain::connection::Side;
use crate::domain::key::Key;
use crate::domain::mapping::DeletePolicy;
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Result};
use crate::service::rows::SourceRows;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeSet;
use tokio::sync::Mutex;

impl EntityWork<'_> {
    /// Carries the delete policy out, from the highest key down: what was made last goes first, so rows
    /// that refer to older rows of the same table go before those. Where no row can do so, another lane helps when
    /// hands are free.
    pub async fn apply_deletions(&mut self) -> Result<()> {
        let pages = Pages {
            session: self.session,
            entity: self.entity,
            before: Mutex::new(i64::MAX),
        };
        let keys = pages.next(&mut self.hands.control).await?;
        let any_order = self.gathered.is_none() && !self.entity.is_ordered();
        let other = match any_order && keys.len() >= self.session.batch_size {
            // Where no further connection can be had, one lane does it.
            true => self.session.pool.try_take().await.unwrap_or_default(),
            false => None,
        };
        let mut worker = self.worker.clone();
        let mut lane = self.lane();
        let Some((mut hands, _slot)) = other else {
            return lane.retire_pages(&pages, Some(keys)).await;
        };
        lane.session.say_lanes(&lane.entity.name, 2);
        let tally = lane.tally;
        let mut beside = Lane {
            worker: &mut worker,
            hands: &mut hands,
            gathered: None,
            direct: None,
            ..lane
        };
        let mut lanes: FuturesUnordered<BoxFuture<'_, Result<()>>> = FuturesUnordered::new();
        lanes.push(Box::pin(lane.retire_pages(&pages, Some(keys))));
        lanes.push(Box::pin(beside.retire_pages(&pages, None)));
        let mut failed: Option<Error> = None;
        while let Some(ended) = lanes.next().await {
            if let Err(error) = ended {
                // The other one stops at its next page; what it says is only that.
                tally.stop();
                failed.get_or_insert(error);
            }
        }
        drop(lanes);
        if let Some(error) = failed {
            return Err(error);
        }
        self.session.pool.give_back(hands).await;
        Ok(())
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
            self.lane().retire_gone(page).await?;
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
}

/// The keys that a detection found gone, from the highest one down.
struct Pages<'p> {
    session: &'p Session<'p>,
    entity: &'p ResolvedEntity,
    before: Mutex<i64>,
}

impl Pages<'_> {
    /// Takes the keys of the next batch; none when there are no more.
    async fn next(&self, control: &mut Connection) -> Result<Vec<Key>> {
        let mut before = self.before.lock().await;
        let page = detection::read_deletions(
            control,
            self.session.detection_id,
            &self.entity.name,
            *before,
            i64::try_from(self.session.batch_size).unwrap_or(i64::MAX),
        )
        .await?;
        if let Some(last) = page.last() {
            *before = last.ordinal;
        }
        let (name, types) = (&self.entity.name, self.entity.key_types());
        let key = |it: &StoredChange| Key::from_json(&it.key, &types).map_err(unreadable(name));
        page.iter().map(key).collect()
    }
}

impl Lane<'_> {
    /// Carries the delete policy out for a first page of keys, and for further ones until none is left.
    async fn retire_pages(&mut self, pages: &Pages<'_>, mut first: Option<Vec<Key>>) -> Result<()> {
        loop {
            let keys = match first.take() {
                Some(keys) => keys,
                None => pages.next(&mut self.hands.control).await?,
            };
            if keys.is_empty() {
                return Ok(());
            }
            self.tally.check()?;
            self.retire_gone(&keys).await?;
        }
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
        if let Some(Load::Doomed(doomed)) = self.gathered.as_deref_mut() {
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
