//! Parents with keys of several columns, and parents that stand in for others.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use super::{BY_TWO, STAND_IN};
use crate::support::Bench;
use crate::support::tables::refused;
use diffmig::domain::connection::Side;

const SEATS: &str = "[entities.seats]\nsource = \"seat\"\ntarget = \"seats\"\ndelete = \"delete\"\n\
     legacy = { hall = \"old_hall\", no = \"old_no\" }\nignore = [\"day\"]\ncolumns = { label = \"label\" }\n";

const SOURCE: &str = "create table seat (hall text, no int, day date, label text, primary key (hall, no)); \
     create table ticket (id int primary key, hall varchar(20), no smallint, note text); \
     insert into seat values ('a', 1, '2024-01-01', 'A1'), ('a', 2, null, 'A2'), ('b \"ü\" [1]', 1, null, 'B1'), \
     ('a', -1, null, 'minus'); \
     insert into ticket values (1, 'a', 1), (2, 'a', 2), (3, 'b \"ü\" [1]', 1), (4, null, 1), (5, 'a', null), \
     (6, 'a', 3), (7, 'a', -1)";

const TARGET: &str = "create table seats (id uuid primary key, old_hall text, old_no int, label text); \
     create table tickets (id uuid primary key, old_id int, seat_id uuid references seats, note text)";

fn tickets(missing: &str) -> String {
    let rule = BY_TWO.replace("\"hold\"", missing);
    format!(
        "{SEATS}[entities.tickets]\nsource = \"ticket\"\nas = \"t\"\ntarget = \"tickets\"\nlegacy = {{ id = \"old_id\" }}\n\
         columns = {{ seat_id = {rule}, note = \"note\" }}\n"
    )
}

const SEATED: &str = "select string_agg(t.old_id || ' ' || coalesce(s.label, '-'), ', ' order by t.old_id) \
     from public.tickets t left join public.seats s on s.id = t.seat_id";

#[tokio::test]
async fn a_parent_is_found_by_a_key_of_several_columns() {
    let bench = Bench::with_tables(SOURCE, TARGET, &tickets("\"hold\"")).await;
    bench.migrate(3).await;
    let seated = "1 A1, 2 A2, 3 B1, 4 -, 5 -";
    assert_eq!(
        bench.text_in_target(SEATED).await,
        format!("{seated}, 7 minus")
    );
    assert_eq!(bench.set_aside().await, ["tickets 6 held 23503"]);
    let shown = bench.ask(&["quarantine", "show", "tickets", "6"], 0).await;
    assert!(shown.to_string().contains("[\"a\",3]"), "{shown}");
    bench.ask(&["verify"], 3).await;
    // The parent comes, another one is moved to, and an edit is noticed as one.
    bench
        .on(
            Side::Source,
            "insert into seat values ('a', 3, null, 'A3'); update ticket set no = 3 where id = 1; \
             update ticket set note = 'n' where id = 3",
        )
        .await;
    bench
        .on(
            Side::Target,
            "update tickets set seat_id = (select id from seats where label = 'A2') where old_id = 3",
        )
        .await;
    bench.migrate(3).await;
    assert_eq!(bench.set_aside().await, ["tickets 3 conflict 40000"]);
    assert_eq!(
        bench.text_in_target(SEATED).await,
        "1 A3, 2 A2, 3 A2, 4 -, 5 -, 6 A3, 7 minus"
    );
    let back =
        "update tickets set seat_id = (select id from seats where label = 'B1') where old_id = 3";
    bench.on(Side::Target, back).await;
    bench
        .ask(&["quarantine", "retry", "--entity", "tickets"], 0)
        .await;
    bench.migrate(0).await;
    bench.ask(&["verify"], 0).await;
    assert_eq!(bench.migrate(0).await["applied"], 0);
}

#[tokio::test]
async fn a_column_is_null_until_a_parent_of_several_columns_comes() {
    let bench = Bench::with_tables(SOURCE, TARGET, &tickets("\"null\"")).await;
    bench.migrate(0).await;
    let before = "1 A1, 2 A2, 3 B1, 4 -, 5 -, 6 -, 7 minus";
    assert_eq!(bench.text_in_target(SEATED).await, before);
    bench.ask(&["verify"], 0).await;
    let comes = "insert into seat values ('a', 3, null, 'A3')";
    bench.on(Side::Source, comes).await;
    bench.migrate(0).await;
    let after = "1 A1, 2 A2, 3 B1, 4 -, 5 -, 6 A3, 7 minus";
    assert_eq!(bench.text_in_target(SEATED).await, after);
    bench.ask(&["verify"], 0).await;
}

#[tokio::test]
async fn half_a_key_and_a_circle_through_it_are_refused() {
    let bench = Bench::with_tables(SOURCE, TARGET, &tickets("\"hold\"")).await;
    let half = tickets("\"hold\"").replace("[\"t.hall\", \"t.no\"]", "\"t.hall\"");
    bench.map(&half);
    let said = bench.say(&["analyze"]).await;
    refused(&said, 13, &["`by` has 1 parts", "text, bigint"]);
    let swapped = tickets("\"hold\"").replace("[\"t.hall\", \"t.no\"]", "[\"t.no\", \"t.hall\"]");
    bench.map(&swapped);
    let said = bench.say(&["analyze"]).await;
    refused(&said, 13, &["`no` is", "the parent's key is text"]);

    let bench = Bench::with_tables(
        "create table seat (hall text, no int, taken int, primary key (hall, no)); \
         create table ticket (id int primary key, hall text, no int)",
        "create table seats (id uuid primary key, ticket_id uuid); \
         create table tickets (id uuid primary key, seat_id uuid)",
        "[entities.seats]\nsource = \"seat\"\ntarget = \"seats\"\n\
         columns = { ticket_id = { ref = \"tickets\", by = \"taken\" } }\n\
         [entities.tickets]\nsource = \"ticket\"\ntarget = \"tickets\"\n\
         columns = { seat_id = { ref = \"seats\", by = [\"hall\", \"no\"] } }\n",
    )
    .await;
    let said = bench.say(&["analyze"]).await;
    refused(&said, 13, &["keys of several columns", "seats"]);
}

fn with_stand_in(key: &str) -> String {
    let rule = STAND_IN.replace("= 1 ", &format!("= {key} "));
    format!(
        "[entities.shelves]\nsource = \"shelf\"\ntarget = \"shelves\"\ndelete = \"delete\"\ncolumns = {{ label = \"label\" }}\n\
         [entities.books]\nsource = \"book\"\nas = \"b\"\ntarget = \"books\"\nlegacy = {{ id = \"old_id\" }}\n\
         columns = {{ shelf_id = {rule}, title = \"title\" }}\n"
    )
}

const SHELVED: &str = "select string_agg(b.old_id || ' ' || coalesce(s.label, '-'), ', ' order by b.old_id) \
     from public.books b left join public.shelves s on s.id = b.shelf_id";

async fn library(key: &str) -> Bench {
    Bench::with_tables(
        "create table shelf (id int primary key, label text); \
         create table book (id int primary key, shelf_id int, title text); \
         insert into shelf values (1, 'lost'), (2, 'two'); \
         insert into book values (1, 2, 'a'), (2, 9, 'b'), (3, 1, 'c'), (4, 9, 'd')",
        "create table shelves (id uuid primary key, label text); \
         create table books (id uuid primary key, old_id int, shelf_id uuid not null references shelves, title text)",
        &with_stand_in(key),
    )
    .await
}

#[tokio::test]
async fn another_parent_stands_in_until_the_own_one_comes() {
    let bench = library("1").await;
    bench.migrate(0).await;
    let before = "1 two, 2 lost, 3 lost, 4 lost";
    assert_eq!(bench.text_in_target(SHELVED).await, before);
    bench.ask(&["verify"], 0).await;
    assert_eq!(bench.migrate(0).await["applied"], 0);
    // A change of such a row is no conflict; a move by hand is.
    bench
        .on(
            Side::Source,
            "update book set title = 'B' where id = 2; update book set title = 'D' where id = 4",
        )
        .await;
    bench
        .on(
            Side::Target,
            "update books set shelf_id = (select id from shelves where label = 'two') where old_id = 4",
        )
        .await;
    bench.migrate(3).await;
    assert_eq!(bench.set_aside().await, ["books 4 conflict 40000"]);
    bench
        .on(Side::Source, "insert into shelf values (9, 'nine')")
        .await;
    bench.migrate(3).await;
    let after = "1 two, 2 nine, 3 lost, 4 two";
    assert_eq!(bench.text_in_target(SHELVED).await, after);
    let titles = "select string_agg(title, ' ' order by old_id) from public.books";
    assert_eq!(bench.text_in_target(titles).await, "a B c d");
    let back = "update books set shelf_id = (select id from shelves where label = 'nine') where old_id = 4";
    bench.on(Side::Target, back).await;
    bench
        .ask(&["quarantine", "retry", "--entity", "books"], 0)
        .await;
    bench.migrate(0).await;
    bench.ask(&["verify"], 0).await;
}

#[tokio::test]
async fn a_row_waits_while_nobody_can_stand_in() {
    let bench = library("7").await;
    bench.migrate(3).await;
    assert_eq!(bench.text_in_target(SHELVED).await, "1 two, 3 lost");
    let held = ["books 2 held 23503", "books 4 held 23503"];
    assert_eq!(bench.set_aside().await, held);
    bench
        .on(Side::Source, "insert into shelf values (7, 'seven')")
        .await;
    bench.migrate(0).await;
    let after = "1 two, 2 seven, 3 lost, 4 seven";
    assert_eq!(bench.text_in_target(SHELVED).await, after);
    bench.ask(&["verify"], 0).await;
    // Another parent to fall back on: who falls back follows, and nobody else.
    bench.map(&with_stand_in("2"));
    bench.migrate(0).await;
    let after = "1 two, 2 two, 3 lost, 4 two";
    assert_eq!(bench.text_in_target(SHELVED).await, after);
    bench.ask(&["verify"], 0).await;
    bench.map(&with_stand_in("\"x\""));
    let said = bench.say(&["analyze"]).await;
    refused(&said, 13, &["the key to fall back on is no bigint"]);
}

#[tokio::test]
async fn rows_are_adopted_and_matched_by_a_parent_of_several_columns() {
    let matching = tickets("\"hold\"").replace(
        "target = \"tickets\"",
        "target = \"tickets\"\nmatch = [\"seat_id\", \"note\"]",
    );
    let bench = Bench::with_tables(SOURCE, TARGET, &matching).await;
    bench
        .on(
            Side::Source,
            "update ticket set note = 'n' || id; delete from ticket where id = 6",
        )
        .await;
    bench
        .on(
            Side::Target,
            "alter table seats alter id set default gen_random_uuid(); \
             alter table tickets alter id set default gen_random_uuid(); \
             insert into seats (old_hall, old_no, label) values ('a', 1, 'A1'), ('a', 2, 'A2'); \
             insert into tickets (old_id, seat_id, note) select 1, id, 'n1' from seats where label = 'A1'; \
             insert into tickets (seat_id, note) select id, 'n2' from seats where label = 'A2'",
        )
        .await;
    let report = bench.ask(&["adopt"], 0).await;
    assert_eq!(report["adopted"], 4, "{report:#}");
    // One row more is there before its source row comes.
    bench
        .on(
            Side::Target,
            "insert into tickets (seat_id, note) select id, 'n8' from seats where label = 'A2'",
        )
        .await;
    bench.migrate(0).await;
    bench
        .on(Side::Source, "insert into ticket values (8, 'a', 2, 'n8')")
        .await;
    bench.migrate(0).await;
    assert_eq!(
        bench.in_target("select count(*) from public.tickets").await,
        7
    );
    bench.ask(&["verify"], 0).await;
}

#[tokio::test]
async fn a_stand_in_moves_no_row_that_waits_for_another_parent() {
    let mapping = with_stand_in("7").replace(
        "title = \"title\"",
        "title = \"title\", owner_id = { ref = \"shelves\", by = \"owner\" }",
    );
    let bench = library("7").await;
    bench
        .on(
            Side::Source,
            "alter table book add owner int; update book set owner = 99 where id = 2",
        )
        .await;
    bench
        .on(Side::Target, "alter table books add owner_id uuid")
        .await;
    bench.map(&mapping);
    bench.migrate(3).await;
    bench
        .on(Side::Source, "insert into shelf values (7, 'seven')")
        .await;
    bench.migrate(3).await;
    assert_eq!(bench.set_aside().await, ["books 2 held 23503"]);
    let again = bench.migrate(3).await;
    for entity in again["entities"].as_array().unwrap() {
        assert_eq!(entity["batches"]["rowsIn"], 0, "{again}");
    }
}

#[tokio::test]
async fn rows_of_a_circle_go_when_somebody_can_stand_in() {
    let mapping = with_stand_in("7").replace(
        "title = \"title\"",
        "title = \"title\", card_id = { ref = \"cards\", by = \"card\" }",
    ) + "[entities.cards]\nsource = \"card\"\ntarget = \"cards\"\n\
         columns = { book_id = { ref = \"books\", by = \"book\" } }\n";
    let bench = Bench::with_tables(
        "create table shelf (id int primary key, label text); create table card (id int primary key, book int); \
         create table book (id int primary key, shelf_id int, title text, card int); \
         insert into shelf values (1, 'lost'); insert into card values (10, 1), (20, 2); \
         insert into book values (1, 1, 'a', 10), (2, 9, 'b', 20)",
        "create table shelves (id uuid primary key, label text); create table cards (id uuid primary key, book_id uuid not null); \
         create table books (id uuid primary key, old_id int, shelf_id uuid not null references shelves, title text, \
         card_id uuid not null references cards deferrable); \
         alter table cards add foreign key (book_id) references books deferrable",
        &mapping,
    )
    .await;
    bench.migrate(3).await;
    assert_eq!(bench.text_in_target(SHELVED).await, "1 lost");
    bench
        .on(Side::Source, "insert into shelf values (7, 'seven')")
        .await;
    bench.migrate(0).await;
    assert_eq!(bench.text_in_target(SHELVED).await, "1 lost, 2 seven");
    bench.ask(&["verify"], 0).await;
}
