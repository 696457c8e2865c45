//! `diffmig status`.

use super::args::{Format, duration};
use super::failure::{Ended, Ending, Stop};
use super::front::Front;
use super::help;
use super::output::Output;
use super::table::{Cell, Sheet, count, numbers, rounded, seconds, words};
use crate::context::Server;
use crate::error::Result;
use crate::service::logs::{EventRow, LogReader, LogRequest};
use crate::service::status::{SessionStatus, status};
use clap::Args;
use serde::Serialize;
use std::time::Duration;
use uuid::Uuid;

const EXAMPLES: &[&str] = &[
    "diffmig status",
    "diffmig status --watch --interval 5s",
    "diffmig status --show-errors --json",
];
/// How many warnings and errors are shown.
const ERRORS_SHOWN: i64 = 20;

/// Show how far a session is, from the control tables only
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, help::LOOKS))]
pub struct StatusArgs {
    /// Which session [default: the latest]
    #[arg(long, value_name = "ID")]
    session_id: Option<Uuid>,

    /// Show it again and again until the session is over
    #[arg(long)]
    pub watch: bool,

    /// How often it is shown again
    #[arg(long, value_name = "DUR", default_value = "2s", value_parser = duration)]
    interval: Duration,

    /// Also show the latest warnings and errors of the session
    #[arg(long)]
    show_errors: bool,
}

/// The session and, when asked for, what went wrong in it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    #[serde(flatten)]
    session: &'a SessionStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a [EventRow]>,
}

/// Runs the command.
pub async fn run(front: &Front, args: &StatusArgs) -> Ended {
    let server = front.target()?;
    let interval = args.interval.max(Duration::from_millis(200));
    let mut session_id = args.session_id;
    loop {
        let session = status(&server, session_id).await?;
        // A session that begins meanwhile is not the one that is watched.
        session_id = Some(session.session_id);
        let errors = match args.show_errors {
            true => Some(errors_of(&server, session.session_id).await?),
            false => None,
        };
        let is_over = session.is_over();
        if !args.watch {
            print(&front.output, &session, errors.as_deref())?;
            return Ok(Ending::Done);
        }
        print_again(&front.output, &session, errors.as_deref())?;
        if is_over {
            return Ok(Ending::Done);
        }
        tokio::time::sleep(interval).await;
    }
}

async fn errors_of(server: &Server, session_id: Uuid) -> Result<Vec<EventRow>> {
    let request = LogRequest {
        session_id: Some(session_id),
        level: Some("warn".to_owned()),
        limit: ERRORS_SHOWN,
        ..LogRequest::default()
    };
    LogReader::open(server, &request).await?.next().await
}

fn print(
    output: &Output,
    session: &SessionStatus,
    errors: Option<&[EventRow]>,
) -> Result<(), Stop> {
    match output.format {
        Format::Json => output.document("status", &Report { session, errors }),
        Format::Csv => output.sheet(&sheet(session)),
        Format::Table => output.data(&page(session, errors)),
    }
}

fn print_again(
    output: &Output,
    session: &SessionStatus,
    errors: Option<&[EventRow]>,
) -> Result<(), Stop> {
    match output.format {
        Format::Json => output.document_line("status", &Report { session, errors }),
        _ if output.redraws => output.redraw(&page(session, errors)),
        _ => output.data(&format!("{}\n", line(session))),
    }
}

/// Says in one line how far a session is.
pub fn line(session: &SessionStatus) -> String {
    let mut line = format!(
        "session {} {}: {} of {} rows",
        session.number,
        session.state,
        count(session.rows_done),
        count(session.rows_total)
    );
    if session.rows_total > 0 {
        let share = i128::from(session.rows_done) * 100 / i128::from(session.rows_total);
        line.push_str(&format!(" ({share} %)"));
    }
    line.push_str(&format!(", {} rows/s", rounded(session.rows_per_sec)));
    if let Some(eta) = session.eta_secs {
        line.push_str(&format!(", ETA {}", seconds(eta)));
    }
    line
}

fn page(session: &SessionStatus, errors: Option<&[EventRow]>) -> String {
    let mut text = format!("{}\n", line(session));
    text.push_str(&format!("id         {}\n", session.session_id));
    if let Some(detection_id) = session.detection_id {
        text.push_str(&format!("detection  {detection_id}\n"));
    }
    let place = format!("{}, process {}", session.host, session.process_id);
    text.push_str(&format!("process    {place}\n"));
    text.push_str(&format!(
        "started    {}\n",
        session.started_at.format("%F %T UTC")
    ));
    if let Some(at) = session.finished_at {
        text.push_str(&format!("finished   {}\n", at.format("%F %T UTC")));
    }
    if let Some(secs) = session.heartbeat_secs {
        text.push_str(&format!("heartbeat  {secs} s ago\n"));
    }
    if let Some(error) = &session.error {
        text.push_str(&format!("error      {error}\n"));
    }
    if !session.steps.is_empty() {
        text.push_str(&format!("\n{}", sheet(session).table()));
    }
    let Some(errors) = errors else {
        return text;
    };
    text.push_str(&format!("\nlatest warnings and errors: {}\n", errors.len()));
    for event in errors {
        text.push_str(&format!("{}\n", super::logs::line(event)));
    }
    text
}

fn sheet(session: &SessionStatus) -> Sheet {
    let mut sheet = Sheet::new([
        words("entity", "entity"),
        numbers("wave", "wave"),
        words("state", "state"),
        numbers("rows", "rowsTotal"),
        numbers("done", "rowsDone"),
        numbers("inserted", "inserted"),
        numbers("updated", "updated"),
        numbers("retired", "retired"),
        numbers("set aside", "setAside"),
        numbers("batches", "batches"),
        numbers("rows/s", "rowsPerSec"),
    ]);
    for it in &session.steps {
        sheet.push([
            Cell::text(&it.entity),
            Cell::count(it.wave),
            Cell::text(&it.state),
            Cell::count(it.rows_total),
            Cell::count(it.rows_done),
            Cell::count(it.inserted),
            Cell::count(it.updated),
            Cell::count(it.retired),
            Cell::count(it.set_aside),
            Cell::count(it.batches),
            Cell::Rounded(it.rows_per_sec),
        ]);
    }
    let rate = session.rows_per_sec;
    sheet.add_total(|name| match name {
        "wave" => Some(Cell::Empty),
        "rowsPerSec" => Some(Cell::Rounded(rate)),
        _ => None,
    });
    sheet
}
