//! Transactions that are open while a detection runs.

use super::{found, shop};
use crate::support::tables::execute;
use diffmig::domain::connection::Side;

/// What an incremental copy by the newest `updated_at` would fetch.
const NAIVE: &str = "select count(*) from item where updated_at > (select max(updated_at) from item \
                     where name not like 'late%')";

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_commits_late_is_seen_by_the_next_run() {
    let bench = shop().await;
    let mut late = bench.source().await;
    execute(
        &mut late,
        "begin; update item set name = 'late', updated_at = now() where id = 1; delete from item where id = 2;
         insert into item values (50, 'late', 1)",
    )
    .await;
    // Somebody else writes and commits after it began, so that the newest time is past the late one.
    bench
        .on(
            Side::Source,
            "update item set name = 'quick', updated_at = now() + interval '1 s' where id = 3",
        )
        .await;
    bench.migrate_with(&["--mode", "xmin"], 0).await;
    execute(&mut late, "commit").await;
    assert_eq!(bench.in_source(NAIVE).await, 0);
    let (_, _, new, modified, deleted) = bench.found("xmin").await;
    assert_eq!((new, modified, deleted), (1, 1, 1));
    bench.settles("xmin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_savepoint_in_flight_is_seen_by_the_next_run() {
    let bench = shop().await;
    let mut late = bench.source().await;
    execute(
        &mut late,
        "begin; select txid_current(); savepoint one; update item set name = 'late' where id = 1;
         savepoint two; update item set name = 'late' where id = 2; release savepoint two",
    )
    .await;
    bench.migrate_with(&["--mode", "xmin"], 0).await;
    execute(
        &mut late,
        "savepoint three; update item set name = 'undone' where id = 4; rollback to savepoint three; commit",
    )
    .await;
    assert_eq!(bench.found("xmin").await, found("xmin", 2, 0, 2, 0));
    bench.settles("xmin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_is_seen_when_it_commits() {
    let bench = shop().await;
    let mut late = bench.source().await;
    execute(
        &mut late,
        "begin; update item set name = 'late' where id = 1; prepare transaction 'late'",
    )
    .await;
    drop(late);
    bench.migrate_with(&["--mode", "xmin"], 0).await;
    bench
        .on(Side::Source, "update item set name = 'other' where id = 2")
        .await;
    bench.migrate_with(&["--mode", "xmin"], 0).await;
    bench.on(Side::Source, "commit prepared 'late'").await;
    assert_eq!(bench.found("xmin").await.3, 1);
    bench.settles("xmin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn freezing_and_rewriting_a_table_changes_no_row() {
    let bench = shop().await;
    bench
        .on(
            Side::Source,
            "update item set name = 'changed' where id = 1",
        )
        .await;
    for work in [
        "vacuum (freeze) item",
        "vacuum full item",
        "cluster item using item_pkey",
        "reindex table item",
        "analyze item",
    ] {
        bench.on(Side::Source, work).await;
        assert_eq!(
            bench.found("xmin").await,
            found("xmin", 1, 0, 1, 0),
            "{work}"
        );
    }
    bench.settles("xmin").await;
    bench.on(Side::Source, "vacuum full item").await;
    assert_eq!(bench.found("xmin").await, found("xmin", 0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_and_come_again_between_two_runs_are_the_same_rows() {
    let bench = shop().await;
    bench
        .on(
            Side::Source,
            "create temp table kept as select * from item; truncate item; insert into item select * from kept;",
        )
        .await;
    assert_eq!(bench.found("xmin").await, found("xmin", 61, 0, 0, 0));
    bench
        .on(
            Side::Source,
            "delete from item where id = 1; insert into item values (1, 'other', 1)",
        )
        .await;
    assert_eq!(bench.found("xmin").await.3, 1);
    bench.settles("xmin").await;
}
