//! The lanes that apply the changes of one entity side by side, as far as hands are free.

use super::batch::{BatchWorker, Load};
use super::direct::DirectLoad;
use super::entity::{EntityWork, Session};
use super::hands::Hands;
use super::lane::{Lane, Late};
use super::supply::{Piece, Supply};
use super::tally::Tally;
use crate::db::catalog::unique_indexes;
use crate::db::server::Connection;
use crate::db::standing::Planner;
use crate::db::statement::source::SourceStatements;
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Result};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use std::time::Duration;
use tokio::sync::SemaphorePermit;

/// A batch that is loaded directly has so many times the rows of one that is staged, as far as its bytes allow.
const DIRECT_FACTOR: usize = 10;
/// From so many rows a batch on; whoever asks for smaller ones gets what was asked for.
const USUAL_BATCH: usize = 5_000;
/// How often it is looked whether hands are free for another lane.
const LOOK: Duration = Duration::from_millis(20);

/// Hands that are being opened, when a slot is free.
type Opening<'o> = BoxFuture<'o, Result<Option<(Hands, SemaphorePermit<'o>)>>>;

/// What the lanes of an entity share.
struct Crew<'c> {
    session: &'c Session<'c>,
    entity: &'c ResolvedEntity,
    statements: &'c SourceStatements,
    supply: Supply<'c>,
    tally: &'c Tally,
    /// Where batches may wait until the end; nowhere when the order of the rows matters.
    late: Option<Late>,
}

/// Applies every new and modified row of the detection.
pub(super) async fn apply_changes(work: &mut EntityWork<'_>) -> Result<()> {
    let session = work.session;
    let rows_total = work.tally.rows_total;
    let gathers = work.gathered.is_some();
    // Whatever is gathered or small is done in one go.
    let any_order = !gathers
        && rows_total >= 2 * SHARED_FROM
        && may_share(work.entity, &mut work.hands.control).await?;
    let lanes = if any_order { session.pool.width } else { 1 };
    let crew = Crew {
        session,
        entity: work.entity,
        statements: &work.statements,
        supply: Supply::new(session, work.entity, &work.statements, lanes, rows_total),
        tally: &work.tally,
        late: any_order.then(Late::default),
    };
    let worker = work.worker.clone();
    let first = (&mut work.worker, &mut *work.hands, work.gathered.as_mut());
    crew.work(first, &worker, lanes).await?;
    let late = crew.late.map(|it| it.take()).unwrap_or_default();
    let mut lane = work.lane();
    for batch in &late {
        lane.apply_batch(batch).await?;
    }
    Ok(())
}

/// Fewer changes than twice this are not worth another lane's connections.
const SHARED_FROM: u64 = 2_000;

impl Crew<'_> {
    /// Works in a first lane, and in others whenever hands are free, until nothing is left.
    async fn work(
        &self,
        first: (&mut BatchWorker, &mut Hands, Option<&mut Load>),
        pattern: &BatchWorker,
        most: usize,
    ) -> Result<()> {
        let (worker, hands, gathered) = first;
        let mut lanes = FuturesUnordered::<BoxFuture<'_, Result<()>>>::new();
        lanes.push(Box::pin(self.run(worker, hands, gathered)));
        let mut failed: Option<Error> = None;
        // Opened beside the lanes: none of them must stand still in the middle of a transaction for it.
        let mut opening: Opening<'_> = Box::pin(std::future::pending());
        let (mut is_opening, mut grows) = (false, true);
        loop {
            let may_grow = grows && lanes.len() < most && self.supply.is_left() && failed.is_none();
            let ended = tokio::select! {
                ended = lanes.next() => ended,
                opened = &mut opening, if is_opening => {
                    is_opening = false;
                    match opened {
                        Ok(Some((hands, slot))) if failed.is_none() => {
                            self.session.say_lanes(&self.entity.name, lanes.len() + 1);
                            lanes.push(self.another(pattern.clone(), hands, slot));
                        }
                        Ok(_) => {}
                        // It goes on with the lanes that there are.
                        Err(_) => grows = false,
                    }
                    continue;
                }
                () = tokio::time::sleep(LOOK), if may_grow && !is_opening => {
                    opening = Box::pin(self.session.pool.try_take());
                    is_opening = true;
                    continue;
                }
            };
            match ended {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    // The others stop at their next batch; what they say is only that.
                    self.tally.stop();
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// A lane on hands of its own, which are given back when it has met no error.
    fn another<'s>(
        &'s self,
        mut worker: BatchWorker,
        mut hands: Hands,
        slot: SemaphorePermit<'s>,
    ) -> BoxFuture<'s, Result<()>> {
        Box::pin(async move {
            let _slot = slot;
            self.run(&mut worker, &mut hands, None).await?;
            self.session.pool.give_back(hands).await;
            Ok(())
        })
    }

    /// Takes pieces until none is left.
    async fn run(
        &self,
        worker: &mut BatchWorker,
        hands: &mut Hands,
        gathered: Option<&mut Load>,
    ) -> Result<()> {
        let mut lane = Lane {
            session: self.session,
            entity: self.entity,
            statements: self.statements,
            worker,
            hands,
            tally: self.tally,
            batch_size: self.session.batch_size,
            direct: None,
            late: self.late.as_ref(),
            gathered,
        };
        let mut direct: Option<DirectLoad> = None;
        // What is gathered goes through the stage.
        let mut is_open = lane.gathered.is_some();
        while let Some(piece) = self.supply.next(lane.hands).await? {
            self.tally.check()?;
            match piece {
                Piece::Keys(keys) => {
                    lane.apply_keys(&keys).await?;
                }
                Piece::Part(statement, run) => {
                    if !is_open {
                        let control = &mut lane.hands.control;
                        direct = DirectLoad::open(self.session, self.entity, control).await?;
                        is_open = true;
                    }
                    lane.direct = direct.take();
                    if lane.direct.is_some() && lane.batch_size >= USUAL_BATCH {
                        lane.batch_size *= DIRECT_FACTOR;
                    }
                    let read = lane.apply_rows(&statement, Planner::Usual).await?;
                    run.finish_part(read, self.tally);
                    lane.batch_size = self.session.batch_size;
                    direct = lane.direct.take();
                }
            }
        }
        Ok(())
    }
}

/// Tells whether it makes no difference in which order the rows of an entity arrive.
///
/// It does when rows refer to one another, and when the target has a unique value beside the keys: of rows
/// that exclude each other the one with the lowest key stays.
async fn may_share(entity: &ResolvedEntity, control: &mut Connection) -> Result<bool> {
    if entity.is_ordered() {
        return Ok(false);
    }
    let indexes = unique_indexes(control, &entity.target).await?;
    let keys = entity.source.key.len();
    Ok(indexes.iter().all(|columns| {
        let legacy = entity.legacy.iter();
        let legacy = legacy.filter(|(_, name)| columns.contains(name)).count();
        columns.contains(&entity.id_column) || (legacy > 0 && legacy >= keys)
    }))
}
