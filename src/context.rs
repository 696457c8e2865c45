//! The handles of one process, built once at the door.

pub mod pair;

use crate::config::Settings;
use crate::db::catalog;
use crate::db::grants::{self, Need};
use crate::db::server::Connection;
use crate::db::source::{probe, probe_pattern, probe_time_zone};
use crate::db::statement::source::SourceStatements;
use crate::domain::catalog::Catalog;
use crate::domain::connection::Side;
use crate::domain::event::Event;
use crate::domain::identifier::{QualifiedName, printable};
use crate::domain::mapping::Mapping;
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::plan::{Cycle, Plan, plan};
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Kind, Result};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

mod drift;
mod survey;

pub use crate::config::environment::{MappingPart, Parts};
pub use crate::db::server::Server;
pub use drift::Drift;
pub use survey::Survey;
pub(crate) use survey::{describe_source, source_schemas, target_schemas};

/// How the person at the keyboard, or the service manager, asks for an end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    code: Arc<AtomicU8>,
    asked: CancellationToken,
    now: CancellationToken,
    ends_at: Arc<OnceLock<Instant>>,
}

impl Interrupt {
    /// Notes a signal: the first lets the batch finish, the second stops at once. Returns how many there were.
    pub fn raise(&self, exit_code: u8) -> u8 {
        let before = self.code.swap(exit_code, Ordering::SeqCst);
        self.asked.cancel();
        if before != 0 {
            self.now.cancel();
            return 2;
        }
        1
    }

    /// Returns the same signals for one of several pieces of work, which may have a time limit of its own.
    pub fn of_one_work(&self) -> Interrupt {
        Interrupt {
            ends_at: Arc::default(),
            ..self.clone()
        }
    }

    /// Lets the first batch boundary after a moment be the last.
    pub fn end_at(&self, moment: Instant) {
        // The first word counts: nobody has a reason to say it twice.
        let _ = self.ends_at.set(moment);
    }

    /// Tells whether a batch boundary should be the last.
    pub fn is_raised(&self) -> bool {
        self.code.load(Ordering::SeqCst) != 0 || self.is_out_of_time()
    }

    /// Returns the exit code of the signal that came, if one did.
    pub fn signal(&self) -> Option<u8> {
        Some(self.code.load(Ordering::SeqCst)).filter(|code| *code != 0)
    }

    /// Tells whether the given time is over.
    pub fn is_out_of_time(&self) -> bool {
        self.ends_at.get().is_some_and(|end| Instant::now() >= *end)
    }

    /// Waits for the first signal.
    pub async fn first(&self) {
        self.asked.cancelled().await;
    }

    /// Waits for the second signal and returns its exit code.
    pub async fn second(&self) -> u8 {
        self.now.cancelled().await;
        self.code.load(Ordering::SeqCst)
    }
}

/// Both servers, the mapping and its binding, and the channel for facts.
#[derive(Clone)]
pub struct Context {
    /// The legacy database.
    pub source: Server,
    /// The Supabase database.
    pub target: Server,
    /// The mapping as parsed.
    pub mapping: Arc<Mapping>,
    /// Both catalogs.
    pub catalogs: Arc<(Catalog, Catalog)>,
    /// Every entity of the mapping, bound.
    pub entities: Arc<Vec<ResolvedEntity>>,
    /// The order of all entities.
    pub plan: Arc<Plan>,
    /// Where facts go.
    pub events: UnboundedSender<Event>,
    /// How an end is asked for.
    pub interrupt: Interrupt,
}

impl Context {
    /// Connects to both databases and binds the mapping to them. Nothing is changed anywhere.
    ///
    /// # Errors
    /// No connection, the same database twice (exit 14), or a mapping that does not fit (exit 13).
    pub async fn open(
        settings: Settings,
        events: UnboundedSender<Event>,
        interrupt: Interrupt,
    ) -> Result<Context> {
        let opened = Context::bind(settings, events, interrupt).await;
        opened.map_err(|error| error.state("nothing was started"))
    }

    async fn bind(
        settings: Settings,
        events: UnboundedSender<Event>,
        interrupt: Interrupt,
    ) -> Result<Context> {
        let mut survey = Survey::take(settings).await?;
        if let Some(error) = survey.refusal().await {
            return Err(error);
        }
        let Survey {
            source,
            target,
            mapping,
            catalogs,
            entities,
            mut reader,
            mut writer,
            ..
        } = survey;
        let on_source = async {
            require_grants(&mut reader, &entities).await?;
            refuse_row_security(&source, &mut reader, &entities).await?;
            check_on_source(&mut reader, &entities).await
        };
        let on_target = refuse_row_security(&target, &mut writer, &entities);
        // What is wrong with the source is said first, whichever server is quicker.
        let (on_source, on_target) = tokio::join!(on_source, on_target);
        if let Err(error) = on_source.and(on_target) {
            return Err(Drift::explain(error, &mut writer, &mapping, &catalogs).await);
        }
        let plan = plan(&entities).map_err(|cycle| refuse_circle(&cycle))?;
        source.leave(reader);
        target.leave(writer);
        Ok(Context {
            source,
            target,
            mapping: Arc::new(mapping),
            catalogs: Arc::new(catalogs),
            entities: Arc::new(entities),
            plan: Arc::new(plan),
            events,
            interrupt,
        })
    }

    /// Emits a fact; nobody listening is no fault.
    pub fn emit(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Returns the chosen entities in mapping order.
    ///
    /// # Errors
    /// A name that is not in the mapping (exit 2).
    pub fn select(&self, selection: &Selection) -> Result<Vec<&ResolvedEntity>> {
        selection.refuse_unknown(self.entities.iter().map(|it| it.name.as_str()))?;
        let chosen = self
            .entities
            .iter()
            .filter(|entity| selection.includes(&entity.name));
        let chosen: Vec<&ResolvedEntity> = chosen.collect();
        if chosen.is_empty() {
            return Err(Error::new(Kind::Usage, "no entity is left to work on")
                .state("nothing was started")
                .next("look at --entities and --exclude"));
        }
        Ok(chosen)
    }
}

/// Names what checks the references of a circle too early, and both ways out.
pub(crate) fn refuse_circle(cycle: &Cycle) -> Error {
    if !cycle.composite.is_empty() {
        return Error::new(Kind::Drift, cycle.to_string())
            .cause(format!(
                "keys of several columns cannot be part of it: {}",
                cycle.composite.join(", ")
            ))
            .state("nothing was started")
            .next("let one of the references be `missing = \"null\"` on a nullable column");
    }
    let checks = cycle.constraints.iter();
    let checks = checks.map(|(table, constraint)| format!("{constraint} of {table}"));
    let ways = cycle.constraints.iter().map(|(table, constraint)| {
        format!("alter table {table} alter constraint {constraint} deferrable")
    });
    let checks = printable(&checks.collect::<Vec<_>>().join(", "));
    let ways = printable(&ways.collect::<Vec<_>>().join("; "));
    Error::new(Kind::Drift, cycle.to_string())
        .cause(format!(
            "these foreign keys check the references as soon as a row is written: {checks}"
        ))
        .state("nothing was started")
        .next(format!(
            "let one of the references be `missing = \"null\"` on a nullable column, or let foreign keys be checked \
             at the end of a transaction, as many as close the circle: {ways}"
        ))
}

/// Which entities a command works on.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only these; empty means all.
    pub only: Vec<String>,
    /// Not these.
    pub except: Vec<String>,
}

impl Selection {
    /// Refuses a name that no entity has.
    ///
    /// # Errors
    /// There is one (exit 2).
    pub fn refuse_unknown<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
        let mut wanted = self.only.iter().chain(&self.except);
        let Some(name) = wanted.find(|name| !names.clone().any(|it| it == *name)) else {
            return Ok(());
        };
        let all: Vec<&str> = names.clone().collect();
        let advice = did_you_mean(name, names);
        let advice = advice.unwrap_or_else(|| format!("entities: {}", all.join(", ")));
        Err(
            Error::new(Kind::Usage, format!("no entity `{name}` in the mapping"))
                .state("nothing was started")
                .next(advice),
        )
    }

    /// Tells whether an entity is chosen.
    pub fn includes(&self, name: &str) -> bool {
        (self.only.is_empty() || self.only.iter().any(|it| it == name))
            && !self.except.iter().any(|it| it == name)
    }
}

/// Names every table that may not be read, not only the first one that a statement would meet.
async fn require_grants(reader: &mut Connection, entities: &[ResolvedEntity]) -> Result<()> {
    let tables = entities
        .iter()
        .flat_map(|entity| entity.source.watched.iter().cloned());
    let needs: BTreeSet<Need> = tables
        .map(|table| Need {
            table,
            right: "select",
        })
        .collect();
    let needs: Vec<Need> = needs.into_iter().collect();
    grants::require(Side::Source, reader, &needs).await
}

/// Lets the source check what only it can: every projection, and the names of time zones.
async fn check_on_source(reader: &mut Connection, entities: &[ResolvedEntity]) -> Result<()> {
    for entity in entities {
        check_entity(reader, entity).await?;
    }
    Ok(())
}

/// Lets the source check the projection of one entity and the time zones it names.
///
/// # Errors
/// The source refuses it.
pub(crate) async fn check_entity(reader: &mut Connection, entity: &ResolvedEntity) -> Result<()> {
    let advise = |error: Error| {
        let error = error.state("nothing was started");
        match error.kind() {
            Kind::Drift | Kind::Unexpected => error.next("correct the rules of this entity"),
            _ => error,
        }
    };
    let statements = SourceStatements::new(entity);
    probe(reader, &entity.name, &statements.probe())
        .await
        .map_err(advise)?;
    let zones = entity
        .columns
        .iter()
        .filter_map(|column| column.conversion.time_zone());
    let zones: BTreeSet<&str> = zones.collect();
    for pattern in entity.patterns() {
        probe_pattern(reader, &entity.name, pattern)
            .await
            .map_err(advise)?;
    }
    for zone in zones {
        probe_time_zone(reader, &entity.name, zone)
            .await
            .map_err(advise)?;
    }
    Ok(())
}

/// Rows that row security hides would look like rows that are gone, so no such table is read or written.
async fn refuse_row_security(
    server: &Server,
    connection: &mut Connection,
    entities: &[ResolvedEntity],
) -> Result<()> {
    let side = server.spec().side;
    let tables: BTreeSet<&QualifiedName> = match side {
        Side::Source => entities.iter().flat_map(|it| &it.source.watched).collect(),
        Side::Target => entities.iter().map(|it| &it.target).collect(),
    };
    let tables: Vec<QualifiedName> = tables.into_iter().cloned().collect();
    let filtered = catalog::filtered_tables(side, connection, &tables).await?;
    if filtered.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = filtered.iter().map(ToString::to_string).collect();
    let what = format!(
        "{}: row-level security would filter rows of {}",
        side.word(),
        names.join(", ")
    );
    Err(Error::new(Kind::Permission, what)
        .cause("the role neither owns the tables nor bypasses row security")
        .state("nothing was started")
        .next("give the role bypassrls (alter role ... bypassrls), or use one that has it"))
}

/// Refuses to copy a database onto itself.
///
/// # Errors
/// It is the same one (exit 14), or a query fails.
pub(crate) async fn refuse_same_database(
    reader: &mut Connection,
    writer: &mut Connection,
) -> Result<()> {
    let (source, target) = tokio::try_join!(
        catalog::identity(Side::Source, reader),
        catalog::identity(Side::Target, writer)
    )?;
    let same = if source.system_identifier.is_empty() || target.system_identifier.is_empty() {
        catalog::is_shared(reader, writer).await?
    } else {
        source == target
    };
    if !same {
        return Ok(());
    }
    let cause = format!(
        "both are database {} of the same server",
        printable(&source.database)
    );
    Err(
        Error::new(Kind::Guard, "source and target are the same database")
            .cause(cause)
            .state("nothing was started")
            .next("check DIFFMIG_SOURCE_URL and DIFFMIG_TARGET_URL"),
    )
}
