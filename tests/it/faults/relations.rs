//! Rows that depend on other rows, on keys, on triggers, and on what the target already has.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::tables::refused;
use diffmig::domain::connection::Side;

const FAMILY: &str = "
create table parent (id integer primary key, name text);
create table item (id integer primary key, parent_id integer, name text);
insert into parent select g, 'p' || g from generate_series(1, 20) g;
insert into item select g, 1 + g % 20, 'n' || g from generate_series(1, 100) g;
";
const ITEMS: &str = "
create table item (id integer primary key, name text);
insert into item select g, 'n' || g from generate_series(1, 100) g;
";
const TARGET_FAMILY: &str = "
create table parents (id uuid primary key, name varchar(6));
create table items (id uuid primary key, legacy_id integer, parent_id uuid not null references parents, name text);
";
const FAMILY_MAPPING: &str = "
[entities.parents]
source = \"parent\"
target = \"parents\"
[entities.parents.columns]
name = {}
[entities.items]
source = \"item\"
target = \"items\"
legacy = { id = \"legacy_id\" }
[entities.items.columns]
name = {}
parent_id = { ref = \"parents\", by = \"parent_id\" }
";
const ITEM_MAPPING: &str = "
[entities.items]
source = \"item\"
as = \"i\"
target = \"items\"
legacy = { id = \"legacy_id\" }
[entities.items.columns]
name = {}
";

/// No reference waits that no held row explains.
const LOOSE: &str = "select count(*) from diffmig.pending_reference w where not exists \
    (select from diffmig.quarantine q where q.entity = w.entity and q.key = w.key and q.status = 'held')";

#[tokio::test(flavor = "multi_thread")]
async fn e7_a_child_whose_parent_is_nowhere_waits_and_comes_with_it() {
    let bench = Bench::with_tables(FAMILY, TARGET_FAMILY, FAMILY_MAPPING).await;
    bench
        .on(
            Side::Source,
            "update item set parent_id = 77 where id in (3, 5)",
        )
        .await;
    bench.migrate(3).await;
    let held = ["items 3 held 23503", "items 5 held 23503"];
    assert_eq!(bench.set_aside().await, held);
    assert_eq!(bench.in_target("select count(*) from items").await, 98);
    bench.writes_nothing_more(3).await;
    bench
        .on(Side::Source, "insert into parent values (77, 'late')")
        .await;
    bench.migrate(0).await;
    let children =
        "select count(*) from items i join parents p on p.id = i.parent_id where p.name = 'late'";
    assert_eq!(bench.in_target(children).await, 2);
    assert_eq!(
        bench
            .in_target("select count(*) from diffmig.pending_reference")
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn e8_children_of_a_bad_parent_wait_until_it_is_mended() {
    let bench = Bench::with_tables(FAMILY, TARGET_FAMILY, FAMILY_MAPPING).await;
    bench
        .on(
            Side::Source,
            "update parent set name = 'much too long' where id = 4",
        )
        .await;
    bench.migrate(3).await;
    let aside = bench.set_aside().await;
    assert_eq!(aside.last().unwrap(), "parents 4 open 22001");
    assert_eq!(aside.len(), 6, "{aside:?}");
    assert_eq!(bench.in_target("select count(*) from items").await, 95);
    assert_eq!(bench.in_target(LOOSE).await, 0);
    // A held child may leave the source before its parent is mended.
    bench
        .on(
            Side::Source,
            "delete from item where id = 3; update parent set name = 'short' where id = 4",
        )
        .await;
    bench.migrate(0).await;
    assert_eq!(bench.set_aside().await, Vec::<String>::new());
    assert_eq!(bench.in_target("select count(*) from items").await, 99);
    assert_eq!(
        bench
            .in_target("select count(*) from diffmig.pending_reference")
            .await,
        0
    );
    bench.writes_nothing_more(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e9_references_within_a_table_and_in_a_circle_are_resolved() {
    let source = "
        create table item (id integer primary key, up integer, mate integer, name text);
        create table mate (id integer primary key, item integer, name text);
        insert into item select g, nullif(401 - g, g), g, 'n' || g from generate_series(1, 400) g;
        insert into mate select g, 401 - g, 'm' || g from generate_series(1, 400) g;";
    let target = "
        create table items (id uuid primary key, legacy_id integer, up uuid references items, mate uuid, name text);
        create table mates (id uuid primary key, legacy_id integer, item uuid not null references items, name text);
        alter table items add foreign key (mate) references mates;";
    let mapping = format!(
        "{ITEM_MAPPING}up = {{ ref = \"items\", by = \"up\", missing = \"null\" }}
        mate = {{ ref = \"mates\", by = \"mate\", missing = \"null\" }}
        [entities.mates]
        source = \"mate\"
        target = \"mates\"
        legacy = {{ id = \"legacy_id\" }}
        [entities.mates.columns]
        item = {{ ref = \"items\", by = \"item\" }}
        name = {{}}\n"
    );
    let bench = Bench::with_tables(source, target, &mapping).await;
    bench.ask(&["migrate", "--batch-size", "30"], 0).await;
    let whole = "select count(*) from items i join items u on u.id = i.up and u.legacy_id = 401 - i.legacy_id \
        join mates m on m.id = i.mate and m.legacy_id = i.legacy_id \
        join items b on b.id = m.item and b.legacy_id = 401 - m.legacy_id";
    assert_eq!(bench.in_target(whole).await, 400);
    assert_eq!(
        bench
            .in_target("select count(*) from diffmig.pending_reference")
            .await,
        0
    );
    bench.writes_nothing_more(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e9_a_circle_that_cannot_be_broken_is_refused_with_its_names() {
    let source = "
        create table item (id integer primary key, mate integer not null, name text);
        create table mate (id integer primary key, item integer not null, name text);
        insert into item select g, g, 'n' from generate_series(1, 4) g;
        insert into mate select g, g, 'm' from generate_series(1, 4) g;";
    let target = "
        create table items (id uuid primary key, legacy_id integer, mate uuid not null, name text);
        create table mates (id uuid primary key, item uuid not null references items, name text);
        alter table items add foreign key (mate) references mates;";
    let mapping = format!(
        "{ITEM_MAPPING}mate = {{ ref = \"mates\", by = \"mate\" }}
        [entities.mates]
        source = \"mate\"
        target = \"mates\"
        [entities.mates.columns]
        item = {{ ref = \"items\", by = \"item\" }}
        name = {{}}\n"
    );
    let bench = Bench::with_tables(source, target, &mapping).await;
    let said = bench.say(&["migrate"]).await;
    refused(
        &said,
        13,
        &[
            "items",
            "mates",
            "circle",
            "missing = \"null\"",
            "items_mate_fkey",
            "mates_item_fkey",
        ],
    );
    assert_eq!(bench.in_target("select count(*) from items").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn e9_a_reference_to_a_later_row_of_the_same_table_is_no_missing_parent() {
    // 10 refers to 30, that to 50, and that to nothing; all others refer to later rows that come.
    let source = "create table item (id integer primary key, up integer, name text);
        insert into item select g, case when g <= 40 then g + 20 when g = 50 then 99 end, 'n' || g
        from generate_series(1, 60) g;";
    let target = "create table items (id uuid primary key, legacy_id integer, up uuid references items, name text);";
    let mapping = format!(
        "{ITEM_MAPPING}up = {{ ref = \"items\", by = \"up\", missing = \"quarantine\" }}\n"
    );
    let bench = Bench::with_tables(source, target, &mapping).await;
    bench.ask(&["migrate", "--batch-size", "7"], 3).await;
    let aside = bench.set_aside().await;
    let wanted = [
        "items 10 open 23503",
        "items 30 open 23503",
        "items 50 open 23503",
    ];
    assert_eq!(aside, wanted);
    let whole = "select count(*) from items i join items u on u.id = i.up and u.legacy_id = i.legacy_id + 20";
    assert_eq!(bench.in_target(whole).await, 38);
    assert_eq!(bench.in_target("select count(*) from items").await, 57);
    bench.writes_nothing_more(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e12_a_unique_value_of_a_native_row_is_left_to_it() {
    let target = "create table items (id uuid primary key, legacy_id integer, name text unique);
        insert into items values (gen_random_uuid(), null, 'n5'), (gen_random_uuid(), null, 'mine');";
    let bench = Bench::with_tables(ITEMS, target, ITEM_MAPPING).await;
    bench.migrate(3).await;
    assert_eq!(bench.set_aside().await, ["items 5 open 23505"]);
    let native = "select count(*) from items where legacy_id is null and name in ('n5', 'mine')";
    assert_eq!(bench.in_target(native).await, 2);
    assert_eq!(bench.in_target("select count(*) from items").await, 101);
    bench.writes_nothing_more(3).await;
    // A change of another row that runs into a native one stays out, and its old content stays in.
    bench
        .on(Side::Source, "update item set name = 'mine' where id = 9")
        .await;
    bench.migrate(3).await;
    assert_eq!(
        bench.set_aside().await,
        ["items 5 open 23505", "items 9 open 23505"]
    );
    assert_eq!(
        bench
            .text_in_target("select name from items where legacy_id = 9")
            .await,
        "n9"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn e13_a_key_that_comes_twice_stops_the_command() {
    let source = format!(
        "{FAMILY} create view doubled as select * from item union all \
        select id, parent_id, name || '!' from item where id = 40;"
    );
    let target = "create table items (id uuid primary key, legacy_id integer, name text);";
    let mapping = ITEM_MAPPING
        .replace("source = \"item\"", "source = \"doubled\"\nkey = [\"id\"]")
        .replace(
            "[entities.items.columns]",
            "ignore = [\"parent_id\"]\n[entities.items.columns]",
        );
    let bench = Bench::with_tables(&source, target, &mapping).await;
    let said = bench.say(&["migrate"]).await;
    refused(&said, 13, &["items", "unique"]);
    assert_eq!(bench.in_target("select count(*) from items").await, 0);
    bench
        .on(
            Side::Source,
            "create or replace view doubled as select * from item",
        )
        .await;
    bench.migrate(0).await;
    assert_eq!(bench.in_target("select count(*) from items").await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn e15_a_batch_has_more_values_than_a_statement_has_binds() {
    let names: Vec<String> = (0..150).map(|number| format!("c{number}")).collect();
    let columns = names.join(" integer, ");
    let source = format!(
        "create table item (id integer primary key, name text, {columns} integer);
         insert into item select g, 'n', {} from generate_series(1, 700) g;",
        vec!["g"; names.len()].join(", ")
    );
    let target = format!(
        "create table items (id uuid primary key, legacy_id integer, name text, {columns} integer);"
    );
    let rules: String = names
        .iter()
        .map(|name| format!("{name} = {{}}\n"))
        .collect();
    let bench = Bench::with_tables(&source, &target, &format!("{ITEM_MAPPING}{rules}")).await;
    let report = bench.ask(&["migrate", "--batch-size", "1000"], 0).await;
    assert_eq!(report["entities"][0]["batches"]["inserted"], 700);
    assert_eq!(
        bench.in_target("select count(*) from diffmig.batch").await,
        1
    );
    let right =
        "select count(*) from items where c0 = legacy_id and c77 = legacy_id and c149 = legacy_id";
    assert_eq!(bench.in_target(right).await, 700);
}

#[tokio::test(flavor = "multi_thread")]
async fn e16_a_trigger_that_touches_every_row_is_no_edit() {
    let source = "create table item (id integer primary key, name text, updated_at timestamptz);
        insert into item select g, 'n' || g, '2020-01-01' from generate_series(1, 50) g;";
    let target = "create table items (id uuid primary key, legacy_id integer, name text, updated_at timestamptz);
        create function touch() returns trigger language plpgsql as $$ begin new.updated_at := clock_timestamp(); return new; end $$;
        create trigger touch before insert or update on items for each row execute function touch();";
    let mapping = format!("{ITEM_MAPPING}updated_at = {{}}\n");
    let bench = Bench::with_tables(source, target, &mapping).await;
    bench.migrate(0).await;
    bench.writes_nothing_more(0).await;
    for round in 1..=2 {
        let edit = format!("update item set name = 'round {round}' where id <= 10");
        bench.on(Side::Source, &edit).await;
        let report = bench.migrate(0).await;
        assert_eq!(report["entities"][0]["batches"]["updated"], 10, "{report}");
        bench.writes_nothing_more(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e21_rows_that_somebody_edited_stay_and_the_others_go_on() {
    let bench = Bench::with_tables(FAMILY, TARGET_FAMILY, FAMILY_MAPPING).await;
    bench.migrate(0).await;
    bench
        .on(Side::Target, "update items set name = 'edited' where legacy_id in (1, 2); delete from items where legacy_id = 3")
        .await;
    bench.writes_nothing_more(0).await;
    bench
        .on(
            Side::Source,
            "update item set name = 'source' where id between 2 and 10",
        )
        .await;
    bench.migrate(3).await;
    assert_eq!(
        bench.set_aside().await,
        ["items 2 conflict 40000", "items 3 conflict 40000"]
    );
    let names = "select string_agg(distinct name, ',' order by name) from items where legacy_id between 1 and 10";
    assert_eq!(bench.text_in_target(names).await, "edited,source");
    assert_eq!(bench.in_target("select count(*) from items").await, 99);
    bench.writes_nothing_more(3).await;
    bench.map(&FAMILY_MAPPING.replace(
        "source = \"item\"",
        "conflict = \"source_wins\"\nsource = \"item\"",
    ));
    bench
        .on(
            Side::Source,
            "update item set name = 'wins' where id in (2, 3)",
        )
        .await;
    bench.migrate(0).await;
    assert_eq!(
        bench
            .in_target("select count(*) from items where name = 'wins'")
            .await,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn e25_new_rows_of_the_application_get_numbers_behind_the_migrated_ones() {
    let source = "create table item (id integer primary key, name text);
        insert into item select g * 10, 'n' || g from generate_series(1, 50) g;";
    for kind in [
        "serial",
        "integer generated by default as identity",
        "integer generated always as identity",
    ] {
        let target = format!("create table items (id {kind} primary key, name text);");
        let mapping = "
            [entities.items]
            source = \"item\"
            target = \"items\"
            id = { column = \"id\", strategy = \"same\" }
            [entities.items.columns]
            name = {}\n";
        let bench = Bench::with_tables(source, &target, mapping).await;
        bench.migrate(0).await;
        let insert = "insert into items (name) values ('native') returning id::bigint";
        assert_eq!(bench.in_target(insert).await, 501, "{kind}");
        // Never backwards: the application is ahead now, and a deletion in the source changes nothing.
        let ahead = "select setval(pg_get_serial_sequence('items', 'id'), 9000)";
        assert_eq!(bench.in_target(ahead).await, 9000);
        bench
            .on(
                Side::Source,
                "insert into item values (505, 'late'); delete from item where id = 10",
            )
            .await;
        bench.migrate(0).await;
        assert_eq!(bench.in_target(insert).await, 9001, "{kind}");
        bench
            .on(Side::Source, "insert into item values (20000, 'far')")
            .await;
        bench.migrate(0).await;
        assert_eq!(bench.in_target(insert).await, 20001, "{kind}");
        // Nothing to write, nothing to set.
        let calls = bench.in_target("select last_value from items_id_seq").await;
        bench.migrate(0).await;
        assert_eq!(
            bench.in_target("select last_value from items_id_seq").await,
            calls
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e27_generated_columns_are_left_out_and_identities_are_overridden() {
    let source = "create table item (id integer primary key, name text);
        insert into item select g, 'n' || g from generate_series(1, 20) g;";
    let target = "create table items (id integer generated always as identity primary key, name text,
        shout text generated always as (upper(name)) stored, number bigint generated always as identity);";
    let mapping = "
        [entities.items]
        source = \"item\"
        target = \"items\"
        id = { column = \"id\", strategy = \"same\" }
        [entities.items.columns]
        name = {}\n";
    let bench = Bench::with_tables(source, target, mapping).await;
    bench.migrate(0).await;
    let right = "select count(*) from items where shout = 'N' || id and name = 'n' || id and number is not null";
    assert_eq!(bench.in_target(right).await, 20);
    bench
        .on(Side::Source, "update item set name = 'x' where id = 3")
        .await;
    bench.migrate(0).await;
    assert_eq!(
        bench
            .in_target("select count(*) from items where id = 3 and shout = 'X'")
            .await,
        1
    );
    bench.writes_nothing_more(0).await;
    bench.map(&format!(
        "{}shout = {{ column = \"name\" }}\n",
        &mapping[1..]
    ));
    refused(
        &bench.say(&["migrate"]).await,
        13,
        &["shout", "takes no rule"],
    );
}
