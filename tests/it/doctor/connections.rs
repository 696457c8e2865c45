//! Ways to the servers: unreachable ones, poolers, too few connections, sessions that stand in the way.

use super::{mend, only, with_code};
use crate::support::Bench;
use crate::support::command::run;
use crate::support::pgbouncer::{PgBouncer, program};
use crate::support::tables::execute;
use diffmig::config::SettingsInput;
use diffmig::config::environment::load_parts;
use diffmig::domain::connection::Side;
use diffmig::service::doctor::{DoctorRequest, doctor};
use serde_json::Value;
use std::time::Duration;

async fn bench() -> Bench {
    Bench::with_tables(
        "create table item (id int primary key, s int); insert into item values (1, 7);",
        "create table items (id int primary key, s text);",
        "[entities.items]\nsource = \"item\"\ntarget = \"items\"\nid = { column = \"id\", strategy = \"same\" }\n\
         [entities.items.columns]\ns = { column = \"item.s\", codes = { 0 = \"a\" } }\n",
    )
    .await
}

/// Asks with another URL for one side.
async fn ask_at(bench: &Bench, variable: &str, url: String, code: i32) -> Value {
    let mut command = bench.command(&["doctor", "--json", "-q"]);
    command.env(variable, url);
    let said = run(command).await;
    assert_eq!(said.code, Some(code), "{said:?}");
    serde_json::from_str(&said.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_cannot_be_reached_does_not_hide_the_other() {
    let bench = bench().await;
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
    let found = ask_at(&bench, "DIFFMIG_TARGET_URL", nowhere.into(), 10).await;
    assert_eq!(only(&found, "unreachable")["side"], "target");
    assert_eq!(only(&found, "source-role-may-write")["side"], "source");
    assert_eq!(found["servers"][0]["side"], "source");
    let found = ask_at(&bench, "DIFFMIG_SOURCE_URL", nowhere.into(), 10).await;
    assert_eq!(only(&found, "unreachable")["side"], "source");
    assert_eq!(only(&found, "role-timeouts")["side"], "target");

    // Names are held against the side that answers.
    bench
        .on(Side::Target, "alter table items rename to things")
        .await;
    let found = ask_at(&bench, "DIFFMIG_SOURCE_URL", nowhere.into(), 10).await;
    let misfit = only(&found, "mapping-misfit")["found"].as_str().unwrap();
    assert!(misfit.contains("no table public.items"), "{misfit}");
    bench
        .on(Side::Target, "alter table things rename to items")
        .await;

    let wrong = bench
        .workshop
        .target
        .url_with_password("postgres", "canary", "postgres");
    let found = ask_at(&bench, "DIFFMIG_TARGET_URL", wrong, 12).await;
    assert_eq!(only(&found, "not-admitted")["side"], "target");
    assert!(!found.to_string().contains("canary"));
    let same = bench.workshop.source_url();
    let found = ask_at(&bench, "DIFFMIG_TARGET_URL", same, 14).await;
    assert_eq!(only(&found, "same-database")["severity"], "blocker");
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_is_refused_in_transaction_mode_and_recognised_in_session_mode() {
    let Some(program) = program() else { return };
    let bench = bench().await;
    let target = (&bench.workshop.target, ("postgres", "workshop", "postgres"));
    let source = (
        &bench.workshop.source,
        ("workshop_owner", "workshop", "legacy"),
    );
    for (variable, side, (server, role)) in [
        ("DIFFMIG_TARGET_URL", "target", target),
        ("DIFFMIG_SOURCE_URL", "source", source),
    ] {
        let pooler = PgBouncer::start(&program, server, role, "transaction");
        let url = format!("postgres://any@127.0.0.1:{}/{}", pooler.port, role.2);
        let found = ask_at(&bench, variable, url.clone(), 14).await;
        let finding = only(&found, "transaction-pooler");
        assert_eq!(
            (&finding["side"], &finding["severity"]),
            (&side.into(), &"blocker".into())
        );
        let lines = mend(finding).join("\n");
        let address = format!("127.0.0.1:{}", server.port());
        assert!(lines.contains(&address), "no {address} in {lines}");
        assert!(lines.contains("session mode"), "{lines}");
        // The other side was looked at.
        assert_eq!(found["servers"].as_array().unwrap().len(), 1);
        // The other commands refuse it too.
        let mut command = bench.command(&["migrate", "-q"]);
        command.env(variable, url);
        crate::support::tables::refused(&run(command).await, 14, &["transaction mode"]);
        drop(pooler);

        let pooler = PgBouncer::start(&program, server, role, "session");
        let url = format!("postgres://any@127.0.0.1:{}/{}", pooler.port, role.2);
        let found = ask_at(&bench, variable, url, 0).await;
        assert_eq!(only(&found, "session-pooler")["side"], side);
        let of_side = found["servers"].as_array().unwrap().iter();
        let pooled: Vec<&Value> = of_side.filter(|it| it["pooling"] == "session").collect();
        assert_eq!(pooled.len(), 1, "{found:#}");
        assert_eq!(pooled[0]["side"], side);
    }
    let direct = bench.ask(&["doctor"], 0).await;
    assert!(with_code(&direct, "session-pooler").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_connections_are_counted_against_what_a_migration_takes() {
    let bench = bench().await;
    let mut admin = bench.admin().await;
    execute(&mut admin, "alter role postgres connection limit 4").await;
    let found = bench.ask(&["doctor"], 15).await;
    let finding = only(&found, "too-few-connections");
    assert_eq!(finding["side"], "target");
    let line = mend(finding).remove(0);
    assert!(
        line.starts_with("alter role \"postgres\" connection limit "),
        "{line}"
    );
    execute(&mut admin, &line).await;
    let found = bench.ask(&["doctor"], 0).await;
    assert!(with_code(&found, "too-few-connections").is_empty());
    // Enough for fewer workers.
    let found = bench.ask(&["doctor", "--max-concurrent", "20"], 0).await;
    let finding = only(&found, "too-few-connections");
    assert_eq!(finding["severity"], "warning");
    // How many there are depends on how quickly the server forgets those that have just ended.
    let lines = mend(finding);
    assert!(
        [
            "diffmig migrate --max-concurrent 3",
            "diffmig migrate --max-concurrent 4"
        ]
        .contains(&lines[0].as_str()),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_nobody_ends_are_named() {
    let bench = bench().await;
    bench
        .on(
            Side::Source,
            "begin; insert into item values (50, 0); prepare transaction 'it''s forgotten'",
        )
        .await;
    let mut open = bench.source().await;
    execute(
        &mut open,
        "set application_name = 'a report'; begin; select 1",
    )
    .await;
    let parts = load_parts(&SettingsInput {
        config: bench.mapping_path(),
        source_url: Some(bench.workshop.source_url()),
        target_url: Some(bench.workshop.target_url()),
        insecure: false,
    });
    let request = DoctorRequest {
        long_transaction: Duration::ZERO,
        ..DoctorRequest::default()
    };
    let (events, _received) = tokio::sync::mpsc::unbounded_channel();
    let found = doctor(&request, parts.unwrap(), &events).await.unwrap();
    let found = serde_json::to_value(&found).unwrap();
    let prepared = only(&found, "prepared-transaction");
    assert_eq!(prepared["severity"], "note", "it is young");
    bench.on(Side::Source, &mend(prepared)[0]).await;
    let long = with_code(&found, "long-transaction");
    let report = long
        .iter()
        .find(|it| it["found"].as_str().unwrap().contains("a report"));
    bench.on(Side::Source, &mend(report.unwrap())[0]).await;
    let left = "select (select count(*) from pg_prepared_xacts) + (select count(*) from pg_stat_activity \
                where application_name = 'a report' and state is not null)";
    let began = std::time::Instant::now();
    while bench.in_source(left).await > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "the session does not end"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let found = bench.ask(&["doctor"], 0).await;
    assert!(with_code(&found, "prepared-transaction").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_takes_too_long_is_given_up_and_named() {
    let bench = bench().await;
    bench
        .on(
            Side::Source,
            "create table second (id int primary key, s int); insert into second values (1, 9)",
        )
        .await;
    bench.map(
        "[entities.items]\nsource = \"item\"\ntarget = \"items\"\nid = { column = \"id\", strategy = \"same\" }\n\
         [entities.items.columns]\ns = { column = \"item.s\", codes = { 0 = \"a\" } }\n\
         [entities.seconds]\nsource = \"second\"\ntarget = \"items\"\nid = { column = \"id\", strategy = \"same\" }\n\
         [entities.seconds.columns]\ns = { column = \"second.s\", codes = { 0 = \"a\" } }\n",
    );
    let mut holder = bench.source().await;
    execute(&mut holder, "begin; lock table item").await;
    let found = bench.ask(&["doctor", "--timeout", "2s"], 0).await;
    let given_up = with_code(&found, "not-looked-at");
    let words: Vec<&str> = given_up
        .iter()
        .map(|it| it["found"].as_str().unwrap())
        .collect();
    let items = words.iter().find(|it| it.contains("items"));
    assert!(items.unwrap().contains("longer than 2 s"), "{words:?}");
    let codes = only(&found, "unknown-codes");
    assert_eq!(codes["entity"], "seconds");
    let strict = bench
        .ask(&["doctor", "--timeout", "2s", "--strict"], 12)
        .await;
    assert_eq!(strict["ready"], true);
    execute(&mut holder, "rollback").await;
    let found = bench.ask(&["doctor"], 0).await;
    assert_eq!(with_code(&found, "unknown-codes").len(), 2);
}
