//! `diffmig explain`.

use super::args::Format;
use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use super::table::{Cell, Sheet, words};
use crate::service::explain::{Explanation, NamedValue, explain};
use clap::Args;

const EXAMPLES: &[&str] = &[
    "diffmig explain clients 42",
    "diffmig explain staff '[7, \"a\"]'",
    "diffmig explain clients 42 --json",
];

/// Show one row with its values: source, mapping, target, ledger, and where they differ
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, help::READS))]
pub struct ExplainArgs {
    /// The entity
    #[arg(value_name = "ENTITY")]
    entity: String,

    /// The source key; a JSON array when it has several columns
    #[arg(value_name = "KEY", allow_negative_numbers = true)]
    key: String,

    /// Also show the SQL that makes each value
    #[arg(long)]
    sql: bool,
}

/// Runs the command.
pub async fn run(front: &Front, args: &ExplainArgs) -> Ended {
    let (context, progress) = front.open().await?;
    let explained = Box::pin(explain(&context, &args.entity, &args.key)).await;
    progress.finish().await;
    let explained = explained.map_err(|error| error.state("nothing was changed"))?;
    let output = &front.output;
    match output.format {
        Format::Json => output.document("explain", &explained)?,
        Format::Csv => output.sheet(&columns(&explained, args.sql))?,
        Format::Table => output.data(&text(&explained, args.sql))?,
    }
    Ok(Ending::Done)
}

fn shown(value: Option<&String>) -> Cell {
    Cell::text(value.map_or("NULL", String::as_str))
}

fn row(title: &str, missing: &str, values: &[NamedValue]) -> String {
    if values.is_empty() {
        return format!("{title}: {missing}\n\n");
    }
    let mut sheet = Sheet::new([words("column", "column"), words("value", "value")]);
    for it in values {
        sheet.push([Cell::text(&it.column), shown(it.value.as_ref())]);
    }
    format!("{title}\n{}\n", sheet.table())
}

fn columns(explained: &Explanation, with_sql: bool) -> Sheet {
    let mut heads = vec![
        words("column", "column"),
        words("line", "line"),
        words("mapped", "mapped"),
        words("in the target", "found"),
        words("equal", "equal"),
    ];
    if with_sql {
        heads.push(words("sql", "sql"));
    }
    let mut sheet = Sheet::new(heads);
    for it in &explained.columns {
        let equal = match it.equal {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let mut cells = vec![
            Cell::text(&it.column),
            Cell::text(it.line.to_string()),
            shown(it.mapped.as_ref()),
            shown(it.found.as_ref()),
            Cell::text(equal),
        ];
        if with_sql {
            cells.push(Cell::text(&it.sql));
        }
        sheet.push(cells);
    }
    sheet
}

fn text(explained: &Explanation, with_sql: bool) -> String {
    let mut text = row(
        &format!("source {} {}", explained.source, explained.key),
        "no such row",
        &explained.source_row,
    );
    if !explained.source_row.is_empty() && !explained.passes {
        text.push_str("the mapping leaves it out (`where` or an inner join)\n\n");
    }
    if let Some(fault) = &explained.fault {
        text.push_str(&format!("the mapping objects: {fault}\n\n"));
    }
    text.push_str(&format!("mapping {}\n", explained.entity));
    text.push_str(&columns(explained, with_sql).table());
    text.push('\n');
    let title = format!("target {}", explained.target);
    text.push_str(&row(&title, "no row of this key", &explained.target_row));
    match &explained.ledger {
        None => text.push_str("ledger: no batch has seen it\n"),
        Some(it) => {
            let gone = it
                .deleted_at
                .map(|at| format!(", gone since {}", at.format("%F %T UTC")));
            text.push_str(&format!(
                "ledger: {} by session {}, target id {}{}\n",
                it.outcome,
                it.session_number,
                it.target_id,
                gone.unwrap_or_default()
            ));
        }
    }
    if let Some(aside) = &explained.aside {
        text.push_str(&format!(
            "set aside: {} {} {} ({} times)\n",
            aside.status, aside.sqlstate, aside.reason, aside.attempts
        ));
    }
    for it in &explained.waits_for {
        text.push_str(&format!(
            "waits: {} for {} {}\n",
            it.column,
            it.parent_entity,
            it.written_parent_key()
        ));
    }
    text
}
