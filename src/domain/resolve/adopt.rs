//! What ties target rows that are there already to source keys, bound to the target's catalog.

use super::entity::Work;
use super::source::ResolvedSource;
use crate::domain::catalog::{Catalog, Column, Table};
use crate::domain::identifier::QualifiedName;
use crate::domain::key::KeyType;
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::mapping::{self, Literal, Mapping};
use crate::domain::resolve::{ResolvedColumn, ResolvedValue};

/// A column that carries a key or an id, with its base type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    /// The column.
    pub column: String,
    /// The name of its base type.
    pub base: String,
}

impl Carrier {
    fn of(column: &Column) -> Carrier {
        Carrier {
            column: column.name.clone(),
            base: column.column_type.base.clone(),
        }
    }

    /// Tells whether values of the column can be read as keys.
    fn carries(&self, key_type: KeyType) -> bool {
        let is_text = KeyType::from_base_type(&self.base) == Some(KeyType::Text);
        match key_type {
            KeyType::Integer => {
                is_text || matches!(self.base.as_str(), "int2" | "int4" | "int8" | "numeric")
            }
            KeyType::Text => true,
            KeyType::Uuid => is_text || self.base == "uuid",
            KeyType::Date => self.base == "date",
        }
    }
}

/// A mappings table in the target.
#[derive(Debug, Clone)]
pub struct ResolvedMappings {
    /// The table.
    pub table: QualifiedName,
    /// The column that tells whose keys a row is about, and the text it holds for this entity.
    pub discriminator: Option<(String, String)>,
    /// The columns with the source key, in key order.
    pub source_id: Vec<Carrier>,
    /// The column with the target id.
    pub target_id: Carrier,
}

/// What ties target rows to source keys.
#[derive(Debug, Clone, Default)]
pub struct Adoption {
    /// The target columns that carry the whole source key, in key order; empty when there are none.
    pub legacy: Vec<Carrier>,
    /// The mappings table.
    pub table: Option<Box<ResolvedMappings>>,
    /// Values by which the rows of this entity are known in a target that others feed as well.
    pub only: Vec<(String, Literal)>,
    /// Indexes of the mapped columns that tell which row is meant where no key does.
    pub natural_key: Vec<usize>,
}

/// Finds the target columns that carry source keys; every name is checked.
pub(super) fn resolve_legacy(
    work: &mut Work<'_>,
    source: &ResolvedSource,
    target: &Table,
) -> Vec<(usize, String)> {
    let mut legacy = Vec::new();
    let spot = work.entity.spot;
    for (key, column) in &work.entity.legacy.clone() {
        let index = source.key.iter().position(|(name, _)| name == key);
        if index.is_none() {
            let message = format!("`{key}` is not a key column of the source");
            let hint = did_you_mean(key, source.key.iter().map(|(name, _)| name.as_str()));
            work.report(spot, "legacy", message, hint);
        }
        find_column(work, target, column, "legacy");
        legacy.extend(index.map(|index| (index, column.clone())));
    }
    legacy
}

fn find_column<'t>(
    work: &mut Work<'_>,
    table: &'t Table,
    column: &str,
    key: &str,
) -> Option<&'t Column> {
    let found = table.column(column);
    if found.is_none() {
        let message = format!("{} has no column `{column}`", table.name);
        let hint = did_you_mean(column, table.columns.iter().map(|it| it.name.as_str()));
        let spot = match key {
            "legacy" | "match" => work.entity.spot,
            _ => work.entity.adopt.spot,
        };
        work.report(spot, key, message, hint);
    }
    found
}

/// Binds what the entity says of adoption.
pub(super) fn resolve(
    work: &mut Work<'_>,
    mapping: &Mapping,
    catalog: &Catalog,
    source: &ResolvedSource,
    target: &Table,
    columns: &[ResolvedColumn],
) -> Adoption {
    let rule = &work.entity.adopt;
    let table = rule.table.as_ref().and_then(|it| {
        let id = target.column(&work.entity.id.column)?;
        resolve_table(work, mapping, catalog, source, (it, id))
    });
    for (column, _) in &rule.only {
        find_column(work, target, column, "adopt.only");
    }
    let legacy = match rule.is_declined {
        true => Vec::new(),
        false => carriers(&work.entity.legacy, source, target),
    };
    Adoption {
        legacy,
        table: table.map(Box::new),
        only: rule.only.clone(),
        natural_key: natural_key(work, target, columns),
    }
}

/// The legacy columns in key order, if they carry the whole key in a form that can be read back.
fn carriers(legacy: &[(String, String)], source: &ResolvedSource, target: &Table) -> Vec<Carrier> {
    let found = source.key.iter().map(|(key, key_type)| {
        let (_, column) = legacy.iter().find(|(name, _)| name == key)?;
        let carrier = Carrier::of(target.column(column)?);
        carrier.carries(*key_type).then_some(carrier)
    });
    found.collect::<Option<Vec<_>>>().unwrap_or_default()
}

fn resolve_table(
    work: &mut Work<'_>,
    mapping: &Mapping,
    catalog: &Catalog,
    source: &ResolvedSource,
    (rule, id): (&mapping::MappingsTable, &Column),
) -> Option<ResolvedMappings> {
    let spot = work.entity.adopt.spot;
    let name = QualifiedName::parse(&rule.table, &mapping.target_schema);
    let Some(table) = catalog.table(&name) else {
        let hint = did_you_mean(&name.name, catalog.tables.keys().map(|it| it.name.as_str()));
        let message = format!("no table {name} in the target");
        work.report(spot, "adopt.table", message, hint);
        return None;
    };
    if let Some((column, _)) = &rule.discriminator {
        find_column(work, table, column, "adopt.entity");
    }
    if rule.source_id.len() != source.key.len() && !source.key.is_empty() {
        let (wanted, given) = (source.key.len(), rule.source_id.len());
        let message = format!("the source key has {wanted} columns, `source_id` names {given}");
        work.report(spot, "adopt.source_id", message, None);
        return None;
    }
    let mut source_id = Vec::new();
    for ((_, key_type), column) in source.key.iter().zip(&rule.source_id) {
        let found = find_column(work, table, column, "adopt.source_id")?;
        source_id.push(carrier(work, found, *key_type, "adopt.source_id")?);
    }
    let found = find_column(work, table, &rule.target_id, "adopt.target_id")?;
    let id_type = KeyType::from_base_type(&id.column_type.base)?;
    let target_id = carrier(work, found, id_type, "adopt.target_id")?;
    Some(ResolvedMappings {
        table: name,
        discriminator: rule.discriminator.clone(),
        source_id,
        target_id,
    })
}

fn carrier(work: &mut Work<'_>, column: &Column, key_type: KeyType, key: &str) -> Option<Carrier> {
    let carrier = Carrier::of(column);
    if carrier.carries(key_type) {
        return Some(carrier);
    }
    let message = format!(
        "`{}` is {} and cannot be read as {}",
        column.name,
        column.column_type.display,
        key_type.sql_type()
    );
    work.report(work.entity.adopt.spot, key, message, None);
    None
}

fn natural_key(work: &mut Work<'_>, target: &Table, columns: &[ResolvedColumn]) -> Vec<usize> {
    let mut found = Vec::new();
    for name in &work.entity.natural_key {
        if find_column(work, target, name, "match").is_none() {
            continue;
        }
        let Some(index) = columns.iter().position(|it| it.name == *name) else {
            // A rule that does not fit was reported where it stands.
            if !work.entity.columns.iter().any(|it| it.target == *name) {
                let message = format!("`{name}` has no rule, so no source value to compare");
                work.report(work.entity.spot, "match", message, None);
            }
            continue;
        };
        let fits = match &columns[index].value {
            ResolvedValue::Scalar => true,
            ResolvedValue::Reference { entity, .. } => *entity != work.entity.name,
            ResolvedValue::Json { .. } | ResolvedValue::Poly { .. } => false,
        };
        match fits {
            true => found.push(index),
            false => {
                let message = format!("`{name}` cannot be compared to find a row");
                let hint = "name columns with plain values, or references to other entities";
                work.report(work.entity.spot, "match", message, Some(hint.to_owned()));
            }
        }
    }
    found
}
