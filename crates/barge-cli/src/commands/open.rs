//! `barge open`: where a service answers.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::session::Target;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  barge open                         in the browser, when there is a desktop
  curl \"$(barge open --print)/\"      only the address";

/// Open a service in the browser and print its address
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only print the address
    #[arg(long)]
    print: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let target = Target::open(globals, &terminal).await?;
    let Some(url) = target.status().await?.url else {
        return Err(Failure::new(Kind::Refused, format!("{target} has no address behind a gateway"))
            .hint(format!("`{}` shows where its instances listen", target.command("instances"))));
    };
    terminal.data(&json!({ "url": url }), |_| url.clone())?;
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if args.print || terminal.json() || !desktop {
        return Ok(());
    }
    let mut browser = Command::new("xdg-open");
    browser.arg(&url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = browser.spawn() {
        terminal.warn(&format!("no browser was opened: xdg-open: {error}"));
    }
    Ok(())
}
