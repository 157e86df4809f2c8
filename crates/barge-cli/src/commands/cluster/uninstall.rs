//! `barge cluster uninstall`: takes the parts back, and leaves people's services alone unless they say so.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use barge_cluster::uninstall::{Uninstalled, uninstall, uninstall_with_services};
use barge_model::Millis;
use serde_json::json;

use super::connection::{client, failure};
use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::replica::ClusterArgs;
use crate::terminal::{Style, Terminal};

const EXAMPLES: &str = "\
Operator, registrar and gateway go, with all that they may do. The definitions, the services and their instances stay: instances go on, but nothing \
brings requests to them or replaces one that is lost. A later `barge cluster install` takes them over.

Examples:
  barge cluster uninstall
  barge cluster uninstall --with-services        all services too, and with them all instances";

/// The word that has to be typed.
const WORD: &str = "services";

/// Take Barge back from a cluster
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Delete all services, their instances and the definitions too
    #[arg(long)]
    with_services: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// The longest that instances may take to end
    #[arg(long, value_name = "TIME", default_value = "10m")]
    timeout: Millis,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let client = client(&args.cluster).await?;
    if args.with_services && !args.yes {
        ask(&terminal)?;
    }
    let activity = terminal.activity();
    activity.now("removing");
    let done = match args.with_services {
        true => uninstall_with_services(&client, Duration::from_millis(args.timeout.0)).await,
        false => uninstall(&client).await,
    };
    let Uninstalled { removed, kept } = done.map_err(|error| failure(&error))?;
    removed.iter().for_each(|object| activity.line(Style::Plain, &format!("removed the {object}")));
    drop(activity);
    let document = json!({ "removed": removed, "kept": kept });
    terminal
        .data(&document, |_| format!("kept:\n{}", kept.iter().map(|line| format!("  {line}\n")).collect::<String>()))
}

/// Nobody deletes everything by a line that was meant for another cluster.
fn ask(terminal: &Terminal) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new(
            Kind::Usage,
            "--with-services deletes every service, and nobody can be asked whether that is meant",
        )
        .hint("say --yes as well"));
    }
    terminal.warn(&format!("this deletes every service of the cluster, and all instances. Type `{WORD}` to go on:"));
    let mut line = String::new();
    stdin.lock().read_line(&mut line).map_err(|error| Failure::io("read your answer", &error))?;
    match line.trim() {
        WORD => Ok(()),
        _ => Err(Failure::new(Kind::General, "nothing was removed")),
    }
}
