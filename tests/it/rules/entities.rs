//! Rules of whole entities: ids and validations.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::tables::refused;
use diffmig::domain::connection::Side;

#[tokio::test]
async fn ids_are_derived_from_names_or_drawn_and_kept() {
    let bench = Bench::with_tables(
        "create table a (id int primary key, x int); create table b (id int primary key, a_id int); \
         insert into a values (7, 1), (8, 2); insert into b values (1, 7), (2, 8)",
        "create table a (id uuid primary key, x int); create table b (id uuid primary key, a_id uuid references a)",
        "[entities.a]\nsource = \"a\"\ntarget = \"a\"\ncolumns = { x = \"x\" }\n\
         id = { strategy = \"v5\", namespace = \"dns\", name = \"client:{id}\" }\n\
         [entities.b]\nsource = \"b\"\ntarget = \"b\"\nid = { strategy = \"random\" }\n\
         columns = { a_id = { ref = \"a\", by = \"a_id\" } }\n",
    )
    .await;
    bench.migrate(0).await;
    // uuid.uuid5(uuid.NAMESPACE_DNS, "client:7") of Python.
    let derived = "select id::text from public.a where x = 1";
    assert_eq!(bench.text_in_target(derived).await, UUID5);
    let drawn = "select string_agg(id::text, ',' order by id) from public.b";
    let before = bench.text_in_target(drawn).await;
    let versions = "select count(*) from public.b where substr(id::text, 15, 1) = '4'";
    assert_eq!(bench.in_target(versions).await, 2);
    let change = "update b set a_id = 8 where id = 1; update a set x = 3 where id = 7";
    bench.on(Side::Source, change).await;
    bench.migrate(0).await;
    assert_eq!(bench.text_in_target(drawn).await, before);
    bench.ask(&["verify"], 0).await;
}

const UUID5: &str = "11c2b43f-7506-530f-9c90-df91dcf109cf";

#[tokio::test]
async fn rows_that_break_a_validation_are_set_aside() {
    let validations = "[[entities.items.validate]]\ncolumn = \"name\"\nrule = \"required\"\n\
         [[entities.items.validate]]\ncolumn = \"code\"\nrule = \"format\"\nformat = \"^[a-z]+$\"\n\
         [[entities.items.validate]]\ncolumn = \"price\"\nrule = \"range\"\nmin = 0\nmax = 99.5\n\
         [[entities.items.validate]]\nrule = \"expr\"\nexpr = \"ends >= starts\"\n";
    let entity = "[entities.items]\nsource = \"item\"\ntarget = \"items\"\n\
         columns = { name = \"name\", code = \"code\", price = \"price\", starts = {}, ends = {} }\n";
    let bench = Bench::with_tables(
        "create table item (id int primary key, name text, code text, price numeric, starts date, ends date); \
         insert into item values (1, 'a', 'x', 1, '2024-01-01', '2024-01-01'), (2, null, 'x', 1, '2024-01-01', '2024-01-02'), \
         (3, 'a', 'X', 1, '2024-01-01', '2024-01-02'), (4, 'a', null, 99.6, '2024-01-01', '2024-01-02'), \
         (5, 'a', 'x', -1, '2024-01-01', '2024-01-02'), (6, 'a', 'x', null, '2024-01-02', '2024-01-01')",
        "create table items (id uuid primary key, name text, code text, price numeric, starts date, ends date)",
        &format!("{entity}{validations}"),
    )
    .await;
    bench.migrate(3).await;
    let aside = [
        "items 2 open 23502",
        "items 3 open 22023",
        "items 4 open 22003",
        "items 5 open 22003",
        "items 6 open 23514",
    ];
    assert_eq!(bench.set_aside().await, aside);
    bench
        .on(
            Side::Source,
            "update item set name = 'b', code = 'x', price = 5, ends = '2024-02-01'",
        )
        .await;
    bench.migrate(0).await;
    assert_eq!(
        bench.in_target("select count(*) from public.items").await,
        6
    );
    // Unique is the target's matter: it needs an index there, and then the duplicate is set aside.
    let unique = "[[entities.items.validate]]\ncolumn = \"name\"\nrule = \"unique\"\n";
    bench.map(&format!("{entity}{unique}"));
    let said = bench.say(&["analyze"]).await;
    refused(
        &said,
        13,
        &["no unique index of public.items makes `name` unique"],
    );
    bench.map(entity);
    bench
        .on(Side::Source, "update item set name = 'n' || id")
        .await;
    bench.migrate(0).await;
    bench
        .on(Side::Target, "create unique index on items (name)")
        .await;
    bench.map(&format!("{entity}{unique}"));
    bench
        .on(Side::Source, "update item set name = 'n1' where id = 2")
        .await;
    bench.migrate(3).await;
    assert_eq!(bench.set_aside().await, ["items 2 open 23505"]);
}
