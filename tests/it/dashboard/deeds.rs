//! What is done from the page: a migration is started and taken up, and old sessions are looked up.

use super::browser::{Browser, DESK};
use super::scene::{Served, take_time};
use super::{asks, shown_state, text};
use crate::support::Bench;

const LISTED: &str = "document.querySelectorAll('#sessions li').length";

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_started_paused_and_taken_up_from_the_page() {
    let bench = Bench::day1().await;
    take_time(&bench).await;
    let served = Served::any(&bench).await;
    let browser = Browser::start(DESK).await;
    browser.open(&served.url).await;
    browser
        .until("!document.getElementById('start').disabled")
        .await;

    // A name that no entity has is said in the dialog, which stays.
    browser.click("#start").await;
    browser
        .until("document.getElementById('start-dialog').open")
        .await;
    browser.write("nobody").await;
    browser.click("#start-yes").await;
    browser
        .until("!document.getElementById('start-problem').hidden")
        .await;
    assert!(text(&browser, "#start-problem").await.contains("nobody"));
    browser
        .eval("document.getElementById('start-entities').value = 'profiles, workshops'")
        .await;
    browser.click("#start-yes").await;
    shown_state(&browser, "running").await;
    browser
        .until("!document.getElementById('start-dialog').open && document.getElementById('start').disabled")
        .await;
    browser.click("#pause").await;
    asks(&browser, true).await;
    browser.click("#confirm-yes").await;
    shown_state(&browser, "paused").await;

    // The page asks for nothing but that it goes on: the session knows which entities it has.
    browser
        .until("!document.getElementById('resume').disabled")
        .await;
    browser.click("#resume").await;
    asks(&browser, true).await;
    assert!(
        text(&browser, "#confirm")
            .await
            .contains("Resume session 1?")
    );
    browser.click("#confirm-yes").await;
    browser
        .until("/^completed/.test(document.getElementById('session-state').dataset.state)")
        .await;
    let sessions = bench
        .target_lines("select number::text || ' ' || (options ->> 'entities') from diffmig.session")
        .await;
    assert_eq!(sessions, [r#"1 ["profiles", "workshops"]"#]);
    let others = "select count(*) from diffmig.step where entity not in ('profiles', 'workshops')";
    assert_eq!(bench.in_target(others).await, 0);
    // The page has asked for one thing that was refused, and the browser says so.
    let complaints = browser.complaints();
    assert!(complaints.len() <= 1, "{complaints:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_long_ago_are_a_click_away() {
    let bench = Bench::day1().await;
    bench.migrate_with(&["--entities", "workshops"], 3).await;
    let served = Served::any(&bench).await;
    let add = "insert into diffmig.session (session_id, command, state, mapping_digest, host, process_id, version, \
               started_at, finished_at) select gen_random_uuid(), 'migrate', 'completed', '', 'host', 1, '0', now(), now() \
               from generate_series(1, 119)";
    let more = |sql: &'static str| bench.target_lines(sql);
    more(add).await;
    let browser = Browser::start(DESK).await;
    browser.open(&served.url).await;
    browser.until(&format!("{LISTED} === 50")).await;
    browser.click("#older").await;
    browser.until(&format!("{LISTED} === 100")).await;
    browser.click("#older").await;
    browser.until(&format!("{LISTED} === 120")).await;
    browser
        .until("document.getElementById('older').hidden")
        .await;
    let last = "[...document.querySelectorAll('#sessions .number')].at(-1).innerText";
    assert_eq!(browser.eval(last).await, "#1");
    // A session that comes now is shown first, and none of the others goes.
    more("insert into diffmig.session (session_id, command, state, mapping_digest, host, process_id, version, \
          started_at, finished_at) values (gen_random_uuid(), 'migrate', 'completed', '', 'host', 1, '0', now(), now())").await;
    browser.until(&format!("{LISTED} === 121")).await;
    let first = "document.querySelector('#sessions .number').innerText";
    assert_eq!(browser.eval(first).await, "#121");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
