//! The shapes in which scripts note what became of a key, and keys of every type.

use super::{entity, findings, numbers};
use crate::support::Bench;
use diffmig::domain::connection::Side;
use serde_json::{Value, json};

const SOURCE: &str = "
create table a (id int primary key, name text);
insert into a select i, 'a' || i from generate_series(1, 12) i;
create table line (o int, n text, d date, v numeric, primary key (o, n, d));
insert into line select i, 'n' || i, date '2020-01-01' + i, i from generate_series(1, 5) i;
create table token (id uuid primary key, x int);
insert into token select ('00000000-0000-0000-0000-00000000000' || i)::uuid, i from generate_series(1, 5) i;
create table kept (id bigint primary key, name varchar(10));
insert into kept select i, 's' || i from generate_series(1, 6) i;";

const TARGET: &str = "
create table ta (id uuid primary key default gen_random_uuid(), old numeric(10,0), name text);
insert into ta (old, name) select i, 'a' || i from generate_series(1, 8) i;
create schema notes;
create table notes.a_map (k text, v uuid);
insert into notes.a_map select old::text, id from ta where old < 5;
update notes.a_map set v = (select id from ta where old = 6) where k = '2';
insert into notes.a_map select '99', id from ta where old = 8;
insert into notes.a_map values (' 9 ', gen_random_uuid());
create table lines (id uuid primary key default gen_random_uuid(), v numeric);
create table line_map (o text, n text, d date, new_id text);
with x as (insert into lines (v) select i from generate_series(1, 5) i returning id, v)
  insert into line_map select v::text, 'n' || v, date '2020-01-01' + v::int, '{' || id || '}' from x;
update line_map set o = 'x' where o = '5';
update line_map set new_id = 'lost' where o = '4';
create table tokens (id uuid primary key default gen_random_uuid(), old text, x int);
insert into tokens (old, x) select '{00000000-0000-0000-0000-00000000000' || i || '}', i from generate_series(1, 4) i;
insert into tokens (old) values ('none');
create table kept (id bigint primary key, name varchar(10));
insert into kept values (1, 's1'), (2, 'other'), (77, 'native');";

const MAPPING: &str = r#"
[entities.a]
source = "a"
target = "ta"
legacy = { id = "old" }
adopt = { table = "notes.a_map", source_id = "k", target_id = "v" }
[entities.a.columns]
name = "name"
[entities.lines]
source = "line"
target = "lines"
adopt = { table = "line_map", source_id = ["o", "n", "d"], target_id = "new_id" }
[entities.lines.columns]
v = "v"
[entities.tokens]
source = "token"
target = "tokens"
legacy = { id = "old" }
[entities.tokens.columns]
x = "x"
[entities.kept]
source = "kept"
target = "kept"
id = { column = "id", strategy = "same" }
[entities.kept.columns]
name = "name"
"#;

fn kinds(report: &Value, name: &str) -> Vec<(String, Value)> {
    let found = findings(report, name).into_iter();
    let found = found.filter(|it| it.0 != "malformed");
    found.map(|(kind, _, keys)| (kind, keys)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_read_in_whatever_form_they_were_noted() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    let report = bench.ask(&["adopt"], 3).await;
    let fields = ["identical", "differing", "setAside", "new", "native"];
    for (name, wanted) in [
        ("a", [5, 0, 4, 3, 0]),
        ("lines", [3, 0, 1, 1, 1]),
        ("tokens", [4, 0, 0, 1, 0]),
        ("kept", [1, 1, 0, 4, 1]),
    ] {
        assert_eq!(numbers(&report, name, &fields), wanted, "{name}");
        assert_eq!(entity(&report, name)["gone"], 0, "{name}");
    }
    assert_eq!(
        kinds(&report, "a"),
        [
            ("contradiction".to_owned(), json!([[2]])),
            ("shared".to_owned(), json!([[6], [8], [99]])),
            ("dangling".to_owned(), json!([[9]])),
        ]
    );
    assert_eq!(
        kinds(&report, "lines"),
        [("dangling".to_owned(), json!([[4, "n4", "2020-01-05"]]))]
    );
    for name in ["lines", "tokens"] {
        let (kind, count, rows) = findings(&report, name).pop().unwrap();
        assert_eq!((kind.as_str(), count), ("malformed", 1), "{name}");
        assert!(
            rows[0][0].as_str().is_some_and(|it| it.len() == 36),
            "{name}"
        );
    }
    bench.migrate(3).await;
    assert_eq!(bench.ask(&["verify"], 3).await["differences"], 0);
    assert_eq!(
        bench
            .text_in_target("select name from kept where id = 77")
            .await,
        "native"
    );
    // A key that the ledger knows stays where it is, whatever is noted later.
    bench
        .on(
            Side::Target,
            "update notes.a_map set v = (select id from ta where name = 'a7') where k = '1'",
        )
        .await;
    let report = bench.ask(&["adopt", "--entities", "a"], 3).await;
    assert_eq!(
        kinds(&report, "a")[0],
        ("contradiction".to_owned(), json!([[1], [2]]))
    );
    assert_eq!(report["adopted"], 0);
}
