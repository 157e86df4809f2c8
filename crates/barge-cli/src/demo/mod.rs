//! `barge demo`: the whole way of a release, shown on this machine.

use crate::arguments::Globals;
use crate::failure::Failure;

/// Shows a whole release on this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) async fn run(_args: Args, _globals: &Globals) -> Result<(), Failure> {
    Ok(())
}
