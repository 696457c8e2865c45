//! One session from lease to report.

use super::accounting::{EntityReport, MigrateReport, check};
use super::budget::QuarantineBudget;
use super::entity::Session;
use super::hands::HandsPool;
use super::options::SessionOptions;
use super::waves::{self, Tallies, changes_of};
use super::{MigrateRequest, final_state, plan_of};
use super::{ending, ledgers, preflight, sequences, staleness, watermarks};
use crate::context::{Context, Drift};
use crate::db::control::batch::BatchCounts;
use crate::db::control::detection::LedgerCounts;
use crate::db::control::{detection, ledger as ledger_rows, schema, session as sessions, state};
use crate::db::failure::is_full;
use crate::db::server::Connection;
use crate::db::source::Snapshot;
use crate::db::statement::apply::Writer;
use crate::domain::detection::{DeleteRefusal, DetectionCounts, check_deletes};
use crate::domain::event::Event;
use crate::domain::plan::Plan;
use crate::domain::resolve::ResolvedEntity;
use crate::domain::watermark::ReadMode;
use crate::error::{Error, Kind, Result};
use crate::failpoint::pass;
use crate::service::detect::{DetectRequest, detect_in, watched};
use crate::service::give_way::{Patience, Watch};
use crate::service::journal::Journal;
use crate::service::lease::HeldLease;
use crate::service::outage::Rider;
use crate::service::schema::{refuse_drift, say_drift};
use crate::service::{host_name, process_id};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::Mutex;
use uuid::Uuid;

/// Takes the lease, runs the session and records how it ended, whatever happens in between.
pub(crate) async fn run(context: &Context, request: &MigrateRequest) -> Result<MigrateReport> {
    let began = Instant::now();
    if let Some(limit) = request.max_duration {
        context.interrupt.end_at(began + limit);
    }
    let prepared = prepare(context, request).await;
    let prepared = prepared.map_err(|error| error.state("nothing was started"))?;
    let Prepared {
        installation_id,
        lease,
        drift,
    } = prepared;
    let (started, control, journal) = match begin(context, request, &lease).await {
        Ok(begun) => begun,
        Err(error) => {
            // What could not begin must not keep others waiting.
            let _ = lease.release(None).await;
            return Err(error.state("nothing was started"));
        }
    };
    context.emit(Event::Begun {
        session_id: started.session_id,
        resumed: started.resumed,
    });
    let logging = Context {
        events: journal.events.clone(),
        target: lease.server.clone(),
        ..context.clone()
    };
    let run = Run {
        context: &logging,
        request,
        lease: &lease,
        drift: &drift,
        installation_id,
        writer: Writer {
            session_id: started.session_id,
            session_number: started.number,
        },
        started,
        begun: AtomicBool::new(false),
        empty: OnceLock::new(),
        control: Mutex::new(Some(control)),
        patience: Patience::default(),
        width: AtomicUsize::new(request.max_concurrent),
    };
    let rider = Rider {
        context: &logging,
        lease: Some(&lease),
        patience: &run.patience,
    };
    let worked = rider.ride_out(|| run.attempt()).await;
    pass!("session.before_complete");
    let mut last = None;
    let (worked, ended) =
        ending::record(&logging, &lease, started.session_id, worked, &mut last).await;
    pass!("session.after_complete");
    let released = lease.release(last).await;
    let report = worked.map(|mut report| {
        report.elapsed_secs = began.elapsed().as_secs_f64();
        report
    });
    // The journal ends when the last sender is gone.
    drop(logging);
    journal.finish().await;
    let report = report?;
    ended?;
    released?;
    Ok(report)
}

/// What a session needs before it begins.
struct Prepared {
    installation_id: Uuid,
    lease: HeldLease,
    drift: Drift,
}

/// Makes sure that the target can be written, and takes the lease.
async fn prepare(context: &Context, request: &MigrateRequest) -> Result<Prepared> {
    let mut control = context.target.open().await?;
    let entities = context.select(&request.selection)?;
    preflight::check_target(context, &mut control, &entities).await?;
    let installation_id = schema::ensure(&mut control).await?;
    preflight::refuse_unadopted(context, &mut control, &entities).await?;
    let drift = refuse_drift(context, &mut control).await?;
    if let Some(detection_id) = request.detection_id {
        // A refusal that can be known beforehand leaves no failed session behind.
        staleness::check(context, &mut control, detection_id, false).await?;
    }
    if !request.wait_lock.is_zero() {
        context.source.close_spares().await;
        context.target.close_spares().await;
    }
    let lease = HeldLease::take(
        &context.target,
        &mut control,
        request.wait_lock,
        &context.interrupt,
    )
    .await?;
    if request.wait_lock.is_zero() {
        context.target.leave(control);
        return Ok(Prepared {
            installation_id,
            lease,
            drift,
        });
    }
    // Whoever held the lease may have seen and kept what has changed.
    match refuse_drift(context, &mut control).await {
        Ok(drift) => Ok(Prepared {
            installation_id,
            lease,
            drift,
        }),
        Err(error) => {
            let _ = lease.release(None).await;
            Err(error)
        }
    }
}

/// Begins the session, or takes the unfinished one up, and its log; only the lease holder can say which.
async fn begin(
    context: &Context,
    request: &MigrateRequest,
    lease: &HeldLease,
) -> Result<(state::Started, Connection, Journal)> {
    let mut control = lease.server.open().await?;
    // Before anything is written: what cannot be logged leaves nothing behind, not even the key of its request.
    let log = lease.server.open().await?;
    let host = host_name();
    let new = state::NewSession {
        command: "migrate",
        mapping_digest: &context.mapping.digest,
        host: &host,
        process_id: process_id(),
        request_key: request.request_key.as_ref(),
        takes_up: request.takes_up,
        options: json!(SessionOptions::of(request)),
    };
    let started = state::begin(&mut control, lease.epoch, &new).await?;
    let id = started.session_id;
    let journal = Journal::start(&lease.server, log, id, context.events.clone());
    Ok((started, control, journal))
}

struct Run<'a> {
    context: &'a Context,
    request: &'a MigrateRequest,
    lease: &'a HeldLease,
    /// How the databases have changed since the last session.
    drift: &'a Drift,
    installation_id: Uuid,
    writer: Writer,
    started: state::Started,
    /// Whether the work was begun before; after an outage a stored detection no longer says what is left.
    begun: AtomicBool,
    /// Entities whose ledgers were empty when the session began.
    empty: OnceLock<BTreeSet<String>>,
    /// The connection that the session was begun on; the first attempt takes it.
    control: Mutex<Option<Connection>>,
    patience: Patience,
    /// How many lanes there may be at the same time; fewer when the servers have no room for more.
    width: AtomicUsize,
}

impl Run<'_> {
    /// Says how the session begins, and what an earlier process of it has committed.
    fn announce(&self, plan: &Plan, entity_count: usize) {
        let id = self.writer.session_id;
        if !self.begun.load(Ordering::SeqCst) {
            ending::say_what_changed_hands(self.context, self.lease, self.started.mapping_changed);
            say_drift(self.context, self.drift);
        }
        let message = if self.started.resumed {
            let (batches, rows) = (self.started.batches, self.started.rows);
            format!("resuming session {id}: {batches} batches ({rows} rows) are committed")
        } else {
            format!(
                "session {id} started: {entity_count} entities in {} waves",
                plan.waves.len()
            )
        };
        self.context
            .emit(Event::info("session", message, json!(plan)));
    }

    /// Works once; when a server has no connection left, the next attempt makes do with fewer.
    async fn attempt(&self) -> Result<MigrateReport> {
        let worked = Box::pin(self.work()).await;
        let width = self.width.load(Ordering::SeqCst);
        if width > 1 && worked.as_ref().is_err_and(is_full) {
            self.width.store(1, Ordering::SeqCst);
            let message = "the server has no connection left: going on with one entity at a time";
            ending::warn(self.context, "reconnect", message.to_owned());
        }
        worked
    }

    /// Detects and applies once; after an outage it is simply done again, since the ledger says what is left.
    async fn work(&self) -> Result<MigrateReport> {
        let first = self.control.lock().await.take();
        let mut own = match first {
            Some(control) => control,
            None => self.context.target.open().await?,
        };
        let control = &mut own;
        let entities = self.context.select(&self.request.selection)?;
        let plan = plan_of(self.context, &self.request.selection)?;
        ledger_rows::forget_counts(control, self.writer.session_number).await?;
        let keyless = ledgers::prepare(self.context, control, &plan).await?;
        // Only the first look counts: after an outage some rows are there.
        let _ = self.empty.set(keyless.clone());
        let session_id = self.writer.session_id;
        self.announce(&plan, entities.len());
        let snapshot = Snapshot::take(&self.context.source, &watched(&entities)).await?;
        let _watch = Watch::start(self.context, snapshot.holders(), &self.patience);
        let (detection_id, counts) = self.changes(control, &snapshot).await?;
        // In this order: the detection of a session that is refused must not become the one that others are measured by.
        self.guard_deletes(control, &entities, &counts).await?;
        sessions::set_detection(control, session_id, self.lease.epoch, detection_id).await?;
        let pool = HandsPool::new(&self.context.target, self.width.load(Ordering::SeqCst));
        let session = Session {
            context: self.context,
            snapshot: &snapshot,
            lease: self.lease,
            pool: &pool,
            detection_id,
            installation_id: self.installation_id,
            writer: self.writer,
            batch_size: self.request.batch_size.clamp(1, 100_000),
            patience: &self.patience,
            budget: self.budget(&entities, &counts),
            keyless: keyless
                .into_iter()
                .map(|it| (it, Mutex::new(true)))
                .collect(),
            drift: self.drift,
        };
        session.check_budget(control).await?;
        self.save_steps(control, &plan, &counts).await?;
        let done = Box::pin(waves::apply(&session, control, &plan, &counts)).await?;
        sequences::advance_all(self.context, control, self.lease.epoch, &entities).await?;
        let entities = self.report(control, counts, &done).await?;
        watermarks::promote(
            control,
            (self.context, self.drift),
            self.lease.epoch,
            self.writer.session_number,
            detection_id,
            &entities,
        )
        .await?;
        snapshot.release().await?;
        // Before the last word of the session, so that this stays the last.
        let is_fit = ending::forget_old(self.context, control, self.request.keep_days).await;
        if is_fit {
            self.context.target.leave(own);
        }
        let outcomes: Vec<_> = entities.iter().map(|it| it.ledger).collect();
        Ok(MigrateReport {
            session_id,
            detection_id,
            state: final_state(&outcomes).word().to_owned(),
            entities,
            elapsed_secs: 0.0,
        })
    }

    /// Takes the stored detection that was asked for, or makes one in the session's snapshot.
    async fn changes(
        &self,
        control: &mut Connection,
        snapshot: &Snapshot,
    ) -> Result<(Uuid, Vec<DetectionCounts>)> {
        let again = self.begun.swap(true, Ordering::SeqCst);
        if let Some(detection_id) = self.request.detection_id.filter(|_| !again) {
            // Whoever held the lease may have cleaned the list up.
            let was_whole = self.request.wait_lock.is_zero();
            staleness::check(self.context, control, detection_id, was_whole).await?;
            staleness::check_ground(self.context, control, snapshot, detection_id).await?;
            let mut counts = detection::counts(control, detection_id).await?;
            counts.retain(|it| self.request.selection.includes(&it.entity));
            return Ok((detection_id, counts));
        }
        let request = DetectRequest {
            selection: self.request.selection.clone(),
            mode: self.request.mode,
            max_concurrent: self.width.load(Ordering::SeqCst),
            store: true,
            ..DetectRequest::default()
        };
        let detection = detect_in(self.context, &request, snapshot).await?;
        Ok((detection.detection_id, detection.entities))
    }

    async fn guard_deletes(
        &self,
        control: &mut Connection,
        entities: &[&ResolvedEntity],
        counts: &[DetectionCounts],
    ) -> Result<()> {
        if counts.iter().all(|it| it.deleted == 0) {
            return Ok(());
        }
        let before = detection::source_of_last_batches(control).await?;
        let replaced = before.is_some_and(|it| it != json!(self.context.catalogs.0.identity));
        for entity in entities {
            let Some(counts) = counts.iter().find(|it| it.entity == entity.name) else {
                continue;
            };
            if counts.deleted == 0 {
                continue;
            }
            let allowed = self.request.allow_deletes.get(&entity.name).copied();
            if allowed.is_some_and(|limit| counts.deleted <= limit) {
                continue;
            }
            let known = self.ledger_counts(control, entity, counts).await?;
            let live =
                known.applied + known.quarantined + known.held + known.conflicted + known.kept;
            let live = u64::try_from(live).unwrap_or(0);
            if replaced && allowed.is_none() {
                let refusal = DeleteRefusal::AnotherSource;
                return Err(refuse_deletes(&entity.name, counts.deleted, live, &refusal));
            }
            if let Some(refusal) = check_deletes(counts, live, allowed) {
                return Err(refuse_deletes(&entity.name, counts.deleted, live, &refusal));
            }
        }
        Ok(())
    }

    /// Tells whether an entity's ledger was empty when the session began.
    fn was_empty(&self, entity: &str) -> bool {
        !self.started.resumed && self.empty.get().is_some_and(|it| it.contains(entity))
    }

    /// Counts an entity's ledger. Where the source was not read whole, neither is the ledger: how many rows
    /// it has is known from the batches.
    async fn ledger_counts(
        &self,
        control: &mut Connection,
        entity: &ResolvedEntity,
        detected: &DetectionCounts,
    ) -> Result<LedgerCounts> {
        let row_count = match detected.reading.mode {
            ReadMode::Full if self.was_empty(&entity.name) => {
                ledger_rows::added(control, self.writer.session_id, &entity.name).await?
            }
            ReadMode::Full => None,
            ReadMode::Xmin | ReadMode::Timestamp => {
                let known = ledger_rows::row_count(control, &entity.name).await?;
                known.map(|it| it.all)
            }
        };
        detection::ledger_counts(control, entity, row_count).await
    }

    fn budget(
        &self,
        entities: &[&ResolvedEntity],
        counts: &[DetectionCounts],
    ) -> Option<QuarantineBudget> {
        let limit = self.request.max_quarantine?;
        let source_rows = counts.iter().map(|it| it.source_rows).sum();
        Some(QuarantineBudget {
            entities: entities.iter().map(|it| it.name.clone()).collect(),
            rows: limit.of(source_rows),
        })
    }

    async fn save_steps(
        &self,
        control: &mut Connection,
        plan: &Plan,
        counts: &[DetectionCounts],
    ) -> Result<()> {
        for (wave, planned) in (1..).zip(&plan.waves) {
            for it in planned {
                let total = changes_of(counts, &it.entity);
                let total = i64::try_from(total).unwrap_or(i64::MAX);
                let step = sessions::StepNow {
                    session_id: self.writer.session_id,
                    epoch: self.lease.epoch,
                    entity: &it.entity,
                    wave,
                    state: "pending",
                    rows_total: total,
                };
                sessions::save_step(control, &step).await?;
            }
        }
        Ok(())
    }

    async fn report(
        &self,
        control: &mut Connection,
        counts: Vec<DetectionCounts>,
        done: &Tallies,
    ) -> Result<Vec<EntityReport>> {
        let steps = sessions::steps(control, self.writer.session_id).await?;
        let mut reports = Vec::new();
        for detected in counts {
            let Some(tally) = done.get(&detected.entity) else {
                continue;
            };
            let mut entities = self.context.entities.iter();
            let Some(entity) = entities.find(|it| it.name == detected.entity) else {
                continue;
            };
            let step = steps.iter().find(|step| step.entity == detected.entity);
            let report = EntityReport {
                ledger: self.ledger_counts(control, entity, &detected).await?,
                entity: detected.entity.clone(),
                batches: step.map(batch_counts).unwrap_or_default(),
                vanished: tally.vanished,
                appeared: tally.appeared,
                detected,
            };
            check(&report)?;
            reports.push(report);
        }
        Ok(reports)
    }
}

/// What all batches of the session did, those of an earlier process included.
fn batch_counts(step: &sessions::StepRow) -> BatchCounts {
    BatchCounts {
        rows_in: step.rows_done,
        inserted: step.inserted,
        updated: step.updated,
        identical: step.identical,
        retired: step.retired,
        conflicted: step.conflicted,
        held: step.held,
        quarantined: step.quarantined,
    }
}

fn refuse_deletes(entity: &str, deleted: u64, live: u64, refusal: &DeleteRefusal) -> Error {
    let cause = match refusal {
        DeleteRefusal::EmptySource { live_rows } => {
            format!("the source gave no row at all, but {live_rows} rows were migrated before")
        }
        DeleteRefusal::AnotherSource => {
            "the source is another database than the one that was migrated before".to_owned()
        }
        DeleteRefusal::OverLimit { limit, .. } => {
            format!("{deleted} of {live} rows are gone from the source, the limit is {limit}")
        }
    };
    Error::new(
        Kind::Guard,
        format!("deleting {deleted} rows of {entity} was refused"),
    )
    .cause(cause)
    .state("nothing was applied")
    .next(format!(
        "if that is right: diffmig migrate --allow-deletes {entity}={deleted}"
    ))
}
