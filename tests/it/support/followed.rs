//! A command that goes on, and what it says while it does.

use super::Bench;
use super::command::Said;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// A command whose output is read as it comes.
pub struct Followed {
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

struct Stream {
    lines: Receiver<String>,
    text: String,
}

impl Stream {
    fn of(source: impl Read + Send + 'static) -> Stream {
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines() {
                if send.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Stream {
            lines,
            text: String::new(),
        }
    }

    /// Reads up to a line with this word.
    fn up_to(&mut self, word: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text.contains(word) {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("{word:?} is not in {:?}", self.text));
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }

    fn all(mut self) -> String {
        for line in &self.lines {
            self.text.push_str(&line);
            self.text.push('\n');
        }
        self.text
    }
}

impl Followed {
    pub fn start(bench: &Bench, arguments: &[&str]) -> Followed {
        let mut command = bench.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Followed {
            stdout: Stream::of(child.stdout.take().unwrap()),
            stderr: Stream::of(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Waits until it prints this.
    pub fn prints(&mut self, word: &str) {
        self.stdout.up_to(word);
    }

    /// Waits until it says this beside its output.
    pub fn says(&mut self, word: &str) {
        self.stderr.up_to(word);
    }

    /// Waits for its end, and gives it up after a while.
    pub async fn end(mut self) -> Said {
        let deadline = Instant::now() + PATIENCE;
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                break None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let read = move || (self.stdout.all(), self.stderr.all());
        let (stdout, stderr) = tokio::task::spawn_blocking(read).await.unwrap();
        Said {
            code,
            stdout,
            stderr,
        }
    }
}
