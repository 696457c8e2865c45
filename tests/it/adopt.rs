//! Adoption: a target that older scripts have half migrated, with the mistakes such scripts make.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod natural_keys;
mod scene;
mod shapes;

use crate::support::Bench;
use crate::support::command::run;
use crate::support::followed::Followed;
use crate::support::tables::refused;
use diffmig::domain::connection::Side;
use scene::{ENTITIES, expected, half_migrated};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The rows of all target tables, with where they lie and who wrote them.
async fn written(bench: &Bench) -> Vec<String> {
    let mut all = Vec::new();
    for table in [
        "teams",
        "people",
        "items",
        "seats",
        "rates",
        "migration_mappings",
    ] {
        let sql = format!(
            "select '{table}', ctid::text, xmin::text, t::text from {table} t order by ctid"
        );
        all.extend(bench.target_lines(&sql).await);
    }
    all
}

/// Which row has which id, by what does not change of it.
async fn identities(bench: &Bench) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for sql in [
        "select id::text, email from people where email is not null",
        "select id::text, legacy_note_id::text, legacy_task_id::text from items",
        "select id::text, legacy_team::text, legacy_person::text from seats",
        "select id::text, name from teams",
    ] {
        all.extend(bench.target_lines(sql).await);
    }
    all
}

/// Lets the adoption's first batches through and then nothing, until the lock is given back.
const STOP_AT_NOTES: &str = "create function public.stop() returns trigger language plpgsql as \
    'begin perform pg_advisory_xact_lock(7); return new; end'; \
    create trigger stop before insert on diffmig.batch for each row when (new.entity = 'notes') \
    execute function public.stop()";

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_at_work_is_shown_so_and_a_killed_one_as_failed() {
    let bench = half_migrated().await;
    let target = bench.context().await.target;
    let mut control = target.open().await.unwrap();
    diffmig::db::control::schema::ensure(&mut control)
        .await
        .unwrap();
    bench.on(Side::Target, STOP_AT_NOTES).await;
    let mut holder = bench.target().await;
    let hold = "select pg_advisory_lock(7)";
    sqlx::Executor::execute(&mut holder, hold).await.unwrap();
    let mut adopt = bench.spawn(&["adopt", "--differing", "source"]);
    let waiting =
        "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = 7";
    let deadline = Instant::now() + Duration::from_secs(60);
    while bench.in_target(waiting).await == 0 {
        assert!(Instant::now() < deadline, "it does not come to the notes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = bench.ask(&["status"], 0).await;
    for (field, wanted) in [
        ("state", json!("running")),
        ("exitCode", Value::Null),
        ("finishedAt", Value::Null),
        ("error", Value::Null),
    ] {
        assert_eq!(status[field], wanted, "{status}");
    }
    let mut watcher = Followed::start(&bench, &["status", "--watch", "--interval", "200ms"]);
    watcher.prints("\n");
    adopt.kill().unwrap();
    adopt.wait().unwrap();
    let watched = watcher.end().await;
    assert_eq!(watched.code, Some(1), "{watched:?}");
    let status = bench.ask(&["status"], 0).await;
    assert_eq!(status["state"], "failed", "{status}");
    assert!(status["error"].as_str().unwrap().contains("diffmig adopt"));
}

fn entity<'v>(report: &'v Value, name: &str) -> &'v Value {
    let entities = report["entities"].as_array().unwrap();
    entities.iter().find(|it| it["entity"] == name).unwrap()
}

fn numbers(report: &Value, name: &str, fields: &[&str]) -> Vec<i64> {
    let found = entity(report, name);
    fields
        .iter()
        .map(|it| found[it].as_i64().unwrap())
        .collect()
}

/// Kind, count and keys of every finding.
fn findings(report: &Value, name: &str) -> Vec<(String, u64, Value)> {
    let found = entity(report, name)["findings"].as_array().unwrap();
    let finding = |it: &Value| {
        let kind = it["kind"].as_str().unwrap().to_owned();
        (kind, it["count"].as_u64().unwrap(), it["keys"].clone())
    };
    found.iter().map(finding).collect()
}

const ACCOUNT: [&str; 7] = [
    "identical",
    "differing",
    "setAside",
    "new",
    "gone",
    "retired",
    "native",
];

fn check_report(report: &Value) {
    for name in ENTITIES {
        assert_eq!(
            numbers(report, name, &ACCOUNT),
            expected(name).account(),
            "{name}"
        );
        assert_eq!(entity(report, name)["known"], 0, "{name}");
    }
    let odd_team = findings(report, "teams").remove(2);
    assert_eq!((odd_team.0.as_str(), odd_team.1), ("malformed", 1));
    assert_eq!(
        findings(report, "teams")[..2],
        [
            ("duplicate".to_owned(), 1, json!([[11]])),
            ("dangling".to_owned(), 1, json!([[13]]))
        ]
    );
    let people = findings(report, "people");
    assert_eq!(people[0], ("duplicate".to_owned(), 1, json!([[30]])));
    assert_eq!(people[1], ("ambiguous".to_owned(), 1, json!([[121]])));
    assert_eq!((people[2].0.as_str(), people[2].1), ("malformed", 1));
    assert_eq!(
        findings(report, "notes"),
        [("taken".to_owned(), 1, json!([[500]]))]
    );
    assert_eq!(
        findings(report, "tasks"),
        [("taken".to_owned(), 1, json!([[8]]))]
    );
    assert!(findings(report, "seats").is_empty() && findings(report, "rates").is_empty());
    assert_eq!(report["faults"], 8);
    assert_eq!(entity(report, "people")["ties"], json!(["legacy", "match"]));
    assert_eq!(entity(report, "teams")["ties"], json!(["table"]));
    assert_eq!(entity(report, "rates")["ties"], json!(["same"]));
}

fn check_detection(detection: &Value) {
    for name in ENTITIES {
        let it = expected(name);
        assert_eq!(
            numbers(
                detection,
                name,
                &["unchanged", "new", "modified", "deleted", "setAside"]
            ),
            [it.identical, it.new, it.differing, it.gone, it.set_aside],
            "{name}"
        );
    }
}

/// A second time there is nothing to do, and the findings are still told.
async fn adopt_again(bench: &Bench) {
    let again = bench.ask(&["adopt"], 3).await;
    assert_eq!(again["adopted"], 0);
    assert!(again["sessionId"].is_null());
    assert_eq!(again["faults"], 8);
    for name in ENTITIES {
        let it = expected(name);
        assert_eq!(
            entity(&again, name)["known"],
            it.identical + it.differing,
            "{name}"
        );
    }
}

/// A dry run says the same and leaves nothing behind.
async fn look_first(bench: &Bench) {
    let looked = bench.ask(&["adopt", "--dry-run"], 3).await;
    check_report(&looked);
    assert_eq!(looked["dryRun"], true);
    let schema = "select count(*) from pg_catalog.pg_namespace where nspname = 'diffmig'";
    assert_eq!(
        bench.in_target(schema).await,
        0,
        "a dry run left something behind"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_old_scripts_are_adopted_with_their_ids_and_migrated_from_there() {
    let bench = half_migrated().await;
    let (before, ids) = (written(&bench).await, identities(&bench).await);
    look_first(&bench).await;

    let report = bench.ask(&["adopt", "--differing", "source"], 3).await;
    check_report(&report);
    assert_eq!(report["dryRun"], false);
    assert!(report["sessionId"].is_string());
    assert_eq!(report["adopted"], 384);
    assert_eq!(written(&bench).await, before, "a target row was written");

    adopt_again(&bench).await;

    check_detection(&bench.ask(&["detect"], 0).await);
    let migrated = bench.migrate(3).await;
    assert_eq!(migrated["setAside"], 9);
    let aside = [
        "notes 30 held 23503",
        "notes 121 held 23503",
        "people 30 open DM002",
        "people 121 open DM002",
        "seats 11 held 23503",
        "tasks 8 open DM002",
        "tasks 29 held 23503",
        "teams 11 open DM002",
        "teams 13 open DM002",
    ];
    assert_eq!(bench.set_aside().await, aside);
    let verified = bench.ask(&["verify"], 3).await;
    assert_eq!(verified["differences"], 0);
    for (name, set_aside) in [
        ("teams", 2),
        ("people", 2),
        ("notes", 2),
        ("tasks", 2),
        ("seats", 1),
        ("rates", 0),
    ] {
        assert_eq!(entity(&verified, name)["setAside"], set_aside, "{name}");
        assert_eq!(entity(&verified, name)["missing"], 0, "{name}");
    }
    // The stale row is right now, the key that the scripts lost is found, and no row has another id than before.
    assert_eq!(
        bench
            .in_target("select count(*) from people where name = 'Old name'")
            .await,
        0
    );
    let task = "select count(*) from items where legacy_task_id = 60";
    assert_eq!(
        bench.in_target(task).await,
        0,
        "a task that is gone is deleted, as its policy says"
    );
    let after = identities(&bench).await;
    let lost: Vec<&String> = ids.difference(&after).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    check_ledger_counts(&bench).await;
}

/// What the batches say of the ledgers is what is there.
async fn check_ledger_counts(bench: &Bench) {
    for name in ENTITIES {
        let noted = format!(
            "select w.ledger_rows + coalesce((select sum(b.ledger_rows) from diffmig.session s \
             join diffmig.batch b using (session_id) where s.number > w.session_number and b.entity = w.entity), 0)::bigint \
             from diffmig.watermark w where w.entity = '{name}'"
        );
        let there = format!("select count(*) from diffmig.ledger_{name}");
        assert_eq!(
            bench.in_target(&noted).await,
            bench.in_target(&there).await,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_adoption_goes_on_where_it_was() {
    let bench = half_migrated().await;
    let before = written(&bench).await;
    for place in [
        "batch.before_commit=kill@3",
        "batch.after_commit_before_ack=kill@9",
        "batch.after_fence=kill@5",
    ] {
        let mut command = bench.command(&["adopt", "--batch-size", "20", "-q"]);
        command.env("DIFFMIG_FAILPOINTS", place);
        let killed = run(command).await;
        assert_eq!(killed.code, None, "{place}: {killed:?}");
        let state = "select state from diffmig.session order by number desc limit 1";
        assert_eq!(bench.text_in_target(state).await, "failed", "{place}");
    }
    let report = bench.ask(&["adopt", "--batch-size", "20"], 3).await;
    for name in ENTITIES {
        let it = expected(name);
        let sums = numbers(&report, name, &["known", "identical", "differing"]);
        assert_eq!(
            sums.iter().sum::<i64>(),
            it.identical + it.differing,
            "{name}"
        );
        assert_eq!(entity(&report, name)["new"], it.new, "{name}");
    }
    assert_eq!(written(&bench).await, before);
    check_detection(&bench.ask(&["detect"], 0).await);
    let states = "select string_agg(state, ' ' order by number) from diffmig.session";
    assert_eq!(
        bench.text_in_target(states).await,
        "failed failed failed completed_with_rejects"
    );
    // None of the sessions is taken up by the migration, and every row of the ledgers is accounted for.
    bench.migrate(3).await;
    check_ledger_counts(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_differ_count_as_edited_unless_the_source_is_preferred() {
    let bench = half_migrated().await;
    // What was detected before the adoption knows nothing of it.
    let detection = bench.ask(&["detect"], 0).await;
    let detection_id = detection["detectionId"].as_str().unwrap().to_owned();
    bench.ask(&["adopt"], 3).await;
    let stale = bench
        .say(&["migrate", "--detection-id", &detection_id])
        .await;
    refused(&stale, 14, &["cannot be applied"]);
    check_detection(&bench.ask(&["detect"], 0).await);
    bench.migrate(3).await;
    let kept = "select count(*) from people where name = 'Old name'";
    assert_eq!(bench.in_target(kept).await, 3);
    let sql = "select q.entity, q.key::text, q.reason from diffmig.quarantine q where status = 'conflict' \
        and q.entity in ('rates', 'tasks') order by q.entity, q.key";
    assert_eq!(
        bench.target_lines(sql).await,
        [
            "rates|[\"R3\"]|adopted with other content than the source has",
            "tasks|[7]|adopted with other content than the source has",
            "tasks|[21]|adopted with other content than the source has",
            "tasks|[35]|adopted with other content than the source has",
            "tasks|[49]|adopted with other content than the source has",
        ]
    );
    // Once the target is mended, the row is like any other.
    bench
        .on(
            Side::Target,
            "update rates set percent = 3 where code = 'R3'",
        )
        .await;
    bench
        .say(&["quarantine", "retry", "--entity", "rates", "-q"])
        .await;
    bench.migrate(3).await;
    bench
        .on(
            Side::Source,
            "update rate set percent = 4 where code = 'R3'",
        )
        .await;
    bench.migrate(3).await;
    assert_eq!(
        bench
            .text_in_target("select percent::text from rates where code = 'R3'")
            .await,
        "4.00"
    );
    // An adopted row that is right is like any other, too: the source's change arrives without a conflict.
    bench
        .on(
            Side::Source,
            "update rate set percent = 7 where code = 'R1'",
        )
        .await;
    bench.migrate(3).await;
    assert_eq!(
        bench
            .text_in_target("select percent::text from rates where code = 'R1'")
            .await,
        "7.00"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn disputed_keys_stay_out_until_the_target_is_mended() {
    let bench = half_migrated().await;
    bench.ask(&["adopt", "--differing", "source"], 3).await;
    bench.migrate(3).await;
    // Changed, gone and back again: still no second copy.
    bench
        .on(
            Side::Source,
            "update person set name = 'New name' where id in (30, 121); update team set name = 'Thirteen' where id = 13;
             update task set title = 'New title' where id = 8; delete from team where id = 11",
        )
        .await;
    bench.migrate(3).await;
    bench
        .on(Side::Source, "insert into team values (11, 'Team 11')")
        .await;
    bench.migrate(3).await;
    for (sql, copies) in [
        (
            "select count(*) from people where legacy_person_id = '30'",
            2,
        ),
        ("select count(*) from people where email = 'p121@x.test'", 2),
        ("select count(*) from teams where name = 'Team 11'", 2),
        ("select count(*) from teams where name = 'Thirteen'", 0),
        ("select count(*) from items where legacy_task_id = 8", 1),
    ] {
        assert_eq!(bench.in_target(sql).await, copies, "{sql}");
    }
    assert_eq!(bench.set_aside().await.len(), 9);

    let kept = bench
        .text_in_target("select min(new_id) from migration_mappings where legacy_id = '11'")
        .await;
    bench
        .on(
            Side::Target,
            &format!(
                "delete from migration_mappings where legacy_id = '13' or legacy_id = '11' and new_id <> '{kept}';
                 update items set legacy_note_id = null where legacy_note_id = 500;
                 delete from people where id::text = (select min(id::text) from people where email = 'p121@x.test');
                 update people set legacy_person_id = null, email = null, team_id = null
                   where id::text = (select min(id::text) from people where legacy_person_id = '30')"
            ),
        )
        .await;
    let mended = bench.ask(&["adopt", "--differing", "source"], 3).await;
    assert_eq!(mended["adopted"], 4);
    assert_eq!(mended["faults"], 2, "{mended:#}");
    assert_eq!(entity(&mended, "teams")["released"], 1);
    assert_eq!(
        bench
            .in_target("select count(*) from diffmig.watermark where entity in ('teams', 'people')")
            .await,
        0
    );
    bench.migrate(0).await;
    assert_eq!(bench.ask(&["verify"], 0).await["proved"], true);
    let team = format!("select count(*) from people where team_id = '{kept}'");
    assert_eq!(bench.in_target(&team).await, 10);
    assert_eq!(
        bench
            .in_target("select count(*) from teams where name = 'Thirteen'")
            .await,
        1
    );
    check_ledger_counts(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_into_a_half_migrated_target_is_refused() {
    let bench = half_migrated().await;
    let said = bench.say(&["migrate", "-q"]).await;
    let names = "teams,people,notes,tasks,seats";
    refused(&said, 14, &[names, "second copy", "diffmig adopt"]);
    let teams = "select count(*) from teams";
    let before = bench.in_target(teams).await;
    // Entities without such rows go on, and so do those whose rows are to be inserted all the same.
    bench.ask(&["migrate", "--entities", "rates"], 3).await;
    let mapping = std::fs::read_to_string(bench.mapping_path()).unwrap();
    let declined = mapping.replace(
        "[entities.teams]\n",
        "[entities.teams]\nadopt = \"never\"\n",
    );
    assert_ne!(declined, mapping);
    std::fs::write(bench.mapping_path(), declined).unwrap();
    bench.ask(&["migrate", "--entities", "teams"], 0).await;
    assert_eq!(bench.in_target(teams).await, before + 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entity_may_be_adopted_before_its_parents() {
    let bench = half_migrated().await;
    let report = bench.ask(&["adopt", "--entities", "seats"], 0).await;
    assert_eq!(
        numbers(&report, "seats", &ACCOUNT),
        expected("seats").account()
    );
    assert_eq!(report["entities"].as_array().unwrap().len(), 1);
    bench.ask(&["adopt"], 3).await;
    check_detection(&bench.ask(&["detect"], 0).await);
}
