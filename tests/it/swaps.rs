//! Unique values that move from one row to another.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use diffmig::domain::connection::Side;

const SOURCE: &str = "
    create table seat (id int primary key, code text, place int not null, mail text not null, plain text);
    insert into seat select n, 'c' || n, n * 10, 'm' || n || '@example.org', 'p' || n from generate_series(1, 9) n;";

const TARGET: &str = "
    create table seats (id uuid primary key, code text unique, place int not null unique check (place < 1000),
        mail text not null, plain text, legacy_no int unique not null, zone text default 'west', badge text,
        unique (zone, place), unique (badge, code));
    create unique index seats_mail on seats (lower(mail));";

const MAPPING: &str = r#"
[entities.seats]
source = "seat"
target = "seats"
legacy = { id = "legacy_no" }
[entities.seats.columns]
code = "code"
place = "place"
mail = "mail"
plain = "plain"
badge = { column = "plain", owner = "target" }
"#;

async fn theatre() -> Bench {
    let bench = Bench::with_tables(SOURCE, TARGET, MAPPING).await;
    bench.migrate_with(&[], 0).await;
    bench
}

async fn seats(bench: &Bench) -> Vec<String> {
    bench
        .target_lines("select code, place::text, mail, plain from seats order by plain")
        .await
}

/// What the source holds, in the same form.
async fn wanted(bench: &Bench) -> Vec<String> {
    let mut source = bench.source().await;
    let sql = "select code || '|' || place || '|' || mail || '|' || plain from seat order by plain";
    sqlx::query_scalar(sql)
        .fetch_all(&mut source)
        .await
        .unwrap()
}

const SWAPS: &[(&str, &str)] = &[
    (
        "two codes, may be NULL",
        "update seat set code = case id when 2 then 'c7' else 'c2' end where id in (2, 7)",
    ),
    (
        "a ring of places, NOT NULL",
        "update seat set place = case id when 1 then 50 when 5 then 90 else 10 end where id in (1, 5, 9)",
    ),
    (
        "two mails under an expression index",
        "update seat set mail = case id when 3 then 'M4@example.org' else 'm3@EXAMPLE.org' end where id in (3, 4)",
    ),
    (
        "a chain into the free",
        "update seat set code = case id when 1 then 'c2' when 2 then 'c3' else 'c99' end where id in (1, 2, 3)",
    ),
    (
        "everything at once",
        "update seat set code = 'c' || 10 - id, place = (10 - id) * 10, mail = 'm' || 10 - id || '@example.org'",
    ),
];

const BACK: (&str, &str) = (
    "and back",
    "update seat set code = 'c' || id, place = id * 10, mail = 'm' || id || '@example.org'",
);

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_swap_unique_values_arrive_in_the_same_run() {
    let bench = theatre().await;
    // Columns that stand in a unique constraint, but that an update does not write, keep their values.
    let ids = "select plain, id::text, legacy_no::text, zone, badge from seats order by 1";
    let before = bench.target_lines(ids).await;
    for size in ["1", "4"] {
        for (what, swap) in SWAPS.iter().flat_map(|swap| [swap, &BACK]) {
            bench.on(Side::Source, swap).await;
            bench.migrate_with(&["--batch-size", size], 0).await;
            let found = seats(&bench).await;
            assert_eq!(
                found,
                wanted(&bench).await,
                "{what}, {size} rows in a batch"
            );
            assert_eq!(bench.target_lines(ids).await, before, "{what}: an id moved");
        }
    }
    let again = bench.say(&["detect", "--exit-code", "-q"]).await;
    assert_eq!(again.code, Some(0), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_a_native_row_has_stays_out_and_nothing_is_left_parked() {
    let bench = theatre().await;
    bench
        .on(Side::Target, "insert into seats values (gen_random_uuid(), 'native', 777, 'native@example.org', 'z', 99)")
        .await;
    // 1 and 2 swap their codes; 3 wants the native row's code and its own is wanted by 4.
    bench
        .on(Side::Source,
            "update seat set code = case id when 1 then 'c2' when 2 then 'c1' when 3 then 'native' else 'c3' end
             where id in (1, 2, 3, 4)",
        )
        .await;
    bench.migrate_with(&["--batch-size", "3"], 3).await;
    let found = seats(&bench).await;
    assert_eq!(found.len(), 10);
    for line in [
        "c2|10|m1@example.org|p1",
        "c1|20|m2@example.org|p2",
        "c3|30|m3@example.org|p3",
        "c4|40|m4@example.org|p4",
        "native|777|native@example.org|z",
    ] {
        assert!(
            found.contains(&line.to_owned()),
            "{line} is not in {found:?}"
        );
    }
    let open = "select key::text, sqlstate, constraint_name from diffmig.quarantine where status = 'open' order by 1";
    assert_eq!(
        bench.target_lines(open).await,
        ["[3]|23505|seats_code_key", "[4]|23505|seats_code_key"]
    );
    // The obstacle goes, and the next run lets both in without being told.
    bench
        .on(
            Side::Target,
            "update seats set code = 'moved' where code = 'native'",
        )
        .await;
    bench.migrate_with(&[], 0).await;
    let found = seats(&bench).await;
    assert!(
        found.contains(&"native|30|m3@example.org|p3".to_owned()),
        "{found:?}"
    );
    assert!(
        found.contains(&"c3|40|m4@example.org|p4".to_owned()),
        "{found:?}"
    );
}
