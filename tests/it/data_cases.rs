//! Values on which comparisons of databases go wrong: each pair goes through `detect`, `migrate` and `verify`.
//!
//! The first value is in the source when it is migrated, the second replaces it. Both servers pin other settings.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use diffmig::domain::connection::Side;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A type on both sides and pairs of values; `true` when the second is another value.
struct Case {
    name: &'static str,
    source: &'static str,
    target: &'static str,
    pairs: &'static [(&'static str, &'static str, bool)],
}

const fn same(
    name: &'static str,
    both: &'static str,
    pairs: &'static [(&'static str, &'static str, bool)],
) -> Case {
    Case {
        name,
        source: both,
        target: both,
        pairs,
    }
}

const CASES: &[Case] = &[
    same(
        "float8",
        "float8",
        &[
            ("null", "0.0", true),
            ("'-0'", "0", false),
            ("'NaN'", "'NaN'", false),
            ("'Infinity'", "'-Infinity'", true),
            ("1e-9", "5e-7", true),
            ("0.36640625", "0.36640625", false),
            ("0.1::float8 + 0.2::float8", "0.3", true),
            ("5e-324", "0", true),
        ],
    ),
    same(
        "float4",
        "float4",
        &[
            ("14.22035", "14.2204", true),
            ("14.22035", "14.22035", false),
            ("'-0'", "0", false),
        ],
    ),
    same(
        "num",
        "numeric",
        &[
            ("3000.00", "3000.0", false),
            ("0.71", ".71", false),
            ("-0.19", "0", true),
            ("'NaN'", "'NaN'", false),
            ("1e-20", "0", true),
            (
                "123456789012345678901234567890.12345678901234567890",
                "123456789012345678901234567890.12345678901234567891",
                true,
            ),
            ("1e1000", "1e1000 + 1", true),
        ],
    ),
    Case {
        name: "money",
        source: "numeric",
        target: "numeric(12,2)",
        pairs: &[
            ("1.005", "1.0049", true),
            ("1.001", "1.002", false),
            ("-0.001", "0", false),
        ],
    },
    same(
        "words",
        "text",
        &[
            ("null", "''", true),
            ("null", "'NULL'", true),
            ("null", "'<null>'", true),
            ("'abc '", "'abc'", true),
            ("'Abc'", "'abc'", true),
            ("E'\\u00e9'", "E'e\\u0301'", true),
            ("E'a\\tb'", "'a b'", true),
            ("repeat('x', 3000000)", "repeat('x', 2999999) || 'y'", true),
            ("'0'", "'00'", true),
        ],
    ),
    Case {
        name: "padded",
        source: "char(5)",
        target: "text",
        pairs: &[("'ab'", "'ab   '", false), ("'ab'", "' ab'", true)],
    },
    same(
        "flag",
        "boolean",
        &[
            ("null", "false", true),
            ("'t'", "'true'", false),
            ("true", "false", true),
        ],
    ),
    same(
        "span",
        "interval",
        &[
            ("'1 day'", "'24:00:00'", true),
            ("'1 mon'", "'30 days'", true),
            ("'0'", "null", true),
            ("'1 day'", "'1 day 00:00:00'", false),
        ],
    ),
    same(
        "moment",
        "timestamptz",
        &[
            (
                "'2024-03-31 02:30:00+01'",
                "'2024-03-31 01:30:00+00'",
                false,
            ),
            ("'infinity'", "'-infinity'", true),
            (
                "'4713-01-01 00:00:00+00 BC'",
                "'4713-01-01 00:00:00.000001+00 BC'",
                true,
            ),
            (
                "'294276-12-31 23:59:59.999999+00'",
                "'294276-12-31 23:59:59.999998+00'",
                true,
            ),
        ],
    ),
    Case {
        name: "coarse",
        source: "timestamp(6)",
        target: "timestamp(3)",
        pairs: &[
            ("'2024-01-01 23:59:59.9995'", "'2024-01-02'", false),
            (
                "'2024-01-01 00:00:00.0014'",
                "'2024-01-01 00:00:00.0016'",
                true,
            ),
        ],
    },
    same(
        "clock",
        "time(3)",
        &[
            ("'24:00'", "'00:00'", true),
            ("'23:59:59.9996'", "'24:00'", false),
        ],
    ),
    same("zoned", "timetz", &[("'12:00+02'", "'10:00+00'", true)]),
    same(
        "day",
        "date",
        &[
            ("'infinity'", "'infinity'", false),
            ("'0044-03-15 BC'", "'0045-03-15 BC'", true),
            ("'5874897-12-31'", "'-infinity'", true),
        ],
    ),
    Case {
        name: "doc",
        source: "json",
        target: "jsonb",
        pairs: &[
            (
                "'{\"a\": 1, \"b\": [1, 2]}'",
                "'{\"b\":[1,2],\"a\":1}'",
                false,
            ),
            ("'{\"a\": 1, \"a\": 2}'", "'{\"a\": 2}'", false),
            ("'\"\\u00e9\"'", "'\"é\"'", false),
            ("'{\"a\": 169.09}'", "'{\"a\": 169.090000}'", true),
            ("'null'", "null", true),
            ("'{}'", "'[]'", true),
        ],
    },
    same(
        "docb",
        "jsonb",
        &[
            ("'{\"a\":1.0}'", "'{\"a\":1.00}'", true),
            ("'{\"a\": 1e2}'", "'{\"a\":100}'", false),
        ],
    ),
    Case {
        name: "ident",
        source: "text",
        target: "uuid",
        pairs: &[
            (
                "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
                "'{a0eebc999c0b4ef8bb6d6bb9bd380a11}'",
                false,
            ),
            (
                "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
                "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'",
                true,
            ),
        ],
    },
    same(
        "bytes",
        "bytea",
        &[
            ("'\\x'", "null", true),
            ("'\\x00'", "'\\x'", true),
            (
                "decode(repeat('00ff', 600000), 'hex')",
                "decode(repeat('00ff', 599999) || '00fe', 'hex')",
                true,
            ),
        ],
    ),
    same(
        "list",
        "int[]",
        &[
            ("'{1,2}'", "'[0:1]={1,2}'", true),
            ("'{}'", "null", true),
            ("'{NULL}'", "'{}'", true),
            ("'{{1,2},{3,4}}'", "'{1,2,3,4}'", true),
        ],
    ),
    same(
        "labels",
        "text[]",
        &[
            ("'{\"a,b\"}'", "'{a,b}'", true),
            ("'{NULL}'", "'{\"NULL\"}'", true),
        ],
    ),
    same(
        "mood",
        "mood",
        &[("'good'", "'bad'", true), ("'good'", "'good'", false)],
    ),
    same(
        "net",
        "inet",
        &[
            ("'10.0.0.1/8'", "'10.0.0.1'", true),
            ("'::1'", "'0:0:0:0:0:0:0:1'", false),
        ],
    ),
    same(
        "bounds",
        "int4range",
        &[
            ("'[1,3]'", "'[1,4)'", false),
            ("'empty'", "'[1,1)'", false),
            ("'(,)'", "null", true),
        ],
    ),
    same("markup", "xml", &[("'<a/>'", "'<a></a>'", true)]),
    same("bits", "bit varying(8)", &[("B'0'", "B'00'", true)]),
];

/// Settings that would change how values are written, if anybody wrote them as text.
const HOSTILE: &str = "set timezone = 'America/New_York'; set datestyle = 'SQL, DMY'; set intervalstyle = 'iso_8601'; \
    set bytea_output = 'escape'; set extra_float_digits = 0; set xmloption = content;";

fn table(side: Side) -> String {
    let mut sql = String::from(
        "create type mood as enum ('good', 'bad'); create table item (id int primary key",
    );
    if side == Side::Target {
        // Other oids, another order of labels in the catalog, and a dropped column in between.
        sql = String::from(
            "create type other as enum ('x'); create type mood as enum ('good', 'bad'); \
             create table item (id uuid primary key, gone int, \"a b\" text, \"Order\" text",
        );
    } else {
        sql.push_str(", \"a b\" text default 'x', \"Order\" text default 'y', x_a text default '1', x_b text");
    }
    if side == Side::Target {
        sql.push_str(", x_a text, x_b text");
    }
    for case in CASES {
        let column_type = match side {
            Side::Source => case.source,
            Side::Target => case.target,
        };
        write!(sql, ", {} {column_type}", case.name).unwrap();
    }
    sql.push_str(");");
    if side == Side::Target {
        sql.push_str("alter table item drop column gone;");
    }
    sql
}

fn mapping() -> String {
    let mut text = String::from(
        "[entities.items]\nsource = \"item\"\ntarget = \"item\"\n[entities.items.columns]\n\
         \"a b\" = \"a b\"\nOrder = \"Order\"\nx_a = \"x_a\"\nx_b = \"x_b\"\n",
    );
    for case in CASES {
        // `money` rounds, and must say so.
        writeln!(
            text,
            "{0} = {{ column = \"{0}\", allow_loss = true }}",
            case.name
        )
        .unwrap();
    }
    text
}

/// Every pair with its row's number.
fn pairs() -> impl Iterator<
    Item = (
        usize,
        &'static Case,
        &'static (&'static str, &'static str, bool),
    ),
> {
    let all = CASES
        .iter()
        .flat_map(|case| case.pairs.iter().map(move |pair| (case, pair)));
    (1..).zip(all).map(|(row, (case, pair))| (row, case, pair))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_values_is_equal_or_modified_as_it_should_be() {
    let bench = Bench::with_tables(&table(Side::Source), &table(Side::Target), &mapping()).await;
    let mut first = String::from(HOSTILE);
    let mut second = String::from(HOSTILE);
    let mut modified = BTreeSet::new();
    for (row, case, (before, after, changes)) in pairs() {
        let name = case.name;
        write!(
            first,
            "insert into item (id, {name}) values ({row}, {before});"
        )
        .unwrap();
        write!(second, "update item set {name} = {after} where id = {row};").unwrap();
        if *changes {
            modified.insert(row);
        }
    }
    bench.on(Side::Source, &first).await;
    for role in [
        "alter role current_user set timezone = 'Asia/Tokyo'",
        "alter role current_user set datestyle = 'SQL, DMY'",
    ] {
        bench.on(Side::Source, role).await;
    }
    bench.migrate_with(&[], 0).await;
    bench.ask(&["verify"], 0).await;
    assert_eq!(
        bench.say(&["detect", "--exit-code", "-q"]).await.code,
        Some(0)
    );

    bench.on(Side::Source, &second).await;
    for mode in ["full", "xmin"] {
        let report = bench.ask(&["detect", "--mode", mode], 0).await;
        let id = report["detectionId"].as_str().unwrap();
        let sql = format!(
            "select kind || ' ' || (key ->> 0) from diffmig.change where detection_id = '{id}'"
        );
        let found: BTreeSet<String> = bench.target_lines(&sql).await.into_iter().collect();
        let faults: Vec<String> = pairs()
            .filter(|(row, _, _)| {
                found.contains(&format!("modified {row}")) != modified.contains(row)
            })
            .map(|(_, case, pair)| format!("{mode} {}: {} -> {}", case.name, pair.0, pair.1))
            .collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert_eq!(found.len(), modified.len(), "{mode}: {found:?}");
    }
    // A different row of the target is found by verify before, and none after.
    let before = bench.ask(&["verify"], 3).await;
    assert_eq!(before["differences"], modified.len());
    bench.migrate_with(&["--mode", "xmin"], 0).await;
    bench.ask(&["verify"], 0).await;
    assert_eq!(
        bench.say(&["detect", "--exit-code", "-q"]).await.code,
        Some(0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_of_rows_are_told_apart_whatever_their_sums_say() {
    let bench = Bench::with_tables(
        "create table item (id int primary key, a text, b text, at timestamp);
         insert into item select n, chr(64 + n), n::text, '2024-01-01' from generate_series(1, 12) n;
         update item set a = 'a|b', b = 'c' where id = 9; update item set a = 'x0', b = 'y' where id = 10;",
        "create table item (id uuid primary key, a text, b text, at timestamp);",
        "[entities.items]\nsource = \"item\"\ntarget = \"item\"\ndelete = \"delete\"\n\
         [entities.items.columns]\na = \"a\"\nb = \"b\"\nat = \"at\"\n",
    )
    .await;
    bench.migrate_with(&[], 0).await;
    let steps: &[(&str, i64, i64, i64)] = &[
        // Two rows swap their contents.
        (
            "update item set a = case id when 1 then 'B' else 'A' end where id in (1, 2)",
            0,
            2,
            0,
        ),
        // Four rows move by the same amount.
        (
            "update item set at = at + interval '10 min' where id in (3, 4, 5, 6)",
            0,
            4,
            0,
        ),
        // Values that separators would join.
        (
            "update item set a = 'a', b = 'b|c' where id = 9; update item set a = 'x', b = '0y' where id = 10",
            0,
            2,
            0,
        ),
        // Keys with the same count, sum and sum of squares.
        (
            "delete from item where id in (1, 5, 6); insert into item values (13, 'n', 'n', null)",
            1,
            0,
            3,
        ),
        (
            "insert into item values (0, 'zero', '', null), (-2147483648, 'low', '', null), (2147483647, 'high', '', null)",
            3,
            0,
            0,
        ),
    ];
    for (change, new, changed, deleted) in steps {
        bench.on(Side::Source, change).await;
        for mode in ["full", "xmin"] {
            let report = bench.ask(&["detect", "--mode", mode], 0).await;
            let it = &report["entities"][0];
            let found = (
                it["new"].as_i64(),
                it["modified"].as_i64(),
                it["deleted"].as_i64(),
            );
            assert_eq!(
                found,
                (Some(*new), Some(*changed), Some(*deleted)),
                "{mode}: {change}"
            );
        }
        bench.migrate_with(&["--mode", "xmin"], 0).await;
        bench.ask(&["verify"], 0).await;
    }
    // An empty side is a side like any other.
    bench.on(Side::Source, "delete from item").await;
    bench.migrate_with(&["--mode", "xmin"], 14).await;
    bench
        .migrate_with(&["--mode", "xmin", "--allow-deletes", "items=13"], 0)
        .await;
    bench.ask(&["verify"], 0).await;
    assert_eq!(bench.in_target("select count(*) from item").await, 0);
}
