//! `barge restart`: every instance anew, by the same steps as a release.

use barge_api::RestartRequest;

use crate::arguments::Globals;
use crate::failure::Failure;
use crate::follow::{Attach, conclude, follow};
use crate::session::{Target, change};
use crate::terminal::{Style, Terminal};

const EXAMPLES: &str = "\
A restart is a release of what runs already: one instance first, the gate, the rest; no request is lost.

Examples:
  barge restart
  barge restart --wait complete --reason 'new certificates'";

/// Start every instance anew
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Why; shown in the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    attach: Attach,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let target = Target::open(globals, &terminal).await?;
    let request = RestartRequest { reason: args.reason };
    let Target { environment, service, .. } = &target;
    let answer = change(async |key| target.client().restart(environment, service, &request, key).await).await?;
    let Some(id) = answer.release.clone() else {
        return terminal.data(&answer, |_| answer.message.clone());
    };
    let activity = terminal.activity();
    activity.line(Style::Bold, &answer.message);
    drop(activity);
    let release = target.release(&id).await?;
    let outline = follow(&target, release, &args.attach, None, &terminal).await?;
    conclude(&target, &outline, &terminal)
}
