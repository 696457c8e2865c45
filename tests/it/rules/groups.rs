//! Rows that are one, where something else meets them: NULL keys, other references, rows that are there already.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::tables::refused;
use diffmig::domain::connection::Side;

const PEOPLE: &str = "[entities.people]\nsource = \"person\"\nas = \"p\"\ntarget = \"people\"\nlegacy = { id = \"old_id\" }\n\
     dedupe = { by = [\"lower(p.email)\"], prefer = [\"p.seen desc nulls last\"] }\nignore = [\"seen\"]\n\
     columns = { email = { column = \"p.email\", normalize = [\"lower\"] }, name = \"p.name\" }\n";

const VISITS: &str = "[entities.visits]\nsource = \"visit\"\nas = \"v\"\ntarget = \"visits\"\nlegacy = { id = \"old_id\" }\n\
     columns = { person_id = { ref = \"people\", by = \"v.person_id\" } }\n";

const SOURCE: &str = "create table person (id int, email text, seen date, name text); \
     create table visit (id int primary key, person_id int); \
     insert into person values (1, 'a@x', '2024-01-01', 'old'), (2, 'A@x', '2024-02-01', 'new'), (3, null, null, 'alone'); \
     insert into visit values (1, 1), (2, 2), (3, 3), (4, 5)";

const TARGET: &str = "create table people (id uuid primary key default gen_random_uuid(), old_id int, email text unique, name text); \
     create table visits (id uuid primary key default gen_random_uuid(), old_id int, person_id uuid references people)";

const VISITED: &str = "select string_agg(v.old_id || ' ' || p.name, ', ' order by v.old_id) \
     from public.visits v join public.people p on p.id = v.person_id";

async fn with_key() -> Bench {
    let source = SOURCE.replace("(id int,", "(id int primary key,");
    Bench::with_tables(&source, TARGET, &format!("{PEOPLE}{VISITS}")).await
}

#[tokio::test]
async fn a_row_waits_for_a_group_that_comes_later_and_stays_when_it_goes() {
    let bench = with_key().await;
    bench.migrate(3).await;
    assert_eq!(bench.text_in_target(VISITED).await, "1 new, 2 new, 3 alone");
    assert_eq!(bench.set_aside().await, ["visits 4 held 23503"]);
    // It is held again while its parent is absent, whatever else changes about it.
    bench
        .on(Side::Source, "update visit set person_id = 6 where id = 4")
        .await;
    bench.migrate(3).await;
    assert_eq!(bench.set_aside().await, ["visits 4 held 23503"]);
    // Its parent comes as one row more of a group that is there.
    bench
        .on(
            Side::Source,
            "insert into person values (6, 'a@X', null, 'third')",
        )
        .await;
    bench.migrate(0).await;
    assert_eq!(
        bench.text_in_target(VISITED).await,
        "1 new, 2 new, 3 alone, 4 new"
    );
    bench.ask(&["verify"], 0).await;
}

#[tokio::test]
async fn a_row_without_a_key_stops_the_command_and_is_not_made_one_with_others() {
    let mapping = format!("{PEOPLE}{VISITS}").replace("dedupe", "key = [\"id\"]\ndedupe");
    let bench = Bench::with_tables(SOURCE, TARGET, &mapping).await;
    bench
        .on(
            Side::Source,
            "insert into person values (null, 'b@x', null, 'none')",
        )
        .await;
    let said = bench.say(&["migrate", "-q"]).await;
    refused(&said, 13, &["people", "NULL"]);
    assert_eq!(
        bench.in_target("select count(*) from public.people").await,
        0
    );
}

#[tokio::test]
async fn rows_that_are_one_are_adopted_as_one() {
    let bench = with_key().await;
    bench
        .on(
            Side::Target,
            "insert into people (old_id, email, name) values (1, 'a@x', 'new'), (3, null, 'alone'); \
             insert into visits (old_id, person_id) select 2, id from people where old_id = 1",
        )
        .await;
    let before = bench
        .text_in_target("select string_agg(id::text, ',' order by old_id) from public.people")
        .await;
    let report = bench.ask(&["adopt"], 0).await;
    assert_eq!(report["adopted"], 3, "{report:#}");
    bench.migrate(3).await;
    let after = bench
        .text_in_target("select string_agg(id::text, ',' order by old_id) from public.people")
        .await;
    assert_eq!(after, before);
    assert_eq!(bench.text_in_target(VISITED).await, "1 new, 2 new, 3 alone");
    bench.ask(&["verify"], 3).await;
}

#[tokio::test]
async fn what_groups_and_rules_cannot_do_is_refused_before_anything_is_written() {
    let bench = with_key().await;
    let generic = "[entities.visits]\nsource = \"visit\"\ntarget = \"visits\"\n\
         columns = { person_id = { poly = { type = \"id\", id = \"person_id\", map = { 1 = \"people\" } } } }\n";
    let timed = PEOPLE.replace("ignore", "updated_at = \"p.seen\"\nignore");
    let column = |rule: &str| {
        format!(
            "[entities.people]\nsource = \"person\"\ntarget = \"people\"\nignore = [\"email\", \"seen\"]\n\
             columns = {{ name = {rule} }}\n"
        )
    };
    for (mapping, words) in [
        (
            format!("{PEOPLE}{generic}"),
            "which a generic reference cannot follow",
        ),
        (
            format!("{timed}{VISITS}"),
            "a time says nothing about the other rows",
        ),
        (
            column("{ column = \"name\", format = \"(\" }"),
            "cannot read the format",
        ),
    ] {
        bench.map(&mapping);
        refused(&bench.say(&["migrate", "-q"]).await, 13, &[words]);
    }
    let diffmig = "select count(*) from information_schema.tables where table_schema = 'diffmig' and table_name like 'ledger%'";
    assert_eq!(bench.in_target(diffmig).await, 0);
}
