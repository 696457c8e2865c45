//! Where an entity names a column: of its source relation and joins, or of its target table.

use super::column::{ColumnRef, ColumnRule, JsonMember, Rule};
use super::dedupe::Dedupe;
use super::entity::{DeletePolicy, Entity};
use super::template::TemplatePart;
use super::validate::Demand;
use crate::domain::expression::Expression;

/// A place of the mapping that names a column.
#[derive(Debug, Clone, Copy)]
pub enum Place<'m> {
    /// The rule of a target column.
    Rule(&'m ColumnRule),
    /// `where`.
    Filter,
    /// The condition of a join.
    Join,
    /// `key`.
    Key,
    /// `ignore`.
    Ignore,
    /// `id.time`.
    IdTime,
    /// `updated_at`.
    UpdatedAt,
    /// `id.column`.
    Id,
    /// `legacy`.
    Legacy,
    /// `delete.retire`.
    Retire,
    /// `validate`.
    Validate,
    /// `dedupe`.
    Dedupe,
}

impl Place<'_> {
    /// Returns the key of the mapping, as `columns.email`.
    pub fn path(&self) -> String {
        match self {
            Place::Rule(rule) => format!("columns.{}", rule.target),
            Place::Filter => "where".to_owned(),
            Place::Join => "join".to_owned(),
            Place::Key => "key".to_owned(),
            Place::Ignore => "ignore".to_owned(),
            Place::IdTime => "id.time".to_owned(),
            Place::UpdatedAt => "updated_at".to_owned(),
            Place::Id => "id".to_owned(),
            Place::Legacy => "legacy".to_owned(),
            Place::Retire => "delete.retire".to_owned(),
            Place::Validate => "validate".to_owned(),
            Place::Dedupe => "dedupe".to_owned(),
        }
    }
}

fn own(column: &str) -> ColumnRef {
    ColumnRef {
        table: None,
        column: column.to_owned(),
    }
}

fn in_expression(expression: &Expression) -> impl Iterator<Item = ColumnRef> {
    expression.columns().iter().map(|name| ColumnRef {
        table: name.table.clone(),
        column: name.column.clone(),
    })
}

fn in_rule(rule: &Rule) -> Vec<ColumnRef> {
    match rule {
        Rule::Column(column) | Rule::JsonParse { column, .. } | Rule::JsonPath { column, .. } => {
            vec![column.clone()]
        }
        Rule::Json { members, .. } => {
            let leaves = JsonMember::leaves(members).into_iter();
            let columns = leaves.flat_map(|member| match member {
                JsonMember::Column(column) => vec![column.clone()],
                JsonMember::Expr(expression) => in_expression(expression).collect(),
                JsonMember::Const(_) | JsonMember::Object(_) => Vec::new(),
            });
            columns.collect()
        }
        Rule::Reference { by, .. } => by.clone(),
        Rule::Poly {
            type_column,
            id_column,
            ..
        } => vec![type_column.clone(), id_column.clone()],
        Rule::Expr(expression) => in_expression(expression).collect(),
        Rule::Case { arms, .. } => {
            let conditions = arms.iter().map(|arm| &arm.when);
            conditions.flat_map(in_expression).collect()
        }
        Rule::Template { parts, .. } => {
            let holes = parts.iter().filter_map(|part| match part {
                TemplatePart::Hole(column, _) => Some(column.clone()),
                TemplatePart::Text(_) => None,
            });
            holes.collect()
        }
        Rule::Const(_) => Vec::new(),
    }
}

/// Lists the source columns that an entity names, with the places; `ignore` and `key` among them.
pub fn source_columns(entity: &Entity) -> Vec<(Place<'_>, ColumnRef)> {
    let mut found = Vec::new();
    for rule in &entity.columns {
        let columns = in_rule(&rule.rule).into_iter();
        found.extend(columns.map(|column| (Place::Rule(rule), column)));
    }
    let filter = entity.filter.iter().flat_map(in_expression);
    found.extend(filter.map(|column| (Place::Filter, column)));
    let joins = entity.joins.iter().flat_map(|join| in_expression(&join.on));
    found.extend(joins.map(|column| (Place::Join, column)));
    let groups = entity.dedupe.iter().flat_map(Dedupe::expressions);
    let groups = groups.flat_map(in_expression);
    found.extend(groups.map(|column| (Place::Dedupe, column)));
    for validation in &entity.validations {
        if let Demand::Condition(condition) = &validation.demand {
            let columns = in_expression(condition);
            found.extend(columns.map(|column| (Place::Validate, column)));
        }
    }
    let key = entity.key.iter().flatten();
    found.extend(key.map(|name| (Place::Key, own(name))));
    let ignored = entity.ignore.iter();
    found.extend(ignored.map(|name| (Place::Ignore, own(name))));
    let legacy = entity.legacy.iter();
    found.extend(legacy.map(|(name, _)| (Place::Legacy, own(name))));
    let time = entity.id.time.iter();
    found.extend(time.map(|column| (Place::IdTime, column.clone())));
    let updated_at = entity.updated_at.iter();
    found.extend(updated_at.map(|it| (Place::UpdatedAt, it.column.clone())));
    found
}

/// Lists the target columns that an entity names, with the places.
pub fn target_columns(entity: &Entity) -> Vec<(Place<'_>, &str)> {
    let rules = entity.columns.iter();
    let mut found: Vec<(Place<'_>, &str)> = rules
        .map(|rule| (Place::Rule(rule), rule.target.as_str()))
        .collect();
    found.push((Place::Id, &entity.id.column));
    let legacy = entity.legacy.iter();
    found.extend(legacy.map(|(_, column)| (Place::Legacy, column.as_str())));
    if let DeletePolicy::Retire(settings) = &entity.delete {
        let columns = settings.iter();
        found.extend(columns.map(|(column, _)| (Place::Retire, column.as_str())));
    }
    found
}
