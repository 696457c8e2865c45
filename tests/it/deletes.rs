//! Rows that are gone from the source: retired, deleted, kept, and never more than planned.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use diffmig::domain::connection::Side;

const SOURCE: &str = "
    create table shelf (id int primary key, name text not null);
    create table book (id int primary key, shelf_id int references shelf, sequel_of int references book, title text not null);
    insert into shelf select n, 'shelf ' || n from generate_series(1, 6) n;
    insert into book select n, (n - 1) % 6 + 1, null, 'book ' || n from generate_series(1, 12) n;
    update book set sequel_of = 1 where id in (7, 8);";

const TARGET: &str = "
    create table shelves (id uuid primary key, name text not null);
    create table books (id uuid primary key, shelf_id uuid references shelves, sequel_of uuid references books,
        title text not null, note text);";

const MAPPING: &str = r#"
[defaults]
delete = "delete"
[entities.shelves]
source = "shelf"
target = "shelves"
[entities.shelves.columns]
name = "name"
[entities.books]
source = "book"
target = "books"
[entities.books.columns]
shelf_id = { ref = "shelves", by = "shelf_id" }
sequel_of = { ref = "books", by = "sequel_of" }
title = "title"
note = { const = "new", owner = "target" }
"#;

async fn library() -> Bench {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    bench.migrate_with(&[], 0).await;
    bench
}

async fn titles(bench: &Bench) -> Vec<String> {
    bench
        .target_lines("select title from books order by title collate \"C\"")
        .await
}

async fn findings(bench: &Bench) -> Vec<String> {
    let sql = "select entity, key::text, status, sqlstate, reason from diffmig.quarantine \
        where status <> 'resolved' order by 1, 2";
    bench.target_lines(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_children_first_and_a_key_that_returns_keeps_its_id() {
    let bench = library().await;
    let id = "select id::text from books where title = 'book 1'";
    let before = bench.target_lines(id).await;
    // 7 and 8 are sequels of 1; with one row per batch they must go before it.
    bench
        .on(Side::Source, "delete from book where id in (1, 7, 8); delete from book where shelf_id = 3; delete from shelf where id = 3")
        .await;
    bench.migrate_with(&["--batch-size", "1"], 0).await;
    let left = titles(&bench).await;
    let wanted = [
        "book 10", "book 11", "book 12", "book 2", "book 4", "book 5", "book 6",
    ];
    assert_eq!(left, wanted);
    assert_eq!(
        bench
            .target_lines("select count(*)::text from shelves")
            .await,
        ["5"]
    );
    bench
        .on(
            Side::Source,
            "insert into book values (1, 1, null, 'book 1')",
        )
        .await;
    bench.migrate_with(&[], 0).await;
    assert_eq!(bench.target_lines(id).await, before, "the id changed");
    let again = bench.migrate_with(&["--json"], 0).await;
    assert!(
        again.stdout.contains("\"applied\": 0") || again.stdout.contains("\"applied\":0"),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_row_is_not_deleted_and_an_edit_of_a_target_owned_column_is_none() {
    let bench = library().await;
    bench
        .on(Side::Target, "update books set title = 'mine' where title = 'book 9'; update books set note = 'mine' where title = 'book 10'")
        .await;
    bench
        .on(Side::Source, "delete from book where id in (9, 10)")
        .await;
    bench.migrate_with(&[], 3).await;
    let left = titles(&bench).await;
    assert!(left.contains(&"mine".to_owned()), "{left:?}");
    assert!(!left.contains(&"book 10".to_owned()), "{left:?}");
    assert_eq!(
        findings(&bench).await,
        ["books|[9]|conflict|40000|deleted in the source, changed in the target"]
    );
    // It is said again until somebody accepts it.
    bench.migrate_with(&[], 3).await;
    let waived = bench
        .say(&["quarantine", "waive", "--entity", "books", "-q"])
        .await;
    assert_eq!(waived.code, Some(0), "{waived:?}");
    bench.migrate_with(&[], 0).await;
    assert!(titles(&bench).await.contains(&"mine".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_target_still_needs_stays_alone_and_goes_later() {
    let bench = library().await;
    bench
        .on(
            Side::Target,
            "create table loans (id int primary key, book_id uuid not null references books);
             insert into loans select 1, id from books where title = 'book 9'",
        )
        .await;
    bench
        .on(Side::Source, "delete from book where id in (9, 10, 11)")
        .await;
    bench.migrate_with(&[], 3).await;
    let left = titles(&bench).await;
    assert!(left.contains(&"book 9".to_owned()), "{left:?}");
    assert!(!left.contains(&"book 10".to_owned()) && !left.contains(&"book 11".to_owned()));
    let found = findings(&bench).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("books|[9]|open|23503|gone from the source"),
        "{found:?}"
    );
    bench.on(Side::Target, "delete from loans").await;
    bench.migrate_with(&[], 0).await;
    assert!(!titles(&bench).await.contains(&"book 9".to_owned()));
    assert!(findings(&bench).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cascade_never_takes_rows_that_nobody_planned_to_delete() {
    let bench = library().await;
    bench
        .on(Side::Target,
            "create table loans (id int primary key, book_id uuid references books on delete cascade);
             insert into loans select 1, id from books where title = 'book 9'",
        )
        .await;
    bench
        .on(Side::Source, "delete from book where id in (9, 10)")
        .await;
    bench.migrate_with(&[], 3).await;
    assert_eq!(
        bench.target_lines("select count(*)::text from loans").await,
        ["1"]
    );
    let found = findings(&bench).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("rows of the target still refer to it"),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_row_that_the_target_refuses_to_change_is_set_aside_alone() {
    let mapping = MAPPING.replace(
        "delete = \"delete\"",
        "delete = { retire = { note = \"gone\" } }",
    );
    let mapping = mapping.replace(
        "source = \"shelf\"\n",
        "source = \"shelf\"\ndelete = \"ignore\"\n",
    );
    let mapping = mapping.replace("note = { const = \"new\", owner = \"target\" }\n", "");
    let bench = Bench::with_tables(SOURCE, TARGET, &mapping).await;
    bench.migrate_with(&[], 0).await;
    bench
        .on(Side::Target, "alter table books add constraint keeps check (title <> 'book 9' or note is null) not valid")
        .await;
    bench
        .on(Side::Source, "delete from book where id in (9, 10, 11)")
        .await;
    bench.migrate_with(&[], 3).await;
    let gone = "select title from books where note = 'gone' order by 1";
    assert_eq!(bench.target_lines(gone).await, ["book 10", "book 11"]);
    let found = findings(&bench).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("books|[9]|open|23514|"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_circle_go_together() {
    let bench = library().await;
    // 7 follows 8 and 8 follows 7: neither can be deleted before the other, unless in one statement.
    bench
        .on(
            Side::Source,
            "update book set sequel_of = case id when 7 then 8 else 7 end where id in (7, 8)",
        )
        .await;
    bench.migrate_with(&[], 0).await;
    bench
        .on(Side::Source, "delete from book where id in (7, 8)")
        .await;
    bench.migrate_with(&["--batch-size", "1"], 0).await;
    let left = titles(&bench).await;
    assert!(
        !left.contains(&"book 7".to_owned()) && !left.contains(&"book 8".to_owned()),
        "{left:?}"
    );
    assert!(findings(&bench).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_two_tables_goes_whole_and_leaves_the_others_alone() {
    let source = "create table item (id int primary key, mate int, name text);
        create table mate (id int primary key, item int, name text);
        insert into item select n, n, 'i' || n from generate_series(1, 6) n;
        insert into mate select n, n, 'm' || n from generate_series(1, 6) n;";
    let target = "create table items (id uuid primary key, mate uuid, name text);
        create table mates (id uuid primary key, item uuid not null references items, name text);
        alter table items add foreign key (mate) references mates;";
    let mapping = r#"
[defaults]
delete = "delete"
[entities.items]
source = "item"
target = "items"
[entities.items.columns]
mate = { ref = "mates", by = "mate", missing = "null" }
name = "name"
[entities.mates]
source = "mate"
target = "mates"
[entities.mates.columns]
item = { ref = "items", by = "item" }
name = "name"
"#;
    let bench = Bench::with_tables(source, target, mapping).await;
    bench.migrate_with(&[], 0).await;
    bench
        .on(
            Side::Source,
            "delete from item where id in (2, 5); delete from mate where id in (2, 5)",
        )
        .await;
    bench.migrate_with(&["--batch-size", "1"], 0).await;
    let pairs = "select i.name, m.name from items i full join mates m on m.id = i.mate order by 1";
    assert_eq!(
        bench.target_lines(pairs).await,
        ["i1|m1", "i3|m3", "i4|m4", "i6|m6"]
    );
    assert!(findings(&bench).await.is_empty());
}
