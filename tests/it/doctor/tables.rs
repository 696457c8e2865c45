//! Tables of both sides: indexes, triggers, publications, sequences.

use super::{mend, only, with_code};
use crate::support::Bench;
use crate::support::tables::execute;
use diffmig::domain::connection::Side;

#[tokio::test(flavor = "multi_thread")]
async fn indexes_that_are_missing_are_named_and_the_printed_lines_make_them() {
    let bench = Bench::with_tables(
        "create table item (id int, parent_no int, changed timestamptz);
         create table parent (id int primary key, no int);
         insert into item select i, i, now() from generate_series(1, 2000) i;
         insert into parent select i, i from generate_series(1, 2000) i;
         analyze item, parent;",
        "create table parents (id int primary key);
         create table items (id int primary key, parent_id int references parents);",
        "[entities.parents]\nsource = \"parent\"\ntarget = \"parents\"\ndelete = \"delete\"\nignore = [\"no\"]\n\
         id = { column = \"id\", strategy = \"same\" }\n\
         [entities.items]\nsource = \"item\"\nas = \"i\"\nkey = [\"id\"]\ntarget = \"items\"\nupdated_at = \"i.changed\"\n\
         join = [{ table = \"parent\", as = \"p\", on = \"p.no = i.parent_no\" }]\n\
         id = { column = \"id\", strategy = \"same\" }\n[entities.items.columns]\n\
         parent_id = { ref = \"parents\", by = \"p.id\" }\n",
    )
    .await;
    let found = bench.ask(&["doctor"], 0).await;
    for (code, severity, table) in [
        ("source-key-without-index", "warning", "public.item"),
        ("source-join-without-index", "warning", "public.parent"),
        ("watermark-without-index", "note", "public.item"),
    ] {
        let finding = only(&found, code);
        assert_eq!(finding["severity"], severity, "{finding:#}");
        assert_eq!(finding["object"], table);
        bench.on(Side::Source, &mend(finding)[0]).await;
    }
    let hint = only(&found, "watermark-without-index")["found"]
        .as_str()
        .unwrap();
    assert!(hint.contains("xmin"), "{hint}");
    // Deleting a parent would read the whole table.
    let finding = only(&found, "foreign-key-without-index");
    assert_eq!(finding["severity"], "warning");
    bench.on(Side::Target, &mend(finding)[0]).await;
    let found = bench.ask(&["doctor"], 0).await;
    for finding in found["findings"].as_array().unwrap() {
        let code = finding["code"].as_str().unwrap();
        assert!(!code.ends_with("without-index"), "{finding:#}");
    }
}

const PLAIN: (&str, &str) = (
    "create table item (id int primary key, a text);",
    "[entities.items]\nsource = \"item\"\ntarget = \"items\"\nid = { column = \"id\", strategy = \"same\" }\n\
     [entities.items.columns]\na = {}\n",
);

#[tokio::test(flavor = "multi_thread")]
async fn whoever_notices_each_row_is_named() {
    let bench = Bench::with_tables(
        PLAIN.0,
        "create table items (id int primary key, a text);
         create function hook() returns trigger language plpgsql as
           $$ begin perform net.http_post(url := 'http://example.com'); return null; end $$;
         create function touch() returns trigger language plpgsql as $$ begin return new; end $$;
         create trigger tell after insert on items for each row execute function hook();
         create trigger touch before update on items for each row execute function touch();
         create trigger off before update on items for each row execute function touch();
         alter table items disable trigger off;
         create trigger gone after delete on items for each row execute function touch();
         alter publication supabase_realtime add table items;",
        PLAIN.1,
    )
    .await;
    let found = bench.ask(&["doctor"], 0).await;
    let webhook = only(&found, "webhook-triggers");
    assert!(webhook["found"].as_str().unwrap().contains("tell"));
    let others = only(&found, "row-triggers")["found"].as_str().unwrap();
    assert!(others.ends_with("touch (public.touch)"), "{others}");
    for code in ["webhook-triggers", "realtime-tables"] {
        bench.on(Side::Target, &mend(only(&found, code))[0]).await;
    }
    let found = bench.ask(&["doctor"], 0).await;
    assert!(with_code(&found, "webhook-triggers").is_empty());
    assert!(with_code(&found, "realtime-tables").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_table_without_replica_identity_refuses_updates_and_is_mended() {
    let bench = Bench::with_tables(
        PLAIN.0,
        "create table items (id int unique, a text); create publication feed for table items;",
        PLAIN.1,
    )
    .await;
    let found = bench.ask(&["doctor"], 13).await;
    let finding = only(&found, "no-replica-identity");
    bench.on(Side::Target, &mend(finding)[0]).await;
    let found = bench.ask(&["doctor"], 0).await;
    assert_eq!(only(&found, "published-tables")["severity"], "note");
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_and_unlogged_tables_of_the_target_are_looked_at() {
    let bench = Bench::with_tables(
        PLAIN.0,
        "create sequence numbers; create unlogged table items (id int primary key default nextval('numbers'), a text);",
        PLAIN.1,
    )
    .await;
    let found = bench.ask(&["doctor"], 0).await;
    for code in ["sequence-not-owned", "unlogged-table"] {
        bench.on(Side::Target, &mend(only(&found, code))[0]).await;
    }
    let found = bench.ask(&["doctor"], 0).await;
    assert!(
        with_code(&found, "sequence-not-owned").is_empty(),
        "{found:#}"
    );
    assert!(with_code(&found, "unlogged-table").is_empty());
    // A sequence of somebody else cannot be moved.
    let mut admin = bench.admin().await;
    execute(
        &mut admin,
        "create role writer login bypassrls password 'workshop'; grant all on database postgres to writer; \
         grant select, insert, update on items to writer",
    )
    .await;
    let mut command = bench.command(&["doctor", "--json", "-q"]);
    let url = bench
        .workshop
        .target
        .url_with_password("writer", "workshop", "postgres");
    command.env("DIFFMIG_TARGET_URL", url);
    let said = crate::support::command::run(command).await;
    assert_eq!(said.code, Some(12), "{said:?}");
    assert!(
        said.stdout
            .contains("grant usage, select, update on sequence \\\"public\\\".\\\"numbers\\\""),
        "{}",
        said.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_load_adds_shrinks_with_what_is_there() {
    let bench = Bench::with_tables(
        "create table item (id int primary key, a text);
         insert into item select i, repeat('x', 200) from generate_series(1, 5000) i; analyze item;",
        "create table items (id int primary key, a text);",
        PLAIN.1,
    )
    .await;
    let found = bench.ask(&["doctor"], 0).await;
    let estimate = only(&found, "disk-estimate")["found"].as_str().unwrap();
    assert!(estimate.contains("5000 ledger rows"), "{estimate}");
    assert!(estimate.contains("MB to the target"), "{estimate}");
    bench.migrate(0).await;
    let found = bench.ask(&["doctor"], 0).await;
    let estimate = only(&found, "disk-estimate")["found"].as_str().unwrap();
    assert!(
        estimate.starts_with("the load adds about 0 bytes"),
        "{estimate}"
    );
}
