//! `diffmig quarantine`.

use super::args::Format;
use super::failure::{Ended, Ending, Stop};
use super::front::Front;
use super::help;
use super::output::Output;
use super::table::{Cell, Sheet, count, numbers, words};
use crate::context::Server;
use crate::service::quarantine::{
    MarkReport, QuarantineFilter, ReasonTotal, RowDetail, SetAside, list, retry, show, summary,
    waive,
};
use clap::builder::NonEmptyStringValueParser as Word;
use clap::{Args, Subcommand};
use serde::Serialize;

mod choice;

use choice::Standing;

const EXAMPLES: &[&str] = &[
    "diffmig quarantine list --summary",
    "diffmig quarantine show profiles 28",
    "diffmig quarantine retry --entity profiles --key 28 && diffmig migrate",
    "diffmig quarantine waive profiles 28 29",
];
const LIST_EXAMPLES: &[&str] = &[
    "diffmig quarantine list",
    "diffmig quarantine list --summary",
    "diffmig quarantine list --entity tickets --status held",
    "diffmig quarantine list --reason 23505 --output csv",
];
const SHOW_EXAMPLES: &[&str] = &[
    "diffmig quarantine show tickets 31",
    "diffmig quarantine show rates '[\"de\", \"2024-01-31\"]'",
];
const RETRY_EXAMPLES: &[&str] = &[
    "diffmig quarantine retry --entity profiles --key 28 && diffmig migrate",
    "diffmig quarantine retry --reason 'a trigger'",
];
const WAIVE_EXAMPLES: &[&str] = &[
    "diffmig quarantine waive profiles 23 24",
    "diffmig quarantine waive --entity notices --reason 22P02",
];
const WAIVE_USAGE: &str = "diffmig quarantine waive [OPTIONS] <ENTITY> <KEY>...\n       \
     diffmig quarantine waive [OPTIONS] --entity <ENTITY> [--reason <TEXT>]";

/// Look at the rows that are set aside, try them again, or accept that they stay out
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
#[command(after_help = help::of_command(EXAMPLES, help::MARKS))]
pub struct QuarantineArgs {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Subcommand)]
enum Deed {
    /// List the rows that are set aside, by entity and key, or count them by reason
    #[command(after_help = help::of_command(LIST_EXAMPLES, help::LOOKS))]
    List(ListArgs),
    /// Show one row: why it is set aside, what it waits for and what the ledger says; never its values
    #[command(after_help = help::of_command(SHOW_EXAMPLES, help::LOOKS))]
    Show(ShowArgs),
    /// Let the next migrate try rows again although their source rows have not changed
    ///
    /// For when the obstacle was in the target: another row, a constraint, a trigger. Without flags every row that is
    /// not waived is meant. Deletions in conflict are left alone, they have no source row that could be read again.
    #[command(after_help = help::of_command(RETRY_EXAMPLES, help::MARKS))]
    Retry(RetryArgs),
    /// Accept that rows stay out: they are still counted, but migrate no longer ends with 3 because of them
    ///
    /// A waived row that changes in the source is judged anew, and so is one that is named by `quarantine retry --key`.
    #[command(after_help = help::of_command(WAIVE_EXAMPLES, help::LOOKS), override_usage = WAIVE_USAGE)]
    Waive(WaiveArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only this entity
    #[arg(long, value_name = "ENTITY", value_parser = Word::new())]
    entity: Option<String>,

    /// Only rows with this text in their reason, or with this SQLSTATE
    #[arg(long, value_name = "TEXT", value_parser = Word::new())]
    reason: Option<String>,

    /// Only rows that are open, held, conflict or waived, or all, those that were resolved as well [default: open, held
    /// and conflict]
    #[arg(long, value_name = "STATUS", value_enum, hide_possible_values = true)]
    status: Option<Standing>,

    /// At most so many rows [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "summary")]
    limit: Option<u32>,

    /// Count them by entity, status, SQLSTATE and reason
    #[arg(long)]
    summary: bool,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The entity
    #[arg(value_name = "ENTITY", value_parser = Word::new())]
    entity: String,

    /// The key as text, or a JSON array for a key of several columns
    #[arg(value_name = "KEY", allow_negative_numbers = true)]
    key: String,
}

#[derive(Debug, Args)]
struct RetryArgs {
    /// Only this entity
    #[arg(long, value_name = "ENTITY", value_parser = Word::new())]
    entity: Option<String>,

    /// Only this key, waived or not; a JSON array for a key of several columns; may be repeated
    #[arg(
        long = "key",
        value_name = "KEY",
        requires = "entity",
        allow_negative_numbers = true
    )]
    keys: Vec<String>,

    /// Only rows with this text in their reason, or with this SQLSTATE
    #[arg(long, value_name = "TEXT", value_parser = Word::new())]
    reason: Option<String>,
}

#[derive(Debug, Args)]
struct WaiveArgs {
    /// The entity of the keys
    #[arg(value_name = "ENTITY", value_parser = Word::new())]
    #[arg(
        required_unless_present = "whole",
        conflicts_with = "whole",
        requires = "keys"
    )]
    entity: Option<String>,

    /// Keys as text, or as JSON arrays for a key of several columns
    #[arg(value_name = "KEY", allow_negative_numbers = true)]
    keys: Vec<String>,

    /// All rows of this entity that are set aside
    #[arg(long = "entity", value_name = "ENTITY", value_parser = Word::new())]
    whole: Option<String>,

    /// Of those, only rows with this text in their reason, or with this SQLSTATE
    #[arg(long, value_name = "TEXT", value_parser = Word::new(), requires = "whole")]
    reason: Option<String>,
}

/// The rows, and how many there are without the limit.
#[derive(Serialize)]
struct Listed<'a> {
    total: i64,
    rows: &'a [SetAside],
}

/// The counts by reason.
#[derive(Serialize)]
struct Summed<'a> {
    total: i64,
    summary: &'a [ReasonTotal],
}

/// What was done to the rows.
#[derive(Serialize)]
struct Done<'a> {
    deed: &'static str,
    #[serde(flatten)]
    report: &'a MarkReport,
}

/// Runs the command.
pub async fn run(front: &Front, args: &QuarantineArgs) -> Ended {
    let server = front.target()?;
    let output = &front.output;
    match &args.deed {
        Deed::List(args) if args.summary => print_summary(output, &server, args).await,
        Deed::List(args) => print_list(output, &server, args).await,
        Deed::Show(args) => {
            let detail = show(&server, &args.entity, &args.key).await?;
            print_detail(output, &detail)?;
            Ok(Ending::Done)
        }
        Deed::Retry(args) => {
            let filter = QuarantineFilter {
                entity: args.entity.clone(),
                reason: args.reason.clone(),
            };
            let report = retry(&server, &filter, &args.keys).await?;
            print_retry(output, &report).map_err(|stop| stop.state("the rows are marked"))?;
            Ok(Ending::Done)
        }
        Deed::Waive(args) => {
            let filter = QuarantineFilter {
                entity: args.entity.clone().or_else(|| args.whole.clone()),
                reason: args.reason.clone(),
            };
            let report = waive(&server, &filter, &args.keys).await?;
            print_waive(output, &report).map_err(|stop| stop.state("the rows are waived"))?;
            Ok(Ending::Done)
        }
    }
}

impl ListArgs {
    fn filter(&self) -> QuarantineFilter {
        QuarantineFilter {
            entity: self.entity.clone(),
            reason: self.reason.clone(),
        }
    }
}

async fn print_list(output: &Output, server: &Server, args: &ListArgs) -> Ended {
    let limit = args.limit.map(i64::from);
    let statuses = Standing::statuses(args.status);
    let (rows, total) = list(server, &args.filter(), statuses, limit).await?;
    match output.format {
        Format::Json => output.document("quarantine", &Listed { total, rows: &rows })?,
        Format::Csv => output.sheet(&every_field(&rows))?,
        Format::Table => output.sheet(&sheet(&rows))?,
    }
    let shown = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    if shown < total {
        output.remark(&format!("{} of {} rows", count(shown), count(total)));
    } else {
        output.remark(&format!("{} rows", count(total)));
    }
    Ok(Ending::Done)
}

fn sheet(rows: &[SetAside]) -> Sheet {
    let mut sheet = Sheet::new([
        words("entity", "entity"),
        words("key", "key"),
        words("status", "status"),
        words("sqlstate", "sqlstate"),
        words("constraint", "constraint"),
        words("reason", "reason"),
        numbers("attempts", "attempts"),
        words("since", "createdAt"),
    ]);
    for it in rows {
        sheet.push([
            Cell::text(&it.entity),
            Cell::text(it.written_key()),
            Cell::text(&it.status),
            Cell::text(&it.sqlstate),
            Cell::text(it.constraint.clone().unwrap_or_default()),
            Cell::text(&it.reason),
            Cell::count(it.attempts),
            Cell::text(it.created_at.format("%F %T").to_string()),
        ]);
    }
    sheet
}

/// The fields of the JSON document, for spreadsheets.
fn every_field(rows: &[SetAside]) -> Sheet {
    let mut sheet = Sheet::new([
        words("entity", "entity"),
        words("key", "key"),
        words("status", "status"),
        words("sqlstate", "sqlstate"),
        words("constraint", "constraint"),
        words("reason", "reason"),
        numbers("attempts", "attempts"),
        words("first session", "firstSession"),
        words("last session", "lastSession"),
        words("since", "createdAt"),
        words("changed", "updatedAt"),
    ]);
    for it in rows {
        sheet.push([
            Cell::text(&it.entity),
            Cell::text(it.written_key()),
            Cell::text(&it.status),
            Cell::text(&it.sqlstate),
            Cell::text(it.constraint.clone().unwrap_or_default()),
            Cell::text(&it.reason),
            Cell::count(it.attempts),
            Cell::text(it.first_session.to_string()),
            Cell::text(it.last_session.to_string()),
            Cell::text(it.created_at.to_rfc3339()),
            Cell::text(it.updated_at.to_rfc3339()),
        ]);
    }
    sheet
}

async fn print_summary(output: &Output, server: &Server, args: &ListArgs) -> Ended {
    let summary = summary(server, &args.filter(), Standing::statuses(args.status)).await?;
    if output.format == Format::Json {
        let total = summary.iter().map(|it| it.rows).sum();
        let summed = Summed {
            total,
            summary: &summary,
        };
        output.document("quarantine", &summed)?;
        return Ok(Ending::Done);
    }
    let mut sheet = Sheet::new([
        words("entity", "entity"),
        words("status", "status"),
        words("sqlstate", "sqlstate"),
        words("reason", "reason"),
        numbers("rows", "rows"),
    ]);
    for it in &summary {
        sheet.push([
            Cell::text(&it.entity),
            Cell::text(&it.status),
            Cell::text(&it.sqlstate),
            Cell::text(&it.reason),
            Cell::count(it.rows),
        ]);
    }
    sheet.add_total(|_| None);
    output.sheet(&sheet)?;
    Ok(Ending::Done)
}

fn print_detail(output: &Output, detail: &RowDetail) -> Result<(), Stop> {
    match output.format {
        Format::Json => output.document("quarantine", detail),
        Format::Csv => output.sheet(&every_field(std::slice::from_ref(&detail.row))),
        Format::Table => output.data(&page(detail)),
    }
}

fn page(detail: &RowDetail) -> String {
    let row = &detail.row;
    let mut text = format!("{} {}: {}\n", row.entity, row.written_key(), row.status);
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<14} {value}\n"));
    line("sqlstate", &row.sqlstate);
    if let Some(constraint) = &row.constraint {
        line("constraint", constraint);
    }
    line("reason", &row.reason);
    line("attempts", &row.attempts.to_string());
    line("first session", &row.first_session.to_string());
    line("last session", &row.last_session.to_string());
    line("since", &row.created_at.format("%F %T UTC").to_string());
    line("changed", &row.updated_at.format("%F %T UTC").to_string());
    for it in &detail.waits_for {
        let parent = format!("{} {}", it.parent_entity, it.written_parent_key());
        let status = it.parent_status.as_deref();
        let status = status.map_or_else(String::new, |it| format!(", itself {it}"));
        line(
            "waits for",
            &format!("{parent} (column {}{status})", it.column),
        );
    }
    let Some(ledger) = &detail.ledger else {
        return text;
    };
    line("outcome", &ledger.outcome);
    let place = match (ledger.in_target, ledger.outcome.as_str()) {
        (false, _) => ", not there",
        (true, "applied") => "",
        (true, _) => ", with older content",
    };
    line("target id", &format!("{}{place}", ledger.target_id));
    if let Some(at) = ledger.deleted_at {
        line("gone since", &at.format("%F %T UTC").to_string());
    }
    if ledger.retried {
        line("next", "the next migrate tries it again");
    }
    text
}

/// Prints what was marked, by entity.
fn print_marked(
    output: &Output,
    deed: &'static str,
    heading: &'static str,
    report: &MarkReport,
) -> Result<(), Stop> {
    if output.format == Format::Json {
        return output.document("quarantine", &Done { deed, report });
    }
    let mut sheet = Sheet::new([
        words("entity", "entity"),
        numbers(heading, "rows"),
        numbers("left alone", "leftAlone"),
    ]);
    for it in &report.entities {
        sheet.push([
            Cell::text(&it.entity),
            Cell::count(it.rows),
            Cell::count(it.left_alone),
        ]);
    }
    sheet.add_total(|_| None);
    output.sheet(&sheet)
}

fn print_retry(output: &Output, report: &MarkReport) -> Result<(), Stop> {
    print_marked(output, "retry", "to be tried", report)?;
    if report.left_alone > 0 {
        let left = count(report.left_alone);
        output.remark(&format!(
            "{left} rows were left alone: deleted in the source and changed in the target"
        ));
    }
    output.remark(match report.rows {
        0 => "no row is tried again",
        _ => "the next diffmig migrate tries them again",
    });
    Ok(())
}

fn print_waive(output: &Output, report: &MarkReport) -> Result<(), Stop> {
    print_marked(output, "waive", "waived", report)?;
    output.remark(match report.rows {
        0 => "no row was waived",
        _ => "they stay out; diffmig quarantine list --status waived shows them",
    });
    Ok(())
}
