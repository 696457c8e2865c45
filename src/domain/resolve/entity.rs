//! One entity, bound to both catalogs.

use super::Catalogs;
use super::column::{self, Checker, ResolvedColumn};
use super::conversion::Transport;
use super::coverage;
use super::scope::Scope;
use crate::domain::catalog::{Column, ForeignKey, Referrer, Table};
use crate::domain::expression::Expression;
use crate::domain::identifier::QualifiedName;
use crate::domain::key::KeyType;
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::mapping::{
    ColumnRef, ConflictPolicy, DeletePolicy, Entity, IdStrategy, JoinKind, Mapping, MappingIssue,
    Missing, SourceRelation, Spot,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where rows are read from.
#[derive(Debug, Clone)]
pub enum SourceFrom {
    /// A table or view.
    Table(QualifiedName),
    /// A checked query.
    Query(String),
}

/// A joined source table.
#[derive(Debug, Clone)]
pub struct ResolvedJoin {
    /// The table.
    pub table: QualifiedName,
    /// Its alias.
    pub alias: String,
    /// The condition.
    pub on: Expression,
    /// What happens to rows without a partner.
    pub kind: JoinKind,
}

/// The source relation of an entity.
#[derive(Debug, Clone)]
pub struct ResolvedSource {
    /// Where rows come from.
    pub from: SourceFrom,
    /// Its alias.
    pub alias: String,
    /// Joined tables.
    pub joins: Vec<ResolvedJoin>,
    /// The row filter.
    pub filter: Option<Expression>,
    /// Every table that is read, for locks.
    pub watched: Vec<QualifiedName>,
    /// Key columns of the own source with their types.
    pub key: Vec<(String, KeyType)>,
}

impl ResolvedSource {
    /// Names the relation for people.
    pub fn label(&self) -> String {
        match &self.from {
            SourceFrom::Table(name) => name.to_string(),
            SourceFrom::Query(_) => format!("query over {}", join_names(&self.watched)),
        }
    }
}

fn join_names(names: &[QualifiedName]) -> String {
    let names: Vec<String> = names.iter().map(QualifiedName::to_string).collect();
    names.join(", ")
}

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
    /// Whether the key column is `generated always as identity`.
    pub overrides_identity: bool,
    /// Index of a key column and the target column that carries it.
    pub legacy: Vec<(usize, String)>,
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

    /// Tells whether rows refer to rows of the same entity.
    pub fn is_self_referencing(&self) -> bool {
        self.parents().contains(self.name.as_str())
    }

    /// Tells whether a row may have to wait for another row of the same entity.
    pub fn needs_itself(&self) -> bool {
        let mut columns = self.columns.iter();
        columns.any(|it| {
            it.missing() != Some(Missing::Null) && it.parents().contains(&self.name.as_str())
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

impl Work<'_> {
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

fn find_table<'c>(
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

/// Finds the key types of every entity whose source can be found; others report nothing here.
pub(super) fn key_types(
    mapping: &Mapping,
    catalogs: Catalogs<'_>,
    issues: &mut Vec<MappingIssue>,
) -> BTreeMap<String, Vec<KeyType>> {
    let mut keys = BTreeMap::new();
    for entity in &mapping.entities {
        let mut work = Work { entity, issues };
        let columns = source_columns(mapping, entity, catalogs);
        let types = match columns {
            Some((columns, primary_key)) => key_of(&mut work, &columns, &primary_key)
                .into_iter()
                .map(|(_, key_type)| key_type)
                .collect(),
            None => Vec::new(),
        };
        keys.insert(entity.name.clone(), types);
    }
    keys
}

pub(super) fn source_columns(
    mapping: &Mapping,
    entity: &Entity,
    catalogs: Catalogs<'_>,
) -> Option<(Vec<Column>, Vec<String>)> {
    match &entity.source {
        SourceRelation::Table(name) => {
            let name = QualifiedName::parse(name, &mapping.source_schema);
            let table = catalogs.source.table(&name)?;
            Some((table.columns.clone(), table.primary_key.clone()))
        }
        SourceRelation::Query { .. } => {
            let columns = catalogs.query_columns.get(&entity.name)?;
            Some((columns.clone(), Vec::new()))
        }
    }
}

fn key_of(
    work: &mut Work<'_>,
    columns: &[Column],
    primary_key: &[String],
) -> Vec<(String, KeyType)> {
    let spot = work.entity.spot;
    let names = work
        .entity
        .key
        .clone()
        .unwrap_or_else(|| primary_key.to_vec());
    if names.is_empty() {
        let hint = Some("name unique columns: key = [\"id\"]".to_owned());
        work.report(spot, "key", "the source has no primary key".into(), hint);
    }
    let mut key = Vec::new();
    for name in names {
        let Some(column) = columns.iter().find(|column| column.name == name) else {
            let hint = did_you_mean(&name, columns.iter().map(|it| it.name.as_str()));
            work.report(
                spot,
                "key",
                format!("the source has no column `{name}`"),
                hint,
            );
            continue;
        };
        match KeyType::from_base_type(&column.column_type.base) {
            Some(key_type) => key.push((name, key_type)),
            None => {
                let display = &column.column_type.display;
                let message =
                    format!("`{name}` is {display}; a key is integer, text, uuid or date");
                work.report(spot, "key", message, None);
            }
        }
    }
    key
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
    let mut work = Work { entity, issues };
    let target_name = QualifiedName::parse(&entity.target, &mapping.target_schema);
    let target = find_table(
        &mut work,
        catalogs.target,
        &target_name,
        "target",
        entity.spot,
    );
    let (source, scope) = resolve_source(&mut work, mapping, catalogs)?;
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
    check_id(&mut work, id, &source, &scope);
    let updated_at = resolve_updated_at(&mut work, &scope);
    let legacy = resolve_legacy(&mut work, &source, target);
    let columns = resolve_columns(&mut work, mapping, target, &scope, keys);
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
        overrides_identity: id.identity_always,
        legacy,
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
    })
}

fn resolve_source(
    work: &mut Work<'_>,
    mapping: &Mapping,
    catalogs: Catalogs<'_>,
) -> Option<(ResolvedSource, Scope)> {
    let entity = work.entity;
    let (from, mut watched) = match &entity.source {
        SourceRelation::Table(name) => {
            let name = QualifiedName::parse(name, &mapping.source_schema);
            find_table(work, catalogs.source, &name, "source", entity.spot);
            (SourceFrom::Table(name.clone()), vec![name])
        }
        SourceRelation::Query { query, watch } => {
            let names = watch
                .iter()
                .map(|name| QualifiedName::parse(name, &mapping.source_schema));
            let names: Vec<QualifiedName> = names.collect();
            for name in &names {
                find_table(work, catalogs.source, name, "source.watch", entity.spot);
            }
            (SourceFrom::Query(query.sql().to_owned()), names)
        }
    };
    let (columns, primary_key) = source_columns(mapping, entity, catalogs)?;
    // Key problems were reported when the key types were collected.
    let mut silent = Vec::new();
    let key = key_of(
        &mut Work {
            entity,
            issues: &mut silent,
        },
        &columns,
        &primary_key,
    );
    let mut scope = Scope::new(&entity.alias, columns);
    let mut joins = Vec::new();
    for join in &entity.joins {
        let name = QualifiedName::parse(&join.table, &mapping.source_schema);
        if let Some(table) = find_table(work, catalogs.source, &name, "join", join.spot) {
            scope.join(&join.alias, table.columns.clone());
        }
        watched.push(name.clone());
        joins.push(ResolvedJoin {
            table: name,
            alias: join.alias.clone(),
            on: join.on.clone(),
            kind: join.kind,
        });
    }
    let conditions = entity
        .joins
        .iter()
        .map(|join| ("join", join.spot, &join.on));
    let filter = entity
        .filter
        .iter()
        .map(|filter| ("where", entity.spot, filter));
    for (place, spot, expression) in conditions.chain(filter) {
        for name in expression.columns() {
            if let Err((message, hint)) = scope.find(name.table.as_deref(), &name.column) {
                work.report(spot, place, message, hint);
            }
        }
    }
    watched.sort();
    watched.dedup();
    let source = ResolvedSource {
        from,
        alias: entity.alias.clone(),
        joins,
        filter: entity.filter.clone(),
        watched,
        key,
    };
    Some((source, scope))
}

fn check_id(work: &mut Work<'_>, id: Option<&Column>, source: &ResolvedSource, scope: &Scope) {
    let rule = work.entity.id.clone();
    let Some(id) = id else { return };
    let base = id.column_type.base.as_str();
    match rule.strategy {
        IdStrategy::Ordered if base != "uuid" => {
            let message = format!(
                "`ordered` makes uuids, but `{}` is {}",
                id.name, id.column_type.display
            );
            work.report(
                rule.spot,
                "id",
                message,
                Some("use strategy = \"same\"".into()),
            );
        }
        IdStrategy::Same if !is_one_key_like(id, source) => {
            let message = format!("`same` needs one key column of the type of `{}`", id.name);
            work.report(rule.spot, "id", message, None);
        }
        IdStrategy::Same if is_narrower(id, source, scope) => {
            let message = format!("the source's keys may not fit into `{}`", id.name);
            let hint = Some("give the target column the type of the source key".into());
            work.report(rule.spot, "id", message, hint);
        }
        IdStrategy::Same | IdStrategy::Ordered => {}
    }
    if let Some(time) = &rule.time {
        match scope.column(time) {
            Err((message, hint)) => work.report(rule.spot, "id.time", message, hint),
            Ok((_, column))
                if !matches!(
                    column.column_type.base.as_str(),
                    "timestamp" | "timestamptz" | "date"
                ) =>
            {
                let message = format!("`{}` is {}", time.column, column.column_type.display);
                work.report(
                    rule.spot,
                    "id.time",
                    message,
                    Some("name a timestamp".into()),
                );
            }
            Ok(_) => {}
        }
    }
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

fn is_one_key_like(id: &Column, source: &ResolvedSource) -> bool {
    match source.key.as_slice() {
        [(_, key_type)] => KeyType::from_base_type(&id.column_type.base) == Some(*key_type),
        _ => false,
    }
}

/// Tells whether an integer key of the source is wider than the target's.
fn is_narrower(id: &Column, source: &ResolvedSource, scope: &Scope) -> bool {
    let width = |base: &str| ["int2", "int4", "int8"].iter().position(|it| *it == base);
    let Some((name, _)) = source.key.first() else {
        return false;
    };
    let key = scope.find(Some(scope.main_alias()), name);
    key.is_ok_and(|(_, column)| width(&column.column_type.base) > width(&id.column_type.base))
}

fn resolve_legacy(
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
        if target.column(column).is_none() {
            let message = format!("{} has no column `{column}`", target.name);
            let hint = did_you_mean(column, target.columns.iter().map(|it| it.name.as_str()));
            work.report(spot, "legacy", message, hint);
        }
        legacy.extend(index.map(|index| (index, column.clone())));
    }
    legacy
}

fn resolve_columns(
    work: &mut Work<'_>,
    mapping: &Mapping,
    target: &Table,
    scope: &Scope,
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
            time_zone: mapping.source_time_zone.as_deref(),
            keys,
            path: format!("entities.{}", entity.name),
            issues: work.issues,
        };
        columns.extend(column::resolve(&mut checker, rule, column));
    }
    columns.sort_by_key(|column| column.rule.target_owned);
    columns
}
