//! How a command ends: its exit code, and the block that says why.

use super::args::Format;
use super::output::Output;
use crate::error::{Error, Kind};
use serde::Serialize;
use std::process::ExitCode;

/// The end of a command that printed its data.
#[derive(Debug)]
pub enum Ending {
    /// As it should be.
    Done,
    /// `detect --exit-code` found differences.
    Differences,
    /// The end of what was watched, told by its exit code alone.
    Watched(u8),
    /// Finished, but somebody has to know this; it decides the exit code.
    Remark(Error),
}

/// The end of a command that could not print its data.
#[derive(Debug)]
pub enum Stop {
    /// It failed.
    Failed(Error),
    /// Nobody reads standard output any more.
    PipeClosed,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

impl Stop {
    /// Says what is committed, unless the error says it more precisely.
    pub fn state(self, state: &str) -> Stop {
        match self {
            Stop::Failed(error) => Stop::Failed(error.state(state)),
            Stop::PipeClosed => Stop::PipeClosed,
        }
    }
}

/// How every verb ends.
pub type Ended = Result<Ending, Stop>;

/// The error as a JSON document.
#[derive(Debug, Serialize)]
struct ErrorDocument<'a> {
    version: u8,
    error: ErrorBody<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    exit_code: u8,
    code: &'static str,
    message: &'a str,
    cause: Option<&'a str>,
    state: Option<&'a str>,
    next: Option<&'a str>,
}

/// The word of a kind in JSON; part of the contract.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Unexpected => "unexpected",
        Kind::Usage => "usage",
        Kind::Rejects => "rejects",
        Kind::Differences => "differences",
        Kind::Connect => "connect",
        Kind::LeaseHeld => "lease_held",
        Kind::Permission => "permission",
        Kind::Drift => "drift",
        Kind::Unreadable => "unreadable",
        Kind::Guard => "guard",
        Kind::Resources | Kind::Busy => "resources",
        Kind::Fenced => "fenced",
        Kind::ControlState => "control_state",
        Kind::Paused => "paused",
        Kind::Cancelled => "cancelled",
        Kind::Interrupted(_) => "interrupted",
    }
}

/// What helps when nobody said anything more precise.
fn advice(kind: Kind) -> &'static str {
    match kind {
        Kind::Unexpected => "run the same command again; report it as a defect if it stays",
        Kind::Usage => "diffmig --help",
        Kind::Connect => "run the same command again",
        Kind::LeaseHeld => "diffmig status shows who works; --wait-lock 10m waits for it",
        Kind::Permission => "check the role, its grants and the URL",
        Kind::Drift | Kind::Unreadable => "correct the mapping and run the same command again",
        Kind::Guard => "look at the cause before going on",
        Kind::Resources | Kind::Busy => "make room or wait, then run the same command again",
        Kind::Fenced => "diffmig status shows who works now",
        Kind::ControlState => "diffmig status",
        Kind::Paused => "diffmig migrate --resume",
        Kind::Cancelled | Kind::Interrupted(_) => "run the same command again",
        Kind::Rejects => "diffmig quarantine list",
        Kind::Differences => "diffmig migrate",
    }
}

/// Adds the advice of the kind where there is none.
fn advised(error: Error) -> Error {
    let kind = error.kind();
    error.next(advice(kind))
}

/// Writes the block: what, cause, state, next. Further lines of a part are indented.
pub fn block(title: &str, error: &Error) -> String {
    let parts = [
        (title, Some(error.what())),
        ("cause:", error.cause_text()),
        ("state:", error.state_text()),
        ("next:", error.next_text()),
    ];
    let mut text = String::new();
    for (name, value) in parts {
        let Some(value) = value.filter(|it| !it.is_empty()) else {
            continue;
        };
        let mut lines = value.lines();
        text.push_str(&format!("{name} {}\n", lines.next().unwrap_or_default()));
        for line in lines {
            text.push_str(&format!("       {line}\n"));
        }
    }
    text
}

fn document(error: &Error, in_one_line: bool) -> String {
    let body = ErrorDocument {
        version: super::output::VERSION,
        error: ErrorBody {
            exit_code: error.kind().exit_code(),
            code: word(error.kind()),
            message: error.what(),
            cause: error.cause_text(),
            state: error.state_text(),
            next: error.next_text(),
        },
    };
    let text = match in_one_line {
        true => serde_json::to_string(&body),
        false => serde_json::to_string_pretty(&body),
    };
    text.unwrap_or_default() + "\n"
}

/// Prints how a command ended and returns the exit code.
pub fn conclude(output: &Output, ended: Ended) -> ExitCode {
    match ended {
        Ok(Ending::Done) | Err(Stop::PipeClosed) => ExitCode::SUCCESS,
        Ok(Ending::Differences) => ExitCode::from(Kind::Differences.exit_code()),
        Ok(Ending::Watched(code)) => ExitCode::from(code),
        Ok(Ending::Remark(error)) => {
            let error = advised(error);
            let title = match error.kind() {
                Kind::Rejects => "warning:",
                _ => "error:",
            };
            output.block(title, &block(title, &error));
            ExitCode::from(error.kind().exit_code())
        }
        Err(Stop::Failed(error)) => {
            let error = advised(error);
            output.block("error:", &block("error:", &error));
            if output.format == Format::Json {
                // Nothing more can be done when this cannot be written either.
                let _ = output.data(&document(&error, output.quiet));
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// The failure of a process that may not even start threads.
pub fn no_runtime(error: &std::io::Error) -> Stop {
    let error = Error::new(Kind::Resources, "the runtime cannot be started")
        .cause(error.to_string())
        .state("nothing was started");
    Stop::Failed(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_indents_what_does_not_fit_on_one_line() {
        let error = Error::new(Kind::Usage, "the mapping has 2 problems")
            .cause("a.toml:1: one\na.toml:2: two")
            .state("nothing was started");
        let text = block("error:", &advised(error));
        assert_eq!(
            text,
            "error: the mapping has 2 problems\n\
             cause: a.toml:1: one\n       a.toml:2: two\n\
             state: nothing was started\n\
             next: diffmig --help\n"
        );
    }

    #[test]
    fn the_document_carries_the_same_facts() {
        let error = Error::new(Kind::Interrupted(143), "interrupted").state("rolled back");
        let text = document(&error, true);
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["error"]["exitCode"], 143);
        assert_eq!(value["error"]["code"], "interrupted");
        assert_eq!(value["error"]["state"], "rolled back");
        assert!(value["error"]["cause"].is_null());
    }
}
