//! What an earlier mapping made of an entity, for hashes of that time.

use crate::domain::canonical::RowShape;
use crate::domain::catalog::{Column, Table};
use crate::domain::resolve::{ResolvedEntity, Transport};
use std::collections::BTreeMap;

/// An entity as it was, to be read from the target as it is.
#[derive(Debug, Clone)]
pub struct Former {
    /// The shape of its rows, by which they were hashed.
    pub shape: RowShape,
    /// The entity, with the names that its columns have now.
    pub entity: ResolvedEntity,
    /// Target columns that are compared now and were not then.
    pub fresh: Vec<String>,
}

const INTEGERS: &[&str] = &["int2", "int4", "int8"];

/// Tells whether a column of the target can still be read the way it was.
fn is_readable(transport: &Transport, now: &Column) -> bool {
    let present = Transport::of(&now.column_type);
    let are_integers =
        INTEGERS.contains(&present.base.as_str()) && INTEGERS.contains(&transport.base.as_str());
    transport.sql == present.sql || are_integers || transport.base == "text"
}

/// Prepares an entity of an earlier mapping for reading; `None` when the target has not kept its columns.
///
/// `renamed` has the old names of target columns and their new ones.
pub fn former(
    old: &ResolvedEntity,
    now: &ResolvedEntity,
    target: &Table,
    renamed: &BTreeMap<String, String>,
) -> Option<Former> {
    if old.source.key != now.source.key {
        return None;
    }
    // What the earlier mapping did not hash, somebody may have filled: its hash would not tell.
    let knew = |name: &str| {
        let before = renamed
            .iter()
            .find_map(|(old, new)| (new == name).then_some(old.as_str()));
        let before = before.unwrap_or(name);
        let mut compared = old.columns.iter().take(old.compared_count());
        compared.any(|it| it.name == before)
    };
    let compared_now = now.columns.iter().take(now.compared_count());
    let fresh = compared_now.filter(|it| !knew(&it.name));
    let fresh = fresh.map(|it| it.name.clone()).collect();
    let shape = RowShape::of_target(old);
    let mut entity = old.clone();
    entity.target = now.target.clone();
    entity.id_column = now.id_column.clone();
    let compared = entity.compared_count();
    for column in entity.columns.iter_mut().take(compared) {
        if let Some(name) = renamed.get(&column.name) {
            column.name.clone_from(name);
        }
        let found = target.column(&column.name)?;
        let is_reference = !column.parents().is_empty();
        if !is_reference && !is_readable(&column.transport, found) {
            return None;
        }
    }
    Some(Former {
        shape,
        entity,
        fresh,
    })
}
