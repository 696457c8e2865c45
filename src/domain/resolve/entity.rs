//! One entity, bound to both catalogs.

use super::Catalogs;
use super::adopt::{self, Adoption};
use super::column::{self, Checker, ResolvedColumn};
use super::conversion::Transport;
use super::scope::Scope;
use super::source::{ResolvedSource, resolve_source};
use super::validation::{self, ResolvedValidation};
use super::via::Routes;
use super::{coverage, identity};
use crate::domain::catalog::{ForeignKey, Referrer, Table};
use crate::domain::identifier::QualifiedName;
use crate::domain::key::KeyType;
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::mapping::{
    ColumnRef, ConflictPolicy, DeletePolicy, Entity, Format, IdStrategy, JoinKind, Mapping,
    MappingIssue, Missing, Spot,
};
use crate::domain::target_id::NamedId;
use crate::domain::unreadable::Unreadable;
use std::collections::{BTreeMap, BTreeSet};

/// The source column that tells when a row was changed last.
#[derive(Debug, Clone)]
pub struct ResolvedUpdatedAt {
    /// The column.
    pub column: ColumnRef,
    /// Whether it has no time zone.
    pub is_naive: bool,
    /// How far before the watermark rows are read again, in seconds.
    pub overlap_secs: i64,
}

/// An entity that may reach SQL generation.
#[derive(Debug, Clone)]
pub struct ResolvedEntity {
    /// Its name.
    pub name: String,
    /// Where its rows come from.
    pub source: ResolvedSource,
    /// The names its expressions may use.
    pub scope: Scope,
    /// The target table.
    pub target: QualifiedName,
    /// The target key column.
    pub id_column: String,
    /// The type of the target key.
    pub id_type: String,
    /// How ids are made.
    pub id_strategy: IdStrategy,
    /// What orders the ids instead of the key.
    pub id_time: Option<ColumnRef>,
    /// How names become ids, for ids that are derived from one.
    pub id_named: Option<NamedId>,
    /// Whether the key column is `generated always as identity`.
    pub overrides_identity: bool,
    /// Index of a key column and the target column that carries it.
    pub legacy: Vec<(usize, String)>,
    /// What ties target rows that are there already to source keys.
    pub adoption: Adoption,
    /// The mapped columns, compared ones first, then those owned by the target.
    pub columns: Vec<ResolvedColumn>,
    /// The delete policy.
    pub delete: DeletePolicy,
    /// Foreign keys of the target that would change other rows when one of these is deleted.
    pub cascades: Vec<Referrer>,
    /// The foreign keys of the target table.
    pub foreign_keys: Vec<ForeignKey>,
    /// The conflict policy.
    pub conflict: ConflictPolicy,
    /// What tells when a row was changed last.
    pub updated_at: Option<ResolvedUpdatedAt>,
    /// What every row must keep, besides values that are required.
    pub validations: Vec<ResolvedValidation>,
    /// Rows whose values the source cannot compute.
    pub unreadable: Unreadable,
}

impl ResolvedEntity {
    /// Returns the key's types.
    pub fn key_types(&self) -> Vec<KeyType> {
        self.source
            .key
            .iter()
            .map(|(_, key_type)| *key_type)
            .collect()
    }

    /// Returns how many leading columns are compared.
    pub fn compared_count(&self) -> usize {
        let owned = self
            .columns
            .iter()
            .filter(|column| column.rule.target_owned);
        self.columns.len() - owned.count()
    }

    /// Returns the names of the parents, without duplicates.
    pub fn parents(&self) -> BTreeSet<&str> {
        self.columns
            .iter()
            .flat_map(ResolvedColumn::parents)
            .collect()
    }

    /// Returns the regular expressions of its formats.
    pub fn patterns(&self) -> BTreeSet<&str> {
        let rules = self.columns.iter();
        let rules = rules.filter_map(|it| it.rule.format.as_ref().map(|(format, _)| format));
        let validations = self.validations.iter().filter_map(|it| match it {
            ResolvedValidation::Format(_, format) => Some(format),
            _ => None,
        });
        let patterns = rules.chain(validations).filter_map(|it| match it {
            Format::Pattern(pattern) => Some(pattern.as_str()),
            _ => None,
        });
        patterns.collect()
    }

    /// Tells whether rows refer to rows of the same entity.
    pub fn is_self_referencing(&self) -> bool {
        self.parents().contains(self.name.as_str())
    }

    /// Tells whether the order matters in which its rows come or go, because rows of its table refer to one another,
    /// by its mapping or by a foreign key of the target.
    pub fn is_ordered(&self) -> bool {
        let mut keys = self.foreign_keys.iter();
        self.is_self_referencing() || keys.any(|it| it.referenced == self.target)
    }

    /// Tells whether a row may have to wait for another row of the same entity.
    pub fn needs_itself(&self) -> bool {
        let mut columns = self.columns.iter();
        columns.any(|it| {
            it.missing().is_some_and(Missing::keeps_out)
                && it.parents().contains(&self.name.as_str())
        })
    }

    /// Returns the foreign keys that check a reference at once, so that its parent must be written first.
    pub fn checked_at_once(
        &self,
        column: &str,
        parent: &ResolvedEntity,
    ) -> impl Iterator<Item = &ForeignKey> {
        self.foreign_keys.iter().filter(move |key| {
            !key.is_deferrable
                && key.referenced == parent.target
                && key.columns.iter().any(|it| it == column)
        })
    }

    /// Tells whether some source rows may be left out.
    pub fn may_filter(&self) -> bool {
        self.source.filter.is_some()
            || self.source.dedupe.is_some()
            || self
                .source
                .joins
                .iter()
                .any(|join| join.kind == JoinKind::Inner)
    }
}

pub(super) struct Work<'a> {
    pub entity: &'a Entity,
    issues: &'a mut Vec<MappingIssue>,
}

impl<'a> Work<'a> {
    pub fn new(entity: &'a Entity, issues: &'a mut Vec<MappingIssue>) -> Self {
        Work { entity, issues }
    }

    pub fn report(&mut self, spot: Spot, key: &str, message: String, hint: Option<String>) {
        let path = if key.is_empty() {
            format!("entities.{}", self.entity.name)
        } else {
            format!("entities.{}.{key}", self.entity.name)
        };
        self.issues.push(MappingIssue {
            spot,
            path,
            message,
            hint,
        });
    }
}

pub(super) fn find_table<'c>(
    work: &mut Work<'_>,
    catalog: &'c crate::domain::catalog::Catalog,
    name: &QualifiedName,
    key: &str,
    spot: Spot,
) -> Option<&'c Table> {
    let found = catalog.table(name);
    if found.is_none() {
        let known = catalog.tables.keys().map(|it| it.name.as_str());
        let hint = did_you_mean(&name.name, known);
        work.report(spot, key, format!("no table {name} in this database"), hint);
    }
    found
}

/// Binds one entity.
pub(super) fn resolve(
    mapping: &Mapping,
    entity: &Entity,
    catalogs: Catalogs<'_>,
    keys: &BTreeMap<String, Vec<KeyType>>,
    issues: &mut Vec<MappingIssue>,
) -> Option<ResolvedEntity> {
    let before = issues.len();
    let mut work = Work::new(entity, issues);
    let target_name = QualifiedName::parse(&entity.target, &mapping.target_schema);
    let target = find_table(
        &mut work,
        catalogs.target,
        &target_name,
        "target",
        entity.spot,
    );
    let (source, scope, routes) = resolve_source(&mut work, mapping, catalogs, true)?;
    let target = target?;
    if target.kind == crate::domain::catalog::RelationKind::View {
        let message = format!("{} is a view, not a table", target.name);
        work.report(entity.spot, "target", message, None);
    }
    let id = target.column(&entity.id.column);
    if id.is_none() {
        let message = format!("{} has no column `{}`", target.name, entity.id.column);
        work.report(
            entity.id.spot,
            "id",
            message,
            Some("name it in `id.column`".into()),
        );
    }
    identity::check_id(&mut work, id, &source, &scope);
    let id_named = identity::named_id(&mut work, &source);
    let updated_at = resolve_updated_at(&mut work, &scope);
    let legacy = adopt::resolve_legacy(&mut work, &source, target);
    let mut columns = resolve_columns(&mut work, mapping, target, (&scope, &routes), keys);
    let validations = validation::resolve(&mut work, target, &scope, &mut columns);
    let adoption = adopt::resolve(
        &mut work,
        mapping,
        catalogs.target,
        &source,
        target,
        &columns,
    );
    coverage::check_unmapped(&mut work, target, &legacy, catalogs, mapping);
    coverage::check_retire(&mut work, target);
    let id = id?;
    (issues.len() == before).then(|| ResolvedEntity {
        name: entity.name.clone(),
        source,
        scope,
        target: target_name,
        id_column: entity.id.column.clone(),
        id_type: Transport::of(&id.column_type).sql,
        id_strategy: entity.id.strategy,
        id_time: entity.id.time.clone(),
        id_named,
        overrides_identity: id.identity_always,
        legacy,
        adoption,
        columns,
        delete: entity.delete.clone(),
        cascades: {
            let all = target.referrers.iter();
            let to_id = all.filter(|it| it.referenced == entity.id.column);
            to_id.cloned().collect()
        },
        foreign_keys: target.foreign_keys.clone(),
        conflict: entity.conflict,
        updated_at,
        validations,
        unreadable: Unreadable::default(),
    })
}

fn resolve_updated_at(work: &mut Work<'_>, scope: &Scope) -> Option<ResolvedUpdatedAt> {
    let rule = work.entity.updated_at.as_ref()?;
    let (alias, column) = match scope.column(&rule.column) {
        Ok(found) => found,
        Err((message, hint)) => {
            work.report(rule.spot, "updated_at", message, hint);
            return None;
        }
    };
    let base = column.column_type.base.as_str();
    if !matches!(base, "timestamp" | "timestamptz" | "date") {
        let message = format!("`{}` is {}", column.name, column.column_type.display);
        let hint = Some("name a timestamp".to_owned());
        work.report(rule.spot, "updated_at", message, hint);
    }
    if alias != scope.main_alias() {
        let message = format!("`{}` is a column of a joined table", column.name);
        let hint = Some("name a column of the entity's own source".to_owned());
        work.report(rule.spot, "updated_at", message, hint);
    }
    Some(ResolvedUpdatedAt {
        column: rule.column.clone(),
        is_naive: base != "timestamptz",
        overlap_secs: rule.overlap_secs,
    })
}

/// The entities whose rows may be one with others.
fn grouped(mapping: &Mapping) -> BTreeSet<&str> {
    let entities = mapping.entities.iter();
    let entities = entities.filter(|it| it.dedupe.is_some());
    entities.map(|it| it.name.as_str()).collect()
}

fn resolve_columns(
    work: &mut Work<'_>,
    mapping: &Mapping,
    target: &Table,
    (scope, routes): (&Scope, &Routes),
    keys: &BTreeMap<String, Vec<KeyType>>,
) -> Vec<ResolvedColumn> {
    let entity = work.entity;
    let mut columns = Vec::new();
    for rule in &entity.columns {
        let key = format!("columns.{}", rule.target);
        let Some(column) = target.column(&rule.target) else {
            let message = format!("{} has no column `{}`", target.name, rule.target);
            let names = target.columns.iter().map(|it| it.name.as_str());
            work.report(rule.spot, &key, message, did_you_mean(&rule.target, names));
            continue;
        };
        if column.is_generated || column.name == entity.id.column {
            let message = format!("`{}` is filled otherwise and takes no rule", column.name);
            work.report(rule.spot, &key, message, Some("remove it".into()));
            continue;
        }
        let mut checker = Checker {
            scope,
            routes,
            grouped: grouped(mapping),
            time_zone: mapping.source_time_zone.as_deref(),
            keys,
            entity: &entity.name,
            path: format!("entities.{}", entity.name),
            issues: work.issues,
        };
        columns.extend(column::resolve(&mut checker, rule, column));
    }
    columns.sort_by_key(|column| column.rule.target_owned);
    columns
}
