//! The statement that reads the codes of a column, with a limit to what it reads.

use super::Statement;
use crate::domain::draft::{MAX_CODES, Question};
use crate::domain::identifier::quote_identifier;

/// How many rows are looked at.
const MAX_ROWS: u32 = 200_000;

/// Reads up to one more than the codes that are of use, each with its meaning where a column says it.
pub fn codes(question: &Question) -> Statement {
    let code = quote_identifier(&question.code);
    let columns = question.meaning.iter();
    let columns: Vec<String> = columns.map(|it| quote_identifier(it)).collect();
    let meaning = match columns.is_empty() {
        true => "null::text".to_owned(),
        false => format!("pg_catalog.concat_ws('_', {})", columns.join(", ")),
    };
    Statement::new(format!(
        "select code::text, meaning from (\
           select distinct code, meaning from (\
             select {code} as code, {meaning} as meaning from {} where {code} is not null limit {MAX_ROWS}\
           ) as looked_at limit {}\
         ) as found order by code, meaning",
        question.table.sql(),
        MAX_CODES + 1
    ))
}
