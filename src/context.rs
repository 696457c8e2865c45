//! The handles of one process, built once at the door.

use crate::config::Settings;
use crate::config::environment::mapping_error;
use crate::db::catalog;
use crate::db::grants::{self, Need};
use crate::db::server::Connection;
use crate::db::source::{probe, probe_time_zone};
use crate::db::statement::Statement;
use crate::db::statement::source::SourceStatements;
use crate::domain::catalog::Catalog;
use crate::domain::connection::Side;
use crate::domain::event::Event;
use crate::domain::identifier::{QualifiedName, printable};
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::mapping::{Mapping, SourceRelation};
use crate::domain::plan::{Cycle, Plan, plan};
use crate::domain::resolve::{Catalogs, ResolvedEntity, resolve};
use crate::error::{Error, Kind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

pub use crate::db::server::Server;

/// How the person at the keyboard, or the service manager, asks for an end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    code: Arc<AtomicU8>,
    now: CancellationToken,
    ends_at: Arc<OnceLock<Instant>>,
}

impl Interrupt {
    /// Notes a signal: the first lets the batch finish, the second stops at once. Returns how many there were.
    pub fn raise(&self, exit_code: u8) -> u8 {
        let before = self.code.swap(exit_code, Ordering::SeqCst);
        if before != 0 {
            self.now.cancel();
            return 2;
        }
        1
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
        let mapping = settings.mapping;
        let source = Server::new(settings.source, &mapping.source_schema);
        let target = Server::new(settings.target, &mapping.target_schema);
        let (mut reader, mut writer) = tokio::try_join!(source.open(), target.open())?;
        tokio::try_join!(
            source.refuse_pooler(&mut reader),
            target.refuse_pooler(&mut writer)
        )?;
        refuse_same_database(&mut reader, &mut writer).await?;
        let (source_schemas, target_schemas) = (source_schemas(&mapping), target_schemas(&mapping));
        let (source_catalog, target_catalog) = tokio::try_join!(
            catalog::read(Side::Source, &mut reader, &source_schemas),
            catalog::read(Side::Target, &mut writer, &target_schemas)
        )?;
        let query_columns = describe_queries(&mut reader, &mapping).await?;
        let catalogs = Catalogs {
            source: &source_catalog,
            target: &target_catalog,
            query_columns: &query_columns,
        };
        let entities = resolve(&mapping, catalogs).map_err(|issues| {
            let error = mapping_error(&settings.config, &issues);
            Error::new(Kind::Drift, "the mapping does not fit the databases")
                .cause(error.cause_text().unwrap_or_default())
                .state("nothing was started")
                .next("correct the mapping and run the same command again")
        })?;
        let on_source = async {
            require_grants(&mut reader, &entities).await?;
            refuse_row_security(&source, &mut reader, &entities).await?;
            check_on_source(&mut reader, &entities).await
        };
        let on_target = refuse_row_security(&target, &mut writer, &entities);
        // What is wrong with the source is said first, whichever server is quicker.
        let (on_source, on_target) = tokio::join!(on_source, on_target);
        on_source.and(on_target)?;
        let plan = plan(&entities).map_err(|cycle| refuse_circle(&cycle))?;
        Ok(Context {
            source,
            target,
            mapping: Arc::new(mapping),
            catalogs: Arc::new((source_catalog, target_catalog)),
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
        for name in selection.only.iter().chain(&selection.except) {
            if !self.entities.iter().any(|entity| entity.name == *name) {
                let names = self.entities.iter().map(|entity| entity.name.as_str());
                let all: Vec<&str> = names.clone().collect();
                let advice = did_you_mean(name, names)
                    .unwrap_or_else(|| format!("entities: {}", all.join(", ")));
                return Err(
                    Error::new(Kind::Usage, format!("no entity `{name}` in the mapping"))
                        .state("nothing was started")
                        .next(advice),
                );
            }
        }
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
fn refuse_circle(cycle: &Cycle) -> Error {
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
    let advise = |error: Error| {
        let error = error.state("nothing was started");
        match error.kind() {
            Kind::Drift | Kind::Unexpected => error.next("correct the rules of this entity"),
            _ => error,
        }
    };
    for entity in entities {
        let statements = SourceStatements::new(entity);
        probe(reader, &entity.name, &statements.probe())
            .await
            .map_err(advise)?;
        let zones = entity
            .columns
            .iter()
            .filter_map(|column| column.conversion.time_zone());
        let zones: BTreeSet<&str> = zones.collect();
        for zone in zones {
            probe_time_zone(reader, &entity.name, zone)
                .await
                .map_err(advise)?;
        }
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

async fn refuse_same_database(reader: &mut Connection, writer: &mut Connection) -> Result<()> {
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

async fn describe_queries(
    connection: &mut Connection,
    mapping: &Mapping,
) -> Result<BTreeMap<String, Vec<crate::domain::catalog::Column>>> {
    let mut columns = BTreeMap::new();
    for entity in &mapping.entities {
        if let SourceRelation::Query { query, .. } = &entity.source {
            let statement = Statement::of_query(query);
            let described = catalog::describe_query(connection, &entity.name, &statement)
                .await
                .map_err(|error| match error.kind() {
                    Kind::Drift => error
                        .next("is it the right database? Else correct the query of this entity"),
                    _ => error,
                })?;
            columns.insert(entity.name.clone(), described);
        }
    }
    Ok(columns)
}

fn source_schemas(mapping: &Mapping) -> Vec<String> {
    let mut schemas = BTreeSet::from([mapping.source_schema.clone()]);
    for entity in &mapping.entities {
        let names = mapping.source_tables(entity);
        let parsed = names
            .into_iter()
            .map(|name| QualifiedName::parse(name, &mapping.source_schema));
        schemas.extend(parsed.map(|name| name.schema));
    }
    schemas.into_iter().collect()
}

fn target_schemas(mapping: &Mapping) -> Vec<String> {
    let mut schemas = BTreeSet::from([mapping.target_schema.clone()]);
    let targets = mapping.entities.iter().map(|it| &it.target);
    let mappings = mapping.entities.iter();
    let mappings = mappings.filter_map(|it| it.adopt.table.as_ref().map(|it| &it.table));
    let named = targets.chain(mappings);
    schemas.extend(named.map(|it| QualifiedName::parse(it, &mapping.target_schema).schema));
    schemas.into_iter().collect()
}
