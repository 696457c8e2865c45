//! SQL expressions and queries of the mapping file: parsed, allow-listed and rendered by us.
//!
//! No text of the mapping reaches a server as it stands. What is not known to be harmless is refused by name.

mod cast;
mod fault;
mod form;
mod function;
mod query;
mod render;

pub use fault::ExpressionFault;
pub use query::{SourceQuery, parse_query};

use render::Renderer;
use sqlparser::ast::Ident;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

/// The longest expression, in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 10 * 1024;
/// How many operators, calls and special forms may be nested inside each other.
pub const MAX_EXPRESSION_DEPTH: usize = 100;

/// The parser recurses; its deepest path needs about 110 KB a level in a debug build.
const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;
const PARSER_RECURSION: usize = 250;

/// A column as an expression names it, folded to lower case unless it was quoted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnName {
    /// The table or alias before the dot, if one was given.
    pub table: Option<String>,
    /// The column.
    pub column: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// SQL that we wrote.
    Sql(String),
    /// The index of a column.
    Column(usize),
}

/// An expression that passed the allow list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    pieces: Vec<Piece>,
    columns: Vec<ColumnName>,
}

impl Expression {
    /// Returns every referenced column once, in the order of its first appearance.
    pub fn columns(&self) -> &[ColumnName] {
        &self.columns
    }

    /// Renders the expression with every column replaced by what `resolve` returns, which must be quoted SQL.
    pub fn to_sql(&self, resolve: &dyn Fn(&ColumnName) -> String) -> String {
        let names: Vec<String> = self.columns.iter().map(resolve).collect();
        let mut sql = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Sql(text) => sql.push_str(text),
                Piece::Column(index) => sql.push_str(&names[*index]),
            }
        }
        sql
    }
}

/// Parses one expression of the mapping file.
///
/// # Errors
/// A syntax error, a construct that is not on the allow list, more than [`MAX_EXPRESSION_BYTES`] bytes or
/// more than [`MAX_EXPRESSION_DEPTH`] nested operations.
pub fn parse_expression(text: &str) -> Result<Expression, ExpressionFault> {
    refuse_length(text, MAX_EXPRESSION_BYTES)?;
    on_deep_stack(|| {
        let dialect = PostgreSqlDialect {};
        let mut parser = new_parser(&dialect, text)?;
        let parsed = parser
            .parse_expr()
            .map_err(|it| ExpressionFault::from_parser(&it))?;
        match &parser.peek_token_ref().token {
            Token::EOF => {}
            found => {
                let message = match found {
                    Token::SemiColon => "statement separators are not allowed".to_owned(),
                    found => format!("unexpected `{found}` after the expression"),
                };
                let at = parser.peek_token_ref().span.start;
                return Err(ExpressionFault::new(message).at(at));
            }
        }
        let mut renderer = Renderer::default();
        renderer.expr(&parsed, 0)?;
        Ok(renderer.finish())
    })
}

fn refuse_length(text: &str, limit: usize) -> Result<(), ExpressionFault> {
    let message = match text {
        _ if text.trim().is_empty() => "the text is empty".to_owned(),
        _ if text.len() > limit => format!("the text is longer than {limit} bytes"),
        _ if text.contains('\0') => "the text contains the character U+0000".to_owned(),
        _ => return Ok(()),
    };
    Err(ExpressionFault::new(message))
}

fn new_parser<'a>(
    dialect: &'a PostgreSqlDialect,
    text: &str,
) -> Result<Parser<'a>, ExpressionFault> {
    Parser::new(dialect)
        .with_recursion_limit(PARSER_RECURSION)
        .try_with_sql(text)
        .map_err(|error| ExpressionFault::from_parser(&error))
}

/// Runs a parse on a thread of its own: the caller's stack is too small for deeply nested text.
fn on_deep_stack<T: Send>(
    work: impl FnOnce() -> Result<T, ExpressionFault> + Send,
) -> Result<T, ExpressionFault> {
    let failed = |_| ExpressionFault::new("the parser could not be run");
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES);
        match builder.spawn_scoped(scope, work) {
            Ok(thread) => thread.join().map_err(failed)?,
            Err(_) => Err(ExpressionFault::new("no memory for the parser")),
        }
    })
}

/// Folds a name as PostgreSQL does in a UTF-8 database: ASCII letters of unquoted names alone.
fn fold(ident: &Ident) -> Result<String, ExpressionFault> {
    match ident.quote_style {
        None => Ok(ident.value.to_ascii_lowercase()),
        Some('"') if !ident.value.is_empty() => Ok(ident.value.clone()),
        Some('"') => Err(ExpressionFault::new("a quoted name is empty").at(ident.span.start)),
        Some(_) => Err(
            ExpressionFault::new("names are quoted with \"double quotes\"").at(ident.span.start),
        ),
    }
}

#[cfg(test)]
mod tests;
