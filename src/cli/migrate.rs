//! `diffmig migrate`.

mod report;

pub use report::{accounting, sheet, summary};

use super::args::{EntityArgs, Format, Mode, duration, entity_limit, row_limit};
use super::failure::{Ended, Ending, Stop};
use super::front::Front;
use super::help;
use super::progress::Progress;
use crate::context::{Context, Selection};
use crate::domain::detection::RowLimit;
use crate::error::{Error, Kind};
use crate::service::migrate::{MigrateReport, MigrateRequest, dry_run, migrate};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::time::Duration;
use uuid::Uuid;

const EXAMPLES: &[&str] = &[
    "diffmig migrate",
    "diffmig migrate --dry-run",
    "diffmig migrate --entities clients --allow-deletes clients=250",
    "diffmig migrate --quiet --if-locked skip        for cron: silent when nothing is wrong",
    "diffmig migrate --quiet --json                   the report as one line",
];
const CODES: &[u8] = &[0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 20, 21, 130];

/// What to do when another session works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IfLocked {
    /// End with exit code 11.
    Fail,
    /// End quietly with exit code 0.
    Skip,
}

/// Apply what changed since the last time, batch by batch; every batch is all or nothing
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, CODES))]
pub struct MigrateArgs {
    /// Apply this stored detection instead of making one
    #[arg(long, alias = "analysis-id", value_name = "ID")]
    detection_id: Option<Uuid>,

    #[command(flatten)]
    choice: EntityArgs,

    /// How to detect: auto, full, xmin or timestamp, as in diffmig detect --help
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Mode::Auto, hide_possible_values = true, conflicts_with = "detection_id")]
    mode: Mode,

    /// Rows of a batch
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_size: u32,

    /// Entities worked on at the same time
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    max_concurrent: u8,

    /// Print the plan and the changes; write nothing anywhere
    #[arg(long, conflicts_with_all = ["detection_id", "resume"])]
    pub dry_run: bool,

    /// Go on after a pause, an interruption or a failure; a plain migrate does the same
    #[arg(long, conflicts_with = "detection_id")]
    resume: bool,

    /// Allow up to N deletions in this entity, whatever the limit says; may be repeated
    #[arg(long, value_name = "ENTITY=N", value_parser = entity_limit)]
    allow_deletes: Vec<(String, u64)>,

    /// Stop when more rows than this are quarantined: a number, or a share of the source rows like 0.5%
    #[arg(long, value_name = "N|PCT", value_parser = row_limit)]
    max_quarantine: Option<RowLimit>,

    /// How long to wait for another session, like 30s or 10m
    #[arg(long, value_name = "DUR", default_value = "0s", value_parser = duration)]
    wait_lock: Duration,

    /// When another session works: fail (exit code 11) or skip (exit code 0)
    #[arg(long, value_name = "DEED", value_enum, default_value_t = IfLocked::Fail, hide_possible_values = true)]
    if_locked: IfLocked,

    /// Pause at the first batch boundary after this time, like 30m or 2h (exit code 20)
    #[arg(long, value_name = "DUR", value_parser = duration)]
    max_duration: Option<Duration>,

    /// How many days ended sessions and their log are kept; 0 keeps them for ever
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    keep_days: u16,
}

impl MigrateArgs {
    fn request(&self) -> MigrateRequest {
        MigrateRequest {
            selection: self.choice.selection(),
            detection_id: self.detection_id,
            mode: self.mode.into(),
            batch_size: usize::try_from(self.batch_size).unwrap_or(5_000),
            max_concurrent: usize::from(self.max_concurrent),
            allow_deletes: self.allow_deletes.iter().cloned().collect(),
            wait_lock: self.wait_lock,
            max_quarantine: self.max_quarantine,
            max_duration: self.max_duration,
            keep_days: self.keep_days,
            request_key: None,
            takes_up: None,
        }
    }
}

/// Says in JSON that another session was at work.
#[derive(Serialize)]
struct Skipped<'a> {
    skipped: bool,
    reason: &'a str,
}

/// Runs the command.
pub async fn run(front: &Front, args: &MigrateArgs) -> Ended {
    let (context, progress) = front.open().await?;
    // A limit for an entity that does not exist would protect nothing.
    let limited = args.allow_deletes.iter().map(|(entity, _)| entity.clone());
    context.select(&Selection {
        only: limited.collect(),
        except: Vec::new(),
    })?;
    if args.dry_run {
        return plan_only(front, args, &context, progress).await;
    }
    let done = Box::pin(migrate(&context, &args.request())).await;
    progress.finish().await;
    match done {
        Ok(report) => print(front, &report),
        Err(error) if error.kind() == Kind::LeaseHeld && args.if_locked == IfLocked::Skip => {
            skip(front, &error)
        }
        Err(error) => Err(Stop::Failed(advised(error))),
    }
}

fn advised(error: Error) -> Error {
    let resumable = matches!(
        error.kind(),
        Kind::Connect
            | Kind::Resources
            | Kind::Busy
            | Kind::Unexpected
            | Kind::Paused
            | Kind::Cancelled
    );
    if resumable {
        return error.next("diffmig migrate --resume");
    }
    error
}

fn skip(front: &Front, error: &Error) -> Ended {
    front.output.say(&format!("skipped: {}", error.what()));
    if front.output.format == Format::Json {
        let skipped = Skipped {
            skipped: true,
            reason: error.what(),
        };
        front.output.document("migrate", &skipped)?;
    }
    Ok(Ending::Done)
}

async fn plan_only(
    front: &Front,
    args: &MigrateArgs,
    context: &Context,
    progress: Progress,
) -> Ended {
    let found = Box::pin(dry_run(context, &args.request())).await;
    progress.finish().await;
    let (plan, counts) = found?;
    report::print_plan(&front.output, &plan, &counts)?;
    front.output.remark("dry run: nothing was written");
    Ok(Ending::Done)
}

/// Prints the report and says what was set aside.
fn print(front: &Front, report: &MigrateReport) -> Ended {
    // Cron sends a mail for every word: a quiet run that is all right says none.
    let is_silent = front.output.quiet && front.output.format == Format::Table;
    if !is_silent || report.set_aside() > 0 {
        report::print(&front.output, report)?;
    }
    front.output.remark(&report::summary(report));
    if report.set_aside() > 0 {
        return Ok(Ending::Remark(report::set_aside(report)));
    }
    Ok(Ending::Done)
}
