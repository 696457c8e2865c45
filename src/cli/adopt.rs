//! `diffmig adopt`.

use super::args::{EntityArgs, Format, duration};
use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use super::table::{Cell, Sheet, count, numbers, words};
use crate::domain::adopt::{AdoptFault, Differing, Tie};
use crate::domain::quarantine::written_key;
use crate::error::{Error, Kind};
use crate::service::adopt::{AdoptReport, AdoptRequest, adopt};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::time::Duration;

const EXAMPLES: &[&str] = &[
    "diffmig adopt --dry-run",
    "diffmig adopt",
    "diffmig adopt --entities clients,cases --differing source",
];
const CODES: &[u8] = &[0, 1, 2, 3, 10, 11, 12, 13, 15, 16, 17, 130];

/// What becomes of rows that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DifferingRows {
    /// As if they had been edited.
    Keep,
    /// As if they were stale.
    Source,
}

/// Enter rows that other scripts have moved into the ledgers, with the ids they have; no target row is written
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, CODES))]
pub struct AdoptArgs {
    #[command(flatten)]
    choice: EntityArgs,

    /// Print the same report; write nothing anywhere
    #[arg(long)]
    pub dry_run: bool,

    /// Rows that differ from the source count as edited, and the conflict policy decides (keep), or as stale, and
    /// the next migrate overwrites them (source)
    #[arg(long, value_name = "SIDE", value_enum, default_value_t = DifferingRows::Keep, hide_possible_values = true)]
    differing: DifferingRows,

    /// Rows of a batch
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_size: u32,

    /// How long to wait for another session, like 30s or 10m
    #[arg(long, value_name = "DUR", default_value = "0s", value_parser = duration)]
    wait_lock: Duration,
}

/// What is printed as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    #[serde(flatten)]
    report: &'a AdoptReport,
    adopted: u64,
    faults: u64,
}

/// Runs the command.
pub async fn run(front: &Front, args: &AdoptArgs) -> Ended {
    let (context, progress) = front.open().await?;
    let request = AdoptRequest {
        selection: args.choice.selection(),
        differing: match args.differing {
            DifferingRows::Keep => Differing::Keep,
            DifferingRows::Source => Differing::Source,
        },
        batch_size: usize::try_from(args.batch_size).unwrap_or(5_000),
        wait_lock: args.wait_lock,
        dry_run: args.dry_run,
    };
    let adopted = Box::pin(adopt(&context, &request)).await;
    progress.finish().await;
    let report = adopted?;
    let output = &front.output;
    match output.format {
        Format::Json => output.document(
            "adopt",
            &Report {
                report: &report,
                adopted: report.adopted(),
                faults: report.faults(),
            },
        )?,
        _ => output.sheet(&sheet(&report))?,
    }
    if output.format == Format::Table {
        say(front, &report, args.differing);
    }
    Ok(judge(&report))
}

fn judge(report: &AdoptReport) -> Ending {
    let faults = report.faults();
    if faults == 0 {
        return Ending::Done;
    }
    let state = match report.dry_run {
        true => "nothing was changed",
        false => "all other rows are adopted; no target row was changed",
    };
    let what = format!("{} claims on target rows do not hold", count(faults));
    let error = Error::new(Kind::Rejects, what).state(state);
    Ending::Remark(error.next("mend them and run diffmig adopt again; see docs/adopt.md"))
}

fn sheet(report: &AdoptReport) -> Sheet {
    let mut sheet = Sheet::new([
        words("entity", "entity"),
        words("tied by", "ties"),
        numbers("source", "sourceRows"),
        numbers("known", "known"),
        numbers("identical", "identical"),
        numbers("differing", "differing"),
        numbers("set aside", "setAside"),
        numbers("new", "new"),
        numbers("gone", "gone"),
        numbers("retired", "retired"),
        numbers("native", "native"),
    ]);
    for it in &report.entities {
        let ties: Vec<&str> = it.ties.iter().map(|it| Tie::word(*it)).collect();
        sheet.push([
            Cell::text(&it.entity),
            Cell::text(ties.join(", ")),
            Cell::count(it.source_rows),
            Cell::count(it.known),
            Cell::count(it.identical),
            Cell::count(it.differing),
            Cell::count(it.set_aside),
            Cell::count(it.new),
            Cell::count(it.gone),
            Cell::count(it.retired),
            Cell::count(it.native),
        ]);
    }
    sheet.add_total(|_| None);
    sheet
}

fn say(front: &Front, report: &AdoptReport, differing: DifferingRows) {
    let output = &front.output;
    for it in &report.entities {
        for finding in &it.findings {
            let keys: Vec<String> = finding.keys.iter().map(written_key).collect();
            let more = if finding.count > finding.keys.len() as u64 {
                ", ..."
            } else {
                ""
            };
            let what = match finding.kind {
                AdoptFault::Malformed => "target rows",
                _ => "keys",
            };
            let (number, reason) = (count(finding.count), finding.kind.reason());
            let keys = keys.join(", ");
            output.remark(&format!(
                "{} {}: {number}: {reason} ({what} {keys}{more})",
                it.entity,
                finding.kind.word()
            ));
        }
        if it.released > 0 {
            let number = count(it.released);
            output.remark(&format!(
                "{}: {number} keys are free to be inserted",
                it.entity
            ));
        }
        if it.ties.is_empty() {
            let name = &it.entity;
            output.remark(&format!("{name}: nothing ties its rows to source keys"));
        }
    }
    let differing_rows: u64 = report.entities.iter().map(|it| it.differing).sum();
    if differing_rows > 0 {
        output.remark(match differing {
            DifferingRows::Keep => {
                "rows that differ count as edited: migrate does with them what `conflict` says"
            }
            DifferingRows::Source => "rows that differ are overwritten by the next migrate",
        });
    }
}
