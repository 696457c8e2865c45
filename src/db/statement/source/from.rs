//! The `from` clause of an entity: its relation, its joins, its filter, and rows that are one.

use super::ordered;
use crate::domain::expression::Expression;
use crate::domain::identifier::quote_identifier;
use crate::domain::mapping::{Dedupe, JoinKind};
use crate::domain::resolve::{GROUP_KEY, JoinFrom, ROW_KEY, ResolvedSource, Scope, SourceFrom};

/// The key of the row whose values stand for its group.
const TAKEN_KEY: &str = "taken_key";

/// The rows of an entity.
pub(super) struct From {
    /// The own relation with its alias.
    pub relation: String,
    /// The relation with its joins.
    pub joined: String,
    /// What rows must pass.
    pub filter: Option<String>,
}

impl From {
    /// Compiles the source of an entity.
    pub fn of(source: &ResolvedSource, scope: &Scope) -> From {
        let from = From::of_all(source, scope);
        let Some(groups) = from.groups(source, scope) else {
            return from;
        };
        let alias = quote_identifier(&source.alias);
        let key = source.key.first().map(|(name, _)| name.as_str());
        let columns = scope.main_columns().map(|name| match Some(name) == key {
            true => format!("g.{GROUP_KEY} as {}", quote_identifier(name)),
            false => format!("{alias}.{}", quote_identifier(name)),
        });
        let columns: Vec<String> = columns.collect();
        let grouped = format!(
            "(select {} from ({groups}) g join {} on {} is not distinct from g.{TAKEN_KEY} \
             where g.{ROW_KEY} is not distinct from g.{GROUP_KEY}) as {alias}",
            columns.join(", "),
            from.relation,
            key_of(source)
        );
        From {
            joined: joined(grouped, source, scope),
            relation: from.relation,
            // Only rows that pass are grouped.
            filter: None,
        }
    }

    /// All rows that pass joins and filter, one by one.
    fn of_all(source: &ResolvedSource, scope: &Scope) -> From {
        let relation = match &source.from {
            SourceFrom::Table(name) => name.sql(),
            SourceFrom::Query(query) => format!("({query})"),
        };
        let relation = format!("{relation} as {}", quote_identifier(&source.alias));
        let filter = source.filter.as_ref();
        From {
            joined: joined(relation.clone(), source, scope),
            relation,
            filter: filter.map(|it| it.to_sql(&|name| scope.expression_column(name))),
        }
    }

    /// Every row that passes, with the lowest key of its group and the key of the row that is taken.
    fn groups(&self, source: &ResolvedSource, scope: &Scope) -> Option<String> {
        let dedupe = source.dedupe.as_ref()?;
        let key = key_of(source);
        let filter = self.filter.as_ref().map(|it| format!(" where {it}"));
        let (partition, by_key, by_preference) = window(source, scope, dedupe);
        Some(format!(
            "select {key} as {ROW_KEY}, \
             first_value({key}) over (partition by {partition} order by {by_key}) as {GROUP_KEY}, \
             first_value({key}) over (partition by {partition} order by {by_preference}) as {TAKEN_KEY} \
             from {}{}",
            self.joined,
            filter.unwrap_or_default()
        ))
    }
}

fn joined(relation: String, source: &ResolvedSource, scope: &Scope) -> String {
    let mut joined = relation;
    for join in &source.joins {
        let kind = match join.kind {
            JoinKind::Left => "left join",
            JoinKind::Inner => "join",
        };
        let table = match &join.from {
            JoinFrom::Table(name) => name.sql(),
            JoinFrom::Groups(source, scope) => everybody(source, scope),
        };
        let on = join.on.to_sql(&|name| scope.expression_column(name));
        let alias = quote_identifier(&join.alias);
        joined.push_str(&format!(" {kind} {table} as {alias} on {on}"));
    }
    joined
}

/// Every row of the relation with the key of its group; its own key where it is in none.
fn everybody(source: &ResolvedSource, scope: &Scope) -> String {
    let from = From::of_all(source, scope);
    let key = key_of(source);
    let groups = from.groups(source, scope).unwrap_or_default();
    format!(
        "(select {key} as {ROW_KEY}, coalesce(g.{GROUP_KEY}, {key}) as {GROUP_KEY} from {} \
         left join ({groups}) g on g.{ROW_KEY} = {key})",
        from.relation
    )
}

fn key_of(source: &ResolvedSource) -> String {
    let alias = quote_identifier(&source.alias);
    let key = source.key.first().map(|(name, _)| quote_identifier(name));
    format!("{alias}.{}", key.unwrap_or_default())
}

/// What rows are grouped by (rows with NULL stand alone), and two orders: by key, and by preference.
fn window(source: &ResolvedSource, scope: &Scope, dedupe: &Dedupe) -> (String, String, String) {
    let key = key_of(source);
    let render =
        |it: &Expression| format!("({})", it.to_sql(&|name| scope.expression_column(name)));
    let by: Vec<String> = dedupe.by.iter().map(render).collect();
    let alone: Vec<String> = by.iter().map(|it| format!("{it} is null")).collect();
    let prefer = dedupe.prefer.iter().map(|it| {
        let direction = if it.is_descending { " desc" } else { "" };
        let nulls = match it.nulls_first {
            Some(true) => " nulls first",
            Some(false) => " nulls last",
            None => "",
        };
        format!("{}{direction}{nulls}", render(&it.expression))
    });
    let key_type = source.key.first().map(|(_, key_type)| *key_type);
    let by_key = key_type.map_or_else(|| key.clone(), |it| ordered(&key, it));
    let order: Vec<String> = prefer.chain([by_key.clone()]).collect();
    let partition = format!(
        "{}, case when {} then {key} end",
        by.join(", "),
        alone.join(" or ")
    );
    (partition, by_key, order.join(", "))
}
