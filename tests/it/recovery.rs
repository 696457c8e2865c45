//! Killed at any moment, the same command again reaches the same end.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::{Bench, expected, number};
use std::time::{Duration, Instant};

const COMMITTED: &str = "select case when pg_catalog.to_regclass('diffmig.batch') is null then 0 else \
    (xpath('/row/c/text()', query_to_xml('select count(*) as c from diffmig.batch', false, true, '')))[1]::text::bigint end";

/// Waits until the target shows what is awaited.
async fn until(bench: &Bench, query: &str, wanted: i64) {
    let began = Instant::now();
    let mut target = bench.target().await;
    while number(&mut target, query).await < wanted {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "waited too long for: {query}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn kill_after(bench: &Bench, batches: i64) {
    let mut child = bench.spawn(&["migrate", "--batch-size", "500", "-q"]);
    until(bench, COMMITTED, batches).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_three_moments_the_same_command_ends_as_if_never_killed() {
    let bench = Bench::day1().await;
    let mut killed_at = Vec::new();
    for batches in [1, 12, 45] {
        kill_after(&bench, batches).await;
        let mut target = bench.target().await;
        killed_at.push(number(&mut target, COMMITTED).await);
    }
    assert!(
        killed_at.windows(2).all(|pair| pair[0] < pair[1]),
        "{killed_at:?}"
    );
    let said = bench.say(&["migrate", "--batch-size", "500"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    let totals = &expected("day1")["total"];
    assert_eq!(
        bench.compare_all("day1").await,
        usize::try_from(totals["compared"]).unwrap()
    );
    let mut target = bench.target().await;
    let twice = "select count(*) from (select legacy_notice_id from public.notices \
        where legacy_notice_id is not null group by 1 having count(*) > 1) d";
    assert_eq!(number(&mut target, twice).await, 0);
    let applied = "select coalesce(sum(inserted), 0)::bigint from diffmig.batch";
    assert_eq!(
        number(&mut target, applied).await,
        totals["applied"],
        "a row was inserted twice or never"
    );
    let again = bench.say(&["migrate", "--json", "-q"]).await;
    assert_eq!(again.code, Some(3), "{again:?}");
    let left =
        "select count(*) from pg_catalog.pg_stat_activity where application_name = 'diffmig'";
    assert_eq!(
        number(&mut target, left).await,
        0,
        "a connection was left behind"
    );
}
