//! One running `postgres` process: started, watched until it is ready, and stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

use super::failure::SandboxError;
use super::root::Root;

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Below the range from which outgoing connections take their ports, so that a server that is
/// restarted finds its port free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How a server is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Sessions are disconnected, everything is written out (SIGINT).
    Fast,
    /// All processes end at once, as in a crash; the next start recovers (SIGQUIT).
    Immediate,
}

/// How an attempt to start ended, when nothing is broken.
pub(super) enum Attempt {
    /// It accepts connections.
    Ready(Child),
    /// Somebody else has the port.
    PortTaken,
}

/// Starts a server in `dir` (its data is in `dir/data`) on `port` and waits until it is ready.
pub(super) fn start(
    root: &Root,
    dir: &Path,
    name: &str,
    port: u16,
) -> Result<Attempt, SandboxError> {
    let log_path = dir.join("server.log");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(|source| SandboxError::file("open", &log_path, source))?;
    let log_start = log.metadata().map_or(0, |metadata| metadata.len());
    let program = root.binaries.dir().join("postgres");
    let also_log = log
        .try_clone()
        .map_err(|source| SandboxError::file("open", &log_path, source))?;
    let mut child = root
        .account
        .command(&program, dir)
        .arg("-D")
        .arg(dir.join("data"))
        .args(["-p", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(also_log)
        .spawn()
        .map_err(|source| SandboxError::process(&program, source))?;
    root.watchdog.record(child.id());
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if is_ready(&dir.join("data/postmaster.pid"), child.id()) {
            return Ok(Attempt::Ready(child));
        }
        if !matches!(child.try_wait(), Ok(None)) {
            let log = log_tail(&log_path, log_start);
            if log.contains("Address already in use") {
                return Ok(Attempt::PortTaken);
            }
            return Err(SandboxError::Exited {
                name: name.into(),
                log,
            });
        }
        if Instant::now() > deadline {
            stop(&mut child, Shutdown::Immediate);
            let log = log_tail(&log_path, log_start);
            let waited_secs = READY_WITHIN.as_secs();
            return Err(SandboxError::NotReady {
                name: name.into(),
                waited_secs,
                log,
            });
        }
        sleep(POLL_EVERY);
    }
}

/// Stops a server and waits for its end; one that does not obey is killed.
pub(super) fn stop(child: &mut Child, how: Shutdown) {
    let first = match how {
        Shutdown::Fast => Signal::INT,
        Shutdown::Immediate => Signal::QUIT,
    };
    for signal in [first, Signal::QUIT, Signal::KILL] {
        // An error means that the process has ended, which the wait below finds out.
        let _ = kill_process(Pid::from_child(child), signal);
        let deadline = Instant::now() + STOPPED_WITHIN;
        while Instant::now() < deadline {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            sleep(POLL_EVERY);
        }
    }
    tracing::warn!(pid = child.id(), "a throw-away server does not end");
}

/// A port that was free a moment ago.
pub(super) fn propose_port() -> u16 {
    let span = PORTS.end - PORTS.start;
    for _ in 0..200 {
        let bytes = Uuid::new_v4().into_bytes();
        let port = PORTS.start + u16::from_be_bytes([bytes[0], bytes[1]]) % span;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    PORTS.start
}

/// Whether line 8 of `postmaster.pid` says ready, and line 1 that it was written by our process.
fn is_ready(path: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines();
    let ours = lines.next().and_then(|line| line.trim().parse().ok()) == Some(pid);
    ours && lines.nth(6).is_some_and(|status| status.trim() == "ready")
}

/// The end of what a log has gained since `start`.
fn log_tail(path: &Path, start: u64) -> String {
    const LINES: usize = 12;
    let read = || {
        let mut text = Vec::new();
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        file.take(256 * 1024).read_to_end(&mut text)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&text).into_owned())
    };
    let text = match read() {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => error.to_string(),
    };
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_ready_line_counts() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("postmaster.pid");
        let text = |status: &str| format!("42\n/d\n1\n5432\n/s\n127.0.0.1\n  1 2\n{status}\n");
        assert!(!is_ready(&path, 42));
        fs::write(&path, text("starting")).unwrap();
        assert!(!is_ready(&path, 42));
        fs::write(&path, text("ready   ")).unwrap();
        assert!(is_ready(&path, 42));
        assert!(!is_ready(&path, 43));
    }

    #[test]
    fn the_log_tail_starts_where_this_attempt_started() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        fs::write(&path, "old\nnew 1\n\nnew 2\n").unwrap();
        assert_eq!(log_tail(&path, 4), "new 1\nnew 2");
        assert_eq!(log_tail(&scratch.path().join("none"), 0), "");
    }
}
