//! `doctor` on real servers: what stands in the way is found, all of it at once, and the printed lines mend it.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod access;
mod connections;
mod rows;
mod tables;

use crate::support::Bench;
use crate::support::command::run;
use serde_json::Value;

/// Lists `severity side code` of every finding, without repetition.
fn heads(document: &Value) -> Vec<String> {
    let findings = document["findings"].as_array().unwrap();
    let word = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
    let mut heads: Vec<String> = findings
        .iter()
        .map(|it| [word(it, "severity"), word(it, "side"), word(it, "code")].join(" "))
        .collect();
    heads.dedup();
    heads
}

/// Lists the findings with a code.
fn with_code<'a>(document: &'a Value, code: &str) -> Vec<&'a Value> {
    let findings = document["findings"].as_array().unwrap();
    findings.iter().filter(|it| it["code"] == code).collect()
}

/// Returns the only finding with a code.
fn only<'a>(document: &'a Value, code: &str) -> &'a Value {
    let found = with_code(document, code);
    assert_eq!(found.len(), 1, "{code} in {document:#}");
    found[0]
}

/// Returns the lines that mend a finding.
fn mend(finding: &Value) -> Vec<String> {
    let lines = finding["mend"].as_array().unwrap();
    lines
        .iter()
        .map(|it| it.as_str().unwrap().to_owned())
        .collect()
}

/// Writes down the values of a finding as `value=rows`.
fn values(finding: &Value) -> Vec<String> {
    let values = finding["values"].as_array().unwrap();
    let pair = |it: &Value| format!("{}={}", it["value"].as_str().unwrap_or("?"), it["rows"]);
    values.iter().map(pair).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixture_is_ready_and_its_planted_rows_are_known_beforehand() {
    let bench = Bench::day1().await;
    let written = "select sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint from pg_stat_user_tables";
    let before = (
        bench.in_source(written).await,
        bench.in_target(written).await,
    );
    let found = bench.ask(&["doctor"], 0).await;
    assert_eq!(
        (&found["version"], &found["command"]),
        (&1.into(), &"doctor".into())
    );
    assert_eq!(found["ready"], true, "{found:#}");
    assert_eq!(found["blockers"], 0);
    let listed = |severity: &str| {
        let findings = found["findings"].as_array().unwrap();
        let own = findings.iter().filter(|it| it["severity"] == severity);
        Value::from(own.count())
    };
    assert_eq!(found["warnings"], listed("warning"));
    assert_eq!(found["notes"], listed("note"));

    let codes = with_code(&found, "unknown-codes");
    let of = |object: &str| codes.iter().find(|it| it["object"] == object).unwrap();
    let unknown = bench
        .in_source("select count(*) from shop_ticket where status = 42")
        .await;
    assert_eq!(
        values(of("public.tickets.status")),
        [format!("42={unknown}")]
    );
    let shown = values(of("public.entries.target_kind"));
    assert!(
        shown[0].starts_with("17=") || shown[0].starts_with("99="),
        "{shown:?}"
    );
    let refunds = "select count(*) from shop_charge where not paid and refunded";
    let refunds = bench.in_source(refunds).await;
    let shown = values(only(&found, "no-case-applies"));
    let refunds = format!("paid = false, refunded = true={refunds}");
    assert!(shown.contains(&refunds), "{refunds} in {shown:?}");
    let shared = "select sum(n - 1)::bigint from (select count(*) as n from auth_user \
                  where not is_superuser and btrim(email) <> '' group by lower(btrim(email)) having count(*) > 1) e";
    let shared = bench.in_source(shared).await;
    let duplicates = with_code(&found, "duplicates");
    let emails = duplicates.iter().find(|it| it["entity"] == "profiles");
    let emails = emails.unwrap()["found"].as_str().unwrap();
    assert!(
        shared > 1 && emails.starts_with(&format!("{shared} rows")),
        "{shared}: {emails}"
    );
    assert_eq!(only(&found, "realtime-tables")["object"], "public.entries");

    // It looks, and nothing more.
    let after = (
        bench.in_source(written).await,
        bench.in_target(written).await,
    );
    assert_eq!(before, after);
    let schema = "select count(*) from pg_namespace where nspname = 'diffmig'";
    assert_eq!(bench.in_target(schema).await, 0);

    // What it foretells comes true.
    bench.migrate(3).await;
    let quarantined =
        "select count(*) from diffmig.quarantine where entity = 'tickets' and status = 'open'";
    assert!(bench.in_target(quarantined).await >= 2);
    bench.ask(&["doctor", "--entities", "recipes"], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_lets_warnings_decide_and_every_format_says_the_same() {
    let bench = Bench::with_tables(
        "create table item (id int primary key, s int); insert into item values (1, 7), (2, 0);",
        "create table items (id int primary key, s text);",
        "[entities.items]\nsource = \"item\"\ntarget = \"items\"\nid = { column = \"id\", strategy = \"same\" }\n\
         [entities.items.columns]\ns = { column = \"item.s\", codes = { 0 = \"a\" } }\n",
    )
    .await;
    bench.ask(&["doctor"], 0).await;
    let document = bench.ask(&["doctor", "--strict"], 12).await;
    assert_eq!(document["ready"], true);
    let said = bench.say(&["doctor", "--strict"]).await;
    assert_eq!(said.code, Some(12), "{said:?}");
    for part in [
        "target  postgres@127.0.0.1:",
        "warning mapping unknown-codes\n  public.items.s (items): 1 row of 2: a code",
        "    values: 7 (1 row)",
        "add to the codes: 7 = \"...\"",
    ] {
        assert!(said.stdout.contains(part), "no {part:?} in {}", said.stdout);
    }
    for part in [
        "error: ",
        "cause: 0 blockers, 2 warnings",
        "unknown-codes",
        "state: nothing was changed",
        "next: ",
    ] {
        assert!(said.stderr.contains(part), "no {part:?} in {}", said.stderr);
    }
    let csv = bench.say(&["doctor", "-o", "csv", "-q"]).await;
    assert_eq!(csv.code, Some(0), "{csv:?}");
    assert!(
        csv.stdout
            .starts_with("severity,side,code,entity,object,found,mend,values\n")
    );
    assert!(
        csv.stdout
            .contains("warning,mapping,unknown-codes,items,public.items.s,")
    );
    assert_eq!(csv.stderr, "");
    let unknown = bench.say(&["doctor", "--entities", "item"]).await;
    crate::support::tables::refused(&unknown, 2, &["did you mean `items`?"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_has_its_agreed_shape() {
    let bench = Bench::day1().await;
    let document = bench.ask(&["doctor"], 0).await;
    let names = |value: &Value| {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&document),
        [
            "blockers",
            "command",
            "examinedAt",
            "findings",
            "notes",
            "ready",
            "servers",
            "version",
            "warnings"
        ]
    );
    for server in document["servers"].as_array().unwrap() {
        assert_eq!(
            names(server),
            [
                "address",
                "bypassesRowSecurity",
                "database",
                "databaseBytes",
                "encoding",
                "frozenAge",
                "mayCreateSchema",
                "mayCreateTemporary",
                "maySetLogVerbosity",
                "maySetReplicationRole",
                "pooling",
                "role",
                "side",
                "standby",
                "superuser",
                "tls",
                "version"
            ]
        );
        assert_eq!(server["pooling"], "direct");
    }
    assert_eq!(document["servers"][1]["superuser"], false);
    assert_eq!(document["servers"][1]["bypassesRowSecurity"], true);
    for finding in document["findings"].as_array().unwrap() {
        assert_eq!(
            names(finding),
            [
                "code", "entity", "found", "mend", "object", "severity", "side", "values"
            ]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_does_not_fit_is_listed_at_once() {
    let bench = Bench::with_tables(
        "create table item (id int primary key, a int, b text, c timestamp); create table other (id int);",
        "create table items (id int primary key, a smallint not null, b text, need text not null);",
        "[entities.items]\nsource = \"item\"\ntarget = \"items\"\nid = { column = \"id\", strategy = \"same\" }\n\
         [entities.items.columns]\na = { expr = \"item.aa\" }\nbb = \"b\"\n\
         [entities.gone]\nsource = \"nothing\"\ntarget = \"items\"\nid = { column = \"id\", strategy = \"same\" }\n\
         [entities.gone.columns]\na = \"a\"\n\
         [entities.keyless]\nsource = { query = \"select id, x from other\", watch = [\"other\"] }\nkey = [\"id\"]\n\
         target = \"items\"\nid = { column = \"id\", strategy = \"same\" }\n[entities.keyless.columns]\na = \"id\"\n",
    )
    .await;
    let found = bench.ask(&["doctor"], 13).await;
    assert_eq!(found["ready"], false);
    let said: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["found"].as_str().unwrap())
        .collect();
    let said = said.join("\n");
    for part in [
        "`item` has no column `aa`",
        "public.items has no column `bb`",
        "no table public.nothing",
        "target column `need` is NOT NULL and has no rule",
        "source column `c` is neither mapped nor ignored",
        "describing the source query of keyless failed",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let unmapped = with_code(&found, "unmapped-column");
    assert!(
        unmapped.iter().all(|it| it["entity"] == "items"),
        "{found:#}"
    );
    assert!(!with_code(&found, "rule-refused").is_empty());
    assert_eq!(found["findings"][0]["side"], "mapping");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_mapping_or_url_hides_nothing_of_the_rest() {
    let bench = Bench::day1().await;
    std::fs::write(bench.mapping_path(), "version = 2\nnonsense = 1\n").unwrap();
    let mut command = bench.command(&["doctor", "--json", "-q"]);
    command.env("DIFFMIG_TARGET_URL", "postgres://nobody@db.example.com");
    let said = run(command).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    let heads = heads(&found);
    for head in ["blocker target bad-url", "blocker mapping mapping-invalid"] {
        assert!(heads.iter().any(|it| it == head), "no {head} in {heads:?}");
    }
    assert!(with_code(&found, "mapping-invalid").len() >= 3, "{found:#}");
    assert_eq!(found["servers"].as_array().unwrap().len(), 1);
    assert_eq!(found["servers"][0]["side"], "source");
    std::fs::remove_file(bench.mapping_path()).unwrap();
    let found = bench.ask(&["doctor"], 2).await;
    assert_eq!(found["servers"].as_array().unwrap().len(), 2);
    let missing = only(&found, "mapping-invalid")["found"].as_str().unwrap();
    assert!(missing.contains("no such file"), "{missing}");
}
