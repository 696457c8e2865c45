//! Statements that look for rows of the source which the mapping cannot take as they are.

use super::Statement;
use super::projection::{base_value, raw_value, validations, values};
use super::source::SourceStatements;
use crate::domain::doctor::rows::Trouble;
use crate::domain::expression::ColumnName;
use crate::domain::identifier::quote_literal;
use crate::domain::mapping::Rule;
use crate::domain::resolve::{Conversion, ResolvedColumn, ResolvedEntity, ResolvedValue, Scope};
use std::collections::BTreeSet;

/// Values that are longer than this are no codes, and are not shown.
const LONGEST_CODE: usize = 40;
/// How many values of a column are shown.
const MOST_VALUES: usize = 20;

/// A condition that rows must not meet.
#[derive(Debug, Clone)]
pub struct RowCheck {
    /// The target column.
    pub column: String,
    /// The line of its rule.
    pub line: usize,
    /// What it means when it holds.
    pub trouble: Trouble,
    /// Conditions of one column are looked at in order; the first one that holds counts.
    group: usize,
    condition: String,
    /// The code-like value that is to blame.
    shown: Option<String>,
    /// The text whose length matters.
    text: Option<String>,
}

/// Returns everything that an entity's rows must not meet.
pub fn row_checks(entity: &ResolvedEntity) -> Vec<RowCheck> {
    let scope = &entity.scope;
    let mut checks = Vec::new();
    let mut group = 0;
    for column in &entity.columns {
        let made = |trouble, condition, group| RowCheck {
            column: column.name.clone(),
            line: column.rule.spot.line,
            trouble,
            group,
            condition,
            shown: shown(scope, column, trouble),
            text: (trouble == Trouble::TooLong).then(|| raw_value(scope, column).sql),
        };
        for value in values(scope, column) {
            let faults = value.faults.into_iter();
            checks.extend(
                faults
                    .map(|(condition, reason)| made(Trouble::of_reason(reason), condition, group)),
            );
        }
        group += 1;
        if let Some(condition) = loss(scope, column) {
            checks.push(made(Trouble::Rounded, condition, group));
            group += 1;
        }
    }
    for (condition, fault) in validations(entity) {
        let mut parts = fault.splitn(3, '|').skip(2);
        let name = parts.next().unwrap_or_default();
        let column = entity.columns.iter().find(|it| it.name == name);
        checks.push(RowCheck {
            column: name.to_owned(),
            line: column.map_or(0, |it| it.rule.spot.line),
            trouble: Trouble::Validation,
            group,
            condition,
            shown: None,
            text: None,
        });
        group += 1;
    }
    checks
}

impl RowCheck {
    /// Parts conditions into those of one column each.
    pub fn by_column(checks: &[RowCheck]) -> Vec<Vec<RowCheck>> {
        let groups: BTreeSet<usize> = checks.iter().map(|it| it.group).collect();
        let mut columns = Vec::new();
        for group in groups {
            let own = checks.iter().filter(|it| it.group == group);
            columns.push(own.cloned().collect());
        }
        columns
    }
}

/// The condition under which a time loses digits, which no rule forbids.
fn loss(scope: &Scope, column: &ResolvedColumn) -> Option<String> {
    let to = &column.transport.sql;
    let is_rounded = matches!(column.value, ResolvedValue::Scalar)
        && column.conversion == Conversion::Cast
        && to.starts_with("time")
        && to.contains('(');
    is_rounded.then(|| {
        let input = raw_value(scope, column).sql;
        let whole = to.split('(').next().unwrap_or_default();
        format!("({input})::{to} <> ({input})::{whole}")
    })
}

/// The value that is to blame, when it is a code; never a free text.
fn shown(scope: &Scope, column: &ResolvedColumn, trouble: Trouble) -> Option<String> {
    match (trouble, &column.value) {
        (Trouble::UnknownCode, _) => Some(base_value(scope, column).sql),
        (Trouble::NotALabel, _) => Some(raw_value(scope, column).sql),
        (Trouble::UnknownKind, ResolvedValue::Poly { type_column, .. }) => {
            Some(scope.sql(type_column))
        }
        (Trouble::NoCase, _) => case_columns(scope, column),
        _ => None,
    }
}

/// What a case looks at, as `paid = true, refunded = null`; nothing when a column of it may hold free text.
fn case_columns(scope: &Scope, column: &ResolvedColumn) -> Option<String> {
    const CODE_LIKE: &[&str] = &["bool", "int2", "int4", "int8", "char"];
    let Rule::Case { arms, .. } = &column.rule.rule else {
        return None;
    };
    let names: BTreeSet<&ColumnName> = arms.iter().flat_map(|arm| arm.when.columns()).collect();
    let parts = names.into_iter().map(|name| {
        let (_, found) = scope.find(name.table.as_deref(), &name.column).ok()?;
        let kind = &found.column_type;
        let is_code = CODE_LIKE.contains(&kind.base.as_str()) || kind.enum_labels.is_some();
        let label = quote_literal(&format!("{} = ", name.column));
        let value = scope.expression_column(name);
        is_code.then(|| format!("{label} || coalesce(({value})::text, 'null')"))
    });
    let parts: Option<Vec<String>> = parts.collect();
    let parts = parts.filter(|it| !it.is_empty())?;
    Some(format!("concat_ws(', ', {})", parts.join(", ")))
}

/// The number of the first condition of a group that a row meets.
fn first_met(checks: &[RowCheck], group: usize) -> String {
    let own = checks
        .iter()
        .enumerate()
        .filter(|(_, it)| it.group == group);
    let arms: String = own
        .map(|(index, it)| format!(" when {} then {index}", it.condition))
        .collect();
    format!("case{arms} end")
}

fn looked_at(entity: &ResolvedEntity, fields: &[String], limit: u64) -> String {
    let source = SourceStatements::new(entity);
    format!(
        "(select {} from {}{} limit {limit}) as looked",
        fields.join(", "),
        source.joined(),
        source.where_clause(None)
    )
}

/// Values that an expression makes, which may fail for a row.
fn computed(entity: &ResolvedEntity) -> Vec<String> {
    let columns = entity.columns.iter();
    let made = columns.filter(|it| matches!(it.rule.rule, Rule::Expr(_) | Rule::Case { .. }));
    let values = made.flat_map(|column| values(&entity.scope, column));
    values.map(|value| value.sql).collect()
}

/// Counts the rows, those that meet each condition, and the longest text of each; one array in one row. Whatever is
/// computed is counted at its end, since only then the server computes it.
///
/// `whole` asks for all of that, else only for what the conditions need.
pub fn count_troubled(
    entity: &ResolvedEntity,
    checks: &[RowCheck],
    whole: bool,
    limit: u64,
) -> Statement {
    let groups: BTreeSet<usize> = checks.iter().map(|it| it.group).collect();
    let mut fields: Vec<String> = groups
        .iter()
        .map(|group| format!("{} as g{group}", first_met(checks, *group)))
        .collect();
    let mut counts = vec!["count(*)".to_owned()];
    for (index, check) in checks.iter().enumerate() {
        counts.push(format!(
            "count(*) filter (where g{} = {index})",
            check.group
        ));
        counts.push(match &check.text {
            None => "0".to_owned(),
            Some(text) => {
                fields.push(format!("char_length(({text})::text) as t{index}"));
                format!("coalesce(max(t{index}), 0)")
            }
        });
    }
    let computed = if whole { computed(entity) } else { Vec::new() };
    for (index, value) in computed.into_iter().enumerate() {
        fields.push(format!("{value} as e{index}"));
        counts.push(format!("count(e{index})"));
    }
    if fields.is_empty() {
        fields.push("1 as one".to_owned());
    }
    Statement::new(format!(
        "select array[{}]::bigint[] from {}",
        counts.join(", "),
        looked_at(entity, &fields, limit)
    ))
}

/// Lists the values that meet a condition, the most frequent first; nothing when they are no codes.
pub fn values_of(
    entity: &ResolvedEntity,
    checks: &[RowCheck],
    index: usize,
    limit: u64,
) -> Option<Statement> {
    let check = checks.get(index)?;
    let shown = check.shown.as_ref()?;
    let fields = [
        format!("{} as met", first_met(checks, check.group)),
        format!("({shown})::text as shown"),
    ];
    Some(Statement::new(format!(
        "select case when char_length(shown) <= {LONGEST_CODE} then shown end as value, count(*) as rows \
         from {} where met = {index} group by 1 order by 2 desc, 1 limit {MOST_VALUES}",
        looked_at(entity, &fields, limit)
    )))
}

/// Counts the rows that have the same values as another row in columns which the target keeps unique; nothing when
/// other rules than the entity's own fill them, or when its key does.
pub fn count_duplicates(
    entity: &ResolvedEntity,
    columns: &[String],
    limit: u64,
) -> Option<Statement> {
    let is_key = |name: &String| {
        *name == entity.id_column || entity.legacy.iter().any(|(_, legacy)| legacy == name)
    };
    if columns.is_empty() || columns.iter().any(is_key) {
        return None;
    }
    let mut fields = Vec::new();
    for name in columns {
        let column = entity.columns.iter().find(|it| it.name == *name)?;
        if matches!(column.value, ResolvedValue::Json { .. }) {
            return None;
        }
        for value in values(&entity.scope, column) {
            fields.push(format!("{} as v{}", value.sql, fields.len()));
        }
    }
    let names: Vec<String> = (0..fields.len()).map(|it| format!("v{it}")).collect();
    let present: Vec<String> = names.iter().map(|it| format!("{it} is not null")).collect();
    Some(Statement::new(format!(
        "select coalesce(sum(n - 1), 0)::bigint from (select count(*) as n from {} where {} group by {} \
         having count(*) > 1) as shared",
        looked_at(entity, &fields, limit),
        present.join(" and "),
        names.join(", ")
    )))
}
