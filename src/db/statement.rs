//! All dynamic SQL: made from resolved entities only, every identifier quoted in one place.

pub mod adopt;
pub mod apply;
pub mod content;
pub mod ddl;
pub mod direct;
pub mod doctor;
pub mod draft;
pub mod explain;
pub mod grants;
pub mod key_range;
pub mod knot;
pub mod ledger;
pub mod park;
pub mod projection;
pub mod retire;
pub mod sequence;
pub mod source;
pub mod target_row;

use crate::domain::key::KeyType;
use sqlx::AssertSqlSafe;

/// SQL text that was generated here, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement(String);

impl Statement {
    fn new(text: String) -> Self {
        Statement(text)
    }

    /// Vouches for a query of the mapping file that was parsed and rendered by the domain.
    pub fn of_query(query: &crate::domain::expression::SourceQuery) -> Self {
        Statement(query.sql().to_owned())
    }

    /// Returns the text, for COPY and for golden files.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Hands the text to the driver.
    pub fn safe(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(self.0.clone())
    }
}

/// The columns of a key: `k0, k1`.
pub(crate) fn key_names(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("k{index}")).collect()
}

/// Equality of the key of a row with one that is stored as JSON: `l.k0 = (g.key ->> 0)::bigint`.
pub(crate) fn stored_key_equality(alias: &str, types: &[KeyType], stored: &str) -> String {
    let pairs = types.iter().enumerate().map(|(index, key_type)| {
        let sql_type = key_type.sql_type();
        format!("{alias}.k{index} = ({stored} ->> {index})::{sql_type}")
    });
    pairs.collect::<Vec<_>>().join(" and ")
}

/// Equality of two keys: `a.k0 = b.k0 and a.k1 = b.k1`.
pub(crate) fn key_equality(left: &str, right: &str, count: usize) -> String {
    let pairs = key_names(count)
        .into_iter()
        .map(|key| format!("{left}.{key} = {right}.{key}"));
    pairs.collect::<Vec<_>>().join(" and ")
}
