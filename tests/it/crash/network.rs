//! Networks that are slow or fall silent.

use super::scenario::EXIT_CODE;
use super::stand::{Day, Stand, wait};
use crate::support::proxy::Rule;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network_changes_nothing_but_the_time() {
    let stand = Stand::start().await;
    let mut lane = stand.lane("slow", Day::First).await;
    lane.reset().await;
    let pause = Duration::from_millis(1);
    lane.target_proxy.arm(Rule::Delay(pause));
    lane.source_proxy.arm(Rule::Throttle(64 * 1024));
    let began = Instant::now();
    let ran = lane.run().await;
    assert_eq!(ran.code, Some(EXIT_CODE), "{ran:?}");
    let sent = u32::try_from(lane.target_proxy.trace().len()).unwrap();
    assert!(
        began.elapsed() > pause * (sent / 4),
        "{sent} messages were not held back"
    );
    lane.disarm();
    assert_eq!(lane.check(EXIT_CODE).await, []);
}

/// The connection of a machine that lost its power: the server hears nothing, not even the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_process_fell_silent_does_not_block_the_next_one() {
    let stand = Stand::start().await;
    let mut lane = stand.lane("silent", Day::First).await;
    lane.reset().await;
    lane.run().await;
    let trace = lane.target_proxy.trace();
    // A batch is committed by Bind, Execute and Sync: without the first of them its transaction stays open.
    let mut commits = trace.iter().filter(|it| it.is_commit && it.tag == 'S');
    let commit = commits.nth(3).unwrap();
    let (connection, message) = (commit.connection, commit.message - 2);
    lane.reset().await;
    lane.target_proxy.arm(Rule::BlackHole {
        connection,
        message,
    });
    let mut silent = lane.spawn();
    lane.target_proxy.fired().await;
    silent.start_kill().unwrap();
    wait(silent).await;
    // Through another way to the server: the parked connection stays as it is.
    let ran = lane.run_around().await;
    assert_eq!(ran.code, Some(EXIT_CODE), "{ran:?}");
    assert_eq!(lane.check(EXIT_CODE).await, []);
}
