//! Runs the built command the way a user does.

use super::Bench;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    fn of(output: &Output) -> Said {
        Said {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Prepares the command in a directory, without anything of the tester's environment.
pub fn diffmig(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diffmig"));
    command
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null());
    command
}

impl Bench {
    /// Prepares the command with both databases in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = diffmig(self.directory.path(), arguments);
        command
            .env("DIFFMIG_SOURCE_URL", self.workshop.source_url())
            .env("DIFFMIG_TARGET_URL", self.workshop.target_url());
        command
    }

    /// Runs the command to its end.
    pub async fn say(&self, arguments: &[&str]) -> Said {
        run(self.command(arguments)).await
    }

    /// Starts the command and leaves it running.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

/// Runs a prepared command to its end without blocking the test's own tasks.
pub async fn run(mut command: Command) -> Said {
    let output = tokio::task::spawn_blocking(move || command.output());
    Said::of(&output.await.unwrap().unwrap())
}
