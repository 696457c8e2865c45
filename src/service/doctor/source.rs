//! The source's tables: what our role may do with them, and what they are looked up by.

use super::Examination;
use super::visit::Visit;
use crate::context::source_schemas;
use crate::db::catalog;
use crate::db::doctor::relation;
use crate::db::grants::{self, Need};
use crate::db::server::Connection;
use crate::db::standing;
use crate::domain::catalog::{Catalog, RelationKind};
use crate::domain::connection::Side;
use crate::domain::doctor::relation::{Lookup, Use, judge_lookup};
use crate::domain::doctor::{Finding, code};
use crate::domain::identifier::{QualifiedName, printable, quote_identifier};
use crate::domain::mapping::{Entity, Mapping, SourceRelation};
use crate::error::Result;
use std::collections::BTreeSet;

const SIDE: Side = Side::Source;

/// The source's catalog and the bytes of its tables.
pub(super) struct SourceTables {
    pub catalog: Catalog,
    pub bytes: Vec<(QualifiedName, u64)>,
}

/// Looks at every table that the mapping reads.
pub(super) async fn tables(
    visit: &mut Visit,
    examination: &Examination<'_>,
) -> Option<SourceTables> {
    let connection = visit.connection.as_mut()?;
    let notebook = &mut visit.notebook;
    let mapping = examination.mapping;
    let entities = mapping.entities.iter();
    let tables: BTreeSet<QualifiedName> = entities
        .flat_map(|entity| mapping.read_tables(entity))
        .collect();
    let tables: Vec<QualifiedName> = tables.into_iter().collect();
    let role = visit.facts.as_ref().map_or("", |it| it.role.as_str());

    let needs: Vec<Need> = tables
        .iter()
        .map(|table| Need {
            table: table.clone(),
            right: "select",
        })
        .collect();
    let asking = grants::missing(SIDE, connection, &needs);
    let missing = notebook.look(SIDE, "the grants", asking).await;
    notebook
        .findings
        .extend(missing_grants(SIDE, role, missing.unwrap_or_default()));

    let asking = catalog::filtered_tables(SIDE, connection, &tables);
    let filtered = notebook.look(SIDE, "row security", asking).await;
    let hidden = row_security(SIDE, role, &filtered.unwrap_or_default());
    notebook.findings.extend(hidden);

    let asking = relation::writable(connection, &tables);
    let writable = notebook.look(SIDE, "rights to write", asking).await;
    notebook
        .findings
        .extend(may_write(role, &writable.unwrap_or_default()));

    let schemas = source_schemas(mapping);
    let asking = catalog::read(SIDE, connection, &schemas);
    let read = notebook.wait(SIDE, asking).await;
    if let Err(error) = &read
        && error.kind() == crate::error::Kind::Usage
    {
        notebook.add(Finding::of_error(code::OLD_SERVER, SIDE, error));
        return None;
    }
    let catalog = notebook.keep(SIDE, "the catalog", read)?;

    let asking = lookups(connection, examination, &catalog);
    let found = notebook.look(SIDE, "the indexes", asking).await;
    notebook.findings.extend(found.unwrap_or_default());

    let asking = relation::sizes(connection, &tables);
    let bytes = notebook.look(SIDE, "the sizes of the tables", asking).await;
    Some(SourceTables {
        catalog,
        bytes: bytes.unwrap_or_default(),
    })
}

/// Makes one finding of all rights that are missing on one side.
pub(super) fn missing_grants(side: Side, role: &str, missing: Vec<String>) -> Option<Finding> {
    if missing.is_empty() {
        return None;
    }
    let found = format!(
        "the role {} lacks rights that the owner of the tables can grant",
        printable(role)
    );
    let mut finding = Finding::new(code::MISSING_GRANTS, side, found).about(printable(role));
    finding.mend = missing;
    Some(finding)
}

/// Names the tables whose rows would be filtered.
pub(super) fn row_security(side: Side, role: &str, filtered: &[QualifiedName]) -> Option<Finding> {
    if filtered.is_empty() {
        return None;
    }
    let names: Vec<String> = filtered.iter().map(ToString::to_string).collect();
    let found = format!("row security would filter the rows of {}", names.join(", "));
    let finding = Finding::new(code::ROW_SECURITY, side, found)
        .about(printable(role))
        .mended_by(format!("alter role {} bypassrls;", quote_identifier(role)));
    Some(finding)
}

fn may_write(role: &str, writable: &[QualifiedName]) -> Option<Finding> {
    let first = writable.first()?;
    let found = format!(
        "the role {} may write {} tables of the source, such as {first}; diffmig never does, and needs no right to",
        printable(role),
        writable.len()
    );
    let finding = Finding::new(code::SOURCE_ROLE_MAY_WRITE, SIDE, found).about(printable(role));
    Some(finding.mended_by("diffmig grants --source-role diffmig_reader"))
}

/// Finds the columns by which rows are looked up, and judges those that no index begins with.
async fn lookups(
    connection: &mut Connection,
    examination: &Examination<'_>,
    catalog: &Catalog,
) -> Result<Vec<Finding>> {
    let mapping = examination.mapping;
    let clock = standing::clock(connection).await?;
    let known = !catalog.identity.system_identifier.is_empty() && !clock.timeline.is_empty();
    let chosen = examination.chosen.iter();
    let groups: Vec<Vec<Lookup>> = chosen
        .flat_map(|entity| groups_of(mapping, entity, catalog, known))
        .collect();
    let columns = groups.iter().flatten();
    let columns: Vec<(QualifiedName, String)> = columns
        .map(|it| (it.table.clone(), it.column.clone()))
        .collect();
    let bare: BTreeSet<usize> = relation::without_index(connection, &columns)
        .await?
        .into_iter()
        .collect();
    let mut findings = Vec::new();
    let mut first = 0;
    for group in &groups {
        let places = first..first + group.len();
        first = places.end;
        // One column of a condition with an index will do.
        if !places.clone().all(|place| bare.contains(&place)) {
            continue;
        }
        if let Some(lookup) = group.first() {
            let table = catalog.table(&lookup.table);
            findings.extend(judge_lookup(
                lookup,
                table.map_or(-1, |it| it.estimated_rows),
            ));
        }
    }
    Ok(findings)
}

/// The columns of one purpose are a group: an index that begins with any of them serves it.
fn groups_of(
    mapping: &Mapping,
    entity: &Entity,
    catalog: &Catalog,
    known: bool,
) -> Vec<Vec<Lookup>> {
    let own = match &entity.source {
        SourceRelation::Table(name) => Some(QualifiedName::parse(name, &mapping.source_schema)),
        SourceRelation::Query { .. } => None,
    };
    let lookup = |table: &QualifiedName, column: &str, purpose| Lookup {
        entity: entity.name.clone(),
        table: table.clone(),
        column: column.to_owned(),
        purpose,
    };
    let mut groups = Vec::new();
    if let (Some(table), Some(key)) = (&own, &entity.key) {
        groups.extend(
            key.first()
                .map(|column| vec![lookup(table, column, Use::Key)]),
        );
    }
    for join in &entity.joins {
        let table = QualifiedName::parse(&join.table, &mapping.source_schema);
        let columns = join.on.columns().iter();
        let of_join = columns.filter(|it| it.table.as_deref() == Some(join.alias.as_str()));
        groups.push(
            of_join
                .map(|it| lookup(&table, &it.column, Use::Join))
                .collect(),
        );
    }
    if let (Some(table), Some(updated_at)) = (&own, &entity.updated_at) {
        let watched = mapping.read_tables(entity);
        let is_plain = |name: &QualifiedName| {
            catalog.table(name).is_some_and(|it| {
                matches!(it.kind, RelationKind::Table | RelationKind::Partitioned)
            })
        };
        let has_xmin = known && watched.iter().all(is_plain);
        let column = &updated_at.column.column;
        groups.push(vec![lookup(table, column, Use::Watermark { has_xmin })]);
    }
    groups.retain(|group| !group.is_empty());
    groups
}
