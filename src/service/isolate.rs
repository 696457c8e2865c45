//! Finds the source rows whose values cannot be computed, so that they alone are set aside.

use crate::context::Context;
use crate::db::TupleStream;
use crate::db::server::Connection;
use crate::db::source::evaluate;
use crate::db::statement::source::SourceStatements;
use crate::domain::connection::Side;
use crate::domain::key::{Key, KeyFault};
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Kind, Result};
use crate::service::rows::read_keys;

/// How many rows are computed at a time.
const PAGE: usize = 20_000;
/// More unreadable rows than this are a wrong rule, not wrong rows.
const MOST: usize = 1_000;
/// For so many rows the column is looked for as well.
const NAMED: usize = 50;

/// Searches all rows of an entity for unreadable ones and notes them; returns how many are new.
///
/// # Errors
/// The source cannot be read, or more than 1,000 rows are unreadable (exit 13).
pub(crate) async fn isolate(context: &Context, entity: &ResolvedEntity) -> Result<usize> {
    let known = entity.unreadable.count();
    let mut search = Search {
        entity,
        statements: SourceStatements::new(entity),
        reader: context.source.open().await?,
    };
    let mut after: Option<Key> = None;
    loop {
        let keys = search.next_keys(after.as_ref()).await?;
        let Some(last) = keys.last() else {
            return Ok(entity.unreadable.count() - known);
        };
        search.page(context, &keys).await?;
        after = Some(last.clone());
    }
}

struct Search<'a> {
    entity: &'a ResolvedEntity,
    statements: SourceStatements,
    reader: Connection,
}

impl Search<'_> {
    fn misfit(&self, fault: &KeyFault) -> Error {
        let what = format!("a key of {} cannot be read", self.entity.name);
        Error::new(Kind::Unexpected, what).cause(fault.to_string())
    }

    async fn next_keys(&mut self, after: Option<&Key>) -> Result<Vec<Key>> {
        let statement = self.statements.next_keys(after, PAGE);
        let statement = statement.map_err(|fault| self.misfit(&fault))?;
        let types = self.entity.key_types();
        let label = format!("the keys of {}", self.entity.name);
        let stream = TupleStream::open(Side::Source, &mut self.reader, &statement, label).await?;
        read_keys(stream, &types, &self.entity.name).await
    }

    /// Halves ranges that cannot be computed until single keys are left.
    async fn page(&mut self, context: &Context, keys: &[Key]) -> Result<()> {
        let mut ranges = vec![(0, keys.len())];
        while let Some((start, end)) = ranges.pop() {
            let (Some(first), Some(last)) = (keys.get(start), keys.get(end - 1)) else {
                continue;
            };
            if context.interrupt.is_raised() {
                let what = "stopped while looking for unreadable rows";
                return Err(Error::new(Kind::Paused, what));
            }
            let statement = self.statements.evaluate(first, last);
            let statement = statement.map_err(|fault| self.misfit(&fault))?;
            let Some(refusal) = evaluate(&mut self.reader, &statement).await? else {
                continue;
            };
            if end - start > 1 {
                let middle = usize::midpoint(start, end);
                ranges.push((middle, end));
                ranges.push((start, middle));
                continue;
            }
            let column = self.column(first).await?;
            let fault = format!(
                "{}|cannot be computed: {}|{column}",
                refusal.sqlstate, refusal.reason
            );
            self.entity.unreadable.note(first.clone(), fault);
            if self.entity.unreadable.count() > MOST {
                return Err(self.too_many(&column));
            }
        }
        Ok(())
    }

    /// Names the target column whose value cannot be computed; empty when it is none of them alone.
    async fn column(&mut self, key: &Key) -> Result<String> {
        if self.entity.unreadable.count() >= NAMED {
            return Ok(String::new());
        }
        for (field, name) in field_names(self.entity).iter().enumerate() {
            let statement = self.statements.evaluate_field(field, key);
            let statement = statement.map_err(|fault| self.misfit(&fault))?;
            if let Some(statement) = statement
                && evaluate(&mut self.reader, &statement).await?.is_some()
            {
                return Ok(name.clone());
            }
        }
        Ok(String::new())
    }

    fn too_many(&self, column: &str) -> Error {
        let name = &self.entity.name;
        let what = format!("more than {MOST} rows of {name} have values that cannot be computed");
        let about = match column {
            "" => format!("the rules of {name}"),
            column => format!("the rule of {name}.{column}"),
        };
        Error::new(Kind::Drift, what)
            .cause("the source refuses to compute them")
            .next(format!("correct {about}"))
    }
}

/// The target column of every field after the key; the fault field has none.
fn field_names(entity: &ResolvedEntity) -> Vec<String> {
    let mut names = Vec::new();
    for (index, column) in entity.columns.iter().enumerate() {
        if index == entity.compared_count() {
            names.push(String::new());
        }
        names.push(column.name.clone());
        if column.is_generic() {
            names.push(column.name.clone());
        }
    }
    names
}
