//! The examples of docs/mapping.md about whole entities, carried out over two days.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use super::page::{Statement, blocks, section, statements};
use crate::support::Bench;
use diffmig::domain::connection::Side;
use std::collections::BTreeSet;
use std::path::Path;

/// One example in an entity, and what becomes of it.
struct Example {
    /// As it stands in the documentation; in the entity, or behind it where it begins with a table.
    text: &'static str,
    entity: &'static str,
    /// The rest of the entity.
    rest: &'static str,
    source: &'static str,
    target: &'static str,
    /// What happens in the source before the second day.
    then: &'static str,
    /// A query of the target after it, and what it finds.
    asked: &'static str,
    found: &'static str,
}

const EXAMPLES: &[Example] = &[
    Example {
        text: r#"join = [{ table = "auth_user", as = "u", on = "u.id = c.user_id", kind = "inner" }]"#,
        entity: "accounts",
        rest: "source = \"account\"\nas = \"c\"\ntarget = \"accounts\"\ncolumns = { name = \"u.name\" }",
        source: "create table auth_user (id int primary key, name text); \
             create table account (id int primary key, user_id int); \
             insert into auth_user values (1, 'Ada'); insert into account values (1, 1), (2, 2), (3, null)",
        target: "create table accounts (id uuid primary key, name text)",
        then: "insert into auth_user values (2, 'Bob')",
        asked: "select string_agg(name, ' ' order by name) from public.accounts",
        found: "Ada Bob",
    },
    Example {
        text: r#"id = { strategy = "v5", namespace = "dns", name = "client:{id}" }"#,
        entity: "derived",
        rest: "source = \"derived\"\ntarget = \"derived\"\ncolumns = { x = \"x\" }",
        source: "create table derived (id int primary key, x int); insert into derived values (7, 1)",
        target: "create table derived (id uuid primary key, x int)",
        then: "update derived set x = 2",
        asked: "select id || ' ' || x from public.derived",
        // uuid.uuid5(uuid.NAMESPACE_DNS, "client:7") of Python.
        found: "11c2b43f-7506-530f-9c90-df91dcf109cf 2",
    },
    Example {
        text: r#"id = { strategy = "random" }"#,
        entity: "drawn",
        rest: "source = \"drawn\"\ntarget = \"drawn\"\ncolumns = { x = \"x\" }",
        source: "create table drawn (id int primary key, x int); insert into drawn values (7, 1)",
        target: "create table drawn (id uuid primary key, x int)",
        then: "update drawn set x = 2",
        asked: "select substr(id::text, 15, 1) || ' ' || x from public.drawn",
        found: "4 2",
    },
    Example {
        text: r#"match = ["email"]"#,
        entity: "members",
        rest: "source = \"member\"\ntarget = \"members\"\nconflict = \"source_wins\"\n\
             columns = { email = \"email\", name = \"name\" }",
        source: "create table member (id int primary key, email text, name text); \
             insert into member values (1, 'a@x', 'Ada'), (2, 'b@x', 'Bob')",
        target: "create table members (id uuid primary key default gen_random_uuid(), email text, name text, note text); \
             insert into members (email, name, note) values ('a@x', 'old', 'kept')",
        then: "update member set name = 'Ada L.' where id = 1",
        asked: "select string_agg(email || ' ' || name || ' ' || coalesce(note, '-'), ', ' order by email) from public.members",
        found: "a@x Ada L. kept, b@x Bob -",
    },
    Example {
        text: r#"match = ["workshop_id", "number"]"#,
        entity: "orders",
        rest: "source = \"orders\"\ntarget = \"orders\"\nconflict = \"source_wins\"\n\
             columns = { workshop_id = { ref = \"workshops\", by = \"workshop_id\" }, number = \"number\" }\n\
             [entities.workshops]\nsource = \"workshop\"\ntarget = \"workshops\"\nmatch = [\"name\"]\n\
             columns = { name = \"name\" }",
        source: "create table workshop (id int primary key, name text); insert into workshop values (1, 'one'); \
             create table orders (id int primary key, workshop_id int, number int); \
             insert into orders values (5, 1, 50), (6, 1, 60)",
        target: "create table workshops (id uuid primary key default gen_random_uuid(), name text); \
             create table orders (id uuid primary key default gen_random_uuid(), workshop_id uuid references workshops, \
             number int, note text); insert into workshops (name) values ('one'); \
             insert into orders (workshop_id, number, note) select id, 50, 'there before' from workshops",
        then: "delete from orders where id = 6",
        asked: "select string_agg(number || ' ' || coalesce(note, '-'), ', ' order by number) from public.orders",
        found: "50 there before, 60 -",
    },
    Example {
        text: r#"delete = "ignore""#,
        entity: "kept",
        rest: "source = \"kept\"\ntarget = \"kept\"\ncolumns = { x = \"x\" }",
        source: "create table kept (id int primary key, x int); insert into kept values (1, 1), (2, 2)",
        target: "create table kept (id uuid primary key, x int)",
        then: "delete from kept where id = 1",
        asked: "select string_agg(x::text, ' ' order by x) from public.kept",
        found: "1 2",
    },
    Example {
        text: r#"delete = "delete""#,
        entity: "dropped",
        rest: "source = \"dropped\"\ntarget = \"dropped\"\ncolumns = { x = \"x\" }",
        source: "create table dropped (id int primary key, x int); insert into dropped values (1, 1), (2, 2)",
        target: "create table dropped (id uuid primary key, x int)",
        then: "delete from dropped where id = 1",
        asked: "select string_agg(x::text, ' ' order by x) from public.dropped",
        found: "2",
    },
    Example {
        text: r#"dedupe = { by = ["lower(p.email)"], prefer = ["p.seen desc nulls last"] }"#,
        entity: "people",
        rest: "source = \"person\"\nas = \"p\"\ntarget = \"people\"\ncolumns = { name = \"p.name\" }\n\
             ignore = [\"email\", \"seen\"]",
        source: "create table person (id int primary key, email text, seen date, name text); \
             insert into person values (1, 'a@x', '2024-01-01', 'old'), (2, 'A@x', '2024-02-01', 'new'), (3, null, null, 'alone')",
        target: "create table people (id uuid primary key, name text)",
        then: "update person set seen = '2024-03-01', name = 'newer' where id = 1",
        asked: "select string_agg(name, ' ' order by name) from public.people",
        found: "alone newer",
    },
    Example {
        text: r#"
[[entities.clients.validate]]
column = "email"
rule = "required"

[[entities.clients.validate]]
column = "code"
rule = "format"
format = "^[a-z]+$"

[[entities.clients.validate]]
column = "price"
rule = "range"
min = 0
max = 99.5

[[entities.clients.validate]]
column = "slug"
rule = "unique"

[[entities.clients.validate]]
rule = "expr"
expr = "ends >= starts"
"#,
        entity: "clients",
        rest: "source = \"client\"\ntarget = \"clients\"\nignore = [\"starts\", \"ends\"]\n\
             columns = { email = {}, code = {}, price = {}, slug = {} }",
        source: "create table client (id int primary key, email text, code text, price numeric, slug text, starts int, ends int); \
             insert into client values (1, 'e', 'c', 0, 's1', 1, 1), (2, null, 'c', 1, 's2', 1, 1), \
             (3, 'e', 'C', 1, 's3', 1, 1), (4, 'e', 'c', 99.6, 's4', 1, 1), (5, 'e', 'c', 1, 's1', 1, 1), \
             (6, 'e', 'c', 1, 's6', 1, null), (7, 'e', null, null, null, 1, 1)",
        target: "create table clients (id uuid primary key, email text, code text, price numeric, slug text unique)",
        then: "update client set code = 'd' where id = 3",
        asked: "select string_agg(key ->> 0 || ' ' || sqlstate, ', ' order by key) from diffmig.quarantine \
             where entity = 'clients' and status = 'open'",
        found: "2 23502, 4 22003, 5 23505, 6 23514",
    },
];

fn mapping() -> String {
    let entities = EXAMPLES.iter().map(|it| {
        let (within, behind) = match it.text.trim_start().starts_with('[') {
            true => ("", it.text),
            false => (it.text, ""),
        };
        format!(
            "[entities.{}]\n{within}\n{}\n{behind}\n",
            it.entity, it.rest
        )
    });
    entities.collect()
}

#[tokio::test]
async fn every_example_about_entities_does_what_its_page_says() {
    let scripts = |of: fn(&Example) -> &'static str| {
        let scripts: Vec<&str> = EXAMPLES.iter().map(of).collect();
        scripts.join(";\n")
    };
    let (source, target) = (scripts(|it| it.source), scripts(|it| it.target));
    let bench = Bench::with_tables(&source, &target, &mapping()).await;
    bench.migrate(3).await;
    bench.on(Side::Source, &scripts(|it| it.then)).await;
    bench.migrate(3).await;
    for it in EXAMPLES {
        assert_eq!(
            bench.text_in_target(it.asked).await,
            it.found,
            "{}",
            it.text
        );
    }
    let proof = bench.ask(&["verify"], 3).await;
    for entity in proof["entities"].as_array().unwrap() {
        let faults = (&entity["mismatching"], &entity["missing"]);
        assert_eq!(faults, (&0.into(), &0.into()), "{entity}");
    }
}

/// The block about `adopt`, with the entities that it belongs to.
fn adopt_block() -> String {
    let page = section("Entities", "Columns");
    let found = blocks(&page)
        .into_iter()
        .find(|it| it.contains("adopt = false"));
    found.unwrap()
}

/// One row of each entity on both sides, and where it was noted.
fn half_migrated() -> (String, String) {
    let key = |table: &str, key: &str, row: &str| {
        format!("create table {table} ({key}, name text); insert into {table} values ({row}, 'n');")
    };
    let source = [
        key("client", "id int primary key", "1"),
        key("case_file", "id text primary key", "'k'"),
        key(
            "line",
            "order_no int, line_no int, primary key (order_no, line_no)",
            "3, 4",
        ),
        key("rate", "id int primary key", "1"),
        key("log", "id int primary key", "1"),
        key("teacher", "id int primary key", "1"),
    ];
    let table = |name: &str, more: &str| {
        format!(
            "create table {name} (id uuid primary key default gen_random_uuid(), name text{more}); insert into {name} (name) values ('n');"
        )
    };
    let target = [
        table("clients", ""),
        table("cases", ""),
        table("lines", ""),
        table("rates", ""),
        table("logs", ""),
        table("persons", ", kind text default 'teacher'"),
        "create table migration_mappings (legacy_table text, legacy_id text, new_id text); \
         create table case_map (case_no text, uuid uuid); create table line_map (order_no text, line_no int, uuid uuid); \
         insert into migration_mappings select 'client', '1', id::text from clients; \
         insert into migration_mappings select 'rate', '1', id::text from rates; \
         insert into migration_mappings select 'log', '1', id::text from logs; \
         insert into migration_mappings select 'teacher', '1', id::text from persons; \
         insert into case_map select 'k', id from cases; insert into line_map select '3', 4, id from lines;"
            .to_owned(),
    ];
    (source.concat(), target.concat())
}

#[tokio::test]
async fn the_example_about_adoption_finds_every_row() {
    let entities = [
        ("clients", "client", "clients"),
        ("cases", "case_file", "cases"),
        ("lines", "line", "lines"),
        ("rates", "rate", "rates"),
        ("logs", "log", "logs"),
        ("teachers", "teacher", "persons"),
    ];
    let mut mapping = adopt_block();
    for (entity, source, target) in entities {
        let head = format!("[entities.{entity}]\n");
        assert!(mapping.contains(&head), "{mapping}");
        let body = format!(
            "{head}source = \"{source}\"\ntarget = \"{target}\"\ncolumns = {{ name = \"name\" }}\n"
        );
        mapping = mapping.replace(&head, &body);
    }
    let (source, target) = half_migrated();
    let bench = Bench::with_tables(&source, &target, &mapping).await;
    let report = bench.ask(&["adopt"], 0).await;
    let found: Vec<(&str, i64)> = report["entities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            (
                it["entity"].as_str().unwrap(),
                it["identical"].as_i64().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("clients", 1),
        ("cases", 1),
        ("lines", 1),
        ("rates", 0),
        ("logs", 0),
        ("teachers", 1),
    ];
    assert_eq!(found, expected);
    bench.migrate(0).await;
    assert_eq!(
        bench.in_target("select count(*) from public.rates").await,
        2
    );
    assert_eq!(
        bench.in_target("select count(*) from public.lines").await,
        1
    );
}

/// The outline of a file: tables with `# ...` in them.
fn outline() -> String {
    blocks(&section("The file", "Entities")).concat()
}

#[tokio::test]
async fn the_outline_of_a_file_becomes_one() {
    let entity = "source = \"shop_client\"\ntarget = \"clients\"\n";
    let column =
        "status = { column = \"status\", codes = \"ticket_status\" }\nmade_at = \"made\"\n";
    let text = outline();
    assert_eq!(text.matches("# ...\n").count(), 2, "{text}");
    let text = text.replacen("# ...\n", entity, 1);
    let text = text.replacen("# ...\n", column, 1);
    let bench = Bench::with_tables(
        "create table shop_client (id int primary key, status int, made timestamp); \
         insert into shop_client values (1, 1, '2024-01-01 12:00'), (2, 9, null)",
        "create table clients (id uuid primary key, status text, made_at timestamptz); \
         create table migration_mappings (legacy_table text, legacy_id text, new_id text)",
        "",
    )
    .await;
    std::fs::write(bench.mapping_path(), text).unwrap();
    bench.migrate(3).await;
    let made = "select status || ' ' || (made_at at time zone 'UTC') from public.clients";
    assert_eq!(
        bench.text_in_target(made).await,
        "submitted 2024-01-01 19:00:00"
    );
    assert_eq!(bench.set_aside().await, ["clients 2 open 22023"]);
}

#[test]
fn every_example_about_entities_is_carried_out_by_a_test() {
    let mut carried_out = BTreeSet::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/diffmig.toml");
    let fixture: toml::Table = toml::from_str(&std::fs::read_to_string(fixture).unwrap()).unwrap();
    for entity in fixture["entities"].as_table().unwrap().values() {
        let keys = entity.as_table().unwrap().iter();
        let texts = keys.map(|(key, value)| {
            let alone = toml::Table::from_iter([(key.clone(), value.clone())]);
            Statement::of_table(&alone)
        });
        carried_out.extend(texts);
    }
    let whole = [adopt_block(), outline()];
    let written = EXAMPLES.iter().map(|it| it.text);
    for text in written.chain(whole.iter().map(String::as_str)) {
        carried_out.extend(statements(text).iter().filter_map(|it| Statement::of(it)));
    }
    let page = section("The file", "Columns");
    let never: Vec<String> = blocks(&page)
        .iter()
        .flat_map(|block| statements(block))
        .filter(|it| !carried_out.contains(&Statement::of(it).unwrap()))
        .collect();
    assert!(
        never.is_empty(),
        "examples that nothing carries out: {never:#?}"
    );
}
