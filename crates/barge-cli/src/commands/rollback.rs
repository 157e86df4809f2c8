//! `barge rollback`: back to an earlier release, at once, without a build.

use barge_api::{ReleaseView, RollbackRequest};
use barge_model::ReleaseId;

use crate::arguments::Globals;
use crate::failure::Failure;
use crate::follow::{Attach, Outline, conclude, follow};
use crate::session::{Target, change};
use crate::terminal::{Style, Terminal};

const EXAMPLES: &str = "\
Works in every state and needs nothing of a release that fails. Its last line says how to undo it.

Examples:
  barge rollback            to the release that served before; with one on its way, that one is taken back
  barge rollback --to 7     to release 7
  barge releases            which ones there are";

/// Go back to an earlier release
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The number or id of the release to go back to [default: the one before]
    #[arg(long, value_name = "RELEASE")]
    to: Option<String>,
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
    let to = match &args.to {
        Some(name) => Some(target.find_release(name).await?.id),
        None => None,
    };
    let serving = target.status().await?.stable;
    let serving = match &serving {
        Some(id) => Some(target.release(id).await?),
        None => None,
    };
    let request = RollbackRequest { to, reason: args.reason };
    let Target { environment, service, .. } = &target;
    let answer = change(async |key| target.client().rollback(environment, service, &request, key).await).await?;
    let Some(id) = answer.release.clone() else {
        return terminal.data(&answer, |_| answer.message.clone());
    };
    let activity = terminal.activity();
    activity.line(Style::Bold, &answer.message);
    drop(activity);
    let undo = undo(serving.as_ref(), &id).map(|rest| target.command(&rest));
    let release = target.release(&id).await?;
    let outline = follow(&target, release, &args.attach, None, &terminal).await?;
    conclude(&target, &Outline { undo, ..outline }, &terminal)
}

/// What takes the rollback back: the release that served, or, where a release was taken back that never served, making it again.
fn undo(serving: Option<&ReleaseView>, now: &ReleaseId) -> Option<String> {
    let serving = serving?;
    Some(if serving.id == *now { "deploy".to_owned() } else { format!("rollback --to {}", serving.number) })
}
