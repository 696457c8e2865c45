//! A tiny shell process that cleans up when this one can no longer do it.
//!
//! It reads from a pipe whose only writer is this process (Rust opens pipes close-on-exec, so no
//! other child inherits the writing end). When this process ends, even by `kill -9`, the pipe
//! closes; the watchdog then stops the servers and removes the directory. It sits in a process
//! group of its own, so that Ctrl-C on the terminal does not reach it.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::failure::SandboxError;

const CLEANUP: &str = include_str!("cleanup.sh");
const WATCH: &str = include_str!("watchdog.sh");

/// The watchdog of one sandbox.
#[derive(Debug)]
pub(super) struct Watchdog {
    child: Mutex<Child>,
    pipe: Mutex<Option<ChildStdin>>,
}

impl Watchdog {
    /// Starts watching over `root`, as the user that runs this process.
    pub(super) fn start(root: &Path) -> Result<Self, SandboxError> {
        let shell = Path::new("/bin/sh");
        let mut child = Command::new(shell)
            .arg("-c")
            .arg(format!("{CLEANUP}{WATCH}"))
            .arg("diffmig-watchdog")
            .arg(root)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| SandboxError::process(shell, source))?;
        let pipe = Mutex::new(child.stdin.take());
        Ok(Self {
            child: Mutex::new(child),
            pipe,
        })
    }

    /// Tells the watchdog about a process before that process has left its own trace.
    pub(super) fn record(&self, pid: u32) {
        if let Err(error) = self.send(&format!("pid {pid}\n")) {
            tracing::warn!(%error, "the watchdog of the throw-away servers is gone");
        }
    }

    /// Sends the watchdog home without any cleaning.
    pub(super) fn dismiss(&self) -> std::io::Result<()> {
        self.send("keep\n")
    }

    /// Closes the pipe and waits until the watchdog has looked for leftovers and ended.
    pub(super) fn release(&self) {
        drop(
            self.pipe
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = child.wait() {
            tracing::warn!(%error, "could not wait for the watchdog of the throw-away servers");
        }
    }

    fn send(&self, line: &str) -> std::io::Result<()> {
        match self
            .pipe
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            Some(pipe) => pipe.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }
}

/// A script that does for kept servers, later and by hand, what the watchdog would have done.
pub(super) fn stop_script(root: &Path) -> String {
    format!(
        "#!/bin/sh\n{CLEANUP}\nmain() {{\n    root='{}'\n    pids=\n    clean_up\n    exit $?\n}}\nmain\n",
        root.display()
    )
}
