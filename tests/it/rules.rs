//! Every rule of the mapping language, carried out: the examples of docs/mapping.md with values and what becomes of them.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::tables::refused;
use diffmig::domain::connection::Side;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// One rule, the columns it reads, and rows: their values, and the target's text, `NULL`, or `!` with reason.
struct Case {
    /// As it stands in the documentation, after `target column = `.
    rule: &'static str,
    alias: &'static str,
    columns: &'static str,
    target: &'static str,
    rows: &'static [(&'static str, &'static str)],
}

const fn case(
    rule: &'static str,
    alias: &'static str,
    columns: &'static str,
    target: &'static str,
    rows: &'static [(&'static str, &'static str)],
) -> Case {
    Case {
        rule,
        alias,
        columns,
        target,
        rows,
    }
}

const NOT_VALID: &str = "!22P02 not valid JSON";
const ROUNDED: &str = "!22003 digits would be lost";
const NO_INTEGER: &str = "!22P02 not an integer in range";
const NO_NUMBER: &str = "!22P02 not a number";
const NO_NUMBER_IN_RANGE: &str = "!22P02 not a number in range";
const NO_DATE: &str = "!22007 not a date";
const NO_MOMENT: &str = "!22007 not a date and time";

const CASES: &[Case] = &[
    case(
        r#"{ column = "c.word", normalize = ["trim"] }"#,
        "c",
        "word text",
        "text",
        &[
            ("E' \\t\\n\\x0bvov\\r\\f '", "vov"),
            ("'never'", "never"),
            ("'v'", "v"),
        ],
    ),
    case(
        r#"{ json = { prefs = "c.prefs", size = "c.size" }, nulls = "omit" }"#,
        "c",
        "prefs jsonb, size int",
        "jsonb",
        &[
            (
                r#"'{"theme": null, "l": [{"a": null}]}', null"#,
                r#"{"prefs": {"l": [{"a": null}], "theme": null}}"#,
            ),
            ("'null', 1", r#"{"size": 1, "prefs": null}"#),
            ("null, null", "{}"),
        ],
    ),
    case(
        r#"{ case = [{ when = "m.paid and not m.refunded", then = "paid" }, { when = "m.paid and m.refunded", then = "refunded" }], else = "error" }"#,
        "m",
        "paid boolean, refunded boolean",
        "text",
        &[
            ("true, false", "paid"),
            ("true, true", "refunded"),
            ("false, null", "!22023 no case applies"),
            ("true, null", "!22023 no case applies"),
        ],
    ),
    case(
        r#"{ column = "c.sex", codes = { 0 = "female", 1 = "male" }, default = "unknown" }"#,
        "c",
        "sex smallint",
        "text",
        &[
            ("0", "female"),
            ("1", "male"),
            ("9", "unknown"),
            ("null", "NULL"),
        ],
    ),
    case(
        r#"{ template = "{u.first_name} {u.last_name}", nulls = "empty" }"#,
        "u",
        "first_name text, last_name text",
        "text",
        &[
            ("'Ada', 'Lovelace'", "Ada Lovelace"),
            ("null, 'Lovelace'", " Lovelace"),
        ],
    ),
    case(
        r#"{ column = "c.bio", owner = "target" }"#,
        "c",
        "bio text",
        "text",
        &[("'born in London'", "born in London")],
    ),
    case(
        r#"{ json = { name = "c.contact_name", phone = "c.contact_phone" }, null_if_empty = true }"#,
        "c",
        "contact_name text, contact_phone text",
        "jsonb",
        &[
            ("'Ada', '12'", r#"{"name": "Ada", "phone": "12"}"#),
            ("'Ada', null", r#"{"name": "Ada", "phone": null}"#),
            ("null, null", "NULL"),
        ],
    ),
    case(
        r#"{ json = { kind = { const = "legacy" }, size = { json = { w = "c.w", h = { expr = "c.h * 2" } } } }, nulls = "omit" }"#,
        "c",
        "w int, h numeric",
        "jsonb",
        &[
            (
                "1, 2.50",
                r#"{"kind": "legacy", "size": {"h": 5.00, "w": 1}}"#,
            ),
            ("null, null", r#"{"kind": "legacy", "size": {}}"#),
        ],
    ),
    case(
        r#"{ json_path = "c.context", path = "shipping.carrier" }"#,
        "c",
        "context text",
        "text",
        &[
            (r#"'{"shipping": {"carrier": "DHL\u00e9"}}'"#, "DHLé"),
            (
                r#"'{"shipping": {"carrier": {"b":1, "a": 2}}}'"#,
                r#"{"a": 2, "b": 1}"#,
            ),
            (r#"'{"shipping": {"carrier": null}}'"#, "NULL"),
            (r#"'{"shipping": 1}'"#, "NULL"),
            ("null", "NULL"),
            ("'{'", NOT_VALID),
            ("''", NOT_VALID),
        ],
    ),
    case(
        r#"{ json_path = "c.context", path = "lines.0.qty", on_error = "null", empty = "null" }"#,
        "c",
        "context text",
        "int",
        &[
            (r#"'{"lines": [{"qty": 7}]}'"#, "7"),
            (r#"'{"lines": [{"qty": " 8 "}]}'"#, "8"),
            (r#"'{"lines": [{"qty": "eight"}]}'"#, NO_INTEGER),
            (r#"'{"lines": [{"qty": 3000000000}]}'"#, NO_INTEGER),
            ("'{'", "NULL"),
            ("''", "NULL"),
        ],
    ),
    case(
        r#"{ json_path = "c.context", path = ["paid.at"], time_zone = "Asia/Tokyo" }"#,
        "c",
        "context jsonb",
        "timestamptz",
        &[
            (
                r#"'{"paid.at": "2024-02-29T10:00"}'"#,
                "2024-02-29 01:00:00+00",
            ),
            (
                r#"'{"paid.at": "2024-02-29 10:00:00.5+02:00"}'"#,
                "2024-02-29 08:00:00.5+00",
            ),
            (r#"'{"paid.at": "2023-02-29"}'"#, NO_MOMENT),
            (r#"'{}'"#, "NULL"),
        ],
    ),
    case(
        r#"{ json_path = "c.context", path = "flags" }"#,
        "c",
        "context json",
        "jsonb",
        &[
            (
                r#"'{"flags": [1,  {"b":1,"a":2}]}'"#,
                r#"[1, {"a": 2, "b": 1}]"#,
            ),
            (r#"'{"flags": null}'"#, "null"),
            (r#"'[]'"#, "NULL"),
        ],
    ),
    case(
        r#"{ column = "w.tax_rate", scale = 0.01, clamp = [0, 0.9999] }"#,
        "w",
        "tax_rate numeric",
        "numeric(5,4)",
        &[
            ("8.25", "0.0825"),
            ("-3", "0.0000"),
            ("250", "0.9999"),
            ("null", "NULL"),
            ("8.251", ROUNDED),
        ],
    ),
    case(
        r#"{ column = "l.price_cents", scale = 0.01 }"#,
        "l",
        "price_cents text",
        "numeric(10,2)",
        &[
            ("' 1999 '", "19.99"),
            ("'12e1'", "1.20"),
            ("'12,5'", NO_NUMBER),
            ("''", NO_NUMBER),
            ("null", "NULL"),
        ],
    ),
    case(
        r#"{ column = "l.weight", scale = 1000, allow_loss = true }"#,
        "l",
        "weight numeric",
        "int",
        &[
            ("1.2344", "1234"),
            ("1.2346", "1235"),
            ("3000000", "!22003 out of range"),
        ],
    ),
    case(
        r#"{ column = "l.quantity", clamp = { min = 0 } }"#,
        "l",
        "quantity int",
        "int",
        &[("-1", "0"), ("5", "5"), ("null", "NULL")],
    ),
    case(
        r#"{ column = "c.notes", truncate = 5, allow_loss = true }"#,
        "c",
        "notes text",
        "varchar(5)",
        &[("'äöüßé123'", "äöüßé"), ("'abc'", "abc"), ("null", "NULL")],
    ),
    case(
        r#"{ column = "u.email", normalize = ["trim", "lower"], format = "email", invalid = "null" }"#,
        "u",
        "email text",
        "text",
        &[
            ("' Ada@Example.ORG '", "ada@example.org"),
            ("'ada@'", "NULL"),
            ("'a b@example.org'", "NULL"),
            ("'ada@example..org'", "NULL"),
            ("null", "NULL"),
        ],
    ),
    case(
        r#"{ column = "c.website", format = "url" }"#,
        "c",
        "website text",
        "text",
        &[
            ("'https://example.org/a?b'", "https://example.org/a?b"),
            ("'example.org'", "!22023 not in the format"),
            ("null", "NULL"),
        ],
    ),
    case(
        r#"{ column = "c.plate", format = '^[A-Z]{2}-[0-9]+$', invalid = "null", default = "none" }"#,
        "c",
        "plate text",
        "text not null",
        &[("'AB-12'", "AB-12"), ("'ab-12'", "none"), ("null", "none")],
    ),
    case(
        r#"{ column = "p.ratio", allow_loss = true }"#,
        "p",
        "ratio numeric",
        "numeric(4,2)",
        &[
            ("1.005", "1.01"),
            ("'NaN'", "NaN"),
            ("99.996", "!22003 out of range"),
        ],
    ),
    case(
        r#"{ column = "p.price" }"#,
        "p",
        "price numeric",
        "numeric(8,2)",
        &[
            ("1.5", "1.50"),
            ("1.500", "1.50"),
            ("1.505", ROUNDED),
            ("1e6", "!22003 out of range"),
        ],
    ),
    case(
        r#"{ column = "p.amount" }"#,
        "p",
        "amount text",
        "numeric(6,2)",
        &[
            ("'12.5'", "12.50"),
            ("'1e3'", "1000.00"),
            ("'1e5'", NO_NUMBER_IN_RANGE),
            ("'12.505'", ROUNDED),
            ("'x'", NO_NUMBER_IN_RANGE),
        ],
    ),
    case(
        r#"{ column = "p.measure" }"#,
        "p",
        "measure text",
        "float8",
        &[
            ("'0.1'", "0.1"),
            ("'1e400'", NO_NUMBER_IN_RANGE),
            ("'1e-400'", NO_NUMBER_IN_RANGE),
            ("'-0'", "0"),
        ],
    ),
    case(
        r#"{ column = "p.serial" }"#,
        "p",
        "serial text",
        "bigint",
        &[
            ("' 9223372036854775807'", "9223372036854775807"),
            ("'9223372036854775808'", NO_INTEGER),
            ("'1.0'", NO_INTEGER),
            ("E'\\u2003 1'", NO_INTEGER),
        ],
    ),
    case(
        r#"{ column = "p.active" }"#,
        "p",
        "active text",
        "boolean",
        &[
            ("'Yes'", "true"),
            ("'0'", "false"),
            ("'2'", "!22P02 not a boolean"),
            ("''", "!22P02 not a boolean"),
        ],
    ),
    case(
        r#"{ column = "p.born" }"#,
        "p",
        "born text",
        "date",
        &[
            ("'2000-02-29'", "2000-02-29"),
            ("'1900-02-29'", NO_DATE),
            ("'2023-04-31'", NO_DATE),
            ("'0000-01-01'", NO_DATE),
            ("'31.12.2023'", NO_DATE),
        ],
    ),
    case(
        r#"{ column = "p.opens" }"#,
        "p",
        "opens text",
        "time",
        &[("'08:30'", "08:30:00"), ("'24:00'", "!22007 not a time")],
    ),
    case(
        r#"{ column = "p.seen" }"#,
        "p",
        "seen text",
        "timestamp",
        &[
            ("'2024-01-02 03:04:05.678'", "2024-01-02 03:04:05.678"),
            ("'2024-01-02 25:00'", NO_MOMENT),
        ],
    ),
    case(
        r#"{ column = "p.done_at", time_zone = "UTC" }"#,
        "p",
        "done_at text",
        "timestamptz",
        &[
            ("'2024-01-02'", "2024-01-02 00:00:00+00"),
            ("'2024-01-02T03:04:05Z'", "2024-01-02 03:04:05+00"),
            ("'soon'", NO_MOMENT),
        ],
    ),
    case(
        r#"{ column = "p.state", codes = { A = "2024-01-01", B = "never" } }"#,
        "p",
        "state text",
        "date",
        &[
            ("'A'", "2024-01-01"),
            ("'B'", NO_DATE),
            ("'C'", "!22023 unknown code"),
        ],
    ),
    case(
        r#"{ column = "p.age", normalize = ["digits"] }"#,
        "p",
        "age text",
        "int",
        &[("'42 years'", "42"), ("'unknown'", NO_INTEGER)],
    ),
];

fn name_of(number: usize) -> String {
    format!("case_{number}")
}

fn schemas() -> (String, String, String) {
    let (mut source, mut target, mut mapping) = (String::new(), String::new(), String::new());
    for (number, case) in CASES.iter().enumerate() {
        let name = name_of(number);
        writeln!(
            source,
            "create table {name} (id int primary key, {});",
            case.columns
        )
        .unwrap();
        for (row, (values, _)) in case.rows.iter().enumerate() {
            writeln!(source, "insert into {name} values ({row}, {values});").unwrap();
        }
        writeln!(
            target,
            "create table {name} (id uuid primary key, old_id int not null, value {});",
            case.target
        )
        .unwrap();
        writeln!(
            mapping,
            "[entities.{name}]\nsource = \"{name}\"\nas = \"{}\"\ntarget = \"{name}\"\nlegacy = {{ id = \"old_id\" }}\n\
             [entities.{name}.columns]\nvalue = {}\n",
            case.alias, case.rule
        )
        .unwrap();
    }
    (source, target, mapping)
}

#[tokio::test]
async fn every_rule_makes_the_value_that_its_page_promises() {
    let (source, target, mapping) = schemas();
    let bench = Bench::with_tables(&source, &target, &mapping).await;
    bench.migrate(3).await;
    for (number, case) in CASES.iter().enumerate() {
        let name = name_of(number);
        for (row, (values, expected)) in case.rows.iter().enumerate() {
            let sql = format!(
                "select coalesce((select coalesce(value::text, 'NULL') from public.{name} where old_id = {row}), \
                 (select '!' || sqlstate || ' ' || reason from diffmig.quarantine where entity = '{name}' \
                 and key ->> 0 = '{row}'), 'nothing at all')"
            );
            let found = bench.text_in_target(&sql).await;
            assert_eq!(found, *expected, "{} of {values}", case.rule);
        }
    }
    // What was applied is what the source says, and what was set aside is accounted for.
    let proof = bench.ask(&["verify"], 3).await;
    for entity in proof["entities"].as_array().unwrap() {
        assert_eq!(entity["mismatching"], 0, "{entity}");
        assert_eq!(entity["missing"], 0, "{entity}");
    }
    let again = bench.migrate(3).await;
    for entity in again["entities"].as_array().unwrap() {
        assert_eq!(entity["batches"]["rowsIn"], 0, "{again}");
    }
}

/// One spelling for rules that differ in white space.
fn written(rule: &toml::Value) -> String {
    serde_json::to_string(rule).unwrap()
}

/// The rules in the examples of two sections of the page, without the name of their target column.
fn documented() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mapping.md");
    let page = std::fs::read_to_string(page).unwrap();
    let start = page.find("\n## Columns").unwrap();
    let end = page.find("\n## Expressions").unwrap();
    let mut rules = BTreeSet::new();
    for block in page[start..end].split("```toml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let table: toml::Table =
            toml::from_str(block).unwrap_or_else(|error| panic!("{error}\n{block}"));
        rules.extend(table.iter().map(|(_, rule)| written(rule)));
    }
    rules
}

#[test]
fn every_example_of_the_page_is_carried_out_by_a_test() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/diffmig.toml");
    let fixture: toml::Table = toml::from_str(&std::fs::read_to_string(fixture).unwrap()).unwrap();
    let mut carried_out = BTreeSet::new();
    for entity in fixture["entities"].as_table().unwrap().values() {
        let columns = entity.get("columns").and_then(toml::Value::as_table);
        carried_out.extend(columns.iter().flat_map(|it| it.values()).map(written));
    }
    for case in CASES {
        let rule: toml::Table = toml::from_str(&format!("value = {}", case.rule)).unwrap();
        carried_out.insert(written(&rule["value"]));
    }
    carried_out.extend(ELSEWHERE.iter().map(|rule| {
        let rule: toml::Table = toml::from_str(&format!("value = {rule}")).unwrap();
        written(&rule["value"])
    }));
    let never: Vec<String> = documented().difference(&carried_out).cloned().collect();
    assert!(
        never.is_empty(),
        "examples that nothing carries out: {never:#?}"
    );
}

/// Rules of the page that tests of their own carry out.
const ELSEWHERE: &[&str] = &[VIA];

const VIA: &str =
    r#"{ ref = "tickets", by = "m.estimate_id", via = ["estimates.ticket_id"], missing = "hold" }"#;

#[tokio::test]
async fn a_reference_goes_through_other_source_rows() {
    let mapping = format!(
        "[entities.tickets]\nsource = \"ticket\"\ntarget = \"tickets\"\ncolumns = {{ title = \"title\" }}\n\
         [entities.estimates]\nsource = \"estimate\"\ntarget = \"estimates\"\nignore = [\"ticket_id\"]\n\
         columns = {{ total = \"total\" }}\n\
         [entities.messages]\nsource = \"message\"\nas = \"m\"\ntarget = \"messages\"\nlegacy = {{ id = \"old_id\" }}\n\
         columns = {{ ticket_id = {VIA} }}\n"
    );
    let bench = Bench::with_tables(
        "create table ticket (id int primary key, title text); \
         create table estimate (id int primary key, ticket_id int, total numeric); \
         create table message (id int primary key, estimate_id int); \
         insert into ticket values (1, 'one'), (2, 'two'); \
         insert into estimate values (10, 1, 5), (11, null, 6); \
         insert into message values (100, 10), (101, 11), (102, null), (103, 12)",
        "create table tickets (id uuid primary key, title text); \
         create table estimates (id uuid primary key, total numeric); \
         create table messages (id uuid primary key, old_id int, ticket_id uuid references tickets)",
        &mapping,
    )
    .await;
    let titles = "select string_agg(m.old_id || ' ' || coalesce(t.title, 'none'), ', ' order by m.old_id) \
                  from public.messages m left join public.tickets t on t.id = m.ticket_id";
    bench.migrate(3).await;
    assert_eq!(
        bench.text_in_target(titles).await,
        "100 one, 101 none, 102 none"
    );
    assert_eq!(bench.set_aside().await, ["messages 103 open 23503"]);
    // The rows on the way belong to the message: a change there is a change of it.
    let moved =
        "update estimate set ticket_id = 2 where id = 10; insert into estimate values (12, 2, 7)";
    bench.on(Side::Source, moved).await;
    bench.migrate(0).await;
    assert_eq!(
        bench.text_in_target(titles).await,
        "100 two, 101 none, 102 none, 103 two"
    );
    bench.ask(&["verify"], 0).await;
}

#[tokio::test]
async fn a_way_that_leads_nowhere_is_refused_with_its_place() {
    let mapping = |via: &str| {
        format!(
            "[entities.tickets]\nsource = \"ticket\"\ntarget = \"tickets\"\ncolumns = {{ title = \"title\" }}\n\
             [entities.messages]\nsource = \"message\"\nas = \"m\"\ntarget = \"messages\"\n\
             columns = {{ ticket_id = {{ ref = \"tickets\", by = \"m.estimate_id\", via = [\"{via}\"] }} }}\n"
        )
    };
    let bench = Bench::with_tables(
        "create table ticket (id int primary key, title text); \
         create table estimate (id int primary key, ticket_id int, word text); \
         create table named (word text primary key, ticket_id int); \
         create table message (id int primary key, estimate_id int)",
        "create table tickets (id uuid primary key, title text); \
         create table messages (id uuid primary key, ticket_id uuid)",
        &mapping("estimate.tiket_id"),
    )
    .await;
    let said = bench.say(&["analyze"]).await;
    refused(
        &said,
        13,
        &[
            "columns.ticket_id.via",
            "public.estimate has no column `tiket_id`",
            "`ticket_id`",
        ],
    );
    for (via, words) in [
        ("estimates.ticket_id", "no table public.estimates"),
        ("named.ticket_id", "the key of public.named is text"),
        (
            "estimate.word",
            "`word` is text, but the parent's key is bigint",
        ),
    ] {
        bench.map(&mapping(via));
        refused(&bench.say(&["analyze"]).await, 13, &[words]);
    }
    // A source table that is no entity is found by its own name.
    bench.map(&mapping("estimate.ticket_id"));
    bench.ask(&["analyze"], 0).await;
}

const FRAGILE: &str = "[entities.items]\nsource = \"item\"\ntarget = \"items\"\nlegacy = { id = \"old_id\" }\n\
     where = \"10 / nullif(c, 7) >= 0\"\nignore = [\"note\"]\n\
     columns = { q = { expr = \"100 / a\" }, w = { expr = \"b::int\" } }\n";

/// Rows whose values cannot be computed: where, and with what.
fn computed_aside() -> String {
    "select coalesce(string_agg((key ->> 0) || ' ' || sqlstate || ' ' || coalesce(constraint_name, ''), ', ' order by (key ->> 0)::int), 'none') \
     from diffmig.quarantine where status not in ('resolved', 'waived')"
        .to_owned()
}

#[tokio::test]
async fn a_value_that_cannot_be_computed_sets_its_row_aside_and_no_other() {
    let bench = Bench::with_tables(
        "create table item (id int primary key, a int, b text, c int, note text); \
         insert into item select n, 1, '2', 1, 'x' from generate_series(1, 50000) n; \
         update item set a = 0 where id in (1, 25000); update item set b = 'x' where id = 25001; \
         update item set c = 0 where id = 50000",
        "create table items (id uuid primary key, old_id int, q int, w int)",
        FRAGILE,
    )
    .await;
    // A first load, which is not detected row by row.
    let report = bench.migrate(3).await;
    assert_eq!(
        report["entities"][0]["ledger"]["quarantined"], 4,
        "{report}"
    );
    let aside = "1 22012 q, 25000 22012 q, 25001 22P02 w, 50000 22012 ";
    assert_eq!(bench.text_in_target(&computed_aside()).await, aside);
    assert_eq!(
        bench.in_target("select count(*) from public.items").await,
        49_996
    );
    // Nothing more is written, and verify, detect and explain live with it.
    bench.writes_nothing_more(3).await;
    let proof = bench.ask(&["verify"], 3).await;
    assert_eq!(proof["entities"][0]["setAside"], 4, "{proof}");
    let seen = bench.ask(&["detect", "--mode", "full"], 0).await;
    assert_eq!(seen["entities"][0]["modified"], 0, "{seen}");
    // One is mended, one breaks that was fine, one is gone.
    bench
        .on(
            Side::Source,
            "update item set a = 4 where id = 1; update item set a = 0 where id = 2; delete from item where id = 25001",
        )
        .await;
    bench.migrate(3).await;
    let aside = "2 22012 q, 25000 22012 q, 50000 22012 ";
    assert_eq!(bench.text_in_target(&computed_aside()).await, aside);
    assert_eq!(
        bench
            .text_in_target("select q::text from public.items where old_id = 1")
            .await,
        "25"
    );
    // The row that broke keeps what was applied last.
    assert_eq!(
        bench
            .text_in_target("select q::text from public.items where old_id = 2")
            .await,
        "100"
    );
    bench
        .on(Side::Source, "update item set a = 5, b = '6', c = 2")
        .await;
    bench.migrate(0).await;
    assert_eq!(
        bench
            .in_target("select count(*) from public.items where q = 20 and w = 6")
            .await,
        49_999
    );
}

#[tokio::test]
async fn a_rule_that_fits_hardly_any_row_stops_the_command() {
    let bench = Bench::with_tables(
        "create table item (id int primary key, a int, b text, c int, note text); \
         insert into item select n, 0, '2', 1, 'x' from generate_series(1, 3000) n",
        "create table items (id uuid primary key, old_id int, q int, w int)",
        FRAGILE,
    )
    .await;
    let said = bench.say(&["migrate", "-q"]).await;
    refused(
        &said,
        13,
        &["more than 1000 rows of items", "correct the rule"],
    );
    assert_eq!(
        bench.in_target("select count(*) from public.items").await,
        0
    );
}

#[tokio::test]
async fn rows_that_are_one_become_one_row_and_all_references_lead_there() {
    let bench = Bench::with_tables(
        "create table person (id int primary key, email text, seen date, name text); \
         create table visit (id int primary key, person_id int, friend_id int); \
         insert into person values (1, 'a@x.org', '2024-01-01', 'old Ada'), (2, 'A@x.org', '2024-02-01', 'Ada'), \
         (3, null, null, 'nobody'), (4, null, null, 'nobody else'), (5, 'b@x.org', null, 'Bob'), \
         (6, 'gone@x.org', null, 'hidden'); \
         insert into visit values (1, 1, null), (2, 2, 5), (3, 3, 1), (4, 9, 4)",
        "create table people (id uuid primary key, old_id int, email text unique, name text); \
         create table visits (id uuid primary key, old_id int, person_id uuid not null references people, \
         friend_id uuid references people)",
        "[entities.people]\nsource = \"person\"\nas = \"p\"\ntarget = \"people\"\nlegacy = { id = \"old_id\" }\n\
         where = \"p.name <> 'hidden'\"\ndelete = \"delete\"\n\
         dedupe = { by = [\"lower(p.email)\"], prefer = [\"p.seen desc nulls last\"] }\n\
         columns = { email = { column = \"p.email\", normalize = [\"lower\"] }, name = \"p.name\" }\n\
         [entities.visits]\nsource = \"visit\"\nas = \"v\"\ntarget = \"visits\"\nlegacy = { id = \"old_id\" }\n\
         columns = { person_id = { ref = \"people\", by = \"v.person_id\" }, \
         friend_id = { ref = \"people\", by = \"v.friend_id\", missing = \"null\" } }\n",
    )
    .await;
    let visits = "select string_agg(v.old_id || ' ' || p.name || ' ' || coalesce(f.name, '-'), ', ' order by v.old_id) \
                  from public.visits v join public.people p on p.id = v.person_id \
                  left join public.people f on f.id = v.friend_id";
    let report = bench.migrate(3).await;
    assert_eq!(report["entities"][0]["detected"]["filtered"], 2, "{report}");
    assert_eq!(
        bench.in_target("select count(*) from public.people").await,
        4
    );
    let before = "1 Ada -, 2 Ada Bob, 3 nobody Ada";
    assert_eq!(bench.text_in_target(visits).await, before);
    assert_eq!(bench.set_aside().await, ["visits 4 held 23503"]);
    bench.ask(&["verify"], 3).await;
    // Another row is preferred, in a night that reads only what changed: the target row stays the same one.
    let id = "select id::text from public.people where email = 'a@x.org'";
    let ada = bench.text_in_target(id).await;
    let moved = "update person set seen = '2024-03-01' where id = 1; insert into person values (9, null, null, 'nine')";
    bench.on(Side::Source, moved).await;
    bench.ask(&["migrate", "--mode", "xmin"], 0).await;
    let after = "1 old Ada -, 2 old Ada Bob, 3 nobody old Ada, 4 nine nobody else";
    assert_eq!(bench.text_in_target(visits).await, after);
    assert_eq!(bench.text_in_target(id).await, ada);
    bench.ask(&["verify"], 0).await;
    // A row leaves its group and stands alone; who refers to it follows.
    bench
        .on(
            Side::Source,
            "update person set email = 'c@x.org' where id = 2",
        )
        .await;
    bench.migrate(0).await;
    let after = "1 old Ada -, 2 Ada Bob, 3 nobody old Ada, 4 nine nobody else";
    assert_eq!(bench.text_in_target(visits).await, after);
    assert_eq!(bench.text_in_target(id).await, ada);
    bench.ask(&["verify"], 0).await;
    let again = bench.migrate(0).await;
    assert_eq!(again["entities"][0]["batches"]["rowsIn"], 0, "{again}");
}

#[tokio::test]
async fn ids_are_derived_from_names_or_drawn_and_kept() {
    let bench = Bench::with_tables(
        "create table a (id int primary key, x int); create table b (id int primary key, a_id int); \
         insert into a values (7, 1), (8, 2); insert into b values (1, 7), (2, 8)",
        "create table a (id uuid primary key, x int); create table b (id uuid primary key, a_id uuid references a)",
        "[entities.a]\nsource = \"a\"\ntarget = \"a\"\ncolumns = { x = \"x\" }\n\
         id = { strategy = \"v5\", namespace = \"dns\", name = \"client:{id}\" }\n\
         [entities.b]\nsource = \"b\"\ntarget = \"b\"\nid = { strategy = \"random\" }\n\
         columns = { a_id = { ref = \"a\", by = \"a_id\" } }\n",
    )
    .await;
    bench.migrate(0).await;
    // uuid.uuid5(uuid.NAMESPACE_DNS, "client:7") of Python.
    let derived = "select id::text from public.a where x = 1";
    assert_eq!(bench.text_in_target(derived).await, UUID5);
    let drawn = "select string_agg(id::text, ',' order by id) from public.b";
    let before = bench.text_in_target(drawn).await;
    let versions = "select count(*) from public.b where substr(id::text, 15, 1) = '4'";
    assert_eq!(bench.in_target(versions).await, 2);
    let change = "update b set a_id = 8 where id = 1; update a set x = 3 where id = 7";
    bench.on(Side::Source, change).await;
    bench.migrate(0).await;
    assert_eq!(bench.text_in_target(drawn).await, before);
    bench.ask(&["verify"], 0).await;
}

const UUID5: &str = "11c2b43f-7506-530f-9c90-df91dcf109cf";

#[tokio::test]
async fn rows_that_break_a_validation_are_set_aside() {
    let validations = "[[entities.items.validate]]\ncolumn = \"name\"\nrule = \"required\"\n\
         [[entities.items.validate]]\ncolumn = \"code\"\nrule = \"format\"\nformat = \"^[a-z]+$\"\n\
         [[entities.items.validate]]\ncolumn = \"price\"\nrule = \"range\"\nmin = 0\nmax = 99.5\n\
         [[entities.items.validate]]\nrule = \"expr\"\nexpr = \"ends >= starts\"\n";
    let entity = "[entities.items]\nsource = \"item\"\ntarget = \"items\"\n\
         columns = { name = \"name\", code = \"code\", price = \"price\", starts = {}, ends = {} }\n";
    let bench = Bench::with_tables(
        "create table item (id int primary key, name text, code text, price numeric, starts date, ends date); \
         insert into item values (1, 'a', 'x', 1, '2024-01-01', '2024-01-01'), (2, null, 'x', 1, '2024-01-01', '2024-01-02'), \
         (3, 'a', 'X', 1, '2024-01-01', '2024-01-02'), (4, 'a', null, 99.6, '2024-01-01', '2024-01-02'), \
         (5, 'a', 'x', -1, '2024-01-01', '2024-01-02'), (6, 'a', 'x', null, '2024-01-02', '2024-01-01')",
        "create table items (id uuid primary key, name text, code text, price numeric, starts date, ends date)",
        &format!("{entity}{validations}"),
    )
    .await;
    bench.migrate(3).await;
    let aside = [
        "items 2 open 23502",
        "items 3 open 22023",
        "items 4 open 22003",
        "items 5 open 22003",
        "items 6 open 23514",
    ];
    assert_eq!(bench.set_aside().await, aside);
    bench
        .on(
            Side::Source,
            "update item set name = 'b', code = 'x', price = 5, ends = '2024-02-01'",
        )
        .await;
    bench.migrate(0).await;
    assert_eq!(
        bench.in_target("select count(*) from public.items").await,
        6
    );
    // Unique is the target's matter: it needs an index there, and then the duplicate is set aside.
    let unique = "[[entities.items.validate]]\ncolumn = \"name\"\nrule = \"unique\"\n";
    bench.map(&format!("{entity}{unique}"));
    let said = bench.say(&["analyze"]).await;
    refused(
        &said,
        13,
        &["no unique index of public.items makes `name` unique"],
    );
    bench.map(entity);
    bench
        .on(Side::Source, "update item set name = 'n' || id")
        .await;
    bench.migrate(0).await;
    bench
        .on(Side::Target, "create unique index on items (name)")
        .await;
    bench.map(&format!("{entity}{unique}"));
    bench
        .on(Side::Source, "update item set name = 'n1' where id = 2")
        .await;
    bench.migrate(3).await;
    assert_eq!(bench.set_aside().await, ["items 2 open 23505"]);
}

#[test]
fn the_schema_for_editors_knows_every_key() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mapping.schema.json");
    let schema: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let described = |properties: &serde_json::Value| {
        let keys: BTreeSet<String> = properties.as_object().unwrap().keys().cloned().collect();
        keys
    };
    let (entity, rule) = diffmig::domain::mapping::vocabulary();
    let known = |keys: Vec<&str>| {
        keys.into_iter()
            .map(str::to_owned)
            .collect::<BTreeSet<String>>()
    };
    assert_eq!(
        described(&schema["$defs"]["entity"]["properties"]),
        known(entity)
    );
    assert_eq!(
        described(&schema["$defs"]["rule"]["oneOf"][1]["properties"]),
        known(rule)
    );
}
