//! `diffmig verify`.

use super::args::{EntityArgs, Format, percent};
use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use super::table::{Cell, Sheet, count, numbers, words};
use crate::domain::verification::{Certificate, EntityAccount};
use crate::error::{Error, Kind};
use crate::service::verify::{
    EntityVerification, Verification, VerifyRequest, certificate, verify,
};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

const EXAMPLES: &[&str] = &[
    "diffmig verify",
    "diffmig verify --entities clients --sample 5%",
    "diffmig verify --certificate proof.json",
    "diffmig verify --certificate proof.json --check",
];
const CODES: &[u8] = &[0, 1, 2, 3, 10, 12, 13, 14, 15, 17, 130];
/// Findings of an entity that are shown to people.
const SHOWN: usize = 10;

/// Prove that the target is what the mapping makes of the source, row by row; changes nothing
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, CODES))]
pub struct VerifyArgs {
    #[command(flatten)]
    choice: EntityArgs,

    /// Compare only this share of the keys, always the same ones
    #[arg(long, value_name = "PCT", value_parser = percent)]
    sample: Option<f64>,

    /// Write what was found to a file, as JSON with digests; it holds no keys and no values
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,

    /// Compare with the certificate in the file instead of writing it
    #[arg(long, requires = "certificate", conflicts_with_all = ["sample", "entities", "exclude"])]
    check: bool,

    /// Entities compared at the same time
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    max_concurrent: u8,
}

/// What is printed as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    snapshot_at: String,
    sample: Option<f64>,
    proved: bool,
    differences: u64,
    entities: &'a [EntityVerification],
    /// The entities whose rows are not those of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_since: Option<Vec<String>>,
}

/// Runs the command.
pub async fn run(front: &Front, args: &VerifyArgs) -> Ended {
    let (context, progress) = front.open().await?;
    let before = match (&args.certificate, args.check) {
        (Some(path), true) => Some(certificate::read(path, &context)?),
        _ => None,
    };
    let mut request = VerifyRequest {
        selection: args.choice.selection(),
        sample: args.sample,
        max_concurrent: usize::from(args.max_concurrent),
    };
    if let Some(before) = &before {
        request.sample = before.sample;
        request.selection.only = before.entities.iter().map(|it| it.entity.clone()).collect();
    }
    let verified = Box::pin(verify(&context, &request)).await;
    progress.finish().await;
    let verified = verified.map_err(|error| error.state("nothing was changed"))?;
    let changed_since = before.as_ref().map(|before| changed(before, &verified));
    let output = &front.output;
    let report = Report {
        snapshot_at: verified.snapshot_at.to_rfc3339(),
        sample: verified.sample,
        proved: verified.is_proved(),
        differences: verified.differences(),
        entities: &verified.entities,
        changed_since,
    };
    match output.format {
        Format::Json => output.document("verify", &report)?,
        _ => output.sheet(&sheet(&verified))?,
    }
    if output.format == Format::Table {
        show_findings(front, &verified);
    }
    if let (Some(path), false) = (&args.certificate, args.check) {
        certificate::write(path, &verified.certificate(&context))?;
        output.remark(&format!("certificate: {}", path.display()));
    }
    if let Some(changed) = &report.changed_since {
        output.remark(&match changed.as_slice() {
            [] => "the rows are those of the certificate".to_owned(),
            changed => format!("changed since the certificate: {}", changed.join(", ")),
        });
    }
    Ok(judge(&verified))
}

/// Names the entities whose rows are others than when the certificate was made.
fn changed(before: &Certificate, now: &Verification) -> Vec<String> {
    let digests = |it: &EntityAccount| (it.source_digest.clone(), it.target_digest.clone());
    let changed = now.entities.iter().filter(|it| {
        let known = before.entities.iter();
        let mut known = known.filter(|known| known.entity == it.account.entity);
        known.next().map(digests) != Some(digests(&it.account))
    });
    changed.map(|it| it.account.entity.clone()).collect()
}

fn judge(verified: &Verification) -> Ending {
    let accounts = || verified.entities.iter().map(|it| &it.account);
    let set_aside: u64 = accounts().map(|it| it.set_aside).sum();
    let differences = verified.differences();
    if differences == 0 && set_aside == 0 {
        return Ending::Done;
    }
    let what = match (differences, set_aside) {
        (0, aside) => format!(
            "all compared rows are equal; {} are set aside",
            count(aside)
        ),
        (found, 0) => format!("{} rows differ", count(found)),
        (found, aside) => format!(
            "{} rows differ, {} are set aside",
            count(found),
            count(aside)
        ),
    };
    let next = match differences {
        0 => "diffmig quarantine list",
        _ => "diffmig migrate, when the source has moved on; else diffmig explain ENTITY KEY",
    };
    let error = Error::new(Kind::Rejects, what).state("nothing was changed");
    Ending::Remark(error.next(next))
}

fn show_findings(front: &Front, verified: &Verification) {
    for it in verified
        .entities
        .iter()
        .filter(|it| !it.findings.is_empty())
    {
        for finding in it.findings.iter().take(SHOWN) {
            let column = finding.column.as_ref();
            let column = column.map(|it| format!(" in {it}")).unwrap_or_default();
            let (entity, kind) = (&it.account.entity, finding.kind.word());
            let line = format!("{entity} {}: {kind}{column}", finding.key);
            front.output.remark(&line);
        }
        let more = it.account.differences().saturating_sub(SHOWN as u64);
        if more > 0 {
            let line = format!("{}: {} more; see --json", it.account.entity, count(more));
            front.output.remark(&line);
        }
    }
    if let Some(percent) = verified.sample {
        front
            .output
            .remark(&format!("a sample of {percent} % of the keys"));
    }
}

fn sheet(verified: &Verification) -> Sheet {
    let mut sheet = Sheet::new([
        words("entity", "entity"),
        numbers("source", "sourceRows"),
        numbers("filtered", "filtered"),
        numbers("equal", "equal"),
        numbers("missing", "missing"),
        numbers("mismatching", "mismatching"),
        numbers("set aside", "setAside"),
        numbers("extraneous", "extraneous"),
        numbers("retired", "retired"),
        numbers("native", "native"),
        numbers("moved", "moved"),
    ]);
    for it in &verified.entities {
        let it = &it.account;
        sheet.push([
            Cell::text(&it.entity),
            Cell::count(it.source_rows),
            Cell::count(it.filtered),
            Cell::count(it.equal),
            Cell::count(it.missing),
            Cell::count(it.mismatching),
            Cell::count(it.set_aside),
            Cell::count(it.extraneous),
            Cell::count(it.retired),
            Cell::count(it.native),
            Cell::count(it.moved),
        ]);
    }
    sheet.add_total(|_| None);
    sheet
}
