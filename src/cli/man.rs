//! `diffmig man`.

use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use crate::error::{Error, Kind};
use clap::{Args, Command};
use std::path::{Path, PathBuf};

const EXAMPLES: &[&str] = &[
    "diffmig man | man -l -",
    "diffmig man ~/.local/share/man/man1",
];

/// Print the manual page, or write one page per command into a directory
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, &[0, 2, 15]))]
pub struct ManArgs {
    /// Where to write the pages; it must exist [default: print the main page]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(front: &Front, args: &ManArgs) -> Ended {
    let mut command = super::command();
    command.build();
    let Some(directory) = &args.directory else {
        front.output.data(&page(&command).1)?;
        return Ok(Ending::Done);
    };
    write(&command, directory).map_err(|error| {
        Error::new(
            Kind::Usage,
            format!("cannot write manual pages into {}", directory.display()),
        )
        .cause(error.to_string())
        .next("name a directory that exists and can be written")
    })?;
    front
        .output
        .remark(&format!("manual pages written to {}", directory.display()));
    Ok(Ending::Done)
}

/// Writes the page of a command and those of its subcommands.
fn write(command: &Command, directory: &Path) -> std::io::Result<()> {
    let (name, text) = page(command);
    std::fs::write(directory.join(name), text)?;
    command
        .get_subcommands()
        .filter(|it| !it.is_hide_set())
        .try_for_each(|it| write(it, directory))
}

/// Renders a page; returns the name of its file as well.
fn page(command: &Command) -> (String, String) {
    let man = clap_mangen::Man::new(command.clone())
        .source(concat!("diffmig ", env!("CARGO_PKG_VERSION")))
        .manual("diffmig");
    let mut bytes = Vec::new();
    // Writing into memory cannot fail.
    let _ = man.render(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    (man.get_filename(), with_sections(&text))
}

/// Makes sections of what stands below the flags, with their lines as they are.
fn with_sections(text: &str) -> String {
    let Some((before, extra)) = text.split_once(".SH EXTRA\n") else {
        return text.to_owned();
    };
    let mut page = before.to_owned();
    for line in extra.lines() {
        match line {
            "EXAMPLES" => page.push_str(".SH EXAMPLES\n.nf\n"),
            "EXIT STATUS" => page.push_str(".fi\n.SH \"EXIT STATUS\"\n.nf\n"),
            // An empty line would end the section with a gap.
            "" => {}
            line => page.push_str(&format!("{}\n", line.trim_start())),
        }
    }
    page + ".fi\n"
}
