//! Walks a parsed expression, refuses what is not on the allow list and writes the rest as SQL of our own.

use super::{
    ColumnName, Expression, ExpressionFault, MAX_EXPRESSION_DEPTH, Piece, cast, fold, function,
};
use crate::domain::identifier::quote_literal;
use sqlparser::ast::{
    Array, BinaryOperator as Op, CaseWhen, CastKind, Expr, Ident, UnaryOperator, Value,
};
use sqlparser::tokenizer::Location;

pub(super) type Done = Result<(), ExpressionFault>;

/// Collects the SQL; every operator writes its own parentheses, so precedence never matters to the server.
#[derive(Default)]
pub(super) struct Renderer {
    pieces: Vec<Piece>,
    columns: Vec<ColumnName>,
}

impl Renderer {
    pub(super) fn finish(self) -> Expression {
        Expression {
            pieces: self.pieces,
            columns: self.columns,
        }
    }

    pub(super) fn sql(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Sql(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Sql(text.to_owned())),
        }
    }

    pub(super) fn expr(&mut self, expr: &Expr, depth: usize) -> Done {
        if depth > MAX_EXPRESSION_DEPTH {
            return Err(ExpressionFault::new("the expression is nested too deeply"));
        }
        let below = depth + 1;
        let done = match expr {
            Expr::Nested(inner) => self.expr(inner, depth),
            Expr::Identifier(column) => self.column(None, column),
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, column] => self.column(Some(table), column),
                _ => Err(ExpressionFault::refused("names of more than two parts are")),
            },
            Expr::Value(value) => self.value(&value.value),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, below),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, below),
            Expr::InList {
                expr,
                list,
                negated,
            } => self.in_list(expr, list, *negated, below),
            Expr::Between {
                expr,
                negated,
                low,
                high,
            } => {
                let word = if *negated {
                    " NOT BETWEEN "
                } else {
                    " BETWEEN "
                };
                self.row(&["(", word, " AND ", ")"], &[expr, low, high], below)
            }
            Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(
                operand.as_deref(),
                conditions,
                else_result.as_deref(),
                below,
            ),
            Expr::Cast {
                kind,
                expr,
                data_type,
                format: None,
            } => {
                if !matches!(kind, CastKind::Cast | CastKind::DoubleColon) {
                    return Err(ExpressionFault::refused("try_cast is"));
                }
                if cast::reads_clock_words(data_type) {
                    refuse_clock_word(expr)?;
                }
                let end = format!(" AS {})", cast::render(data_type)?);
                self.row(&["CAST(", &end], &[expr], below)
            }
            Expr::Array(Array { elem, named: true }) => self.array(elem, below),
            other => match truth_test(other) {
                Some((of, test)) => self.row(&["(", test], &[of], below),
                None => self.special_form(other, below),
            },
        };
        done.map_err(|fault| match start_of(expr) {
            Some(start) => fault.at(start),
            None => fault,
        })
    }

    /// Writes `texts[0]`, the first operand, `texts[1]`, the second operand and so on.
    pub(super) fn row(&mut self, texts: &[&str], operands: &[&Expr], depth: usize) -> Done {
        for (index, text) in texts.iter().enumerate() {
            self.sql(text);
            if let Some(operand) = operands.get(index) {
                self.expr(operand, depth)?;
            }
        }
        Ok(())
    }

    pub(super) fn list<'e>(
        &mut self,
        open: &str,
        items: impl IntoIterator<Item = &'e Expr>,
        close: &str,
        depth: usize,
    ) -> Done {
        self.sql(open);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.sql(", ");
            }
            self.expr(item, depth)?;
        }
        self.sql(close);
        Ok(())
    }

    fn column(&mut self, table: Option<&Ident>, column: &Ident) -> Done {
        if table.is_none() {
            function::refuse_bare_call(column)?;
        }
        let name = ColumnName {
            table: table.map(fold).transpose()?,
            column: fold(column)?,
        };
        let known = self.columns.iter().position(|it| *it == name);
        let index = known.unwrap_or_else(|| {
            self.columns.push(name);
            self.columns.len() - 1
        });
        self.pieces.push(Piece::Column(index));
        Ok(())
    }

    pub(super) fn value(&mut self, value: &Value) -> Done {
        match value {
            Value::Number(digits, false) if is_number(digits) => self.sql(digits),
            Value::Number(..) => return Err(ExpressionFault::refused("this form of a number is")),
            Value::Boolean(true) => self.sql("TRUE"),
            Value::Boolean(false) => self.sql("FALSE"),
            Value::Null => self.sql("NULL"),
            Value::Placeholder(_) => return Err(ExpressionFault::refused("placeholders are")),
            other => match literal_text(other) {
                Some(text) if !text.contains('\0') => self.sql(&quote_literal(text)),
                _ => {
                    return Err(ExpressionFault::refused("this form of a literal is")
                        .hint("write a plain 'string'"));
                }
            },
        }
        Ok(())
    }

    fn unary(&mut self, op: UnaryOperator, expr: &Expr, depth: usize) -> Done {
        let word = match op {
            UnaryOperator::Minus => "(- ",
            UnaryOperator::Plus => "(+ ",
            UnaryOperator::Not => "(NOT ",
            other => {
                return Err(ExpressionFault::refused(&format!(
                    "the operator {other} is"
                )));
            }
        };
        if op != UnaryOperator::Not && matches!(expr, Expr::AtTimeZone { .. }) {
            return Err(ambiguous("a sign before AT TIME ZONE"));
        }
        self.row(&[word, ")"], &[expr], depth)
    }

    fn binary(&mut self, left: &Expr, op: &Op, right: &Expr, depth: usize) -> Done {
        let symbol = operator(op)?;
        refuse_ambiguous(left, op, right)?;
        // A long chain of one operator stays flat: it is not nesting, and reads back as the same tree.
        let mut operands = vec![right];
        let mut first = left;
        while let Expr::BinaryOp {
            left,
            op: inner,
            right,
        } = first
            && inner == op
            && !is_comparison(op)
        {
            refuse_ambiguous(left, inner, right)?;
            operands.push(right);
            first = left;
        }
        self.sql("(");
        self.expr(first, depth)?;
        for operand in operands.into_iter().rev() {
            self.sql(symbol);
            self.expr(operand, depth)?;
        }
        self.sql(")");
        Ok(())
    }

    fn in_list(&mut self, expr: &Expr, list: &[Expr], negated: bool, depth: usize) -> Done {
        if list.is_empty() {
            return Err(ExpressionFault::refused("an empty list is"));
        }
        self.sql("(");
        self.expr(expr, depth)?;
        let word = if negated { " NOT IN (" } else { " IN (" };
        self.list(word, list, "))", depth)
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        arms: &[CaseWhen],
        otherwise: Option<&Expr>,
        depth: usize,
    ) -> Done {
        self.sql("CASE");
        if let Some(operand) = operand {
            self.row(&[" "], &[operand], depth)?;
        }
        for arm in arms {
            self.row(&[" WHEN ", " THEN "], &[&arm.condition, &arm.result], depth)?;
        }
        if let Some(otherwise) = otherwise {
            self.row(&[" ELSE "], &[otherwise], depth)?;
        }
        self.sql(" END");
        Ok(())
    }

    fn array(&mut self, items: &[Expr], depth: usize) -> Done {
        if depth > MAX_EXPRESSION_DEPTH {
            return Err(ExpressionFault::new("the expression is nested too deeply"));
        }
        self.sql("ARRAY[");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.sql(", ");
            }
            match item {
                Expr::Array(inner) => self.array(&inner.elem, depth + 1)?,
                item => self.expr(item, depth)?,
            }
        }
        self.sql("]");
        Ok(())
    }
}

/// The operand and the text after it of `x IS NULL` and its kin.
fn truth_test(expr: &Expr) -> Option<(&Expr, &'static str)> {
    Some(match expr {
        Expr::IsNull(of) => (of, " IS NULL)"),
        Expr::IsNotNull(of) => (of, " IS NOT NULL)"),
        Expr::IsTrue(of) => (of, " IS TRUE)"),
        Expr::IsNotTrue(of) => (of, " IS NOT TRUE)"),
        Expr::IsFalse(of) => (of, " IS FALSE)"),
        Expr::IsNotFalse(of) => (of, " IS NOT FALSE)"),
        Expr::IsUnknown(of) => (of, " IS UNKNOWN)"),
        Expr::IsNotUnknown(of) => (of, " IS NOT UNKNOWN)"),
        _ => return None,
    })
}

fn operator(op: &Op) -> Result<&'static str, ExpressionFault> {
    Ok(match op {
        Op::Plus => " + ",
        Op::Minus => " - ",
        Op::Multiply => " * ",
        Op::Divide => " / ",
        Op::Modulo => " % ",
        Op::StringConcat => " || ",
        Op::Eq => " = ",
        Op::NotEq => " <> ",
        Op::Lt => " < ",
        Op::LtEq => " <= ",
        Op::Gt => " > ",
        Op::GtEq => " >= ",
        Op::And => " AND ",
        Op::Or => " OR ",
        Op::PGRegexMatch => " ~ ",
        Op::PGRegexIMatch => " ~* ",
        Op::PGRegexNotMatch => " !~ ",
        Op::PGRegexNotIMatch => " !~* ",
        Op::Arrow => " -> ",
        Op::LongArrow => " ->> ",
        Op::HashArrow => " #> ",
        Op::HashLongArrow => " #>> ",
        Op::AtArrow => " @> ",
        Op::Question => " ? ",
        other => {
            return Err(ExpressionFault::refused(&format!(
                "the operator {other} is"
            )));
        }
    })
}

fn is_comparison(op: &Op) -> bool {
    matches!(
        op,
        Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq
    )
}

fn is_regex(op: &Op) -> bool {
    use Op::{PGRegexIMatch, PGRegexMatch, PGRegexNotIMatch, PGRegexNotMatch};
    matches!(
        op,
        PGRegexMatch | PGRegexIMatch | PGRegexNotMatch | PGRegexNotIMatch
    )
}

/// Refuses the few spellings that the parser groups otherwise than PostgreSQL does.
fn refuse_ambiguous(left: &Expr, op: &Op, right: &Expr) -> Done {
    let binds_loosely = match left {
        Expr::BinaryOp { op, .. } => is_comparison(op),
        Expr::Like { .. } | Expr::ILike { .. } => is_regex(op),
        Expr::Between { .. } | Expr::InList { .. } => is_regex(op),
        _ => false,
    };
    if binds_loosely && (is_regex(op) || is_comparison(op)) {
        return Err(ambiguous("a chain of comparisons"));
    }
    let custom = |op: &Op| {
        use Op::{Arrow, AtArrow, HashArrow, HashLongArrow, LongArrow, Question, StringConcat};
        matches!(
            op,
            Arrow | LongArrow | HashArrow | HashLongArrow | AtArrow | Question | StringConcat
        )
    };
    let grabs = match right {
        Expr::BinaryOp { op, .. } => custom(op),
        Expr::Like { .. } | Expr::ILike { .. } | Expr::Between { .. } | Expr::InList { .. } => true,
        _ => false,
    };
    if is_regex(op) && grabs {
        return Err(ambiguous("an operator after a regular expression"));
    }
    Ok(())
}

fn ambiguous(what: &str) -> ExpressionFault {
    ExpressionFault::new(format!("{what} needs parentheses to be unambiguous"))
}

/// Refuses `'now'` and its kin where PostgreSQL would read them as the time of the run.
pub(super) fn refuse_clock_word(expr: &Expr) -> Done {
    match expr {
        Expr::Nested(inner) => refuse_clock_word(inner),
        Expr::Cast { expr, .. } => refuse_clock_word(expr),
        Expr::Value(value) => refuse_clock_literal(&value.value),
        _ => Ok(()),
    }
}

pub(super) fn refuse_clock_literal(value: &Value) -> Done {
    let text = literal_text(value).unwrap_or_default().to_ascii_lowercase();
    let clock = ["now", "today", "tomorrow", "yesterday"];
    match text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .find(|it| clock.contains(it))
    {
        None => Ok(()),
        Some(word) => Err(ExpressionFault::new(format!(
            "'{word}' is not allowed: it gives another value at every run, so the row would look modified each time"
        ))),
    }
}

/// The characters of a string literal whose spelling PostgreSQL and the parser agree on.
pub(super) fn literal_text(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
        Value::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
}

/// PostgreSQL 15 knows neither `1_000` nor `0x10`.
fn is_number(digits: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    digits.bytes().all(allowed) && digits.parse::<f64>().is_ok()
}

/// Where an expression starts, found without recursion.
fn start_of(expr: &Expr) -> Option<Location> {
    let mut expr = expr;
    loop {
        expr = match expr {
            Expr::Identifier(ident) => return Some(ident.span.start),
            Expr::CompoundIdentifier(parts) => return parts.first().map(|it| it.span.start),
            Expr::Value(value) => return Some(value.span.start),
            Expr::Function(call) => {
                let first = call.name.0.first()?.as_ident()?;
                return Some(first.span.start);
            }
            Expr::Case { case_token, .. } => return Some(case_token.0.span.start),
            Expr::BinaryOp { left, .. } => left,
            Expr::Nested(inner) => inner,
            Expr::Cast { expr, .. } | Expr::Like { expr, .. } | Expr::Between { expr, .. } => expr,
            _ => return None,
        };
    }
}
