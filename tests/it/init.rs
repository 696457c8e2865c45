//! `init`: what of a mapping it finds by itself, and that what it writes is a mapping.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::tables::refused;
use diffmig::domain::connection::Side;
use diffmig::domain::mapping::{
    ColumnRef, Entity, Mapping, Rule, SourceRelation, TemplatePart, parse,
};
use diffmig::service::workshop::MAPPING;
use std::collections::{BTreeMap, BTreeSet};

/// The tables that an entity reads.
fn sources(entity: &Entity) -> Vec<&str> {
    match &entity.source {
        SourceRelation::Table(name) => vec![name],
        SourceRelation::Query { watch, .. } => watch.iter().map(String::as_str).collect(),
    }
}

/// The hand-written and the drafted entity of the same source and target.
fn counterpart<'m>(hand: &Entity, draft: &'m Mapping) -> Option<&'m Entity> {
    let mut entities = draft.entities.iter();
    entities.find(|it| it.target == hand.target && sources(hand).contains(&sources(it)[0]))
}

/// What a rule does, without its fine adjustment: its kind and the columns that it reads. Target tables stand for
/// entities, whose names are free.
fn essence(mapping: &Mapping, entity: &Entity, column: &str) -> Option<String> {
    let table = |name: &str| {
        let mut entities = mapping.entities.iter();
        entities
            .find(|it| it.name == name)
            .map_or_else(|| "?".to_owned(), |it| it.target.clone())
    };
    let name = |it: &ColumnRef| match &it.table {
        Some(alias) if *alias != entity.alias => format!("joined {}", it.column),
        _ => it.column.clone(),
    };
    let Some(rule) = entity.columns.iter().find(|it| it.target == column) else {
        let mut legacy = entity.legacy.iter();
        return legacy
            .find(|(_, target)| target == column)
            .map(|(key, _)| format!("column {key}"));
    };
    Some(match &rule.rule {
        Rule::Column(it) if rule.codes.is_some() => format!("codes {}", name(it)),
        Rule::Column(it) => format!("column {}", name(it)),
        Rule::Const(it) => format!("const {it:?}"),
        Rule::Expr(it) => format!("expr {}", it.to_sql(&|column| column.column.clone())),
        Rule::Case { .. } => "case".to_owned(),
        Rule::Template { parts, .. } => {
            let holes = parts.iter().filter_map(|part| match part {
                TemplatePart::Hole(it, _) => Some(name(it)),
                TemplatePart::Text(_) => None,
            });
            format!("template {:?}", holes.collect::<Vec<_>>())
        }
        Rule::JsonParse { column, .. } => format!("json {}", name(column)),
        Rule::Reference { entity, by, .. } => format!("ref {} {}", table(entity), name(&by[0])),
        Rule::Poly {
            type_column,
            id_column,
            ..
        } => {
            format!("poly {} {}", name(type_column), name(id_column))
        }
        #[allow(unreachable_patterns, reason = "rules that a draft never proposes")]
        _ => "other".to_owned(),
    })
}

#[expect(
    clippy::print_stdout,
    reason = "the numbers are what the test measures"
)]
fn print(text: &str) {
    println!("{text}");
}

/// The share of the hand-written mapping that must be found: every entity, and this many of its column rules.
const RULES_FOUND: usize = 96;

#[tokio::test(flavor = "multi_thread")]
async fn most_of_the_hand_written_mapping_is_found() {
    let bench = Bench::day1().await;
    let hand = parse(MAPPING).unwrap();
    let report = bench.ask(&["init", "--force"], 0).await;
    let text = std::fs::read_to_string(bench.mapping_path()).unwrap();
    let draft = parse(&text).unwrap();
    let (mut entities, mut rules, mut all) = (0, 0, 0);
    let mut missed = Vec::new();
    for entity in &hand.entities {
        let found = counterpart(entity, &draft);
        entities += usize::from(found.is_some());
        for rule in &entity.columns {
            all += 1;
            let wanted = essence(&hand, entity, &rule.target);
            let drafted = found.and_then(|it| essence(&draft, it, &rule.target));
            if wanted == drafted {
                rules += 1;
            } else {
                missed.push(format!(
                    "  {}.{}: {wanted:?}, drafted {drafted:?}",
                    entity.name, rule.target
                ));
            }
        }
    }
    print(&format!(
        "entities: {entities} of {}\ncolumn rules: {rules} of {all}; not found:\n{}",
        hand.entities.len(),
        missed.join("\n")
    ));
    let wanted: BTreeSet<&str> = hand.entities.iter().map(|it| it.target.as_str()).collect();
    let proposed: BTreeSet<&str> = draft.entities.iter().map(|it| it.target.as_str()).collect();
    assert_eq!(proposed, wanted);
    assert_eq!(
        (entities, draft.entities.len()),
        (hand.entities.len(), hand.entities.len())
    );
    assert!(
        rules >= RULES_FOUND,
        "{rules} of {all}:\n{}",
        missed.join("\n")
    );
    announced(&report);
    // The codes that are there, each to be given a label; nothing else of the rows is in the file.
    assert!(
        text.contains("codes = { 0 = \"TODO\", 1 = \"TODO\", 2 = \"TODO\""),
        "{text}"
    );
    assert!(
        text.contains(
            "in the order of the labels: { 0 = \"info\", 1 = \"warning\", 2 = \"alert\" }"
        ),
        "{text}"
    );
    assert!(!text.contains('@'), "{text}");
    bench.ask(&["init", "--force", "--no-codes"], 0).await;
    let text = std::fs::read_to_string(bench.mapping_path()).unwrap();
    assert!(
        text.contains("codes = { \"?\" = \"TODO\" }") && !text.contains("0 = "),
        "{text}"
    );
}

const SHAPE: &str = "
    create table makers (id serial primary key, name text not null, code char(3) not null unique, best_id integer);
    create table items (
        id bigint primary key, maker_id integer not null references makers, title varchar(80) not null,
        mood mood, price numeric(10,2), tags text[], seen_at timestamptz, extra jsonb, \"Odd name\" text,
        updated_at timestamptz);
    alter table makers add foreign key (best_id) references makers;
    create table words (word text primary key, language char(2) not null);";

const ROWS: &str = "
    insert into makers values (1, 'One', 'ONE', null), (2, 'Two', 'TWO', 1);
    insert into items values (10, 1, 'Ten', 'calm', 1.50, '{a,b}', '2024-01-01T00:00:00Z', '{\"a\": 1}', 'odd', null),
                             (9000000000, 2, 'Large', null, null, null, null, null, null, '2024-02-01T00:00:00Z');
    insert into words values ('zebra', 'en'), ('Äpfel', 'de');";

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_for_schemas_of_one_shape_runs_as_it_is() {
    let schema = format!("create type mood as enum ('calm', 'wild'); {SHAPE}");
    let bench = Bench::with_tables(&format!("{schema} {ROWS}"), &schema, "").await;
    std::fs::remove_file(bench.mapping_path()).unwrap();
    let report = bench.ask(&["init"], 0).await;
    assert_eq!(
        report["problems"].as_array().unwrap().len(),
        0,
        "{report:#}"
    );
    let names = |list: &str| {
        let entities = report[list].as_array().unwrap().iter();
        entities
            .map(|it| it["entity"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("entities"), ["makers", "items", "words"]);
    assert_eq!(report["entities"][1]["id"]["strategy"], "same");
    assert_eq!(report["entities"][1]["updatedAt"], "updated_at");
    assert!(report["entities"][0]["score"].as_f64().unwrap() > 0.9);
    has_its_shape(&report);
    let detected = bench.ask(&["detect"], 0).await;
    assert_eq!(detected["changes"], 6);
    bench.migrate(0).await;
    let verified = bench.ask(&["verify"], 0).await;
    assert_eq!(verified["proved"], true, "{verified}");
    bench
        .on(
            Side::Source,
            "update items set title = 'Eleven', \"Odd name\" = null where id = 10",
        )
        .await;
    assert_eq!(bench.ask(&["detect"], 0).await["changes"], 1);
    bench.migrate(0).await;
    assert_eq!(bench.ask(&["verify"], 0).await["proved"], true);
    let title = bench
        .text_in_target("select title || coalesce(\"Odd name\", '-') from items where id = 10")
        .await;
    assert_eq!(title, "Eleven-");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_replaced_only_when_asked_and_nothing_is_left_beside_it() {
    let bench = Bench::with_tables(
        "create table a (id int primary key)",
        "create table a (id int primary key)",
        "# mine",
    )
    .await;
    let text = || std::fs::read_to_string(bench.mapping_path()).unwrap();
    let files = || std::fs::read_dir(bench.directory.path()).unwrap().count();
    refused(
        &bench.say(&["init"]).await,
        2,
        &["exists already", "--force"],
    );
    assert!(text().ends_with("# mine"));
    let said = bench.say(&["init", "--force"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        text().contains("[entities.a]") && said.stderr.contains("wrote diffmig.toml"),
        "{said:?}"
    );
    assert_eq!(files(), 1);
    // A dangling link is a file too.
    std::os::unix::fs::symlink("nowhere", bench.directory.path().join("link.toml")).unwrap();
    refused(
        &bench.say(&["init", "-c", "link.toml"]).await,
        2,
        &["exists already"],
    );
    refused(
        &bench.say(&["init", "-c", "no/such/place.toml"]).await,
        2,
        &["cannot write"],
    );
    let said = bench.say(&["init", "-c", "new.toml", "-o", "csv"]).await;
    assert_eq!(
        said.stdout,
        "entity,source,target,score,rules,ignored,todo\na,public.a,public.a,0.90,0,0,0\n"
    );
    assert_eq!(files(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_users_own_tables_are_proposed() {
    let source = "create schema old; create table old.users (id int primary key, email text);
                  create table old.part (id int, at date, primary key (id, at)) partition by range (at);
                  create table old.part_1 partition of old.part default;
                  create view old.parts as select 1 as id;";
    let target = "create schema shop; create table shop.users (id uuid primary key, email text, part_id uuid, legacy_user_id int);
                  create table shop.part_1 (id uuid primary key);
                  create table shop.owners (id uuid primary key, user_id uuid not null references auth.users);";
    let bench = Bench::with_tables(source, target, "").await;
    let init = |flags: &[&'static str]| {
        let mut all = vec!["init", "--force"];
        all.extend(flags);
        all
    };
    refused(
        &bench.say(&init(&["--target-schema", "auth"])).await,
        2,
        &["auth", "--target-schema"],
    );
    refused(
        &bench.say(&init(&[])).await,
        13,
        &["no table in the schema public", "--schema"],
    );
    refused(
        &bench
            .say(&init(&["--schema", "old", "--target-schema", "nope"]))
            .await,
        13,
        &["--target-schema"],
    );
    let wrong = init(&[
        "--schema",
        "old",
        "--target-schema",
        "shop",
        "--time-zone",
        "Mars/Base",
    ]);
    refused(&bench.say(&wrong).await, 13, &["Mars/Base"]);
    let report = bench
        .ask(&init(&["--schema", "old", "--target-schema", "shop"]), 0)
        .await;
    let entities: Vec<&str> = report["entities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["source"].as_str().unwrap())
        .collect();
    assert_eq!(entities, ["old.part", "old.users"], "{report:#}");
    let text = std::fs::read_to_string(bench.mapping_path()).unwrap();
    assert!(
        text.contains("schema = \"old\"") && text.contains("#   owners:"),
        "{text}"
    );
    assert!(!text.contains("auth"), "{text}");
    announced(&report);
    let said = bench.say(&["migrate", "--dry-run"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// Every problem that the check of the draft finds is announced in the draft, and the other way round.
fn announced(report: &serde_json::Value) {
    let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
    for entity in report["entities"].as_array().unwrap() {
        for todo in entity["todo"].as_array().unwrap() {
            let key = format!(
                "entities.{}.{}",
                entity["entity"].as_str().unwrap(),
                todo["key"].as_str().unwrap()
            );
            *wanted.entry(key).or_default() += 1;
        }
    }
    let problems = report["problems"].as_array().unwrap().iter();
    let found: BTreeSet<String> = problems
        .map(|it| it["key"].as_str().unwrap().to_owned())
        .collect();
    let wanted: BTreeSet<String> = wanted.into_keys().collect();
    assert_eq!(found, wanted, "{:#}", report["problems"]);
}

fn keys(value: &serde_json::Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

/// The names of docs/json-output.md.
fn has_its_shape(report: &serde_json::Value) {
    let document = [
        "command",
        "config",
        "entities",
        "problems",
        "sourceSchema",
        "targetSchema",
        "timeZone",
        "unmatchedSources",
        "unmatchedTargets",
        "version",
    ];
    assert_eq!(keys(report), document);
    let entity = &report["entities"][1];
    let wanted = [
        "columns",
        "entity",
        "hints",
        "id",
        "ignore",
        "join",
        "key",
        "left",
        "legacy",
        "reasons",
        "score",
        "source",
        "target",
        "todo",
        "updatedAt",
    ];
    assert_eq!(keys(entity), wanted);
    assert_eq!(
        keys(&entity["id"]),
        ["column", "reason", "strategy", "time"]
    );
    let column = &entity["columns"][0];
    assert_eq!(keys(column), ["column", "reason", "rule", "score"]);
    assert_eq!(
        column["rule"],
        serde_json::json!({ "kind": "ref", "entity": "makers", "by": "maker_id", "isSoft": false })
    );
}
