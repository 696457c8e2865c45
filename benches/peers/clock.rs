//! Runs commands and takes their time and their peak memory.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What one run of a command cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Seconds from start to end.
    pub seconds: f64,
    /// Peak resident memory of the process itself, in KiB; 0 when it ended too soon to be looked at.
    pub peak_kib: u64,
}

/// How often a process is looked at. The kernel keeps its peak, so only the last bit of it can be missed.
const LOOK: Duration = Duration::from_millis(2);

fn peak_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn wait(child: &mut Child) -> (bool, u64) {
    let mut peak = 0;
    loop {
        peak = peak_of(child.id()).unwrap_or(0).max(peak);
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => return (status.success(), peak),
            None => sleep(LOOK),
        }
    }
}

/// Runs a command to its end, which must be a good one.
pub fn timed(command: &mut Command) -> Cost {
    let shown = format!("{command:?}");
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    let (good, peak_kib) = wait(&mut child);
    let seconds = began.elapsed().as_secs_f64();
    assert!(good, "{shown} failed");
    Cost { seconds, peak_kib }
}

/// Runs a script of bash, in which every part of a pipe counts.
pub fn shell(script: &str) -> Cost {
    timed(Command::new("bash").args(["-euo", "pipefail", "-c", script]))
}

/// Runs a command and returns what it printed.
pub fn output(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let done = command
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert!(done.status.success(), "{shown} failed");
    String::from_utf8(done.stdout).expect("text was printed")
}

/// Finds a program as a shell would.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The middle one of several costs, by time; the memory is the greatest of all.
pub fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    let peak_kib = costs.iter().map(|cost| cost.peak_kib).max().unwrap_or(0);
    Cost {
        seconds: costs[costs.len() / 2].seconds,
        peak_kib,
    }
}
