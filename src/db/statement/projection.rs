//! The source side of the canonical row: one SQL value per target column, and what is wrong with it.

use super::target_row::key_field_type;
use crate::domain::identifier::quote_literal;
use crate::domain::key::KeyType;
use crate::domain::mapping::{
    ColumnRef, Fallback, JsonMember, Literal, Missing, NullPolicy, PolyTarget, Rule, TemplatePart,
    TextFilter,
};
use crate::domain::resolve::{
    Conversion, ResolvedColumn, ResolvedEntity, ResolvedValidation, ResolvedValue, Scope,
};

mod convert;
mod modify;

/// The first version that has `trim_scale`.
const TRIM_SCALE_SINCE: i32 = 130_000;

/// A value and the conditions under which the row cannot go, each with its `sqlstate|reason`.
pub(super) struct Value {
    pub sql: String,
    pub faults: Vec<(String, &'static str)>,
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

/// Renders what the rule starts from, before anything modifies it.
pub(super) fn base_value(scope: &Scope, column: &ResolvedColumn) -> Value {
    let mut faults = Vec::new();
    let sql = match &column.rule.rule {
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
        Rule::Json {
            members,
            omit_nulls,
            null_if_empty,
        } => object(scope, members, *omit_nulls, *null_if_empty),
        Rule::JsonPath {
            column: document,
            path,
            ..
        } => {
            let names: Vec<String> = path.iter().map(|it| quote_literal(it)).collect();
            let take = match column.transport.base.as_str() {
                "jsonb" => "#>",
                _ => "#>>",
            };
            let document = scope.sql(document);
            format!("({document}::jsonb {take} array[{}])", names.join(", "))
        }
        // References and JSON text never come here.
        Rule::JsonParse { .. } | Rule::Reference { .. } | Rule::Poly { .. } => "null".into(),
    };
    Value { sql, faults }
}

/// Renders the value as the rule makes it, before it is checked against the target type.
pub(super) fn raw_value(scope: &Scope, column: &ResolvedColumn) -> Value {
    let mut value = base_value(scope, column);
    let source_is_text = match &column.rule.rule {
        Rule::Column(source) => is_text(scope, source),
        Rule::Template { .. } | Rule::JsonPath { .. } => true,
        _ => false,
    };
    modify::apply(&mut value, column, source_is_text);
    value
}

fn is_text(scope: &Scope, column: &ColumnRef) -> bool {
    let found = scope.column(column);
    found.is_ok_and(|(_, it)| {
        matches!(
            it.column_type.base.as_str(),
            "text" | "varchar" | "bpchar" | "name"
        )
    })
}

fn member(scope: &Scope, member: &JsonMember, omit_nulls: bool) -> String {
    match member {
        JsonMember::Column(column) => scope.sql(column),
        JsonMember::Const(Literal::Text(text)) => format!("{}::text", quote_literal(text)),
        JsonMember::Const(value) => literal(value),
        JsonMember::Expr(expression) => {
            format!(
                "({})",
                expression.to_sql(&|name| scope.expression_column(name))
            )
        }
        JsonMember::Object(members) => object(scope, members, omit_nulls, false),
    }
}

/// Builds a JSON object; it is empty when all its columns and expressions are NULL.
fn object(
    scope: &Scope,
    members: &[(String, JsonMember)],
    omit_nulls: bool,
    null_if_empty: bool,
) -> String {
    let pair = |(name, it): &(String, JsonMember)| {
        format!("{}, {}", quote_literal(name), member(scope, it, omit_nulls))
    };
    let mut sql = if omit_nulls {
        // Not `jsonb_strip_nulls`, which would reach into the documents of others.
        let parts = members.iter().map(|one| match &one.1 {
            JsonMember::Column(_) | JsonMember::Expr(_) => {
                let value = member(scope, &one.1, omit_nulls);
                format!(
                    "case when {value} is null then '{{}}' else jsonb_build_object({}) end",
                    pair(one)
                )
            }
            JsonMember::Const(_) | JsonMember::Object(_) => {
                format!("jsonb_build_object({})", pair(one))
            }
        });
        let parts: Vec<String> = parts.collect();
        format!("('{{}}'::jsonb || {})", parts.join(" || "))
    } else {
        let parts: Vec<String> = members.iter().map(pair).collect();
        format!("jsonb_build_object({})", parts.join(", "))
    };
    if null_if_empty {
        let leaves = JsonMember::leaves(members);
        let empty: Vec<String> = leaves
            .iter()
            .filter(|it| !matches!(it, JsonMember::Const(_)))
            .map(|it| format!("({}) is null", member(scope, it, omit_nulls)))
            .collect();
        if !empty.is_empty() {
            sql = format!("case when not ({}) then {sql} end", empty.join(" and "));
        }
    }
    sql
}

/// Tells whether the source makes sure that a value is there: it stands in a column that refuses NULL.
fn is_never_null(scope: &Scope, column: &ResolvedColumn) -> bool {
    let rule = &column.rule;
    let (Rule::Column(name), None) = (&rule.rule, rule.first_modifier()) else {
        return false;
    };
    scope.column(name).is_ok_and(|(alias, found)| {
        let stays = column.conversion == Conversion::Cast
            && found.column_type.is_builtin
            && found.column_type.base == column.transport.base;
        alias == scope.main_alias() && found.not_null && stays
    })
}

/// Takes zeros at the end off a number.
fn trimmed(scope: &Scope, number: &str) -> String {
    if scope.server_version() >= TRIM_SCALE_SINCE {
        return format!("trim_scale({number})");
    }
    let text = format!("({number})::text");
    format!(
        "case when strpos({text}, '.') > 0 then rtrim(rtrim({text}, '0'), '.')::numeric else {number} end"
    )
}

fn checked_value(scope: &Scope, column: &ResolvedColumn) -> Value {
    let mut value = raw_value(scope, column);
    convert::apply(&mut value, column);
    let to = &column.transport.sql;
    match column.transport.base.as_str() {
        // -0.0 and 0.0 are one value, and so are 1.0 and 1.00 without a declared scale.
        "float4" | "float8" => value.sql = format!("(({}) + 0.0::{to})::{to}", value.sql),
        "numeric" if to == "numeric" => value.sql = trimmed(scope, &value.sql),
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
            sql: format!("({key})::{}", key_field_type(&column.key_types)),
            faults,
        },
        Value {
            sql: format!("({entity})::text"),
            faults: Vec::new(),
        },
    ]
}

/// The key of a parent: one value, or an array of several, which is NULL when any of them is.
fn parent_key(
    scope: &Scope,
    by: &[ColumnRef],
    ungrouped: Option<&ColumnRef>,
    types: &[KeyType],
) -> String {
    if let [by] = by {
        let by = scope.sql(by);
        // A parent that is not in the source has no group there; its ledger may know it.
        return match ungrouped {
            Some(own) => format!("coalesce({by}, {})", scope.sql(own)),
            None => by,
        };
    }
    let columns: Vec<String> = by.iter().map(|it| scope.sql(it)).collect();
    let set: Vec<String> = columns
        .iter()
        .map(|it| format!("{it} is not null"))
        .collect();
    let parts = columns.iter().zip(types);
    let parts: Vec<String> = parts
        .map(|(it, key_type)| format!("{it}::{}", key_type.sql_type()))
        .collect();
    format!(
        "case when {} then jsonb_build_array({})::text end",
        set.join(" and "),
        parts.join(", ")
    )
}

/// Renders what a column sends: one value, or two for a generic reference.
pub(super) fn values(scope: &Scope, column: &ResolvedColumn) -> Vec<Value> {
    match &column.value {
        ResolvedValue::Scalar => vec![checked_value(scope, column)],
        ResolvedValue::Json { column: text, .. } => vec![Value {
            sql: format!("({})::text", scope.sql(text)),
            faults: Vec::new(),
        }],
        ResolvedValue::Reference {
            by,
            hops,
            ungrouped,
            missing,
            ..
        } => {
            let by = parent_key(scope, by, ungrouped.as_ref(), &column.key_types);
            let mut faults = Vec::new();
            // Without the row on the way nobody knows whether there is a parent.
            for hop in hops.iter().filter(|_| missing.keeps_out()) {
                let (from, key) = (scope.sql(&hop.from), scope.sql(&hop.key));
                let lost = format!("{from} is not null and {key} is null");
                faults.push((lost, "23503|the row that leads to the parent is not there"));
            }
            if column.not_null {
                faults.push((format!("{by} is null"), "23502|NULL in a required column"));
            }
            vec![Value {
                sql: format!("({by})::{}", key_field_type(&column.key_types)),
                faults,
            }]
        }
        ResolvedValue::Poly {
            targets, missing, ..
        } => poly(scope, column, targets, *missing),
    }
}

/// The demands of the mapping, each as the condition that breaks it, with `sqlstate|reason|column`.
pub(super) fn validations(entity: &ResolvedEntity) -> Vec<(String, String)> {
    let value_of = |name: &str| {
        let column = entity.columns.iter().find(|it| it.name == name);
        column.map(|column| (checked_value(&entity.scope, column).sql, column))
    };
    let mut broken = Vec::new();
    for validation in &entity.validations {
        let found = validation.column().and_then(value_of);
        match (validation, found) {
            (ResolvedValidation::Format(name, format), Some((sql, _))) => {
                let fits = modify::has_format(&format!("({sql})::text"), format);
                let condition = format!("({sql}) is not null and not {fits}");
                broken.push((condition, format!("22023|not in the format|{name}")));
            }
            (ResolvedValidation::Range(name, low, high), Some((sql, column))) => {
                let to = &column.transport.sql;
                let bound = |value: &Literal| format!("{}::{to}", text_literal(value));
                let below = low.iter().map(|low| format!("({sql}) < {}", bound(low)));
                let above = high.iter().map(|high| format!("({sql}) > {}", bound(high)));
                let outside: Vec<String> = below.chain(above).collect();
                broken.push((
                    outside.join(" or "),
                    format!("22003|outside the range of a validation|{name}"),
                ));
            }
            (ResolvedValidation::Condition(condition), _) => {
                let holds = condition.to_sql(&|name| entity.scope.expression_column(name));
                let reason = "23514|a validation does not hold|".to_owned();
                broken.push((format!("({holds}) is not true"), reason));
            }
            _ => {}
        }
    }
    broken
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
    for (condition, reason) in validations(entity) {
        faults.push_str(&format!(
            " when {condition} then {}",
            quote_literal(&reason)
        ));
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
