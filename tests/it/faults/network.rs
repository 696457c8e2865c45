//! Names, certificates, passwords and poolers: what stands between diffmig and a server.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::command::{Said, diffmig, run};
use crate::support::pooler::{Pooler, Reuse};
use crate::support::tables::refused;
use crate::support::tls::{Authority, Validity};
use diffmig::domain::connection::Side;
use diffmig::service::workshop::MAPPING;
use std::net::TcpListener;

const CANARY: &str = "c4n4ry-s3cret";

/// Runs `migrate` with another URL of the target.
async fn migrate_to(bench: &Bench, url: &str) -> Said {
    let mut command = bench.command(&["migrate"]);
    command.env("DIFFMIG_TARGET_URL", url);
    run(command).await
}

/// Connections that the target has seen, with TLS or without.
fn connections(bench: &Bench) -> (usize, usize) {
    let log = bench.target_log();
    let received = log.matches("connection received").count();
    let authorized = log.matches("application_name=diffmig").count();
    (received, authorized)
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_an_expired_certificate_is_named_and_nothing_else_is_tried() {
    let authority = Authority::new("throw-away authority");
    let bench = Bench::with_tls(&authority.server("localhost", Validity::Expired)).await;
    let root = bench.trust("root.crt", &authority);
    for mode in ["verify-full", "verify-ca", "require"] {
        let (before, _) = connections(&bench);
        let parameters = format!("sslmode={mode}&sslrootcert={}", root.display());
        // On loopback, `require` beside a root certificate asks for verification as well.
        let said = migrate_to(&bench, &bench.target_url_at("localhost", &parameters)).await;
        refused(
            &said,
            12,
            &["target: TLS", "certificate expired on 2021-01-01"],
        );
        let (after, authorized) = connections(&bench);
        assert_eq!(after - before, 1, "{mode} was tried again, or without TLS");
        assert_eq!(authorized, 0, "{mode} fell back to an unverified session");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_certificate_that_is_not_valid_yet_is_named() {
    let authority = Authority::new("throw-away authority");
    let bench = Bench::with_tls(&authority.server("localhost", Validity::NotYet)).await;
    let root = bench.trust("root.crt", &authority);
    let parameters = format!("sslmode=verify-full&sslrootcert={}", root.display());
    let said = migrate_to(&bench, &bench.target_url_at("localhost", &parameters)).await;
    refused(&said, 12, &["certificate is not valid before 2200-01-01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn d13_a_wrong_host_name_and_an_unknown_authority_are_refused_with_a_hint() {
    let authority = Authority::new("throw-away authority");
    let stranger = Authority::new("another authority");
    let bench = Bench::with_tls(&authority.server("localhost", Validity::Good)).await;
    let root = bench.trust("root.crt", &authority).display().to_string();
    let strange = bench.trust("strange.crt", &stranger).display().to_string();
    let at = |host: &str, parameters: String| bench.target_url_at(host, &parameters);

    let wrong_name = at(
        "127.0.0.1",
        format!("sslmode=verify-full&sslrootcert={root}"),
    );
    refused(
        &migrate_to(&bench, &wrong_name).await,
        12,
        &["not for the host 127.0.0.1", "host name"],
    );
    for parameters in [
        format!("sslmode=verify-full&sslrootcert={strange}"),
        format!("sslmode=verify-ca&sslrootcert={strange}"),
        format!("sslmode=require&sslrootcert={strange}"),
        "sslmode=verify-full".to_owned(),
    ] {
        let said = migrate_to(&bench, &at("localhost", parameters.clone())).await;
        refused(&said, 12, &["authority", "sslrootcert"]);
    }
    assert_eq!(connections(&bench).1, 0, "a refused server got a session");

    bench.workshop.load_day1(1).await.unwrap();
    for parameters in [
        format!("sslmode=verify-full&sslrootcert={root}"),
        format!("sslmode=require&sslrootcert={root}"),
        "sslmode=require".to_owned(),
    ] {
        let mut command = bench.command(&["analyze", "--json"]);
        command.env("DIFFMIG_TARGET_URL", at("localhost", parameters.clone()));
        let said = run(command).await;
        assert_eq!(said.code, Some(0), "{parameters}: {said:?}");
    }
    let log = bench.target_log();
    let ours = log
        .lines()
        .filter(|line| line.contains("application_name=diffmig"));
    assert!(ours.clone().count() >= 3, "{log}");
    assert!(
        ours.clone().all(|line| line.contains("SSL enabled")),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn d13_a_whole_migration_goes_over_verified_tls() {
    let authority = Authority::new("throw-away authority");
    let bench = Bench::with_tls(&authority.server("localhost", Validity::Good)).await;
    bench.workshop.load_day1(1).await.unwrap();
    let root = bench.trust("root.crt", &authority);
    let parameters = format!("sslmode=verify-full&sslrootcert={}", root.display());
    let said = migrate_to(&bench, &bench.target_url_at("localhost", &parameters)).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    bench.compare_all("day1").await;
    let log = bench.target_log();
    let plain = log
        .lines()
        .find(|line| line.contains("application_name=diffmig") && !line.contains("SSL enabled"));
    assert_eq!(plain, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn d13_a_server_without_tls_and_a_bad_root_certificate_are_told_apart() {
    let bench = Bench::empty().await;
    let authority = Authority::new("throw-away authority");
    let root = bench.trust("root.crt", &authority);
    let verified = format!("sslmode=verify-full&sslrootcert={}", root.display());
    let said = migrate_to(&bench, &bench.target_url_at("localhost", &verified)).await;
    refused(&said, 12, &["the server does not offer TLS"]);

    let missing = "sslmode=verify-full&sslrootcert=nowhere.crt";
    let said = migrate_to(&bench, &bench.target_url_at("localhost", missing)).await;
    refused(&said, 2, &["sslrootcert", "nowhere.crt", "no such file"]);

    std::fs::write(bench.directory.path().join("empty.crt"), "no certificate").unwrap();
    let empty = "sslmode=verify-full&sslrootcert=empty.crt";
    let said = migrate_to(&bench, &bench.target_url_at("localhost", empty)).await;
    refused(&said, 2, &["sslrootcert", "holds no certificate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn d13_hosts_elsewhere_are_not_spoken_to_without_verification() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("diffmig.toml"), MAPPING).unwrap();
    let elsewhere = |parameters: &str, arguments: &[&str]| {
        let mut command = diffmig(directory.path(), arguments);
        command
            .env("DIFFMIG_SOURCE_URL", "postgres://u@127.0.0.1:1/d")
            .env(
                "DIFFMIG_TARGET_URL",
                format!("postgres://u:{CANARY}@db.example.invalid/d{parameters}"),
            );
        run(command)
    };
    for mode in ["disable", "allow", "prefer", "require"] {
        let said = elsewhere(&format!("?sslmode={mode}"), &["analyze"]).await;
        refused(&said, 2, &["verify-full", "--insecure"]);
        assert!(!said.stderr.contains(CANARY));
    }
    // With the operator's word for it the next step is the name, which does not exist.
    let said = elsewhere("?sslmode=require", &["analyze", "--insecure"]).await;
    refused(&said, 10, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_a_host_that_cannot_be_resolved_is_named() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("diffmig.toml"), MAPPING).unwrap();
    let mut command = diffmig(directory.path(), &["status"]);
    command.env(
        "DIFFMIG_TARGET_URL",
        format!("postgres://u:{CANARY}@db.diffmig.invalid/d"),
    );
    let said = run(command).await;
    refused(
        &said,
        10,
        &["db.diffmig.invalid", "the host name cannot be resolved"],
    );
    assert!(!said.stderr.contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn d10_a_wrong_password_is_tried_once() {
    let bench = Bench::empty().await;
    let url = bench
        .workshop
        .target
        .url_with_password("postgres", CANARY, "postgres");
    let said = migrate_to(&bench, &url).await;
    refused(
        &said,
        12,
        &["password authentication failed", "postgres@127.0.0.1"],
    );
    assert!(!said.stderr.contains(CANARY));
    let log = bench.target_log();
    let failures = log.matches("password authentication failed").count();
    assert_eq!(failures, 1, "a second try can lock an account: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d11_an_unknown_database_or_role_is_named_and_not_tried_again() {
    let bench = Bench::empty().await;
    let url = bench
        .workshop
        .target
        .url_with_password("postgres", "workshop", "nowhere");
    let said = migrate_to(&bench, &url).await;
    refused(&said, 12, &["\"nowhere\" does not exist", "3D000"]);
    let sleeper = "alter role postgres nologin";
    crate::support::tables::execute(&mut bench.admin().await, sleeper).await;
    let said = migrate_to(&bench, &bench.workshop.target_url()).await;
    refused(&said, 12, &["not permitted to log in", "28000"]);
    let log = bench.target_log();
    assert_eq!(log.matches("\"nowhere\" does not exist").count(), 1);
    assert_eq!(log.matches("not permitted to log in").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn d15_no_piece_of_a_password_is_taken_for_a_host() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("diffmig.toml"), MAPPING).unwrap();
    // If a piece of the password became the host, this listener would be called.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for mark in ["@", "/", "?", "#"] {
        for password in [
            format!("{CANARY}{mark}127.0.0.1:{port}"),
            format!("{CANARY}@127.0.0.1:{port}{mark}x"),
        ] {
            let url = format!("postgres://user:{password}@db.diffmig.invalid/d");
            let mut command = diffmig(directory.path(), &["status"]);
            command.env("DIFFMIG_TARGET_URL", url);
            let said = run(command).await;
            refused(&said, 2, &["percent-encode"]);
            for piece in [CANARY, "127.0.0.1", "db.diffmig.invalid"] {
                assert!(!said.stderr.contains(piece), "{mark}: {said:?}");
            }
        }
    }
    let called = listener.accept();
    assert!(called.is_err(), "somebody called a piece of the password");
    // A colon needs no escape: the first one ends the user name.
    let bench = Bench::empty().await;
    bench
        .on(
            Side::Source,
            "create role colon login superuser password 'a:b:c'",
        )
        .await;
    let port = bench.workshop.source.port();
    let mut command = bench.command(&["status"]);
    command.env(
        "DIFFMIG_TARGET_URL",
        format!("postgres://colon:a:b:c@127.0.0.1:{port}/legacy"),
    );
    let said = run(command).await;
    // It is let in; there is no session to show yet.
    assert_eq!(said.code, Some(17), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d8_d9_a_pooler_in_transaction_mode_is_refused_on_either_side() {
    let bench = Bench::day1().await;
    for reuse in [Reuse::Last, Reuse::First] {
        let target = Pooler::start(&bench.workshop.target, "postgres", "postgres", reuse);
        let source = Pooler::start(&bench.workshop.source, "workshop_owner", "legacy", reuse);
        for (variable, pooler) in [
            ("DIFFMIG_TARGET_URL", &target),
            ("DIFFMIG_SOURCE_URL", &source),
        ] {
            let mut command = bench.command(&["migrate"]);
            command.env(
                variable,
                format!("postgres://postgres@127.0.0.1:{}/postgres", pooler.port),
            );
            let said = run(command).await;
            refused(
                &said,
                14,
                &["transaction mode", "session mode", "nothing was started"],
            );
        }
        // What PgBouncer takes without being configured to.
        let known = [
            "user",
            "database",
            "application_name",
            "client_encoding",
            "DateStyle",
            "TimeZone",
        ];
        let clients = target.parameters();
        assert!(!clients.is_empty());
        for name in clients.iter().flat_map(std::collections::BTreeMap::keys) {
            assert!(
                known.contains(&name.as_str()),
                "PgBouncer would refuse {name}"
            );
        }
    }
    let begun = "select count(*) from pg_namespace where nspname = 'diffmig'";
    assert_eq!(bench.in_target(begun).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn d8_the_port_of_the_hosted_transaction_pooler_is_refused_by_its_number() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("diffmig.toml"), MAPPING).unwrap();
    for host in [
        "aws-0-eu-central-1.pooler.supabase.com",
        "db.abc.supabase.co",
    ] {
        let mut command = diffmig(directory.path(), &["status"]);
        let url = format!("postgres://postgres.abc:{CANARY}@{host}:6543/postgres");
        command.env("DIFFMIG_TARGET_URL", url);
        let said = run(command).await;
        refused(&said, 14, &["transaction mode", "port 5432"]);
        assert!(!said.stderr.contains(CANARY));
    }
}
