//! References through other rows, and rows that are one.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use super::VIA;
use crate::support::Bench;
use crate::support::tables::refused;
use diffmig::domain::connection::Side;

#[tokio::test]
async fn a_reference_goes_through_other_source_rows() {
    let mapping = format!(
        "[entities.tickets]\nsource = \"ticket\"\ntarget = \"tickets\"\ncolumns = {{ title = \"title\" }}\n\
         [entities.estimates]\nsource = \"estimate\"\ntarget = \"estimates\"\nignore = [\"ticket_id\"]\n\
         columns = {{ total = \"total\" }}\n\
         [entities.messages]\nsource = \"message\"\nas = \"m\"\ntarget = \"messages\"\nlegacy = {{ id = \"old_id\" }}\n\
         columns = {{ ticket_id = {VIA} }}\n"
    );
    let bench = Bench::with_tables(
        "create table ticket (id int primary key, title text); \
         create table estimate (id int primary key, ticket_id int, total numeric); \
         create table message (id int primary key, estimate_id int); \
         insert into ticket values (1, 'one'), (2, 'two'); \
         insert into estimate values (10, 1, 5), (11, null, 6); \
         insert into message values (100, 10), (101, 11), (102, null), (103, 12)",
        "create table tickets (id uuid primary key, title text); \
         create table estimates (id uuid primary key, total numeric); \
         create table messages (id uuid primary key, old_id int, ticket_id uuid references tickets)",
        &mapping,
    )
    .await;
    let titles = "select string_agg(m.old_id || ' ' || coalesce(t.title, 'none'), ', ' order by m.old_id) \
                  from public.messages m left join public.tickets t on t.id = m.ticket_id";
    bench.migrate(3).await;
    assert_eq!(
        bench.text_in_target(titles).await,
        "100 one, 101 none, 102 none"
    );
    assert_eq!(bench.set_aside().await, ["messages 103 open 23503"]);
    // The rows on the way belong to the message: a change there is a change of it.
    let moved =
        "update estimate set ticket_id = 2 where id = 10; insert into estimate values (12, 2, 7)";
    bench.on(Side::Source, moved).await;
    bench.migrate(0).await;
    assert_eq!(
        bench.text_in_target(titles).await,
        "100 two, 101 none, 102 none, 103 two"
    );
    bench.ask(&["verify"], 0).await;
}

#[tokio::test]
async fn a_way_that_leads_nowhere_is_refused_with_its_place() {
    let mapping = |via: &str| {
        format!(
            "[entities.tickets]\nsource = \"ticket\"\ntarget = \"tickets\"\ncolumns = {{ title = \"title\" }}\n\
             [entities.messages]\nsource = \"message\"\nas = \"m\"\ntarget = \"messages\"\n\
             columns = {{ ticket_id = {{ ref = \"tickets\", by = \"m.estimate_id\", via = [\"{via}\"] }} }}\n"
        )
    };
    let bench = Bench::with_tables(
        "create table ticket (id int primary key, title text); \
         create table estimate (id int primary key, ticket_id int, word text); \
         create table named (word text primary key, ticket_id int); \
         create table message (id int primary key, estimate_id int)",
        "create table tickets (id uuid primary key, title text); \
         create table messages (id uuid primary key, ticket_id uuid)",
        &mapping("estimate.tiket_id"),
    )
    .await;
    let said = bench.say(&["analyze"]).await;
    refused(
        &said,
        13,
        &[
            "columns.ticket_id.via",
            "public.estimate has no column `tiket_id`",
            "`ticket_id`",
        ],
    );
    for (via, words) in [
        ("estimates.ticket_id", "no table public.estimates"),
        ("named.ticket_id", "the key of public.named is text"),
        (
            "estimate.word",
            "`word` is text, but the parent's key is bigint",
        ),
    ] {
        bench.map(&mapping(via));
        refused(&bench.say(&["analyze"]).await, 13, &[words]);
    }
    // A source table that is no entity is found by its own name.
    bench.map(&mapping("estimate.ticket_id"));
    bench.ask(&["analyze"], 0).await;
}

#[tokio::test]
async fn rows_that_are_one_become_one_row_and_all_references_lead_there() {
    let bench = Bench::with_tables(
        "create table person (id int primary key, email text, seen date, name text); \
         create table visit (id int primary key, person_id int, friend_id int); \
         insert into person values (1, 'a@x.org', '2024-01-01', 'old Ada'), (2, 'A@x.org', '2024-02-01', 'Ada'), \
         (3, null, null, 'nobody'), (4, null, null, 'nobody else'), (5, 'b@x.org', null, 'Bob'), \
         (6, 'gone@x.org', null, 'hidden'); \
         insert into visit values (1, 1, null), (2, 2, 5), (3, 3, 1), (4, 9, 4)",
        "create table people (id uuid primary key, old_id int, email text unique, name text); \
         create table visits (id uuid primary key, old_id int, person_id uuid not null references people, \
         friend_id uuid references people)",
        "[entities.people]\nsource = \"person\"\nas = \"p\"\ntarget = \"people\"\nlegacy = { id = \"old_id\" }\n\
         where = \"p.name <> 'hidden'\"\ndelete = \"delete\"\n\
         dedupe = { by = [\"lower(p.email)\"], prefer = [\"p.seen desc nulls last\"] }\n\
         columns = { email = { column = \"p.email\", normalize = [\"lower\"] }, name = \"p.name\" }\n\
         [entities.visits]\nsource = \"visit\"\nas = \"v\"\ntarget = \"visits\"\nlegacy = { id = \"old_id\" }\n\
         columns = { person_id = { ref = \"people\", by = \"v.person_id\" }, \
         friend_id = { ref = \"people\", by = \"v.friend_id\", missing = \"null\" } }\n",
    )
    .await;
    let visits = "select string_agg(v.old_id || ' ' || p.name || ' ' || coalesce(f.name, '-'), ', ' order by v.old_id) \
                  from public.visits v join public.people p on p.id = v.person_id \
                  left join public.people f on f.id = v.friend_id";
    let report = bench.migrate(3).await;
    assert_eq!(report["entities"][0]["detected"]["filtered"], 2, "{report}");
    assert_eq!(
        bench.in_target("select count(*) from public.people").await,
        4
    );
    let before = "1 Ada -, 2 Ada Bob, 3 nobody Ada";
    assert_eq!(bench.text_in_target(visits).await, before);
    assert_eq!(bench.set_aside().await, ["visits 4 held 23503"]);
    bench.ask(&["verify"], 3).await;
    // Another row is preferred, in a night that reads only what changed: the target row stays the same one.
    let id = "select id::text from public.people where email = 'a@x.org'";
    let ada = bench.text_in_target(id).await;
    let moved = "update person set seen = '2024-03-01' where id = 1; insert into person values (9, null, null, 'nine')";
    bench.on(Side::Source, moved).await;
    bench.ask(&["migrate", "--mode", "xmin"], 0).await;
    let after = "1 old Ada -, 2 old Ada Bob, 3 nobody old Ada, 4 nine nobody else";
    assert_eq!(bench.text_in_target(visits).await, after);
    assert_eq!(bench.text_in_target(id).await, ada);
    bench.ask(&["verify"], 0).await;
    // A row leaves its group and stands alone; who refers to it follows.
    bench
        .on(
            Side::Source,
            "update person set email = 'c@x.org' where id = 2",
        )
        .await;
    bench.migrate(0).await;
    let after = "1 old Ada -, 2 Ada Bob, 3 nobody old Ada, 4 nine nobody else";
    assert_eq!(bench.text_in_target(visits).await, after);
    assert_eq!(bench.text_in_target(id).await, ada);
    bench.ask(&["verify"], 0).await;
    let again = bench.migrate(0).await;
    assert_eq!(again["entities"][0]["batches"]["rowsIn"], 0, "{again}");
}

#[tokio::test]
async fn a_group_is_not_joined_by_the_key_of_another_of_its_rows() {
    let mapping = |join: &str, more: &str| {
        format!(
            "[entities.people]\nsource = \"person\"\nas = \"p\"\ntarget = \"people\"\n{more}\
             dedupe = {{ by = [\"p.email\"] }}\nignore = [\"seen\", \"home\"]\n\
             join = [{{ table = \"profile\", as = \"o\", on = \"{join}\" }}]\n\
             columns = {{ email = \"p.email\", phone = \"o.phone\" }}\n"
        )
    };
    let bench = Bench::with_tables(
        "create table person (no int primary key, email text, seen timestamptz, home int); \
         create table profile (person_no int primary key, phone text)",
        "create table people (id uuid primary key, email text, phone text)",
        &mapping("o.person_no = p.no", ""),
    )
    .await;
    let said = bench.say(&["analyze"]).await;
    refused(&said, 13, &["a join on the key would find another row"]);
    bench.map(&mapping(
        "o.person_no = p.home",
        "updated_at = \"p.seen\"\n",
    ));
    let said = bench.say(&["analyze"]).await;
    refused(&said, 13, &["a time says nothing about the other rows"]);
    bench.map(&mapping("o.person_no = p.home", ""));
    bench.ask(&["analyze"], 0).await;
}
