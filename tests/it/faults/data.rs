//! Rows that cannot go, and rows that must go exactly as they are.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::tables::{execute, refused};
use diffmig::domain::connection::Side;

const ITEMS: &str = "create table item (id integer primary key, name text);";
const TARGET_ITEMS: &str =
    "create table items (id uuid primary key, legacy_id integer unique, name text);";
const MAPPING: &str = "
[entities.items]
source = \"item\"
target = \"items\"
legacy = { id = \"legacy_id\" }
[entities.items.columns]
name = {}
";

#[tokio::test(flavor = "multi_thread")]
async fn e20_row_security_on_the_target_is_refused_before_a_row_is_written() {
    let source =
        format!("{ITEMS} insert into item select g, 'n' || g from generate_series(1, 30) g");
    let target = format!(
        "{TARGET_ITEMS} alter table items enable row level security;
         create policy even on items using (legacy_id % 2 = 0) with check (true);
         create role writer login password 'workshop';
         grant select, insert, update on items to writer;"
    );
    let bench = Bench::with_tables(&source, &target, MAPPING).await;
    let grant = "grant create, temporary on database postgres to writer";
    execute(&mut bench.admin().await, grant).await;
    let url = bench
        .workshop
        .target
        .url_with_password("writer", "workshop", "postgres");
    for round in ["an empty table", "hidden rows"] {
        let mut command = bench.command(&["migrate"]);
        command.env("DIFFMIG_TARGET_URL", &url);
        let said = crate::support::command::run(command).await;
        refused(
            &said,
            12,
            &[
                "row-level security",
                "public.items",
                "bypassrls",
                "nothing was started",
            ],
        );
        let ours = "select count(*) from pg_namespace where nspname = 'diffmig'";
        assert_eq!(
            bench.in_target(ours).await,
            0,
            "{round}: something was begun"
        );
        bench
            .on(Side::Target, "insert into items select gen_random_uuid(), null, 'native' where not exists (select from items)")
            .await;
    }
    let rows = "select count(*) from items";
    assert_eq!(bench.in_target(rows).await, 1);
    execute(&mut bench.admin().await, "alter role writer bypassrls").await;
    let mut command = bench.command(&["migrate"]);
    command.env("DIFFMIG_TARGET_URL", &url);
    let said = crate::support::command::run(command).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(bench.in_target(rows).await, 31);
}

#[tokio::test(flavor = "multi_thread")]
async fn e20_hidden_rows_of_a_table_that_the_mapping_does_not_name_are_an_error() {
    let source = format!(
        "{ITEMS} insert into item select g, 'n' || g from generate_series(1, 30) g;
         create table hidden (item_id integer primary key, word text);
         insert into hidden select g, 'w' from generate_series(1, 30) g;
         alter table hidden enable row level security;
         create policy few on hidden using (item_id <= 3);
         create role reader login password 'workshop';
         grant select on item, hidden to reader;"
    );
    let query = "select i.id, h.word as name from item i join hidden h on h.item_id = i.id";
    let mapping = MAPPING.replace(
        "source = \"item\"",
        &format!("source = {{ query = \"{query}\", watch = [\"item\"] }}\nkey = [\"id\"]"),
    );
    let bench = Bench::with_tables(&source, TARGET_ITEMS, &mapping).await;
    let url = bench
        .workshop
        .source
        .url_with_password("reader", "workshop", "legacy");
    let mut command = bench.command(&["migrate"]);
    command.env("DIFFMIG_SOURCE_URL", url);
    let said = crate::support::command::run(command).await;
    refused(&said, 12, &["row-level security", "hidden"]);
    // As a role that sees all of it, all of it comes.
    bench.migrate(0).await;
    assert_eq!(bench.in_target("select count(*) from items").await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn e18_rows_that_a_trigger_swallows_are_found_and_set_aside() {
    let source =
        format!("{ITEMS} insert into item select g, 'n' || g from generate_series(1, 200) g");
    let target = format!(
        "{TARGET_ITEMS}
         create function swallow() returns trigger language plpgsql as $$
         begin if new.legacy_id in (7, 64, 65) or new.name = 'gone' then return null; end if; return new; end $$;
         create trigger swallow before insert or update on items for each row execute function swallow();"
    );
    let bench = Bench::with_tables(&source, &target, MAPPING).await;
    let first = bench.migrate(3).await;
    let swallowed = [
        "items 7 open DM001",
        "items 64 open DM001",
        "items 65 open DM001",
    ];
    assert_eq!(bench.set_aside().await, swallowed, "{first}");
    assert_eq!(bench.in_target("select count(*) from items").await, 197);
    let ledger = &first["entities"][0]["ledger"];
    assert_eq!(
        (&ledger["applied"], &ledger["quarantined"]),
        (&197.into(), &3.into())
    );
    let phantom = "select count(*) from diffmig.ledger_items l \
        where l.outcome = 'applied' and not exists (select from items t where t.id = l.target_id)";
    assert_eq!(
        bench.in_target(phantom).await,
        0,
        "the ledger claims a row that is not there"
    );
    bench.writes_nothing_more(3).await;

    // An update can be swallowed as well.
    bench
        .on(Side::Source, "update item set name = 'gone' where id = 100")
        .await;
    bench
        .on(Side::Source, "update item set name = 'kept' where id = 101")
        .await;
    bench.migrate(3).await;
    assert!(
        bench
            .set_aside()
            .await
            .contains(&"items 100 open DM001".to_owned())
    );
    let names =
        "select string_agg(name, ',' order by legacy_id) from items where legacy_id in (100, 101)";
    assert_eq!(bench.text_in_target(names).await, "n100,kept");
    bench.writes_nothing_more(3).await;
}

/// One bad row of every kind; the keys say which.
const SPOILED: &str = "
create table item (id integer primary key, name text, small integer, mood text, tag text, price numeric,
  code text, must text, day text, word text, slot text, parent integer, amount numeric);
insert into item select g, 'n', 1, 'calm', gen_random_uuid()::text, 1, 'c', 'm', '2020-02-29', 'w' || g, 's' || g, null, 1
  from generate_series(1, 400) g;
update item set name = 'longer than six' where id = 11;
update item set small = 70000 where id = 12;
update item set mood = 'furious' where id = 13;
update item set tag = 'no uuid' where id = 14;
update item set price = -1 where id = 15;
update item set code = '' where id = 16;
update item set must = null where id = 17;
update item set word = 'w5' where id = 18;
update item set name = 'raise' where id = 19;
update item set slot = 's5' where id = 20;
update item set amount = 100000 where id = 21;
update item set day = '2021-02-29' where id = 22;
update item set parent = 77 where id = 23;
update item set parent = 78 where id = 24;
update item set name = 'broken' where id = 25;
";
const STRICT: &str = "
create type mood as enum ('calm', 'merry');
create domain filled as text check (value <> '');
create table parents (id integer primary key);
create table items (id uuid primary key, legacy_id integer unique, name varchar(6), small smallint, mood mood, tag uuid,
  price numeric check (price >= 0), code filled, must text not null, day text check (day::date is not null),
  word text unique, slot text, exclude using hash (slot with =), parent integer references parents,
  late integer references parents deferrable initially deferred, amount numeric(5,2));
create function strict() returns trigger language plpgsql as $$ begin
  if new.name = 'raise' then raise exception 'no %', new.name; end if;
  if new.name = 'broken' then raise exception using errcode = 'PT400', message = 'no'; end if;
  return new; end $$;
create trigger strict before insert on items for each row execute function strict();
";
const STRICT_MAPPING: &str = "
[entities.items]
source = \"item\"
target = \"items\"
legacy = { id = \"legacy_id\" }
[entities.items.columns]
name = {}
small = {}
mood = {}
tag = {}
price = {}
code = {}
must = {}
day = {}
word = {}
slot = {}
amount = {}
parent = { expr = \"case when parent = 77 then parent end\" }
late = { expr = \"case when parent = 78 then parent end\" }
";

#[tokio::test(flavor = "multi_thread")]
async fn e4_e19_of_every_kind_of_bad_row_exactly_that_row_is_set_aside() {
    let bench = Bench::with_tables(SPOILED, STRICT, STRICT_MAPPING).await;
    let report = bench.migrate(3).await;
    let found = bench.set_aside().await;
    let wanted = [
        "11 open 22001",
        "12 open 22003",
        "13 open 22P02",
        "14 open 22P02",
        "15 open 23514",
        "16 open 23514",
        "17 open 23502",
        "18 open 23505",
        "19 open P0001",
        "20 open 23P01",
        "21 open 22003",
        "22 open 22008",
        "23 open 23503",
        "24 open 23503",
        "25 open PT400",
    ];
    assert_eq!(found, wanted.map(|it| format!("items {it}")), "{report}");
    assert_eq!(bench.in_target("select count(*) from items").await, 385);
    let values = "select count(*) from diffmig.quarantine q where q::text ~ 'furious|longer than six|no raise|no uuid'";
    assert_eq!(
        bench.in_target(values).await,
        0,
        "a value of a row was recorded"
    );
    bench.writes_nothing_more(3).await;

    bench
        .on(
            Side::Source,
            "update item set name = 'short' where id in (11, 19)",
        )
        .await;
    bench.migrate(3).await;
    assert_eq!(bench.set_aside().await.len(), 13);
    assert_eq!(bench.in_target("select count(*) from items").await, 387);
}

#[tokio::test(flavor = "multi_thread")]
async fn e24_too_many_deletions_stop_everything_until_they_are_allowed_exactly() {
    let source =
        format!("{ITEMS} insert into item select g, 'n' || g from generate_series(1, 10000) g");
    let target = TARGET_ITEMS.replace(
        "name text",
        "name text, gone boolean not null default false",
    );
    let mapping = MAPPING.replace(
        "legacy =",
        "delete = { retire = { gone = true } }\nlegacy =",
    );
    let bench = Bench::with_tables(&source, &target, &mapping).await;
    bench.migrate(0).await;
    bench
        .on(Side::Source, "delete from item where id <= 100")
        .await;
    bench.migrate(0).await;
    let gone = "select count(*) from items where gone";
    assert_eq!(bench.in_target(gone).await, 100, "1 % of the rows may go");

    let edit = "delete from item where id between 201 and 400; update item set name = 'new' where id = 5000";
    bench.on(Side::Source, edit).await;
    let before = bench.in_target("select count(*) from diffmig.batch").await;
    for arguments in [
        &["migrate"][..],
        &["migrate", "--allow-deletes", "items=199"],
        &["migrate", "--allow-deletes", "other=200"],
    ] {
        let said = bench.say(arguments).await;
        let code = if arguments.contains(&"other=200") {
            2
        } else {
            14
        };
        assert_eq!(said.code, Some(code), "{said:?}");
        if code == 14 {
            refused(
                &said,
                14,
                &["200", "--allow-deletes items=200", "nothing was applied"],
            );
        }
    }
    assert_eq!(bench.in_target(gone).await, 100);
    assert_eq!(
        bench.in_target("select count(*) from diffmig.batch").await,
        before,
        "something was applied before the deletions were refused"
    );
    let detection = bench.ask(&["detect"], 0).await;
    let id = detection["detectionId"].as_str().unwrap();
    refused(
        &bench.say(&["migrate", "--detection-id", id]).await,
        14,
        &["200"],
    );
    bench
        .ask(&["migrate", "--allow-deletes", "items=200"], 0)
        .await;
    assert_eq!(bench.in_target(gone).await, 300);
    assert_eq!(
        bench
            .in_target("select count(*) from items where name = 'new'")
            .await,
        1
    );
    bench.writes_nothing_more(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_e2_text_that_json_cannot_hold_sets_its_row_aside() {
    let source = "create table item (id integer primary key, name text, a json, b jsonb, c text, raw bytea);
        insert into item select g, 'n', '{\"a\": 1}', '{\"b\": 2}', '{\"c\": 3}', '\\x410042' from generate_series(1, 50) g;
        update item set a = '{\"a\": \"\\u0000\"}' where id = 7;
        update item set c = '{\"a\": \"x\\u0000y\"}' where id = 8;
        update item set a = '{\"a\": \"\\ud800\"}' where id = 9;
        update item set c = '{\"a\": \"\\ud83d\\ude00\"}', a = '{\"a\": \"\\ud83d\\ude00\"}' where id = 10;";
    let target = "create table items (id uuid primary key, legacy_id integer, name text, a jsonb, b jsonb, c jsonb, raw text);";
    let mapping =
        format!("{MAPPING}a = {{}}\nb = {{}}\nc = {{ json_parse = \"c\" }}\nraw = {{}}\n");
    let bench = Bench::with_tables(source, target, &mapping).await;
    bench.migrate(3).await;
    let keys: Vec<String> = bench.set_aside().await;
    let keys: Vec<&str> = keys.iter().map(|it| &it[..7]).collect();
    assert_eq!(keys, ["items 7", "items 8", "items 9"]);
    let smile =
        "select count(*) from items where legacy_id = 10 and a = c and a ->> 'a' = U&'\\+01F600'";
    assert_eq!(bench.in_target(smile).await, 1);
    // Bytes become their hexadecimal text, so no zero byte can reach a text column.
    let bytes = "select count(*) from items where raw = '\\x410042'";
    assert_eq!(bench.in_target(bytes).await, 47);
    assert_eq!(bench.in_target("select count(*) from items").await, 47);
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_the_ends_of_the_ranges_arrive_exactly() {
    let columns = "d date, t timestamp, z timestamptz, i interval, n numeric, f double precision, r real, b bytea, s text";
    let source = format!(
        "create table item (id integer primary key, name text, {columns});
        insert into item values
        (1, 'a', 'infinity', 'infinity', 'infinity', '178000000 years', 'NaN', 'NaN', 'NaN', '', ''),
        (2, 'b', '-infinity', '-infinity', '-infinity', '-178000000 years', 1e-300, 'Infinity', '-Infinity', '\\x00ff', E'\\t'),
        (3, 'c', '4713-01-01 BC', '4713-01-01 00:00:00 BC', '4713-01-01 00:00:00+00 BC', '1 mon -1 day', 1e300, 1.7e308, 3.4e38, null, ' '),
        (4, 'd', '5874897-12-31', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', '0', 0.25, -0.0, 1e-45, '\\x', 'NULL'),
        (5, 'e', null, null, null, null, null, 5e-324, null, null, null),
        (6, 'f', '0001-12-31 BC', '2021-03-14 02:30:00', '2021-11-07 01:30:00-07', '-1 day +02:00', -1, 0.1, 0.1, '\\xde', U&'\\FFFD\\+01F600');"
    );
    let target = format!(
        "create table items (id uuid primary key, legacy_id integer, name text, {columns});"
    );
    let rules = "d = {}\nt = {}\nz = {}\ni = {}\nn = {}\nf = {}\nr = {}\nb = {}\ns = {}\n";
    let bench = Bench::with_tables(&source, &target, &format!("{MAPPING}{rules}")).await;
    bench.migrate(0).await;
    let list = "d::text, t::text, z::text, i::text, n::text, f::text, r::text, b::text, s";
    let settings = "set timezone = 'UTC'; set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; \
        set bytea_output = 'hex'; set extra_float_digits = 1;";
    let mut texts = Vec::new();
    for (mut connection, table, key) in [
        (bench.source().await, "item", "id"),
        (bench.target().await, "items", "legacy_id"),
    ] {
        execute(&mut connection, settings).await;
        let sql =
            format!("select string_agg(row({list})::text, chr(10) order by {key}) from {table}");
        texts.push(crate::support::tables::text(&mut connection, &sql).await);
    }
    // The sign of zero is the one thing that is not kept, and that is documented.
    assert_eq!(
        texts[0].replace(",-0,", ",0,"),
        texts[1].replace(",-0,", ",0,")
    );
    bench.writes_nothing_more(0).await;
}
