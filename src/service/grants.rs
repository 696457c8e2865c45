//! The rights that a mapping needs; no connection is opened.

use crate::db::statement::grants::grants;
use crate::domain::connection::Side;
use crate::domain::mapping::Mapping;
use serde::Serialize;

/// The rights of one role.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleGrants {
    /// `source` or `target`.
    pub side: &'static str,
    /// The role.
    pub role: String,
    /// The statements in their order.
    pub statements: Vec<String>,
}

/// Lists what a role needs on one side.
pub fn role_grants(side: Side, mapping: &Mapping, role: &str) -> RoleGrants {
    let statements = grants(side, mapping, role);
    RoleGrants {
        side: side.word(),
        role: role.to_owned(),
        statements: statements.iter().map(|it| it.as_str().to_owned()).collect(),
    }
}
