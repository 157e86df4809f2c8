//! `barge cluster install`: brings a cluster to this version, the first time and ever after.

use std::time::Duration;

use barge_cluster::apply::{Applied, ApplyError, apply};
use barge_cluster::available::{WaitError, wait};
use barge_cluster::{NAMESPACE, Object, Settings, render, token, yaml};
use barge_image::Reference;
use barge_model::Millis;
use serde::Serialize;

use super::connection::{client, failure};
use super::image::{self, Push};
use crate::arguments::Globals;
use crate::commands::gateway::domain;
use crate::failure::{Failure, Kind};
use crate::replica::ClusterArgs;
use crate::terminal::{Style, Terminal, write_out};

const EXAMPLES: &str = "\
What is installed: the definitions of WebService and RpcService, and in the namespace barge-system the operator, the registrar and the gateway, \
each with no more rights than it needs. They run from an image of this very program, which is built and pushed first. Installing again upgrades: \
services and what runs are left alone.

Examples:
  barge cluster install --registry registry.example/barge
  barge cluster install --registry registry.example/barge --pull-secret harbor --domain apps.example.com
  barge cluster install --image registry.example/barge@sha256:...  one that was pushed before
  barge cluster install --registry registry.example/barge --dry-run | kubectl diff -f -";

/// Install or upgrade what services need on a cluster
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Where the image of this program is pushed, and pulled from by nodes
    #[arg(long, value_name = "HOST/REPOSITORY", required_unless_present = "image")]
    registry: Option<String>,
    #[command(flatten)]
    push: Push,
    /// An image of this version that is in a registry already (see `barge cluster image`)
    #[arg(long, value_name = "IMAGE@DIGEST", conflicts_with = "registry")]
    image: Option<Reference>,
    /// A Secret for pulling images; it has to be in barge-system and where services are. May be said again
    #[arg(long = "pull-secret", value_name = "NAME")]
    pull_secrets: Vec<String>,
    /// The only namespace for services; roles are for that one alone then [default: any]
    #[arg(long, value_name = "NAMESPACE")]
    namespace_of_services: Option<String>,
    /// Services answer at SERVICE.ENVIRONMENT.DOMAIN
    #[arg(long, value_name = "DOMAIN", default_value = "localhost", value_parser = domain)]
    domain: String,
    /// Print what would be applied, as YAML; push and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not wait until everything runs
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Wait until everything runs; the default
    #[arg(long)]
    wait: bool,
    /// The longest to wait
    #[arg(long, value_name = "TIME", default_value = "5m")]
    timeout: Millis,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    image: String,
    objects: usize,
    removed: Vec<String>,
    /// Whether everything was seen to run.
    available: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let (image, architecture) = image(&args, &terminal).await?;
    let settings = Settings {
        image: image.clone(),
        architecture,
        pull_secrets: args.pull_secrets.clone(),
        services: args.namespace_of_services.clone(),
        domain: args.domain.clone(),
    };
    let objects = render(&settings).map_err(|error| Failure::from_error(Kind::General, &error))?;
    if args.dry_run {
        return print(&objects, &terminal);
    }
    let client = client(&args.cluster).await?;
    let activity = terminal.activity();
    activity.now("applying");
    let Applied { applied, removed } =
        apply(&client, &objects, barge_server::new_secret).await.map_err(|error| refused(&error))?;
    activity.line(Style::Plain, &format!("applied {applied} objects"));
    removed
        .iter()
        .for_each(|object| activity.line(Style::Dim, &format!("removed the {object}, which is not needed any more")));
    if !args.no_wait {
        activity.now("waiting until everything runs");
        wait(&client, Duration::from_millis(args.timeout.0)).await.map_err(|error| not_there(&error))?;
        activity.line(Style::Green, "everything runs");
    }
    drop(activity);
    let answer = Answer { image, objects: applied, removed, available: !args.no_wait };
    terminal
        .data(&answer, |_| format!("Barge {} is installed. `barge cluster check` looks at it", barge_cluster::VERSION))
}

/// The image to run from, and the kind of machine that it is for, as far as that is known.
async fn image(args: &Args, terminal: &Terminal) -> Result<(String, Option<String>), Failure> {
    let registry = match (&args.image, &args.registry) {
        (Some(image), _) if image.version.starts_with("sha256:") => return Ok((image.to_string(), None)),
        (Some(image), _) => {
            return Err(Failure::new(
                Kind::Usage,
                format!("{image} names no digest; what a tag means may change at any time"),
            )
            .hint("write it as IMAGE@sha256:..., as `barge cluster image` prints it"));
        }
        (None, Some(registry)) => registry,
        (None, None) => return Err(Failure::new(Kind::Usage, "neither --registry nor --image is given")),
    };
    let activity = terminal.activity();
    let built = image::build(registry, &activity).await?;
    if !args.dry_run {
        image::push(&built, registry, &args.push, &activity).await?;
    }
    Ok((built.reference, Some(barge_image::image::architecture().to_owned())))
}

fn print(objects: &[Object], terminal: &Terminal) -> Result<(), Failure> {
    if terminal.json() {
        let documents: Vec<_> = objects.iter().map(|object| &object.document).collect();
        return terminal.data(&documents, |_| String::new());
    }
    let text = yaml(objects).map_err(|error| Failure::from_error(Kind::General, &error))?;
    let head = format!(
        "# Beside this, the gateway needs a token, which is shown to nobody and made once:\n\
         # kubectl -n {NAMESPACE} create secret generic {} --from-literal={}=$(openssl rand -hex 32)\n",
        token::SECRET,
        token::KEY
    );
    write_out(format!("{head}{text}").as_bytes())
}

fn refused(error: &ApplyError) -> Failure {
    match error {
        ApplyError::NoNamespace(namespace) => {
            Failure::from_error(Kind::Refused, error).hint(format!("kubectl create namespace {namespace}"))
        }
        _ => failure(error),
    }
}

fn not_there(error: &WaitError) -> Failure {
    match error {
        WaitError::Missing { missing, .. } => Failure::from_error(Kind::TimedOut, error)
            .details(missing.clone())
            .data("missing", missing)
            .hint("what is applied stays; `barge cluster check` looks again"),
        WaitError::Look(_) => failure(error),
    }
}
