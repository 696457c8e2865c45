//! The diffmig command.

use std::process::ExitCode;

fn main() -> ExitCode {
    diffmig::cli::main()
}
