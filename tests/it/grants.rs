//! The printed grants are enough for a whole migration, and not more than that.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::command::{Said, diffmig, run};
use crate::support::tables::{execute, refused};
use crate::support::{Bench, number};
use diffmig::service::workshop::MAPPING;
use sqlx::PgConnection;

/// Names that need their quotes.
const READER: &str = "the \"Reader\"";
const WRITER: &str = "the 'Writer'";

async fn printed(bench: &Bench, side: &str, role: &str) -> String {
    // Neither URL is there: the mapping is enough.
    let flag = format!("--{side}-role");
    let said = run(diffmig(bench.directory.path(), &["grants", &flag, role])).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.stderr, "");
    said.stdout
}

async fn migrate(bench: &Bench, arguments: &[&str]) -> Said {
    let (source, target) = (&bench.workshop.source, &bench.workshop.target);
    let mut command = bench.command(arguments);
    command
        .env(
            "DIFFMIG_SOURCE_URL",
            source.url_with_password(READER, "workshop", "legacy"),
        )
        .env(
            "DIFFMIG_TARGET_URL",
            target.url_with_password(WRITER, "workshop", "postgres"),
        );
    run(command).await
}

/// Rights on tables that a role has, one per table and kind.
async fn rights(connection: &mut PgConnection, role: &str, kind: &str) -> i64 {
    let role = role.replace('\'', "''");
    let sql = format!(
        "select count(*) from information_schema.role_table_grants \
         where grantee = '{role}' and table_schema <> 'diffmig' and privilege_type = '{kind}'"
    );
    number(connection, &sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_exactly_the_printed_grants_a_whole_migration_works() {
    let bench = Bench::day1().await;
    let (mut owner, mut admin) = (bench.source().await, bench.admin().await);
    let quoted = READER.replace('"', "\"\"");
    execute(&mut owner, "revoke all on database legacy from public").await;
    execute(&mut admin, "revoke all on database postgres from public").await;
    execute(
        &mut owner,
        &format!("create role \"{quoted}\" login password 'workshop'"),
    )
    .await;
    execute(
        &mut admin,
        &format!("create role \"{WRITER}\" login password 'workshop'"),
    )
    .await;
    refused(&migrate(&bench, &["migrate"]).await, 12, &[]);
    execute(&mut owner, &printed(&bench, "source", READER).await).await;
    execute(&mut admin, &printed(&bench, "target", WRITER).await).await;

    let hidden = migrate(&bench, &["migrate"]).await;
    refused(
        &hidden,
        12,
        &["row-level security", "public.clients", "bypassrls"],
    );
    execute(&mut admin, &format!("alter role \"{WRITER}\" bypassrls")).await;
    let said = migrate(&bench, &["migrate"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    bench.compare_all("day1").await;
    bench.workshop.load_day2().await.unwrap();
    execute(
        &mut admin,
        &format!("revoke create on database postgres from \"{WRITER}\""),
    )
    .await;
    let said = migrate(&bench, &["migrate"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    bench.compare_all("day2").await;

    let tables: toml::Table = toml::from_str(MAPPING).unwrap();
    let targets: std::collections::BTreeSet<&str> = tables["entities"]
        .as_table()
        .unwrap()
        .values()
        .map(|entity| entity["target"].as_str().unwrap())
        .collect();
    let count = i64::try_from(targets.len()).unwrap();
    for kind in ["SELECT", "INSERT", "UPDATE"] {
        assert_eq!(rights(&mut admin, WRITER, kind).await, count, "{kind}");
    }
    for kind in ["DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"] {
        assert_eq!(rights(&mut admin, WRITER, kind).await, 0, "{kind}");
        assert_eq!(rights(&mut owner, READER, kind).await, 0, "{kind}");
    }
    for kind in ["INSERT", "UPDATE"] {
        assert_eq!(rights(&mut owner, READER, kind).await, 0, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_scripts_are_printed_when_no_role_is_named_and_a_bad_name_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("diffmig.toml"), MAPPING).unwrap();
    let both = run(diffmig(directory.path(), &["grants"])).await;
    assert_eq!(both.code, Some(0), "{both:?}");
    for part in [
        "legacy database",
        "\"diffmig_reader\"",
        "target database",
        "\"diffmig_writer\"",
        "bypassrls",
    ] {
        assert!(both.stdout.contains(part), "no {part} in {both:?}");
    }
    let document = run(diffmig(
        directory.path(),
        &["grants", "--source-role", "x", "--json"],
    ))
    .await;
    let document: serde_json::Value = serde_json::from_str(&document.stdout).unwrap();
    assert_eq!(document["roles"][0]["side"], "source");
    assert!(document["roles"][0]["statements"].as_array().unwrap().len() > 10);
    let escape = run(diffmig(
        directory.path(),
        &["grants", "--target-role", "a\nb\u{1b}[31m"],
    ))
    .await;
    assert!(
        !escape
            .stdout
            .lines()
            .any(|line| line.starts_with("--") && line.contains('\u{1b}'))
    );
    let long = "x".repeat(64);
    for name in ["", long.as_str()] {
        let said = run(diffmig(
            directory.path(),
            &["grants", "--target-role", name],
        ))
        .await;
        refused(&said, 2, &["--target-role"]);
    }
}
