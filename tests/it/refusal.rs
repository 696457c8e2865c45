//! Bad input: a clear block, the right exit code, nothing touched, no password anywhere.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::command::{Said, diffmig, run};
use crate::support::{Bench, number};
use diffmig::service::workshop::MAPPING;

const CANARY: &str = "c4n4ry-s3cret";

fn check(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, Some(code), "{said:?}");
    for part in ["error:", "next:"] {
        assert!(said.stderr.contains(part), "no {part} in {said:?}");
    }
    for word in words {
        assert!(said.stderr.contains(word), "no {word:?} in {said:?}");
    }
    assert!(said.stdout.is_empty(), "stdout is for data: {said:?}");
    for text in [&said.stdout, &said.stderr] {
        assert!(
            !text.contains(CANARY) && !text.contains("workshop@"),
            "a secret shows: {said:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_mapping_and_missing_urls_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let said = run(diffmig(directory.path(), &["analyze"])).await;
    check(&said, 2, &["DIFFMIG_SOURCE_URL"]);
    let mut command = diffmig(directory.path(), &["analyze", "-c", "nowhere.toml"]);
    command.env(
        "DIFFMIG_SOURCE_URL",
        format!("postgres://u:{CANARY}@127.0.0.1:1/d"),
    );
    command.env(
        "DIFFMIG_TARGET_URL",
        format!("postgres://u:{CANARY}@127.0.0.1:2/d"),
    );
    check(&run(command).await, 2, &["nowhere.toml", "no such file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_and_a_malformed_url_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("diffmig.toml"), MAPPING).unwrap();
    let mut command = diffmig(directory.path(), &["analyze"]);
    command.env(
        "DIFFMIG_SOURCE_URL",
        format!("postgres://u:{CANARY}@127.0.0.1:1/d"),
    );
    command.env(
        "DIFFMIG_TARGET_URL",
        format!("postgres://u:{CANARY}@127.0.0.1:1/e"),
    );
    check(
        &run(command).await,
        10,
        &["connection refused", "127.0.0.1:1"],
    );
    let mut command = diffmig(directory.path(), &["analyze"]);
    command.env(
        "DIFFMIG_SOURCE_URL",
        format!("postgres://u:{CANARY}@{CANARY}@db.invalid/d"),
    );
    command.env(
        "DIFFMIG_TARGET_URL",
        format!("postgres://u:{CANARY}@127.0.0.1:1/e"),
    );
    check(&run(command).await, 2, &["percent-encode"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_of_a_mapping_is_shown_at_once_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let mapping = "version = 1\n[entities.a]\nsorce = \"x\"\ntarget = \"t\"\n[entities.a.columns]\n\
        n = { colum = \"a.n\" }\nm = { expr = \"pg_sleep(1)\" }\n";
    std::fs::write(directory.path().join("diffmig.toml"), mapping).unwrap();
    let mut command = diffmig(directory.path(), &["analyze"]);
    command.env(
        "DIFFMIG_SOURCE_URL",
        format!("postgres://u:{CANARY}@127.0.0.1:1/d"),
    );
    command.env(
        "DIFFMIG_TARGET_URL",
        format!("postgres://u:{CANARY}@127.0.0.1:1/e"),
    );
    let words = [
        "diffmig.toml:3:1",
        "did you mean `source`?",
        "diffmig.toml:6:7",
        "did you mean `column`?",
        "pg_sleep",
    ];
    check(&run(command).await, 2, &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_databases_do_not_have_or_allow_is_refused_before_anything_is_touched() {
    let bench = Bench::day1().await;
    check(
        &bench.say(&["migrate", "--entities", "client"]).await,
        2,
        &["did you mean `clients`?"],
    );

    let mut command = bench.command(&["migrate"]);
    command.env("DIFFMIG_TARGET_URL", bench.workshop.source_url());
    check(&run(command).await, 14, &["same database"]);

    let mut command = bench.command(&["migrate"]);
    command.env(
        "DIFFMIG_SOURCE_URL",
        bench
            .workshop
            .source
            .url_with_password("workshop_owner", CANARY, "legacy"),
    );
    check(&run(command).await, 12, &["password authentication failed"]);

    let wrong = MAPPING.replace("normalize = [\"digits\"", "normalize = [\"digts\"");
    assert_ne!(wrong, MAPPING);
    std::fs::write(bench.mapping_path(), wrong).unwrap();
    check(
        &bench.say(&["migrate"]).await,
        2,
        &["did you mean `digits`?"],
    );

    let wrong = MAPPING.replace("column = \"c.phone\"", "column = \"c.phon\"");
    assert_ne!(wrong, MAPPING);
    std::fs::write(bench.mapping_path(), wrong).unwrap();
    check(
        &bench.say(&["migrate"]).await,
        13,
        &["no column `phon`", "did you mean `phone`?"],
    );

    let mut target = bench.target().await;
    let touched = "select count(*) from pg_catalog.pg_namespace where nspname = 'diffmig'";
    assert_eq!(
        number(&mut target, touched).await,
        0,
        "a refused command left something in the target"
    );
}
