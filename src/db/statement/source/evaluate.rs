//! Statements that find the rows whose values cannot be computed, and that leave those values out.

use super::super::Statement;
use super::{SourceStatements, select_list};
use crate::domain::identifier::quote_literal;
use crate::domain::key::{Key, KeyFault};
use crate::domain::unreadable::Unreadable;

impl SourceStatements {
    /// Rewrites fields and filter so that nothing is computed for unreadable rows: they pass, faulty and empty.
    pub(super) fn leave_out(&mut self, unreadable: &Unreadable) {
        let faults = unreadable.by_fault();
        if faults.is_empty() {
            return;
        }
        self.projection = Some(self.projection());
        // Keys that were read from this entity fit it.
        let conditions = faults.iter().filter_map(|(fault, keys)| {
            let among = self.among(keys).ok()?;
            Some((format!("({among})"), quote_literal(fault)))
        });
        let conditions: Vec<(String, String)> = conditions.collect();
        let any: Vec<&str> = conditions.iter().map(|(among, _)| among.as_str()).collect();
        let any = any.join(" or ");
        let told: String = conditions
            .iter()
            .map(|(among, fault)| format!(" when {among} then {fault}"))
            .collect();
        let fault_at = self.compared_fields;
        let fields = self.fields.iter().enumerate().map(|(index, field)| {
            if index == fault_at {
                format!("case{told} else {field} end")
            } else {
                format!("case when {any} then null else {field} end")
            }
        });
        let fields: Vec<String> = fields.collect();
        self.select_list = select_list(&self.keys, &fields);
        if let Some(filter) = &self.filter {
            self.filter = Some(format!("case when {any} then true else {filter} end"));
        }
    }

    /// Computes every value of the rows of a closed key range; fails where that fails, and returns only a count.
    ///
    /// # Errors
    /// A key that does not fit the entity.
    pub fn evaluate(&self, first: &Key, last: &Key) -> Result<Statement, KeyFault> {
        let range = self.closed(first, last)?;
        // A filter is computed for these rows only, in whatever order the planner takes conditions.
        let filter = self.filter.as_ref();
        let filter = filter.map(|it| format!(" and case when {range} then {it} else false end"));
        Ok(Statement::new(format!(
            "select count(row({})) from {} where {range}{}",
            self.select_list,
            self.from,
            filter.unwrap_or_default()
        )))
    }

    /// Computes one field of one row.
    ///
    /// # Errors
    /// A key that does not fit the entity.
    pub fn evaluate_field(&self, field: usize, key: &Key) -> Result<Option<Statement>, KeyFault> {
        let one = self.one(key)?;
        Ok(self.fields.get(field).map(|sql| {
            Statement::new(format!(
                "select count(row({sql})) from {} where {one}",
                self.from
            ))
        }))
    }

    /// The keys of the own relation after a key, in order, without anything that could fail.
    ///
    /// # Errors
    /// A key that does not fit the entity.
    pub fn next_keys(&self, after: Option<&Key>, limit: usize) -> Result<Statement, KeyFault> {
        let after = after.map(|key| self.row_compare(key, ">")).transpose()?;
        let there = self
            .keys
            .iter()
            .map(|(sql, _)| format!("{sql} is not null"));
        let conditions: Vec<String> = there.chain(after).collect();
        Ok(Statement::new(format!(
            "select {} from {} where {} order by {} limit {limit}",
            select_list(&self.keys, &[]),
            self.relation,
            conditions.join(" and "),
            self.order
        )))
    }

    pub(super) fn closed(&self, first: &Key, last: &Key) -> Result<String, KeyFault> {
        let low = self.row_compare(first, ">=")?;
        let high = self.row_compare(last, "<=")?;
        Ok(format!("{low} and {high}"))
    }
}
