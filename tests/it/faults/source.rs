//! Faults of the source: readers ended, tables emptied and reshaped, late commits, another cluster, missing rights.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use super::scene::{
    Barrier, COMMITTED, Running, check_block, check_whole, check_whole_after_another_run, execute,
    lease_elsewhere, sqlstate, until,
};
use crate::support::command::Said;
use crate::support::{Bench, number};
use diffmig::sandbox::Shutdown;
use sqlx::Connection as _;
use std::time::Duration;

const SMALL: &[&str] = &["migrate", "--batch-size", "300"];

/// Runs a command with another way to the source.
async fn say_with_source(bench: &Bench, url: &str, arguments: &[&str]) -> Said {
    let mut command = bench.command(arguments);
    command.env("DIFFMIG_SOURCE_URL", url);
    crate::support::command::run(command).await
}

/// Makes a role that may read what it is granted and nothing else.
async fn reader_role(bench: &Bench) -> String {
    let mut source = bench.source().await;
    execute(
        &mut source,
        "create role reader login password 'reader'; grant usage on schema public to reader; \
         grant select on all tables in schema public to reader",
    )
    .await;
    bench
        .workshop
        .source
        .url_with_password("reader", "reader", "legacy")
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_a_reader_that_is_ended_within_its_rows_is_no_end_of_rows() {
    let bench = Bench::day1().await;
    let child = Running::start(&bench, SMALL);
    let (mut source, mut target) = (bench.source().await, bench.target().await);
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
        where application_name = 'diffmig' and query ilike 'copy%' and pid <> pg_backend_pid()";
    until(&mut source, end, 1).await;
    let committed = number(&mut target, COMMITTED).await;
    until(&mut target, COMMITTED, committed + 3).await;
    until(&mut source, end, 1).await;
    let said = child.end().await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.stderr.contains("trying again in"), "{said:?}");
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_a_source_that_restarts_costs_a_new_snapshot() {
    let bench = Bench::day1().await;
    let child = Running::start(&bench, SMALL);
    until(&mut bench.target().await, COMMITTED, 5).await;
    bench.workshop.source.restart(Shutdown::Fast).await.unwrap();
    let said = child.end().await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.stderr.contains("source: ") && said.stderr.contains("trying again in"),
        "{said:?}"
    );
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_source_that_is_away_leaves_everything_as_it_was() {
    let bench = Bench::day1().await;
    bench.say(&["migrate", "-q"]).await;
    let mut target = bench.target().await;
    let state =
        "select (select count(*) from diffmig.session) * 1000000 + count(*) from diffmig.batch";
    let before = number(&mut target, state).await;
    bench.workshop.source.stop(Shutdown::Fast).await.unwrap();
    let said = bench.say(&["migrate"]).await;
    check_block(
        &said,
        10,
        &[
            "source: cannot connect to",
            "connection refused",
            "nothing was started",
        ],
    );
    assert_eq!(number(&mut target, state).await, before);
    bench.workshop.source.start().await.unwrap();
    check_whole(&bench).await;
}

/// Runs a statement on the source while a session is held up; it must have to wait for the session.
async fn refused_during_a_run(statement: &str) {
    let bench = Bench::day1().await;
    let barrier = Barrier::before(&bench, "clients").await;
    let child = Running::start(&bench, SMALL);
    barrier.until_met(&bench).await;
    let mut source = bench.source().await;
    execute(&mut source, "set lock_timeout = '500ms'").await;
    assert_eq!(
        sqlstate(&mut source, statement).await,
        "55P03",
        "{statement} went through"
    );
    barrier.lift().await;
    let said = child.end().await;
    assert_eq!(said.code, Some(3), "{said:?}");
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c5_a_table_cannot_be_emptied_and_loaded_again_during_a_run() {
    refused_during_a_run("truncate public.shop_notice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c5_a_table_that_is_loaded_again_between_runs_is_compared_and_not_retired() {
    let bench = Bench::day1().await;
    bench.say(&["migrate", "-q"]).await;
    let mut source = bench.source().await;
    execute(
        &mut source,
        "create table public.kept as table public.shop_notice; truncate public.shop_notice",
    )
    .await;
    let said = bench.say(&["migrate"]).await;
    check_block(
        &said,
        14,
        &[
            "no row at all",
            "nothing was applied",
            "--allow-deletes notices=",
        ],
    );
    let retired = "select count(*) from diffmig.ledger_notices where deleted_at is not null";
    assert_eq!(number(&mut bench.target().await, retired).await, 0);
    execute(
        &mut source,
        "insert into public.shop_notice select * from public.kept; drop table public.kept",
    )
    .await;
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c6_a_column_cannot_change_its_type_during_a_run() {
    refused_during_a_run("alter table public.shop_notice alter column id type bigint").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c7_a_column_that_goes_between_the_look_and_the_read_is_drift() {
    let bench = Bench::day1().await;
    bench
        .say(&["migrate", "--entities", "workshops", "-q"])
        .await;
    let (mut source, mut target) = (bench.source().await, bench.target().await);
    lease_elsewhere(&mut target).await;
    // The mapping is checked before the lease is waited for.
    let child = Running::start(&bench, &["migrate", "--wait-lock", "2m"]);
    let looks = "select count(*) from pg_stat_activity where application_name = 'diffmig' \
        and query like '%from diffmig.lease%' and state = 'idle'";
    until(&mut target, looks, 1).await;
    execute(
        &mut source,
        "alter table public.shop_client rename column phone to telephone",
    )
    .await;
    execute(&mut target, "update diffmig.lease set session_id = null").await;
    let said = child.end().await;
    check_block(
        &said,
        13,
        &[
            "clients",
            "phone",
            "SQLSTATE 42703",
            "batches of this session are committed",
        ],
    );
    let phones = "select count(*) from public.clients where legacy_client_id is not null";
    assert_eq!(number(&mut target, phones).await, 0);
    let planned = bench.say(&["migrate"]).await;
    check_block(&planned, 13, &["no column `phone`", "diffmig.toml:"]);
    execute(
        &mut source,
        "alter table public.shop_client rename column telephone to phone",
    )
    .await;
    check_whole_after_another_run(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c9_a_transaction_that_commits_late_is_found_by_the_next_run() {
    let bench = Bench::day1().await;
    let (mut late, mut target) = (bench.source().await, bench.target().await);
    let arrived =
        "select count(*) from public.recipes where name = 'written early, committed late'";
    execute(
        &mut late,
        "begin; insert into public.shop_recipe (id, name, version, created_at) \
         select max(id) + 1, 'written early, committed late', 1, now() - interval '30 days' from public.shop_recipe",
    )
    .await;
    let first = bench.say(&["migrate", "-q"]).await;
    assert_eq!(first.code, Some(3), "{first:?}");
    assert_eq!(number(&mut target, arrived).await, 0);
    // Later rows have long been migrated when this one appears behind them.
    let mut source = bench.source().await;
    execute(
        &mut source,
        "insert into public.shop_recipe (id, name, version, created_at) \
         select max(id) + 100, 'committed in time', 1, now() from public.shop_recipe",
    )
    .await;
    assert_eq!(bench.say(&["migrate", "-q"]).await.code, Some(3));
    execute(&mut late, "commit").await;
    let next = bench.say(&["migrate", "--json", "-q"]).await;
    assert_eq!(next.code, Some(3), "{next:?}");
    assert_eq!(
        number(&mut target, arrived).await,
        1,
        "a late commit was missed"
    );
    let report: serde_json::Value = serde_json::from_str(&next.stdout).unwrap();
    assert_eq!(report["applied"], 1, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn c12_a_row_that_changes_behind_its_timestamp_is_found() {
    let bench = Bench::day1().await;
    bench.say(&["migrate", "-q"]).await;
    let (mut source, mut target) = (bench.source().await, bench.target().await);
    let applied =
        "select min(legacy_client_id)::bigint from public.clients where legacy_client_id > 100";
    let id = number(&mut target, applied).await;
    let stamps =
        "select coalesce(sum(extract(epoch from updated_at)), 0)::bigint from public.shop_client";
    let before = number(&mut source, stamps).await;
    let change = format!("update public.shop_client set phone = '044 123 45 67' where id = {id}");
    execute(&mut source, &change).await;
    assert_eq!(number(&mut source, stamps).await, before);
    let next = bench.say(&["migrate", "--json", "-q"]).await;
    let report: serde_json::Value = serde_json::from_str(&next.stdout).unwrap();
    assert_eq!(report["applied"], 1, "{report}");
    bench.compare_all("day1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c14_another_database_in_the_place_of_the_source_retires_no_row() {
    let bench = Bench::day1().await;
    bench.say(&["migrate", "-q"]).await;
    // A dump that was restored elsewhere, and that lacks what was written since: too few rows for the usual limit.
    let owner = bench.workshop.source.superuser().to_owned();
    let at = |database: &str| {
        bench
            .workshop
            .source
            .url_with_password(&owner, "workshop", database)
    };
    let mut admin = sqlx::PgConnection::connect(&at("postgres")).await.unwrap();
    execute(&mut admin, "create database restored template legacy").await;
    let mut restored = sqlx::PgConnection::connect(&at("restored")).await.unwrap();
    execute(&mut restored, "delete from public.shop_notice where id in (select id from public.shop_notice order by id desc limit 3)").await;
    for _ in 0..2 {
        let said = say_with_source(&bench, &at("restored"), &["migrate"]).await;
        check_block(
            &said,
            14,
            &[
                "deleting",
                "another database than the one that was migrated before",
                "--allow-deletes notices=",
            ],
        );
    }
    let retired = "select count(*) from diffmig.ledger_notices where deleted_at is not null";
    assert_eq!(number(&mut bench.target().await, retired).await, 0);
    drop(restored);
    check_whole_after_another_run(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c15_an_empty_or_wrong_database_is_never_taken_for_deletions() {
    let bench = Bench::day1().await;
    bench.say(&["migrate", "-q"]).await;
    let owner = bench.workshop.source.superuser().to_owned();
    let wrong = bench
        .workshop
        .source
        .url_with_password(&owner, "workshop", "postgres");
    let said = say_with_source(&bench, &wrong, &["migrate"]).await;
    check_block(
        &said,
        13,
        &[
            "SQLSTATE 42P01",
            "nothing was started",
            "is it the right database?",
        ],
    );
    let mut source = bench.source().await;
    execute(&mut source, "begin; create table public.kept as table public.shop_memo; truncate public.shop_memo; commit").await;
    let said = bench.say(&["migrate"]).await;
    check_block(&said, 14, &["no row at all", "nothing was applied"]);
    execute(
        &mut source,
        "insert into public.shop_memo select * from public.kept; drop table public.kept",
    )
    .await;
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c18_row_security_that_would_hide_rows_stops_everything() {
    let bench = Bench::day1().await;
    bench.say(&["migrate", "-q"]).await;
    let url = reader_role(&bench).await;
    let mut source = bench.source().await;
    execute(
        &mut source,
        "alter table public.shop_notice enable row level security; \
         create policy half on public.shop_notice for select to reader using (id % 2 = 0)",
    )
    .await;
    for command in [&["migrate"][..], &["detect"], &["analyze"]] {
        let said = say_with_source(&bench, &url, command).await;
        check_block(
            &said,
            12,
            &["row-level security", "shop_notice", "nothing was started"],
        );
    }
    let retired = "select count(*) from diffmig.ledger_notices where deleted_at is not null";
    assert_eq!(number(&mut bench.target().await, retired).await, 0);
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c19_every_missing_grant_is_named_at_once_on_either_side() {
    let bench = Bench::day1().await;
    let url = reader_role(&bench).await;
    let mut source = bench.source().await;
    execute(
        &mut source,
        "revoke select on public.shop_notice, public.shop_client from reader; \
         grant select (id) on public.shop_client to reader",
    )
    .await;
    let said = say_with_source(&bench, &url, &["migrate"]).await;
    let grants = [
        "grant select on public.shop_client to reader;",
        "grant select on public.shop_notice to reader;",
        "2 grants are missing",
    ];
    check_block(&said, 12, &grants);
    let mut admin = super::scene::target_admin(&bench).await;
    execute(
        &mut admin,
        "alter table public.notices owner to supabase_admin; alter table public.recipes owner to supabase_admin; \
         revoke all on public.notices, public.recipes from postgres, anon, authenticated, service_role; grant select on public.recipes to postgres",
    )
    .await;
    let said = bench.say(&["migrate"]).await;
    let grants = [
        "grant insert, select, update on public.notices to postgres;",
        "grant insert, update on public.recipes to postgres;",
    ];
    check_block(&said, 12, &grants);
    let touched = "select count(*) from pg_catalog.pg_namespace where nspname = 'diffmig'";
    assert_eq!(number(&mut admin, touched).await, 0);
    execute(&mut source, &grants_of(&["shop_client", "shop_notice"])).await;
    execute(
        &mut admin,
        "grant insert, select, update on public.notices, public.recipes to postgres",
    )
    .await;
    let said = say_with_source(&bench, &url, &["migrate"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    check_whole(&bench).await;
}

fn grants_of(tables: &[&str]) -> String {
    let grants = tables
        .iter()
        .map(|table| format!("grant select on public.{table} to reader;"));
    grants.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn c24_a_storm_of_writes_is_caught_up_with() {
    let bench = Bench::day1().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut storms = Vec::new();
    for lane in 0..3 {
        let (mut source, stop) = (bench.source().await, stop.clone());
        storms.push(tokio::spawn(async move {
            let mut written = 0_i64;
            while !stop.is_cancelled() {
                let sql = format!(
                    "insert into public.shop_recipe (id, name, version, created_at) \
                     values ({}, 'in the storm', 1, now())",
                    100_000 + lane * 100_000 + written
                );
                execute(&mut source, &sql).await;
                written += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            written
        }));
    }
    for _ in 0..2 {
        let said = bench.say(&["migrate", "-q"]).await;
        assert_eq!(said.code, Some(3), "{said:?}");
    }
    stop.cancel();
    let mut written = 0;
    for storm in storms {
        written += storm.await.unwrap();
    }
    assert_eq!(bench.say(&["migrate", "-q"]).await.code, Some(3));
    let arrived = "select count(*) from public.recipes where name = 'in the storm'";
    assert_eq!(number(&mut bench.target().await, arrived).await, written);
    let last = bench.say(&["migrate", "--json", "-q"]).await;
    let report: serde_json::Value = serde_json::from_str(&last.stdout).unwrap();
    assert_eq!(report["applied"], 0, "{report}");
}
