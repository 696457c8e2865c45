//! The changes of an entity in pieces, for lanes that work side by side.

use super::entity::{Session, unreadable};
use super::hands::{Hands, reader};
use super::tally::Tally;
use crate::db::control::detection::{self, StoredChange};
use crate::db::statement::Statement;
use crate::db::statement::source::SourceStatements;
use crate::domain::catalog::RelationKind;
use crate::domain::key::{Key, KeyFault};
use crate::domain::resolve::{ResolvedEntity, SourceFrom};
use crate::error::Result;
use crate::service::parting;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Mutex;

/// About how many rows of a run one lane loads at a time.
const PART_ROWS: u64 = 60_000;
/// The most parts of a run.
const MOST_PARTS: u64 = 128;

/// A run of new keys: how many there should be, and how many its parts have read so far.
#[derive(Debug)]
pub(super) struct Run {
    expected: u64,
    read: AtomicU64,
    parts_left: AtomicUsize,
}

impl Run {
    /// Notes that a part was read.
    pub fn finish_part(&self, read: u64, tally: &Tally) {
        self.read.fetch_add(read, Ordering::SeqCst);
        if self.parts_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            tally.found(self.expected, self.read.load(Ordering::SeqCst));
        }
    }
}

/// Something to do for a lane.
#[derive(Debug)]
pub(super) enum Piece {
    /// Single rows.
    Keys(Vec<Key>),
    /// A part of a run of rows of which the ledger knows none.
    Part(Statement, Arc<Run>),
}

/// Where the pieces come from.
pub(super) struct Supply<'s> {
    session: &'s Session<'s>,
    entity: &'s ResolvedEntity,
    statements: &'s SourceStatements,
    /// Whether a run is parted, so that several lanes can load it.
    parts_runs: bool,
    /// Changes that are read at a time.
    page: i64,
    state: Mutex<State>,
    is_empty: AtomicBool,
}

#[derive(Default)]
struct State {
    after: i64,
    ready: VecDeque<Piece>,
    all_read: bool,
}

impl<'s> Supply<'s> {
    /// Nothing is read yet.
    pub fn new(
        session: &'s Session<'s>,
        entity: &'s ResolvedEntity,
        statements: &'s SourceStatements,
        lanes: usize,
        rows_total: u64,
    ) -> Self {
        // A few rows are not worth a second look, many are shared evenly.
        let share = usize::try_from(rows_total).unwrap_or(usize::MAX) / lanes.max(1) + 1;
        let page = session.batch_size.min(share.max(SMALL_PAGE));
        Supply {
            session,
            entity,
            statements,
            parts_runs: lanes > 1 && can_be_parted(session, entity),
            page: i64::try_from(page).unwrap_or(i64::MAX),
            state: Mutex::default(),
            is_empty: AtomicBool::new(false),
        }
    }

    /// Tells whether another lane would find something to do.
    pub fn is_left(&self) -> bool {
        !self.is_empty.load(Ordering::Relaxed)
    }

    /// Takes the next piece; nothing when all is done or being done.
    pub async fn next(&self, hands: &mut Hands) -> Result<Option<Piece>> {
        let mut state = self.state.lock().await;
        while state.ready.is_empty() && !state.all_read {
            let page = detection::read_changes(
                &mut hands.control,
                self.session.detection_id,
                &self.entity.name,
                state.after,
                self.page,
            )
            .await?;
            match page.last() {
                None => state.all_read = true,
                Some(last) => state.after = last.ordinal,
            }
            state.all_read |= (page.len() as u64) < self.page.unsigned_abs();
            self.cut(&page, hands, &mut state.ready).await?;
        }
        let piece = state.ready.pop_front();
        let is_empty = state.ready.is_empty() && state.all_read;
        self.is_empty.store(is_empty, Ordering::Relaxed);
        Ok(piece)
    }

    async fn cut(
        &self,
        page: &[StoredChange],
        hands: &mut Hands,
        ready: &mut VecDeque<Piece>,
    ) -> Result<()> {
        let mut singles = Vec::new();
        for change in page {
            let Some(last) = &change.last_key else {
                singles.push(self.key(&change.key)?);
                continue;
            };
            if !singles.is_empty() {
                ready.push_back(Piece::Keys(std::mem::take(&mut singles)));
            }
            let expected = u64::try_from(change.row_count).unwrap_or(0);
            let parts = self.parts(&change.key, last, expected, hands).await?;
            let run = Arc::new(Run {
                expected,
                read: AtomicU64::new(0),
                parts_left: AtomicUsize::new(parts.len()),
            });
            let parts = parts.into_iter();
            ready.extend(parts.map(|part| Piece::Part(part, Arc::clone(&run))));
        }
        if !singles.is_empty() {
            ready.push_back(Piece::Keys(singles));
        }
        Ok(())
    }

    fn key(&self, stored: &Value) -> Result<Key> {
        Key::from_json(stored, &self.entity.key_types()).map_err(unreadable(&self.entity.name))
    }

    /// The statements that together read a run, whose first key is an empty list when it is everything.
    async fn parts(
        &self,
        first: &Value,
        last: &Value,
        expected: u64,
        hands: &mut Hands,
    ) -> Result<Vec<Statement>> {
        let is_all = first.as_array().is_some_and(Vec::is_empty);
        let bounds = match is_all {
            true => None,
            false => Some((self.key(first)?, self.key(last)?)),
        };
        let count = usize::try_from((expected / PART_ROWS).clamp(1, MOST_PARTS)).unwrap_or(1);
        let mut cuts = Vec::new();
        if self.parts_runs && count > 1 {
            let mut source = reader(hands, self.session).await?;
            let context = self.session.context;
            // Of a run that is not everything the sample holds only a share.
            cuts = parting::cuts(
                context,
                self.entity,
                self.statements,
                &mut source,
                expected,
                count,
            )
            .await?;
            hands.reader = Some(source);
            if let Some((first, last)) = &bounds {
                cuts.retain(|cut| cut > first && cut <= last);
            }
        }
        self.between(&cuts, bounds.as_ref())
            .map_err(unreadable(&self.entity.name))
    }

    fn between(
        &self,
        cuts: &[Key],
        bounds: Option<&(Key, Key)>,
    ) -> std::result::Result<Vec<Statement>, KeyFault> {
        let Some((first, last)) = bounds else {
            let slices = (0..=cuts.len()).map(|it| parting::Slice::between(cuts, it));
            let slices = slices.map(|it| self.statements.slice(it.from.as_ref(), it.to.as_ref()));
            return slices.collect();
        };
        let mut from = first;
        let mut parts = Vec::new();
        for cut in cuts {
            parts.push(self.statements.slice(Some(from), Some(cut))?);
            from = cut;
        }
        parts.push(self.statements.range(from, last)?);
        Ok(parts)
    }
}

/// Fewer changes than this are not shared between lanes.
const SMALL_PAGE: usize = 2_000;

/// A sample of the keys parts the rows of a table whose keys are all set.
fn can_be_parted(session: &Session<'_>, entity: &ResolvedEntity) -> bool {
    let SourceFrom::Table(name) = &entity.source.from else {
        return false;
    };
    let table = session.context.catalogs.0.table(name);
    table.is_some_and(|table| {
        let mut columns = entity.source.key.iter().map(|(name, _)| table.column(name));
        table.kind == RelationKind::Table
            && columns.all(|column| column.is_some_and(|it| it.not_null))
    })
}
