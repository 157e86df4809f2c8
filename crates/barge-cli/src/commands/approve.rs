//! `barge approve`: the release is good; the remaining instances follow.

use barge_api::{ApprovalRequest, ReleaseView, ServiceStatus};
use barge_model::Millis;
use barge_model::rollout::Phase;

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::follow::{Attach, Goal, Left, Outline, conclude, follow};
use crate::session::Target;
use crate::terminal::{Terminal, ago, now};

const EXAMPLES: &str = "\
The approval is stored and names the release and its image's digest; it holds for no other one.

Examples:
  barge approve                   the release that waits at the gate
  barge approve 12                release 12 and no other
  barge approve --wait complete   stay until all instances run it";

/// Let the remaining instances of a release follow
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The release's number or id [default: the one at the gate]
    release: Option<String>,
    /// Until when to stay with the release
    #[arg(long, value_name = "GOAL")]
    wait: Option<Goal>,
    /// The longest to stay; the release goes on without us
    #[arg(long, value_name = "TIME", default_value = "30m")]
    timeout: Millis,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let target = Target::open(globals, &terminal).await?;
    let status = target.status().await?;
    let (release, open) = match &args.release {
        Some(name) => (target.find_release(name).await?, false),
        None => at_gate(&target, &status).await?,
    };
    if open {
        terminal.note(&format!("release {} was approved already", release.number));
    } else {
        let short = release.digest.short();
        let made = ago(release.created_at, now());
        terminal.note(&format!("approving release {} ({short}, by {}, {made})", release.number, release.created_by));
        let request = ApprovalRequest { digest: release.digest.clone() };
        let answer = target.client().approve(&target.environment, &target.service, &release.id, &request).await?;
        terminal.note(&answer.message);
    }
    let outline = match args.wait {
        Some(wait) => {
            let attach = Attach { wait, detach: false, timeout: args.timeout };
            follow(&target, release, &attach, Some(&status), &terminal).await?
        }
        None => Outline { result: Left::Approved, release, status: None, undo: None },
    };
    let first = status.stable.is_none();
    let undo = (outline.result == Left::Complete && !first).then(|| target.command("rollback"));
    conclude(&target, &Outline { undo, ..outline }, &terminal)
}

/// The release at the gate, and whether it has passed it already.
async fn at_gate(target: &Target, status: &ServiceStatus) -> Result<(ReleaseView, bool), Failure> {
    let Some(candidate) = &status.candidate else {
        return Err(Failure::new(Kind::Refused, format!("no release of {target} waits for approval"))
            .hint(format!("`{}` shows how it stands", target.command("status"))));
    };
    let release = target.release(&candidate.release).await?;
    match candidate.phase {
        Phase::Starting => {
            let what = format!("release {} is not at its gate yet: {}", release.number, status.sentence);
            Err(Failure::new(Kind::Refused, what)
                .hint(format!("`{}` shows when it is", target.command("status --watch"))))
        }
        Phase::Gate => Ok((release, false)),
        Phase::Progressing { .. } | Phase::Pausing { .. } => Ok((release, true)),
    }
}
