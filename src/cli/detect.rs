//! `diffmig detect`.

mod export;

use super::args::{EntityArgs, Format, Mode, moment, percent};
use super::failure::{Ended, Ending, Stop};
use super::front::Front;
use super::help;
use super::table::{Cell, Sheet, count, numbers, words};
use crate::context::Server;
use crate::domain::detection::{Detection, DetectionCounts};
use crate::error::{Error, Kind};
use crate::service::detect::{DetectRequest, detect};
use crate::service::detections::{self, DetectionLine};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use uuid::Uuid;

const EXAMPLES: &[&str] = &[
    "diffmig detect",
    "diffmig detect --entities clients,tickets --threshold 5%",
    "diffmig detect --explain",
    "diffmig detect --save-to changes.csv",
    "diffmig detect --exit-code --quiet; test $? -eq 4 && diffmig migrate",
];
const CODES: &[u8] = &[0, 1, 2, 4, 10, 12, 13, 14, 15, 17, 130];

/// Find new, modified and deleted rows and store them under a detection id; changes no target table
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, CODES))]
pub struct DetectArgs {
    #[command(flatten)]
    choice: EntityArgs,

    /// How to read the source: auto (the cheapest mode that misses nothing), full (every row), xmin (rows written since
    /// the watermark) or timestamp (rows whose `updated_at` is not before it)
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::Auto, hide_possible_values = true)]
    mode: Mode,

    /// Only rows whose `updated_at` is not before this time, and no deletions; for a look, not for completeness
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "mode")]
    since: Option<DateTime<Utc>>,

    /// Say for each entity how it was read, why, how many rows that took, and what can be missed
    #[arg(long)]
    explain: bool,

    /// List the stored detections instead, the newest first
    #[arg(long, conflicts_with_all = ["mode", "since", "explain", "detection_id", "save_to", "threshold", "exit_code", "entities", "exclude"])]
    list: bool,

    /// Show or save this stored detection instead of making one
    #[arg(long, value_name = "ID", conflicts_with_all = ["mode", "since", "entities", "exclude"])]
    detection_id: Option<Uuid>,

    /// Leave deleted rows out of the output, of --threshold and of --exit-code; the stored detection keeps them
    #[arg(long)]
    no_deleted: bool,

    /// End with exit code 14 when more than this share of an entity changed
    #[arg(long, value_name = "PCT", value_parser = percent)]
    threshold: Option<f64>,

    /// Also write the keys and kinds of all changes to a file, as .json or .csv
    #[arg(long, value_name = "FILE")]
    save_to: Option<PathBuf>,

    /// End with exit code 4 when there are differences
    #[arg(long)]
    exit_code: bool,

    /// Entities read at the same time
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    max_concurrent: u8,
}

/// The report with what adds up over all entities.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    #[serde(flatten)]
    detection: &'a Detection,
    changes: u64,
}

/// Runs the command.
pub async fn run(front: &Front, args: &DetectArgs) -> Ended {
    let save_as = args.save_to.as_deref().map(export::format_of).transpose()?;
    if args.list {
        return list(front).await;
    }
    let (detection, target) = match args.detection_id {
        Some(detection_id) => {
            let target = front.target()?;
            (detections::load(&target, detection_id).await?, target)
        }
        None => make(front, args).await?,
    };
    let mut detection = detection;
    if args.no_deleted {
        for it in &mut detection.entities {
            it.deleted = 0;
        }
    }
    let changes = detection
        .entities
        .iter()
        .map(DetectionCounts::changes)
        .sum();
    let report = Report {
        detection: &detection,
        changes,
    };
    let output = &front.output;
    match output.format {
        Format::Json => output.document("detect", &report)?,
        _ if args.explain => output.sheet(&readings(&detection.entities))?,
        _ => output.sheet(&sheet(&detection.entities))?,
    }
    if let (Some(path), Some(format)) = (&args.save_to, save_as) {
        export::save(&target, path, format, &report, args.no_deleted).await?;
    }
    remarks(front, args, &detection, changes);
    Ok(judge(args, &detection.entities, changes))
}

/// Makes a detection and stores it.
async fn make(front: &Front, args: &DetectArgs) -> std::result::Result<(Detection, Server), Stop> {
    let (context, progress) = front.open().await?;
    let request = DetectRequest {
        selection: args.choice.selection(),
        mode: args.mode.into(),
        since: args.since,
        max_concurrent: usize::from(args.max_concurrent),
        store: true,
        ..DetectRequest::default()
    };
    let detection = Box::pin(detect(&context, &request)).await;
    progress.finish().await;
    let detection = detection.map_err(|error| {
        error.state(
            "no target table was changed; the detection is not complete and will not be used",
        )
    })?;
    Ok((detection, context.target))
}

fn remarks(front: &Front, args: &DetectArgs, detection: &Detection, changes: u64) {
    let output = &front.output;
    for it in &detection.entities {
        if let Some(missed) = &it.reading.could_miss {
            let mode = it.reading.mode.word();
            output.remark(&format!("{}: {mode} mode can miss {missed}", it.entity));
        }
    }
    output.remark(&format!("detection {}", detection.detection_id));
    if changes == 0 {
        output.remark("no changes");
    } else if args.detection_id.is_none() {
        let next = format!("diffmig migrate --detection-id {}", detection.detection_id);
        output.remark(&format!("{} changes; apply them: {next}", count(changes)));
    }
}

/// The list as JSON.
#[derive(Serialize)]
struct Listed {
    detections: Vec<DetectionLine>,
}

async fn list(front: &Front) -> Ended {
    let detections = detections::list(&front.target()?).await?;
    let output = &front.output;
    if output.format == Format::Json {
        output.document("detect", &Listed { detections })?;
        return Ok(Ending::Done);
    }
    let mut sheet = Sheet::new([
        words("detection", "detectionId"),
        words("began", "startedAt"),
        words("mode", "mode"),
        numbers("entities", "entities"),
        numbers("new", "new"),
        numbers("modified", "modified"),
        numbers("deleted", "deleted"),
        words("state", "state"),
    ]);
    for it in &detections {
        let state = match it {
            DetectionLine { applied: true, .. } => "applied",
            it if it.finished_at.is_none() => "not complete",
            DetectionLine { outdated: true, .. } => "outdated",
            _ => "ready",
        };
        sheet.push([
            Cell::text(it.detection_id.to_string()),
            Cell::text(it.started_at.format("%Y-%m-%d %H:%M:%SZ").to_string()),
            Cell::text(&it.mode),
            Cell::count(it.entities),
            Cell::count(it.new),
            Cell::count(it.modified),
            Cell::count(it.deleted),
            Cell::text(state),
        ]);
    }
    output.sheet(&sheet)?;
    Ok(Ending::Done)
}

/// Makes rows that say how each entity was read.
fn readings(entities: &[DetectionCounts]) -> Sheet {
    let mut sheet = Sheet::new([
        words("entity", "entity"),
        words("mode", "mode"),
        words("because", "reason"),
        numbers("source", "sourceRows"),
        numbers("read", "rowsRead"),
        numbers("changes", "changes"),
        words("can miss", "couldMiss"),
    ]);
    for it in entities {
        let reading = &it.reading;
        sheet.push([
            Cell::text(&it.entity),
            Cell::text(reading.mode.word()),
            Cell::text(&reading.reason),
            Cell::count(it.source_rows),
            Cell::count(reading.rows_read),
            Cell::count(it.changes()),
            Cell::text(reading.could_miss.as_deref().unwrap_or("nothing")),
        ]);
    }
    sheet
}

fn judge(args: &DetectArgs, counts: &[DetectionCounts], changes: u64) -> Ending {
    if let Some(limit) = args.threshold {
        let over = counts.iter().filter(|it| it.changed_percent() > limit);
        let over: Vec<String> = over
            .map(|it| format!("{}: {:.1} % changed", it.entity, it.changed_percent()))
            .collect();
        if !over.is_empty() {
            let what = format!("more than {limit} % of {} changed", noun(over.len()));
            return Ending::Remark(
                Error::new(Kind::Guard, what)
                    .cause(over.join("\n"))
                    .state("the detection is stored; nothing was applied")
                    .next("if that is right, run diffmig migrate; else look at the source and the mapping"),
            );
        }
    }
    if args.exit_code && changes > 0 {
        return Ending::Differences;
    }
    Ending::Done
}

fn noun(entities: usize) -> String {
    match entities {
        1 => "one entity".to_owned(),
        number => format!("{number} entities"),
    }
}

/// Makes rows of counts.
pub fn sheet(entities: &[DetectionCounts]) -> Sheet {
    let mut sheet = Sheet::new([
        words("entity", "entity"),
        numbers("source", "sourceRows"),
        numbers("filtered", "filtered"),
        numbers("unchanged", "unchanged"),
        numbers("new", "new"),
        numbers("modified", "modified"),
        numbers("deleted", "deleted"),
        numbers("set aside", "setAside"),
        numbers("changed %", "changedPercent"),
    ]);
    let mut total = DetectionCounts::default();
    for it in entities {
        sheet.push([
            Cell::text(&it.entity),
            Cell::count(it.source_rows),
            Cell::count(it.filtered),
            Cell::count(it.unchanged),
            Cell::count(it.new),
            Cell::count(it.modified),
            Cell::count(it.deleted),
            Cell::count(it.set_aside),
            Cell::Decimal(it.changed_percent()),
        ]);
        total.unchanged += it.unchanged;
        total.new += it.new;
        total.modified += it.modified;
        total.deleted += it.deleted;
        total.set_aside += it.set_aside;
    }
    let percent = total.changed_percent();
    sheet.add_total(|name| (name == "changedPercent").then_some(Cell::Decimal(percent)));
    sheet
}
