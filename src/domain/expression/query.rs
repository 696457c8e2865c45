//! The query of `source = { query = "select ..." }`.

use super::render::refuse_clock_literal;
use super::render::refuse_clock_word;
use super::{ExpressionFault, cast, fold, function, new_parser, on_deep_stack, refuse_length};
use sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SetExpr, Statement, TableFactor, Value,
    ValueWithSpan, Visit, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// The longest source query, in bytes.
pub const MAX_QUERY_BYTES: usize = 16 * 1024;

/// How many operators a source query may contain; a chain of them is as deep as it is long, and is walked recursively.
const MAX_OPERATORS: usize = 1000;

/// A source query that reads and does nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceQuery {
    sql: String,
    tables: Vec<(Option<String>, String)>,
}

impl SourceQuery {
    /// Returns the query as SQL without a trailing separator.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Returns schema and name of every table it reads, sorted; names of its own `WITH` clauses are left out.
    pub fn tables(&self) -> &[(Option<String>, String)] {
        &self.tables
    }
}

/// Parses one SELECT statement of the mapping file.
///
/// # Errors
/// A syntax error, anything but one reading statement, functions that change from run to run or reach beyond
/// the rows, row locks, or more than [`MAX_QUERY_BYTES`] bytes.
pub fn parse_query(text: &str) -> Result<SourceQuery, ExpressionFault> {
    refuse_length(text, MAX_QUERY_BYTES)?;
    on_deep_stack(|| {
        refuse_long_chains(text)?;
        let statement = parse_one(text)?;
        let mut guard = Guard::default();
        if let ControlFlow::Break(fault) = statement.visit(&mut guard) {
            return Err(fault);
        }
        let sql = statement.to_string();
        // The printer does not escape every literal correctly; only what reads back as the same query is used.
        if parse_one(&sql).ok().as_ref() != Some(&statement) {
            return Err(
                ExpressionFault::new("the query cannot be rendered faithfully")
                    .hint("avoid backslashes before quotes, doubled quotes and doubled signs"),
            );
        }
        let own = guard.own_names;
        let is_table =
            |(schema, name): &(Option<String>, String)| schema.is_some() || !own.contains(name);
        Ok(SourceQuery {
            sql,
            tables: guard.tables.into_iter().filter(is_table).collect(),
        })
    })
}

fn refuse_long_chains(text: &str) -> Result<(), ExpressionFault> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize();
    let tokens = tokens.map_err(|error| ExpressionFault::from_parser(&error.into()))?;
    let is_operator = |token: &&Token| match token {
        Token::Word(word) => OPERATOR_WORDS.contains(&word.keyword),
        Token::Whitespace(_) | Token::Comma | Token::LParen | Token::RParen | Token::Period => {
            false
        }
        Token::Number(..) | Token::SingleQuotedString(_) => false,
        _ => true,
    };
    match tokens.iter().filter(is_operator).count() > MAX_OPERATORS {
        true => Err(ExpressionFault::new(format!(
            "the query contains more than {MAX_OPERATORS} operators"
        ))),
        false => Ok(()),
    }
}

fn parse_one(text: &str) -> Result<Statement, ExpressionFault> {
    let dialect = PostgreSqlDialect {};
    let mut parser = new_parser(&dialect, text)?;
    let parsed = parser.parse_statements();
    let mut statements = parsed.map_err(|error| ExpressionFault::from_parser(&error))?;
    match (statements.pop(), statements.is_empty()) {
        (Some(Statement::Query(query)), true) => Ok(Statement::Query(query)),
        _ => Err(ExpressionFault::new(
            "the query must be exactly one SELECT statement",
        )),
    }
}

const OPERATOR_WORDS: &[Keyword] = &[
    Keyword::AND,
    Keyword::AT,
    Keyword::BETWEEN,
    Keyword::COLLATE,
    Keyword::EXCEPT,
    Keyword::ILIKE,
    Keyword::IN,
    Keyword::INTERSECT,
    Keyword::IS,
    Keyword::LIKE,
    Keyword::NOT,
    Keyword::NOTNULL,
    Keyword::OPERATOR,
    Keyword::OR,
    Keyword::OVERLAPS,
    Keyword::SIMILAR,
    Keyword::UNION,
    Keyword::XOR,
];

type Verdict = ControlFlow<ExpressionFault>;

fn refuse(what: &str) -> Verdict {
    ControlFlow::Break(ExpressionFault::refused(what))
}

fn judge(result: Result<(), ExpressionFault>) -> Verdict {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(fault) => ControlFlow::Break(fault),
    }
}

#[derive(Default)]
struct Guard {
    own_names: BTreeSet<String>,
    tables: BTreeSet<(Option<String>, String)>,
}

impl Guard {
    fn table(&mut self, name: &ObjectName) -> Result<(), ExpressionFault> {
        let mut parts = Vec::new();
        for part in &name.0 {
            match part {
                ObjectNamePart::Identifier(ident) => parts.push(fold(ident)?),
                ObjectNamePart::Function(_) => {
                    return Err(ExpressionFault::refused("such table names are"));
                }
            }
        }
        let (schema, table) = match parts.as_slice() {
            [table] => (None, table),
            [schema, table] => (Some(schema), table),
            _ => {
                return Err(ExpressionFault::refused(
                    "table names of more than two parts are",
                ));
            }
        };
        let is_catalog = |it: &str| it.starts_with("pg_") || it == "information_schema";
        if schema.map_or(is_catalog(table), |it| is_catalog(it)) {
            return Err(ExpressionFault::refused("reading the system catalogs is"));
        }
        self.tables.insert((schema.cloned(), table.clone()));
        Ok(())
    }
}

fn check_body(body: &SetExpr) -> Verdict {
    let mut rest = vec![body];
    while let Some(body) = rest.pop() {
        match body {
            SetExpr::SetOperation { left, right, .. } => rest.extend([&**left, &**right]),
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => {}
            SetExpr::Table(_) => return refuse("TABLE without SELECT is"),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                return refuse("statements that change data are");
            }
        }
    }
    ControlFlow::Continue(())
}

fn check_function(name: &ObjectName) -> Result<(), ExpressionFault> {
    let (name, ident) = function::plain_name(name)?;
    function::refuse_harmful(&name).map_err(|fault| fault.at(ident.span.start))
}

impl Visitor for Guard {
    type Break = ExpressionFault;

    fn pre_visit_statement(&mut self, statement: &Statement) -> Verdict {
        match statement {
            Statement::Query(_) => ControlFlow::Continue(()),
            _ => refuse("statements that change data are"),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> Verdict {
        if !query.locks.is_empty() {
            return refuse("row locks (FOR UPDATE, FOR SHARE) are");
        }
        let foreign = query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        if foreign {
            return refuse("clauses of other databases are");
        }
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            match fold(&cte.alias.name) {
                Ok(name) => self.own_names.insert(name),
                Err(fault) => return ControlFlow::Break(fault),
            };
        }
        check_body(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> Verdict {
        match select.into {
            Some(_) => refuse("SELECT INTO is"),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Verdict {
        match factor {
            TableFactor::Table {
                sample: Some(_), ..
            }
            | TableFactor::Derived {
                sample: Some(_), ..
            } => refuse("TABLESAMPLE is"),
            TableFactor::Table {
                name,
                args: Some(_),
                ..
            }
            | TableFactor::Function { name, .. } => judge(check_function(name)),
            TableFactor::Table { name, .. } => judge(self.table(name)),
            TableFactor::Derived { .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::NestedJoin { .. } => ControlFlow::Continue(()),
            _ => refuse("this kind of table expression is"),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Verdict {
        judge(match expr {
            Expr::Function(call) => check_function(&call.name),
            Expr::Identifier(ident) => function::refuse_bare_call(ident),
            Expr::Cast {
                expr, data_type, ..
            } if cast::reads_clock_words(data_type) => refuse_clock_word(expr),
            Expr::TypedString(typed) if cast::reads_clock_words(&typed.data_type) => {
                refuse_clock_literal(&typed.value)
            }
            _ => Ok(()),
        })
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> Verdict {
        match &value.value {
            Value::Number(_, false)
            | Value::SingleQuotedString(_)
            | Value::Boolean(_)
            | Value::Null => ControlFlow::Continue(()),
            Value::Placeholder(_) => judge(Err(
                ExpressionFault::refused("placeholders are").at(value.span.start)
            )),
            _ => judge(Err(ExpressionFault::refused("this form of a literal is")
                .hint("write a plain 'string'")
                .at(value.span.start))),
        }
    }

    fn pre_visit_ident(&mut self, ident: &Ident) -> Verdict {
        judge(fold(ident).map(|_| ()))
    }
}
