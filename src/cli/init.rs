//! `diffmig init`.

use super::args::Format;
use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use super::table::{Cell, Sheet, numbers, words};
use crate::domain::draft::EntityDraft;
use crate::error::{Error, Kind, Result};
use crate::service::init::{InitReport, InitRequest, init};
use clap::Args;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

const EXAMPLES: &[&str] = &[
    "diffmig init",
    "diffmig init --config shop.toml --schema legacy --time-zone America/Denver",
    "diffmig init --force --json | jq '.entities[] | {entity, source, score}'",
];

/// Write a draft of the mapping from what both databases look like; changes neither
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, &[0, 1, 2, 10, 12, 13, 14, 15, 130]))]
pub struct InitArgs {
    /// The schema of the source
    #[arg(long, value_name = "NAME", default_value = "public")]
    schema: String,

    /// The schema of the target
    #[arg(long, value_name = "NAME", default_value = "public")]
    target_schema: String,

    /// What times without a time zone mean [default: as the source's settings suggest]
    #[arg(long, value_name = "NAME")]
    time_zone: Option<String>,

    /// Read no values: otherwise the distinct values of columns that hold codes are written into the draft
    #[arg(long)]
    no_codes: bool,

    /// Replace the file when it exists
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Written<'a> {
    config: &'a Path,
    #[serde(flatten)]
    report: &'a InitReport,
}

/// Runs the command.
pub async fn run(front: &Front, args: &InitArgs) -> Ended {
    let path = &front.globals.config;
    if !args.force && path.symlink_metadata().is_ok() {
        return Err(occupied(path).into());
    }
    let request = InitRequest {
        source_schema: args.schema.clone(),
        target_schema: args.target_schema.clone(),
        time_zone: args.time_zone.clone(),
        read_codes: !args.no_codes,
    };
    let report = Box::pin(init(front.pair()?, &request)).await?;
    write(path, &report.text, args.force)?;
    let output = &front.output;
    if output.format == Format::Json {
        let config = path;
        output.document(
            "init",
            &Written {
                config,
                report: &report,
            },
        )?;
    } else {
        output.sheet(&sheet(&report))?;
    }
    output.remark(&format!("wrote {}", path.display()));
    if report.problems.is_empty() {
        output.remark("read it through, then: diffmig migrate --dry-run");
        return Ok(Ending::Done);
    }
    for problem in &report.problems {
        let line = format!(
            "{}:{}: {}: {}",
            path.display(),
            problem.line,
            problem.key,
            problem.message
        );
        output.remark(&crate::domain::identifier::printable(&line));
    }
    let count = report.problems.len();
    let places = if count == 1 {
        "place needs"
    } else {
        "places need"
    };
    output.remark(&format!("{count} {places} a word from you; look for TODO"));
    Ok(Ending::Done)
}

fn sheet(report: &InitReport) -> Sheet {
    let mut sheet = Sheet::new(vec![
        words("entity", "entity"),
        words("source", "source"),
        words("target", "target"),
        numbers("score", "score"),
        numbers("rules", "rules"),
        numbers("ignored", "ignored"),
        numbers("to do", "todo"),
    ]);
    let count = |number: usize| Cell::count(i128::try_from(number).unwrap_or(i128::MAX));
    for it in &report.draft.entities {
        let EntityDraft { source, target, .. } = it;
        sheet.push(vec![
            Cell::text(&it.entity),
            Cell::text(source.to_string()),
            Cell::text(target.to_string()),
            Cell::text(format!("{:.2}", it.score)),
            count(it.columns.len()),
            count(it.ignore.len()),
            count(it.todo.len()),
        ]);
    }
    sheet
}

fn occupied(path: &Path) -> Error {
    Error::new(Kind::Usage, format!("{} exists already", path.display()))
        .state("nothing was written")
        .next("name another file with --config, or replace it with --force")
}

/// Writes the file whole or not at all; a file that came up meanwhile is not replaced without being asked.
fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let unwritable = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => occupied(path),
        _ => Error::new(Kind::Usage, format!("cannot write {}", path.display()))
            .cause(error.to_string())
            .state("nothing was written")
            .next("name another file with --config"),
    };
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let partial = PathBuf::from(name);
    let written = File::create_new(&partial).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // A link fails where a file is; a rename would replace it. Not every file system has links.
        match fs::hard_link(&partial, path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && !force => Err(error),
            Err(_) => fs::rename(&partial, path),
        }
    });
    // After a rename it is gone already.
    let _ = fs::remove_file(&partial);
    written.map_err(unwritable)
}
