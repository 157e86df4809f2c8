//! `barge logout`: a registry of images is forgotten.

use barge_image::registry::login::{forget, known};
use serde::Serialize;

use super::login::{name, registry, unkept};
use crate::arguments::Globals;
use crate::failure::Failure;
use crate::registries;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Logins to the registry are forgotten where `barge login` keeps them, also those to a group of its repositories alone. What other files \
still have is told.

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
    /// What the logins were for: the registry, groups of its repositories.
    names: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let registry = args.registry;
    let places = registries::user_places();
    let failed = |error| unkept(&error).context(&format!("forget the login to {registry}"));
    let forgotten = forget(&places, &registry).await.map_err(failed)?;
    for left in known(&places, &registry).await.map_err(failed)? {
        terminal.warn(&format!("{} still has a login to {}, which is used", name(&left.kept), left.name));
    }
    let place = forgotten.first().map(|login| name(&login.kept));
    let mut names: Vec<String> = forgotten.into_iter().map(|login| login.name).collect();
    names.dedup();
    let answer = Answer { forgotten: place, names, registry };
    terminal.data(&answer, |_| match &answer.forgotten {
        Some(place) => format!("logged out of {} ({place})", answer.names.join(", ")),
        None => format!("there was no login to {}", answer.registry),
    })
}
