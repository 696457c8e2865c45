//! Whether the rules of an entity cover both sides: no source column forgotten, no required target column left open.

use super::Catalogs;
use super::entity::Work;
use super::source::source_columns;
use crate::domain::catalog::Table;
use crate::domain::mapping::issue::did_you_mean;
use crate::domain::mapping::uses::{Place, source_columns as source_columns_of};
use crate::domain::mapping::{DeletePolicy, Entity, Mapping};
use std::collections::BTreeSet;

/// Every source column must be used or listed in `ignore`; every required target column needs a rule.
pub(super) fn check_unmapped(
    work: &mut Work<'_>,
    target: &Table,
    legacy: &[(usize, String)],
    catalogs: Catalogs<'_>,
    mapping: &Mapping,
) {
    let entity = work.entity;
    for column in &target.columns {
        let filled = column.has_default
            || column.is_generated
            || !column.not_null
            || column.name == entity.id.column
            || legacy.iter().any(|(_, name)| *name == column.name)
            || entity.columns.iter().any(|rule| rule.target == column.name);
        if !filled {
            let message = format!(
                "target column `{}` is NOT NULL and has no rule",
                column.name
            );
            work.report(entity.spot, "columns", message, None);
        }
    }
    let Some((columns, primary_key)) = source_columns(mapping, entity, catalogs) else {
        return;
    };
    let mut used = used_columns(entity);
    used.extend(entity.key.clone().unwrap_or(primary_key));
    for name in &entity.ignore {
        if !columns.iter().any(|column| column.name == *name) {
            let hint = did_you_mean(name, columns.iter().map(|it| it.name.as_str()));
            let message = format!("the source has no column `{name}`");
            work.report(entity.spot, "ignore", message, hint);
        }
    }
    for column in &columns {
        if !used.contains(&column.name) && !entity.ignore.contains(&column.name) {
            let message = format!(
                "source column `{}` is neither mapped nor ignored",
                column.name
            );
            let hint = Some("map it or list it in `ignore`".to_owned());
            work.report(entity.spot, "columns", message, hint);
        }
    }
}

/// Collects the own source's columns that any rule or condition names.
fn used_columns(entity: &Entity) -> BTreeSet<String> {
    let named = source_columns_of(entity).into_iter();
    let counted = named.filter(|(place, _)| !matches!(place, Place::Ignore | Place::Legacy));
    let own = counted.filter(|(_, column)| {
        let table = column.table.as_deref();
        table.is_none_or(|table| table == entity.alias)
    });
    own.map(|(_, column)| column.column).collect()
}

/// Checks the columns that retiring sets.
pub(super) fn check_retire(work: &mut Work<'_>, target: &Table) {
    let DeletePolicy::Retire(settings) = &work.entity.delete else {
        return;
    };
    for (column, _) in settings {
        if target.column(column).is_none() {
            let message = format!("{} has no column `{column}`", target.name);
            let hint = did_you_mean(column, target.columns.iter().map(|it| it.name.as_str()));
            work.report(work.entity.spot, "delete.retire", message, hint);
        }
    }
}
