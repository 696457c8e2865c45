//! Passwords and row values reach no output, no control table and no command line.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::command::run;
use diffmig::domain::connection::Side;
use sqlx::Row;

const PASSWORD: &str = "Gr4nd-canary-pw";
const VALUE: &str = "canary-value-of-a-row";

/// Plants values that break in every way a row can break: source guards, JSON, target checks, unique keys.
const PLANT: &str = "
    update auth_user set email = 'canary-value-of-a-row' where id in (select id from auth_user order by id desc limit 3);
    update shop_client set prefs = '{\"canary-value-of-a-row' where id in (select id from shop_client order by id desc limit 3);
    update shop_notice set context = 'canary-value-of-a-row' where id in (select id from shop_notice order by id desc limit 3);
    update shop_ticket set exports = '{\"a\": \"canary-value-of-a-row\\u0000\"}' where id in (select id from shop_ticket order by id desc limit 3);
    update shop_topic set title = 'canary-value-of-a-row' where id in (select id from shop_topic order by id desc limit 3);
";

/// Renders every row of every control table as text, but the ledgers' ids and hashes.
pub async fn control_tables(target: &mut sqlx::PgConnection) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text from pg_catalog.pg_class c where c.relkind = 'r' \
         and c.relnamespace = 'diffmig'::regnamespace",
    )
    .fetch_all(&mut *target)
    .await
    .unwrap();
    let mut text = String::new();
    for table in tables {
        let sql = sqlx::AssertSqlSafe(format!("select t::text from {table} t"));
        for row in sqlx::query(sql).fetch_all(&mut *target).await.unwrap() {
            text.push_str(&row.get::<String, _>(0));
            text.push('\n');
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_and_no_row_value_leaks_however_much_is_asked_for() {
    let bench = Bench::day1().await;
    bench.workshop.run(Side::Source, PLANT).await.unwrap();
    let secret = format!("alter role workshop_owner password '{PASSWORD}'");
    bench.workshop.run(Side::Source, &secret).await.unwrap();
    let url = bench
        .workshop
        .source
        .url_with_password("workshop_owner", PASSWORD, "legacy");
    let mut texts = Vec::new();
    for arguments in [
        &["migrate", "-vvv", "--log-level", "trace"][..],
        &["detect", "-vvv", "--log-level", "trace", "--json"],
        &["analyze", "-vvv", "--log-format", "json"],
        &["migrate", "-vvv", "--json"],
        &["logs", "-n", "10000", "--format", "json"],
        &["status", "--show-errors", "-v"],
    ] {
        let mut command = bench.command(arguments);
        command
            .env("DIFFMIG_SOURCE_URL", &url)
            .env("RUST_LOG", "trace,sqlx=trace");
        let said = run(command).await;
        assert!(matches!(said.code, Some(0 | 3)), "{said:?}");
        texts.push((
            arguments.join(" "),
            format!("{}{}", said.stdout, said.stderr),
        ));
    }
    let mut wrong = bench.command(&["analyze", "-vvv"]);
    wrong
        .env("DIFFMIG_SOURCE_URL", url.replace("/legacy", "/nowhere"))
        .env("RUST_BACKTRACE", "full");
    let said = run(wrong).await;
    assert_eq!(said.code, Some(12), "{said:?}");
    texts.push((
        "a wrong database".into(),
        format!("{}{}", said.stdout, said.stderr),
    ));
    texts.push((
        "control tables".into(),
        control_tables(&mut bench.target().await).await,
    ));
    for (what, text) in &texts {
        assert!(!text.is_empty(), "{what} said nothing");
        assert!(!text.contains(PASSWORD), "{what} shows the password");
        assert!(!text.contains(VALUE), "{what} shows a row value");
    }
    let quarantined = texts.last().unwrap().1.matches("22P02").count();
    assert!(
        quarantined >= 3,
        "the planted values did not break anything, so the test proves nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_command_shows_no_url_in_its_command_line() {
    let bench = Bench::day1().await;
    let mut child = bench.spawn(&["migrate", "--batch-size", "100", "-q"]);
    let path = format!("/proc/{}/cmdline", child.id());
    let mut line = String::new();
    // Right after the start the kernel may not show the new command line yet.
    for _ in 0..500 {
        line = std::fs::read_to_string(&path).unwrap();
        if line.contains("migrate") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        line.contains("migrate") && !line.contains("postgres"),
        "{line}"
    );
}
