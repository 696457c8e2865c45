//! The source side of an entity: its relation, its joins, its key.

use super::Catalogs;
use super::entity::{Work, find_table};
use super::scope::Scope;
use super::via::{self, Routes};
use crate::domain::catalog::Column;
use crate::domain::expression::Expression;
use crate::domain::identifier::QualifiedName;
use crate::domain::key::KeyType;
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::mapping::{
    Dedupe, Entity, JoinKind, Mapping, MappingIssue, Rule, SourceRelation,
};
use std::collections::BTreeMap;

/// Where rows are read from.
#[derive(Debug, Clone)]
pub enum SourceFrom {
    /// A table or view.
    Table(QualifiedName),
    /// A checked query.
    Query(String),
}

/// What is joined.
#[derive(Debug, Clone)]
pub enum JoinFrom {
    /// A source table.
    Table(QualifiedName),
    /// The rows of another entity's source, each with the key of its group: the columns [`ROW_KEY`] and
    /// [`GROUP_KEY`].
    Groups(Box<ResolvedSource>, Box<Scope>),
}

/// The key of any row, in [`JoinFrom::Groups`].
pub const ROW_KEY: &str = "row_key";
/// The lowest key of the rows that are one with it.
pub const GROUP_KEY: &str = "group_key";

/// A joined source table.
#[derive(Debug, Clone)]
pub struct ResolvedJoin {
    /// The table.
    pub from: JoinFrom,
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
    /// Which rows are one.
    pub dedupe: Option<Dedupe>,
}

impl ResolvedSource {
    /// Returns the table when a row depends on nothing but its own row there and joined rows.
    pub fn own_table(&self) -> Option<&QualifiedName> {
        match &self.from {
            SourceFrom::Table(name) if self.dedupe.is_none() => Some(name),
            SourceFrom::Table(_) | SourceFrom::Query(_) => None,
        }
    }

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

/// Finds the key types of every entity whose source can be found; others report nothing here.
pub(super) fn key_types(
    mapping: &Mapping,
    catalogs: Catalogs<'_>,
    issues: &mut Vec<MappingIssue>,
) -> BTreeMap<String, Vec<KeyType>> {
    let mut keys = BTreeMap::new();
    for entity in &mapping.entities {
        let mut work = Work::new(entity, issues);
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

pub(super) fn key_of(
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

/// Finds the relation and the tables that it reads.
fn relation_of(
    work: &mut Work<'_>,
    mapping: &Mapping,
    catalogs: Catalogs<'_>,
) -> (SourceFrom, Vec<QualifiedName>) {
    let entity = work.entity;
    match &entity.source {
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
    }
}

/// With `dedupe` the key is the group's, while all other values are those of the preferred row.
fn check_groups(work: &mut Work<'_>, key: &[(String, KeyType)]) {
    let entity = work.entity;
    if entity.dedupe.is_none() {
        return;
    }
    let is_key = |table: Option<&String>, column: &String| {
        table.is_none_or(|it| *it == entity.alias) && key.iter().any(|(name, _)| name == column)
    };
    for join in &entity.joins {
        let mut names = join.on.columns().iter();
        if names.any(|it| is_key(it.table.as_ref(), &it.column)) {
            let message = "with `dedupe` a join on the key would find another row of the group";
            let hint = Some("join inside a source query".to_owned());
            work.report(join.spot, "join", message.into(), hint);
        }
    }
    for rule in &entity.columns {
        if let Rule::Reference { by, via, .. } = &rule.rule
            && !via.is_empty()
            && by.iter().any(|by| is_key(by.table.as_ref(), &by.column))
        {
            let message =
                "with `dedupe` a way from the key would begin at another row of the group";
            let key = format!("columns.{}.via", rule.target);
            work.report(rule.spot, &key, message.into(), None);
        }
    }
    if let Some(updated_at) = &entity.updated_at {
        let message = "with `dedupe` a time says nothing about the other rows of the group";
        let hint = Some("remove `updated_at`".to_owned());
        work.report(updated_at.spot, "updated_at", message.into(), hint);
    }
}

/// Binds relation, joins and filter, and the ways of references where they are wanted.
pub(super) fn resolve_source(
    work: &mut Work<'_>,
    mapping: &Mapping,
    catalogs: Catalogs<'_>,
    with_routes: bool,
) -> Option<(ResolvedSource, Scope, Routes)> {
    let entity = work.entity;
    let (from, mut watched) = relation_of(work, mapping, catalogs);
    let (columns, primary_key) = source_columns(mapping, entity, catalogs)?;
    // Key problems were reported when the key types were collected.
    let mut silent = Vec::new();
    let key = key_of(&mut Work::new(entity, &mut silent), &columns, &primary_key);
    let mut scope = Scope::new(&entity.alias, columns, catalogs.source.server_version);
    let mut joins = Vec::new();
    for join in &entity.joins {
        let name = QualifiedName::parse(&join.table, &mapping.source_schema);
        if let Some(table) = find_table(work, catalogs.source, &name, "join", join.spot) {
            scope.join(&join.alias, table.columns.clone());
        }
        watched.push(name.clone());
        joins.push(ResolvedJoin {
            from: JoinFrom::Table(name),
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
    let dedupe = entity.dedupe.iter();
    let dedupe = dedupe.flat_map(|it| it.expressions().map(|one| ("dedupe", it.spot, one)));
    for (place, spot, expression) in conditions.chain(filter).chain(dedupe) {
        for name in expression.columns() {
            if let Err((message, hint)) = scope.find(name.table.as_deref(), &name.column) {
                work.report(spot, place, message, hint);
            }
        }
    }
    if let Some(dedupe) = entity.dedupe.as_ref().filter(|_| key.len() > 1) {
        let message = "rows with a key of several columns cannot be one";
        work.report(dedupe.spot, "dedupe", message.into(), None);
    }
    check_groups(work, &key);
    let own_joins = joins.len();
    let routes = match with_routes {
        true => via::routes(work, mapping, catalogs, &mut scope, &mut joins),
        false => Routes::new(),
    };
    for join in &joins[own_joins..] {
        match &join.from {
            JoinFrom::Table(name) => watched.push(name.clone()),
            JoinFrom::Groups(source, _) => watched.extend(source.watched.iter().cloned()),
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
        dedupe: entity.dedupe.clone(),
    };
    Some((source, scope, routes))
}
