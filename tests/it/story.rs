//! The main job on the fixture: two days, compared by SQL that is not ours.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::{Bench, expected, number};
use diffmig::context::Selection;
use diffmig::domain::connection::Side;
use diffmig::service::analyze::analyze;
use diffmig::service::detect::{DetectRequest, detect};
use diffmig::service::migrate::{MigrateReport, MigrateRequest, migrate};

async fn run(bench: &Bench) -> MigrateReport {
    let context = bench.context().await;
    let done = migrate(&context, &MigrateRequest::default()).await;
    done.unwrap_or_else(|error| {
        panic!(
            "{error}\n{:?}\n{:?}",
            error.cause_text(),
            error.state_text()
        )
    })
}

fn check_counts(report: &MigrateReport, day: &str) {
    let mut faults = Vec::new();
    for (entity, wanted) in expected(day) {
        if entity == "total" {
            continue;
        }
        let found = report
            .entities
            .iter()
            .find(|it| it.entity == entity)
            .unwrap();
        let mut check = |what: &str, found: i64, wanted: i64| {
            if found != wanted {
                faults.push(format!(
                    "{day} {entity} {what}: found {found}, wanted {wanted}"
                ));
            }
        };
        let number = |count: u64| i64::try_from(count).unwrap();
        check(
            "source",
            number(found.detected.source_rows),
            wanted["source"],
        );
        check(
            "filtered",
            number(found.detected.filtered),
            wanted["filtered"],
        );
        // A mended row was never in the target, so it counts as new.
        check(
            "new",
            number(found.detected.new),
            wanted["new"] + wanted["mended"],
        );
        check(
            "modified",
            number(found.detected.modified),
            wanted["modified"],
        );
        check("deleted", number(found.detected.deleted), wanted["deleted"]);
        check("applied", found.ledger.applied, wanted["applied"]);
        check(
            "quarantined",
            found.ledger.quarantined,
            wanted["quarantined"],
        );
        check("held", found.ledger.held, wanted["held"]);
        check("conflicted", found.ledger.conflicted, wanted["conflicted"]);
        check("retired", found.ledger.retired, wanted["retired"]);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_days_arrive_exactly_and_a_third_run_writes_nothing() {
    let bench = Bench::day1().await;
    let first = run(&bench).await;
    check_counts(&first, "day1");
    assert_eq!(bench.compare_all("day1").await, 34334);
    let mut target = bench.target().await;
    sqlx::raw_sql("create table public.ids_of_day1 as select legacy_client_id as key, id from public.clients where legacy_client_id is not null")
        .execute(&mut target)
        .await
        .unwrap();

    bench.workshop.load_day2().await.unwrap();
    let context = bench.context().await;
    let detection = detect(
        &context,
        &DetectRequest {
            store: true,
            max_concurrent: 3,
            ..DetectRequest::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(
        detection.entities.iter().map(|it| it.deleted).sum::<u64>(),
        59
    );
    let second = run(&bench).await;
    check_counts(&second, "day2");
    bench.compare_all("day2").await;
    let moved = number(
        &mut target,
        "select count(*) from public.ids_of_day1 o join public.clients c on c.legacy_client_id = o.key where c.id <> o.id",
    )
    .await;
    assert_eq!(moved, 0, "an id was rewritten");

    let baseline = analyze(&context, &Selection::default()).await.unwrap();
    assert!(baseline.is_synced(), "{baseline:?}");
    let third = run(&bench).await;
    assert_eq!(third.applied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_value_may_move_between_rows_in_one_night() {
    let bench = Bench::day1().await;
    run(&bench).await;
    let moves = "
        update auth_user set email = 'moved-away@example.com' where id = 1200;
        update auth_user set email = (select 'old-' || id || '@example.com') where id = 1201;
        update auth_user set email = 'moved-away-too@example.com' where id = 1202;
        insert into auth_user (id, username, first_name, last_name, email, is_active, is_superuser, date_joined)
          select 5000001, 'newcomer', 'New', 'Comer', b.email, true, false, b.date_joined
          from before b where b.id = 1200;
        update auth_user u set email = b.email from before b where b.id = 1202 and u.id = 1203;
    ";
    let moves = format!("create temp table before as select * from auth_user; {moves}");
    bench.workshop.run(Side::Source, &moves).await.unwrap();
    let report = run(&bench).await;
    let profiles = report
        .entities
        .iter()
        .find(|it| it.entity == "profiles")
        .unwrap();
    assert_eq!(profiles.ledger.quarantined, 17, "{profiles:?}");
    let arrived = "select count(*) from public.profiles where legacy_user_id in (1200, 1201, 1202, 1203, 5000001)";
    let mut target = bench.target().await;
    assert_eq!(number(&mut target, arrived).await, 5);
    let addresses = "select count(*) from public.profiles a join public.profiles b on a.email = b.email and a.id <> b.id";
    assert_eq!(number(&mut target, addresses).await, 0);
    assert_eq!(run(&bench).await.applied(), 0);
}
