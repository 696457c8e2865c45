//! The target key of an entity: whether its strategy fits both sides.

use super::entity::Work;
use super::scope::Scope;
use super::source::ResolvedSource;
use crate::domain::catalog::Column;
use crate::domain::key::KeyType;
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::mapping::{IdStrategy, TemplatePart};
use crate::domain::target_id::{NamePart, NamedId};

/// Binds the name from which ids are derived.
pub(super) fn named_id(work: &mut Work<'_>, source: &ResolvedSource) -> Option<NamedId> {
    let rule = work.entity.id.clone();
    if rule.strategy != IdStrategy::Named {
        return None;
    }
    let mut name = Vec::new();
    let Some(parts) = rule.name else {
        for index in 0..source.key.len() {
            if index > 0 {
                name.push(NamePart::Text(":".into()));
            }
            name.push(NamePart::Key(index));
        }
        return Some(NamedId {
            namespace: rule.namespace?,
            name,
        });
    };
    let mut used = vec![false; source.key.len()];
    for part in parts {
        match part {
            TemplatePart::Text(text) => name.push(NamePart::Text(text)),
            TemplatePart::Hole(column, filters) => {
                let index = source.key.iter().position(|(key, _)| *key == column.column);
                match index.filter(|_| filters.is_empty()) {
                    Some(index) => {
                        used[index] = true;
                        name.push(NamePart::Key(index));
                    }
                    None => {
                        let message = format!("`{{{}}}` is no key column", column.column);
                        let keys = source.key.iter().map(|(key, _)| key.as_str());
                        let hint = did_you_mean(&column.column, keys).or_else(|| {
                            Some("a name is made of key columns, without filters".into())
                        });
                        work.report(rule.spot, "id.name", message, hint);
                    }
                }
            }
        }
    }
    if used.contains(&false) {
        let message = "the name leaves out a key column, so several rows would get one id";
        work.report(rule.spot, "id.name", message.into(), None);
    }
    Some(NamedId {
        namespace: rule.namespace?,
        name,
    })
}

/// Checks strategy, type and order of the target key.
pub(super) fn check_id(
    work: &mut Work<'_>,
    id: Option<&Column>,
    source: &ResolvedSource,
    scope: &Scope,
) {
    let rule = work.entity.id.clone();
    let Some(id) = id else { return };
    let base = id.column_type.base.as_str();
    match rule.strategy {
        IdStrategy::Ordered | IdStrategy::Named | IdStrategy::Random if base != "uuid" => {
            let message = format!(
                "this strategy makes uuids, but `{}` is {}",
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
        _ => {}
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
