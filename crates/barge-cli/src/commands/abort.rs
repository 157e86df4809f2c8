//! `barge abort`: a release is taken back, or the held instance of a failed one let go.

use barge_api::{AbortRequest, ReleaseView, ServiceStatus};
use barge_model::rollout::{InstancePhase, Outcome};

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::session::Target;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
What served before goes on serving. After a failed start the held instance is let go.

Examples:
  barge abort                           the release that is on its way
  barge abort 12 --reason 'too slow'    release 12 and no other";

/// Take back a release that is on its way
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The release's number or id [default: the one that is on its way, else the failed one with a held instance]
    release: Option<String>,
    /// Why; shown in the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let target = Target::open(globals, &terminal).await?;
    let release = match &args.release {
        Some(name) => target.find_release(name).await?,
        None => on_its_way(&target, &target.status().await?).await?,
    };
    let request = AbortRequest { reason: args.reason };
    let answer = target.client().abort(&target.environment, &target.service, &release.id, &request).await?;
    terminal.data(&answer, |_| answer.message.clone())
}

async fn on_its_way(target: &Target, status: &ServiceStatus) -> Result<ReleaseView, Failure> {
    let held = |id: &barge_model::ReleaseId| {
        status.instances.iter().any(|view| view.release == *id && view.phase == InstancePhase::Held)
    };
    let failed = status
        .finished
        .iter()
        .rev()
        .find(|finished| matches!(finished.outcome, Outcome::Failed { .. }) && held(&finished.release));
    let candidate = status.candidate.as_ref().map(|candidate| &candidate.release);
    match candidate.or(failed.map(|finished| &finished.release)) {
        Some(id) => target.release(id).await,
        None => Err(Failure::new(Kind::Refused, format!("no release of {target} is on its way"))
            .hint(format!("`{}` goes back to the release before", target.command("rollback")))),
    }
}
