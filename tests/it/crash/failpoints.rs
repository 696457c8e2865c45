//! Killed, crashed or delayed at every named place of the code.

use super::report::{Finding, conclude};
use super::scenario::EXIT_CODE;
use super::stand::{Day, Lane, Stand, execute, wait};
use crate::support::gate::Gate;
use crate::support::invariants::{Violation, exit_agrees};
use crate::support::number;
use diffmig::failpoint::armed::POINTS;

async fn second_day(stand: &Stand) -> Lane<'_> {
    stand.lane("points", Day::Second).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_named_place_the_next_run_ends_well() {
    let stand = Stand::start().await;
    let mut lane = second_day(&stand).await;
    let mut findings = Vec::new();
    for point in POINTS {
        lane.reset().await;
        let killed = wait(lane.spawn_armed(&format!("{point}=kill"))).await;
        assert!(
            killed.code.is_none() && !killed.hung,
            "{point} was not reached: {killed:?}"
        );
        let again = lane.run().await;
        let mut found = lane.check(EXIT_CODE).await;
        if again.code != Some(EXIT_CODE) {
            found.push(Violation {
                invariant: "exit",
                what: format!("{again:?}"),
            });
        }
        findings.extend(found.into_iter().map(|violation| Finding {
            place: format!("killed at {point}"),
            violation,
        }));
    }
    conclude("failpoints", POINTS.len(), &findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_with_exit_code_1_and_leaves_nothing_half_done() {
    let stand = Stand::start().await;
    let mut lane = second_day(&stand).await;
    for point in ["batch.after_upsert=panic@2", "detect.after_chunk=panic@3"] {
        lane.reset().await;
        let ran = wait(lane.spawn_armed(point)).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.said.contains("error: "), "{ran:?}");
        assert!(ran.said.contains("state: "), "{ran:?}");
        let mut target = lane.target().await;
        assert_eq!(exit_agrees(&mut target, 1).await, []);
        let again = lane.run().await;
        assert_eq!(again.code, Some(EXIT_CODE), "{again:?}");
        assert_eq!(lane.check(EXIT_CODE).await, [], "{point}");
    }
}

/// A table that is emptied between the snapshot and its first read would read as empty: a mass deletion.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_locked_before_its_first_row_is_read() {
    let stand = Stand::start().await;
    let mut lane = second_day(&stand).await;
    lane.reset().await;
    let mut other = lane.another_source().await;
    let gate = Gate::new();
    let child = lane.spawn_armed(&gate.at("snapshot.exported"));
    gate.reached().await;
    let emptied = sqlx::raw_sql("set lock_timeout = '300ms'; truncate line");
    let emptied = sqlx::Executor::execute(&mut other, emptied).await;
    let refused = emptied.expect_err("a table could be emptied behind the snapshot");
    let code = refused.as_database_error().unwrap().code().unwrap();
    assert_eq!(code, "55P03");
    drop(other);
    gate.open();
    assert_eq!(wait(child).await.code, Some(EXIT_CODE));
    assert_eq!(lane.check(EXIT_CODE).await, []);
}

/// The late commit: neither its time nor its transaction id would tell that it is new.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_transaction_that_commits_after_the_snapshot_is_found_by_the_next_run() {
    let stand = Stand::start().await;
    let mut lane = second_day(&stand).await;
    lane.reset().await;
    let mut late = lane.another_source().await;
    let sql = "begin; insert into tag values ('late', 'commits late'); update team set name = 'Late' where id = 1";
    execute(&mut late, sql).await;
    let gate = Gate::new();
    let child = lane.spawn_armed(&gate.at("snapshot.exported"));
    gate.reached().await;
    execute(&mut late, "commit").await;
    gate.open();
    assert_eq!(wait(child).await.code, Some(EXIT_CODE));
    let arrived = "select count(*) from tags where legacy_code = 'late'";
    let mut target = lane.target().await;
    assert_eq!(
        number(&mut target, arrived).await,
        0,
        "the snapshot is no snapshot"
    );
    assert_eq!(lane.run().await.code, Some(EXIT_CODE));
    assert_eq!(number(&mut target, arrived).await, 1);
    lane.accept_source().await;
    assert_eq!(lane.check(EXIT_CODE).await, []);
}
