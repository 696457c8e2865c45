//! `diffmig schema`.

use super::args::Format;
use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use super::table::{Cell, Sheet, words};
use crate::domain::drift::Severity;
use crate::domain::identifier::printable;
use crate::error::{Error, Kind};
use crate::service::schema::{
    DiffRequest, Problem, SchemaDiff, SchemaSuggestion, SeenAt, SuggestRequest, diff, suggest,
    write,
};
use clap::{Args, Subcommand};
use std::path::PathBuf;

const EXAMPLES: &[&str] = &[
    "diffmig schema diff",
    "diffmig schema suggest --write suggested && patch -p0 < suggested/diffmig.toml.patch",
];
const DIFF_EXAMPLES: &[&str] = &[
    "diffmig schema diff",
    "diffmig schema diff --json | jq '.changes[] | select(.severity != \"harmless\")'",
    "diffmig schema diff --accept",
];
const SUGGEST_EXAMPLES: &[&str] = &[
    "diffmig schema suggest",
    "diffmig schema suggest --ignore-new",
    "diffmig schema suggest --write suggested && patch -p0 < suggested/diffmig.toml.patch",
];

/// See how both databases have changed since the last migration, and what the mapping needs because of that
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
#[command(after_help = help::of_command(EXAMPLES, help::READS))]
pub struct SchemaArgs {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Subcommand)]
enum Deed {
    /// Compare tables, columns, types, labels, keys and constraints with what the last session saw
    ///
    /// Ends with 0 when nothing changed or nothing has to be done, and with 13 when a change breaks the mapping or
    /// would leave rows or values out.
    #[command(after_help = help::of_command(DIFF_EXAMPLES, help::READS))]
    Diff(DiffArgs),
    /// Print a patch of the mapping and SQL for the target that would make both fit; nothing is carried out
    #[command(after_help = help::of_command(SUGGEST_EXAMPLES, help::READS))]
    Suggest(SuggestArgs),
}

#[derive(Debug, Args)]
struct DiffArgs {
    /// Take what is there now as known, so that it is not reported again; needs a mapping that fits
    #[arg(long)]
    accept: bool,
}

#[derive(Debug, Args)]
struct SuggestArgs {
    /// Write the patch and the SQL as new files into this directory
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,

    /// List new columns of the source in `ignore` instead of mapping them
    #[arg(long)]
    ignore_new: bool,
}

/// Runs the command.
pub async fn run(front: &Front, args: &SchemaArgs) -> Ended {
    match &args.deed {
        Deed::Diff(args) => run_diff(front, args).await,
        Deed::Suggest(args) => run_suggest(front, args).await,
    }
}

async fn run_diff(front: &Front, args: &DiffArgs) -> Ended {
    let request = DiffRequest {
        accept: args.accept,
    };
    let found = Box::pin(diff(front.survey().await?, &request)).await?;
    let output = &front.output;
    match output.format {
        Format::Json => output.document("schema diff", &found)?,
        _ => output.sheet(&sheet(&found))?,
    }
    output.remark(&seen(&found));
    if found.changes.is_empty() && found.source.is_some() {
        output.remark("nothing has changed");
    }
    if let Some(patch) = found.mapping_patch.as_deref().filter(|it| !it.is_empty()) {
        match output.verbose {
            0 => output.remark("the mapping has changed since it was applied (-v shows how)"),
            _ => output.remark(&format!(
                "the mapping has changed since it was applied:\n{patch}"
            )),
        }
    }
    if found.accepted {
        output.remark("what is there now is known from now on");
    }
    match found.needs_care() {
        true => Ok(Ending::Remark(care(&found))),
        false => Ok(Ending::Done),
    }
}

/// Says what was compared with what.
fn seen(found: &SchemaDiff) -> String {
    let side = |name: &str, seen: Option<&SeenAt>| match seen {
        None => format!(
            "{name}: no session has ended well yet, so it is compared with the mapping alone"
        ),
        Some(seen) => {
            let by = match seen.session {
                Some(number) => format!("session {number}"),
                None => "schema diff --accept".to_owned(),
            };
            format!(
                "{name}: compared with what {by} saw at {}",
                seen.seen_at.format("%F %T UTC")
            )
        }
    };
    match (&found.source, &found.target) {
        (None, None) => side("both", None),
        (source, target) => format!(
            "{}\n{}",
            side("source", source.as_ref()),
            side("target", target.as_ref())
        ),
    }
}

fn care(found: &SchemaDiff) -> Error {
    let number = |severity| {
        found
            .changes
            .iter()
            .filter(|it| it.severity == severity)
            .count()
    };
    let (breaking, loss) = (number(Severity::Breaking), number(Severity::Loss));
    let what = match (breaking, found.problems.len()) {
        (0, 0) => format!("{loss} of the changes would leave rows or values out"),
        (0, 1) => "the mapping does not fit: 1 problem".to_owned(),
        (0, problems) => format!("the mapping does not fit: {problems} problems"),
        (breaking, _) => {
            format!("{breaking} of the changes break the mapping, {loss} would leave something out")
        }
    };
    let grave = found
        .changes
        .iter()
        .filter(|it| it.severity > Severity::Harmless);
    let mut lines: Vec<String> = grave
        .map(|it| {
            let reason = it
                .reason
                .as_ref()
                .map(|it| format!(": {it}"))
                .unwrap_or_default();
            let fix = it
                .fix
                .as_ref()
                .map(|it| format!("; {it}"))
                .unwrap_or_default();
            format!("{}{reason}{fix}", it.what)
        })
        .collect();
    lines.extend(found.problems.iter().map(problem));
    Error::new(Kind::Drift, what)
        .cause(lines.join("\n"))
        .state("nothing was changed")
        .next("diffmig schema suggest prints what would make it fit")
}

fn problem(it: &Problem) -> String {
    let hint = it
        .hint
        .as_ref()
        .map(|it| format!(" ({it})"))
        .unwrap_or_default();
    printable(&format!(
        "line {}: {}: {}{hint}",
        it.line, it.path, it.message
    ))
}

/// Makes rows of the changes.
fn sheet(found: &SchemaDiff) -> Sheet {
    let mut sheet = Sheet::new([
        words("severity", "severity"),
        words("side", "side"),
        words("table", "table"),
        words("name", "name"),
        words("change", "kind"),
        words("was", "was"),
        words("now", "now"),
        words("entities", "entities"),
    ]);
    let text = |it: &Option<String>| Cell::text(printable(it.as_deref().unwrap_or_default()));
    for it in &found.changes {
        sheet.push([
            Cell::text(it.severity.word()),
            Cell::text(it.side),
            Cell::text(&it.table),
            text(&it.name),
            Cell::text(it.kind),
            text(&it.was),
            text(&it.now),
            Cell::text(it.entities.join(" ")),
        ]);
    }
    sheet
}

async fn run_suggest(front: &Front, args: &SuggestArgs) -> Ended {
    let request = SuggestRequest {
        ignore_new: args.ignore_new,
    };
    let mut found = Box::pin(suggest(front.survey().await?, &request)).await?;
    if let Some(directory) = &args.write {
        write(&mut found, directory)?;
    }
    let output = &front.output;
    match output.format {
        Format::Json => output.document("schema suggest", &found)?,
        Format::Csv => output.sheet(&files(&found))?,
        Format::Table if args.write.is_some() => {
            let names = found.written.iter().map(|it| format!("{}\n", it.display()));
            output.data(&names.collect::<String>())?;
        }
        Format::Table => output.data(&script(&found))?,
    }
    for note in &found.notes {
        output.remark(&format!("decide: {note}"));
    }
    if found.mapping.is_none() && found.sql.is_none() && found.left.is_empty() {
        output.remark("the mapping fits: there is nothing to suggest");
    }
    if args.write.is_some() && found.mapping.is_some() {
        output.remark(
            "read both, then: patch -p0 < the patch, and the SQL into the target's migrations",
        );
    }
    if found.left.is_empty() {
        return Ok(Ending::Done);
    }
    let lines: Vec<String> = found.left.iter().map(problem).collect();
    let what = match lines.len() {
        1 => "1 problem is left for you".to_owned(),
        many => format!("{many} problems are left for you"),
    };
    Ok(Ending::Remark(
        Error::new(Kind::Drift, what)
            .cause(lines.join("\n"))
            .state("nothing was changed")
            .next("correct the mapping by hand; diffmig schema suggest can be run again"),
    ))
}

fn script(found: &SchemaSuggestion) -> String {
    let mut text = String::new();
    for file in [&found.mapping, &found.sql].into_iter().flatten() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&file.text);
    }
    text
}

fn files(found: &SchemaSuggestion) -> Sheet {
    let mut sheet = Sheet::new([words("file", "name"), words("text", "text")]);
    for file in [&found.mapping, &found.sql].into_iter().flatten() {
        sheet.push([Cell::text(&file.name), Cell::text(&file.text)]);
    }
    sheet
}
