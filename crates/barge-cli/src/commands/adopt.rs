//! `barge adopt`: a service takes the place of a Deployment that was there before, without an interruption.

mod deployment;
mod follow;
mod registry;

use barge_adopt::{Asked, Who, environment_of, name_of_caller};
use barge_model::manifest::Kind as ServiceKind;
use barge_model::{EnvironmentName, Millis};
use clap::ValueEnum;
use kube::Client;

use self::registry::Registry;
use super::cluster::connection::{client, failure};
use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::replica::ClusterArgs;
use crate::terminal::{Terminal, now};

const EXAMPLES: &str = "\
The Deployment's image, command, variables, limits and readiness become a release. One instance of it starts beside the Deployment, and whoever sends \
requests to the Deployment's pods sends to it as well. Once that is approved, the others follow, and the Deployment gives up as many instances as are \
available in their place, until it has none. It stays, so that its place can be given back.

No platform is needed for that, only what `barge cluster install` puts there. It goes on when this command is ended.

Examples:
  barge adopt shop -n shop -e product            one instance beside the Deployment
  barge adopt shop -n shop --approve             it is good: the others follow
  barge adopt shop -n shop --undo                it is not, or was not: all of it back
  barge adopt shop -n shop --dry-run             what would be, and what would be lost";

/// Take the place of a Deployment of a cluster, without an interruption
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The Deployment
    #[arg(value_name = "DEPLOYMENT")]
    deployment: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Its namespace [default: the context's]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Let the others follow: the first instance is good
    #[arg(long, conflicts_with_all = ["undo", "dry_run"])]
    approve: bool,
    /// Give the place back: the Deployment comes back first, then the service goes
    #[arg(long, conflicts_with = "dry_run")]
    undo: bool,
    #[command(flatten)]
    differs: Differs,
    /// Go on without this part of the Deployment, which has no place in a service. May be said again
    #[arg(long, value_name = "PART")]
    accept: Vec<String>,
    /// Go on without all such parts
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    registry: Registry,
    /// Say what would be, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not stay until it is done
    #[arg(long)]
    no_wait: bool,
    /// The longest to stay; it goes on without us
    #[arg(long, value_name = "TIME", default_value = "15m")]
    timeout: Millis,
}

/// What a person says in the place of the Deployment.
#[derive(Debug, clap::Args)]
struct Differs {
    /// The container that is the service, where there are several
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// What starts it, in the image's working directory [default: as the Deployment and its image say]
    #[arg(long, value_name = "LINE")]
    command: Option<String>,
    /// The path of the readiness check [default: its readiness probe's]
    #[arg(long, value_name = "PATH")]
    healthcheck: Option<String>,
    /// Where it listens [default: where requests are sent to]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// What it is to its callers [default: web]
    #[arg(long, value_name = "KIND")]
    kind: Option<KindWord>,
}

/// The kinds of services, as people write them.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindWord {
    /// HTTP.
    Web,
    /// A protocol of its own.
    Rpc,
}

/// Where the Deployment is, and who asks.
struct Place {
    client: Client,
    namespace: String,
    terminal: Terminal,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let client = client(&args.cluster).await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let place = Place { client, namespace, terminal: Terminal::new(globals) };
    match () {
        () if args.approve => place.approve(&args).await,
        () if args.undo => place.undo(&args).await,
        () => place.adopt(&args, globals).await,
    }
}

impl Args {
    /// What to run next.
    fn again(&self, place: &Place, more: &str) -> String {
        format!("barge adopt {} -n {} {more}", self.deployment, place.namespace)
    }

    fn asked(&self) -> Result<Asked, Failure> {
        let command = self.differs.command.as_ref().map(|line| words(line)).transpose()?;
        let kind = self.differs.kind.map(|kind| match kind {
            KindWord::Web => ServiceKind::Web,
            KindWord::Rpc => ServiceKind::Rpc,
        });
        let (container, healthcheck) = (self.differs.container.clone(), self.differs.healthcheck.clone());
        Ok(Asked { container, command, healthcheck, port: self.differs.port, kind })
    }
}

/// The words of a line, as in barge.yaml.
fn words(line: &str) -> Result<Vec<String>, Failure> {
    let command: Result<barge_model::manifest::Command, _> = serde_json::from_value(line.into());
    let command = command.map_err(|error| Failure::from_error(Kind::Usage, &error).context("understand --command"));
    Ok(command?.0)
}

impl Place {
    async fn who(&self) -> Who {
        let name = name_of_caller(&self.client).await.unwrap_or_else(|| "unknown".to_owned());
        Who { name, now: now(), random: ulid::Ulid::new().random() }
    }

    /// Said, or else what the namespace says, by its label or by its name.
    async fn environment(&self, globals: &Globals) -> Result<EnvironmentName, Failure> {
        if let Some(said) = &globals.environment {
            return Ok(said.clone());
        }
        let labelled = environment_of(&self.client, &self.namespace).await.map_err(|error| failure(&error))?;
        let named = labelled.as_deref().or(self.namespace.strip_prefix("barge-"));
        named.and_then(|name| name.parse().ok()).ok_or_else(|| {
            Failure::new(Kind::Usage, format!("nothing says of which environment the namespace {} is", self.namespace))
                .hint("say it with --environment NAME, such as the one that a platform has on this cluster")
        })
    }
}
