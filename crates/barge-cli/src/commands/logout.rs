//! `barge logout`: a registry of images is forgotten.

use barge_image::Credentials;
use barge_image::registry::login::forget;
use barge_image::registry::{Keychain, Reference};
use serde::Serialize;

use super::login::{name, registry, unkept};
use crate::arguments::Globals;
use crate::failure::Failure;
use crate::registries;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  barge logout registry.example";

/// Forget who you are to a registry of images
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Its host, with a port or not
    #[arg(value_name = "REGISTRY", value_parser = registry)]
    registry: String,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    registry: String,
    /// Where the login was kept; nothing where there was none.
    forgotten: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let registry = args.registry;
    let places = registries::user_places();
    let failed = |error| unkept(&error).context(&format!("forget the login to {registry}"));
    let forgotten = forget(&places, &registry).await.map_err(failed)?;
    let base = Reference { host: registry.clone(), repository: String::new(), version: String::new() };
    let left = Keychain::new(&places).find(&base).await.map_err(failed)?;
    if left != Credentials::Anonymous {
        terminal.warn(&format!("another file, such as Podman's auth.json, still has a login to {registry}"));
    }
    let answer = Answer { forgotten: forgotten.as_ref().map(name), registry };
    terminal.data(&answer, |_| match &answer.forgotten {
        Some(place) => format!("logged out of {} ({place})", answer.registry),
        None => format!("there was no login to {}", answer.registry),
    })
}
