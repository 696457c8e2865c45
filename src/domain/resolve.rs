//! Binds a mapping to both catalogs. Only what comes out of here reaches SQL.

pub mod adopt;
pub mod column;
pub mod conversion;
mod coverage;
pub mod entity;
pub mod extract;
mod identity;
mod reference;
pub mod scope;
pub mod source;
mod validation;
mod via;

pub use adopt::{Adoption, Carrier, ResolvedMappings};
pub use column::{ResolvedColumn, ResolvedValue};
pub use conversion::{Conversion, Digits, Transport};
pub use entity::ResolvedEntity;
pub use extract::{Extract, ExtractForm};
pub use scope::Scope;
pub use source::{GROUP_KEY, JoinFrom, ROW_KEY, ResolvedJoin, ResolvedSource, SourceFrom};
pub use validation::ResolvedValidation;
pub use via::{ResolvedHop, Route};

use super::catalog::{Catalog, Column};
use super::mapping::{Mapping, MappingIssue};
use std::collections::BTreeMap;

/// Both catalogs and the columns of every source query, by entity.
#[derive(Debug, Clone, Copy)]
pub struct Catalogs<'a> {
    /// The source.
    pub source: &'a Catalog,
    /// The target.
    pub target: &'a Catalog,
    /// What the server says each `source.query` returns.
    pub query_columns: &'a BTreeMap<String, Vec<Column>>,
}

/// Checks the whole mapping against both databases.
///
/// # Errors
/// Every problem at once, in file order.
pub fn resolve(
    mapping: &Mapping,
    catalogs: Catalogs<'_>,
) -> Result<Vec<ResolvedEntity>, Vec<MappingIssue>> {
    let (resolved, issues) = examine(mapping, catalogs);
    if issues.is_empty() {
        Ok(resolved)
    } else {
        Err(issues)
    }
}

/// As [`resolve`], but returns the entities that fit beside the problems of the others.
pub fn examine(
    mapping: &Mapping,
    catalogs: Catalogs<'_>,
) -> (Vec<ResolvedEntity>, Vec<MappingIssue>) {
    let mut issues = Vec::new();
    let keys = source::key_types(mapping, catalogs, &mut issues);
    let mut resolved = Vec::new();
    for declared in &mapping.entities {
        resolved.extend(entity::resolve(
            mapping,
            declared,
            catalogs,
            &keys,
            &mut issues,
        ));
    }
    issues.sort_by_key(|issue| issue.spot);
    (resolved, issues)
}
