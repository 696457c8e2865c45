//! Faults of the target server: connections ended, restarts, full disks, locks, other people's settings.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use super::scene::{
    Barrier, COMMITTED, OF_HOLDERS, Running, check_block, check_whole,
    check_whole_after_another_run, execute, target_admin, tell, until,
};
use crate::support::{Bench, number};
use diffmig::sandbox::Shutdown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SMALL: &[&str] = &["migrate", "--batch-size", "300"];

#[tokio::test(flavor = "multi_thread")]
async fn b1_connections_that_an_administrator_ends_are_made_anew() {
    let bench = Bench::day1().await;
    let child = Running::start(&bench, SMALL);
    let mut admin = target_admin(&bench).await;
    let end =
        format!("select count(pg_terminate_backend(pid)) from pg_stat_activity where {OF_HOLDERS}");
    let mut wanted = 2;
    for _ in 0..3 {
        until(&mut admin, COMMITTED, wanted).await;
        assert!(number(&mut admin, &end).await > 0);
        wanted = number(&mut admin, COMMITTED).await + 2;
    }
    let said = child.end().await;
    assert_eq!(said.code, Some(3), "{said:?}");
    // Who was just sending rows finds the connection reset before it reads the server's last words.
    let words = ["SQLSTATE 57P01); trying again in", "connection lost"];
    assert!(words.iter().any(|it| said.stderr.contains(it)), "{said:?}");
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_a_restart_in_good_order_is_ridden_out() {
    let bench = Bench::day1().await;
    let child = Running::start(&bench, SMALL);
    until(&mut bench.target().await, COMMITTED, 5).await;
    bench.workshop.target.restart(Shutdown::Fast).await.unwrap();
    let said = child.end().await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.stderr.contains("trying again in"), "{said:?}");
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_crashes_of_the_server_lose_no_batch_and_repeat_none() {
    let bench = Bench::day1().await;
    let mut admin = target_admin(&bench).await;
    execute(&mut admin, "alter system set fsync = on").await;
    execute(&mut admin, "alter system set full_page_writes = on").await;
    bench.workshop.target.restart(Shutdown::Fast).await.unwrap();
    let child = Running::start(&bench, SMALL);
    let mut wanted = 4;
    for _ in 0..super::scene::rounds(3) {
        let mut admin = target_admin(&bench).await;
        assert_eq!(
            number(
                &mut admin,
                "select count(*) from pg_settings where name = 'fsync' and setting = 'on'"
            )
            .await,
            1
        );
        until(&mut admin, COMMITTED, wanted).await;
        bench
            .workshop
            .target
            .restart(Shutdown::Immediate)
            .await
            .unwrap();
        let after = number(&mut target_admin(&bench).await, COMMITTED).await;
        assert!(
            after >= wanted,
            "a committed batch was lost: {after} of {wanted}"
        );
        wanted = after + 4;
    }
    let said = child.end().await;
    assert_eq!(said.code, Some(3), "{said:?}");
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_a_server_that_is_down_from_the_start_stops_the_command_at_once() {
    let bench = Bench::day1().await;
    bench.workshop.target.stop(Shutdown::Fast).await.unwrap();
    let said = bench.say(&["migrate"]).await;
    let place = format!("127.0.0.1:{}", bench.workshop.target.port());
    check_block(
        &said,
        10,
        &[
            "target: cannot connect to",
            &place,
            "connection refused",
            "nothing was started",
        ],
    );
    bench.workshop.target.start().await.unwrap();
    check_whole_after_another_run(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_a_server_between_two_states_is_told_apart_from_one_that_refuses() {
    let bench = Bench::day1().await;
    // As long as this session stays, a server that is shutting down in the patient way answers 57P03.
    let guest = bench.target().await;
    let pid = rustix::process::Pid::from_raw(
        i32::try_from(bench.workshop.target.pid().unwrap()).unwrap(),
    );
    rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::TERM).unwrap();
    let began = Instant::now();
    let said = loop {
        let said = bench.say(&["migrate"]).await;
        if said.stderr.contains("57P03") {
            break said;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{said:?}");
    };
    check_block(
        &said,
        10,
        &[
            "the database system is shutting down",
            "nothing was started",
            "wait until it is up",
        ],
    );
    drop(guest);
    bench.workshop.target.restart(Shutdown::Fast).await.unwrap();
    let said = bench.say(&["migrate"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    check_whole(&bench).await;
}

/// A small disk that is taken away again.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts it where the server may write; nothing when this process may not mount.
    fn mount(path: PathBuf, mebibytes: u32) -> Option<SmallDisk> {
        let disk = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={mebibytes}m,mode=0777"),
                "tmpfs",
            ])
            .arg(&path)
            .output();
        match disk {
            Ok(output) if output.status.success() => Some(SmallDisk { path }),
            _ => None,
        }
    }

    fn enlarge(&self, mebibytes: u32) {
        let options = format!("remount,size={mebibytes}m,mode=0777");
        let done = Command::new("mount")
            .args(["-o", &options])
            .arg(&self.path)
            .status();
        assert!(done.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn owner_of(path: &Path) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path).unwrap();
    (found.uid(), found.gid())
}

#[tokio::test(flavor = "multi_thread")]
async fn b8_a_full_disk_rolls_the_batch_back_and_says_how_much_is_committed() {
    let bench = Bench::day1().await;
    let place = bench.workshop.target.socket_dir().join("small");
    std::fs::create_dir(&place).unwrap();
    let Some(disk) = SmallDisk::mount(place.clone(), 6) else {
        tell("not tried: this process may not mount a small disk");
        return;
    };
    let space = place.join("space");
    std::fs::create_dir(&space).unwrap();
    let (uid, gid) = owner_of(&bench.workshop.target.data_dir());
    std::os::unix::fs::chown(&space, Some(uid), Some(gid)).unwrap();
    let mut admin = target_admin(&bench).await;
    execute(
        &mut admin,
        &format!("create tablespace small location '{}'", space.display()),
    )
    .await;
    execute(
        &mut admin,
        "alter table public.notices set tablespace small",
    )
    .await;
    // What the disk has left is less than the table needs; a server keeps no room in reserve.
    let filled = vec![0_u8; 4 * 1024 * 1024 + 512 * 1024];
    std::fs::write(place.join("other-files"), &filled).unwrap();
    let said = bench.say(SMALL).await;
    check_block(
        &said,
        15,
        &[
            "No space left on device",
            "SQLSTATE 53100",
            "free space on the disk of the target",
        ],
    );
    let rows = number(
        &mut admin,
        "select coalesce(sum(rows_in), 0)::bigint from diffmig.batch",
    )
    .await;
    let batches = number(&mut admin, COMMITTED).await;
    assert!(rows > 0);
    let state = format!("{rows} rows in {batches} batches of this session are committed");
    assert!(said.stderr.contains(&state), "{said:?}");
    let notices = "select count(*) from public.notices where legacy_notice_id is not null";
    let counted =
        "select coalesce(sum(inserted), 0)::bigint from diffmig.batch where entity = 'notices'";
    assert_eq!(
        number(&mut admin, notices).await,
        number(&mut admin, counted).await
    );
    let done = "select coalesce(sum(rows_done), 0)::bigint from diffmig.checkpoint";
    assert_eq!(
        number(&mut admin, done).await,
        rows,
        "checkpoints and batches disagree"
    );
    disk.enlarge(64);
    check_whole_after_another_run(&bench).await;
    execute(
        &mut admin,
        "alter table public.notices set tablespace pg_default",
    )
    .await;
    drop(bench);
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_with_too_few_connections_it_goes_on_with_one_entity_at_a_time() {
    let bench = Bench::day1().await;
    bench
        .say(&["migrate", "--entities", "workshops", "-q"])
        .await;
    let mut admin = target_admin(&bench).await;
    execute(&mut admin, "alter role postgres connection limit 8").await;
    let said = bench.say(&["migrate", "--max-concurrent", "6"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.stderr.contains("going on with one entity at a time"),
        "{said:?}"
    );
    execute(&mut admin, "alter role postgres connection limit 1").await;
    let said = bench.say(&["migrate"]).await;
    check_block(&said, 10, &["SQLSTATE 53300", "lower --max-concurrent"]);
    execute(&mut admin, "alter role postgres connection limit -1").await;
    let free = "select count(*) from diffmig.lease where session_id is null";
    assert_eq!(
        number(&mut admin, free).await,
        1,
        "a session that could not begin keeps the lease"
    );
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b11_a_read_only_target_is_refused_before_any_work() {
    let bench = Bench::day1().await;
    let mut admin = target_admin(&bench).await;
    execute(
        &mut admin,
        "alter database postgres set default_transaction_read_only = on",
    )
    .await;
    let said = bench.say(&["migrate"]).await;
    check_block(
        &said,
        15,
        &["read-only", "disk is nearly full", "nothing was started"],
    );
    execute(&mut admin, "set default_transaction_read_only = off").await;
    let touched = "select count(*) from pg_catalog.pg_namespace where nspname = 'diffmig'";
    assert_eq!(number(&mut admin, touched).await, 0);
    execute(
        &mut admin,
        "alter database postgres reset default_transaction_read_only",
    )
    .await;
    check_whole_after_another_run(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b13_a_batch_that_waits_too_long_for_a_lock_is_tried_again() {
    let bench = Bench::day1().await;
    let barrier = Barrier::before(&bench, "clients").await;
    let child = Running::start(&bench, SMALL);
    barrier.until_met(&bench).await;
    let mut admin = target_admin(&bench).await;
    // The first wait ends with 55P03, which the server counts as a rollback; then the batch waits once more.
    let given_up = "select count(*) from pg_stat_activity where application_name like 'diffmig %' \
        and wait_event_type = 'Lock' and xact_start > (select now() - interval '20 seconds') \
        and (select min(query_start) from pg_stat_activity where query like 'begin; lock table%') < now() - interval '31 seconds'";
    until(&mut admin, given_up, 1).await;
    barrier.lift().await;
    let said = child.end().await;
    assert_eq!(said.code, Some(3), "{said:?}");
    check_whole(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b15_another_default_isolation_level_changes_nothing() {
    let bench = Bench::day1().await;
    let mut admin = target_admin(&bench).await;
    execute(
        &mut admin,
        "alter database postgres set default_transaction_isolation = 'serializable'",
    )
    .await;
    execute(
        &mut admin,
        "alter database postgres set default_transaction_deferrable = on",
    )
    .await;
    check_whole_after_another_run(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b17_an_unlogged_control_table_is_refused_and_an_unlogged_target_table_is_named() {
    let bench = Bench::day1().await;
    let mut admin = target_admin(&bench).await;
    execute(&mut admin, "alter table public.recipes set unlogged").await;
    let said = bench.say(&["migrate", "-v"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.stderr.contains("public.recipes is an unlogged table"),
        "{said:?}"
    );
    execute(
        &mut admin,
        "alter table diffmig.ledger_recipes set unlogged",
    )
    .await;
    let before = number(&mut admin, COMMITTED).await;
    for command in [&["migrate"][..], &["detect"]] {
        let said = bench.say(command).await;
        check_block(
            &said,
            17,
            &[
                "ledger_recipes is unlogged",
                "alter table diffmig.ledger_recipes set logged",
            ],
        );
    }
    assert_eq!(number(&mut admin, COMMITTED).await, before);
    execute(&mut admin, "alter table diffmig.ledger_recipes set logged").await;
    check_whole_after_another_run(&bench).await;
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let done = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(done.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn b19_a_target_that_fell_back_to_an_earlier_moment_is_brought_up_again() {
    let bench = Bench::day1().await;
    let child = Running::start(&bench, SMALL);
    until(&mut bench.target().await, COMMITTED, 10).await;
    child.kill();
    let server = &bench.workshop.target;
    server.stop(Shutdown::Fast).await.unwrap();
    let lagging = server.data_dir().with_extension("lagging");
    copy(&server.data_dir(), &lagging);
    server.start().await.unwrap();
    let mut target = bench.target().await;
    let then = number(&mut target, COMMITTED).await;
    // This process works on while the target is put back behind its back.
    let child = Running::start(&bench, SMALL);
    until(&mut target, COMMITTED, then + 10).await;
    drop(target);
    server.stop(Shutdown::Immediate).await.unwrap();
    copy(&lagging, &server.data_dir());
    server.start().await.unwrap();
    let said = child.end().await;
    check_block(
        &said,
        16,
        &["was taken by", "nothing of the open batch was written"],
    );
    assert_eq!(
        number(&mut bench.target().await, COMMITTED).await,
        then,
        "a process of lost time wrote"
    );
    check_whole_after_another_run(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b21_an_exhausted_lock_table_is_named_with_its_remedy() {
    let bench = Bench::day1().await;
    bench
        .say(&["migrate", "--entities", "workshops", "-q"])
        .await;
    let mut admin = target_admin(&bench).await;
    let before = number(&mut admin, COMMITTED).await;
    // Advisory locks live in the same table as all others, and outlive the statement that found no more room.
    let full = super::scene::sqlstate(
        &mut admin,
        "select pg_advisory_lock(i) from generate_series(1, 10000000) as i",
    )
    .await;
    assert_eq!(full, "53200");
    let said = bench.say(SMALL).await;
    check_block(&said, 15, &["SQLSTATE 53200", "max_locks_per_transaction"]);
    execute(&mut admin, "select pg_advisory_unlock_all()").await;
    assert_eq!(number(&mut admin, COMMITTED).await, before);
    check_whole_after_another_run(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_begin_gives_the_lease_back() {
    let bench = Bench::day1().await;
    bench
        .say(&["migrate", "--entities", "workshops", "-q"])
        .await;
    let mut admin = target_admin(&bench).await;
    execute(
        &mut admin,
        "create function public.refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$; \
         create trigger refuse before insert on diffmig.session for each row execute function public.refuse()",
    )
    .await;
    let said = bench.say(&["migrate"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let free = "select count(*) from diffmig.lease where session_id is null";
    assert_eq!(
        number(&mut admin, free).await,
        1,
        "the lease was not given back"
    );
    execute(&mut admin, "drop trigger refuse on diffmig.session").await;
    check_whole_after_another_run(&bench).await;
}
