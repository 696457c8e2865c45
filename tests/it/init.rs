//! `init`: what of a mapping it finds by itself, and that what it writes is a mapping.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use diffmig::domain::mapping::{ColumnRef, Entity, Mapping, Rule, SourceRelation, TemplatePart, parse};
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
        entities.find(|it| it.name == name).map_or_else(|| "?".to_owned(), |it| it.target.clone())
    };
    let name = |it: &ColumnRef| match &it.table {
        Some(alias) if *alias != entity.alias => format!("joined {}", it.column),
        _ => it.column.clone(),
    };
    let Some(rule) = entity.columns.iter().find(|it| it.target == column) else {
        let mut legacy = entity.legacy.iter();
        return legacy.find(|(_, target)| target == column).map(|(key, _)| format!("column {key}"));
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
        Rule::Reference { entity, by, .. } => format!("ref {} {}", table(entity), name(by)),
        Rule::Poly { type_column, id_column, .. } => {
            format!("poly {} {}", name(type_column), name(id_column))
        }
        #[allow(unreachable_patterns, reason = "rules that a draft never proposes")]
        _ => "other".to_owned(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn most_of_the_hand_written_mapping_is_found() {
    let bench = Bench::day1().await;
    let hand = parse(MAPPING).unwrap();
    let report = bench.ask(&["init", "--force"], 0).await;
    let text = std::fs::read_to_string(bench.mapping_path()).unwrap();
    println!("{text}");
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
                missed.push(format!("{}.{}: {wanted:?}, drafted {drafted:?}", entity.name, rule.target));
            }
        }
    }
    println!("entities: {entities} of {}", hand.entities.len());
    println!("column rules: {rules} of {all}");
    println!("{}", missed.join("\n"));
    let spurious = draft.entities.iter().filter(|it| {
        !hand.entities.iter().any(|own| counterpart(own, &draft).is_some_and(|found| found.name == it.name))
    });
    let spurious: Vec<&str> = spurious.map(|it| it.name.as_str()).collect();
    println!("proposed and not wanted: {spurious:?}");
    announced(&report);
}

/// Every problem that the check of the draft finds is announced in the draft, and the other way round.
fn announced(report: &serde_json::Value) {
    let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
    for entity in report["entities"].as_array().unwrap() {
        for todo in entity["todo"].as_array().unwrap() {
            let key = format!("entities.{}.{}", entity["entity"].as_str().unwrap(), todo["key"].as_str().unwrap());
            *wanted.entry(key).or_default() += 1;
        }
    }
    let problems = report["problems"].as_array().unwrap().iter();
    let found: BTreeSet<String> = problems.map(|it| it["key"].as_str().unwrap().to_owned()).collect();
    let wanted: BTreeSet<String> = wanted.into_keys().collect();
    assert_eq!(found, wanted, "{:#}", report["problems"]);
}
