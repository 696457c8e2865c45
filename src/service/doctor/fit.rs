//! Whether the mapping fits both databases: every problem, and the entities that have none.

use super::notebook::Notebook;
use super::visit::Visit;
use super::{Examination, of_issue};
use crate::context::{check_entity, describe_source, refuse_circle};
use crate::db::server::Connection;
use crate::domain::catalog::Catalog;
use crate::domain::connection::Side;
use crate::domain::doctor::{Finding, Place, code};
use crate::domain::plan::plan;
use crate::domain::resolve::{Catalogs, ResolvedEntity, examine};
use crate::error::{Error, Kind};
use std::collections::BTreeMap;

const SIDE: Side = Side::Source;

/// Binds the mapping to both catalogs and returns the entities that the source accepts.
pub(super) async fn fit(
    source: &mut Visit,
    examination: &Examination<'_>,
    (ours, theirs): (&Catalog, &Catalog),
) -> Vec<ResolvedEntity> {
    let Some(connection) = &mut source.connection else {
        return Vec::new();
    };
    let notebook = &mut source.notebook;
    let mut query_columns = BTreeMap::new();
    for entity in &examination.mapping.entities {
        let described = notebook
            .wait(SIDE, describe_source(connection, entity))
            .await;
        match described {
            Ok(Some(columns)) => {
                query_columns.insert(entity.name.clone(), columns);
            }
            Ok(None) => {}
            Err(error) => refused(notebook, &entity.name, &error),
        }
    }
    let catalogs = Catalogs {
        source: ours,
        target: theirs,
        query_columns: &query_columns,
    };
    let (entities, issues) = examine(examination.mapping, catalogs);
    for issue in &issues {
        let code = match issue.path.ends_with(".columns") {
            true => code::UNMAPPED_COLUMN,
            false => code::MAPPING_MISFIT,
        };
        notebook.add(of_issue(code, issue));
    }
    if entities.len() == examination.mapping.entities.len()
        && let Err(cycle) = plan(&entities)
    {
        let error = refuse_circle(&cycle);
        notebook.add(Finding::of_error(code::CIRCLE, Place::Mapping, &error));
    }
    accepted(notebook, connection, entities).await
}

/// Names the tables that one side lacks, when the other side cannot be asked.
pub(super) fn missing_tables(
    notebook: &mut Notebook,
    side: Side,
    catalog: &Catalog,
    examination: &Examination<'_>,
) {
    let mapping = examination.mapping;
    for entity in &mapping.entities {
        let tables = match side {
            Side::Source => mapping.read_tables(entity),
            Side::Target => [mapping.target_table(entity)].into(),
        };
        for table in tables.iter().filter(|it| catalog.table(it).is_none()) {
            let found = format!(
                "line {}: no table {table} in this database",
                entity.spot.line
            );
            let finding = Finding::new(code::MAPPING_MISFIT, Place::Mapping, found);
            notebook.add(finding.of_entity(&entity.name).about(side.word()));
        }
    }
}

/// Returns the entities whose projections the source accepts.
async fn accepted(
    notebook: &mut Notebook,
    connection: &mut Connection,
    entities: Vec<ResolvedEntity>,
) -> Vec<ResolvedEntity> {
    let mut accepted = Vec::new();
    for entity in entities {
        let checked = notebook.wait(SIDE, check_entity(connection, &entity)).await;
        match checked {
            Ok(()) => accepted.push(entity),
            Err(error) => refused(notebook, &entity.name, &error),
        }
    }
    accepted
}

/// Notes what the source refuses, unless it is known already why it does.
pub(super) fn refused(notebook: &mut Notebook, entity: &str, error: &Error) {
    let is_known = |it: &Finding| {
        [code::MISSING_GRANTS.word, code::ROW_SECURITY.word].contains(&it.code)
            && it.side == Place::Source
    };
    match error.kind() {
        Kind::Permission if notebook.findings.iter().any(is_known) => {}
        Kind::Connect | Kind::Resources | Kind::Busy => {
            let looked: Result<(), Error> = Err(Error::new(error.kind(), error.what())
                .cause(error.cause_text().unwrap_or_default()));
            notebook.keep(SIDE, &format!("the mapping of {entity}"), looked);
        }
        _ => {
            let finding = Finding::of_error(code::RULE_REFUSED, Place::Mapping, error);
            notebook.add(finding.of_entity(entity));
        }
    }
}
