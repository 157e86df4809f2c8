//! `barge completions`: what shells need to complete our command line.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::{Globals, Line};
use crate::failure::Failure;
use crate::terminal::write_out;

const EXAMPLES: &str = "\
Examples:
  barge completions bash > ~/.local/share/bash-completion/completions/barge
  barge completions zsh > ~/.zfunc/_barge          (with fpath+=~/.zfunc before compinit)
  barge completions fish > ~/.config/fish/completions/barge.fish";

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: Args, _globals: &Globals) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Line::command(), "barge", &mut script);
    write_out(&script)
}
