//! What a migration did, in words and numbers.

use crate::cli::args::Format;
use crate::cli::failure::Stop;
use crate::cli::output::Output;
use crate::cli::table::{Cell, Sheet, count, numbers, rounded, seconds, words};
use crate::domain::detection::DetectionCounts;
use crate::domain::plan::Plan;
use crate::error::{Error, Kind};
use crate::service::migrate::MigrateReport;
use serde::Serialize;

/// The proof that no row was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Accounting {
    /// Rows of the source relations.
    pub source_rows: u64,
    /// Rows whose content is in the target.
    pub applied: i64,
    /// Rows set aside because they cannot be applied.
    pub quarantined: i64,
    /// Rows that wait for a parent.
    pub held: i64,
    /// Rows changed on both sides.
    pub conflicted: i64,
    /// Rows that the mapping leaves out.
    pub filtered: u64,
    /// Rows that were gone when they were read again.
    pub vanished: u64,
}

/// Adds the entities up.
pub fn accounting(report: &MigrateReport) -> Accounting {
    let mut sum = Accounting::default();
    for it in &report.entities {
        sum.source_rows += it.detected.source_rows;
        sum.filtered += it.detected.filtered;
        sum.applied += it.ledger.applied;
        sum.quarantined += it.ledger.quarantined;
        sum.held += it.ledger.held;
        sum.conflicted += it.ledger.conflicted;
        sum.vanished += it.vanished;
    }
    sum
}

impl Accounting {
    /// Says it in one line.
    pub fn line(&self) -> String {
        let mut line = format!(
            "accounting: {} source rows = {} applied or unchanged + {} quarantined + {} held + {} conflicted + {} filtered",
            count(self.source_rows),
            count(self.applied),
            count(self.quarantined),
            count(self.held),
            count(self.conflicted),
            count(self.filtered)
        );
        if self.vanished > 0 {
            let vanished = count(self.vanished);
            line.push_str(&format!(" (+ up to {vanished} that vanished meanwhile)"));
        }
        line
    }
}

/// The report with what adds up over all entities.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a MigrateReport,
    applied: i64,
    set_aside: i64,
    waived: i64,
    rows_per_sec: f64,
    accounting: Accounting,
}

/// What a dry run found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlanDocument<'a> {
    dry_run: bool,
    plan: &'a Plan,
    entities: &'a [DetectionCounts],
}

/// Makes rows of what the batches did.
pub fn sheet(report: &MigrateReport) -> Sheet {
    let mut sheet = Sheet::new([
        words("entity", "entity"),
        numbers("read", "rowsIn"),
        numbers("inserted", "inserted"),
        numbers("updated", "updated"),
        numbers("identical", "identical"),
        numbers("retired", "retired"),
        numbers("conflicted", "conflicted"),
        numbers("held", "held"),
        numbers("quarantined", "quarantined"),
    ]);
    for it in &report.entities {
        sheet.push([
            Cell::text(&it.entity),
            Cell::count(it.batches.rows_in),
            Cell::count(it.batches.inserted),
            Cell::count(it.batches.updated),
            Cell::count(it.batches.identical),
            Cell::count(it.batches.retired),
            Cell::count(it.batches.conflicted),
            Cell::count(it.batches.held),
            Cell::count(it.batches.quarantined),
        ]);
    }
    sheet.add_total(|_| None);
    sheet
}

/// Prints the report in the chosen format.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(output: &Output, report: &MigrateReport) -> Result<(), Stop> {
    let accounting = accounting(report);
    match output.format {
        Format::Json => output.document(
            "migrate",
            &Document {
                report,
                applied: report.applied(),
                set_aside: report.set_aside(),
                waived: report.waived(),
                rows_per_sec: report.rate(),
                accounting,
            },
        ),
        Format::Csv => output.sheet(&sheet(report)),
        Format::Table => {
            output.sheet(&sheet(report))?;
            output.data(&format!("{}\n", accounting.line()))
        }
    }
}

/// Says what was done in one line.
pub fn summary(report: &MigrateReport) -> String {
    let mut line = format!(
        "applied {} rows in {} ({} rows/s); {} set aside",
        count(report.applied()),
        seconds(report.elapsed_secs),
        rounded(report.rate()),
        count(report.set_aside())
    );
    if report.waived() > 0 {
        line.push_str(&format!(", {} waived", count(report.waived())));
    }
    line
}

/// Says which rows are set aside and where to look.
pub fn set_aside(report: &MigrateReport) -> Error {
    let sum = accounting(report);
    let what = format!("{} rows are set aside", count(report.set_aside()));
    let mut cause = format!(
        "{} quarantined, {} held, {} conflicted",
        count(sum.quarantined),
        count(sum.held),
        count(sum.conflicted)
    );
    if report.waived() > 0 {
        cause.push_str(&format!("; {} of them waived", count(report.waived())));
    }
    Error::new(Kind::Rejects, what)
        .cause(cause)
        .state("every other row is applied and committed")
        .next("diffmig quarantine list")
}

/// Prints what a dry run found.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_plan(output: &Output, plan: &Plan, entities: &[DetectionCounts]) -> Result<(), Stop> {
    if output.format == Format::Json {
        let document = PlanDocument {
            dry_run: true,
            plan,
            entities,
        };
        return output.document("migrate", &document);
    }
    let mut sheet = Sheet::new([
        words("entity", "entity"),
        numbers("wave", "wave"),
        numbers("new", "new"),
        numbers("modified", "modified"),
        numbers("deleted", "deleted"),
        words("after", "parents"),
        words("patched later", "deferred"),
        words("together", "knot"),
        words("target", "target"),
        words("source", "source"),
    ]);
    for (wave, planned) in (1_u32..).zip(&plan.waves) {
        for it in planned {
            let none = DetectionCounts::default();
            let found = entities.iter().find(|counts| counts.entity == it.entity);
            let counts = found.unwrap_or(&none);
            sheet.push([
                Cell::text(&it.entity),
                Cell::count(wave),
                Cell::count(counts.new),
                Cell::count(counts.modified),
                Cell::count(counts.deleted),
                Cell::text(it.parents.join(" ")),
                Cell::text(it.deferred.join(" ")),
                Cell::text(it.knot.join(" ")),
                Cell::text(&it.target),
                Cell::text(&it.source),
            ]);
        }
    }
    sheet.add_total(|name| (name == "wave").then_some(Cell::Empty));
    output.sheet(&sheet)
}
