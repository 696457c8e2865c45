//! What the fault cases share: commands that can be disturbed, locks that hold them up, and the state they must leave.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

use crate::support::command::Said;
use crate::support::{Bench, expected, number};
use diffmig::config::{SettingsInput, load};
use diffmig::context::Server;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Counts the committed batches, also before there is a control schema.
pub const COMMITTED: &str = "select case when pg_catalog.to_regclass('diffmig.batch') is null then 0 else \
    (xpath('/row/c/text()', query_to_xml('select count(*) as c from diffmig.batch', false, true, '')))[1]::text::bigint end";
/// The connections of a process that holds or held the lease.
pub const OF_HOLDERS: &str =
    "application_name like 'diffmig %' and pid <> pg_catalog.pg_backend_pid()";
/// Longer than any single step should take on a busy machine.
const LIMIT: Duration = Duration::from_secs(150);

/// A command that is running and whose words are kept.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts a command of the bench.
    pub fn start(bench: &Bench, arguments: &[&str]) -> Running {
        let mut command = bench.command(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running {
            child: child.spawn().unwrap(),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal to it and to nobody else.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it as nothing can be told of beforehand.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub async fn end(self) -> Said {
        let ended = tokio::task::spawn_blocking(move || self.child.wait_with_output());
        let output = tokio::time::timeout(LIMIT, ended).await;
        let output = output.expect("the command does not end").unwrap().unwrap();
        Said {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Waits until a query yields at least a number.
pub async fn until(connection: &mut PgConnection, query: &str, wanted: i64) {
    let began = Instant::now();
    while number(connection, query).await < wanted {
        assert!(began.elapsed() < LIMIT, "waited too long for: {query}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs statements.
pub async fn execute(connection: &mut PgConnection, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Runs a statement that must fail and returns its SQLSTATE.
pub async fn sqlstate(connection: &mut PgConnection, sql: &str) -> String {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await;
    let error = done.expect_err(sql);
    error
        .as_database_error()
        .unwrap()
        .code()
        .unwrap()
        .into_owned()
}

/// Returns the way to the target that the services take.
pub fn target_server(bench: &Bench) -> Server {
    let settings = load(&SettingsInput {
        config: bench.mapping_path(),
        source_url: Some(bench.workshop.source_url()),
        target_url: Some(bench.workshop.target_url()),
        insecure: false,
    });
    Server::new(settings.unwrap().target, "public")
}

/// Connects to the target as its superuser.
pub async fn target_admin(bench: &Bench) -> PgConnection {
    let server = &bench.workshop.target;
    let url = server.url_with_password(server.superuser(), "workshop", "postgres");
    PgConnection::connect(&url).await.unwrap()
}

/// A lock that holds batches of `notices` up until it is dropped; taken by a role of its own name.
pub struct Barrier {
    holder: PgConnection,
}

impl Barrier {
    /// Locks the target table against every write.
    pub async fn before(bench: &Bench, table: &str) -> Barrier {
        let mut holder = target_admin(bench).await;
        execute(
            &mut holder,
            &format!("begin; lock table public.{table} in exclusive mode"),
        )
        .await;
        Barrier { holder }
    }

    /// Waits until a batch stands before it.
    pub async fn until_met(&self, bench: &Bench) {
        let waiting = "select count(*) from pg_catalog.pg_stat_activity \
            where application_name like 'diffmig %' and wait_event_type = 'Lock'";
        until(&mut target_admin(bench).await, waiting, 1).await;
    }

    pub async fn lift(mut self) {
        execute(&mut self.holder, "rollback").await;
    }
}

/// Checks that a block says what, state and what next, with the right code.
pub fn check_block(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, Some(code), "{said:?}");
    for part in ["error:", "state:", "next:"].iter().chain(words) {
        assert!(said.stderr.contains(part), "no {part:?} in {said:?}");
    }
    assert!(!said.stderr.contains("panicked"), "{said:?}");
}

/// Runs the same command again and checks that the target is whole: every row is where the hand-written
/// queries want it, inserted once, accounted for; nobody of ours is left; and one more run writes nothing.
pub async fn check_whole_after_another_run(bench: &Bench) {
    let said = bench.say(&["migrate"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    check_whole(bench).await;
}

/// As [`check_whole_after_another_run`], when the last run has finished already.
pub async fn check_whole(bench: &Bench) {
    bench.compare_all("day1").await;
    let mut target = bench.target().await;
    let counts = expected("day1");
    for (entity, wanted) in &counts {
        if entity == "total" {
            continue;
        }
        for outcome in ["applied", "quarantined", "held", "conflicted"] {
            let sql = format!(
                "select count(*) from diffmig.ledger_{entity} where outcome = '{outcome}' and deleted_at is null"
            );
            assert_eq!(
                number(&mut target, &sql).await,
                wanted[outcome],
                "{entity} {outcome}"
            );
        }
    }
    check_once(&mut target).await;
    let before = number(&mut target, COMMITTED).await;
    let again = bench.say(&["migrate", "-q"]).await;
    assert_eq!(again.code, Some(3), "{again:?}");
    assert_eq!(
        number(&mut target, COMMITTED).await,
        before,
        "a second run wrote something"
    );
    let gone = format!(
        "select 1 - least(1, count(*)) from pg_catalog.pg_stat_activity where {OF_HOLDERS}"
    );
    until(&mut target, &gone, 1).await;
    let free = "select count(*) from diffmig.lease where session_id is null";
    assert_eq!(
        number(&mut target, free).await,
        1,
        "the lease is still held"
    );
}

/// No row was inserted twice or never, and the batches of two epochs never mix.
async fn check_once(target: &mut PgConnection) {
    let inserted = "select coalesce(sum(inserted), 0)::bigint from diffmig.batch";
    assert_eq!(
        number(target, inserted).await,
        expected("day1")["total"]["applied"],
        "a row was inserted twice or never"
    );
    let mixed = "select count(*) from (select epoch, min(committed_at) as first, max(committed_at) as last \
        from diffmig.batch group by 1) a join (select epoch, min(committed_at) as first, max(committed_at) as last \
        from diffmig.batch group by 1) b on a.epoch < b.epoch and b.first < a.last";
    assert_eq!(
        number(target, mixed).await,
        0,
        "two epochs wrote at the same time"
    );
}

/// Gives the lease to somebody elsewhere, as if a session ran there.
pub async fn lease_elsewhere(target: &mut PgConnection) {
    execute(
        target,
        "update diffmig.lease set session_id = gen_random_uuid(), host = 'elsewhere', process_id = 4711, epoch = epoch + 1; \
         update diffmig.lease_beat set renewed_at = now(), expires_at = now() + interval '10 minutes', desired_state = 'run'",
    )
    .await;
}

/// Says what somebody needs who has to play a failed case again.
#[expect(
    clippy::print_stdout,
    reason = "the test runner keeps it with the failure"
)]
pub fn tell(text: &str) {
    println!("{text}");
}

/// Random numbers that a seed brings back.
pub struct Dice(u64);

impl Dice {
    /// Takes the seed from the environment or makes one, and prints it.
    pub fn thrown() -> Dice {
        let given = std::env::var("DIFFMIG_FAULT_SEED")
            .ok()
            .and_then(|it| it.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0) + 1);
        tell(&format!("DIFFMIG_FAULT_SEED={seed}"));
        Dice(seed)
    }

    /// Returns another generator that depends on this one.
    pub fn fork(&mut self) -> Dice {
        Dice(self.next() | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below a limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// How often a random case is played; more in a night than in a coffee break.
pub fn rounds(usual: u64) -> u64 {
    let given = std::env::var("DIFFMIG_FAULT_ROUNDS").ok();
    given.and_then(|it| it.parse().ok()).unwrap_or(usual)
}
