//! `diffmig doctor`.

use super::args::{EntityArgs, Format, duration};
use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use super::progress::Progress;
use super::table::{Cell, Sheet, count, words};
use crate::domain::doctor::server::{Pooling, ServerFacts};
use crate::domain::doctor::{Finding, FoundValue, Severity};
use crate::domain::identifier::printable;
use crate::error::{Error, Kind};
use crate::service::doctor::{Diagnosis, DoctorRequest, doctor};
use clap::Args;
use std::time::Duration;

const EXAMPLES: &[&str] = &[
    "diffmig doctor",
    "diffmig doctor --entities clients,tickets --strict",
    "diffmig doctor --json | jq -r '.findings[] | select(.side == \"target\") | .mend[]'",
];

/// Look for everything that would stop or spoil a migration, and say how to mend it; changes nothing
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, &[0, 1, 2, 10, 12, 13, 14, 15, 17, 130]))]
pub struct DoctorArgs {
    #[command(flatten)]
    choice: EntityArgs,

    /// Let warnings decide the exit code too
    #[arg(long)]
    strict: bool,

    /// How long one look may take, like 30s or 5m; 0 for as long as it needs
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    timeout: Duration,

    /// Entities that the migration will work on at the same time
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    max_concurrent: u8,
}

/// Runs the command.
pub async fn run(front: &Front, args: &DoctorArgs) -> Ended {
    let parts = front.parts()?;
    let request = DoctorRequest {
        selection: args.choice.selection(),
        max_concurrent: args.max_concurrent,
        limit: args.timeout,
        ..DoctorRequest::default()
    };
    let output = &front.output;
    let progress = Progress::start(output);
    let diagnosis = Box::pin(doctor(&request, parts, &progress.events())).await;
    progress.finish().await;
    let diagnosis = diagnosis?;
    match output.format {
        Format::Json => output.document("doctor", &diagnosis)?,
        Format::Csv => output.sheet(&sheet(&diagnosis.findings))?,
        Format::Table => output.data(&text(&diagnosis))?,
    }
    let sum = sum(&diagnosis);
    let Some(kind) = diagnosis.verdict(args.strict) else {
        output.remark(&format!("{sum}; a migration can begin"));
        return Ok(Ending::Done);
    };
    Ok(Ending::Remark(obstacle(&diagnosis, kind, &sum)))
}

fn sum(diagnosis: &Diagnosis) -> String {
    let counted = |number: usize, word: &str| match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    };
    format!(
        "{}, {}, {}",
        counted(diagnosis.blockers, "blocker"),
        counted(diagnosis.warnings, "warning"),
        counted(diagnosis.notes, "note")
    )
}

/// What decides the exit code: the blockers, or with `--strict` the warnings.
fn obstacle(diagnosis: &Diagnosis, kind: Kind, sum: &str) -> Error {
    let (severity, what) = match diagnosis.ready {
        false => (Severity::Blocker, "a migration cannot begin"),
        true => (
            Severity::Warning,
            "a migration can begin, but not with --strict",
        ),
    };
    let own = diagnosis
        .findings
        .iter()
        .filter(|it| it.severity == severity);
    let mut codes: Vec<&str> = own.map(|it| it.code).collect();
    codes.dedup();
    Error::new(kind, what)
        .cause(format!("{sum}: {}", codes.join(", ")))
        .state("nothing was changed")
        .next("mend what stands above, then run diffmig doctor again")
}

fn sheet(findings: &[Finding]) -> Sheet {
    let mut sheet = Sheet::new(vec![
        words("severity", "severity"),
        words("side", "side"),
        words("code", "code"),
        words("entity", "entity"),
        words("object", "object"),
        words("found", "found"),
        words("mend", "mend"),
        words("values", "values"),
    ]);
    for it in findings {
        sheet.push(vec![
            Cell::text(it.severity.word()),
            Cell::text(it.side.word()),
            Cell::text(it.code),
            Cell::text(it.entity.as_deref().unwrap_or_default()),
            Cell::text(it.object.as_deref().unwrap_or_default()),
            Cell::text(&it.found),
            Cell::text(it.mend.join("\n")),
            Cell::text(values(&it.values)),
        ]);
    }
    sheet
}

/// Writes values with the rows that have them: `9 (12 rows), '' (1 row)`.
fn values(found: &[FoundValue]) -> String {
    let shown = found.iter().map(|it| {
        let value = match it.value.as_deref() {
            None => "longer texts".to_owned(),
            Some("") => "''".to_owned(),
            Some(value) => printable(value),
        };
        let rows = i128::from(it.rows);
        let noun = if rows == 1 { "row" } else { "rows" };
        format!("{value} ({} {noun})", count(rows))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// One line per server, then what was found.
fn text(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for it in &diagnosis.servers {
        text.push_str(&format!("{:7} {}\n", it.side.word(), server(it)));
    }
    let mut before = None;
    for it in &diagnosis.findings {
        let head = (it.severity, it.side, it.code);
        if before != Some(head) {
            let severity = match it.severity {
                Severity::Blocker => "BLOCKER",
                other => other.word(),
            };
            text.push_str(&format!("\n{severity} {} {}\n", it.side.word(), it.code));
        }
        before = Some(head);
        text.push_str(&item(it));
    }
    text
}

fn server(it: &ServerFacts) -> String {
    let mut parts = vec![format!("PostgreSQL {}", it.version)];
    if it.standby {
        parts.push("standby".to_owned());
    }
    let role = match (it.superuser, it.bypasses_row_security) {
        (true, _) => "superuser",
        (false, true) => "bypasses row security",
        (false, false) => "ordinary role",
    };
    parts.push(role.to_owned());
    parts.push(it.tls.clone().unwrap_or_else(|| "no TLS".to_owned()));
    if it.pooling == Pooling::Session {
        parts.push("behind a pooler in session mode".to_owned());
    }
    parts.push(it.encoding.clone());
    format!("{}: {}", printable(&it.address), parts.join(", "))
}

fn item(it: &Finding) -> String {
    let about = match (&it.entity, &it.object) {
        (Some(entity), Some(object)) => format!("{} ({}): ", printable(object), printable(entity)),
        (Some(name), None) | (None, Some(name)) => format!("{}: ", printable(name)),
        (None, None) => String::new(),
    };
    let mut text = String::new();
    for (index, line) in it.found.lines().enumerate() {
        let lead = if index == 0 { about.as_str() } else { "  " };
        text.push_str(&format!("  {lead}{line}\n"));
    }
    if !it.values.is_empty() {
        text.push_str(&format!("    values: {}\n", values(&it.values)));
    }
    for line in &it.mend {
        text.push_str(&format!("    {line}\n"));
    }
    text
}
