use super::*;
use crate::domain::identifier::quote_identifier;
use proptest::prelude::*;

fn resolve(name: &ColumnName) -> String {
    match &name.table {
        Some(table) => format!(
            "{}.{}",
            quote_identifier(table),
            quote_identifier(&name.column)
        ),
        None => quote_identifier(&name.column),
    }
}

fn sql(text: &str) -> Result<String, ExpressionFault> {
    parse_expression(text).map(|it| it.to_sql(&resolve))
}

fn fault(text: &str) -> ExpressionFault {
    parse_expression(text).expect_err(text)
}

const RENDERED: &[(&str, &str)] = &[
    ("User_ID", "\"user_id\""),
    ("c.\"User_ID\"", "\"c\".\"User_ID\""),
    ("1 + 2 * a - -3", "((1 + (2 * \"a\")) - (- 3))"),
    ("a || 'it''s' || b", "(\"a\" || 'it''s' || \"b\")"),
    ("'back\\slash\\'", "'back\\slash\\'"),
    ("E'a\\nb'", "'a\nb'"),
    ("$q$it's$q$", "'it''s'"),
    (
        "not a = 1 or b is not null",
        "((NOT (\"a\" = 1)) OR (\"b\" IS NOT NULL))",
    ),
    ("a::text", "CAST(\"a\" AS text)"),
    ("cast(a as decimal(10,2))", "CAST(\"a\" AS numeric(10, 2))"),
    ("a::int8 % 2", "(CAST(\"a\" AS bigint) % 2)"),
    (
        "a::timestamp(3) with time zone",
        "CAST(\"a\" AS timestamptz(3))",
    ),
    ("date '2020-01-01'", "CAST('2020-01-01' AS date)"),
    ("interval '1' day to second", "INTERVAL '1' day TO second"),
    ("a /* note */ in (1, 2) -- end", "(\"a\" IN (1, 2))"),
    ("a not between 1 and 2", "(\"a\" NOT BETWEEN 1 AND 2)"),
    (
        "a not ilike 'x%' escape '!'",
        "(\"a\" NOT ILIKE 'x%' ESCAPE '!')",
    ),
    (
        "a is not distinct from b",
        "(\"a\" IS NOT DISTINCT FROM \"b\")",
    ),
    (
        "case a when 1 then 'x' else null end",
        "CASE \"a\" WHEN 1 THEN 'x' ELSE NULL END",
    ),
    ("j -> 'a' ->> 'b' = 'c'", "(((\"j\" -> 'a') ->> 'b') = 'c')"),
    ("a at time zone 'UTC'", "(\"a\" AT TIME ZONE 'UTC')"),
    ("extract(years from a)", "EXTRACT(year FROM \"a\")"),
    ("EXTRACT('epoch' from a)", "EXTRACT(epoch FROM \"a\")"),
    ("trim(leading '0' from a)", "ltrim(\"a\", '0')"),
    ("trim(a)", "btrim(\"a\")"),
    ("substring(a from 2 for 3)", "SUBSTRING(\"a\" FROM 2 FOR 3)"),
    ("substr(a, 2)", "substr(\"a\", 2)"),
    ("position('x' in a)", "POSITION('x' IN \"a\")"),
    (
        "overlay(a placing 'x' from 1)",
        "OVERLAY(\"a\" PLACING 'x' FROM 1)",
    ),
    ("ceil(a) + CEILING(b)", "(ceil(\"a\") + ceiling(\"b\"))"),
    ("Coalesce(a, b, 'x')", "coalesce(\"a\", \"b\", 'x')"),
    ("left(a, 2)", "left(\"a\", 2)"),
    ("normalize(a, nfc)", "normalize(\"a\", NFC)"),
    ("array[1, 2]", "ARRAY[1, 2]"),
    ("a ~* '^x' and b", "((\"a\" ~* '^x') AND \"b\")"),
    ("\"user\"", "\"user\""),
];

#[test]
fn expressions_are_rendered_from_the_tree() {
    for (text, expected) in RENDERED {
        assert_eq!(sql(text).as_deref(), Ok(*expected), "{text}");
        assert_eq!(sql(expected).as_deref(), Ok(*expected), "{text}");
    }
}

#[test]
fn columns_are_listed_once_and_folded() {
    let parsed = parse_expression("Upper(A) || c.B || \"A\" || a").unwrap();
    let names: Vec<String> = parsed.columns().iter().map(resolve).collect();
    assert_eq!(names, ["\"a\"", "\"c\".\"b\"", "\"A\""]);
    let hostile = parse_expression("\"a\"\"; drop table w; --\"").unwrap();
    assert_eq!(hostile.columns()[0].column, "a\"; drop table w; --");
    assert_eq!(hostile.to_sql(&|_| "c1".to_owned()), "c1");
}

#[test]
fn hostile_and_unstable_expressions_are_refused_by_name() {
    for (text, words) in [
        ("1); DROP TABLE x; --", "unexpected `)`"),
        ("a; drop table x", "statement separators"),
        ("(select 1)", "sub-queries"),
        ("a in (select 1)", "sub-queries"),
        ("array(select 1)", "function array"),
        ("exists (select 1)", "EXISTS"),
        ("a = any (b)", "ANY and ALL"),
        ("pg_sleep(1)", "pg_sleep is not allowed: it reaches beyond"),
        ("\"pg_sleep\"(1)", "pg_sleep"),
        ("pg_catalog.lower(a)", "functions with a schema"),
        ("lo_import('/etc/passwd')", "lo_import"),
        ("pg_read_file('x')", "pg_read_file"),
        ("query_to_xml('x')", "query_to_xml"),
        ("dblink('x')", "dblink"),
        ("now()", "now is not allowed: it gives another value"),
        (
            "CURRENT_TIMESTAMP",
            "current_timestamp is not allowed: it gives",
        ),
        ("current_date - a", "current_date"),
        ("localtimestamp(3)", "localtimestamp"),
        ("gen_random_uuid()", "gives another value"),
        ("nextval('s')", "gives another value"),
        ("txid_current()", "gives another value"),
        ("current_user", "depends on the session"),
        ("current_role", "depends on the session"),
        ("'now'::timestamptz", "'now' is not allowed"),
        ("date ' Today '", "'today' is not allowed"),
        (
            "cast(('tomorrow 12:00') as timestamp)",
            "'tomorrow' is not allowed",
        ),
        ("date_trunc('day', 'now')", "'now'"),
        ("age(a)", "age needs two arguments"),
        ("sum(a)", "aggregate"),
        ("lower(a) over ()", "OVER"),
        ("lower(a) filter (where true)", "FILTER"),
        ("lower(distinct a)", "clauses inside a call"),
        ("lower(a => 1)", "named arguments"),
        ("lowr(a)", "function lowr is not allowed"),
        ("$1", "placeholders"),
        ("a collate \"de_DE\"", "COLLATE"),
        ("a.b.c", "more than two parts"),
        ("a[1]", "subscripts"),
        ("(a, b)", "tuples"),
        ("a::bytea", "the type BYTEA"),
        ("a::regclass", "the type REGCLASS"),
        ("a::text[]", "the type TEXT[]"),
        ("a::mood", "the type mood"),
        ("X'1F'", "form of a literal"),
        ("a ^ 2", "the operator ^"),
        ("a operator(pg_catalog.+) b", "the operator"),
        ("a ~ 'x' || b", "needs parentheses"),
        ("a = b ~ c", "needs parentheses"),
        ("a < b < c", "needs parentheses"),
        ("regexp_match(a, 'x')", "regexp_match"),
        ("", "empty"),
        ("a b", "unexpected `b`"),
        ("'unterminated", "Unterminated"),
    ] {
        let message = fault(text).message;
        assert!(message.contains(words), "{text}: {message}");
    }
}

#[test]
fn a_fault_says_where_and_what_may_help() {
    let misspelt = fault("a ||\n  lowr(b)");
    assert_eq!(misspelt.position, Some((2, 3)));
    assert_eq!(misspelt.hint.as_deref(), Some("did you mean lower?"));
    assert_eq!(fault("a + ").position, None);
    assert_eq!(fault("a + )").position, Some((1, 5)));
    assert!(fault("user").message.contains("session"));
}

#[test]
fn size_and_depth_are_bounded() {
    let lower = |depth: usize| format!("{}a{}", "lower(".repeat(depth), ")".repeat(depth));
    assert!(parse_expression(&lower(90)).is_ok());
    for nest in [
        "lower(",
        "(",
        "- ",
        "not ",
        "case when b then ",
        "array[",
        "cast(",
        "(select ",
        "case ",
    ] {
        let text = nest.repeat(MAX_EXPRESSION_BYTES / nest.len() - 2);
        assert!(parse_expression(&text).is_err(), "{nest}");
        assert!(
            parse_query(&format!("select {}", nest.repeat(5000))).is_err(),
            "{nest}"
        );
    }
    assert!(parse_expression(&lower(101)).is_err());
    assert!(parse_expression(&"a".repeat(MAX_EXPRESSION_BYTES + 1)).is_err());
    let chain = format!("a{}", "||a".repeat(1000));
    let flat = sql(&chain).unwrap();
    assert_eq!(sql(&flat), Ok(flat.clone()));
    assert!(sql(&format!("a{}", "+a-a".repeat(2000))).is_err());
    let sum = |operators: usize| format!("select a{} from t", "+a".repeat(operators));
    assert!(parse_query(&sum(1000)).is_ok());
    assert!(parse_query(&sum(1001)).is_err());
    let unions = "select 1 union ".repeat(900);
    assert!(parse_query(&format!("{unions} select 1")).is_ok());
}

#[test]
fn a_source_query_reads_and_nothing_else() {
    let text = "with c as (select * from Sales.orders o join lines using (id)) \
                select c.id, count(*) over (partition by k), (select max(x) from t2) \
                from c, generate_series(1, 2) g, unnest(array[1]) u where c.a = 'it''s' -- end";
    let query = parse_query(text).unwrap();
    assert!(
        query
            .sql()
            .starts_with("WITH c AS (SELECT * FROM Sales.orders")
    );
    assert!(query.sql().ends_with("'it''s'"));
    let names: Vec<&str> = query.tables().iter().map(|it| it.1.as_str()).collect();
    assert_eq!(names, ["lines", "t2", "orders"]);
    assert_eq!(query.tables()[2].0.as_deref(), Some("sales"));
    assert!(parse_query("select 1 from a union all (select 2 from b);").is_ok());
}

#[test]
fn a_source_query_that_does_more_is_refused() {
    for (text, words) in [
        ("select 1; select 2", "exactly one"),
        ("delete from t", "exactly one"),
        ("insert into t select 1", "exactly one"),
        ("explain analyze select 1", "exactly one"),
        ("copy t to '/tmp/x'", "exactly one"),
        ("", "empty"),
        ("select 1 into x", "SELECT INTO"),
        ("select * from t for update", "row locks"),
        ("select * from (select * from t for share) x", "row locks"),
        (
            "with d as (delete from t returning *) select * from d",
            "change data",
        ),
        (
            "with d as (insert into t values (1) returning *) select * from d",
            "change data",
        ),
        (
            "with d as (update t set a = 1 returning *) select * from d",
            "change data",
        ),
        ("select pg_sleep(1)", "pg_sleep"),
        ("select 1 from pg_ls_dir('/') x", "pg_ls_dir"),
        ("select 1 from lateral pg_ls_dir('/') x", "pg_ls_dir"),
        ("select 1 order by pg_sleep(1)", "pg_sleep"),
        ("select 1 from t group by lo_unlink(1)", "lo_unlink"),
        ("select 1 limit pg_sleep(1)", "pg_sleep"),
        (
            "select count(*) filter (where pg_sleep(1) is null) from t",
            "pg_sleep",
        ),
        ("select sum(a) over (order by random()) from t", "random"),
        (
            "select 1 from a join b on a.id = lo_import('x')",
            "lo_import",
        ),
        ("values (pg_sleep(1))", "pg_sleep"),
        ("select now()", "now is not allowed"),
        ("select current_date", "current_date"),
        ("select current_role", "current_role"),
        ("select public.f(1)", "with a schema"),
        ("select 'now'::timestamp", "'now'"),
        ("select * from pg_authid", "system catalogs"),
        ("select * from pg_catalog.pg_class", "system catalogs"),
        ("select * from a.b.c", "more than two parts"),
        ("select $1", "placeholders"),
        ("select E'\\x'", "form of a literal"),
        ("select * from t tablesample system (1)", "TABLESAMPLE"),
        ("select '\\'''", "faithfully"),
        ("select \"a\\\"\"b\"", "faithfully"),
        ("select - - 1", "faithfully"),
    ] {
        let message = parse_query(text).expect_err(text).message;
        assert!(message.contains(words), "{text}: {message}");
    }
}

/// Words that reach deeper into the parser than arbitrary characters do.
const WORDS: &str = "a|b.c|\"Q\"|1|2.5|'x'|'it''s'|null|true|(|)|(|)|,|+|-|*|/|%|&&|=|<>|<|>=|and|or|not|~|!~*|\
    like|ilike|escape|is|is not|distinct from|->|->>|#>>|@>|?|between|and|in|case|when|then|else|end|cast(|as text)|\
    ::int|::numeric(3,1)|::date|date '2020-01-01'|interval '1 day'|at time zone|extract(year from|substring(|from|for|\
    trim(both|lower(|coalesce(|array[|]|position(|ceil(|E'\\n'|$$y$$|--|/*|*/|;|select|$1|over|collate|\n";

fn soup() -> impl Strategy<Value = String> {
    let words: Vec<&str> = WORDS.split('|').collect();
    prop::collection::vec(prop::sample::select(words), 0..14)
        .prop_map(|it| it.join(" ").replace("&&", "||"))
}

/// Expressions that are valid by construction.
fn valid() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "a",
        "t.B",
        "\"x y\"\"z\"",
        "1",
        "-2.5",
        "'it''s'",
        "'\\'",
        "null",
        "true",
        "$$q'$$",
        "date '2020-01-01'",
        "interval '1' day",
    ]);
    leaf.prop_map(str::to_owned)
        .prop_recursive(5, 40, 3, |inner| {
            let binary = prop::sample::select(vec![
                "+",
                "-",
                "*",
                "||",
                "=",
                "<",
                "and",
                "or",
                "~",
                "->>",
                "like",
                "not ilike",
                "is distinct from",
                "at time zone",
                "not in (1) or",
            ]);
            prop_oneof![
                (inner.clone(), binary, inner.clone())
                    .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
                inner.clone().prop_map(|a| format!("({a})")),
                inner.clone().prop_map(|a| format!("- {a}")),
                inner.clone().prop_map(|a| format!("not ({a})")),
                inner.clone().prop_map(|a| format!("({a})::text is null")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("coalesce({a}, {b})")),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| format!("case when {a} then {b} else 1 end")),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| format!("trim(both {a} from {b})")),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| format!("({a}) between 1 and ({b})")),
                (inner.clone(), inner).prop_map(|(a, b)| format!("substring(({a}) from ({b}))")),
            ]
        })
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in any::<String>()) {
        let _ = parse_expression(&text);
        let _ = parse_query(&text);
    }

    #[test]
    fn rendered_sql_reads_back_as_itself(text in prop_oneof![soup(), valid()]) {
        if let Ok(first) = sql(&text) {
            prop_assert_eq!(sql(&first), Ok(first.clone()), "{}", text);
        }
        if let Ok(query) = parse_query(&format!("select {text} from t")) {
            let again = parse_query(query.sql());
            prop_assert_eq!(again, Ok(query));
        }
    }
}
