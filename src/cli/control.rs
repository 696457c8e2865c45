//! `diffmig control`.

use super::args::Format;
use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use super::table::{Cell, Sheet, count, numbers, words};
use crate::context::Server;
use crate::domain::session::Signal;
use crate::service::control::{SignalReport, clean_up, signal};
use crate::service::status::{SessionStatus, list};
use clap::{Args, Subcommand};
use serde::Serialize;
use uuid::Uuid;

const EXAMPLES: &[&str] = &[
    "diffmig control list",
    "diffmig control pause",
    "diffmig control cancel --session-id 0b5c7a9e-3c1f-4c55-9d0b-3f6f3b8f6a11",
];
const LIST_EXAMPLES: &[&str] = &[
    "diffmig control list --limit 5",
    "diffmig control list --cleanup --keep-days 90",
];
const PAUSE_EXAMPLES: &[&str] = &[
    "diffmig control pause",
    "diffmig control pause && diffmig status --watch",
];
const RESUME_EXAMPLES: &[&str] = &["diffmig control resume", "diffmig migrate --resume"];
const CANCEL_EXAMPLES: &[&str] = &[
    "diffmig control cancel",
    "diffmig control cancel && diffmig status --watch",
];

/// List sessions, or ask the running one to pause, go on or end
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
#[command(after_help = help::of_command(EXAMPLES, help::LOOKS))]
pub struct ControlArgs {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Subcommand)]
enum Deed {
    /// List the latest sessions
    #[command(after_help = help::of_command(LIST_EXAMPLES, help::LOOKS))]
    List(ListArgs),
    /// Ask the running session to stop at the next batch boundary, to go on later
    #[command(after_help = help::of_command(PAUSE_EXAMPLES, help::LOOKS))]
    Pause(Target),
    /// Take a pause back that was not obeyed yet, or say how a paused session goes on
    #[command(after_help = help::of_command(RESUME_EXAMPLES, help::LOOKS))]
    Resume(Target),
    /// End a session: the running one at its next batch boundary, a paused one at once; what is committed stays
    #[command(after_help = help::of_command(CANCEL_EXAMPLES, help::LOOKS))]
    Cancel(Target),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// How many sessions
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,

    /// First close sessions whose process is gone and forget old ones
    #[arg(long)]
    cleanup: bool,

    /// How many days sessions are remembered, with --cleanup
    #[arg(long, value_name = "DAYS", default_value_t = 90, requires = "cleanup")]
    keep_days: u16,
}

#[derive(Debug, Args)]
struct Target {
    /// Which session [default: the latest]
    #[arg(long, value_name = "ID")]
    session_id: Option<Uuid>,
}

/// The sessions and what was cleaned up.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    sessions: &'a [SessionStatus],
    #[serde(skip_serializing_if = "Option::is_none")]
    cleaned_up: Option<CleanedUp>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct CleanedUp {
    closed: u64,
    forgotten: u64,
}

/// The answer to a signal.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent<'a> {
    signal: &'static str,
    #[serde(flatten)]
    report: &'a SignalReport,
}

/// Runs the command.
pub async fn run(front: &Front, args: &ControlArgs) -> Ended {
    let server = front.target()?;
    match &args.deed {
        Deed::List(args) => show(front, &server, args).await,
        Deed::Pause(target) => send(front, &server, target.session_id, Signal::Pause).await,
        Deed::Cancel(target) => send(front, &server, target.session_id, Signal::Cancel).await,
        Deed::Resume(target) => send(front, &server, target.session_id, Signal::Run).await,
    }
}

async fn show(front: &Front, server: &Server, args: &ListArgs) -> Ended {
    let output = &front.output;
    let mut cleaned_up = None;
    if args.cleanup {
        let (closed, forgotten) = clean_up(server, i32::from(args.keep_days)).await?;
        output.remark(&format!(
            "{} sessions closed, {} forgotten",
            count(closed),
            count(forgotten)
        ));
        cleaned_up = Some(CleanedUp { closed, forgotten });
    }
    let sessions = list(server, i64::from(args.limit)).await?;
    if output.format == Format::Json {
        let listed = Listed {
            sessions: &sessions,
            cleaned_up,
        };
        output.document("control", &listed)?;
    } else {
        output.sheet(&sheet(&sessions))?;
    }
    Ok(Ending::Done)
}

fn sheet(sessions: &[SessionStatus]) -> Sheet {
    let mut sheet = Sheet::new([
        numbers("number", "number"),
        words("session", "sessionId"),
        words("state", "state"),
        words("started", "startedAt"),
        words("finished", "finishedAt"),
        numbers("rows", "rowsTotal"),
        numbers("done", "rowsDone"),
        words("host", "host"),
    ]);
    for it in sessions {
        let finished = it.finished_at.map(|at| at.format("%F %T").to_string());
        sheet.push([
            Cell::count(it.number),
            Cell::text(it.session_id.to_string()),
            Cell::text(&it.state),
            Cell::text(it.started_at.format("%F %T").to_string()),
            Cell::text(finished.unwrap_or_default()),
            Cell::count(it.rows_total),
            Cell::count(it.rows_done),
            Cell::text(&it.host),
        ]);
    }
    sheet
}

async fn send(front: &Front, server: &Server, session_id: Option<Uuid>, wanted: Signal) -> Ended {
    let report = signal(server, session_id, wanted).await?;
    let output = &front.output;
    match output.format {
        Format::Json => {
            let sent = Sent {
                signal: wanted.word(),
                report: &report,
            };
            output.document("control", &sent)?;
        }
        _ => {
            let mut sheet = Sheet::new([
                words("signal", "signal"),
                words("session", "sessionId"),
                words("state", "state"),
            ]);
            sheet.push([
                Cell::text(wanted.word()),
                Cell::text(report.session_id.to_string()),
                Cell::text(&report.state_now),
            ]);
            output.sheet(&sheet)?;
        }
    }
    output.remark(&outcome(&report, wanted));
    Ok(Ending::Done)
}

/// Says in words what became of a signal.
fn outcome(report: &SignalReport, wanted: Signal) -> String {
    if !report.delivered {
        return match report.state == report.state_now {
            true => format!("it is already {}", report.state_now.replace('_', " ")),
            false => "it is cancelled; what is committed stays".to_owned(),
        };
    }
    let words = match wanted {
        Signal::Pause => "it pauses at the next batch boundary; diffmig migrate --resume goes on",
        Signal::Cancel => "it ends at the next batch boundary; what is committed stays",
        Signal::Run => "it goes on",
    };
    words.to_owned()
}
