//! Calls and the special forms that SQL spells with keywords.

use super::render::{Done, Renderer, literal_text, refuse_clock_literal, refuse_clock_word};
use super::{ExpressionFault, cast, function};
use sqlparser::ast::{
    CeilFloorKind, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Interval, TrimWhereField, TypedString,
};

const EXTRACT_FIELDS: &[&str] = &[
    "century",
    "day",
    "decade",
    "dow",
    "doy",
    "epoch",
    "hour",
    "isodow",
    "isoyear",
    "julian",
    "microseconds",
    "millennium",
    "milliseconds",
    "minute",
    "month",
    "quarter",
    "second",
    "timezone",
    "timezone_hour",
    "timezone_minute",
    "week",
    "year",
];
const INTERVAL_FIELDS: &[&str] = &["year", "month", "day", "hour", "minute", "second"];
const NORMAL_FORMS: &[&str] = &["nfc", "nfd", "nfkc", "nfkd"];
/// Functions whose untyped literals PostgreSQL reads as points in time.
const TAKES_TIME: &[&str] = &["age", "date_part", "date_trunc", "to_char"];

impl Renderer {
    pub(super) fn special_form(&mut self, expr: &Expr, depth: usize) -> Done {
        match expr {
            Expr::Function(call) => self.call(call, depth),
            Expr::IsDistinctFrom(a, b) => {
                self.row(&["(", " IS DISTINCT FROM ", ")"], &[a, b], depth)
            }
            Expr::IsNotDistinctFrom(a, b) => {
                self.row(&["(", " IS NOT DISTINCT FROM ", ")"], &[a, b], depth)
            }
            Expr::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char,
            } => {
                let word = if *negated { " NOT LIKE " } else { " LIKE " };
                self.like(word, expr, pattern, escape_char.as_deref(), depth)
            }
            Expr::ILike {
                negated,
                any: false,
                expr,
                pattern,
                escape_char,
            } => {
                let word = if *negated { " NOT ILIKE " } else { " ILIKE " };
                self.like(word, expr, pattern, escape_char.as_deref(), depth)
            }
            Expr::AtTimeZone {
                timestamp,
                time_zone,
            } => {
                refuse_clock_word(timestamp)?;
                self.row(
                    &["(", " AT TIME ZONE ", ")"],
                    &[timestamp, time_zone],
                    depth,
                )
            }
            Expr::Extract { field, expr, .. } => {
                refuse_clock_word(expr)?;
                let open = format!("EXTRACT({} FROM ", field_name(field, EXTRACT_FIELDS)?);
                self.row(&[&open, ")"], &[expr], depth)
            }
            Expr::Ceil { expr, field } => self.rounded("ceil(", expr, field, depth),
            Expr::Floor { expr, field } => self.rounded("floor(", expr, field, depth),
            Expr::Position { expr, r#in } => {
                self.row(&["POSITION(", " IN ", ")"], &[expr, r#in], depth)
            }
            Expr::Substring { .. } => self.substring(expr, depth),
            Expr::Trim { .. } => self.trim(expr, depth),
            Expr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                let mut operands = vec![&**expr, &**overlay_what, &**overlay_from];
                let mut texts = vec!["OVERLAY(", " PLACING ", " FROM "];
                if let Some(length) = overlay_for {
                    operands.push(length);
                    texts.push(" FOR ");
                }
                texts.push(")");
                self.row(&texts, &operands, depth)
            }
            Expr::Interval(interval) => self.interval(interval),
            Expr::TypedString(typed) => self.typed(typed),
            other => Err(ExpressionFault::refused(construct(other))),
        }
    }

    fn call(&mut self, call: &Function, depth: usize) -> Done {
        let (name, ident) = function::plain_name(&call.name)?;
        let located = |fault: ExpressionFault| fault.at(ident.span.start);
        function::allow(&name).map_err(located)?;
        let refused = |what| Err(located(ExpressionFault::refused(what)));
        if call.over.is_some() {
            return refused("window functions (OVER) are");
        }
        if call.filter.is_some() || !call.within_group.is_empty() {
            return refused("FILTER and WITHIN GROUP are");
        }
        let list = match &call.args {
            FunctionArguments::List(list) => list,
            FunctionArguments::Subquery(_) => return refused("sub-queries are"),
            FunctionArguments::None => return refused("a call without parentheses is"),
        };
        let is_plain = call.parameters == FunctionArguments::None
            && !call.uses_odbc_syntax
            && call.null_treatment.is_none()
            && list.duplicate_treatment.is_none()
            && list.clauses.is_empty();
        if !is_plain {
            return refused("DISTINCT, ORDER BY and other clauses inside a call are");
        }
        let mut args = Vec::new();
        for arg in &list.args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => args.push(arg),
                FunctionArg::Unnamed(_) => return refused("* as an argument is"),
                _ => return refused("named arguments are"),
            }
        }
        if TAKES_TIME.contains(&name.as_str()) {
            args.iter().try_for_each(|arg| refuse_clock_word(arg))?;
        }
        match (name.as_str(), args.as_slice()) {
            ("age", args) if args.len() != 2 => Err(located(ExpressionFault::new(
                "age needs two arguments: with one it counts from the day of the run",
            ))),
            ("normalize", [text, Expr::Identifier(form)])
                if NORMAL_FORMS.contains(&form.value.to_ascii_lowercase().as_str()) =>
            {
                let end = format!(", {})", form.value.to_ascii_uppercase());
                self.row(&["normalize(", &end], &[text], depth)
            }
            ("normalize", args) if args.len() != 1 => Err(located(ExpressionFault::new(
                "normalize takes a text and one of NFC, NFD, NFKC, NFKD",
            ))),
            (name, args) => self.list(&format!("{name}("), args.iter().copied(), ")", depth),
        }
    }

    fn like(
        &mut self,
        word: &str,
        expr: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        depth: usize,
    ) -> Done {
        self.row(&["(", word], &[expr, pattern], depth)?;
        if let Some(escape) = escape {
            self.row(&[" ESCAPE "], &[escape], depth)?;
        }
        self.sql(")");
        Ok(())
    }

    fn rounded(&mut self, open: &str, expr: &Expr, field: &CeilFloorKind, depth: usize) -> Done {
        match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => {
                self.row(&[open, ")"], &[expr], depth)
            }
            _ => Err(ExpressionFault::new("ceil and floor take one argument")),
        }
    }

    fn substring(&mut self, form: &Expr, depth: usize) -> Done {
        let Expr::Substring {
            expr,
            substring_from,
            substring_for,
            special,
            shorthand,
        } = form
        else {
            return Err(ExpressionFault::refused(construct(form)));
        };
        let (from, length) = (substring_from.as_deref(), substring_for.as_deref());
        let mut operands = vec![&**expr];
        operands.extend(from);
        operands.extend(length);
        if operands.len() == 1 || (*shorthand && !*special) {
            return Err(ExpressionFault::new(
                "substr takes a text, a start and optionally a length",
            ));
        }
        if *special {
            let name = if *shorthand { "substr(" } else { "substring(" };
            return self.list(name, operands, ")", depth);
        }
        let mut texts = vec!["SUBSTRING("];
        texts.extend(from.map(|_| " FROM "));
        texts.extend(length.map(|_| " FOR "));
        texts.push(")");
        self.row(&texts, &operands, depth)
    }

    /// Writes TRIM as the plain function that PostgreSQL makes of it.
    fn trim(&mut self, form: &Expr, depth: usize) -> Done {
        let Expr::Trim {
            trim_where,
            trim_what,
            expr,
            trim_characters,
        } = form
        else {
            return Err(ExpressionFault::refused(construct(form)));
        };
        let name = match trim_where {
            None | Some(TrimWhereField::Both) => "btrim(",
            Some(TrimWhereField::Leading) => "ltrim(",
            Some(TrimWhereField::Trailing) => "rtrim(",
        };
        let mut operands = vec![&**expr];
        operands.extend(trim_what.as_deref());
        operands.extend(trim_characters.iter().flatten());
        if operands.len() > 2 {
            return Err(ExpressionFault::new(
                "trim takes a text and the characters to remove",
            ));
        }
        self.list(name, operands, ")", depth)
    }

    fn interval(&mut self, interval: &Interval) -> Done {
        let Expr::Value(value) = &*interval.value else {
            return Err(ExpressionFault::new(
                "an interval is written interval '1 day'",
            ));
        };
        let precise = interval
            .leading_precision
            .or(interval.fractional_seconds_precision);
        if literal_text(value).is_none() || precise.is_some() {
            return Err(ExpressionFault::new(
                "an interval is written interval '1 day'",
            ));
        }
        self.sql("INTERVAL ");
        self.value(value)?;
        if let Some(field) = &interval.leading_field {
            self.sql(&format!(" {}", field_name(field, INTERVAL_FIELDS)?));
        }
        if let Some(field) = &interval.last_field {
            self.sql(&format!(" TO {}", field_name(field, INTERVAL_FIELDS)?));
        }
        Ok(())
    }

    fn typed(&mut self, typed: &TypedString) -> Done {
        let name = cast::render(&typed.data_type)?;
        if literal_text(&typed.value).is_none() || typed.uses_odbc_syntax {
            return Err(ExpressionFault::new(format!(
                "{name} must be followed by a 'string'"
            )));
        }
        if cast::reads_clock_words(&typed.data_type) {
            refuse_clock_literal(&typed.value)?;
        }
        self.sql("CAST(");
        self.value(&typed.value)?;
        self.sql(&format!(" AS {name})"));
        Ok(())
    }
}

/// Finds a field in the list under its PostgreSQL name; what is written is the list's own text.
fn field_name(
    field: &DateTimeField,
    allowed: &[&'static str],
) -> Result<&'static str, ExpressionFault> {
    let written = match field {
        DateTimeField::Custom(ident) => ident.value.to_ascii_lowercase(),
        other => other.to_string().to_ascii_lowercase(),
    };
    let same = |it: &&&str| {
        **it == written
            || it.strip_suffix('s') == Some(&written)
            || written.strip_suffix('s') == Some(**it)
    };
    match allowed.iter().find(same) {
        Some(field) => Ok(field),
        None => Err(
            ExpressionFault::new(format!("the field {written} is not allowed here"))
                .hint(format!("one of {}", allowed.join(", "))),
        ),
    }
}

fn construct(expr: &Expr) -> &'static str {
    match expr {
        Expr::Subquery(_) | Expr::InSubquery { .. } => "sub-queries are",
        Expr::Exists { .. } => "EXISTS is",
        Expr::AnyOp { .. } | Expr::AllOp { .. } => "ANY and ALL are",
        Expr::Like { .. } | Expr::ILike { .. } => "LIKE ANY is",
        Expr::Collate { .. } => "COLLATE is",
        Expr::CompoundFieldAccess { .. } | Expr::JsonAccess { .. } => "subscripts and fields are",
        Expr::Tuple(_) | Expr::Struct { .. } | Expr::Named { .. } => "rows and tuples are",
        Expr::SimilarTo { .. } => "SIMILAR TO is",
        Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => "* is",
        Expr::Array(_) => "a list without ARRAY is",
        Expr::Prefixed { .. } => "a prefix before a literal is",
        Expr::IsJson { .. } | Expr::IsNormalized { .. } => "IS JSON and IS NORMALIZED are",
        _ => "this construct is",
    }
}
