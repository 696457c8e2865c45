//! A real PgBouncer before a throw-away server, where there is one to be had.

use diffmig::sandbox::Server;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What `scripts/ensure-pgbouncer.sh` ends with on a machine that cannot have it.
const NOT_TO_BE_HAD: i32 = 77;
/// How long it may take to listen.
const LIMIT: Duration = Duration::from_secs(20);
/// PgBouncer refuses to run as root.
const NOBODY: u32 = 65_534;

/// Returns the program; nothing where it cannot be had, which is said.
pub fn program() -> Option<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ensure-pgbouncer.sh");
    let output = Command::new(script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => Some(PathBuf::from(
            String::from_utf8(output.stdout).unwrap().trim(),
        )),
        Some(NOT_TO_BE_HAD) => {
            #[expect(
                clippy::print_stderr,
                reason = "whoever reads the tests' output must know"
            )]
            {
                eprintln!("SKIPPED: there is no PgBouncer on this machine\n{said}");
            }
            None
        }
        code => panic!("{script} ended with {code:?}\n{said}"),
    }
}

/// A running PgBouncer; it ends with the value.
pub struct PgBouncer {
    pub port: u16,
    process: Child,
    _directory: tempfile::TempDir,
}

impl PgBouncer {
    /// Listens before one role and database of a server.
    pub fn start(
        program: &Path,
        server: &Server,
        role: (&str, &str, &str),
        pool_mode: &str,
    ) -> PgBouncer {
        // Somebody else may take the free port first.
        let mut attempts = (0..8).map(|_| attempt(program, server, role, pool_mode));
        let started = attempts.find_map(Result::ok);
        started.unwrap_or_else(|| {
            let last = attempt(program, server, role, pool_mode);
            last.unwrap_or_else(|log| panic!("PgBouncer ends at once: {log}"))
        })
    }
}

/// Starts it on a port that was free a moment ago; what it said when it ended.
fn attempt(
    program: &Path,
    server: &Server,
    (user, password, database): (&str, &str, &str),
    pool_mode: &str,
) -> Result<PgBouncer, String> {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let file = directory.path().join("pgbouncer.ini");
    let text = format!(
        "[databases]\n{database} = host=127.0.0.1 port={} dbname={database} user={user} password={password}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
         pool_mode = {pool_mode}\ndefault_pool_size = 20\n",
        server.port()
    );
    std::fs::write(&file, text).unwrap();
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), everybody.clone()).unwrap();
    std::fs::set_permissions(&file, everybody).unwrap();
    let log = directory.path().join("log");
    let mut command = Command::new(program);
    command
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut bouncer = PgBouncer {
        port,
        process: command.spawn().unwrap(),
        _directory: directory,
    };
    let began = Instant::now();
    loop {
        let said = std::fs::read_to_string(&log).unwrap();
        let listens = said.contains(&format!("listening on 127.0.0.1:{port}"));
        if listens && said.contains("process up") {
            return Ok(bouncer);
        }
        if bouncer.process.try_wait().unwrap().is_some() {
            return Err(said);
        }
        assert!(began.elapsed() < LIMIT, "PgBouncer does not listen: {said}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
