//! Entities that refer to each other in a circle of which no reference may be NULL.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::command::run;
use crate::support::tables::{execute, refused};
use diffmig::domain::connection::Side;
use std::time::{Duration, Instant};

/// One ring of a hundred items and a hundred mates, in which neighbours lie in different batches.
const RING: &str = "
create table item (id integer primary key, mate integer not null, name text);
create table mate (id integer primary key, item integer not null, name text);
insert into item select g, 101 - g, 'i' || g from generate_series(1, 100) g;
insert into mate select g, 1 + (100 - g + 37) % 100, 'm' || g from generate_series(1, 100) g;
";

/// Fifty pairs that know only each other; item and mate 50 are looked at by item 49.
const PAIRS: &str = "
create table item (id integer primary key, mate integer not null, name text);
create table mate (id integer primary key, item integer not null, name text);
insert into item select g, case g when 49 then 50 else g end, 'i' || g from generate_series(1, 50) g;
insert into mate select g, g, 'm' || g from generate_series(1, 50) g;
";

const TARGET: &str = "
create table items (id uuid primary key, legacy_id integer not null, mate uuid not null, name varchar(8));
create table mates (id uuid primary key, legacy_id integer not null,
    item uuid not null constraint mates_item references items deferrable, name varchar(8));
alter table items add constraint items_mate foreign key (mate) references mates deferrable initially deferred;
";

const MAPPING: &str = r#"
[defaults]
delete = "delete"
[entities.items]
source = "item"
target = "items"
legacy = { id = "legacy_id" }
[entities.items.columns]
mate = { ref = "mates", by = "mate" }
name = {}
[entities.mates]
source = "mate"
target = "mates"
legacy = { id = "legacy_id" }
[entities.mates.columns]
item = { ref = "items", by = "item" }
name = {}
"#;

const SMALL: &[&str] = &["--batch-size", "7"];

async fn lines(bench: &Bench, side: Side, sql: &'static str) -> Vec<String> {
    match side {
        Side::Target => bench.target_lines(sql).await,
        Side::Source => {
            let mut source = bench.source().await;
            sqlx::query_scalar(sql)
                .fetch_all(&mut source)
                .await
                .unwrap()
        }
    }
}

/// The target holds what the source does, and nothing waits.
async fn arrived(bench: &Bench) {
    let source = "select 'i' || id || '|' || mate || '|' || name from item \
        union all select 'm' || id || '|' || item || '|' || name from mate order by 1";
    let target = "select 'i' || i.legacy_id || '|' || m.legacy_id || '|' || i.name from items i join mates m on m.id = i.mate \
        union all select 'm' || m.legacy_id || '|' || i.legacy_id || '|' || m.name from mates m join items i on i.id = m.item order by 1";
    assert_eq!(
        lines(bench, Side::Target, target).await,
        lines(bench, Side::Source, source).await
    );
    settled(bench).await;
}

/// Nothing waits, and every row carries the `xmin` that its ledger knows.
async fn settled(bench: &Bench) {
    assert_eq!(bench.set_aside().await, Vec::<String>::new());
    let waiting = "select count(*) from diffmig.pending_reference";
    assert_eq!(bench.in_target(waiting).await, 0);
    let known = "select (select count(*) from diffmig.ledger_items l join items t on t.id = l.target_id and t.xmin = l.target_xmin) \
        - (select count(*) from items)";
    assert_eq!(bench.in_target(known).await, 0);
}

/// A second run writes nothing, and every row is what the mapping makes of it.
async fn stays(bench: &Bench, code: i32) {
    bench.writes_nothing_more(code).await;
    let said = bench.say(&["verify", "-q"]).await;
    assert_eq!(said.code, Some(code), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_two_tables_arrives_and_follows_the_source() {
    let bench = Bench::with_tables(RING, TARGET, MAPPING).await;
    bench.migrate_with(SMALL, 0).await;
    arrived(&bench).await;
    let batches = "select count(distinct xmin::text) + count(*) from diffmig.batch";
    assert_eq!(bench.in_target(batches).await, 1 + 30);
    stays(&bench, 0).await;
    // New rows that need each other, references that move, rows that somebody touched, a pair that goes.
    bench
        .on(
            Side::Source,
            "insert into item values (201, 202, 'new'), (202, 201, 'new');
             insert into mate values (201, 201, 'new'), (202, 202, 'new'), (203, 5, 'old');
             update item set mate = 203 where id in (5, 17);
             update mate set item = 201 where id in (3, 60);
             update mate set name = 'x' || id where id between 20 and 40;
             delete from mate where id = 84;",
        )
        .await;
    bench
        .on(
            Side::Target,
            "update mates set name = name where legacy_id between 15 and 30",
        )
        .await;
    bench.migrate_with(SMALL, 0).await;
    arrived(&bench).await;
    stays(&bench, 0).await;
    // Item 17 no longer refers to mate 84; now a circle of four and a single row go.
    bench
        .on(
            Side::Source,
            "update mate set item = 9 where id in (3, 60);
             delete from item where id in (201, 202); delete from mate where id in (201, 202);",
        )
        .await;
    bench.migrate_with(SMALL, 0).await;
    arrived(&bench).await;
    stays(&bench, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_three_tables_needs_one_deferrable_key_and_waits_for_parents_outside() {
    let source = "
        create table owner (id integer primary key, name text);
        create table a (id integer primary key, b integer not null, up integer, name text);
        create table b (id integer primary key, c integer not null, name text);
        create table c (id integer primary key, a integer not null, owner integer not null, name text);
        insert into owner select g, 'o' || g from generate_series(1, 4) g;
        insert into a select g, 61 - g, nullif(60 - g, 0), 'a' || g from generate_series(1, 60) g;
        insert into b select g, g, 'b' || g from generate_series(1, 60) g;
        insert into c select g, 61 - g, case when g = 33 then 9 else 1 + g % 4 end, 'c' || g from generate_series(1, 60) g;";
    let target = "
        create table owners (id uuid primary key, name text);
        create table items (id uuid primary key, legacy_id integer, b uuid not null, up uuid references items, name text);
        create table c (id uuid primary key, a uuid not null references items, owner uuid not null references owners, name text);
        create table b (id uuid primary key, c uuid not null references c, name text);
        alter table items add foreign key (b) references b deferrable;";
    let columns = |name: &str, rules: &str| {
        format!(
            "[entities.{name}]\nsource = \"{0}\"\ntarget = \"{1}\"\n[entities.{name}.columns]\nname = {{}}\n{rules}\n",
            name.trim_end_matches('s'),
            if name == "a" { "items" } else { name },
        )
    };
    let mapping = [
        columns(
            "a",
            "b = { ref = \"b\", by = \"b\" }\nup = { ref = \"a\", by = \"up\", missing = \"null\" }",
        )
        .replace("[entities.a.columns]", "legacy = { id = \"legacy_id\" }\n[entities.a.columns]"),
        columns("b", "c = { ref = \"c\", by = \"c\" }"),
        columns(
            "c",
            "a = { ref = \"a\", by = \"a\" }\nowner = { ref = \"owners\", by = \"owner\" }",
        ),
        columns("owners", ""),
    ]
    .concat();
    let bench = Bench::with_tables(source, target, &mapping).await;
    let plan = bench.ask(&["migrate", "--dry-run"], 0).await;
    let planned = plan["plan"]["waves"][1].as_array().unwrap();
    assert_eq!(planned.len(), 3, "{plan}");
    for it in planned {
        assert_eq!(it["knot"], serde_json::json!(["a", "c", "b"]), "{plan}");
    }
    bench.migrate_with(&["--batch-size", "8"], 3).await;
    let held = ["a 28 held 23503", "b 33 held 23503", "c 33 held 23503"];
    assert_eq!(bench.set_aside().await, held);
    let whole =
        "select count(*) from items a join b on b.id = a.b join c on c.id = b.c and c.a = a.id";
    assert_eq!(bench.in_target(whole).await, 59);
    let up = "select count(*) from items a join items u on u.id = a.up and u.legacy_id = 60 - a.legacy_id";
    assert_eq!(bench.in_target(up).await, 57);
    stays(&bench, 3).await;
    bench
        .on(Side::Source, "insert into owner values (9, 'late')")
        .await;
    bench.migrate_with(&["--batch-size", "8"], 0).await;
    assert_eq!(bench.in_target(whole).await, 60);
    assert_eq!(bench.in_target(up).await, 59);
    assert_eq!(bench.set_aside().await, Vec::<String>::new());
    stays(&bench, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_of_a_circle_keep_out_who_needs_them_and_nobody_else() {
    let bench = Bench::with_tables(PAIRS, TARGET, MAPPING).await;
    // 30 is too long for the target, 40 refers to nothing, 50 is needed by 49.
    bench
        .on(
            Side::Source,
            "update item set name = 'much too long' where id in (30, 50); update mate set item = 999 where id = 40",
        )
        .await;
    bench.migrate_with(SMALL, 3).await;
    let aside = [
        "items 30 open 22001",
        "items 40 held 23503",
        "items 49 held 23503",
        "items 50 open 22001",
        "mates 30 held 23503",
        "mates 40 held 23503",
        "mates 49 held 23503",
        "mates 50 held 23503",
    ];
    assert_eq!(bench.set_aside().await, aside);
    assert_eq!(bench.in_target("select count(*) from items").await, 46);
    assert_eq!(bench.in_target("select count(*) from mates").await, 46);
    stays(&bench, 3).await;
    bench
        .on(
            Side::Source,
            "update item set name = 'fine' where id in (30, 50); update mate set item = 40 where id = 40",
        )
        .await;
    bench.migrate_with(SMALL, 0).await;
    arrived(&bench).await;
    stays(&bench, 0).await;
    // A row that is there stays with its old content when the new one cannot go, and so do its neighbours.
    bench
        .on(
            Side::Source,
            "update mate set name = 'much too long' where id = 50; update item set name = 'new' where id = 50",
        )
        .await;
    bench.migrate_with(SMALL, 3).await;
    assert_eq!(bench.set_aside().await, ["mates 50 open 22001"]);
    let kept = "select i.name || ' ' || m.name from items i join mates m on m.id = i.mate where i.legacy_id = 50";
    assert_eq!(bench.text_in_target(kept).await, "new m50");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_parent_was_removed_in_the_target_is_set_aside_alone() {
    let bench = Bench::with_tables(PAIRS, TARGET, MAPPING).await;
    bench.migrate_with(SMALL, 0).await;
    bench
        .on(
            Side::Target,
            "begin; set constraints all deferred; delete from items where legacy_id = 7; delete from mates where legacy_id = 7; commit",
        )
        .await;
    // Item 60 needs a row that the ledger knows and the target has lost; item 61 is fine.
    bench
        .on(
            Side::Source,
            "insert into item values (60, 7, 'lost'), (61, 61, 'fine'); insert into mate values (60, 60, 'm'), (61, 61, 'fine')",
        )
        .await;
    bench.migrate_with(SMALL, 3).await;
    let aside = ["items 60 open 23503", "mates 60 held 23503"];
    assert_eq!(bench.set_aside().await, aside);
    let fine = "select count(*) from items i join mates m on m.id = i.mate and m.item = i.id where i.name = 'fine'";
    assert_eq!(bench.in_target(fine).await, 1);
    bench.writes_nothing_more(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_kept_keys_do_not_lean_on_native_ones() {
    let target = "
        create table items (id integer primary key, mate integer not null, name text);
        create table mates (id integer primary key, item integer not null references items deferrable, name text);
        alter table items add foreign key (mate) references mates deferrable;
        begin; set constraints all deferred;
        insert into items values (5, 5, 'native'); insert into mates values (5, 5, 'native'); commit;";
    let mapping = MAPPING.replace(
        "legacy = { id = \"legacy_id\" }",
        "id = { column = \"id\", strategy = \"same\" }",
    );
    let bench = Bench::with_tables(PAIRS, target, &mapping).await;
    bench
        .on(Side::Source, "update item set mate = 5 where id = 6")
        .await;
    bench.migrate_with(SMALL, 3).await;
    let aside = [
        "items 5 held 23503",
        "items 6 held 23503",
        "mates 5 held 23503",
        "mates 6 held 23503",
    ];
    let found: Vec<String> = bench.set_aside().await;
    assert_eq!(found, aside);
    let native = "select count(*) from items where name = 'native'";
    assert_eq!(bench.in_target(native).await, 1);
    assert_eq!(bench.in_target("select count(*) from items").await, 49);
    bench.writes_nothing_more(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_gone_stay_as_long_as_somebody_needs_them() {
    let bench = Bench::with_tables(PAIRS, TARGET, MAPPING).await;
    bench.migrate_with(SMALL, 0).await;
    // The application's own mate keeps item 3, and that keeps mate 3.
    bench
        .on(
            Side::Target,
            "insert into mates select gen_random_uuid(), 0, id, 'native' from items where legacy_id = 3",
        )
        .await;
    let gone = "delete from item where id in (3, 11, 12, 13); delete from mate where id in (3, 11, 12, 13)";
    bench.on(Side::Source, gone).await;
    bench.migrate_with(SMALL, 3).await;
    let aside = ["items 3 open 23503", "mates 3 open 23503"];
    assert_eq!(bench.set_aside().await, aside);
    assert_eq!(bench.in_target("select count(*) from items").await, 47);
    assert_eq!(bench.in_target("select count(*) from mates").await, 48);
    // They are tried again in every run.
    bench.migrate_with(SMALL, 3).await;
    assert_eq!(bench.set_aside().await, aside);
    bench
        .on(Side::Target, "delete from mates where legacy_id = 0")
        .await;
    bench.migrate_with(SMALL, 0).await;
    arrived(&bench).await;
    stays(&bench, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_value_that_is_in_the_way_keeps_a_pair_out_until_it_is_free() {
    let target = format!("{TARGET}; alter table items add constraint once unique (name);");
    let bench = Bench::with_tables(PAIRS, &target, MAPPING).await;
    bench.migrate_with(SMALL, 0).await;
    bench
        .on(
            Side::Source,
            "insert into item values (60, 60, 'i8'); insert into mate values (60, 60, 'm60')",
        )
        .await;
    bench.migrate_with(SMALL, 3).await;
    let aside = ["items 60 open 23505", "mates 60 held 23503"];
    assert_eq!(bench.set_aside().await, aside);
    bench.writes_nothing_more(3).await;
    bench
        .on(
            Side::Source,
            "delete from item where id = 8; delete from mate where id = 8",
        )
        .await;
    bench.migrate_with(SMALL, 0).await;
    arrived(&bench).await;
    stays(&bench, 0).await;
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_circle_the_next_run_ends_well() {
    for point in [
        "stage.mid_copy=kill@4",
        "batch.after_upsert=kill@20",
        "batch.before_commit=kill",
        "batch.after_commit_before_ack=kill",
    ] {
        let bench = Bench::with_tables(RING, TARGET, MAPPING).await;
        let mut killed = bench.command(&["migrate", "-q", "--batch-size", "7"]);
        killed.env("DIFFMIG_FAILPOINTS", point);
        let said = run(killed).await;
        assert_eq!(said.code, None, "{point} was not reached: {said:?}");
        let there = bench.in_target("select count(*) from items").await;
        let all = i64::from(point.starts_with("batch.after_commit")) * 100;
        assert_eq!(there, all, "{point}");
        bench.migrate_with(SMALL, 0).await;
        arrived(&bench).await;
        stays(&bench, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_that_is_checked_at_once_is_refused_with_the_way_out() {
    let target = TARGET
        .replace(" deferrable initially deferred", "")
        .replace(" deferrable", "");
    let bench = Bench::with_tables(RING, &target, MAPPING).await;
    let words = [
        "items",
        "mates",
        "circle",
        "missing = \"null\"",
        "alter table \"public\".\"mates\" alter constraint \"mates_item\" deferrable",
        "alter table \"public\".\"items\" alter constraint \"items_mate\" deferrable",
    ];
    refused(&bench.say(&["migrate"]).await, 13, &words);
    assert_eq!(bench.in_target("select count(*) from items").await, 0);
    // Either of them is enough.
    bench
        .on(
            Side::Target,
            "alter table mates alter constraint mates_item deferrable",
        )
        .await;
    bench.migrate_with(SMALL, 0).await;
    arrived(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_foreign_keys_a_circle_goes_together_as_well() {
    let target = TARGET.replace(" constraint mates_item references items deferrable", "");
    let target = target
        .lines()
        .filter(|line| !line.starts_with("alter"))
        .collect::<Vec<_>>()
        .join("\n");
    let bench = Bench::with_tables(RING, &target, MAPPING).await;
    bench.migrate_with(SMALL, 0).await;
    arrived(&bench).await;
    // One entity of the knot alone: what it needs of the other is there.
    bench
        .on(
            Side::Source,
            "update item set name = 'alone' where id = 4; insert into item values (300, 1, 'more')",
        )
        .await;
    bench
        .migrate_with(&["--entities", "items", "--batch-size", "7"], 0)
        .await;
    arrived(&bench).await;
}

/// Rows of one table: pairs, half of which lie in other batches, and a ring behind which others wait.
const THEMSELVES: &str =
    "create table item (id integer primary key, up integer not null, name text);
    insert into item select g, 61 - g, 'n' || g from generate_series(1, 60) g;
    insert into item select g, 100 + (g - 99) % 30, 'n' || g from generate_series(100, 129) g;
    insert into item select g, g - 100, 'n' || g from generate_series(200, 220) g;";

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_one_table_that_need_each_other_go_together_whatever_their_batches() {
    for (check, missing) in [
        ("references items", "hold"),
        ("references items deferrable", "quarantine"),
        ("", "hold"),
    ] {
        let target = format!(
            "create table items (id uuid primary key, legacy_id integer, up uuid not null {check}, name varchar(8));"
        );
        let mapping = format!(
            "[entities.items]\nsource = \"item\"\ntarget = \"items\"\ndelete = \"delete\"\n\
             legacy = {{ id = \"legacy_id\" }}\n[entities.items.columns]\nname = {{}}\n\
             up = {{ ref = \"items\", by = \"up\", missing = \"{missing}\" }}\n"
        );
        let bench = Bench::with_tables(THEMSELVES, &target, &mapping).await;
        bench.migrate_with(SMALL, 0).await;
        let source = "select id || '|' || up || '|' || name from item order by id";
        let found = "select i.legacy_id::text, u.legacy_id::text, i.name from items i join items u on u.id = i.up order by i.legacy_id";
        let same = async || {
            let wanted = lines(&bench, Side::Source, source).await;
            assert_eq!(lines(&bench, Side::Target, found).await, wanted, "{check}");
            settled(&bench).await;
        };
        same().await;
        stays(&bench, 0).await;
        // A pair that goes, one that comes, and the end of the ring, which row 230 enters.
        let edits = "delete from item where id in (7, 54); insert into item values (7000, 7001, 'a'), (7001, 7000, 'b'); \
            insert into item values (230, 129, 'r'); update item set up = 230 where id = 128;";
        bench.on(Side::Source, edits).await;
        bench.migrate_with(&["--batch-size", "1"], 0).await;
        same().await;
        stays(&bench, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generic_references_close_a_circle_too() {
    let source = "
        create table item (id text primary key, note integer not null);
        create table mate (id integer primary key, note integer not null);
        create table note (id integer primary key, kind integer, about text not null);
        create table memo (id integer primary key, kind integer, about integer not null);
        insert into item select 'i' || g, g from generate_series(1, 30) g;
        insert into mate select g, 31 - g from generate_series(1, 30) g;
        insert into note select g, 1, case g when 5 then 'nobody' else 'i' || g end from generate_series(1, 30) g;
        insert into memo select g, 1 + g % 2, case g when 9 then 99 else g end from generate_series(1, 30) g;
        alter table mate add memo integer not null default 0; update mate set memo = id;";
    let target = "
        create table items (id uuid primary key, legacy_id text, note uuid not null);
        create table mates (id uuid primary key, legacy_id integer, note uuid not null, memo uuid not null);
        create table notes (id uuid primary key, item uuid not null references items deferrable);
        create table memos (id uuid primary key, kind text not null, about uuid not null);
        alter table items add foreign key (note) references notes deferrable;
        alter table mates add foreign key (note) references notes;
        alter table mates add foreign key (memo) references memos;";
    let mapping = r#"
[entities.items]
source = "item"
target = "items"
legacy = { id = "legacy_id" }
[entities.items.columns]
note = { ref = "notes", by = "note" }
[entities.notes]
source = "note"
target = "notes"
ignore = ["kind"]
[entities.notes.columns]
item = { ref = "items", by = "about", missing = "quarantine" }
[entities.memos]
source = "memo"
target = "memos"
[entities.memos.columns]
kind = { column = "kind", codes = { 1 = "mate", 2 = "memo" } }
about = { poly = { type = "kind", id = "about", map = { 1 = "mates", 2 = "memos" } } }
[entities.mates]
source = "mate"
target = "mates"
legacy = { id = "legacy_id" }
[entities.mates.columns]
note = { ref = "notes", by = "note" }
memo = { ref = "memos", by = "memo" }
"#;
    let bench = Bench::with_tables(source, target, mapping).await;
    bench.migrate_with(SMALL, 3).await;
    let aside = [
        "items i5 held 23503",
        "mates 9 held 23503",
        "mates 26 held 23503",
        "memos 9 held 23503",
        "memos 26 held 23503",
        "notes 5 open 23503",
    ];
    assert_eq!(bench.set_aside().await, aside);
    bench.writes_nothing_more(3).await;
    bench
        .on(
            Side::Source,
            "update note set about = 'i5' where id = 5; update memo set about = 9 where id = 9",
        )
        .await;
    bench.migrate_with(SMALL, 0).await;
    let whole = "select count(*) from mates t join notes n on n.id = t.note join items i on i.note = n.id and n.item = i.id \
        join memos m on m.id = t.memo and (m.kind = 'memo' and m.about = m.id or m.kind = 'mate' and m.about = t.id)";
    assert_eq!(bench.in_target(whole).await, 30);
    bench.writes_nothing_more(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_is_not_committed_under_a_lease_that_was_taken() {
    let bench = Bench::with_tables(RING, TARGET, MAPPING).await;
    let mut blocker = bench.target().await;
    execute(
        &mut blocker,
        "begin; lock table public.mates in exclusive mode",
    )
    .await;
    let mut child = bench.spawn(&["migrate", "--batch-size", "7", "-q"]);
    // Items are written, mates wait for the table. The lease is free to be taken, and is.
    let in_flight = "select count(*) from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a using (pid) \
        where a.application_name like 'diffmig%' and not l.granted and l.relation = 'public.mates'::regclass \
        and a.query like 'with recursive%'";
    let began = Instant::now();
    while bench.in_target(in_flight).await == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "nothing waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let taken = "set lock_timeout = '300ms'; \
        update diffmig.lease set epoch = epoch + 1, session_id = gen_random_uuid()";
    bench.on(Side::Target, taken).await;
    execute(&mut blocker, "rollback").await;
    let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code());
    assert_eq!(code.await.unwrap(), Some(16));
    assert_eq!(bench.in_target("select count(*) from items").await, 0);
    assert_eq!(
        bench.in_target("select count(*) from diffmig.batch").await,
        0
    );
}
