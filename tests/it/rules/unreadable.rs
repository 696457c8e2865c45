//! Rows whose values the source cannot compute.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::tables::refused;
use diffmig::domain::connection::Side;

const FRAGILE: &str = "[entities.items]\nsource = \"item\"\ntarget = \"items\"\nlegacy = { id = \"old_id\" }\n\
     where = \"10 / nullif(c, 7) >= 0\"\nignore = [\"note\"]\n\
     columns = { q = { expr = \"100 / a\" }, w = { expr = \"b::int\" } }\n";

/// Rows whose values cannot be computed: where, and with what.
fn computed_aside() -> String {
    "select coalesce(string_agg((key ->> 0) || ' ' || sqlstate || ' ' || coalesce(constraint_name, ''), ', ' order by (key ->> 0)::int), 'none') \
     from diffmig.quarantine where status not in ('resolved', 'waived')"
        .to_owned()
}

#[tokio::test]
async fn a_value_that_cannot_be_computed_sets_its_row_aside_and_no_other() {
    let bench = Bench::with_tables(
        "create table item (id int primary key, a int, b text, c int, note text); \
         insert into item select n, 1, '2', 1, 'x' from generate_series(1, 50000) n; \
         update item set a = 0 where id in (1, 25000); update item set b = 'x' where id = 25001; \
         update item set c = 0 where id = 50000",
        "create table items (id uuid primary key, old_id int, q int, w int)",
        FRAGILE,
    )
    .await;
    // A first load, which is not detected row by row.
    let report = bench.migrate(3).await;
    assert_eq!(
        report["entities"][0]["ledger"]["quarantined"], 4,
        "{report}"
    );
    let aside = "1 22012 q, 25000 22012 q, 25001 22P02 w, 50000 22012 ";
    assert_eq!(bench.text_in_target(&computed_aside()).await, aside);
    assert_eq!(
        bench.in_target("select count(*) from public.items").await,
        49_996
    );
    // Nothing more is written, and verify, detect and explain live with it.
    bench.writes_nothing_more(3).await;
    let proof = bench.ask(&["verify"], 3).await;
    assert_eq!(proof["entities"][0]["setAside"], 4, "{proof}");
    let seen = bench.ask(&["detect", "--mode", "full"], 0).await;
    assert_eq!(seen["entities"][0]["modified"], 0, "{seen}");
    // One is mended, one breaks that was fine, one is gone.
    bench
        .on(
            Side::Source,
            "update item set a = 4 where id = 1; update item set a = 0 where id = 2; delete from item where id = 25001",
        )
        .await;
    bench.migrate(3).await;
    let aside = "2 22012 q, 25000 22012 q, 50000 22012 ";
    assert_eq!(bench.text_in_target(&computed_aside()).await, aside);
    assert_eq!(
        bench
            .text_in_target("select q::text from public.items where old_id = 1")
            .await,
        "25"
    );
    // The row that broke keeps what was applied last.
    assert_eq!(
        bench
            .text_in_target("select q::text from public.items where old_id = 2")
            .await,
        "100"
    );
    bench
        .on(Side::Source, "update item set a = 5, b = '6', c = 2")
        .await;
    bench.migrate(0).await;
    assert_eq!(
        bench
            .in_target("select count(*) from public.items where q = 20 and w = 6")
            .await,
        49_999
    );
}

#[tokio::test]
async fn a_rule_that_fits_hardly_any_row_stops_the_command() {
    let bench = Bench::with_tables(
        "create table item (id int primary key, a int, b text, c int, note text); \
         insert into item select n, 0, '2', 1, 'x' from generate_series(1, 3000) n",
        "create table items (id uuid primary key, old_id int, q int, w int)",
        FRAGILE,
    )
    .await;
    let said = bench.say(&["migrate", "-q"]).await;
    refused(
        &said,
        13,
        &["more than 1000 rows of items", "correct the rule"],
    );
    assert_eq!(
        bench.in_target("select count(*) from public.items").await,
        0
    );
}
