//! Nights between which the databases change: what is said, what is suggested, and what becomes of the data.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod kept;
mod rules;
mod target;

use crate::support::Bench;
use crate::support::command::Said;
use diffmig::domain::connection::Side;
use serde_json::Value;

const SOURCE: &str = "
create type mood as enum ('calm', 'loud');
create table region (id integer primary key, name text not null);
create table person (id integer primary key, name varchar(40) not null, phone text, age integer,
    mood mood not null default 'calm', status text not null default 'draft',
    region_id integer references region (id), note text);
insert into region values (1, 'north'), (2, 'south');
insert into person select n, 'p' || n, '30' || n, n, 'calm', case when n % 2 = 0 then 'draft' else 'sent' end,
    1 + n % 2, 'n' || n from generate_series(1, 20) n;";

const TARGET: &str = "
create type mood as enum ('calm', 'loud', 'sad');
create type state as enum ('draft', 'sent');
create table regions (id uuid primary key, legacy_id integer, name text not null);
create table people (id uuid primary key, legacy_id integer, name varchar(40) not null, phone text, age integer,
    mood mood not null, status state not null, region_id uuid references regions (id));";

const MAPPING: &str = r#"
[entities.regions]
source = "region"
target = "regions"
legacy = { id = "legacy_id" }
[entities.regions.columns]
name = {}

[entities.people]
source = "person"
as = "p"
target = "people"
legacy = { id = "legacy_id" }
ignore = ["note"]           # nobody reads it
[entities.people.columns]
name = {}
phone = { column = "p.phone", normalize = ["digits"] }
age = {}
mood = {}
status = {}
region_id = { ref = "regions", by = "p.region_id" }
"#;

/// The first night is over.
async fn night() -> Bench {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    bench.migrate_with(&[], 0).await;
    bench
}

/// Applies a unified diff the way `patch` does, without any fuzz.
fn patched(text: &str, patch: &str) -> String {
    let old: Vec<&str> = text.lines().collect();
    let mut done: Vec<&str> = Vec::new();
    let mut at = 0;
    for line in patch.lines().skip(2) {
        let (sign, rest) = line.split_at(1);
        match sign {
            "@" => {
                let place = rest.split(['-', ',']).nth(1).unwrap();
                let start: usize = place.parse().unwrap();
                done.extend(&old[at..start - 1]);
                at = start - 1;
            }
            "+" => done.push(rest),
            _ => {
                assert_eq!(old[at], rest, "{patch}");
                at += 1;
                if sign == " " {
                    done.push(rest);
                }
            }
        }
    }
    done.extend(&old[at..]);
    done.join("\n") + "\n"
}

/// The names of a document's fields, in order.
fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// Changes as `breaking source person.phone column_renamed`.
fn changes(diff: &Value) -> Vec<String> {
    let all = diff["changes"].as_array().unwrap().iter();
    let words = |it: &Value| {
        let word = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
        let table = word("table").replace("public.", "");
        let name = word("name");
        let dot = if name.is_empty() { "" } else { "." };
        format!(
            "{} {} {table}{dot}{name} {}",
            word("severity"),
            word("side"),
            word("kind")
        )
    };
    all.map(words).collect()
}

impl Bench {
    fn mapping_text(&self) -> String {
        std::fs::read_to_string(self.mapping_path()).unwrap()
    }

    fn edit(&self, from: &str, to: &str) {
        let text = self.mapping_text();
        assert!(text.contains(from), "{text}");
        std::fs::write(self.mapping_path(), text.replace(from, to)).unwrap();
    }

    /// What `schema diff` lists, and how it ends.
    async fn drift(&self, code: i32) -> Vec<String> {
        changes(&self.ask(&["schema", "diff"], code).await)
    }

    /// Takes over what is suggested: the SQL into the target, the patch into the mapping.
    async fn follow(&self, flags: &[&str], code: i32) -> Value {
        let directory = self.directory.path().join("suggested");
        let mut arguments = vec!["schema", "suggest", "--write", "suggested"];
        arguments.extend(flags);
        let before = self.mapping_text();
        let suggestion = self.ask(&arguments, code).await;
        assert_eq!(
            self.mapping_text(),
            before,
            "a suggestion changed the mapping"
        );
        if let Some(file) = suggestion["sql"]["name"].as_str() {
            let sql = std::fs::read_to_string(directory.join(file)).unwrap();
            assert!(sql.ends_with("notify pgrst, 'reload schema';\n"), "{sql}");
            self.on(Side::Target, &sql).await;
        }
        if let Some(file) = suggestion["mapping"]["name"].as_str() {
            let patch = std::fs::read_to_string(directory.join(file)).unwrap();
            std::fs::write(self.mapping_path(), patched(&before, &patch)).unwrap();
        }
        std::fs::remove_dir_all(directory).unwrap();
        suggestion
    }

    /// A night that goes well, after which every row is what the mapping makes of it and nothing has changed.
    async fn settle(&self) -> Said {
        let said = self.say(&["migrate"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let proof = self.say(&["verify"]).await;
        assert_eq!(proof.code, Some(0), "{proof:?}");
        assert_eq!(self.drift(0).await, Vec::<String>::new());
        said
    }

    /// `migrate` and `detect` refuse, with these words.
    async fn refuses(&self, words: &[&str]) {
        for command in ["migrate", "detect"] {
            let said = self.say(&[command, "-q"]).await;
            crate::support::tables::refused(&said, 13, words);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_snapshot_the_databases_are_compared_with_the_mapping() {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    let said = bench.say(&["schema", "diff"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stderr.contains("no session has ended well yet"),
        "{said:?}"
    );
    bench
        .on(Side::Source, "alter table person add column email text")
        .await;
    let diff = bench.ask(&["schema", "diff"], 13).await;
    assert!(
        diff["source"].is_null() && diff["mappingPatch"].is_null(),
        "{diff}"
    );
    assert_eq!(diff["problems"].as_array().unwrap().len(), 1, "{diff}");
    let message = diff["problems"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("`email` is neither mapped nor ignored"),
        "{diff}"
    );
    let before = "select count(*) from pg_catalog.pg_namespace where nspname = 'diffmig'";
    assert_eq!(bench.in_target(before).await, 0, "looking made something");
    // A first suggestion needs no snapshot either.
    bench.follow(&[], 0).await;
    bench.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_renamed_and_dropped_source_columns_are_refused_by_name_and_followed() {
    let bench = night().await;
    bench
        .on(
            Side::Source,
            "alter table person add column email varchar(80);
             alter table person rename phone to telephone;
             alter table person rename region_id to area_id;
             alter table person drop column note;
             update person set email = 'x' || id where id < 4;",
        )
        .await;
    let found = bench.drift(13).await;
    let wanted = [
        "breaking source person.phone column_renamed",
        "breaking source person.region_id column_renamed",
        "breaking source person.note column_dropped",
        "loss source person.email column_added",
    ];
    assert_eq!(found, wanted);
    bench
        .refuses(&[
            "the databases have changed since session 1",
            "column phone of public.person was renamed to telephone",
            "column note of public.person was dropped",
            "column email of public.person is new",
            "add `email = {}` to [entities.people.columns], or \"email\" to its `ignore`",
            "diffmig schema suggest",
        ])
        .await;
    let suggestion = bench.follow(&[], 0).await;
    let sql = suggestion["sql"]["text"].as_str().unwrap();
    assert!(
        sql.contains("add column if not exists \"email\" character varying(80);"),
        "{sql}"
    );
    let name = suggestion["sql"]["name"].as_str().unwrap();
    let (time, what) = name.split_at(14);
    assert!(time.bytes().all(|it| it.is_ascii_digit()), "{name}");
    assert_eq!(what, "_diffmig_add_people_email.sql");
    for line in [
        "ignore = []           # nobody reads it",
        "phone = { column = \"p.telephone\", normalize = [\"digits\"] }",
        "region_id = { ref = \"regions\", by = \"p.area_id\" }",
        "email = {}",
    ] {
        assert!(
            bench.mapping_text().contains(line),
            "{}",
            bench.mapping_text()
        );
    }
    bench.settle().await;
    let filled = "select count(*) from people where email = 'x' || legacy_id";
    assert_eq!(bench.in_target(filled).await, 3);
    assert_eq!(
        bench
            .in_target("select count(*) from people where phone is null")
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_have_the_agreed_shape() {
    let bench = night().await;
    bench
        .on(
            Side::Source,
            "alter table person rename phone to telephone; alter table person add column email text",
        )
        .await;
    let diff = bench.ask(&["schema", "diff"], 13).await;
    let fields = [
        "version",
        "command",
        "source",
        "target",
        "severity",
        "changes",
        "problems",
        "mappingPatch",
        "accepted",
    ];
    assert_eq!(keys(&diff), fields);
    let fields = [
        "severity", "side", "table", "name", "kind", "was", "now", "entities", "what", "reason",
        "fix",
    ];
    assert_eq!(keys(&diff["changes"][0]), fields);
    assert_eq!(keys(&diff["source"]), ["session", "seenAt"]);
    assert_eq!(
        keys(&diff["problems"][0]),
        ["line", "path", "message", "hint"]
    );
    let csv = bench
        .say(&["schema", "diff", "-o", "csv", "-q"])
        .await
        .stdout;
    let head = "severity,side,table,name,kind,was,now,entities\n\
                breaking,source,public.person,phone,column_renamed,phone,telephone,people\n";
    assert!(csv.starts_with(head), "{csv}");
    let suggestion = bench.ask(&["schema", "suggest"], 0).await;
    assert_eq!(
        keys(&suggestion),
        [
            "version", "command", "mapping", "sql", "notes", "left", "written"
        ]
    );
    assert_eq!(keys(&suggestion["sql"]), ["name", "text"]);
    let csv = bench.say(&["schema", "suggest", "-o", "csv", "-q"]).await;
    assert!(
        csv.stdout.starts_with("name,text\ndiffmig.toml.patch,"),
        "{csv:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_source_columns_can_be_ignored_and_new_references_are_translated() {
    let bench = night().await;
    let new = "alter table person add column second_region integer references region (id);
               alter table region add column memo text;
               update person set second_region = 2 where id = 3;";
    bench.on(Side::Source, new).await;
    let suggestion = bench.ask(&["schema", "suggest", "--ignore-new"], 0).await;
    let patch = suggestion["mapping"]["text"].as_str().unwrap();
    assert!(
        patch.contains("+ignore = [\"note\", \"second_region\"]"),
        "{patch}"
    );
    assert!(patch.contains("+ignore = [\"memo\"]"), "{patch}");
    assert!(suggestion["sql"].is_null(), "{suggestion}");
    bench.follow(&[], 0).await;
    bench.settle().await;
    let translated = "select count(*) from people p join regions r on r.id = p.second_region
                      where p.legacy_id = 3 and r.legacy_id = 2";
    assert_eq!(bench.in_target(translated).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_source_column_leaves_what_it_has_given() {
    let bench = night().await;
    bench
        .on(
            Side::Source,
            "alter table person drop column age, drop column name",
        )
        .await;
    bench
        .refuses(&["column age of public.person was dropped"])
        .await;
    let suggestion = bench.follow(&[], 0).await;
    let sql = suggestion["sql"]["text"].as_str().unwrap();
    assert!(sql.contains("alter column \"name\" drop not null"), "{sql}");
    assert_eq!(
        suggestion["notes"].as_array().unwrap().len(),
        2,
        "{suggestion}"
    );
    bench
        .on(Side::Source, "insert into person (id) values (21)")
        .await;
    bench.settle().await;
    assert_eq!(bench.in_target("select count(age) from people").await, 20);
    assert_eq!(bench.in_target("select count(*) from people").await, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn wider_types_are_followed_without_conflicts() {
    let bench = night().await;
    bench
        .on(
            Side::Target,
            "alter table people alter column age type bigint",
        )
        .await;
    assert_eq!(
        bench.drift(0).await,
        ["harmless target people.age column_retyped"]
    );
    // The table was rewritten, so every row seems edited; one really was.
    bench
        .on(
            Side::Source,
            "update person set name = 'new' || id where id in (5, 6)",
        )
        .await;
    bench
        .on(
            Side::Target,
            "update people set name = 'edited' where legacy_id = 6",
        )
        .await;
    let report = bench.migrate(3).await;
    let people = &report["entities"][1]["batches"];
    assert_eq!(
        (&people["updated"], &people["conflicted"]),
        (&1.into(), &1.into()),
        "{report}"
    );
    bench
        .on(
            Side::Target,
            "update people set name = 'p6' where legacy_id = 6",
        )
        .await;
    bench.migrate_with(&[], 3).await;
    bench
        .ask(&["quarantine", "retry", "--entity", "people"], 0)
        .await;
    bench
        .on(Side::Source, "update person set name = 'p6' where id = 6")
        .await;
    bench.settle().await;

    bench
        .on(
            Side::Source,
            "alter table person alter age type numeric(12), alter name type varchar(60);
             update person set age = 7000000000, name = repeat('n', 50) where id = 7",
        )
        .await;
    let found = bench.drift(13).await;
    assert!(
        found.contains(&"loss source person.name column_retyped".to_owned()),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_became_larger_is_followed_by_the_target() {
    let bench = night().await;
    bench
        .on(
            Side::Source,
            "alter table person alter age type bigint, alter name type varchar(60);
             update person set age = 7000000000, name = repeat('n', 50) where id = 7",
        )
        .await;
    let wanted = [
        "loss source person.name column_retyped",
        "loss source person.age column_retyped",
    ];
    assert_eq!(bench.drift(13).await, wanted);
    bench.follow(&[], 0).await;
    bench.settle().await;
    let large = "select count(*) from people where age = 7000000000 and length(name) = 50";
    assert_eq!(bench.in_target(large).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_cannot_be_converted_waits_for_a_decision() {
    let bench = night().await;
    bench
        .on(
            Side::Source,
            "alter table person alter status drop default;
             alter table person alter status type integer using case status when 'draft' then 0 else 1 end",
        )
        .await;
    let found = bench.drift(13).await;
    assert_eq!(
        found[0], "breaking source person.status column_retyped",
        "{found:?}"
    );
    bench
        .refuses(&["column status of public.person was text and is integer"])
        .await;
    let suggestion = bench.follow(&[], 13).await;
    assert_eq!(
        suggestion["left"].as_array().unwrap().len(),
        1,
        "{suggestion}"
    );
    let text = bench.mapping_text();
    assert!(
        text.contains("# decide: no safe conversion from integer to state"),
        "{text}"
    );
    assert!(
        text.contains("#   codes = { ? = \"draft\", ? = \"sent\" }\nstatus = {}"),
        "{text}"
    );
    // Which code is which, only somebody who knows can say.
    bench.edit(
        "\nstatus = {}",
        "\nstatus = { codes = { 0 = \"draft\", 1 = \"sent\" } }",
    );
    bench.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_come_on_both_sides() {
    let bench = night().await;
    bench
        .on(Side::Target, "alter type mood add value 'glad'")
        .await;
    assert_eq!(
        bench.drift(0).await,
        ["harmless target people.mood label_added"]
    );
    bench
        .on(Side::Source, "alter type mood add value 'glad'")
        .await;
    let both = [
        "harmless source person.mood label_added",
        "harmless target people.mood label_added",
    ];
    assert_eq!(bench.drift(0).await, both);
    bench
        .on(Side::Source, "update person set mood = 'glad' where id = 2")
        .await;
    bench.settle().await;
    bench
        .on(Side::Source, "alter type mood add value 'angry'")
        .await;
    assert_eq!(
        bench.drift(13).await,
        ["loss source person.mood label_added"]
    );
    bench
        .on(
            Side::Source,
            "update person set mood = 'angry' where id = 3",
        )
        .await;
    let suggestion = bench.follow(&[], 0).await;
    let sql = suggestion["sql"]["text"].as_str().unwrap();
    assert!(
        sql.contains("alter type mood add value if not exists 'angry';"),
        "{sql}"
    );
    bench.settle().await;
    let new = "select count(*) from people where mood in ('glad', 'angry')";
    assert_eq!(bench.in_target(new).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_table_and_another_key_are_followed() {
    let bench = night().await;
    bench
        .on(Side::Source, "alter table region rename to area")
        .await;
    assert_eq!(
        bench.drift(13).await,
        ["breaking source region table_renamed"]
    );
    bench
        .refuses(&["table public.region was renamed to public.area"])
        .await;
    bench.follow(&[], 0).await;
    bench.settle().await;
    bench
        .on(
            Side::Source,
            "alter table person drop constraint person_pkey, add primary key (id, name)",
        )
        .await;
    assert_eq!(
        bench.drift(13).await,
        ["breaking source person key_changed"]
    );
    bench
        .refuses(&["the ledger of people has the old key"])
        .await;
    bench.follow(&[], 0).await;
    bench.settle().await;
}
