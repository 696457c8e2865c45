//! Canaries: a password and the value of a row, looked for wherever they could come to light.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::secrets::control_tables;
use crate::support::Bench;
use crate::support::command::{Said, diffmig, run};
use crate::support::tables::{ADMIN, execute, refused};
use diffmig::domain::connection::Side;
use diffmig::service::workshop::MAPPING;
use std::process::{Command, Stdio};

const PASSWORD: &str = "Gr4nd-canary-pw";
const OTHER_PASSWORD: &str = "An0ther-canary-pw";
const VALUE: &str = "canary-value-of-a-row";

/// Values that break on the source, on the way, and on every kind of constraint of the target.
const SOURCE: &str = "
create table item (id integer primary key, name text, note text, data text, day text, mark integer);
insert into item select g, 'n' || g, 'note', '{}', '2020-01-01', 1 from generate_series(1, 300) g;
update item set name = 'canary-value-of-a-row' where id in (20, 30);
update item set note = 'check canary-value-of-a-row' where id = 40;
update item set note = 'raise canary-value-of-a-row' where id = 50;
update item set data = '{\"canary-value-of-a-row' where id = 60;
update item set day = 'canary-value-of-a-row' where id = 70;
update item set mark = null, note = 'canary-value-of-a-row' where id = 80;
update item set mark = 77, note = 'canary-value-of-a-row' where id = 90;
";
const TARGET: &str = "
create table marks (id integer primary key);
insert into marks values (1);
create table items (id uuid primary key, legacy_id integer, name text unique, note text check (note not like 'check%'),
  data jsonb, day text check (day::date is not null), mark integer references marks, check (mark is not null));
create function strict() returns trigger language plpgsql as $$ begin
  if new.note like 'raise%' then raise exception 'refused: %', new.note using detail = new.note, hint = new.note; end if;
  return new; end $$;
create trigger strict before insert on items for each row execute function strict();
";
const ITEMS: &str = "
[entities.items]
source = \"item\"
target = \"items\"
legacy = { id = \"legacy_id\" }
[entities.items.columns]
name = {}
note = {}
data = { json_parse = \"data\" }
day = {}
mark = {}
";

/// A bench whose roles have canaries for passwords; the target's URL is in a file.
async fn with_canaries(role: &str) -> Bench {
    let bench = Bench::with_tables(SOURCE, TARGET, ITEMS).await;
    let script = format!("alter role workshop_owner password '{PASSWORD}'");
    bench.on(Side::Source, &script).await;
    let url = bench
        .workshop
        .target
        .url_with_password(role, PASSWORD, "postgres");
    std::fs::write(
        bench.directory.path().join("target.url"),
        format!("{url}\n"),
    )
    .unwrap();
    let script = format!("alter role {role} password '{PASSWORD}'");
    execute(&mut bench.admin().await, &script).await;
    bench
}

fn prepared(bench: &Bench, arguments: &[&str]) -> Command {
    let source = bench
        .workshop
        .source
        .url_with_password("workshop_owner", PASSWORD, "legacy");
    let mut command = diffmig(bench.directory.path(), arguments);
    command
        .env("DIFFMIG_SOURCE_URL", source)
        .env("DIFFMIG_TARGET_URL_FILE", "target.url")
        .env("PGPASSWORD", OTHER_PASSWORD)
        .env("RUST_LOG", "trace,sqlx=trace")
        .env("RUST_BACKTRACE", "full");
    command
}

fn conceals(what: &str, text: &str, secrets: &[&str]) {
    assert!(!text.is_empty(), "{what} said nothing");
    for secret in secrets {
        let shown = text.lines().find(|line| line.contains(secret));
        assert_eq!(shown, None, "{what} shows {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_canaries_come_to_light_nowhere() {
    for role in ["postgres", ADMIN] {
        let bench = with_canaries(role).await;
        let mut texts = Vec::new();
        for (arguments, codes) in [
            (&["migrate", "-vvv", "--log-level", "trace"][..], &[3][..]),
            (&["detect", "-vvv", "--log-level", "trace", "--json"], &[0]),
            (
                &[
                    "analyze",
                    "-vvv",
                    "--log-format",
                    "json",
                    "--log-level",
                    "trace",
                ],
                &[0],
            ),
            (&["migrate", "-vvv", "--json"], &[3]),
            (&["quarantine", "list", "--json"], &[0]),
            (&["quarantine", "show", "items", "30"], &[0]),
            (&["quarantine", "retry", "--entity", "items"], &[0]),
            (&["migrate", "--entities", "items", "-vv"], &[3]),
            (&["logs", "-n", "10000", "--format", "json"], &[0]),
            (&["status", "--show-errors", "-v"], &[0]),
        ] {
            let said = run(prepared(&bench, arguments)).await;
            assert!(
                codes.contains(&said.code.unwrap()),
                "{arguments:?} {said:?}"
            );
            texts.push((arguments.join(" "), said.stdout + &said.stderr));
        }
        texts.push((
            "control tables".into(),
            control_tables(&mut bench.admin().await).await,
        ));
        for (what, text) in &texts {
            conceals(what, text, &[PASSWORD, OTHER_PASSWORD, VALUE]);
        }
        let aside = "select count(*) from diffmig.quarantine where status = 'open'";
        let broken = crate::support::number(&mut bench.admin().await, aside).await;
        assert_eq!(
            broken, 7,
            "the planted values did not break what they should"
        );
        server_logs(&bench, role == ADMIN);
    }
}

/// Servers log by themselves what they refuse. What diffmig sends must not add values to that.
fn server_logs(bench: &Bench, may_be_terse: bool) {
    conceals(
        "the source's log",
        &bench.source_log(),
        &[PASSWORD, OTHER_PASSWORD, VALUE],
    );
    let log = bench.target_log();
    assert!(
        log.contains("violates unique constraint"),
        "nothing was refused: {log}"
    );
    conceals("the target's log", &log, &[PASSWORD, OTHER_PASSWORD]);
    let showing = log.lines().filter(|line| line.contains(VALUE));
    for line in showing {
        // The message of a trigger, and of a cast inside a constraint, is the target's own.
        let of_target = ["DETAIL:", "HINT:"].iter().any(|it| line.contains(it)) && !may_be_terse
            || line.contains("ERROR:  refused: ")
            || line.contains("ERROR:  invalid input syntax for type date");
        assert!(of_target, "a statement of ours carries a value: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_the_environment_of_other_clients_is_not_taken() {
    let bench = with_canaries("postgres").await;
    // The right password, but not in the URL.
    let bare = bench.workshop.source.url("workshop_owner", "legacy");
    let mut command = prepared(&bench, &["analyze"]);
    command
        .env("DIFFMIG_SOURCE_URL", &bare)
        .env("PGPASSWORD", PASSWORD);
    refused(&run(command).await, 12, &["source:"]);
    for name in ["PGOPTIONS", "PGSSLCERT", "PGSSLKEY"] {
        let mut command = prepared(&bench, &["analyze"]);
        command.env(name, PASSWORD);
        let said = run(command).await;
        refused(&said, 2, &[name, "unset"]);
        conceals(name, &said.stderr, &[PASSWORD]);
    }
    let mut command = prepared(&bench, &["analyze"]);
    command.env("DIFFMIG_TARGET_URL_FILE", "nowhere.url");
    refused(
        &run(command).await,
        2,
        &["DIFFMIG_TARGET_URL_FILE", "nowhere.url"],
    );
    let mut command = prepared(&bench, &["analyze"]);
    command
        .env("PGHOST", "nowhere.invalid")
        .env("PGUSER", "nobody")
        .env("PGSSLROOTCERT", "/nowhere");
    let said = run(command).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_a_running_process_shows_no_secret_to_its_neighbours() {
    let bench = with_canaries("postgres").await;
    let mut command = prepared(&bench, &["migrate", "--batch-size", "20", "-q"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/cmdline", child.id());
    let mut line = String::new();
    for _ in 0..5_000 {
        // Right after the start the kernel may not show the new command line yet.
        line = std::fs::read_to_string(&path).unwrap();
        if line.contains("--batch-size") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert!(line.contains("--batch-size"), "{line}");
    conceals(
        "the command line",
        &line,
        &[PASSWORD, OTHER_PASSWORD, "postgresql:"],
    );
    let mut seen = String::new();
    let mut admin = bench.admin().await;
    let activity = "select coalesce(string_agg(a::text, chr(10)), '') from pg_stat_activity a where application_name like 'diffmig%'";
    while child.try_wait().unwrap().is_none() {
        seen += &crate::support::tables::text(&mut admin, activity).await;
    }
    conceals(
        "pg_stat_activity",
        &seen,
        &[PASSWORD, OTHER_PASSWORD, VALUE],
    );
}

#[test]
#[ignore = "the next test runs it in a process of its own, which it ends"]
fn a_process_that_panics_in_a_thread_and_then_itself() {
    let Ok(value) = std::env::var("DIFFMIG_TEST_VALUE") else {
        return;
    };
    diffmig::cli::defect::watch();
    let in_thread = value.clone();
    let worker = std::thread::Builder::new().name("worker".into());
    let joined = worker
        .spawn(move || panic!("a row with {in_thread}"))
        .unwrap()
        .join();
    assert!(joined.is_err());
    let error = diffmig::cli::defect::contain(|| -> () {
        // What a forgotten `unwrap` prints: the value at hand.
        value.parse::<i32>().map_err(|_| value).unwrap();
    })
    .unwrap_err();
    let text = format!(
        "{error}\n{}\n{}\n",
        error.cause_text().unwrap(),
        error.next_text().unwrap()
    );
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).unwrap();
    #[expect(clippy::exit, reason = "the exit code is what is looked at")]
    std::process::exit(i32::from(error.kind().exit_code()));
}

#[test]
fn f17_a_panic_says_where_but_no_value() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("faults::disclosure::a_process_that_panics_in_a_thread_and_then_itself")
        .env("DIFFMIG_TEST_VALUE", VALUE)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(output.status.code(), Some(1), "{said}");
    conceals("a panic", &said, &[VALUE]);
    assert_eq!(
        said.matches("panicked at tests/it/faults/disclosure.rs:")
            .count(),
        3,
        "{said}"
    );
    for word in [
        "in the thread worker",
        "its text is not shown",
        "diffmig has a defect",
        "report this",
    ] {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_diagnostics_that_cannot_be_written_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("diffmig.toml"), MAPPING).unwrap();
    let mut command = diffmig(directory.path(), &["analyze", "--log-level", "trace"]);
    command
        .env("DIFFMIG_SOURCE_URL", "postgres://u@localhost:1/d")
        .env("DIFFMIG_TARGET_URL", "postgres://u@localhost:1/e")
        .stderr(
            std::fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        );
    let said: Said = run(command).await;
    assert_eq!(said.code, Some(10), "{said:?}");
}
