//! `barge scale`: another number of instances.

use barge_api::{ScaleRequest, ServiceStatus};
use barge_model::Millis;
use barge_model::manifest::MAX_REPLICAS;
use barge_model::rollout::WaitingOn;
use futures_util::StreamExt;

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::session::Target;
use crate::terminal::{Activity, Terminal};

const EXAMPLES: &str = "\
While a release waits at its gate, only what serves is scaled; the release keeps its one instance.

Examples:
  barge scale 4
  barge scale 10 -e product --wait   stay until 10 instances are available";

/// Change the number of instances
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many instances there should be
    #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_REPLICAS)))]
    replicas: u32,
    /// Stay until so many are available
    #[arg(long)]
    wait: bool,
    /// The longest to stay
    #[arg(long, value_name = "TIME", default_value = "10m")]
    timeout: Millis,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let target = Target::open(globals, &terminal).await?;
    let request = ScaleRequest { replicas: args.replicas };
    let answer = target.client().scale(&target.environment, &target.service, &request).await?;
    if args.wait {
        let activity = terminal.activity();
        let wait = until_available(&target, args.replicas, &activity);
        tokio::time::timeout(args.timeout.as_duration(), wait).await.map_err(|_| {
            let what = format!("{target} does not have {} available instances after {}", args.replicas, args.timeout);
            Failure::new(Kind::TimedOut, what).hint(format!("`{}` shows why", target.command("status")))
        })??;
    }
    terminal.data(&answer, |_| answer.message.clone())
}

async fn until_available(target: &Target, replicas: u32, activity: &Activity) -> Result<(), Failure> {
    let mut stream = target.client().watch_status(&target.environment, &target.service).await?;
    while let Some(status) = stream.next().await {
        let status = status?;
        activity.now(&status.sentence);
        if reached(&status, replicas) {
            return Ok(());
        }
    }
    Err(Failure::new(Kind::Unreachable, "the server ended the status stream; the scaling goes on"))
}

fn reached(status: &ServiceStatus, replicas: u32) -> bool {
    let moving = matches!(status.waiting_on, WaitingOn::Stable { .. } | WaitingOn::Drain { .. });
    status.settled && status.replicas == replicas && status.available >= replicas && !moving
}
