//! `diffmig status`.

use super::args::{Format, duration};
use super::failure::{Ended, Ending, Stop};
use super::front::Front;
use super::help;
use super::output::Output;
use super::screen::{Screen, cut, size, width};
use super::table::{Cell, Sheet, count, numbers, rounded, seconds, words};
use crate::context::Server;
use crate::error::Result;
use crate::service::logs::{EventRow, LogReader, LogRequest, Outage};
use crate::service::status::{ProcessStatus, SessionStatus, status};
use clap::Args;
use serde::Serialize;
use std::time::Duration;
use uuid::Uuid;

const EXAMPLES: &[&str] = &[
    "diffmig status",
    "diffmig status --watch --interval 5s",
    "diffmig status --show-errors --verbose        memory, connections, checkpoint",
    "diffmig status --watch --json -q | jq .etaSecs",
];
/// With --watch, it ends as the session does.
const CODES: &[u8] = &[0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 20, 21, 130];
/// How many warnings and errors are shown.
const ERRORS_SHOWN: i64 = 20;

/// Show how far a session is, from the control tables only
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, CODES))]
pub struct StatusArgs {
    /// Which session [default: the latest]
    #[arg(long, value_name = "ID")]
    session_id: Option<Uuid>,

    /// Show it again and again until the session is over, and end with its exit code
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

impl<'a> Report<'a> {
    fn of(session: &'a SessionStatus, errors: Option<&'a [EventRow]>) -> Report<'a> {
        Report { session, errors }
    }
}

/// Runs the command.
pub async fn run(front: &Front, args: &StatusArgs) -> Ended {
    let server = front.target()?;
    if args.watch {
        return watch(front, &server, args).await;
    }
    let (session, errors) = look(&server, args.session_id, args.show_errors).await?;
    print(&front.output, &session, errors.as_deref())?;
    Ok(Ending::Done)
}

async fn look(
    server: &Server,
    session_id: Option<Uuid>,
    show_errors: bool,
) -> Result<(SessionStatus, Option<Vec<EventRow>>)> {
    let session = status(server, session_id).await?;
    let errors = match show_errors {
        true => Some(errors_of(server, session.session_id).await?),
        false => None,
    };
    Ok((session, errors))
}

/// Shows a session until it is over, and ends as its process did. A target that is away is waited for.
async fn watch(front: &Front, server: &Server, args: &StatusArgs) -> Ended {
    let output = &front.output;
    let interval = args.interval.max(Duration::from_millis(200));
    let mut session_id = args.session_id;
    let mut screen = Screen::default();
    let mut outage = Outage::default();
    let mut last = String::new();
    loop {
        let (session, errors) = match look(server, session_id, args.show_errors).await {
            Ok(found) => found,
            // Only what was seen once is known to be worth waiting for.
            Err(error) if session_id.is_some() && !last.is_empty() => {
                let (error, pause) = outage.pause(error)?;
                let away = super::logs::away(&error, pause);
                match output.redraws {
                    true => screen.draw(&format!("{last}{away}\n"))?,
                    false => output.remark(&away),
                }
                tokio::time::sleep(pause).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if outage.end() && !output.redraws {
            output.remark("the target is back");
        }
        // A session that begins meanwhile is not the one that is watched.
        session_id = Some(session.session_id);
        last = match output.format {
            Format::Json => {
                output.document_line("status", &Report::of(&session, errors.as_deref()))?;
                "seen".to_owned()
            }
            _ if output.redraws => {
                let (columns, rows) = size();
                // The last row is where the cursor stands.
                let room = Some((columns, rows.saturating_sub(1)));
                let page = page(output, &session, errors.as_deref(), room);
                screen.draw(&page)?;
                page
            }
            _ => {
                let line = format!("{}\n", line(&session));
                output.data(&line)?;
                line
            }
        };
        if session.is_over() {
            return Ok(Ending::Watched(session.exit_code.unwrap_or(0)));
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
        Format::Json => output.document("status", &Report::of(session, errors)),
        Format::Csv => output.sheet(&sheet(session)),
        Format::Table => {
            let room = width().map(|it| (it, usize::MAX));
            output.data(&page(output, session, errors, room))
        }
    }
}

/// Says in one line how far a session is.
pub fn line(session: &SessionStatus) -> String {
    let mut line = how_far(session);
    if let (false, Some(rate)) = (session.is_over(), session.recent_rows_per_sec) {
        line.push_str(&format!(", {} rows/s", rounded(rate)));
    }
    if let Some(eta) = eta(session) {
        line.push_str(&format!(", ETA {eta}"));
    }
    if let Some(limit) = session.limited_by {
        line.push_str(&format!(", limited by {}", limit.words()));
    }
    line
}

fn how_far(session: &SessionStatus) -> String {
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
    if session.is_over() {
        line.push_str(&format!(", {} rows/s", rounded(session.rows_per_sec)));
    }
    line
}

/// Says when it will be done, as a range where two estimates disagree.
fn eta(session: &SessionStatus) -> Option<String> {
    let low = seconds(session.eta_secs?);
    match session.eta_high_secs.map(seconds) {
        Some(high) if high != low => Some(format!("{low} to {high}")),
        _ => Some(low),
    }
}

/// Draws the whole page; into so many columns and rows, if it should fit.
fn page(
    output: &Output,
    session: &SessionStatus,
    errors: Option<&[EventRow]>,
    room: Option<(usize, usize)>,
) -> String {
    let mut text = format!("{}\n", how_far(session));
    let mut fact = |name: &str, value: String| text.push_str(&format!("{name:<12}{value}\n"));
    fact("id", session.session_id.to_string());
    if let Some(detection_id) = session.detection_id {
        fact("detection", detection_id.to_string());
    }
    fact(
        "process",
        format!("{}, process {}", session.host, session.process_id),
    );
    fact(
        "started",
        session.started_at.format("%F %T UTC").to_string(),
    );
    if let Some(at) = session.finished_at {
        fact("finished", at.format("%F %T UTC").to_string());
    }
    if let Some(secs) = session.heartbeat_secs {
        fact("heartbeat", format!("{secs} s ago"));
    }
    if session.is_at_work() {
        add_pace(&mut fact, session);
    }
    if let (true, Some(process)) = (output.verbose > 0, &session.process) {
        add_process(&mut fact, process);
    }
    if let Some(error) = &session.error {
        fact("error", error.clone());
    }
    let width = room.map(|it| it.0);
    // The latest ones, as many as leave room for the steps.
    let most = room.map_or(usize::MAX, |it| it.1 / 4).max(1);
    let errors = errors
        .map(|it| errors_text(it, most, width))
        .unwrap_or_default();
    if !session.steps.is_empty() {
        let used = text.lines().count() + errors.lines().count();
        let left = room.map(|it| it.1.saturating_sub(used + 1));
        text.push_str(&format!("\n{}", steps_text(session, width, left)));
    }
    text + &errors
}

fn add_pace(fact: &mut impl FnMut(&str, String), session: &SessionStatus) {
    let recent = session.recent_rows_per_sec.map_or_else(
        || "no rows in the last minute".to_owned(),
        |it| format!("{} rows/s in the last minute", rounded(it)),
    );
    let all = rounded(session.rows_per_sec);
    fact("rate", format!("{recent}, {all} since the start"));
    if let Some(eta) = eta(session) {
        fact("ETA", eta);
    }
    if let Some(limit) = session.limited_by {
        fact("limited by", limit.words().to_owned());
    }
}

fn add_process(fact: &mut impl FnMut(&str, String), process: &ProcessStatus) {
    let unknown = || "not known yet".to_owned();
    let memory = process
        .memory_bytes
        .map(|it| format!("{} MiB", count(it / 1_048_576)));
    fact("memory", memory.unwrap_or_else(unknown));
    let side = |number: Option<i64>, name| number.map(|it| format!("{it} to the {name}"));
    let connections = [
        side(process.source_connections, "source"),
        side(process.target_connections, "target"),
    ];
    let connections: Vec<String> = connections.into_iter().flatten().collect();
    let connections = Some(connections.join(", ")).filter(|it| !it.is_empty());
    fact("connections", connections.unwrap_or_else(unknown));
    let age = process
        .checkpoint_age_secs
        .map(|it| format!("{} ago", seconds(it)));
    fact("checkpoint", age.unwrap_or_else(|| "none yet".to_owned()));
}

fn errors_text(errors: &[EventRow], most: usize, width: Option<usize>) -> String {
    let latest = &errors[errors.len().saturating_sub(most)..];
    let mut text = format!("\nlatest warnings and errors: {}\n", latest.len());
    for event in latest {
        let line = super::logs::line(event);
        text.push_str(&width.map_or_else(|| line.clone(), |width| cut(&line, width)));
        text.push('\n');
    }
    text
}

/// Draws the steps; where they do not all fit, those at work come first.
fn steps_text(session: &SessionStatus, width: Option<usize>, lines: Option<usize>) -> String {
    // Header, two rules, total.
    const FRAME: usize = 4;
    let fit = |sheet: Sheet| match width {
        Some(width) => sheet.fit(width, LESS_IMPORTANT).table(),
        None => sheet.table(),
    };
    let room = lines.unwrap_or(usize::MAX).saturating_sub(FRAME).max(1);
    if session.steps.len() <= room {
        return fit(sheet(session));
    }
    let mut shown = session.clone();
    let rank = |state: &str| match state {
        "running" => 0,
        "failed" => 1,
        "pending" => 2,
        _ => 3,
    };
    shown.steps.sort_by_key(|step| rank(&step.state));
    let kept = room.saturating_sub(1).max(1);
    let more = format!("and {} more entities", session.steps.len() - kept);
    format!("{}{more}\n", fit(sheet(&shown).keep(kept)))
}

/// Columns that a narrow terminal does without, the first ones first.
const LESS_IMPORTANT: &[&str] = &[
    "batches",
    "wave",
    "retired",
    "updated",
    "inserted",
    "setAside",
    "rowsPerSec",
    "rowsTotal",
];

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
