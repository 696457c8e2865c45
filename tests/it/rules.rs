//! Every rule of the mapping language, carried out: the examples of docs/mapping.md with values and what becomes of them.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod entities;
mod examples;
mod groups;
mod page;
mod parents;
mod relations;
mod unreadable;

use crate::support::Bench;
use page::{blocks, section};
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
    let mut rules = BTreeSet::new();
    for block in blocks(&section("Columns", "Expressions")) {
        let table: toml::Table =
            toml::from_str(&block).unwrap_or_else(|error| panic!("{error}\n{block}"));
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
const ELSEWHERE: &[&str] = &[VIA, BY_TWO, STAND_IN];

const BY_TWO: &str = r#"{ ref = "seats", by = ["t.hall", "t.no"], missing = "hold" }"#;

const STAND_IN: &str = r#"{ ref = "shelves", by = "b.shelf_id", missing = { default = 1 } }"#;

const VIA: &str =
    r#"{ ref = "tickets", by = "m.estimate_id", via = ["estimates.ticket_id"], missing = "hold" }"#;

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
