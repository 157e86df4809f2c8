//! `barge cluster image`: this very program as an image that nodes can run.

use std::path::PathBuf;

use barge_cluster::image::ImageError;
use barge_image::{Image, Reference, RegistryError};
use serde::Serialize;

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::registries;
use crate::terminal::{Activity, Style, Terminal, bytes};

const EXAMPLES: &str = "\
The image has this program, barge-init, and the libraries that they run with on this machine; nothing is downloaded. Nodes need the same kind \
of processor.

Examples:
  barge cluster image --registry registry.example/barge
  barge cluster install --image $(barge cluster image --registry registry.example/barge)";

/// Make an image of this program and push it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where to
    #[arg(long, value_name = "HOST/REPOSITORY")]
    registry: String,
    #[command(flatten)]
    push: Push,
}

/// How to get into the registry.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Push {
    /// Push there, where this machine has another name for the registry than nodes have [default: --registry]
    #[arg(long, value_name = "HOST/REPOSITORY")]
    push_to: Option<String>,
    /// Who you are to the registry [default: whoever `barge login` has stored]
    #[arg(long, value_name = "NAME", requires = "registry_password_file")]
    registry_user: Option<String>,
    /// A file with your password there
    #[arg(long, value_name = "FILE", requires = "registry_user")]
    registry_password_file: Option<PathBuf>,
}

/// An image, and its name for nodes.
#[derive(Debug)]
pub(super) struct Built {
    image: Image,
    /// By digest.
    pub(super) reference: String,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    image: String,
    sent: u64,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let activity = terminal.activity();
    let built = build(&args.registry, &activity).await?;
    let sent = push(&built, &args.registry, &args.push, &activity).await?;
    drop(activity);
    let answer = Answer { image: built.reference, sent };
    terminal.data(&answer, |_| answer.image.clone())
}

/// Builds the image; nothing is sent.
pub(super) async fn build(registry: &str, activity: &Activity) -> Result<Built, Failure> {
    let name = reference(registry)?;
    activity.now("building the image from this program");
    let program = std::env::current_exe().map_err(|error| Failure::io("find this very program", &error))?;
    let directory = tempfile::tempdir().map_err(|error| Failure::io("make a temporary directory", &error))?;
    let barge_init = directory.path().join(barge_init::PROGRAM);
    barge_entrypoint::place(&barge_init).map_err(|error| Failure::io("put down barge-init", &error))?;
    let image = barge_cluster::image::build(&program, &barge_init).await;
    let image =
        image.map_err(|error| Failure::from_error(Kind::General, &error).context("build the image of barge"))?;
    let reference = name.with_digest(&image.digest).to_string();
    let size = image.layers.iter().map(|layer| layer.size).sum();
    activity.line(Style::Plain, &format!("built the image of this program ({})", bytes(size)));
    Ok(Built { image, reference })
}

/// Pushes it, and says how many bytes were sent.
pub(super) async fn push(built: &Built, registry: &str, push: &Push, activity: &Activity) -> Result<u64, Failure> {
    let target = reference(push.push_to.as_deref().unwrap_or(registry))?.with_digest(&built.image.digest);
    let (user, password) = (push.registry_user.as_ref(), push.registry_password_file.as_ref());
    let client = registries::client(registries::credentials(&target.host, user, password)?)?;
    activity.now(&format!("pushing to {}", target.name()));
    let pushed = client.push(&built.image, &target, &|part| activity.part(&part)).await.map_err(|source| {
        let (kind, hint) = match &source {
            RegistryError::Unreachable { host, source } => {
                let elsewhere = || "--push-to names the registry as this machine reaches it".to_owned();
                (Kind::Unreachable, Some(registries::unreachable(host, source).unwrap_or_else(elsewhere)))
            }
            RegistryError::Unauthorized { .. } => {
                let hint = "say who you are there with --registry-user and --registry-password-file";
                (Kind::Refused, Some(hint.to_owned()))
            }
            _ => (Kind::General, None),
        };
        Failure::from_error(kind, &ImageError::Push { name: target.name(), source }).hint_if(hint)
    })?;
    activity.line(Style::Plain, &format!("pushed {} ({} sent)", built.reference, bytes(pushed.sent)));
    Ok(pushed.sent)
}

fn reference(registry: &str) -> Result<Reference, Failure> {
    registry.parse().map_err(|error| Failure::from_error(Kind::Usage, &error).context("understand --registry"))
}
