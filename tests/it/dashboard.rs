//! The dashboard in a real browser, in front of a real server and a migration that runs.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod browser;
mod deeds;
mod scene;

use crate::support::Bench;
use browser::{Browser, DESK, PHONE, View};
use scene::{Served, Slow};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The percentage of the bar over all entities.
const SHARE: &str = "Number(document.querySelector('#total-bar').getAttribute('aria-valuenow'))";

async fn shown_state(browser: &Browser, state: &str) {
    browser
        .until(&format!(
            "document.getElementById('session-state').dataset.state === '{state}'"
        ))
        .await;
}

async fn text(browser: &Browser, selector: &str) -> String {
    let text = browser
        .eval(&format!("document.querySelector('{selector}').innerText"))
        .await;
    text.as_str().unwrap().to_owned()
}

/// The ids of the log's lines as the page has them.
async fn lines(browser: &Browser) -> Vec<i64> {
    let ids = browser
        .eval("[...document.querySelectorAll('.event')].map((it) => Number(it.dataset.id))")
        .await;
    serde_json::from_value(ids).unwrap()
}

/// Waits until the page has the whole log: each line once, in order.
async fn has_whole_log(browser: &Browser, bench: &Bench) {
    let wanted = bench.logged().await;
    assert!(!wanted.is_empty());
    browser
        .until(&format!(
            "document.querySelectorAll('.event').length >= {}",
            wanted.len()
        ))
        .await;
    assert_eq!(lines(browser).await, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_migration_is_shown_and_paused_by_its_button() {
    let bench = Bench::day1().await;
    let served = Served::any(&bench).await;
    let browser = Browser::start(DESK).await;
    browser.open(&served.url).await;
    browser
        .until("document.body.innerText.includes('No session yet')")
        .await;

    let slow = Slow::start(&bench).await;
    shown_state(&browser, "running").await;
    // A bar that moves, the entity's rows, and a rate.
    browser
        .until("document.querySelectorAll('.entities [role=progressbar]').length === 17")
        .await;
    browser.until(&format!("{SHARE} > 0")).await;
    browser
        .until("[...document.querySelectorAll('.entities tr[data-state=running] td.rows')].some((it) => / of |\\//.test(it.innerText))")
        .await;
    browser
        .until("document.querySelectorAll('#chart .curve').length === 1")
        .await;
    // The curve goes on: it is read again while the session runs.
    browser
        .until(
            "document.querySelector('#chart .curve').getAttribute('points').split(' ').length > 4",
        )
        .await;
    browser
        .until("document.getElementById('chart-readout').innerText.startsWith('now ')")
        .await;
    assert!(text(&browser, "#figures").await.contains("rows/s"));

    // Asked and withdrawn: nothing happens.
    browser.click("#pause").await;
    asks(&browser, true).await;
    browser.press("Escape").await;
    asks(&browser, false).await;
    let unasked = "select count(*) from diffmig.session where state = 'running'";
    assert_eq!(bench.in_target(unasked).await, 1);

    browser.click("#pause").await;
    asks(&browser, true).await;
    assert!(
        text(&browser, "#confirm")
            .await
            .contains("Pause session 1?")
    );
    browser.click("#confirm-yes").await;
    assert_eq!(slow.ended().await, Some(20));
    bench
        .waits_for("exists (select from diffmig.session where state = 'paused')")
        .await;
    shown_state(&browser, "paused").await;
    browser.until("document.getElementById('pause').disabled && !document.getElementById('resume').disabled").await;
    has_whole_log(&browser, &bench).await;
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Moves the focus with the Tab key until it is on an element.
/// Waits until the page asks whether a deed is meant, or no longer asks.
async fn asks(browser: &Browser, open: bool) {
    let is_open = "document.getElementById('confirm').open";
    browser.until(&format!("{is_open} === {open}")).await;
}

async fn tab_to(browser: &Browser, selector: &str) {
    for _ in 0..40 {
        browser.press("Tab").await;
        let there = format!("document.activeElement.matches('{selector}')");
        if browser.eval(&there).await == json!(true) {
            // Whoever works without a mouse must see where they are.
            let outline = browser
                .eval("getComputedStyle(document.activeElement).outlineStyle")
                .await;
            assert_eq!(outline, "solid", "{selector}");
            return;
        }
    }
    panic!("the Tab key does not reach {selector}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_alone_pauses_and_cancels() {
    let bench = Bench::day1().await;
    let served = Served::any(&bench).await;
    let slow = Slow::start(&bench).await;
    let browser = Browser::start(DESK).await;
    browser.open(&served.url).await;
    shown_state(&browser, "running").await;
    browser
        .until("!document.getElementById('pause').disabled")
        .await;

    tab_to(&browser, "#pause").await;
    browser.press("Enter").await;
    asks(&browser, true).await;
    browser.press("Escape").await;
    asks(&browser, false).await;
    // The focus is back where it was.
    assert_eq!(browser.eval("document.activeElement.id").await, "pause");
    browser.press("Enter").await;
    browser
        .until("document.activeElement.id === 'confirm-yes'")
        .await;
    browser.press("Enter").await;
    assert_eq!(slow.ended().await, Some(20));
    shown_state(&browser, "paused").await;

    // A shortcut asks as well, and what cannot be taken back needs more than the Enter key.
    browser
        .until("!document.getElementById('cancel').disabled")
        .await;
    browser.press("c").await;
    asks(&browser, true).await;
    browser.press("Enter").await;
    asks(&browser, false).await;
    assert_eq!(
        bench
            .in_target("select count(*) from diffmig.session where state = 'paused'")
            .await,
        1
    );
    browser.press("c").await;
    asks(&browser, true).await;
    tab_to(&browser, "#confirm-yes").await;
    browser.press("Enter").await;
    bench
        .waits_for("exists (select from diffmig.session where state = 'cancelled')")
        .await;
    shown_state(&browser, "cancelled").await;

    // Switched off, single keys do nothing.
    browser.press("?").await;
    browser
        .until("document.getElementById('help-dialog').open")
        .await;
    browser.click("#single-keys").await;
    browser.press("Escape").await;
    browser.press("?").await;
    assert_eq!(
        browser
            .eval("document.querySelector('dialog[open]') === null")
            .await,
        true
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// The filters hide lines and bring them back.
async fn filters_work(browser: &Browser) {
    let visible = "document.querySelectorAll('.event:not([hidden])').length";
    let all = browser.eval(visible).await;
    browser
        .eval("document.getElementById('log-text').focus()")
        .await;
    browser.write("onerror").await;
    browser.until(&format!("{visible} === 1")).await;
    browser
        .eval("document.getElementById('log-text').select()")
        .await;
    browser.write(" ").await;
    browser.until(&format!("{visible} === {all}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_is_said_and_no_line_is_lost_or_repeated() {
    let bench = Bench::day1().await;
    let mut served = Served::any(&bench).await;
    let address = served.address().to_owned();
    let slow = Slow::start(&bench).await;
    let browser = Browser::start(DESK).await;
    browser.open(&served.url).await;
    shown_state(&browser, "running").await;
    browser
        .until("document.querySelectorAll('.event').length > 0")
        .await;
    assert_eq!(
        browser
            .eval("document.getElementById('banner').hidden")
            .await,
        true
    );

    for _ in 0..2 {
        served.kill();
        browser
            .until("!document.getElementById('banner').hidden")
            .await;
        let banner = text(&browser, "#banner").await;
        assert!(
            banner.contains("The server does not answer.") && banner.contains("away for"),
            "{banner}"
        );
        let enabled = "document.querySelectorAll('#pause:enabled, #resume:enabled, #cancel:enabled, #start:enabled').length";
        assert_eq!(browser.eval(enabled).await, 0);
        // Lines that are written in the meantime.
        let before = bench.logged().await.len();
        bench
            .waits_for(&format!("(select count(*) from diffmig.event) > {before}"))
            .await;
        served = Served::start(&bench, &address, &[]).await;
        browser
            .until("document.getElementById('banner').hidden")
            .await;
        browser
            .until("!document.getElementById('pause').disabled")
            .await;
    }
    // Text of a log is text.
    let evil = "insert into diffmig.event (level, session_id, operation, message) \
        select 'warn', session_id, 'session', '<img src=x onerror=\"document.title=1\"><b>bold</b>' from diffmig.session";
    sqlx::raw_sql(evil)
        .execute(&mut bench.target().await)
        .await
        .unwrap();
    bench.say(&["control", "pause", "-q"]).await;
    assert_eq!(slow.ended().await, Some(20));
    shown_state(&browser, "paused").await;
    has_whole_log(&browser, &bench).await;
    assert!(text(&browser, "#log").await.contains("<img src=x onerror"));
    assert_eq!(
        browser
            .eval("document.querySelectorAll('#log img, #log b').length")
            .await,
        0
    );

    filters_work(&browser).await;
    let unexpected: Vec<String> = browser.complaints();
    let unexpected: Vec<&String> = unexpected
        .iter()
        .filter(|it| !it.contains("net::ERR_"))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_and_kept_in_the_tab_only() {
    let bench = Bench::day1().await;
    bench.migrate_with(&["--entities", "profiles"], 3).await;
    let file = bench.directory.path().join("tokens");
    let token = "a-token-of-this-test-0123456789";
    std::fs::write(&file, format!("operator:{token}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let served = Served::start(&bench, "127.0.0.1:0", &["--token-file", "tokens"]).await;
    let browser = Browser::start(DESK).await;
    browser.open(&served.url).await;

    let asks =
        "document.getElementById('token-dialog').open && document.activeElement.id === 'token'";
    browser.until(asks).await;
    assert_eq!(
        browser
            .eval("document.getElementById('sessions').childElementCount")
            .await,
        0
    );
    // Nobody is forced: without a token the page says what it wants, and asks again on request.
    browser.press("Escape").await;
    browser
        .until("document.getElementById('banner').innerText.includes('wants a token')")
        .await;
    browser.click("#banner-retry").await;
    browser.until(asks).await;
    browser.write("not-the-token-of-this-server").await;
    browser.press("Enter").await;
    browser
        .until("document.getElementById('token-problem').innerText.includes('does not accept')")
        .await;
    browser.until(asks).await;
    browser.write(token).await;
    browser.press("Enter").await;
    shown_state(&browser, "completed_with_rejects").await;
    has_whole_log(&browser, &bench).await;
    assert_eq!(
        browser
            .eval("document.getElementById('banner').hidden")
            .await,
        true
    );

    assert_eq!(
        browser
            .eval("sessionStorage.getItem('diffmig.token')")
            .await,
        token
    );
    assert_eq!(
        browser
            .eval("JSON.stringify(localStorage).includes('token-of')")
            .await,
        false
    );
    let page = browser.eval("location.href + document.documentElement.outerHTML + document.getElementById('token').value").await;
    assert!(!page.as_str().unwrap().contains(token));
    let unexpected = browser.complaints();
    let unexpected: Vec<&String> = unexpected.iter().filter(|it| !it.contains("401")).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

/// Texts whose contrast with what is behind them is less than 4.5 : 1, or 3 : 1 for large ones.
const FAINT: &str = r"(() => {
    const numbers = (color) => color.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const part = (value) => ((value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const color = numbers(getComputedStyle(node).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        throw new Error('nothing is behind it');
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest('.unseen, :disabled, noscript')) continue;
        const style = getComputedStyle(node);
        const color = node.closest('svg') ? style.fill : style.color;
        const [one, other] = [light(numbers(color)), light(behind(node))].sort((a, b) => b - a);
        const size = parseFloat(style.fontSize);
        const wanted = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
        const ratio = (one + 0.05) / (other + 0.05);
        if (ratio < wanted) faint.push(`${node.tagName}.${node.className} '${walker.currentNode.data.trim()}' ${ratio.toFixed(2)}`);
    }
    return faint;
})()";

#[tokio::test(flavor = "multi_thread")]
async fn it_fits_a_phone_and_can_be_read_in_both_colours() {
    let bench = Bench::day1().await;
    bench.migrate_with(&[], 3).await;
    bench.say(&["verify", "-q"]).await;
    let served = Served::any(&bench).await;
    let browser = Browser::start(PHONE).await;
    browser.open(&served.url).await;
    shown_state(&browser, "completed_with_rejects").await;
    browser
        .until("document.querySelectorAll('#quarantine li').length > 1")
        .await;
    browser
        .until("document.querySelectorAll('#verification table').length === 1")
        .await;

    for view in [
        PHONE,
        View {
            dark: false,
            ..PHONE
        },
        DESK,
        View { dark: true, ..DESK },
    ] {
        browser.view(view).await;
        for dialog in ["", "help", "start"] {
            if !dialog.is_empty() {
                browser
                    .eval(&format!("document.getElementById('{dialog}').click()"))
                    .await;
            }
            let width = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)";
            assert_eq!(browser.eval(width).await, json!(view.width), "{dialog}");
            let faint = browser.eval(FAINT).await;
            assert_eq!(faint, json!([]), "dark: {}, {dialog}", view.dark);
            browser.press("Escape").await;
        }
    }
    // Every control has a name.
    let nameless = "[...document.querySelectorAll('button, input, select, [role=progressbar], svg[role=img]')] \
        .filter((it) => it.checkVisibility() && !(it.innerText?.trim() || it.ariaLabel || it.labels?.length)).map((it) => it.outerHTML)";
    browser.view(DESK).await;
    assert_eq!(browser.eval(nameless).await, json!([]));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_of_the_readme_is_there_and_small() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/images/dashboard.png");
    if std::env::var_os("DIFFMIG_BLESS").is_some() {
        take_picture(path).await;
    }
    let picture = std::fs::read(path).unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n"));
    assert!(picture.len() < 200_000, "{} bytes", picture.len());
    for page in ["README.md", "docs/dashboard.md"] {
        let page = format!("{}/{page}", env!("CARGO_MANIFEST_DIR"));
        assert!(
            std::fs::read_to_string(&page)
                .unwrap()
                .contains("images/dashboard.png"),
            "{page}"
        );
    }
}

/// Some entities were migrated and verified; now everything is.
async fn take_picture(path: &str) {
    let bench = Bench::day1().await;
    for entities in ["profiles,luthiers,workshops", "clients,topics"] {
        bench.migrate_with(&["--entities", entities], 3).await;
    }
    bench
        .say(&[
            "verify",
            "-q",
            "--entities",
            "profiles,luthiers,workshops,clients",
        ])
        .await;
    let served = Served::any(&bench).await;
    let browser = Browser::start(View {
        height: 940,
        ..DESK
    })
    .await;
    let _slow = Slow::start(&bench).await;
    browser.open(&served.url).await;
    shown_state(&browser, "running").await;
    browser
        .until(&format!(
            "{SHARE} >= 40 && document.querySelector('#chart .curve')"
        ))
        .await;
    let picture = browser.picture().await;
    let encoded = bench.directory.path().join("picture");
    std::fs::write(&encoded, picture).unwrap();
    let decoded = Command::new("base64")
        .arg("--decode")
        .arg(&encoded)
        .output()
        .unwrap();
    assert!(decoded.status.success());
    std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
    std::fs::write(path, decoded.stdout).unwrap();
}
