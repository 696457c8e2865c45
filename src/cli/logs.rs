//! `diffmig logs`.

mod text;

pub use text::line;

use super::args::{Format, moment_or_ago};
use super::failure::{Ended, Ending, Stop};
use super::front::Front;
use super::help;
use super::output::Output;
use crate::context::Server;
use crate::error::{Error, Kind, Result};
use crate::service::logs::{EventRow, Follower, Heard, LogReader, LogRequest};
use chrono::{DateTime, Utc};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use text::{CSV_HEADER, LogText, render};
use uuid::Uuid;

const EXAMPLES: &[&str] = &[
    "diffmig logs --level warn",
    "diffmig logs --follow --entity clients",
    "diffmig logs --since 2h --grep 'refused|set aside'",
    "diffmig logs --since 2026-11-21 --until 2026-11-22 --export log.csv",
];
/// How many of the latest events are shown when nothing else is said.
const TAIL: i64 = 100;
/// How many events are read at once.
const PAGE: i64 = 1_000;

/// The lowest level shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lowest {
    /// Everything.
    Debug,
    /// What happened.
    Info,
    /// What somebody should look at.
    Warn,
    /// What stopped something.
    Error,
}

/// Show, follow or export the execution log
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, help::LOOKS))]
pub struct LogsArgs {
    /// Only this session [default: all]
    #[arg(long, value_name = "ID")]
    session_id: Option<Uuid>,

    /// Only events of this level or above: debug, info, warn or error [default: all]
    #[arg(long, value_name = "LEVEL", value_enum, hide_possible_values = true)]
    level: Option<Lowest>,

    /// Only events of this entity [default: all]
    #[arg(long, value_name = "NAME")]
    entity: Option<String>,

    /// Go on as events come, until the session is over or Ctrl-C; may begin before there is a session
    #[arg(short, long, conflicts_with = "export")]
    pub follow: bool,

    /// With --follow: when no session runs, wait for the next one instead of ending with the latest
    #[arg(long, requires = "follow", conflicts_with = "session_id")]
    wait: bool,

    /// How many of the latest events to begin with [default: 100; with --since, --until or --grep all]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tail: Option<u32>,

    /// Only events from this time on: a time, a day, or how long ago, like 2h or 30m
    #[arg(long, value_name = "TIME", value_parser = moment_or_ago)]
    since: Option<DateTime<Utc>>,

    /// Only events before this time, written as for --since
    #[arg(long, value_name = "TIME", value_parser = moment_or_ago, conflicts_with = "follow")]
    until: Option<DateTime<Utc>>,

    /// Only events whose entity, operation or message match a regular expression of PostgreSQL
    #[arg(long, value_name = "REGEX", value_parser = NonEmptyStringValueParser::new())]
    grep: Option<String>,

    /// Write them to a file instead, all or as chosen; .json and .csv choose the format
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,

    /// How events are written: text, json (one object per line) or csv [default: as --output says]
    #[arg(long, value_enum, hide_possible_values = true)]
    format: Option<LogText>,
}

impl LogsArgs {
    /// Tells whether only the latest events are wanted, and not all from some point on.
    fn begins_with_latest(&self) -> bool {
        let narrows = self.since.is_some() || self.until.is_some() || self.grep.is_some();
        self.tail.is_some() || !narrows && self.export.is_none()
    }

    fn request(&self) -> LogRequest {
        let level = self.level.map(|level| match level {
            Lowest::Debug => "debug",
            Lowest::Info => "info",
            Lowest::Warn => "warn",
            Lowest::Error => "error",
        });
        let latest = self.begins_with_latest();
        LogRequest {
            session_id: self.session_id,
            level: level.map(str::to_owned),
            entity: self.entity.clone(),
            since: self.since,
            until: self.until,
            grep: self.grep.clone(),
            after: (!latest).then_some(0),
            limit: match latest {
                true => self.tail.map_or(TAIL, i64::from),
                false => PAGE,
            },
        }
    }

    fn format(&self, output: Format) -> LogText {
        let extension = self.export.as_deref().and_then(Path::extension);
        match (self.format, extension.and_then(|it| it.to_str()), output) {
            (Some(format), _, _) => format,
            (None, Some("json" | "jsonl"), _) | (None, None, Format::Json) => LogText::Json,
            (None, Some("csv"), _) | (None, None, Format::Csv) => LogText::Csv,
            _ => LogText::Text,
        }
    }
}

/// Runs the command.
pub async fn run(front: &Front, args: &LogsArgs) -> Ended {
    let server = front.target()?;
    let output = &front.output;
    let format = args.format(output.format);
    if let Some(path) = &args.export {
        let mut reader = LogReader::open(&server, &args.request()).await?;
        let events = export(&mut reader, path, format).await?;
        output.remark(&format!("{events} events written to {}", path.display()));
        return Ok(Ending::Done);
    }
    if format == LogText::Csv {
        output.data(CSV_HEADER)?;
    }
    if args.follow {
        follow(server, args, output, format).await?;
        return Ok(Ending::Done);
    }
    let mut reader = LogReader::open(&server, &args.request()).await?;
    loop {
        let events = reader.next().await?;
        print(output, &events, format)?;
        // Without a cursor, the first page was all that was asked for.
        if events.is_empty() || args.begins_with_latest() {
            return Ok(Ending::Done);
        }
    }
}

/// Says that the target is away.
pub(super) fn away(error: &Error, pause: Duration) -> String {
    let cause = error.cause_text().map(|it| format!(" ({it})"));
    format!(
        "{error}{}; trying again in {:.2} s",
        cause.unwrap_or_default(),
        pause.as_secs_f32()
    )
}

fn print(output: &Output, events: &[EventRow], format: LogText) -> Result<(), Stop> {
    match events.is_empty() {
        true => Ok(()),
        false => output.data(&render(events, format, output.redraws)),
    }
}

async fn follow(
    server: Server,
    args: &LogsArgs,
    output: &Output,
    format: LogText,
) -> Result<(), Stop> {
    let mut follower = Follower::new(server, args.request(), args.wait);
    loop {
        match follower.next().await? {
            Heard::Events(events) => print(output, &events, format)?,
            Heard::Waiting(why) => output.remark(&format!("waiting: {why}")),
            Heard::Away(error, pause) => output.remark(&away(&error, pause)),
            Heard::Back => output.remark("the target is back"),
            Heard::Over(_) => return Ok(()),
        }
    }
}

/// Writes the log from its beginning, page by page, and returns how many events there were.
async fn export(reader: &mut LogReader, path: &Path, format: LogText) -> Result<usize> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::Usage, format!("cannot write {}", path.display()))
            .cause(error.to_string())
            .state("nothing was changed in the databases")
            .next("choose another file")
    };
    let mut file = BufWriter::new(std::fs::File::create(path).map_err(failed)?);
    if format == LogText::Csv {
        file.write_all(CSV_HEADER.as_bytes()).map_err(failed)?;
    }
    let mut written = 0;
    loop {
        let events = reader.next().await?;
        if events.is_empty() {
            break;
        }
        written += events.len();
        let text = render(&events, format, false);
        file.write_all(text.as_bytes()).map_err(failed)?;
    }
    file.flush().map_err(failed)?;
    Ok(written)
}
