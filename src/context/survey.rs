//! Both databases as they are, and the mapping as far as it fits them.

use super::drift::Drift;
use super::{check_on_source, refuse_same_database};
use crate::config::Settings;
use crate::config::environment::mapping_error;
use crate::db::catalog;
use crate::db::server::{Connection, Server};
use crate::db::statement::Statement;
use crate::domain::catalog::{Catalog, Column};
use crate::domain::connection::Side;
use crate::domain::drift::Severity;
use crate::domain::identifier::QualifiedName;
use crate::domain::mapping::{Entity, Mapping, MappingIssue, SourceRelation};
use crate::domain::resolve::{Catalogs, ResolvedEntity, resolve};
use crate::error::{Error, Kind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Both servers, both catalogs, and what of the mapping does not fit. Nothing is changed anywhere.
pub struct Survey {
    /// The legacy database.
    pub source: Server,
    /// The Supabase database.
    pub target: Server,
    /// The mapping file's path, for messages.
    pub config: PathBuf,
    /// The mapping as parsed.
    pub mapping: Mapping,
    /// Both catalogs.
    pub catalogs: (Catalog, Catalog),
    /// What the server says each source query returns.
    pub query_columns: BTreeMap<String, Vec<Column>>,
    /// Every entity, bound; none unless all can be.
    pub entities: Vec<ResolvedEntity>,
    /// What does not fit.
    pub issues: Vec<MappingIssue>,
    /// The first source query that the server refuses.
    fault: Option<Error>,
    /// An open connection to the source.
    pub reader: Connection,
    /// An open connection to the target.
    pub writer: Connection,
}

impl Survey {
    /// Connects to both databases and looks at them.
    ///
    /// # Errors
    /// No connection, a pooler in transaction mode, or the same database twice (exit 14).
    pub async fn take(settings: Settings) -> Result<Survey> {
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
        let catalogs = tokio::try_join!(
            catalog::read(Side::Source, &mut reader, &source_schemas),
            catalog::read(Side::Target, &mut writer, &target_schemas)
        )?;
        let mut survey = Survey {
            source,
            target,
            config: settings.config,
            mapping,
            catalogs,
            query_columns: BTreeMap::new(),
            entities: Vec::new(),
            issues: Vec::new(),
            fault: None,
            reader,
            writer,
        };
        survey.describe_queries().await?;
        match survey.bind(&survey.mapping) {
            Ok(entities) => survey.entities = entities,
            Err(issues) => survey.issues.extend(issues),
        }
        Ok(survey)
    }

    /// Returns the name of the mapping file.
    pub fn file_name(&self) -> String {
        let name = self.config.file_name().map(|it| it.to_string_lossy());
        name.unwrap_or_default().into_owned()
    }

    /// Binds a mapping, this one or another, to the databases as they are.
    ///
    /// # Errors
    /// What does not fit.
    pub fn bind(&self, mapping: &Mapping) -> Result<Vec<ResolvedEntity>, Vec<MappingIssue>> {
        let catalogs = Catalogs {
            source: &self.catalogs.0,
            target: &self.catalogs.1,
            query_columns: &self.query_columns,
        };
        resolve(mapping, catalogs)
    }

    async fn describe_queries(&mut self) -> Result<()> {
        for entity in &self.mapping.entities {
            match describe_source(&mut self.reader, entity).await {
                Ok(None) => {}
                Ok(Some(columns)) => {
                    self.query_columns.insert(entity.name.clone(), columns);
                }
                Err(error) if error.kind() == Kind::Drift => {
                    self.issues.push(MappingIssue {
                        spot: entity.spot,
                        path: format!("entities.{}.source.query", entity.name),
                        message: error.cause_text().unwrap_or(error.what()).to_owned(),
                        hint: None,
                    });
                    self.fault.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Lets the source check every projection, and returns the first refusal of each entity.
    ///
    /// # Errors
    /// The source cannot be asked.
    pub async fn refusals(&mut self) -> Result<Vec<(String, Error)>> {
        let mut refusals = Vec::new();
        for entity in &self.entities {
            let checked = check_on_source(&mut self.reader, std::slice::from_ref(entity)).await;
            match checked {
                Err(error) if matches!(error.kind(), Kind::Drift | Kind::Unexpected) => {
                    refusals.push((entity.name.clone(), error));
                }
                checked => checked?,
            }
        }
        Ok(refusals)
    }

    /// How both databases have changed since the last session.
    ///
    /// # Errors
    /// The control schema cannot be read.
    pub async fn drift(&mut self, refused: &[String]) -> Result<Drift> {
        Drift::look(
            &mut self.writer,
            &self.mapping,
            &self.catalogs,
            &self.issues,
            refused,
        )
        .await
    }

    /// Says why the mapping does not fit, and what has changed since it did; `None` when it fits.
    pub(super) async fn refusal(&mut self) -> Option<Error> {
        if self.issues.is_empty() {
            return None;
        }
        // What cannot be found out about the past does not change what is wrong now.
        let drift = self.drift(&[]).await.unwrap_or_default();
        let changes = drift.changes.iter();
        let felt = changes.filter(|it| it.severity > Severity::Harmless);
        let felt: Vec<String> = felt.map(Drift::line).collect();
        // Of another database it says nothing that its tables are not those of before.
        let is_another = drift.is_of_another(&self.catalogs);
        let unexplained = felt.is_empty() || is_another;
        if let (true, Some(fault)) = (unexplained, self.fault.take()) {
            return Some(fault);
        }
        let issues = mapping_error(&self.config, &self.issues);
        let issues = issues.cause_text().unwrap_or_default();
        let error = if unexplained {
            let next = match is_another {
                true => "is it the right database? It is another one than the last session saw",
                false => "correct the mapping and run the same command again",
            };
            Error::new(Kind::Drift, "the mapping does not fit the databases")
                .cause(issues)
                .next(next)
        } else {
            let since = drift.since();
            let what =
                format!("the databases have changed {since}: the mapping does not fit any more");
            let cause = format!("{issues}\nwhat has changed:\n{}", felt.join("\n"));
            Error::new(Kind::Drift, what).cause(cause).next(
                "diffmig schema suggest prints what would make it fit; diffmig schema diff shows every change",
            )
        };
        Some(error.state("nothing was started"))
    }
}

/// Asks the source what the query of an entity returns; nothing when it reads a table.
///
/// # Errors
/// The server refuses the query.
pub(crate) async fn describe_source(
    connection: &mut Connection,
    entity: &Entity,
) -> Result<Option<Vec<Column>>> {
    let SourceRelation::Query { query, .. } = &entity.source else {
        return Ok(None);
    };
    let statement = Statement::of_query(query);
    let described = catalog::describe_query(connection, &entity.name, &statement).await;
    described.map(Some).map_err(|error| match error.kind() {
        Kind::Drift => {
            error.next("is it the right database? Else correct the query of this entity")
        }
        _ => error,
    })
}

/// Returns the schemas of the source that the mapping names.
pub(crate) fn source_schemas(mapping: &Mapping) -> Vec<String> {
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

/// Returns the schemas of the target that the mapping names.
pub(crate) fn target_schemas(mapping: &Mapping) -> Vec<String> {
    let mut schemas = BTreeSet::from([mapping.target_schema.clone()]);
    let targets = mapping.entities.iter();
    schemas.extend(targets.map(|it| mapping.target_table(it).schema));
    let claims = mapping.entities.iter();
    let claims = claims.filter_map(|it| it.adopt.table.as_ref());
    schemas.extend(claims.map(|it| QualifiedName::parse(&it.table, &mapping.target_schema).schema));
    schemas.into_iter().collect()
}
