//! Which functions may be called, and why others may not.

use super::{ExpressionFault, fold};
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

/// Functions that only compute from their arguments.
const ALLOWED: &[&str] = &[
    "abs",
    "age",
    "array_length",
    "btrim",
    "cardinality",
    "ceil",
    "ceiling",
    "char_length",
    "coalesce",
    "concat",
    "concat_ws",
    "date_part",
    "date_trunc",
    "decode",
    "encode",
    "floor",
    "greatest",
    "initcap",
    "json_extract_path_text",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_extract_path_text",
    "jsonb_typeof",
    "least",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "make_date",
    "md5",
    "mod",
    "normalize",
    "nullif",
    "octet_length",
    "power",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "rpad",
    "rtrim",
    "sign",
    "split_part",
    "sqrt",
    "starts_with",
    "strpos",
    "substr",
    "to_char",
    "to_date",
    "to_number",
    "to_timestamp",
    "translate",
    "trim",
    "trunc",
    "upper",
];

const CHANGES_EVERY_RUN: &[&str] = &[
    "clock_timestamp",
    "current_date",
    "current_time",
    "current_timestamp",
    "gen_random_bytes",
    "gen_random_uuid",
    "gen_salt",
    "localtime",
    "localtimestamp",
    "nextval",
    "now",
    "random",
    "random_normal",
    "statement_timestamp",
    "timeofday",
    "transaction_timestamp",
    "uuidv4",
    "uuidv7",
];
const CHANGES_EVERY_RUN_PREFIXES: &[&str] =
    &["txid_", "uuid_generate_", "pg_current_xact", "pg_snapshot"];

const DEPENDS_ON_SESSION: &[&str] = &[
    "current_catalog",
    "current_database",
    "current_query",
    "current_role",
    "current_schema",
    "current_schemas",
    "current_setting",
    "current_user",
    "currval",
    "lastval",
    "session_user",
    "system_user",
    "user",
];
/// What PostgreSQL calls without parentheses.
const BARE_CALLS: &[&str] = &[
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "session_user",
    "system_user",
    "user",
];
const REACHES_OUTSIDE: &[&str] = &["set_config", "setseed", "setval", "ts_rewrite", "ts_stat"];
const REACHES_OUTSIDE_PREFIXES: &[&str] = &[
    "pg_",
    "lo_",
    "dblink",
    "query_to_xml",
    "cursor_to_xml",
    "table_to_xml",
    "schema_to_xml",
    "database_to_xml",
    "inet_client",
    "inet_server",
];

const AGGREGATES: &[&str] = &[
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "cume_dist",
    "dense_rank",
    "every",
    "first_value",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "lag",
    "last_value",
    "lead",
    "max",
    "min",
    "mode",
    "nth_value",
    "ntile",
    "percent_rank",
    "percentile_cont",
    "percentile_disc",
    "rank",
    "row_number",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
    "xmlagg",
];

/// Returns the folded name of a function that is called without a schema.
pub(super) fn plain_name(name: &ObjectName) -> Result<(String, &Ident), ExpressionFault> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Ok((fold(ident)?, ident)),
        [ObjectNamePart::Identifier(first), ..] => {
            Err(ExpressionFault::refused("functions with a schema are").at(first.span.start))
        }
        _ => Err(ExpressionFault::refused("such function names are")),
    }
}

/// Refuses what must not be called anywhere, not even in a source query.
pub(super) fn refuse_harmful(name: &str) -> Result<(), ExpressionFault> {
    // A quoted name could differ in case alone; no harmless function needs that.
    let lower = name.to_ascii_lowercase();
    let within = |names: &[&str], prefixes: &[&str]| {
        names.contains(&lower.as_str()) || prefixes.iter().any(|it| lower.starts_with(it))
    };
    let reason = if within(CHANGES_EVERY_RUN, CHANGES_EVERY_RUN_PREFIXES) {
        "it gives another value at every run, so the row would look modified each time"
    } else if within(DEPENDS_ON_SESSION, &[]) {
        "its value depends on the session, not on the row"
    } else if within(REACHES_OUTSIDE, REACHES_OUTSIDE_PREFIXES) {
        "it reaches beyond the rows of the source"
    } else {
        return Ok(());
    };
    Err(ExpressionFault::new(format!(
        "function {lower} is not allowed: {reason}"
    )))
}

/// Refuses a name without parentheses that PostgreSQL reads as a call, like `current_user`.
pub(super) fn refuse_bare_call(ident: &Ident) -> Result<(), ExpressionFault> {
    let name = ident.value.to_ascii_lowercase();
    if ident.quote_style.is_some() || !BARE_CALLS.contains(&name.as_str()) {
        return Ok(());
    }
    refuse_harmful(&name).map_err(|fault| {
        fault
            .at(ident.span.start)
            .hint(format!("a column of that name is written \"{name}\""))
    })
}

/// Accepts a function of the allow list alone.
pub(super) fn allow(name: &str) -> Result<(), ExpressionFault> {
    if ALLOWED.contains(&name) {
        return Ok(());
    }
    refuse_harmful(name)?;
    if AGGREGATES.contains(&name) {
        return Err(ExpressionFault::new(format!(
            "{name} is an aggregate or window function, which is not allowed"
        ))
        .hint("compute it in a source query"));
    }
    let fault = ExpressionFault::new(format!("function {name} is not allowed"));
    let distance = |it: &&&str| strsim::damerau_levenshtein(it, name);
    match ALLOWED.iter().min_by_key(distance) {
        Some(near) if distance(&near) <= 2 => Err(fault.hint(format!("did you mean {near}?"))),
        _ => Err(fault),
    }
}
