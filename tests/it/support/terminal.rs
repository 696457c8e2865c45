//! A command on a real pseudo-terminal, made by `script` of util-linux.

use super::Bench;
use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// A command that runs on a terminal of its own.
pub struct Terminal {
    child: Child,
    drawn: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

fn read(mut screen: ChildStdout, drawn: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = screen.read(&mut buffer) {
        drawn.lock().unwrap().extend_from_slice(&buffer[..length]);
    }
}

/// What was drawn on a terminal, and how the command ended.
#[derive(Debug)]
pub struct Drawn {
    pub code: Option<i32>,
    pub text: String,
}

impl Terminal {
    /// Starts the command on a terminal of this size.
    pub fn start(bench: &Bench, columns: u16, rows: u16, line: &str) -> Terminal {
        let size = format!("stty cols {columns} rows {rows} &&");
        Terminal::run(bench, &size, line)
    }

    /// Starts the command with a variable in its environment, like `NO_COLOR=1`.
    pub fn start_with(bench: &Bench, variable: &str, line: &str) -> Terminal {
        Terminal::run(bench, &format!("export {variable};"), line)
    }

    fn run(bench: &Bench, before: &str, line: &str) -> Terminal {
        let words = format!("{before} exec {} {line}", env!("CARGO_BIN_EXE_diffmig"));
        let mut command = Command::new("script");
        command
            .args(["-qefc", &words, "/dev/null"])
            .current_dir(bench.directory.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .env("DIFFMIG_SOURCE_URL", bench.workshop.source_url())
            .env("DIFFMIG_TARGET_URL", bench.workshop.target_url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let screen = child.stdout.take().unwrap();
        let drawn = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&drawn);
        Terminal {
            child,
            drawn,
            reader: std::thread::spawn(move || read(screen, &seen)),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock().unwrap()).into_owned()
    }

    /// Waits until this was drawn so many times.
    pub async fn shows(&self, word: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.text().matches(word).count() < times {
            let late = Instant::now() > deadline || self.reader.is_finished();
            assert!(
                !late,
                "{word:?} was not drawn {times} times: {:?}",
                self.text()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends what somebody types.
    pub fn types(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Waits for the end of the command.
    pub async fn end(mut self) -> Drawn {
        // Closed, it would be the end of what is typed, and `script` would pass that on.
        let typed = self.child.stdin.take();
        let seen = Arc::clone(&self.drawn);
        let waited = tokio::task::spawn_blocking(move || {
            self.reader.join().unwrap();
            self.child.wait().unwrap().code()
        });
        let code = tokio::time::timeout(PATIENCE, waited).await.unwrap();
        drop(typed);
        let drawn = std::mem::take(&mut *seen.lock().unwrap());
        Drawn {
            code: code.unwrap(),
            text: String::from_utf8(drawn).unwrap(),
        }
    }
}

impl Drawn {
    /// Returns the lines as they were drawn, without what moves the cursor or clears.
    pub fn lines(&self) -> Vec<String> {
        let mut plain = String::new();
        let mut rest = self.text.as_str();
        while let Some(at) = rest.find('\x1b') {
            plain.push_str(&rest[..at]);
            let end = rest[at..].find(|c: char| c.is_ascii_alphabetic()).unwrap();
            rest = &rest[at + end + 1..];
        }
        plain.push_str(rest);
        plain
            .lines()
            .map(|it| it.trim_end_matches('\r').to_owned())
            .collect()
    }
}
