//! Rows that are set aside: listed, explained, waived, and tried again.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::{Bench, expected, number};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

/// Runs a command with `--json`, checks how it ends and returns its document.
async fn ask(bench: &Bench, arguments: &[&str], code: i32) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.extend(["--json", "-q"]);
    let said = bench.say(&arguments).await;
    assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
    serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"))
}

async fn change(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

fn rows(document: &Value) -> &Vec<Value> {
    document["rows"].as_array().unwrap()
}

/// List and summary agree with the fixture and with each other.
async fn is_counted(bench: &Bench) {
    let totals = &expected("day1")["total"];
    for (status, wanted) in [("open", totals["quarantined"]), ("held", totals["held"])] {
        let listed = ask(bench, &["quarantine", "list", "--status", status], 0).await;
        assert_eq!(listed["total"], wanted, "{status}");
        assert_eq!(rows(&listed).len(), usize::try_from(wanted).unwrap());
        assert!(rows(&listed).iter().all(|it| it["status"] == status));
    }
    let listed = ask(bench, &["quarantine", "list"], 0).await;
    assert_eq!(listed["total"], totals["quarantined"] + totals["held"]);
    let order: Vec<(String, i64)> = rows(&listed)
        .iter()
        .map(|it| {
            (
                it["entity"].as_str().unwrap().to_owned(),
                it["key"][0].as_i64().unwrap(),
            )
        })
        .collect();
    assert!(order.is_sorted(), "{order:?}");
    let summed = ask(bench, &["quarantine", "list", "--summary"], 0).await;
    assert_eq!(summed["total"], listed["total"]);
    let by_reason = summed["summary"].as_array().unwrap();
    let sum: i64 = by_reason
        .iter()
        .map(|it| it["rows"].as_i64().unwrap())
        .sum();
    assert_eq!(summed["total"], sum);
    for (entity, wanted) in expected("day1") {
        let of_entity = by_reason.iter().filter(|it| it["entity"] == *entity);
        let sum: i64 = of_entity.map(|it| it["rows"].as_i64().unwrap()).sum();
        if entity != "total" {
            assert_eq!(sum, wanted["quarantined"] + wanted["held"], "{entity}");
        }
    }
    let cut = ask(bench, &["quarantine", "list", "--limit", "3"], 0).await;
    assert_eq!((rows(&cut).len(), &cut["total"]), (3, &listed["total"]));
    let csv = bench.say(&["quarantine", "list", "-o", "csv", "-q"]).await;
    assert_eq!(csv.stdout.lines().count(), order.len() + 1, "{csv:?}");
}

/// A held row names its parent; no value of a row is shown.
async fn is_explained(bench: &Bench) {
    let held = ask(bench, &["quarantine", "show", "luthiers", "24"], 0).await;
    assert_eq!(held["status"], "held", "{held}");
    assert_eq!(held["key"], json!([24]));
    assert_eq!(held["ledger"]["outcome"], "held");
    assert_eq!(held["ledger"]["inTarget"], false);
    let waits = &held["waitsFor"][0];
    assert_eq!(waits["parentEntity"], "profiles", "{held}");
    assert_eq!(waits["parentKey"], json!([24]));
    assert_eq!(waits["parentStatus"], "open");
    let page = bench.say(&["quarantine", "show", "luthiers", "24"]).await;
    assert!(
        page.stdout.contains("waits for      profiles 24"),
        "{page:?}"
    );
    let bad = bench.say(&["quarantine", "show", "profiles", "28"]).await;
    assert!(bad.stdout.contains("23505"), "{bad:?}");
    assert!(!bad.stdout.contains('@'), "{bad:?}");
    for unknown in [["profiles", "29"], ["nothing", "1"]] {
        let said = bench
            .say(&["quarantine", "show", unknown[0], unknown[1]])
            .await;
        assert_eq!(said.code, Some(2), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_set_aside_are_listed_waived_and_tried_again() {
    let bench = Bench::day1().await;
    let first = bench.say(&["migrate", "-q"]).await;
    assert_eq!(first.code, Some(3), "{first:?}");
    assert!(
        first.stderr.contains("next: diffmig quarantine list\n"),
        "{first:?}"
    );
    is_counted(&bench).await;
    is_explained(&bench).await;

    // One obstacle is removed in the target: the source row itself does not change.
    let mut target = bench.target().await;
    change(
        &mut target,
        "delete from public.clients where client_no = 'CL-N00003'; \
         delete from public.profiles where email = 'taken@example.com'",
    )
    .await;
    let idle = bench.say(&["detect", "--exit-code", "-q"]).await;
    assert_eq!(idle.code, Some(0), "nothing changed: {idle:?}");
    let retry = [
        "quarantine",
        "retry",
        "--entity",
        "profiles",
        "--key",
        "28",
        "--key",
        "23",
    ];
    let marked = ask(&bench, &retry, 0).await;
    assert_eq!(
        (&marked["deed"], &marked["rows"]),
        (&json!("retry"), &json!(2))
    );
    let shown = ask(&bench, &["quarantine", "show", "profiles", "28"], 0).await;
    assert_eq!(shown["ledger"]["retried"], true);
    let again = ask(&bench, &["migrate", "--entities", "profiles"], 3).await;
    let batches = &again["entities"][0]["batches"];
    assert_eq!(
        (&batches["inserted"], &batches["quarantined"]),
        (&json!(1), &json!(1))
    );
    let there = "select count(*) from public.profiles where legacy_user_id = 28";
    assert_eq!(number(&mut target, there).await, 1);
    let shown = ask(&bench, &["quarantine", "show", "profiles", "28"], 0).await;
    assert_eq!(shown["status"], "resolved");
    assert_eq!(shown["ledger"]["outcome"], "applied");
    let still = ask(&bench, &["quarantine", "show", "profiles", "23"], 0).await;
    assert_eq!(
        (&still["status"], &still["attempts"]),
        (&json!("open"), &json!(2))
    );
    assert_eq!(still["ledger"]["retried"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn waived_rows_are_counted_but_do_not_decide_the_exit_code() {
    let bench = Bench::day1().await;
    let before = ask(&bench, &["migrate"], 3).await;
    let all = before["setAside"].as_i64().unwrap();
    let profiles = expected("day1")["profiles"]["quarantined"];
    let waived = ask(&bench, &["quarantine", "waive", "profiles", "23", "24"], 0).await;
    assert_eq!(waived["rows"], 2);
    let missing = bench
        .say(&["quarantine", "waive", "profiles", "25", "4711"])
        .await;
    assert_eq!(missing.code, Some(2), "{missing:?}");
    let by_reason = [
        "quarantine",
        "waive",
        "--entity",
        "profiles",
        "--reason",
        "23505",
    ];
    let by_reason = ask(&bench, &by_reason, 0).await["rows"].as_i64().unwrap();
    assert!(by_reason > 0 && by_reason < profiles, "{by_reason}");
    let rest = ask(&bench, &["quarantine", "waive", "--entity", "profiles"], 0).await;
    assert_eq!(rest["rows"], profiles - by_reason - 2);

    let after = ask(&bench, &["migrate"], 3).await;
    assert_eq!(after["setAside"], all - profiles);
    assert_eq!(after["waived"], profiles);
    assert_eq!(
        after["accounting"], before["accounting"],
        "a waived row is counted where it was"
    );
    let alone = ask(&bench, &["migrate", "--entities", "profiles"], 0).await;
    assert_eq!(alone["state"], "completed");
    let listed = ask(&bench, &["quarantine", "list", "--entity", "profiles"], 0).await;
    assert_eq!(listed["total"], 0);
    let listed = ask(&bench, &["quarantine", "list", "--status", "waived"], 0).await;
    assert_eq!(listed["total"], profiles);

    // A waived row whose source changes is judged anew, and so is one that is asked for by key.
    let mut source = bench.source().await;
    change(
        &mut source,
        "update public.auth_user set email = 'still wrong' where id = 23",
    )
    .await;
    let of_entity = ["quarantine", "retry", "--entity", "profiles"];
    assert_eq!(ask(&bench, &of_entity, 0).await["rows"], 0);
    let by_key = ["quarantine", "retry", "--entity", "profiles", "--key", "24"];
    assert_eq!(ask(&bench, &by_key, 0).await["rows"], 1);
    let judged = ask(&bench, &["migrate", "--entities", "profiles"], 3).await;
    assert_eq!(judged["setAside"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_refused_while_a_session_is_at_work_and_overwrites_nothing() {
    let bench = Bench::day1().await;
    let none = bench.say(&["quarantine", "list"]).await;
    assert_eq!(none.code, Some(17), "{none:?}");
    let mut target = bench.target().await;
    change(
        &mut target,
        "insert into public.recipes (id, name, created_at) overriding system value \
         values (1, 'native to the target', now())",
    )
    .await;
    ask(&bench, &["migrate"], 3).await;
    let shown = ask(&bench, &["quarantine", "show", "recipes", "1"], 0).await;
    assert_eq!(shown["status"], "conflict");

    change(
        &mut target,
        "update diffmig.lease set session_id = gen_random_uuid(), host = 'elsewhere'; \
         update diffmig.lease_beat set expires_at = now() + interval '1 minute'",
    )
    .await;
    let zero = "select count(*) from diffmig.ledger_recipes \
        where row_hash = decode('00000000000000000000000000000000', 'hex')";
    let refused = ask(&bench, &["quarantine", "retry"], 11).await;
    assert_eq!(refused["error"]["state"], "nothing was changed");
    assert_eq!(number(&mut target, zero).await, 0);
    change(
        &mut target,
        "update diffmig.lease_beat set expires_at = '-infinity'",
    )
    .await;

    // With kept keys a row of the target may have the key of a source row; it stays as it is.
    let everything = ask(&bench, &["quarantine", "retry"], 0).await;
    let totals = &expected("day1")["total"];
    assert_eq!(
        everything["rows"],
        totals["quarantined"] + totals["held"] + 1
    );
    assert_eq!(number(&mut target, zero).await, 2);
    let again = ask(&bench, &["migrate"], 3).await;
    assert_eq!(again["applied"], 0, "{again}");
    let native =
        "select count(*) from public.recipes where id = 1 and name = 'native to the target'";
    assert_eq!(number(&mut target, native).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_for_bad_rows_stops_the_session_and_is_not_lifted_by_trying_again() {
    let bench = Bench::day1().await;
    let all = expected("day1")["total"]["quarantined"];
    for limit in ["10", "0.02%"] {
        let stopped = bench
            .say(&["migrate", "--max-quarantine", limit, "-q"])
            .await;
        assert_eq!(stopped.code, Some(14), "{limit}: {stopped:?}");
        assert!(stopped.stderr.contains("--max-quarantine"), "{stopped:?}");
        let listed = ask(&bench, &["quarantine", "list", "--status", "open"], 0).await;
        let open = listed["total"].as_i64().unwrap();
        assert!(open > 6 && open < all, "{open}");
    }
    let enough = all.to_string();
    let ended = bench
        .say(&["migrate", "--max-quarantine", &enough, "-q"])
        .await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    bench.compare_all("day1").await;
}
