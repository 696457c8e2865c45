//! Throw-away servers: they work, they are cheap to repeat, and nothing of them is left behind.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use diffmig::sandbox::{Binaries, Sandbox, SandboxError, Server, ServerOptions, Shutdown};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use sqlx::{Connection, PgConnection};

/// Set in a copy of this test binary that plays the process which dies; names the file to report to.
const REPORT: &str = "DIFFMIG_TEST_SANDBOX_REPORT";

async fn sandbox() -> Sandbox {
    Sandbox::create(Binaries::find().await.unwrap()).unwrap()
}

async fn connect(server: &Server, user: &str) -> PgConnection {
    PgConnection::connect(&server.url(user, "postgres"))
        .await
        .unwrap()
}

async fn text(connection: &mut PgConnection, query: &'static str) -> String {
    sqlx::query_scalar(query)
        .fetch_one(connection)
        .await
        .unwrap()
}

/// Whether a process runs; one that has ended and waits for its parent does not.
fn is_running(pid: u32) -> bool {
    let raw = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let has_ended = Path::new("/proc/self").exists()
        && std::fs::read(format!("/proc/{pid}/cmdline"))
            .unwrap_or_default()
            .is_empty();
    test_kill_process(raw).is_ok() && !has_ended
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs one test of this binary once more, as a process of its own in a group of its own.
fn run_again(test: &str, report: &Path) -> Command {
    let module = module_path!()
        .split_once("::")
        .map_or("", |(_, module)| module);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &format!("{module}::{test}")])
        .env(REPORT, report)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// In the copy: starts a server, reports where it is, and waits to be killed.
async fn play_victim(report: PathBuf) {
    let sandbox = sandbox().await;
    let server = sandbox
        .start("victim", &ServerOptions::default())
        .await
        .unwrap();
    let facts = format!("{}\n{}\n", server.pid().unwrap(), sandbox.path().display());
    std::fs::write(report.with_extension("new"), facts).unwrap();
    std::fs::rename(report.with_extension("new"), &report).unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
}

/// Starts a copy of `test` that plays the victim, ends it with `kill`, and expects nothing to be left.
fn nothing_is_left_after(test: &str, kill: impl FnOnce(&Child)) {
    let scratch = tempfile::tempdir().unwrap();
    let report = scratch.path().join("report");
    let mut victim = run_again(test, &report).spawn().unwrap();
    wait_until("the victim's server starts", || report.exists());
    let facts = std::fs::read_to_string(&report).unwrap();
    let (pid, root) = facts.trim().split_once('\n').unwrap();
    let (pid, root) = (pid.parse().unwrap(), PathBuf::from(root));
    assert!(is_running(pid) && root.is_dir());

    kill(&victim);
    victim.wait().unwrap();
    wait_until("the server ends", || !is_running(pid));
    wait_until("the directory goes", || !root.exists());
}

#[tokio::test]
async fn a_killed_process_leaves_no_server_and_no_files() {
    if let Some(report) = std::env::var_os(REPORT) {
        return play_victim(report.into()).await;
    }
    nothing_is_left_after("a_killed_process_leaves_no_server_and_no_files", |victim| {
        kill_process(Pid::from_child(victim), Signal::KILL).unwrap();
    });
}

#[tokio::test]
async fn a_signal_to_the_whole_process_group_spares_the_watchdog() {
    if let Some(report) = std::env::var_os(REPORT) {
        return play_victim(report.into()).await;
    }
    nothing_is_left_after(
        "a_signal_to_the_whole_process_group_spares_the_watchdog",
        |victim| {
            kill_process_group(Pid::from_child(victim), Signal::KILL).unwrap();
        },
    );
}

#[tokio::test]
async fn processes_that_need_the_same_template_at_once_make_it_once() {
    const TEST: &str = "processes_that_need_the_same_template_at_once_make_it_once";
    if let Some(report) = std::env::var_os(REPORT) {
        let sandbox = sandbox().await;
        let server = sandbox
            .start("one", &ServerOptions::default())
            .await
            .unwrap();
        let mut connection = connect(&server, "postgres").await;
        let identifier = text(
            &mut connection,
            "select system_identifier::text from pg_control_system()",
        )
        .await;
        return std::fs::write(report, identifier).unwrap();
    }
    let scratch = tempfile::tempdir().unwrap();
    let cache = scratch.path().join("cache");
    let reports: Vec<_> = (0..3)
        .map(|n| scratch.path().join(format!("report{n}")))
        .collect();
    let copies: Vec<_> = reports
        .iter()
        .map(|report| {
            run_again(TEST, report)
                .env("DIFFMIG_SANDBOX_CACHE", &cache)
                .spawn()
                .unwrap()
        })
        .collect();
    for mut copy in copies {
        assert!(copy.wait().unwrap().success());
    }
    let identifiers: Vec<_> = reports
        .iter()
        .map(|report| std::fs::read_to_string(report).unwrap())
        .collect();
    assert!(
        identifiers.iter().all(|one| *one == identifiers[0]),
        "{identifiers:?}"
    );
    let templates = std::fs::read_dir(&cache)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir())
        .count();
    assert_eq!(templates, 1);
}

#[tokio::test]
async fn bootstrap_scripts_run_whole_with_blocks_and_blank_lines() {
    let sandbox = sandbox().await;
    let options = ServerOptions {
        superuser: "supabase_admin".into(),
        settings: vec![("app.note".into(), r"it's C:\x".into())],
        bootstrap_sql: vec![
            "create role postgres login bypassrls; -- a comment; with a semicolon\n\n\n\
             do $$\nbegin\n\n  perform 1;\n\n  create role anon;\n\nend\n$$;\n\n\
             create function public.two() returns int language sql as $f$ select 1;\n\n select 2; $f$;\n\
             alter role postgres set statement_timeout = '2min'; -- end"
                .into(),
            "create database app owner postgres".into(),
        ],
        ..ServerOptions::default()
    };
    let server = sandbox.start("target", &options).await.unwrap();
    let mut connection = PgConnection::connect(&server.url("postgres", "app"))
        .await
        .unwrap();
    assert_eq!(
        text(&mut connection, "show statement_timeout").await,
        "2min"
    );
    assert_eq!(text(&mut connection, "show app.note").await, r"it's C:\x");
    assert_eq!(text(&mut connection, "show timezone").await, "UTC");
    let mut connection = connect(&server, "supabase_admin").await;
    assert_eq!(
        text(&mut connection, "select public.two()::text").await,
        "2"
    );
    let roles = "select string_agg(rolname, ' ' order by rolname) from pg_catalog.pg_roles \
                 where rolname !~ '^pg_'";
    assert_eq!(
        text(&mut connection, roles).await,
        "anon postgres supabase_admin"
    );
}

#[tokio::test]
async fn a_bootstrap_script_that_fails_says_which_and_why_but_not_what_it_held() {
    let sandbox = sandbox().await;
    let options = ServerOptions {
        bootstrap_sql: vec![
            "create role one".into(),
            "create role two password 'hunter2';\n\nselect nowhere;\n\ncreate role three".into(),
        ],
        ..ServerOptions::default()
    };
    let failure = sandbox.start("bad", &options).await.unwrap_err();
    let SandboxError::Bootstrap { number, detail } = &failure else {
        panic!("unexpected: {failure:?}");
    };
    assert_eq!(*number, 2);
    assert!(
        detail.contains("nowhere") && !detail.contains("hunter2"),
        "{detail}"
    );
    // The name is free again, and a corrected script starts from nothing.
    sandbox
        .start("bad", &ServerOptions::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn dropping_a_server_stops_it_and_removes_its_data() {
    let sandbox = sandbox().await;
    let server = sandbox
        .start("short", &ServerOptions::default())
        .await
        .unwrap();
    let mut connection = connect(&server, "postgres").await;
    let (pid, data, root) = (
        server.pid().unwrap(),
        server.data_dir(),
        sandbox.path().to_owned(),
    );
    assert!(is_running(pid) && data.is_dir());

    drop(server);
    assert!(!is_running(pid));
    assert!(!data.exists());
    assert!(
        sqlx::query("select 1")
            .execute(&mut connection)
            .await
            .is_err()
    );
    assert!(root.is_dir());
    drop(sandbox);
    assert!(!root.exists());
}

#[tokio::test]
async fn a_server_outlives_the_sandbox_value_it_came_from() {
    let sandbox = sandbox().await;
    let root = sandbox.path().to_owned();
    let server = sandbox
        .start("last", &ServerOptions::default())
        .await
        .unwrap();
    drop(sandbox);
    let mut connection = connect(&server, "postgres").await;
    assert_eq!(text(&mut connection, "select 'here'").await, "here");
    drop(server);
    assert!(!root.exists());
}

#[tokio::test]
async fn a_crash_keeps_the_port_and_the_committed_rows() {
    let sandbox = sandbox().await;
    let server = sandbox
        .start("crash", &ServerOptions::default())
        .await
        .unwrap();
    let mut connection = connect(&server, "postgres").await;
    sqlx::query("create table kept (id int)")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("insert into kept select generate_series(1, 1000)")
        .execute(&mut connection)
        .await
        .unwrap();
    let (port, pid) = (server.port(), server.pid());

    server.restart(Shutdown::Immediate).await.unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    let mut connection = connect(&server, "postgres").await;
    assert_eq!(
        text(&mut connection, "select count(*)::text from kept").await,
        "1000"
    );

    server.stop(Shutdown::Fast).await.unwrap();
    assert_eq!(server.pid(), None);
    assert!(
        PgConnection::connect(&server.url("postgres", "postgres"))
            .await
            .is_err()
    );
    server.start().await.unwrap();
    connect(&server, "postgres").await;
}

#[tokio::test]
async fn two_servers_of_one_kind_start_together_and_share_nothing() {
    let sandbox = sandbox().await;
    let options = ServerOptions::default();
    let (one, two) = tokio::join!(
        sandbox.start("one", &options),
        sandbox.start("two", &options)
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.port(), two.port());
    let mut connection = connect(&one, "postgres").await;
    sqlx::query("create database only_here")
        .execute(&mut connection)
        .await
        .unwrap();
    let mut connection = connect(&two, "postgres").await;
    let databases = "select count(*)::text from pg_catalog.pg_database where datname = 'only_here'";
    assert_eq!(text(&mut connection, databases).await, "0");
    let same_name = sandbox.start("one", &options).await.unwrap_err();
    assert!(
        matches!(same_name, SandboxError::InvalidOption(_)),
        "{same_name:?}"
    );
    assert_eq!(
        text(&mut connect(&one, "postgres").await, "select 'still here'").await,
        "still here"
    );
}

#[tokio::test]
async fn a_password_is_asked_for_when_one_is_set() {
    let sandbox = sandbox().await;
    let secret = r"p@ss'w\ord/%";
    let options = ServerOptions {
        password: Some(secret.into()),
        ..ServerOptions::default()
    };
    let server = sandbox.start("locked", &options).await.unwrap();
    let with = |password| server.url_with_password("postgres", password, "postgres");
    assert!(PgConnection::connect(&with("wrong")).await.is_err());
    assert!(PgConnection::connect(&with(secret)).await.is_ok());
}

#[tokio::test]
async fn an_unknown_setting_is_reported_with_the_servers_own_words() {
    let sandbox = sandbox().await;
    let settings = vec![("no_such_setting".into(), "1".into())];
    let options = ServerOptions {
        settings,
        ..ServerOptions::default()
    };
    let failure = sandbox.start("odd", &options).await.unwrap_err();
    let SandboxError::Exited { log, .. } = &failure else {
        panic!("unexpected: {failure:?}")
    };
    assert!(log.contains("no_such_setting"), "{log}");
}

#[tokio::test]
async fn kept_servers_live_until_the_returned_command_runs() {
    let sandbox = sandbox().await;
    let root = sandbox.path().to_owned();
    let server = sandbox
        .start("kept", &ServerOptions::default())
        .await
        .unwrap();
    let stopped = sandbox
        .start("stopped", &ServerOptions::default())
        .await
        .unwrap();
    let (pid, url) = (server.pid().unwrap(), server.url("postgres", "postgres"));

    // A stale pid file may name somebody else's process by now; the command must leave it alone.
    stopped.stop(Shutdown::Fast).await.unwrap();
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    std::fs::write(
        stopped.data_dir().join("postmaster.pid"),
        format!("{}\n", stranger.id()),
    )
    .unwrap();

    let command = sandbox.keep().unwrap();
    drop((server, stopped));
    assert!(is_running(pid));
    assert!(PgConnection::connect(&url).await.is_ok());

    let status = Command::new("sh").args(["-c", &command]).status().unwrap();
    assert!(status.success());
    assert!(!is_running(pid) && !root.exists());
    assert!(is_running(stranger.id()));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_folder_without_server_programs_is_refused_with_a_next_step() {
    let empty = tempfile::tempdir().unwrap();
    let failure = Binaries::at(empty.path()).unwrap_err();
    assert!(matches!(failure, SandboxError::NoBinaries { .. }));
    assert!(failure.next_step().contains("DIFFMIG_PG_BIN"));
}
