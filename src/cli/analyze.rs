//! `diffmig analyze`.

use super::args::{EntityArgs, Format};
use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use super::table::{Cell, Column, Sheet, numbers, words};
use crate::service::analyze::{Baseline, BaselineStatus, analyze};
use clap::Args;

const EXAMPLES: &[&str] = &[
    "diffmig analyze",
    "diffmig analyze --entities clients,tickets --verbose",
    "diffmig analyze --json | jq '.entities[] | select(.status != \"synced\")'",
];

/// Compare the counts of source, ledger and target; changes nothing
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, help::READS))]
pub struct AnalyzeArgs {
    #[command(flatten)]
    choice: EntityArgs,
}

/// Runs the command.
pub async fn run(front: &Front, args: &AnalyzeArgs) -> Ended {
    let (context, progress) = front.open().await?;
    let baseline = Box::pin(analyze(&context, &args.choice.selection())).await;
    progress.finish().await;
    let baseline = baseline?;
    let output = &front.output;
    if output.format == Format::Json {
        output.document("analyze", &baseline)?;
    } else {
        output.sheet(&sheet(&baseline, output.verbose > 0))?;
    }
    match baseline.last_migration_at {
        Some(at) => output.remark(&format!("last migration: {}", at.format("%F %T UTC"))),
        None => output.remark("last migration: none"),
    }
    Ok(Ending::Done)
}

/// Returns the word of a status.
pub fn word(status: BaselineStatus) -> &'static str {
    match status {
        BaselineStatus::Synced => "synced",
        BaselineStatus::Behind => "behind",
        BaselineStatus::Ahead => "ahead",
        BaselineStatus::Missing => "missing",
    }
}

/// Makes rows of a baseline; `with_relations` adds what is read and written.
pub fn sheet(baseline: &Baseline, with_relations: bool) -> Sheet {
    let mut columns: Vec<Column> = vec![words("entity", "entity")];
    if with_relations {
        columns.extend([words("source", "source"), words("target", "target")]);
    }
    columns.extend([
        numbers("source rows", "sourceRows"),
        numbers("filtered", "filtered"),
        numbers("target rows", "targetRows"),
        numbers("applied", "applied"),
        numbers("quarantined", "quarantined"),
        numbers("held", "held"),
        numbers("conflicted", "conflicted"),
        numbers("gap", "gap"),
        words("status", "status"),
    ]);
    let mut sheet = Sheet::new(columns);
    for it in &baseline.entities {
        let mut row = vec![Cell::text(&it.entity)];
        if with_relations {
            row.extend([Cell::text(&it.source), Cell::text(&it.target)]);
        }
        row.extend([
            Cell::count(it.source_rows),
            Cell::count(it.filtered),
            Cell::count(it.target_rows),
            Cell::count(it.ledger.applied),
            Cell::count(it.ledger.quarantined),
            Cell::count(it.ledger.held),
            Cell::count(it.ledger.conflicted),
            Cell::count(it.gap),
            Cell::text(word(it.status)),
        ]);
        sheet.push(row);
    }
    let overall = if baseline.is_synced() { "synced" } else { "" };
    sheet.add_total(|name| (name == "status").then(|| Cell::text(overall)));
    sheet
}
