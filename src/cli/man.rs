//! `diffmig man`.

use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use crate::error::{Error, Kind};
use clap::Args;
use std::path::PathBuf;

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
    let Some(directory) = &args.directory else {
        let mut page = Vec::new();
        // Writing into memory cannot fail.
        let _ = clap_mangen::Man::new(super::command()).render(&mut page);
        front.output.data(&String::from_utf8_lossy(&page))?;
        return Ok(Ending::Done);
    };
    clap_mangen::generate_to(super::command(), directory).map_err(|error| {
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
