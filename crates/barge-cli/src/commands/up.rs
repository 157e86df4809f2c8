//! `barge up`: the platform on this machine.

use crate::arguments::Globals;
use crate::failure::Failure;

/// Runs the platform on this machine until Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) async fn run(_args: Args, _globals: &Globals) -> Result<(), Failure> {
    Ok(())
}
