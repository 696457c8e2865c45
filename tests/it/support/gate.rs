//! A failpoint at which a process waits until the test lets it go on.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a process may take to get there, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place at which one process waits.
pub struct Gate {
    directory: tempfile::TempDir,
}

impl Gate {
    /// A gate that nobody has reached.
    pub fn new() -> Gate {
        Gate {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("reached")
    }

    /// What arms it at a failpoint.
    pub fn at(&self, failpoint: &str) -> String {
        format!("{failpoint}=wait:{}", self.file().display())
    }

    /// Waits until the process is there.
    pub async fn reached(&self) {
        let began = Instant::now();
        while !self.file().exists() {
            assert!(began.elapsed() < PATIENCE, "the failpoint was not reached");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets the process go on.
    pub fn open(self) {
        std::fs::remove_file(self.file()).unwrap();
    }
}
