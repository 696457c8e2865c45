//! Statements that read less than everything: rows since a watermark, keys only, slices of the key space.

use super::super::Statement;
use super::super::content::sampled;
use super::super::key_range::{self, KeyRange};
use super::{SourceStatements, ordered};
use crate::domain::identifier::{QualifiedName, quote_literal};
use crate::domain::key::{Key, KeyFault, KeyType};
use chrono::{DateTime, Utc};

/// The transactions between a watermark and a snapshot, with their epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The oldest one that was running at the watermark.
    pub horizon: i64,
    /// The first one that the snapshot does not know.
    pub next_xid: i64,
    /// `server_version_num` of the source.
    pub server_version: i32,
}

impl Window {
    /// Tells whether the server is 14 or newer: it hashes a long list that a value is looked for in, and reads a
    /// table from a block on without looking at those before.
    fn is_14(&self) -> bool {
        self.server_version >= 140_000
    }

    /// Lists the transactions where that is the faster way to ask for them.
    fn listed(&self) -> Option<Vec<String>> {
        let few = (0..=LISTED).contains(&(self.next_xid - self.horizon));
        let numbers = (self.horizon..self.next_xid).map(|xid| (xid & 0xffff_ffff).to_string());
        (self.is_14() && few).then(|| numbers.collect())
    }
}

/// The most transactions that are listed one by one.
const LISTED: i64 = 2_000;

/// From where on rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Rows that a transaction of this window wrote.
    Written(Window),
    /// Rows whose `updated_at` is not before a moment, or not set.
    Time(DateTime<Utc>),
}

impl SourceStatements {
    /// The rows of the entity's own table that were written since a watermark, in key order; all rows when the
    /// watermark is a time and the entity has no column for it.
    pub fn newer(&self, since: Since) -> Statement {
        self.select(match since {
            Since::Written(window) => Some(xmin_condition(&self.alias, window)),
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

    /// The rows of [`SourceStatements::newer`] where none of them lies before a block of the table; `None` when the
    /// server would look at all blocks nevertheless.
    pub fn newer_from(&self, window: Window, block: u32) -> Option<Statement> {
        let (alias, newer) = (&self.alias, xmin_condition(&self.alias, window));
        let condition = format!("{alias}.ctid >= '({block},0)'::tid and {newer}");
        window.is_14().then(|| self.select(Some(condition)))
    }

    /// Counts the rows of the entity's own table in one pass: all, and those that pass; then where the first of these
    /// lies that was written in a window, and how many blocks the table has. `None` when other tables have a say.
    ///
    /// Each further look at the window would cost as much again as the counts: it is in no index.
    pub fn count_at_once(&self, window: Option<Window>) -> Option<Statement> {
        if self.from != self.relation {
            return None;
        }
        let passing = self.filtered(None);
        let newer = match (window, &self.table) {
            (Some(window), Some(table)) => format!(
                "(min({}.ctid){})::text, pg_catalog.pg_relation_size({}::regclass) \
                 / pg_catalog.current_setting('block_size')::bigint",
                self.alias,
                self.filtered(Some(&xmin_condition(&self.alias, window))),
                quote_literal(table)
            ),
            _ => "null::text, null::bigint".to_owned(),
        };
        Some(Statement::new(format!(
            "select count(*), count(*){passing}, {newer} from {}",
            self.relation
        )))
    }

    /// Counts, in one of a hundred blocks of the entity's own table, all rows and those that pass and were written in a
    /// window.
    pub fn sample_newer(&self, window: Window) -> Statement {
        let newer = self.filtered(Some(&xmin_condition(&self.alias, window)));
        Statement::new(format!(
            "select count(*), count(*){newer} from {} tablesample system (1)",
            self.relation
        ))
    }

    /// The clause that lets an aggregate see only rows that pass and fulfil a condition.
    fn filtered(&self, condition: Option<&str>) -> String {
        let passing = self.filter.as_ref().map(|it| format!("({it})"));
        let conditions: Vec<&str> = passing.as_deref().into_iter().chain(condition).collect();
        match conditions.as_slice() {
            [] => String::new(),
            _ => format!(" filter (where {})", conditions.join(" and ")),
        }
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

    /// The smallest and the greatest key that pass, and 0 twice when there is none; only for one integer.
    pub fn key_bounds(&self) -> Option<Statement> {
        let [(key, KeyType::Integer)] = self.keys.as_slice() else {
            return None;
        };
        let from = format!("{}{}", self.from, self.where_clause(None));
        // Cast outside, or the index of a smaller integer would not be used.
        Some(bounds(key, &from))
    }

    /// The keys that pass as bits: 64 keys a row, in any order; only for one integer.
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

    /// Counts the keys of each range, which an index of them answers alone; only for one integer of a table whose
    /// rows all pass.
    pub fn range_counts(&self, ranges: &[KeyRange]) -> Option<Statement> {
        let key = self.indexed_key()?;
        Some(key_range::counts(key, &self.relation, None, ranges))
    }

    /// The keys of some ranges as bits, as [`SourceStatements::key_bits`].
    pub fn range_bits(&self, ranges: &[KeyRange]) -> Option<Statement> {
        let key = self.indexed_key()?;
        Some(key_range::bits(key, &self.relation, None, ranges))
    }

    fn indexed_key(&self) -> Option<&str> {
        match self.keys.as_slice() {
            [(key, KeyType::Integer)] if self.filter.is_none() && self.from == self.relation => {
                Some(key)
            }
            _ => None,
        }
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

/// A row whose `xmin` lies in a window; also one of the same number from another epoch, which is looked at in vain.
///
/// Transaction numbers have no order in SQL. `age()` has one, but may not run in parallel workers; their four
/// bytes in network order compare like the numbers, and wrap where those do.
///
/// A number that is looked for in a list costs the server half of that, where it hashes the list.
fn xmin_condition(alias: &str, window: Window) -> String {
    if window.next_xid == window.horizon {
        return "false".to_owned();
    }
    if let Some(listed) = window.listed() {
        return format!("({alias}.xmin = any ('{{{}}}'::xid[]))", listed.join(","));
    }
    let [low, high] = [window.horizon, window.next_xid].map(|xid| xid & 0xffff_ffff);
    let word = if low <= high { "and" } else { "or" };
    let xmin = format!("pg_catalog.xidsend({alias}.xmin)");
    format!("({xmin} >= '\\x{low:08x}'::bytea {word} {xmin} <= '\\x{high:08x}'::bytea)")
}

/// Counts a table's rows, and those that were written in a window.
pub fn count_newer(table: &QualifiedName, window: Window) -> Statement {
    Statement::new(format!(
        "select count(*), count(*) filter (where {}) from {} as t",
        xmin_condition("t", window),
        table.sql()
    ))
}

/// Counts a table's rows.
pub fn count_table(table: &QualifiedName) -> Statement {
    Statement::new(format!("select count(*) from {}", table.sql()))
}

/// The smallest and the greatest of integer keys.
pub(in crate::db::statement) fn bounds(key: &str, from: &str) -> Statement {
    Statement::new(format!(
        "select coalesce(min({key})::bigint, 0), coalesce(max({key})::bigint, 0) from {from}"
    ))
}

/// Integer keys as one row per 64 keys, in any order: the bucket, and a bit for each key in it.
pub(in crate::db::statement) fn bits(key: &str, from: &str) -> Statement {
    Statement::new(format!(
        "select {key} >> 6, bit_or(1::bigint << ({key} & 63)::integer) from {from} group by 1"
    ))
}
