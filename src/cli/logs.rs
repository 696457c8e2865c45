//! `diffmig logs`.

mod text;

pub use text::line;

use super::args::Format;
use super::failure::{Ended, Ending, Stop};
use super::front::Front;
use super::help;
use super::output::Output;
use crate::context::Server;
use crate::error::{Error, Kind, Result};
use crate::service::logs::{EventRow, LogReader, LogRequest};
use crate::service::status::status;
use clap::{Args, ValueEnum};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use text::{CSV_HEADER, LogText, render};
use uuid::Uuid;

const EXAMPLES: &[&str] = &[
    "diffmig logs --level warn",
    "diffmig logs --follow --entity clients",
    "diffmig logs --export log.csv",
];
/// How often a followed log is read.
const POLL: Duration = Duration::from_millis(500);
/// After how many reads without anything new the session is looked at.
const LOOK_AFTER: u32 = 3;

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

    /// How many of the latest events to begin with
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tail: u32,

    /// Write the whole log to a file instead; .json and .csv choose the format
    #[arg(long, value_name = "FILE", conflicts_with = "tail")]
    export: Option<PathBuf>,

    /// How events are written: text, json (one object per line) or csv [default: as --output says]
    #[arg(long, value_enum, hide_possible_values = true)]
    format: Option<LogText>,
}

impl LogsArgs {
    fn request(&self, tail: i64) -> LogRequest {
        let level = self.level.map(|level| match level {
            Lowest::Debug => "debug",
            Lowest::Info => "info",
            Lowest::Warn => "warn",
            Lowest::Error => "error",
        });
        LogRequest {
            session_id: self.session_id,
            level: level.map(str::to_owned),
            entity: self.entity.clone(),
            tail,
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
        let mut reader = LogReader::open(&server, &args.request(0)).await?;
        let events = export(&mut reader, path, format).await?;
        output.remark(&format!("{events} events written to {}", path.display()));
        return Ok(Ending::Done);
    }
    let request = args.request(i64::from(args.tail));
    let mut reader = match args.follow {
        true => wait_for_log(&server, &request, output).await?,
        false => LogReader::open(&server, &request).await?,
    };
    if format == LogText::Csv {
        output.data(CSV_HEADER)?;
    }
    print(output, &reader.next().await?, format)?;
    if args.follow {
        follow(&server, &mut reader, args.session_id, output, format).await?;
    }
    Ok(Ending::Done)
}

fn print(output: &Output, events: &[EventRow], format: LogText) -> Result<(), Stop> {
    match events.is_empty() {
        true => Ok(()),
        false => output.data(&render(events, format)),
    }
}

/// Waits until the first migration has made the control schema.
async fn wait_for_log(server: &Server, request: &LogRequest, output: &Output) -> Result<LogReader> {
    let mut told = false;
    loop {
        match LogReader::open(server, request).await {
            Err(error) if error.kind() == Kind::ControlState => {
                if !told {
                    output.remark(&format!("waiting: {}", error.what()));
                    told = true;
                }
                tokio::time::sleep(POLL).await;
            }
            opened => return opened,
        }
    }
}

async fn follow(
    server: &Server,
    reader: &mut LogReader,
    session_id: Option<Uuid>,
    output: &Output,
    format: LogText,
) -> Result<(), Stop> {
    let mut idle = 0;
    let mut was_over = false;
    loop {
        tokio::time::sleep(POLL).await;
        let events = reader.next().await?;
        if !events.is_empty() {
            idle = 0;
            print(output, &events, format)?;
            continue;
        }
        idle += 1;
        if idle < LOOK_AFTER {
            continue;
        }
        // The last events of a session are written after its end: look twice.
        if was_over {
            return Ok(());
        }
        idle = 0;
        was_over = match status(server, session_id).await {
            Ok(session) => session.is_over(),
            Err(error) if error.kind() == Kind::ControlState => false,
            Err(error) => return Err(error.into()),
        };
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
    // A first page of no events puts the cursor before the oldest.
    reader.next().await?;
    let mut written = 0;
    loop {
        let events = reader.next().await?;
        if events.is_empty() {
            break;
        }
        written += events.len();
        let text = render(&events, format);
        file.write_all(text.as_bytes()).map_err(failed)?;
    }
    file.flush().map_err(failed)?;
    Ok(written)
}
