//! The only place that prints: data to standard output, everything else to standard error.

use super::args::{Format, Globals, LogFormat, LogLevel};
use super::failure::Stop;
use super::table::Sheet;
use crate::error::{Error, Kind};
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The version of the JSON contract; raised when a field is removed or changes its meaning.
pub const VERSION: u8 = 1;

/// Where words go and how they look.
#[derive(Debug, Clone)]
pub struct Output {
    /// How data is printed.
    pub format: Format,
    /// Whether remarks and progress are left out.
    pub quiet: bool,
    /// How much of the execution log is shown.
    pub verbose: u8,
    /// Whether standard output is a terminal that can be redrawn.
    pub redraws: bool,
    /// Whether standard error is a terminal for bars and colours.
    pub bars: bool,
}

/// A report with the head that every JSON document has.
#[derive(Serialize)]
struct Document<'a, T> {
    version: u8,
    command: &'a str,
    #[serde(flatten)]
    report: &'a T,
}

/// Tells whether the environment allows colours and moving cursors.
fn is_plain() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    no_color || std::env::var_os("TERM").is_some_and(|it| it == "dumb")
}

pub(super) fn write_all(text: &str) -> Result<(), Stop> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Stop::PipeClosed,
        _ => Stop::Failed(
            Error::new(Kind::Resources, "standard output cannot be written")
                .cause(error.to_string()),
        ),
    })
}

/// Writes a last word to standard output, whether anybody reads it or not.
pub(super) fn write_rest(text: &str) {
    let _ = write_all(text);
}

/// Writes to standard error as it stands.
pub(super) fn write_error(text: &str) {
    // When standard error is closed there is nobody left to tell.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Writes a report as a JSON document.
///
/// # Errors
/// The report has a shape that JSON cannot hold; that is a defect.
pub fn document_text<T: Serialize>(command: &str, report: &T) -> Result<String, Error> {
    let document = Document {
        version: VERSION,
        command,
        report,
    };
    let text = serde_json::to_string_pretty(&document).map_err(|it| unprintable(&it))?;
    Ok(text + "\n")
}

fn unprintable(error: &serde_json::Error) -> Error {
    Error::new(Kind::Unexpected, "the report cannot be written").cause(error.to_string())
}

impl Output {
    /// Looks at flags, environment and terminal.
    pub fn new(globals: &Globals) -> Output {
        let plain = globals.no_color || is_plain();
        Output {
            format: globals.format(),
            quiet: globals.quiet,
            verbose: globals.verbose,
            redraws: !plain && std::io::stdout().is_terminal(),
            bars: !plain && std::io::stderr().is_terminal(),
        }
    }

    /// Prints data.
    ///
    /// # Errors
    /// Nobody reads it any more, or it cannot be written.
    pub fn data(&self, text: &str) -> Result<(), Stop> {
        write_all(text)
    }

    /// Prints a report as a JSON document; where it should be quiet, as one line.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn document<T: Serialize>(&self, command: &str, report: &T) -> Result<(), Stop> {
        if self.quiet {
            return self.document_line(command, report);
        }
        self.data(&document_text(command, report)?)
    }

    /// Prints a report as one line of JSON, for outputs that go on.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn document_line<T: Serialize>(&self, command: &str, report: &T) -> Result<(), Stop> {
        let document = Document {
            version: VERSION,
            command,
            report,
        };
        let text = serde_json::to_string(&document).map_err(|it| unprintable(&it))?;
        self.data(&(text + "\n"))
    }

    /// Prints rows as a table or as CSV.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn sheet(&self, sheet: &Sheet) -> Result<(), Stop> {
        match self.format {
            Format::Csv => self.data(&sheet.csv()),
            _ => self.data(&sheet.table()),
        }
    }

    /// Makes a remark on standard error, unless it should be quiet.
    pub fn remark(&self, text: &str) {
        if !self.quiet {
            write_error(&format!("{text}\n"));
        }
    }

    /// Says something on standard error that must not be missed.
    pub fn say(&self, text: &str) {
        write_error(&format!("{text}\n"));
    }

    /// Prints a block whose first word is coloured on a terminal.
    pub fn block(&self, title: &str, text: &str) {
        let rest = text.strip_prefix(title).filter(|_| self.bars);
        match rest {
            Some(rest) => write_error(&format!("\x1b[1;31m{title}\x1b[0m{rest}")),
            None => write_error(text),
        }
    }
}

/// Replaces what follows `postgres://`, so that a URL in the wrong place is not shown.
fn without_urls(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("postgres") {
        let (before, found) = rest.split_at(at);
        shown.push_str(before);
        let scheme = ["postgres://", "postgresql://"]
            .into_iter()
            .find(|scheme| found.starts_with(scheme));
        let Some(scheme) = scheme else {
            shown.push_str("postgres");
            rest = &found["postgres".len()..];
            continue;
        };
        shown.push_str(scheme);
        shown.push_str("...");
        let tail = &found[scheme.len()..];
        // Anything up to the next white space may belong to a password.
        let end = tail.find(char::is_whitespace).unwrap_or(tail.len());
        rest = &tail[end..];
    }
    shown.push_str(rest);
    shown
}

/// Prints what the parser of the command line has to say: help, version, or what is wrong.
pub fn refuse(error: &clap::Error) -> ExitCode {
    let plain = is_plain() || std::env::args_os().any(|it| it == "--no-color");
    let terminal = if error.use_stderr() {
        std::io::stderr().is_terminal()
    } else {
        std::io::stdout().is_terminal()
    };
    let text = if terminal && !plain {
        error.render().ansi().to_string()
    } else {
        error.render().to_string()
    };
    if error.use_stderr() {
        write_error(&without_urls(&text));
        return ExitCode::from(Kind::Usage.exit_code());
    }
    match write_all(&text) {
        Ok(()) | Err(Stop::PipeClosed) => ExitCode::SUCCESS,
        Err(Stop::Failed(error)) => ExitCode::from(error.kind().exit_code()),
    }
}

/// Sends diagnostics to standard error; the database driver never says more than warnings and no statement.
pub fn start_logging(globals: &Globals) {
    let level = globals.log_level;
    let driver = level.min(LogLevel::Warn).word();
    let filter = format!("{},sqlx={driver},sqlx::query=off", level.word());
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // It would say so on standard error, and end the process when that is what cannot be written.
        .log_internal_errors(false)
        .with_ansi(!globals.no_color && !is_plain() && std::io::stderr().is_terminal())
        .with_env_filter(EnvFilter::new(filter));
    let started = match globals.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if started.is_err() {
        write_error("diagnostics cannot be shown\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_in_the_wrong_place_are_not_shown() {
        let text = "error: unexpected argument 'postgres://u:p w@h/d' found\n";
        assert_eq!(
            without_urls("a 'postgresql://u:pw@h/d' found in postgres"),
            "a 'postgresql://... found in postgres"
        );
        assert!(!without_urls(text).contains("u:p"));
    }
}
