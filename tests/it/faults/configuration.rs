//! Hostile names and files, and control tables that somebody tampered with.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::command::{diffmig, run};
use crate::support::tables::{execute, refused};
use diffmig::domain::connection::Side;
use diffmig::domain::identifier::{quote_identifier, quote_literal};
use std::time::{Duration, Instant};

const SOURCE: &str = "create table item (id integer primary key, name text);
    insert into item select g, 'n' || g from generate_series(1, 2000) g;";
const TARGET: &str = "create table items (id uuid primary key, legacy_id integer, name text);";
const MAPPING: &str = "
[entities.items]
source = \"item\"
target = \"items\"
legacy = { id = \"legacy_id\" }
[entities.items.columns]
name = {}
";
const BATCHES: &str = "select case when pg_catalog.to_regclass('diffmig.batch') is null then 0 else \
    (xpath('/row/c/text()', query_to_xml('select count(*) as c from diffmig.batch', false, true, '')))[1]::text::bigint end";

/// Names that break what does not quote, count or escape.
const NAMES: &[&str] = &[
    "a\"; drop table canary; --",
    "'; drop table canary; --",
    "new\nline",
    "tab\tbed",
    "\u{202e}RTL",
    "%s%n",
    "\u{1b}[31mred",
    "$1",
    "back\\slash",
    "select",
    "Größe",
    "a.b",
    "sixty-three bytes sixty-three bytes sixty-three bytes sixty-three",
];

fn toml_string(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// Everything that people get to see holds the names, and nothing that a terminal would obey.
async fn is_shown_escaped(bench: &Bench) {
    let mut texts = String::new();
    for (arguments, code) in [
        (&["migrate", "-vv"][..], 3),
        (&["analyze", "-v"], 0),
        (&["quarantine", "list"], 0),
        (&["quarantine", "show", "hostile", "7"], 0),
        (&["logs"], 0),
        (&["status", "--show-errors"], 0),
        (&["migrate", "--dry-run"], 0),
        (&["grants"], 0),
    ] {
        let said = bench.say(arguments).await;
        assert_eq!(said.code, Some(code), "{arguments:?} {said:?}");
        if arguments[0] != "grants" {
            texts.push_str(&said.stdout);
        }
        texts.push_str(&said.stderr);
    }
    for raw in ["\u{1b}", "\u{202e}"] {
        assert!(
            !texts.contains(raw),
            "a name reaches the terminal as it is: {texts:?}"
        );
    }
    assert!(texts.contains("\\u{1b}[31mcheck"), "{texts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_hostile_names_are_quoted_for_the_server_and_escaped_for_people() {
    let name = |index: usize| &NAMES[index][..NAMES[index].len().min(63)];
    let all: Vec<&str> = (0..NAMES.len()).map(name).collect();
    let columns: Vec<String> = all
        .iter()
        .map(|it| format!("{} text", quote_identifier(it)))
        .collect();
    let (schema, table) = (quote_identifier(all[4]), quote_identifier(all[0]));
    let source = format!(
        "create table canary (); create schema {schema};
         create table {schema}.{table} (id integer primary key, {});
         insert into {schema}.{table} select g, {} from generate_series(1, 10) g;",
        columns.join(", "),
        vec!["'v' || g"; all.len()].join(", ")
    );
    let strict = quote_identifier("\u{1b}[31mcheck\u{202e}");
    let target = format!(
        "create table canary (); create schema {schema};
         create table {schema}.{table} (id uuid primary key, legacy_id integer,
           {}, constraint {strict} check (legacy_id <> 7));",
        columns.join(", ")
    );
    let rules: String = all
        .iter()
        .map(|it| format!("{} = {{}}\n", toml_string(it)))
        .collect();
    let mapping = format!(
        "[source]\nschema = {0}\n[target]\nschema = {0}\n[entities.hostile]\nsource = {1}\nas = \"h\"\ntarget = {1}\n\
         legacy = {{ id = \"legacy_id\" }}\n[entities.hostile.columns]\n{rules}",
        toml_string(all[4]),
        toml_string(all[0]),
    );
    let bench = Bench::with_tables(&source, &target, &mapping).await;
    is_shown_escaped(&bench).await;
    let same: Vec<String> = all
        .iter()
        .map(|it| format!("{} = 'v' || legacy_id", quote_identifier(it)))
        .collect();
    let arrived = format!(
        "select count(*) from {schema}.{table} where {}",
        same.join(" and ")
    );
    assert_eq!(bench.in_target(&arrived).await, 9);
    for side in [Side::Source, Side::Target] {
        bench.on(side, "select from canary").await;
    }
    let gone = MAPPING.replace("\"item\"", &toml_string("no \u{1b}[31m table \u{202e}"));
    bench.map(&gone);
    let said = bench.say(&["migrate"]).await;
    refused(&said, 13, &["\\u{1b}[31m"]);
    assert!(!said.stderr.contains('\u{1b}') && !said.stderr.contains('\u{202e}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_hostile_expressions_are_refused_before_anything_is_touched() {
    let hostile = [
        "1); DROP TABLE canary; --",
        "name || (select passwd from pg_shadow limit 1)",
        "pg_sleep(100)",
        "lo_import('/etc/passwd')",
        "pg_read_file('/etc/passwd')",
        "random()",
        "pg_catalog.set_config('a', 'b', false)",
        "set_config('row_security', 'on', false)",
        "query_to_xml('delete from canary', true, true, '')",
        "dblink_exec('', 'drop table canary')",
        "name; drop table canary",
        "current_user",
        "nextval('s')",
        "xpath('/', name::xml)",
        "name::regclass",
    ];
    let bench = Bench::with_tables(
        &format!("create table canary (); {SOURCE}"),
        &format!("create table canary (); {TARGET}"),
        MAPPING,
    )
    .await;
    for place in ["expr", "where", "on", "query"] {
        for text in hostile {
            let rule = toml_string(text);
            let mapping = match place {
                "expr" => format!("{MAPPING}legacy_id = {{ expr = {rule} }}\n")
                    .replace("legacy = { id = \"legacy_id\" }\n", ""),
                "where" => MAPPING.replace("target =", &format!("where = {rule}\ntarget =")),
                "on" => MAPPING.replace(
                    "target =",
                    &format!(
                        "join = [{{ table = \"canary\", as = \"k\", on = {rule} }}]\ntarget ="
                    ),
                ),
                _ => {
                    let query = toml_string(&format!("select id, name, {text} as x from item"));
                    MAPPING.replace(
                        "source = \"item\"",
                        &format!(
                            "source = {{ query = {query}, watch = [\"item\"] }}\nkey = [\"id\"]"
                        ),
                    )
                }
            };
            bench.map(&mapping);
            let said = bench.say(&["migrate"]).await;
            // Text that the parser takes may still be refused by the databases' names (13).
            let code = said.code.unwrap();
            assert!(matches!(code, 2 | 13), "{place}: {text}: {said:?}");
            refused(&said, code, &["nothing was started"]);
            if place == "expr" {
                refused(&said, 2, &["diffmig.toml:"]);
            }
        }
    }
    let begun = "select count(*) from pg_namespace where nspname = 'diffmig'";
    assert_eq!(bench.in_target(begun).await, 0);
    for side in [Side::Source, Side::Target] {
        bench.on(side, "select from canary").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_a_function_that_writes_finds_the_source_closed() {
    let source = format!(
        "create table canary (id integer); {SOURCE}
         create function harmless(text) returns text language plpgsql as $$
         begin insert into canary values (1); return $1; end $$;"
    );
    let query = "select id, harmless(name) as name from item";
    let mapping = MAPPING.replace(
        "source = \"item\"",
        &format!("source = {{ query = \"{query}\", watch = [\"item\"] }}\nkey = [\"id\"]"),
    );
    let bench = Bench::with_tables(&source, TARGET, &mapping).await;
    let said = bench.say(&["migrate"]).await;
    assert!(matches!(said.code, Some(2 | 13 | 15)), "{said:?}");
    assert_eq!(bench.in_source("select count(*) from canary").await, 0);
    assert_eq!(bench.in_target("select count(*) from items").await, 0);
}

/// Ways to spoil a mapping, and what must be said about each.
fn spoiled(whole: &str) -> Vec<(Vec<u8>, &'static [&'static str])> {
    vec![
        (Vec::new(), &["diffmig.toml", "version"]),
        (whole.as_bytes()[..50].to_vec(), &["diffmig.toml:5:"]),
        (
            whole.replace("target =", "traget =").into_bytes(),
            &["diffmig.toml:5:1", "did you mean `target`?"],
        ),
        (
            whole.replace("\"items\"", "7").into_bytes(),
            &["diffmig.toml:5:"],
        ),
        (
            whole.replace("version = 1", "version = \"1\"").into_bytes(),
            &["diffmig.toml:1:"],
        ),
        (
            whole.replace("version = 1", "version = 2").into_bytes(),
            &["version 1 only"],
        ),
        (
            format!("{whole}name = {{}}\n").into_bytes(),
            &["diffmig.toml:9:1", "duplicate"],
        ),
        (
            format!("{whole}[entities.items]\n").into_bytes(),
            &["diffmig.toml:9:", "duplicate"],
        ),
        (
            b"version = 1\nx = \"\xff\xfe\"\n".to_vec(),
            &["diffmig.toml", "UTF-8"],
        ),
        (
            whole.replace("item", "i\0tem").into_bytes(),
            &["diffmig.toml:3:"],
        ),
        (
            vec![b'#'; 5 * 1024 * 1024],
            &["is not a mapping", "5242880 bytes"],
        ),
        (
            format!("{whole}{}", "[".repeat(100_000)).into_bytes(),
            &["diffmig.toml:9:"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn f4_every_way_to_spoil_the_file_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("diffmig.toml");
    let check = async |code: i32, words: &[&str]| {
        let mut command = diffmig(directory.path(), &["analyze"]);
        command
            .env("DIFFMIG_SOURCE_URL", "postgres://u@127.0.0.1:1/d")
            .env("DIFFMIG_TARGET_URL", "postgres://u@127.0.0.1:1/e");
        refused(&run(command).await, code, words);
    };
    let whole = format!("version = 1\n{MAPPING}");
    let spoiled = spoiled(&whole);
    for (bytes, words) in spoiled {
        std::fs::write(&path, &bytes).unwrap();
        check(2, words).await;
    }
    // 100 MB are not read, a sparse file is enough to see it.
    std::fs::File::create(&path)
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    check(2, &["is not a mapping", "104857600 bytes"]).await;
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    check(2, &["diffmig.toml"]).await;
    std::fs::remove_dir(&path).unwrap();
    // A byte order mark and Windows line ends are no fault: the next thing is the connection.
    let text = format!("\u{feff}{}", whole.replace('\n', "\r\n"));
    std::fs::write(&path, text).unwrap();
    check(10, &["connection refused"]).await;
    for variable in ["DIFFMIG_SOURCE_URL", "DIFFMIG_TARGET_URL"] {
        let mut command = diffmig(directory.path(), &["analyze"]);
        let other = if variable.contains("SOURCE") {
            "DIFFMIG_TARGET_URL"
        } else {
            "DIFFMIG_SOURCE_URL"
        };
        command
            .env(other, "postgres://u@127.0.0.1:1/d")
            .env(variable, "");
        refused(&run(command).await, 2, &[variable]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f6_a_checkpoint_that_was_moved_skips_no_row() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    let mut child = bench.spawn(&["migrate", "--batch-size", "20", "-q"]);
    let began = Instant::now();
    while bench.in_target(BATCHES).await < 3 {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "no batch was committed"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let moved = "update diffmig.checkpoint set last_key = '[1999]', rows_done = 1999";
    bench.on(Side::Target, moved).await;
    let missing = "select 2000 - count(*) from items";
    assert!(
        bench.in_target(missing).await > 0,
        "the process was killed too late"
    );
    bench.migrate(0).await;
    assert_eq!(bench.in_target(missing).await, 0);
    bench
        .on(
            Side::Target,
            "update diffmig.checkpoint set last_key = '[\"nonsense\"]', rows_done = -5",
        )
        .await;
    bench
        .on(Side::Source, "insert into item values (2001, 'late')")
        .await;
    bench.migrate(0).await;
    assert_eq!(bench.in_target(missing).await, -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_rows_whose_ledger_is_lost_are_adopted_under_their_old_ids() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    bench.migrate(0).await;
    let ids = "select md5(string_agg(id::text, ',' order by legacy_id)) from items where legacy_id <= 2000";
    let before = bench.text_in_target(ids).await;
    bench
        .on(
            Side::Target,
            "delete from diffmig.ledger_items where k0 <= 500",
        )
        .await;
    bench
        .on(Side::Source, "update item set name = 'new' where id in (17, 1017); insert into item values (2001, 'late')")
        .await;
    let report = bench.migrate(0).await;
    let batches = &report["entities"][0]["batches"];
    assert_eq!(
        (
            &batches["identical"],
            &batches["updated"],
            &batches["inserted"]
        ),
        (&499.into(), &2.into(), &1.into()),
        "{report}"
    );
    assert_eq!(bench.text_in_target(ids).await, before);
    let names = "select count(*) from items where name = case when legacy_id in (17, 1017) then 'new' \
        when legacy_id = 2001 then 'late' else 'n' || legacy_id end";
    assert_eq!(bench.in_target(names).await, 2001);
    bench.writes_nothing_more(0).await;
    // All of it, table and all.
    bench
        .on(Side::Target, "drop table diffmig.ledger_items")
        .await;
    let report = bench.migrate(0).await;
    assert_eq!(report["entities"][0]["batches"]["identical"], 2001);
    assert_eq!(bench.text_in_target(ids).await, before);
    assert_eq!(bench.in_target("select count(*) from items").await, 2001);
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_control_schema_that_is_not_whole_or_not_ours_is_left_alone() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    bench.on(Side::Target, "create schema diffmig").await;
    refused(
        &bench.say(&["migrate"]).await,
        17,
        &["not a control schema"],
    );
    bench.on(Side::Target, "drop schema diffmig").await;
    execute(
        &mut bench.admin().await,
        "create schema diffmig; create table diffmig.installation (x integer)",
    )
    .await;
    refused(&bench.say(&["migrate"]).await, 12, &["diffmig"]);
    execute(&mut bench.admin().await, "drop schema diffmig cascade").await;
    bench.migrate(0).await;
    for table in ["lease", "quarantine"] {
        let script = format!("alter table diffmig.{table} rename to lost");
        bench.on(Side::Target, &script).await;
        for command in ["migrate", "detect"] {
            let said = bench.say(&[command]).await;
            refused(&said, 17, &["damaged", table, "backup"]);
        }
        bench
            .on(
                Side::Target,
                &format!("alter table diffmig.lost rename to {table}"),
            )
            .await;
    }
    bench.writes_nothing_more(0).await;
    bench.on(Side::Target, "drop schema diffmig cascade").await;
    assert_eq!(bench.in_target("select count(*) from items").await, 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_a_stored_detection_that_was_edited_or_comes_from_elsewhere_is_refused() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    bench.migrate(0).await;
    bench
        .on(
            Side::Source,
            "update item set name = 'new' where id <= 5; delete from item where id = 9",
        )
        .await;
    let detect = async || {
        let document = bench.ask(&["detect"], 0).await;
        document["detectionId"].as_str().unwrap().to_owned()
    };
    for edit in [
        "update diffmig.change set kind = 'deleted' where kind = 'modified'",
        "delete from diffmig.change where kind = 'deleted'",
        "insert into diffmig.change (detection_id, entity, ordinal, kind, key) \
         select detection_id, entity, 900, 'deleted', '[100]' from diffmig.change where kind = 'deleted'",
        "update diffmig.detection_entity set deleted = 0",
        "update diffmig.detection set mapping_digest = 'x'",
        "update diffmig.detection set source_identity = source_identity || '{\"system_identifier\": \"1\"}'",
        "update diffmig.detection set finished_at = null",
    ] {
        let id = detect().await;
        let edit = format!(
            "{edit} {} detection_id = {}",
            if edit.contains("where") {
                "and"
            } else {
                "where"
            },
            quote_literal(&id)
        );
        bench.on(Side::Target, &edit).await;
        let said = bench.say(&["migrate", "--detection-id", &id]).await;
        refused(&said, 14, &[&id, "nothing was applied", "diffmig detect"]);
    }
    assert_eq!(
        bench
            .in_target("select count(*) from items where name = 'new'")
            .await,
        0
    );
    let id = detect().await;
    bench.ask(&["migrate", "--detection-id", &id], 0).await;
    assert_eq!(
        bench
            .in_target("select count(*) from items where name = 'new'")
            .await,
        5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn f21_the_same_database_twice_is_refused_however_it_is_written() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    let socket = bench.workshop.target.socket_dir().display().to_string();
    let port = bench.workshop.target.port();
    let same = [
        bench.workshop.target_url(),
        bench.target_url_at("localhost", "sslmode=disable"),
        format!("postgres://supabase_admin@x:{port}/postgres?host={socket}"),
    ];
    // A hosted server may not tell its identity.
    let hide = "revoke execute on function pg_catalog.pg_control_system() from public";
    for secretive in [false, true] {
        if secretive {
            execute(&mut bench.admin().await, hide).await;
        }
        for url in &same {
            let mut command = bench.command(&["migrate"]);
            command.env("DIFFMIG_SOURCE_URL", url);
            refused(&run(command).await, 14, &["same database"]);
        }
    }
    let begun = "select count(*) from pg_namespace where nspname = 'diffmig'";
    assert_eq!(bench.in_target(begun).await, 0);
    bench.migrate(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f22_a_source_role_that_could_write_writes_nothing() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    // The owner of the legacy tables is a superuser.
    bench
        .on(Side::Source, "alter system set autovacuum = off")
        .await;
    bench.on(Side::Source, "select pg_reload_conf()").await;
    let state = "select txid_current()";
    let first = bench.in_source(state).await;
    for arguments in [
        &["analyze"][..],
        &["detect"],
        &["migrate"],
        &["migrate", "--dry-run"],
    ] {
        bench.ask(arguments, 0).await;
    }
    // Asking for a number takes one; whatever was written in between would have taken another.
    assert_eq!(
        bench.in_source(state).await,
        first + 1,
        "something was written in the source"
    );
    let left = "select count(*) from pg_class where relpersistence = 't'";
    assert_eq!(bench.in_source(left).await, 0);
}
