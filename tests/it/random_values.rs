//! Random values of every type: `detect` calls a row modified if and only if PostgreSQL renders it otherwise.
//!
//! `DIFFMIG_VALUES` says how many rows (some hundred without it), `DIFFMIG_VALUES_SEED` repeats a run.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::crash::report::{say, seed};
use crate::support::Bench;
use crate::support::tables::execute;
use diffmig::domain::connection::Side;
use sqlx::{AssertSqlSafe, Row};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A column: its types, how its values are drawn, and how PostgreSQL renders `v` when spelling does not count.
struct Column {
    name: &'static str,
    source: &'static str,
    target: &'static str,
    /// Literals of the type, one to a line.
    pool: &'static str,
    /// Draws any other value.
    draw: &'static str,
    render: &'static str,
}

const fn plain(
    name: &'static str,
    both: &'static str,
    pool: &'static str,
    draw: &'static str,
) -> Column {
    Column {
        name,
        source: both,
        target: both,
        pool,
        draw,
        render: "v::text",
    }
}

/// A zero has a sign that comparisons ignore, and so does diffmig.
const UNSIGNED_ZERO: &str = "case when v = 0 then '0' else v::text end";

const COLUMNS: &[Column] = &[
    plain("flag", "boolean", "true\nfalse", "random() < 0.5"),
    plain(
        "small",
        "int2",
        "0\n-32768\n32767",
        "(random() * 100)::int2",
    ),
    Column {
        target: "int8",
        ..plain(
            "wider",
            "int4",
            "0\n-2147483648\n2147483647",
            "(random() * 1e9)::int4",
        )
    },
    plain(
        "large",
        "int8",
        "0\n-9223372036854775808\n9223372036854775807",
        "(random() * 1e18)::int8",
    ),
    Column {
        render: UNSIGNED_ZERO,
        ..plain(
            "double",
            "float8",
            "NaN\nInfinity\n-Infinity\n-0\n0\n5e-324\n1.7976931348623157e308\n0.1\n0.30000000000000004\n0.3",
            "(random() - 0.5) * 10 ^ (random() * 600 - 300)",
        )
    },
    Column {
        render: UNSIGNED_ZERO,
        ..plain(
            "single",
            "float4",
            "NaN\nInfinity\n-Infinity\n-0\n0\n1e-45\n3.4028235e38\n14.22035\n14.2204",
            "(random() * 1e6)::float4",
        )
    },
    Column {
        render: "trim_scale(v)::text",
        ..plain(
            "num",
            "numeric",
            "NaN\n0\n-0.00\n0.000\n3000\n3000.0\n3000.000\n1e1000\n1e-900\n-1e-900\n0.1\n.10\n99999999.99999999",
            "round((random() * 10 ^ (random() * 30))::numeric, (random() * 20)::int)",
        )
    },
    Column {
        target: "numeric(12,2)",
        render: "trim_scale(round(v, 2))::text",
        ..plain(
            "money",
            "numeric",
            "0\n-0.001\n0.005\n1.005\n1.0049\n1.01\n-1.01\n9999999999.99",
            "round((random() * 10 ^ (random() * 9))::numeric, (random() * 5)::int)",
        )
    },
    plain(
        "words",
        "text",
        "\n \na\na \nA\né\né\n日本語\n🦀\n\\N\nNULL\nnull\n|\n'\n\"\n\\",
        "repeat(md5(random()::text), (random() * 40)::int)",
    ),
    plain(
        "short",
        "varchar(12)",
        "\n \nab\nab \nß\nss",
        "left(md5(random()::text), 12)",
    ),
    Column {
        target: "text",
        ..plain(
            "padded",
            "char(6)",
            "\n \nab\nab  \n ab\nß",
            "left(md5(random()::text), 6)",
        )
    },
    plain(
        "octets",
        "bytea",
        "\\x\n\\x00\n\\x0000\n\\xff\n\\x5c78\n\\x5c",
        "decode(md5(random()::text), 'hex')",
    ),
    plain(
        "day",
        "date",
        "infinity\n-infinity\n4713-01-01 BC\n0001-12-31 BC\n0001-01-01\n5874897-12-31\n2024-02-29",
        "date '2000-01-01' + (random() * 20000)::int",
    ),
    plain(
        "clock",
        "time",
        "00:00\n24:00\n23:59:60\n23:59:59.999999\n12:00",
        "time '00:00' + random() * interval '1 day'",
    ),
    plain(
        "zoned",
        "timetz",
        "00:00+14\n24:00-12\n24:00+00\n12:00+02\n10:00+00\n12:00:00.5+02:30:30",
        "(timestamptz '2020-01-01' + random() * interval '1 day')::timetz",
    ),
    plain(
        "stamp",
        "timestamp",
        "infinity\n-infinity\n4713-01-01 BC\n294276-12-31 23:59:59.999999\n2024-03-31 02:30\n1970-01-01",
        "timestamp '2000-01-01' + random() * interval '30 years'",
    ),
    plain(
        "moment",
        "timestamptz",
        "infinity\n-infinity\n4713-01-02 00:00+00 BC\n294276-12-31 23:59:59.999999+00\n2024-03-31 02:30+01\n2024-03-31 01:30+00",
        "timestamptz '2000-01-01' + random() * interval '30 years'",
    ),
    plain(
        "span",
        "interval",
        "0\n1 day\n24:00:00\n1 mon\n30 days\n1 year\n12 mons\n-1 day +24:00\n178000000 years\n-178000000 years\n00:00:00.000001",
        "random() * interval '3 years 2 mons 5 days 04:05:06.789'",
    ),
    plain(
        "ident",
        "uuid",
        "00000000-0000-0000-0000-000000000000\nffffffff-ffff-ffff-ffff-ffffffffffff",
        "md5(random()::text)::uuid",
    ),
    plain(
        "doc",
        "jsonb",
        "null\n{}\n[]\n\"\"\n0\n-0\n1.0\n1.00\n1e2\n{\"a\": 1, \"b\": 2}\n{\"b\": 2, \"a\": 1}\n{\"a\": null}\n\"\\u0001\"\n\"é\"\n[1, [2, {\"c\": []}]]",
        "jsonb_build_object(md5(random()::text), random(), 'a', array[random(), random()])",
    ),
    Column {
        target: "jsonb",
        render: "v::jsonb::text",
        ..plain(
            "paper",
            "json",
            "null\n{}\n{ }\n[]\n0\n-0\n1.0\n1.00\n1e2\n100\n{\"a\": 1, \"b\": 2}\n{\"b\":2,\"a\":1}\n{\"a\": 0, \"a\": 1}\n{\"a\": 1}\n\"\\u00e9\"\n\"é\"\n\"\\/\"\n\"/\"\n123456789012345678901234567890.10",
            "json_build_object(md5(random()::text), random(), 'a', array[random(), random()])",
        )
    },
    plain(
        "row_of",
        "int4[]",
        "{}\n{NULL}\n{1}\n{1,2}\n[2:3]={1,2}\n{{1,2},{3,4}}\n{1,2,3,4}\n[0:0][-1:-1]={{1}}",
        "array(select (random() * 100)::int from generate_series(1, (random() * 9)::int))",
    ),
    plain(
        "labels",
        "text[]",
        "{}\n{NULL}\n{\"NULL\"}\n{\"\"}\n{\"a,b\"}\n{a,b}\n[5:6]={a,b}\n{{a},{b}}",
        "array[md5(random()::text), null, '']",
    ),
    plain(
        "bounds",
        "int4range",
        "empty\n(,)\n[1,3]\n[1,4)\n(0,4)\n[1,1)\n[,5)\n(,4]",
        "int4range((random() * 10)::int, 10 + (random() * 10)::int)",
    ),
    plain(
        "prices",
        "numrange",
        "empty\n(,)\n[1,2]\n[1,2)\n[1.5,)\n[0,0]\n(0,0]",
        "numrange(random()::numeric, 1 + random()::numeric)",
    ),
    plain(
        "stay",
        "tstzrange",
        "empty\n[-infinity,infinity]\n[2024-01-01 00:00+00,)\n[2024-01-01 01:00+01,)\n(2024-01-01 00:00+00,)",
        "tstzrange(timestamptz '2020-01-01' + random() * interval '1 year', null)",
    ),
    plain(
        "net",
        "inet",
        "10.0.0.1\n10.0.0.1/8\n10.0.0.1/32\n::1\n0:0:0:0:0:0:0:1\n::ffff:1.2.3.4/64",
        "inet '10.0.0.0' + (random() * 1e6)::bigint",
    ),
    plain(
        "wire",
        "cidr",
        "10/8\n10.0.0.0/8\n10.0.0.0/9\n::/0",
        "network(set_masklen(inet '10.1.2.3', (random() * 32)::int))::cidr",
    ),
    plain(
        "card",
        "macaddr",
        "08:00:2b:01:02:03\n08-00-2b-01-02-03\n08002b:010204",
        "md5(random()::text)::varchar(12)::macaddr",
    ),
    plain(
        "mask",
        "bit(5)",
        "00000\n00001\n10000",
        "(random() * 31)::int::bit(5)",
    ),
    plain(
        "bits",
        "bit varying(8)",
        "\n0\n00\n10\n1",
        "(random() * 100)::int::bit(8)::bit varying(8)",
    ),
    plain(
        "mood",
        "mood",
        "good\nbad\nfair",
        "(array['good', 'bad', 'fair'])[1 + floor(random() * 3)]::mood",
    ),
    plain("rating", "rating", "1\n5", "(1 + floor(random() * 5))::int"),
    plain(
        "spot",
        "point",
        "(0,0)\n(0,-0)\n(1,2)\n(NaN,1)\n(Infinity,-Infinity)",
        "point(random(), random())",
    ),
    plain(
        "terms",
        "tsvector",
        "\na\n'a':1\n'a':1A 'b'\n'b' 'a':1A",
        "to_tsvector('simple', md5(random()::text))",
    ),
];

const TYPES: &str = "create type mood as enum ('good', 'bad', 'fair'); create domain rating as int check (value between 1 and 5);";

fn table(side: Side, key: &str) -> String {
    let mut sql = format!("{TYPES} create table item (id {key} primary key");
    for it in COLUMNS {
        let kind = match side {
            Side::Source => it.source,
            Side::Target => it.target,
        };
        write!(sql, ", {} {kind}", it.name).unwrap();
    }
    sql + ");"
}

fn mapping() -> String {
    let mut text = String::from(
        "[entities.items]\nsource = \"item\"\ntarget = \"item\"\n[entities.items.columns]\n",
    );
    for it in COLUMNS {
        // Numbers are rounded to their column, and the mapping must say so.
        writeln!(
            text,
            "{0} = {{ column = \"{0}\", allow_loss = true }}",
            it.name
        )
        .unwrap();
    }
    text
}

/// Functions for each column: one draws a value of the pool, or any other, now and then none; one renders it.
fn functions() -> String {
    let mut sql = String::new();
    for it in COLUMNS {
        let literals: Vec<String> = it
            .pool
            .split('\n')
            .map(|it| format!("'{}'", it.replace('\'', "''")))
            .collect();
        let (name, kind) = (it.name, it.source);
        write!(
            sql,
            "create function draw_{name}() returns {kind} volatile language sql as $draw$
               select case when d.n < 0.05 then null when d.n < 0.7 then d.pool[1 + floor(d.m * {})]::{kind} else ({})::{kind} end
               from (select random() as n, random() as m, array[{}]::text[] as pool) d $draw$;
             create function render_{name}(v {kind}) returns text language sql as $render$ select {} $render$;",
            literals.len(),
            it.draw,
            literals.join(", "),
            it.render,
        )
        .unwrap();
    }
    sql
}

/// Gives each row a value in one column, then another one; most draws differ in spelling at least.
fn fill(rows: u64, seed: u64) -> [String; 2] {
    #[expect(clippy::cast_precision_loss, reason = "any number between 0 and 1")]
    let start = (seed % 1_000_000) as f64 / 1e6;
    let each = |draw: &dyn Fn(usize, &Column) -> String| {
        let all = COLUMNS.iter().enumerate().map(|(at, it)| draw(at, it));
        all.collect::<Vec<_>>().join(", ")
    };
    let count = COLUMNS.len();
    let first = each(&|at, it| format!("case when n % {count} = {at} then draw_{}() end", it.name));
    let second = each(&|at, it| {
        format!(
            "{0} = case when id % {count} = {at} then case when random() < 0.2 then {0} else draw_{0}() end end",
            it.name
        )
    });
    [
        format!(
            "select setseed({start}); insert into item select n, {first} from generate_series(1, {rows}) n; create table before as table item;"
        ),
        format!("select setseed(-{start}); update item set {second};"),
    ]
}

/// The rows that PostgreSQL itself renders otherwise than before.
async fn oracle(bench: &Bench) -> BTreeSet<String> {
    let changed: Vec<String> = COLUMNS
        .iter()
        .map(|Column { name, .. }| {
            format!("render_{name}(i.{name}) is distinct from render_{name}(b.{name})")
        })
        .collect();
    let sql = format!(
        "select i.id::text from item i join before b using (id) where {}",
        changed.join(" or ")
    );
    let mut source = bench.source().await;
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut source).await;
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_modified_if_and_only_if_postgresql_renders_it_otherwise() {
    let seed = seed("DIFFMIG_VALUES_SEED");
    let rows = std::env::var("DIFFMIG_VALUES").map_or(1_500, |it| it.parse().unwrap());
    say(&format!("DIFFMIG_VALUES_SEED={seed}, {rows} rows"));
    let (source, target) = (table(Side::Source, "int"), table(Side::Target, "uuid"));
    let bench = Bench::with_tables(&source, &target, &mapping()).await;
    let mut admin = bench.source().await;
    execute(&mut admin, &functions()).await;
    let [first, second] = fill(rows, seed);
    execute(&mut admin, &first).await;
    bench.migrate_with(&[], 0).await;
    bench.ask(&["verify"], 0).await;

    execute(&mut admin, &second).await;
    let changed = oracle(&bench).await;
    assert!(!changed.is_empty() && u64::try_from(changed.len()).unwrap() < rows);
    let report = bench.ask(&["detect", "--mode", "full"], 0).await;
    let id = report["detectionId"].as_str().unwrap();
    let sql = format!(
        "select key ->> 0 from diffmig.change where detection_id = '{id}' and kind = 'modified'"
    );
    let found: BTreeSet<String> = bench.target_lines(&sql).await.into_iter().collect();
    let column = |id: &String| COLUMNS[id.parse::<usize>().unwrap() % COLUMNS.len()].name;
    let wrong: Vec<(&String, &str)> = found
        .symmetric_difference(&changed)
        .map(|id| (id, column(id)))
        .collect();
    assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
    let differences = bench.ask(&["verify"], 3).await["differences"].clone();
    assert_eq!(differences, changed.len(), "seed {seed}");
    bench.migrate_with(&[], 0).await;
    bench.ask(&["verify"], 0).await;
}
