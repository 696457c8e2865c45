//! References that reach their parent through other source rows: every hop becomes a join on a key.

use super::Catalogs;
use super::entity::{Work, find_table};
use super::scope::Scope;
use super::source::{
    GROUP_KEY, JoinFrom, ROW_KEY, ResolvedJoin, key_of, resolve_source, source_columns,
};
use crate::domain::catalog::Column;
use crate::domain::expression::parse_expression;
use crate::domain::identifier::{QualifiedName, quote_identifier};
use crate::domain::key::KeyType;
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::mapping::{ColumnRef, ColumnRule, Hop, JoinKind, Mapping, Rule, SourceRelation};
use std::collections::BTreeMap;

/// One step of a route, in columns of the entity and its joins.
#[derive(Debug, Clone)]
pub struct ResolvedHop {
    /// The column that names the row of this hop.
    pub from: ColumnRef,
    /// The key of that row; NULL when there is no such row.
    pub key: ColumnRef,
}

/// How a reference reaches its parent.
#[derive(Debug, Clone)]
pub struct Route {
    /// The steps in order.
    pub hops: Vec<ResolvedHop>,
    /// The column with the parent's key.
    pub by: ColumnRef,
    /// The column that holds it when the parent is in no group; `None` for parents without `dedupe`.
    pub ungrouped: Option<ColumnRef>,
}

/// Routes by target column.
pub(super) type Routes = BTreeMap<String, Route>;

/// Finds the routes of an entity's references and adds their joins.
pub(super) fn routes(
    work: &mut Work<'_>,
    mapping: &Mapping,
    catalogs: Catalogs<'_>,
    scope: &mut Scope,
    joins: &mut Vec<ResolvedJoin>,
) -> Routes {
    let mut routes = Routes::new();
    for rule in &work.entity.columns {
        let Rule::Reference {
            entity, by, via, ..
        } = &rule.rule
        else {
            continue;
        };
        // A parent of several key columns is reached directly; what is wrong with that is reported with the rule.
        let [by] = by.as_slice() else {
            continue;
        };
        let mut route = Route {
            hops: Vec::new(),
            by: by.clone(),
            ungrouped: None,
        };
        for hop in via {
            let alias = format!("diffmig_hop_{}", joins.len() + 1);
            let found = (Builder {
                work,
                mapping,
                catalogs,
                scope,
            })
            .hop(rule, &route.by, hop, alias);
            let Some((join, resolved)) = found else {
                break;
            };
            route.by = ColumnRef {
                table: Some(join.alias.clone()),
                column: hop.column.clone(),
            };
            joins.push(join);
            route.hops.push(resolved);
        }
        if route.hops.len() < via.len() {
            continue;
        }
        let alias = format!("diffmig_hop_{}", joins.len() + 1);
        let mut builder = Builder {
            work,
            mapping,
            catalogs,
            scope,
        };
        if let Some((join, hop)) = builder.group(entity, &route.by, alias) {
            route.by = ColumnRef {
                table: Some(join.alias.clone()),
                column: GROUP_KEY.to_owned(),
            };
            joins.push(join);
            route.ungrouped = Some(hop.from);
        }
        if !route.hops.is_empty() || route.ungrouped.is_some() {
            routes.insert(rule.target.clone(), route);
        }
    }
    routes
}

struct Builder<'w, 'a, 'c, 's> {
    work: &'w mut Work<'a>,
    mapping: &'c Mapping,
    catalogs: Catalogs<'c>,
    scope: &'s mut Scope,
}

impl Builder<'_, '_, '_, '_> {
    fn report(&mut self, rule: &ColumnRule, message: String, hint: Option<String>) {
        let key = format!("columns.{}.via", rule.target);
        self.work.report(rule.spot, &key, message, hint);
    }

    /// Finds the table of a hop and its only key column: an entity's by its name, else a source table's.
    fn relation(
        &mut self,
        rule: &ColumnRule,
        hop: &Hop,
    ) -> Option<(QualifiedName, String, KeyType)> {
        let entity = self
            .mapping
            .entities
            .iter()
            .find(|it| it.name == hop.relation);
        let (name, key) = match entity {
            Some(entity) => {
                let SourceRelation::Table(table) = &entity.source else {
                    let message = format!(
                        "`{}` comes from a query, which cannot be a hop",
                        entity.name
                    );
                    self.report(rule, message, Some("name a source table".into()));
                    return None;
                };
                let (columns, primary_key) = source_columns(self.mapping, entity, self.catalogs)?;
                // Key problems of that entity are reported there.
                let mut silent = Vec::new();
                let key = key_of(&mut Work::new(entity, &mut silent), &columns, &primary_key);
                (
                    QualifiedName::parse(table, &self.mapping.source_schema),
                    key,
                )
            }
            None => {
                let name = QualifiedName::parse(&hop.relation, &self.mapping.source_schema);
                let table =
                    find_table(self.work, self.catalogs.source, &name, "columns", rule.spot)?;
                let key = table.primary_key.iter().filter_map(|column| {
                    let found = table.column(column)?;
                    let key_type = KeyType::from_base_type(&found.column_type.base)?;
                    Some((column.clone(), key_type))
                });
                (name, key.collect())
            }
        };
        match key.as_slice() {
            [(column, key_type)] => Some((name, column.clone(), *key_type)),
            _ => {
                let message = format!("`{}` has no key of one column", hop.relation);
                self.report(rule, message, None);
                None
            }
        }
    }

    fn hop(
        &mut self,
        rule: &ColumnRule,
        from: &ColumnRef,
        hop: &Hop,
        alias: String,
    ) -> Option<(ResolvedJoin, ResolvedHop)> {
        let (table, key, key_type) = self.relation(rule, hop)?;
        let columns = self.catalogs.source.table(&table)?.columns.clone();
        if !columns.iter().any(|it| it.name == hop.column) {
            let hint = did_you_mean(&hop.column, columns.iter().map(|it| it.name.as_str()));
            self.report(
                rule,
                format!("{table} has no column `{}`", hop.column),
                hint,
            );
            return None;
        }
        let (from_alias, from_column) = match self.scope.column(from) {
            Ok((alias, column)) => (alias.to_owned(), column.clone()),
            Err((message, hint)) => {
                self.report(rule, message, hint);
                return None;
            }
        };
        if KeyType::from_base_type(&from_column.column_type.base) != Some(key_type) {
            let message = format!(
                "`{}` is {}, but the key of {table} is {}",
                from_column.name,
                from_column.column_type.display,
                key_type.sql_type()
            );
            self.report(rule, message, None);
            return None;
        }
        self.scope.join_unnamed(&alias, columns);
        step(
            JoinFrom::Table(table),
            (alias, key),
            (from_alias, from_column.name),
        )
    }

    /// Leads from the key of any row of a parent to the key of its group.
    fn group(
        &mut self,
        parent: &str,
        by: &ColumnRef,
        alias: String,
    ) -> Option<(ResolvedJoin, ResolvedHop)> {
        let parent = self.mapping.entities.iter().find(|it| it.name == parent)?;
        parent.dedupe.as_ref()?;
        // Its problems are reported where it is bound itself.
        let mut silent = Vec::new();
        let mut work = Work::new(parent, &mut silent);
        let (source, scope, _) = resolve_source(&mut work, self.mapping, self.catalogs, false)?;
        let [(key, _)] = source.key.as_slice() else {
            return None;
        };
        let (_, key) = scope.find(Some(scope.main_alias()), key).ok()?;
        let column = |name: &str| Column {
            name: name.to_owned(),
            ..key.clone()
        };
        let (from_alias, from_column) = self.scope.column(by).ok()?;
        let from = (from_alias.to_owned(), from_column.name.clone());
        self.scope
            .join_unnamed(&alias, vec![column(ROW_KEY), column(GROUP_KEY)]);
        let relation = JoinFrom::Groups(Box::new(source), Box::new(scope));
        step(relation, (alias, ROW_KEY.to_owned()), from)
    }
}

/// Joins a relation by its key.
fn step(
    relation: JoinFrom,
    (alias, key): (String, String),
    (from_alias, from_column): (String, String),
) -> Option<(ResolvedJoin, ResolvedHop)> {
    let on = format!(
        "{}.{} = {}.{}",
        quote_identifier(&alias),
        quote_identifier(&key),
        quote_identifier(&from_alias),
        quote_identifier(&from_column)
    );
    let hop = ResolvedHop {
        from: ColumnRef {
            table: Some(from_alias),
            column: from_column,
        },
        key: ColumnRef {
            table: Some(alias.clone()),
            column: key,
        },
    };
    let join = ResolvedJoin {
        from: relation,
        alias,
        on: parse_expression(&on).ok()?,
        kind: JoinKind::Left,
    };
    Some((join, hop))
}
