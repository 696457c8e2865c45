//! Adoption: rows of the target that older scripts have moved are entered into the ledgers, with the ids they have.
//!
//! No row of a target table is written. Claims on target rows are gathered and judged for all entities first
//! (`links.rs`), since references are read back through the links of parents; then each entity is compared with its
//! source in key order (`entity.rs`), and what is found goes into its ledger in batches (`recorder.rs`).

mod entity;
mod links;
mod recorder;

use crate::context::{Context, Selection};
use crate::db::control::adopt as sessions;
use crate::db::control::schema::{self, Installed};
use crate::db::grants::{self, Need};
use crate::db::server::Connection;
use crate::db::source::Snapshot;
use crate::domain::adopt::{Differing, EntityAdoption, Tie};
use crate::domain::connection::Side;
use crate::domain::mapping::IdStrategy;
use crate::domain::resolve::ResolvedEntity;
use crate::domain::session::SessionState;
use crate::error::{Error, Kind, Result};
use crate::service::detect::watched;
use crate::service::give_way::{Patience, Watch};
use crate::service::lease::HeldLease;
use crate::service::migrate::ledgers;
use crate::service::outage::Rider;
use recorder::Desk;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

/// How to adopt.
#[derive(Debug, Clone, Default)]
pub struct AdoptRequest {
    /// Which entities.
    pub selection: Selection,
    /// What becomes of rows that differ from their source rows.
    pub differing: Differing,
    /// Rows of a batch.
    pub batch_size: usize,
    /// How long to wait for another session.
    pub wait_lock: Duration,
    /// Whether nothing is written.
    pub dry_run: bool,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdoptReport {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// The session; nothing when there was nothing to write.
    pub session_id: Option<Uuid>,
    /// The entities in mapping order.
    pub entities: Vec<EntityAdoption>,
}

impl AdoptReport {
    /// Returns how many rows were adopted.
    pub fn adopted(&self) -> u64 {
        self.entities.iter().map(EntityAdoption::adopted).sum()
    }

    /// Returns how many claims do not hold.
    pub fn faults(&self) -> u64 {
        self.entities.iter().map(EntityAdoption::faults).sum()
    }
}

/// Tells what ties the target rows of an entity to source keys.
pub fn ties(entity: &ResolvedEntity) -> Vec<Tie> {
    let adoption = &entity.adoption;
    let ties = [
        (!adoption.legacy.is_empty()).then_some(Tie::Legacy),
        adoption.table.is_some().then_some(Tie::Table),
        (entity.id_strategy == IdStrategy::Same).then_some(Tie::Same),
        (!adoption.natural_key.is_empty()).then_some(Tie::Match),
    ];
    ties.into_iter().flatten().collect()
}

/// Enters rows that are in the target already into the ledgers.
///
/// # Errors
/// Another session is at work (exit 11), a right is missing (12), nothing ties rows to keys (2), or whatever stops
/// the work; every committed batch stays, and the same command goes on from there.
pub async fn adopt(context: &Context, request: &AdoptRequest) -> Result<AdoptReport> {
    let entities = context.select(&request.selection)?;
    if entities.iter().all(|entity| ties(entity).is_empty()) {
        return Err(Error::new(
            Kind::Usage,
            "nothing in the mapping ties target rows to source keys",
        )
        .state("nothing was started")
        .next("add legacy, adopt or match to the entities; see docs/adopt.md"));
    }
    let scope = scope(context, &entities);
    let mut control = context.target.open().await?;
    grants::require(Side::Target, &mut control, &needs(&scope)).await?;
    if request.dry_run {
        let known = match schema::look(&mut control).await? {
            Installed::Present { .. } => schema::ledgers(&mut control).await?,
            Installed::Absent => Vec::new(),
        };
        drop(control);
        let pass = Pass {
            context,
            request,
            scope,
            ledgers: known.into_iter().collect(),
            desk: None,
        };
        return pass.ride_out(None).await;
    }
    schema::refuse_read_only(&mut control).await?;
    grants::require_control_schema(&mut control).await?;
    let installation_id = schema::ensure(&mut control).await?;
    let (patience, interrupt) = (request.wait_lock, &context.interrupt);
    let lease = HeldLease::take(&context.target, &mut control, patience, interrupt).await?;
    let own = Context {
        target: lease.server.clone(),
        ..context.clone()
    };
    let adopted = under_lease(&own, request, scope, &lease, &mut control, installation_id).await;
    let released = lease.release(Some(control)).await;
    let report = adopted?;
    released?;
    Ok(report)
}

async fn under_lease(
    context: &Context,
    request: &AdoptRequest,
    scope: Vec<&ResolvedEntity>,
    lease: &HeldLease,
    control: &mut Connection,
    installation_id: Uuid,
) -> Result<AdoptReport> {
    let chosen: Vec<&ResolvedEntity> = (scope.iter().copied())
        .filter(|it| request.selection.includes(&it.name) && !ties(it).is_empty())
        .collect();
    ledgers::prepare_whole(control, &chosen).await?;
    let pass = Pass {
        context,
        request,
        scope,
        ledgers: schema::ledgers(control).await?.into_iter().collect(),
        desk: Some(Desk::new(context, lease, installation_id)),
    };
    let mut report = pass.ride_out(Some(lease)).await?;
    if let Some(desk) = pass.desk.filter(Desk::is_used) {
        let state = match report.faults() {
            0 => SessionState::Completed,
            _ => SessionState::CompletedWithRejects,
        };
        sessions::close_session(control, desk.session_id, lease.epoch, state).await?;
        report.session_id = Some(desk.session_id);
    }
    Ok(report)
}

fn needs(scope: &[&ResolvedEntity]) -> Vec<Need> {
    let tables = scope.iter().flat_map(|entity| {
        let mappings = entity.adoption.table.as_ref().map(|it| &it.table);
        std::iter::once(&entity.target).chain(mappings)
    });
    let needs: BTreeSet<Need> = tables
        .map(|table| Need {
            table: table.clone(),
            right: "select",
        })
        .collect();
    needs.into_iter().collect()
}

/// The chosen entities, their parents, and those that feed the same tables, parents first.
fn scope<'c>(context: &'c Context, chosen: &[&ResolvedEntity]) -> Vec<&'c ResolvedEntity> {
    let mut names: BTreeSet<&str> = chosen.iter().map(|it| it.name.as_str()).collect();
    loop {
        let before = names.len();
        for entity in context.entities.iter() {
            if names.contains(entity.name.as_str()) {
                names.extend(entity.parents());
            }
            let all = context.entities.iter();
            let mut sharing = all.filter(|it| it.target == entity.target);
            if sharing.any(|it| names.contains(it.name.as_str())) {
                names.insert(&entity.name);
            }
        }
        if names.len() == before {
            break;
        }
    }
    let planned = context.plan.waves.iter().flatten();
    planned
        .filter(|it| names.contains(it.entity.as_str()))
        .filter_map(|it| {
            context
                .entities
                .iter()
                .find(|entity| entity.name == it.entity)
        })
        .collect()
}

/// One adoption.
struct Pass<'a> {
    context: &'a Context,
    request: &'a AdoptRequest,
    /// Every entity that is looked at, parents first.
    scope: Vec<&'a ResolvedEntity>,
    /// The entities that have a ledger.
    ledgers: BTreeSet<String>,
    /// Where findings are recorded; `None` in a dry run.
    desk: Option<Desk<'a>>,
}

impl Pass<'_> {
    async fn ride_out(&self, lease: Option<&HeldLease>) -> Result<AdoptReport> {
        let patience = Patience::default();
        let rider = Rider {
            context: self.context,
            lease,
            patience: &patience,
        };
        rider.ride_out(|| self.attempt(&patience)).await
    }

    /// Works once; after an outage the ledgers say what is left.
    async fn attempt(&self, patience: &Patience) -> Result<AdoptReport> {
        let snapshot = Snapshot::take(&self.context.source, &watched(&self.scope)).await?;
        let _watch = Watch::start(self.context, snapshot.holders(), patience);
        let mut source = snapshot.reader().await?;
        let mut view = self.context.target.open().await?;
        sessions::begin_view(&mut view).await?;
        links::gather(self, &mut source, &mut view).await?;
        let mut entities = Vec::new();
        for entity in &self.scope {
            if self.request.selection.includes(&entity.name) {
                let hands = (&mut source, &mut view);
                entities.push(Box::pin(entity::adopt(self, entity, hands, patience)).await?);
            }
        }
        sessions::end_view(&mut view).await?;
        snapshot.release().await?;
        let names = self.context.entities.iter();
        let names: Vec<&str> = names.map(|it| it.name.as_str()).collect();
        entities.sort_by_key(|it| names.iter().position(|name| *name == it.entity));
        Ok(AdoptReport {
            dry_run: self.request.dry_run,
            session_id: None,
            entities,
        })
    }

    /// The entities whose claims are gathered.
    fn gathered(&self) -> BTreeSet<&str> {
        let tied = self.scope.iter().filter(|it| !ties(it).is_empty());
        tied.map(|it| it.name.as_str()).collect()
    }
}
