//! Statements that read less than everything: rows since a watermark, keys only, slices of the key space.

use super::super::Statement;
use super::super::content::sampled;
use super::{SourceStatements, ordered};
use crate::domain::identifier::{QualifiedName, quote_literal};
use crate::domain::key::{Key, KeyFault, KeyType};
use chrono::{DateTime, Utc};

/// From where on rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Rows that this transaction or a later one wrote.
    Horizon(i64),
    /// Rows whose `updated_at` is not before a moment, or not set.
    Time(DateTime<Utc>),
}

impl SourceStatements {
    /// The rows of the entity's own table that were written since a watermark, in key order; all rows when the
    /// watermark is a time and the entity has no column for it.
    pub fn newer(&self, since: Since) -> Statement {
        self.select(match since {
            // `age` compares modulo 2^32 against the next transaction, so that wrapped ids stay in order.
            Since::Horizon(horizon) => Some(xmin_condition(&self.alias, horizon)),
            Since::Time(lower) => self.time_condition(lower),
        })
    }

    fn time_condition(&self, lower: DateTime<Utc>) -> Option<String> {
        let (column, is_naive) = self.updated_at.as_ref()?;
        let lower = quote_literal(&lower.to_rfc3339());
        // A column without a time zone holds somebody's local time, at most a day away.
        let lower = if *is_naive {
            format!("({lower}::timestamptz at time zone 'UTC' - interval '1 day')")
        } else {
            format!("{lower}::timestamptz")
        };
        Some(format!("({column} >= {lower} or {column} is null)"))
    }

    /// A share of the rows, in key order; the ledger's share has the same keys.
    pub fn sample(&self, percent: f64) -> Statement {
        self.select(Some(sampled(&self.key_texts(), percent)))
    }

    /// Counts the rows of such a share that pass joins and filter.
    pub fn count_sample(&self, percent: f64) -> Statement {
        let filter = self.where_clause(Some(sampled(&self.key_texts(), percent)));
        Statement::new(format!("select count(*) from {}{filter}", self.from))
    }

    fn key_texts(&self) -> Vec<String> {
        let keys = self.key_fields_sql().into_iter();
        keys.map(|key| format!("({key})::text")).collect()
    }

    /// The keys that pass, in key order.
    pub fn key_list(&self) -> Statement {
        let filter = self.where_clause(None);
        Statement::new(format!(
            "select {} from {}{filter} order by {}",
            self.key_fields_sql().join(", "),
            self.from,
            self.order
        ))
    }

    /// The keys that pass as bits: 64 keys a row, in key order; only for one integer.
    pub fn key_bits(&self) -> Option<Statement> {
        let [(key, KeyType::Integer)] = self.keys.as_slice() else {
            return None;
        };
        let filter = self.where_clause(None);
        Some(bits(
            &format!("{key}::bigint"),
            &format!("{}{filter}", self.from),
        ))
    }

    /// A sample of the keys of the entity's own table, in key order.
    pub fn key_sample(&self, percent: f64) -> Statement {
        Statement::new(format!(
            "select {} from {} tablesample system ({percent:.6}) where {} order by {}",
            self.key_fields_sql().join(", "),
            self.relation,
            self.keys_are_set(),
            self.order
        ))
    }

    /// The rows from a key on, up to and without another.
    ///
    /// # Errors
    /// A key that does not fit the entity.
    pub fn slice(&self, from: Option<&Key>, to: Option<&Key>) -> Result<Statement, KeyFault> {
        let low = from.map(|key| self.row_compare(key, ">=")).transpose()?;
        let high = to.map(|key| self.row_compare(key, "<")).transpose()?;
        let conditions: Vec<String> = low.into_iter().chain(high).collect();
        Ok(self.select((!conditions.is_empty()).then(|| conditions.join(" and "))))
    }

    fn key_fields_sql(&self) -> Vec<String> {
        let keys = self.keys.iter();
        keys.map(|(sql, key_type)| format!("{sql}::{}", key_type.sql_type()))
            .collect()
    }

    fn keys_are_set(&self) -> String {
        let keys = self.keys.iter();
        keys.map(|(sql, key_type)| format!("{} is not null", ordered(sql, *key_type)))
            .collect::<Vec<_>>()
            .join(" and ")
    }
}

/// A row whose `xmin` is not older than a horizon, whatever epoch both are in.
fn xmin_condition(alias: &str, horizon: i64) -> String {
    let xid = horizon & 0xffff_ffff;
    format!("pg_catalog.age({alias}.xmin) <= (select pg_catalog.age('{xid}'::xid))")
}

/// Counts a table's rows, and those that were written since a horizon.
pub fn count_newer(table: &QualifiedName, horizon: i64) -> Statement {
    Statement::new(format!(
        "select count(*), count(*) filter (where {}) from {} as t",
        xmin_condition("t", horizon),
        table.sql()
    ))
}

/// Counts a table's rows.
pub fn count_table(table: &QualifiedName) -> Statement {
    Statement::new(format!("select count(*) from {}", table.sql()))
}

/// Integer keys as one row per 64 keys: the bucket, and a bit for each key in it.
pub(in crate::db::statement) fn bits(key: &str, from: &str) -> Statement {
    Statement::new(format!(
        "select {key} >> 6, bit_or(1::bigint << ({key} & 63)::integer) from {from} group by 1 order by 1"
    ))
}
