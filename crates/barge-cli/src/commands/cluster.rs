//! `barge cluster`: what a Kubernetes cluster needs before services can run on it.

mod check;
pub(super) mod connection;
mod image;
mod install;
mod uninstall;

use clap::Subcommand;

use crate::arguments::Globals;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  barge cluster install --registry registry.example/barge   or upgrade: what runs goes on
  barge cluster check                                       what is there, what is missing, what is too old
  barge cluster install --registry R --dry-run > barge.yaml for kubectl apply -f
  barge cluster uninstall                                   services and what runs stay";

/// Install Barge on a Kubernetes cluster, look at it, take it back
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Install(Box<install::Args>),
    Check(check::Args),
    Uninstall(uninstall::Args),
    Image(image::Args),
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    match args.action {
        Action::Install(args) => install::run(*args, globals).await,
        Action::Check(args) => check::run(args, globals).await,
        Action::Uninstall(args) => uninstall::run(args, globals).await,
        Action::Image(args) => image::run(args, globals).await,
    }
}
