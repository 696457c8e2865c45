//! `diffmig completions`.

use super::failure::{Ended, Ending};
use super::front::Front;
use super::help;
use clap::Args;
use clap_complete::{Shell, generate};

const EXAMPLES: &[&str] = &[
    "diffmig completions bash > ~/.local/share/bash-completion/completions/diffmig",
    "diffmig completions zsh > ~/.zfunc/_diffmig",
    "diffmig completions fish > ~/.config/fish/completions/diffmig.fish",
];

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, &[0, 2, 15]))]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub async fn run(front: &Front, args: &CompletionsArgs) -> Ended {
    let mut text = Vec::new();
    generate(args.shell, &mut super::command(), "diffmig", &mut text);
    front.output.data(&String::from_utf8_lossy(&text))?;
    Ok(Ending::Done)
}
