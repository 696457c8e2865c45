//! The source side of the canonical row: one SQL value per target column, and what is wrong with it.

use crate::domain::identifier::quote_literal;
use crate::domain::mapping::{
    Codes, Fallback, Literal, Missing, Normalize, NullPolicy, PolyTarget, Rule, TemplatePart,
    TextFilter,
};
use crate::domain::resolve::{Conversion, ResolvedColumn, ResolvedEntity, ResolvedValue, Scope};

/// A value and the conditions under which the row cannot go, each with its `sqlstate|reason`.
struct Value {
    sql: String,
    faults: Vec<(String, &'static str)>,
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::Text(text) => quote_literal(text),
        Literal::Number(number) => number.replace('_', ""),
        Literal::Bool(flag) => flag.to_string(),
    }
}

fn text_literal(value: &Literal) -> String {
    match value {
        Literal::Text(text) => quote_literal(text),
        other => quote_literal(&literal(other)),
    }
}

fn fallback(value: &Fallback) -> String {
    match value {
        Fallback::Value(value) => text_literal(value),
        Fallback::Error | Fallback::Null => "null".into(),
    }
}

fn template(scope: &Scope, parts: &[TemplatePart], nulls: NullPolicy) -> String {
    let rendered = parts.iter().map(|part| match part {
        TemplatePart::Text(text) => quote_literal(text),
        TemplatePart::Hole(column, filters) => {
            let mut sql = format!("({})::text", scope.sql(column));
            for filter in filters {
                sql = match filter {
                    TextFilter::Lower => format!("lower({sql})"),
                    TextFilter::Upper => format!("upper({sql})"),
                    TextFilter::Trim => format!("btrim({sql})"),
                    TextFilter::Truncate(length) => format!("left({sql}, {length})"),
                    TextFilter::Pad(width) => {
                        format!("lpad({sql}, greatest({width}, length({sql})), '0')")
                    }
                };
            }
            match nulls {
                NullPolicy::Null => sql,
                NullPolicy::Empty => format!("coalesce({sql}, '')"),
            }
        }
    });
    format!("({})", rendered.collect::<Vec<_>>().join(" || "))
}

fn translate_codes(value: &mut Value, codes: &Codes, unknown: &Fallback) {
    let input = format!("({})::text", value.sql);
    let arms: String = codes
        .pairs
        .iter()
        .map(|(code, label)| {
            format!(
                " when {} then {}",
                quote_literal(code),
                quote_literal(label)
            )
        })
        .collect();
    if *unknown == Fallback::Error {
        let known: Vec<String> = codes
            .pairs
            .iter()
            .map(|(code, _)| quote_literal(code))
            .collect();
        let condition = format!("{input} not in ({})", known.join(", "));
        value.faults.push((condition, "22023|unknown code"));
    }
    // NULL is no code: it stays NULL, whatever unknown codes become.
    value.sql = format!(
        "case when {input} is null then null else case {input}{arms} else {} end end",
        fallback(unknown)
    );
}

fn normalize(sql: &str, steps: &[Normalize]) -> String {
    steps
        .iter()
        .fold(format!("({sql})::text"), |sql, step| match step {
            Normalize::Trim => format!("btrim({sql}, E' \\t\\n\\r\\f\\v')"),
            Normalize::Lower => format!("lower({sql})"),
            Normalize::Upper => format!("upper({sql})"),
            Normalize::Digits => format!("regexp_replace({sql}, '[^0-9]', '', 'g')"),
            Normalize::Collapse => format!("regexp_replace({sql}, '\\s+', ' ', 'g')"),
            Normalize::Nfc => format!("normalize({sql}, nfc)"),
            Normalize::EmptyToNull => format!("nullif({sql}, '')"),
        })
}

/// Renders the value as the rule makes it, before it is checked against the target type.
fn raw_value(scope: &Scope, column: &ResolvedColumn) -> Value {
    let rule = &column.rule;
    let mut faults = Vec::new();
    let sql = match &rule.rule {
        Rule::Column(source) => scope.sql(source),
        Rule::Const(value) => match &column.conversion {
            Conversion::Cast if column.transport.base != "text" => literal(value),
            _ => text_literal(value),
        },
        Rule::Expr(expression) => {
            format!(
                "({})",
                expression.to_sql(&|name| scope.expression_column(name))
            )
        }
        Rule::Case { arms, otherwise } => {
            let condition = |arm: &crate::domain::mapping::CaseArm| {
                arm.when.to_sql(&|name| scope.expression_column(name))
            };
            let arms_sql: String = arms
                .iter()
                .map(|arm| format!(" when {} then {}", condition(arm), text_literal(&arm.then)))
                .collect();
            if *otherwise == Fallback::Error {
                let any: Vec<String> = arms
                    .iter()
                    .map(|arm| format!("({})", condition(arm)))
                    .collect();
                let none = format!("({}) is not true", any.join(" or "));
                faults.push((none, "22023|no case applies"));
            }
            format!("case{arms_sql} else {} end", fallback(otherwise))
        }
        Rule::Template { parts, nulls } => template(scope, parts, *nulls),
        // References and JSON never come here.
        Rule::JsonParse { .. } | Rule::Reference { .. } | Rule::Poly { .. } => "null".into(),
    };
    let mut value = Value { sql, faults };
    if let Some((codes, unknown)) = &rule.codes {
        translate_codes(&mut value, codes, unknown);
    }
    if !rule.normalize.is_empty() {
        value.sql = normalize(&value.sql, &rule.normalize);
    }
    if let Some(default) = &rule.default {
        value.sql = format!("coalesce({}, {})", value.sql, literal(default));
    }
    value
}

/// Keeps a value only where a condition holds; elsewhere the row is faulty.
fn guarded(value: &mut Value, condition: &str, cast: &str, reason: &'static str) {
    let input = std::mem::take(&mut value.sql);
    let fault = format!("({input}) is not null and not ({condition})");
    value.faults.push((fault, reason));
    value.sql = format!("case when {condition} then ({input})::{cast} end");
}

fn converted(value: &mut Value, column: &ResolvedColumn) {
    const UUID: &str = "^(\\{([0-9a-f]{4}-?){7}[0-9a-f]{4}\\}|([0-9a-f]{4}-?){7}[0-9a-f]{4})$";
    const INTEGER: &str = "^\\s*[-+]?[0-9]{1,18}\\s*$";
    let to = &column.transport.sql;
    let input = value.sql.clone();
    match &column.conversion {
        Conversion::Cast | Conversion::JsonText => value.sql = format!("({input})::{to}"),
        Conversion::IntegerRange(low, high) => {
            let condition = format!("({input}) between {low} and {high}");
            guarded(value, &condition, to, "22003|out of range");
        }
        Conversion::NumericRange { precision, scale } => {
            let bound = format!("1e{}::numeric", precision - scale);
            // NaN fits every precision, and compares above every number.
            let number = format!("({input})::numeric");
            let condition = format!("{number} = 'NaN' or abs(round({number}, {scale})) < {bound}");
            guarded(value, &condition, to, "22003|out of range");
        }
        Conversion::TextToInteger(low, high) => {
            let condition = format!(
                "case when ({input}) ~ '{INTEGER}' then ({input})::bigint between {low} and {high} else false end"
            );
            guarded(value, &condition, to, "22P02|not an integer in range");
        }
        Conversion::TextToUuid => {
            let condition = format!("({input}) ~* '{UUID}'");
            guarded(value, &condition, "uuid", "22P02|not a uuid");
        }
        Conversion::EnumLabels(labels) => {
            let labels: Vec<String> = labels.iter().map(|label| quote_literal(label)).collect();
            let condition = format!("({input})::text in ({})", labels.join(", "));
            guarded(value, &condition, "text", "22P02|not a label of the enum");
        }
        Conversion::TextLength(limit) => {
            let condition = format!("char_length(({input})::text) > {limit}");
            value
                .faults
                .push((condition, "22001|longer than the column"));
            value.sql = format!("({input})::text");
        }
        Conversion::AtTimeZone(zone) => {
            let zone = quote_literal(zone);
            value.sql = format!("(({input})::timestamp at time zone {zone})::{to}");
        }
    }
}

/// Tells whether the source makes sure that a value is there: it stands in a column that refuses NULL.
fn is_never_null(scope: &Scope, column: &ResolvedColumn) -> bool {
    let rule = &column.rule;
    let (Rule::Column(name), None, true) = (&rule.rule, &rule.codes, rule.normalize.is_empty())
    else {
        return false;
    };
    scope.column(name).is_ok_and(|(alias, found)| {
        let stays = column.conversion == Conversion::Cast
            && found.column_type.is_builtin
            && found.column_type.base == column.transport.base;
        alias == scope.main_alias() && found.not_null && stays
    })
}

fn checked_value(scope: &Scope, column: &ResolvedColumn) -> Value {
    let mut value = raw_value(scope, column);
    converted(&mut value, column);
    let to = &column.transport.sql;
    match column.transport.base.as_str() {
        // -0.0 and 0.0 are one value, and so are 1.0 and 1.00 without a declared scale.
        "float4" | "float8" => value.sql = format!("(({}) + 0.0::{to})::{to}", value.sql),
        "numeric" if to == "numeric" => value.sql = format!("trim_scale({})", value.sql),
        _ => {}
    }
    if column.not_null && !is_never_null(scope, column) {
        let condition = format!("({}) is null", value.sql);
        value
            .faults
            .push((condition, "23502|NULL in a required column"));
    }
    value
}

fn poly(
    scope: &Scope,
    column: &ResolvedColumn,
    targets: &[PolyTarget],
    missing: Missing,
) -> Vec<Value> {
    let ResolvedValue::Poly {
        type_column,
        id_column,
        ..
    } = &column.value
    else {
        return Vec::new();
    };
    let kind = format!("({})::text", scope.sql(type_column));
    let id = scope.sql(id_column);
    let arms: String = targets
        .iter()
        .map(|it| {
            format!(
                " when {} then {}",
                quote_literal(&it.code),
                quote_literal(&it.entity)
            )
        })
        .collect();
    let entity = format!("case when {id} is not null then case {kind}{arms} end end");
    let mut faults = Vec::new();
    if missing != Missing::Null {
        faults.push((
            format!("{id} is not null and ({entity}) is null"),
            "22023|unknown type of a generic reference",
        ));
    }
    if column.not_null {
        faults.push((format!("{id} is null"), "23502|NULL in a required column"));
    }
    let key = format!("case when ({entity}) is not null then {id} end");
    vec![
        Value {
            sql: format!("({key})::{}", column.key_type.sql_type()),
            faults,
        },
        Value {
            sql: format!("({entity})::text"),
            faults: Vec::new(),
        },
    ]
}

fn values(scope: &Scope, column: &ResolvedColumn) -> Vec<Value> {
    match &column.value {
        ResolvedValue::Scalar => vec![checked_value(scope, column)],
        ResolvedValue::Json { column: text, .. } => vec![Value {
            sql: format!("({})::text", scope.sql(text)),
            faults: Vec::new(),
        }],
        ResolvedValue::Reference { by, .. } => {
            let by = scope.sql(by);
            let faults = if column.not_null {
                vec![(format!("{by} is null"), "23502|NULL in a required column")]
            } else {
                Vec::new()
            };
            vec![Value {
                sql: format!("({by})::{}", column.key_type.sql_type()),
                faults,
            }]
        }
        ResolvedValue::Poly {
            targets, missing, ..
        } => poly(scope, column, targets, *missing),
    }
}

/// The select list of an entity, in canonical order: compared columns, fault, columns of the target.
pub struct Projection {
    /// One SQL value per field after the key.
    pub fields: Vec<String>,
    /// How many of them come before the fault field.
    pub compared_fields: usize,
}

/// Compiles the mapping of an entity to the source's side of the canonical row.
pub fn project(entity: &ResolvedEntity) -> Projection {
    let compared = entity.compared_count();
    let mut fields = Vec::new();
    let mut owned = Vec::new();
    let mut faults = String::new();
    for (index, column) in entity.columns.iter().enumerate() {
        for value in values(&entity.scope, column) {
            for (condition, reason) in &value.faults {
                let text = quote_literal(&format!("{reason}|{}", column.name));
                faults.push_str(&format!(" when {condition} then {text}"));
            }
            let list = if index < compared {
                &mut fields
            } else {
                &mut owned
            };
            list.push(value.sql);
        }
    }
    let compared_fields = fields.len();
    fields.push(if faults.is_empty() {
        "null::text".to_owned()
    } else {
        format!("(case{faults} end)::text")
    });
    fields.extend(owned);
    Projection {
        fields,
        compared_fields,
    }
}
