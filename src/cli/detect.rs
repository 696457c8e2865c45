//! `diffmig detect`.

use super::args::{EntityArgs, Format, percent};
use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use super::table::{Cell, Sheet, count, numbers, words};
use crate::domain::detection::{DetectMode, Detection, DetectionCounts};
use crate::error::{Error, Kind, Result};
use crate::service::detect::{DetectRequest, detect};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};

const EXAMPLES: &[&str] = &[
    "diffmig detect",
    "diffmig detect --entities clients,tickets --threshold 5%",
    "diffmig detect --exit-code --quiet; test $? -eq 4 && diffmig migrate",
];
const CODES: &[u8] = &[0, 1, 2, 4, 10, 12, 13, 14, 15, 17, 130];

/// How to read the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The cheapest mode that misses nothing.
    Auto,
    /// Every row.
    Full,
}

/// Find new, modified and deleted rows and store them under a detection id; changes no target table
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, CODES))]
pub struct DetectArgs {
    #[command(flatten)]
    choice: EntityArgs,

    /// How to read the source: auto (the cheapest mode that misses nothing) or full (every row)
    #[arg(long, value_enum, default_value_t = Mode::Auto, hide_possible_values = true)]
    mode: Mode,

    /// Leave deleted rows out of the output, of --threshold and of --exit-code; the stored detection keeps them
    #[arg(long)]
    no_deleted: bool,

    /// End with exit code 14 when more than this share of an entity changed
    #[arg(long, value_name = "PCT", value_parser = percent)]
    threshold: Option<f64>,

    /// Also write the counts to a file, as .json or .csv
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
    let output = &front.output;
    let save_as = args.save_to.as_deref().map(file_format).transpose()?;
    if args.mode == Mode::Auto {
        output.remark("reading in full because this version has no watermark yet");
    }
    let (context, progress) = front.open().await?;
    let request = DetectRequest {
        selection: args.choice.selection(),
        mode: match args.mode {
            Mode::Auto => DetectMode::Auto,
            Mode::Full => DetectMode::Full,
        },
        max_concurrent: usize::from(args.max_concurrent),
        store: true,
    };
    let detection = Box::pin(detect(&context, &request)).await;
    progress.finish().await;
    let mut detection = detection.map_err(|error| {
        error.state(
            "no target table was changed; the detection is not complete and will not be used",
        )
    })?;
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
    if output.format == Format::Json {
        output.document("detect", &report)?;
    } else {
        output.sheet(&sheet(&detection.entities))?;
    }
    if let (Some(path), Some(format)) = (&args.save_to, save_as) {
        save(path, format, &report)?;
    }
    output.remark(&format!("detection {}", detection.detection_id));
    if changes > 0 {
        let next = format!("diffmig migrate --detection-id {}", detection.detection_id);
        output.remark(&format!("{} changes; apply them: {next}", count(changes)));
    } else {
        output.remark("no changes");
    }
    Ok(judge(args, &detection.entities, changes))
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

fn file_format(path: &Path) -> Result<Format> {
    match path.extension().and_then(|it| it.to_str()) {
        Some("json") => Ok(Format::Json),
        Some("csv") => Ok(Format::Csv),
        _ => Err(Error::new(
            Kind::Usage,
            format!("cannot tell the format of {}", path.display()),
        )
        .state("nothing was started")
        .next("let the name end in .json or .csv")),
    }
}

fn save(path: &Path, format: Format, report: &Report<'_>) -> Result<()> {
    let text = match format {
        Format::Csv => sheet(&report.detection.entities).csv(),
        _ => super::output::document_text("detect", report)?,
    };
    std::fs::write(path, text).map_err(|error| {
        Error::new(Kind::Usage, format!("cannot write {}", path.display()))
            .cause(error.to_string())
            .state("the detection is stored; nothing was applied")
            .next("choose another file")
    })
}
