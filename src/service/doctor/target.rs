//! The target's tables: what our role may do with them, what fires, who listens, and what they grow by.

use super::Examination;
use super::notebook::Notebook;
use super::source::{SourceTables, missing_grants, row_security};
use super::visit::Visit;
use crate::context::target_schemas;
use crate::db::catalog;
use crate::db::control::schema;
use crate::db::doctor::relation::{self, ColumnSequence};
use crate::db::grants::{self, Need};
use crate::db::server::Connection;
use crate::domain::catalog::Catalog;
use crate::domain::connection::Side;
use crate::domain::doctor::relation::{
    Unique, judge_foreign_keys, judge_publications, judge_sequence, judge_triggers, judge_uniques,
};
use crate::domain::doctor::room::{Load, judge_disk};
use crate::domain::doctor::{Finding, code};
use crate::domain::identifier::{QualifiedName, quote_identifier};
use crate::domain::mapping::{DeletePolicy, Entity, IdStrategy, SourceRelation};
use crate::error::Kind;
use crate::service::migrate::preflight::needs_of;
use std::collections::BTreeSet;

const SIDE: Side = Side::Target;

/// Looks at every table that the chosen entities fill.
pub(super) async fn tables(visit: &mut Visit, examination: &Examination<'_>) -> Option<Catalog> {
    let connection = visit.connection.as_mut()?;
    let notebook = &mut visit.notebook;
    let mapping = examination.mapping;
    let role = visit.facts.as_ref().map_or("", |it| it.role.as_str());
    let schemas = target_schemas(mapping);
    let asking = catalog::read(SIDE, connection, &schemas);
    let read = notebook.wait(SIDE, asking).await;
    if let Err(error) = &read
        && error.kind() == Kind::Usage
    {
        notebook.add(Finding::of_error(code::OLD_SERVER, SIDE, error));
        return None;
    }
    let catalog = notebook.keep(SIDE, "the catalog", read)?;
    let chosen = examination.chosen.iter();
    let tables: BTreeSet<QualifiedName> = chosen.map(|it| mapping.target_table(it)).collect();
    let tables: Vec<QualifiedName> = tables.into_iter().collect();

    rights(notebook, connection, examination, &catalog, role, &tables).await;
    let asking = schema::look(connection);
    let installed = notebook.wait(SIDE, asking).await;
    match installed {
        Err(error) if error.kind() == Kind::ControlState => {
            notebook.add(Finding::of_error(code::CONTROL_SCHEMA, SIDE, &error));
        }
        installed => {
            notebook.keep(SIDE, "the control schema", installed);
        }
    }
    listeners(notebook, connection, &tables).await;
    shape(notebook, connection, examination, &tables).await;
    Some(catalog)
}

/// Looks for missing rights, and for sequences that our role cannot move.
async fn rights(
    notebook: &mut Notebook,
    connection: &mut Connection,
    examination: &Examination<'_>,
    catalog: &Catalog,
    role: &str,
    tables: &[QualifiedName],
) {
    let needs = needs(examination, catalog);
    let asking = grants::missing(SIDE, connection, &needs);
    let missing = notebook.look(SIDE, "the grants", asking).await;
    let mut missing = missing.unwrap_or_default();
    let asking = grants::missing_for_control_schema(connection);
    let control = notebook
        .look(SIDE, "the right to create a schema", asking)
        .await;
    missing.extend(control.flatten());
    let asking = relation::sequences(connection, tables);
    let sequences = notebook.look(SIDE, "the sequences", asking).await;
    let sequences = sequences.unwrap_or_default();
    let locked = sequences.iter().filter(|it| !it.is_granted);
    missing.extend(locked.map(|it| {
        format!(
            "grant usage, select, update on sequence {} to {};",
            sequence_name(it).sql(),
            quote_identifier(role)
        )
    }));
    notebook
        .findings
        .extend(missing_grants(SIDE, role, missing));
    for it in sequences.iter().filter(|it| !it.is_owned) {
        let table = QualifiedName::new(it.schema.clone(), it.relation.clone());
        if is_filled(examination, &table, &it.column_name) {
            notebook.add(judge_sequence(&table, &it.column_name, &sequence_name(it)));
        }
    }
    let asking = catalog::filtered_tables(SIDE, connection, tables);
    let filtered = notebook.look(SIDE, "row security", asking).await;
    let hidden = row_security(SIDE, role, &filtered.unwrap_or_default());
    notebook.findings.extend(hidden);
}

fn sequence_name(it: &ColumnSequence) -> QualifiedName {
    QualifiedName::new(it.sequence_schema.clone(), it.sequence_name.clone())
}

fn needs(examination: &Examination<'_>, catalog: &Catalog) -> Vec<Need> {
    let needs_of_one = |entity: &&Entity| {
        let target = examination.mapping.target_table(entity);
        let referrers = catalog.table(&target).into_iter();
        let referrers = referrers.flat_map(|table| &table.referrers);
        let cascades = referrers.filter(|it| it.referenced == entity.id.column);
        needs_of(&target, &entity.delete, cascades)
    };
    let needs = examination.chosen.iter().flat_map(needs_of_one);
    let needs: BTreeSet<Need> = needs.collect();
    needs.into_iter().collect()
}

/// Tells whether rows bring values for a column.
fn is_filled(examination: &Examination<'_>, table: &QualifiedName, column: &str) -> bool {
    let own = examination
        .chosen
        .iter()
        .filter(|it| examination.mapping.target_table(it) == *table);
    own.into_iter().any(|entity| {
        let kept = entity.id.strategy == IdStrategy::Same && entity.id.column == column;
        let legacy = entity.legacy.iter().any(|(_, name)| name == column);
        kept || legacy || entity.columns.iter().any(|it| it.target == column)
    })
}

/// Tells whether rows bring the values of an index, and more than their own keys.
fn may_be_violated(examination: &Examination<'_>, unique: &Unique) -> bool {
    let mapping = examination.mapping;
    let own = examination.chosen.iter();
    let mut own = own.filter(|it| mapping.target_table(it) == unique.table);
    let has_key = |entity: &&Entity| {
        let mut legacy = entity.legacy.iter().map(|(_, column)| column);
        !entity.legacy.is_empty() && legacy.all(|it| unique.columns.contains(it))
    };
    // Whatever has no plain columns cannot be told apart here.
    let mut columns = unique.columns.iter();
    let is_filled = columns.all(|it| is_filled(examination, &unique.table, it));
    is_filled && !own.all(has_key)
}

/// Looks who notices each row: triggers and subscribers.
async fn listeners(notebook: &mut Notebook, connection: &mut Connection, tables: &[QualifiedName]) {
    let asking = relation::triggers(connection, tables);
    let triggers = notebook.look(SIDE, "the triggers", asking).await;
    let judged = judge_triggers(&triggers.unwrap_or_default());
    notebook.findings.extend(judged);
    let asking = relation::published(connection, tables);
    let published = notebook.look(SIDE, "the publications", asking).await;
    let judged = judge_publications(&published.unwrap_or_default());
    notebook.findings.extend(judged);
}

/// Looks at indexes, constraints and the persistence of tables.
async fn shape(
    notebook: &mut Notebook,
    connection: &mut Connection,
    examination: &Examination<'_>,
    tables: &[QualifiedName],
) {
    let asking = relation::bare_foreign_keys(connection, tables);
    let keys = notebook.look(SIDE, "the foreign keys", asking).await;
    let chosen = examination.chosen.iter();
    let deleted = chosen.filter(|it| it.delete == DeletePolicy::Delete);
    let deleted: Vec<QualifiedName> = deleted
        .map(|it| examination.mapping.target_table(it))
        .collect();
    let deleted: Vec<&QualifiedName> = deleted.iter().collect();
    let judged = judge_foreign_keys(&keys.unwrap_or_default(), &deleted);
    notebook.findings.extend(judged);
    let asking = relation::uniques(connection, tables);
    let uniques = notebook.look(SIDE, "the unique indexes", asking).await;
    let mut uniques = uniques.unwrap_or_default();
    uniques.retain(|it| may_be_violated(examination, it));
    let judged = judge_uniques(&uniques);
    notebook.findings.extend(judged);
    let needs: Vec<Need> = tables
        .iter()
        .map(|table| Need {
            table: table.clone(),
            right: "select",
        })
        .collect();
    let asking = catalog::unlogged(connection, &needs);
    let unlogged = notebook.look(SIDE, "unlogged tables", asking).await;
    for table in unlogged.unwrap_or_default() {
        let found = "the table is unlogged: after a crash of the target it is empty, and detections do not see that";
        notebook.add(
            Finding::new(code::UNLOGGED_TABLE, SIDE, found)
                .about(&table)
                .mended_by(format!("alter table {table} set logged;")),
        );
    }
}

/// Estimates what the load adds to the target.
pub(super) async fn disk(
    target: &mut Visit,
    examination: &Examination<'_>,
    tables: Option<&SourceTables>,
) {
    let (Some(tables), Some(connection)) = (tables, target.connection.as_mut()) else {
        return;
    };
    let Some(present) = target.facts.as_ref().and_then(|it| it.database_bytes) else {
        return;
    };
    let asking = relation::ledger_rows(connection);
    let known = target.notebook.look(SIDE, "the ledgers", asking).await;
    let known = known.unwrap_or_default();
    let mut load = Load::default();
    for entity in &examination.chosen {
        let named = match &entity.source {
            SourceRelation::Table(name) => Some(name),
            // Its first table stands for the query.
            SourceRelation::Query { watch, .. } => watch.first(),
        };
        let Some(name) = named else { continue };
        let table = QualifiedName::parse(name, &examination.mapping.source_schema);
        let bytes = tables.bytes.iter().find(|(name, _)| *name == table);
        let bytes = bytes.map_or(0, |(_, bytes)| *bytes);
        let rows = tables
            .catalog
            .table(&table)
            .map_or(0, |it| it.estimated_rows);
        let rows = u64::try_from(rows).unwrap_or(0);
        let done = known.iter().find(|(name, _)| *name == entity.name);
        load.add(bytes, rows, done.map(|(_, rows)| *rows));
    }
    let is_hosted = target.spec.as_ref().is_some_and(|it| it.is_hosted());
    target.notebook.add(judge_disk(load, present, is_hosted));
}
