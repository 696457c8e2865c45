//! What the commands of a page find, and how they are run.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use super::block::Step;
use super::output::first_difference;
use crate::support::Bench;
use crate::support::command::{Said, run};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// The state of both databases at the beginning of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backdrop {
    /// Nothing but a shell.
    Bare,
    /// The first day of the fixture, with its mapping.
    DayOne,
    /// The same after a migration.
    Migrated,
}

impl Backdrop {
    /// Reads the comment at the head of a page; the first day when there is none.
    pub fn of(page: &str) -> Backdrop {
        let stage = page.lines().find_map(|line| {
            line.trim()
                .strip_prefix("<!-- stage: ")?
                .strip_suffix(" -->")
        });
        match stage {
            Some("bare") => Backdrop::Bare,
            None | Some("day one") => Backdrop::DayOne,
            Some("migrated") => Backdrop::Migrated,
            Some(other) => panic!("no stage is called {other}"),
        }
    }
}

/// A shell in a directory, with what earlier commands have exported.
pub struct Stage {
    /// The servers of the page, if it has any.
    _bench: Option<Bench>,
    directory: tempfile::TempDir,
    exported: BTreeMap<String, String>,
    /// Commands that remove what was left running.
    afterwards: Vec<String>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for command in &self.afterwards {
            let _ = Command::new("sh").arg("-c").arg(command).status();
        }
    }
}

impl Stage {
    /// Sets the stage.
    pub async fn set(backdrop: Backdrop) -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::os::unix::fs::symlink(project.join("fixtures"), directory.path().join("fixtures"))
            .unwrap();
        let mut exported = BTreeMap::new();
        let bench = match backdrop {
            Backdrop::Bare => None,
            Backdrop::DayOne | Backdrop::Migrated => {
                let bench = Bench::day1().await;
                if backdrop == Backdrop::Migrated {
                    bench.migrate_with(&[], 3).await;
                }
                let mapping = std::fs::read(bench.mapping_path()).unwrap();
                std::fs::write(directory.path().join("diffmig.toml"), mapping).unwrap();
                exported.insert("DIFFMIG_SOURCE_URL".into(), bench.workshop.source_url());
                exported.insert("DIFFMIG_TARGET_URL".into(), bench.workshop.target_url());
                for side in ["SOURCE", "TARGET"] {
                    let url = exported[&format!("DIFFMIG_{side}_URL")].clone();
                    exported.insert(format!("OWNER_OF_THE_{side}"), url);
                }
                Some(bench)
            }
        };
        Stage {
            _bench: bench,
            directory,
            exported,
            afterwards: Vec::new(),
        }
    }

    /// Runs one command and compares how it ends and what it prints.
    ///
    /// Of several commands any may end with 0 instead; one alone ends as the page says.
    pub async fn perform(&mut self, step: &Step, exit: i32, alone: bool) -> Result<(), String> {
        let said = self.shell(step).await;
        if said.stdout.contains("stop.sh") {
            self.take_exports(&said.stdout);
        }
        let refused = said.stderr.contains("ERROR:") && exit == 0;
        if refused || said.code != Some(exit) && (alone || said.code != Some(0)) {
            return Err(format!("ended with {:?}: {said:#?}", said.code));
        }
        let printed = format!("{}{}", said.stdout, said.stderr);
        match first_difference(&step.shown, &printed) {
            Some(difference) => Err(format!("{difference}\n{printed}")),
            None => Ok(()),
        }
    }

    async fn shell(&mut self, step: &Step) -> Said {
        let typed = self.directory.path().join(".typed");
        std::fs::write(&typed, &step.typed).unwrap();
        let environment = self.directory.path().join(".environment");
        let binary = Path::new(env!("CARGO_BIN_EXE_diffmig")).parent().unwrap();
        let servers = std::env::var("DIFFMIG_PG_BIN").unwrap_or_default();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(format!(
                "set -euo pipefail\n{}\nenv -0 > '{}'",
                step.command,
                environment.display()
            ))
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", self.directory.path())
            .env("PATH", format!("{}:{servers}:{path}", binary.display()))
            .env("PGCONNECT_TIMEOUT", "20")
            .env("DIFFMIG_PG_BIN", servers)
            .envs(&self.exported)
            .stdin(Stdio::from(std::fs::File::open(&typed).unwrap()));
        for name in ["DIFFMIG_SANDBOX_CACHE", "USER"] {
            command.envs(std::env::var(name).ok().map(|it| (name, it)));
        }
        let said = run(command).await;
        if let Ok(environment) = std::fs::read_to_string(&environment) {
            let exported = environment
                .split('\0')
                .filter_map(|it| it.split_once('='))
                .filter(|(name, _)| name.starts_with("DIFFMIG_") || name.starts_with("TOKEN"));
            self.exported
                .extend(exported.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        said
    }

    /// What `demo --keep` prints for whoever goes on: addresses, and how the servers are removed.
    fn take_exports(&mut self, printed: &str) {
        for line in printed.lines().map(str::trim) {
            let assigned = line
                .strip_prefix("export ")
                .and_then(|it| it.split_once('='));
            if let Some((name, value)) = assigned {
                self.exported
                    .insert(name.into(), value.trim_matches('\'').into());
            }
            if let Some(command) = line.find("sh /").map(|at| &line[at..])
                && command.ends_with("stop.sh")
            {
                self.afterwards.push(command.into());
            }
        }
    }
}
