//! The documentation, carried out: every block of commands in README and docs runs, or says why not.
//!
//! A comment in front of a block tells how: `<!-- runs: exit 3 -->`, `<!-- runs: on the source -->`,
//! `<!-- not run: why -->`. A comment at the head of
//! a page chooses what its commands find: `<!-- stage: migrated -->`.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod block;
mod output;
mod stage;

use block::{Block, Manner, blocks};
use stage::{Backdrop, Stage};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages with blocks of commands, by their path below the project.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "fixtures/README.md"]
        .map(PathBuf::from)
        .into();
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|it| Path::new("docs").join(it.unwrap().file_name()));
    pages.extend(docs.filter(|it| it.extension().is_some_and(|it| it == "md")));
    pages.sort();
    pages
}

fn read(page: &Path) -> String {
    std::fs::read_to_string(root().join(page)).unwrap()
}

/// Carries out the blocks of a page, one after the other, as one visitor would.
async fn carry_out(page: &str) {
    let text = read(Path::new(page));
    let mut stage = Stage::set(Backdrop::of(&text)).await;
    let mut faults = String::new();
    for block in blocks(&text) {
        let Manner::Run { exit, .. } = block.manner else {
            continue;
        };
        for step in &block.steps {
            if let Err(fault) = stage.perform(step, exit, block.steps.len() == 1).await {
                write!(
                    faults,
                    "\n{page}:{}: $ {}\n{fault}",
                    step.line, step.command
                )
                .unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn every_block_is_carried_out_or_says_why_not() {
    let mut faults = Vec::new();
    let mut run = BTreeSet::new();
    for page in pages() {
        let text = read(&page);
        let name = page.to_str().unwrap().to_owned();
        for Block { manner, line, .. } in blocks(&text) {
            match manner {
                Manner::Run { .. } => {
                    run.insert(name.clone());
                }
                Manner::NotRun { why } if why.split_whitespace().count() < 3 => {
                    faults.push(format!(
                        "{name}:{line}: not run, and that is no reason: {why}"
                    ));
                }
                Manner::NotRun { .. } => {}
            }
        }
    }
    let carried: BTreeSet<String> = CARRIED_OUT.iter().map(|it| (*it).to_owned()).collect();
    let forgotten = run.difference(&carried);
    faults.extend(forgotten.map(|it| format!("{it}: no test carries it out")));
    let empty = carried.difference(&run);
    faults.extend(empty.map(|it| format!("{it}: has nothing to carry out")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// One test for each page, so that they run side by side.
macro_rules! book {
    ($($test:ident = $page:literal),* $(,)?) => {
        const CARRIED_OUT: &[&str] = &[$($page),*];
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                carry_out($page).await;
            }
        )*
    };
}

book! {
    the_readme = "README.md",
    first_night = "docs/first-night.md",
    daily_sync = "docs/daily-sync.md",
    recovery = "docs/recovery.md",
    cutover = "docs/cutover.md",
    adoption = "docs/adopt.md",
    control_schema = "docs/control-schema.md",
    cron = "docs/cron.md",
    detection = "docs/detection.md",
    drafts = "docs/init.md",
    runbook = "docs/runbook.md",
    supabase = "docs/supabase.md",
    verification = "docs/verify.md",
}

/// The first cells of the rows of a page's tables that hold words of the program, in pieces between placeholders.
fn quoted_messages(page: &str) -> Vec<Vec<String>> {
    let cells = page.lines().filter_map(|line| {
        let cell = line.strip_prefix("| `")?;
        Some(cell.split_once('`')?.0)
    });
    let pieces = cells.map(|cell| {
        let mut pieces = vec![String::new()];
        for word in cell.split(' ') {
            let letters: String = word.chars().filter(|c| c.is_alphabetic()).collect();
            let is_placeholder = !letters.is_empty()
                && letters.chars().all(char::is_uppercase)
                && letters != "JSON"
                && letters != "NULL"
                && letters != "ID";
            if is_placeholder || letters == "ID" {
                pieces.push(String::new());
                continue;
            }
            let piece = pieces.last_mut().unwrap();
            if !piece.is_empty() {
                piece.push(' ');
            }
            piece.push_str(word);
        }
        pieces.retain(|it| !it.is_empty());
        pieces
    });
    pieces.collect()
}

#[test]
fn every_message_that_is_explained_is_one_of_the_program() {
    let mut sources = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                sources.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let messages = quoted_messages(&read(Path::new("docs/troubleshooting.md")));
    assert!(messages.len() > 30, "{messages:?}");
    let unknown: Vec<_> = messages
        .iter()
        .filter(|pieces| {
            let says_all =
                |text: &&String| pieces.iter().all(|piece| text.contains(piece.as_str()));
            !sources.iter().any(|it| says_all(&it))
        })
        .collect();
    assert!(unknown.is_empty(), "nothing says: {unknown:#?}");
}
