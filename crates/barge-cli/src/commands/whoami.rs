//! `barge whoami`: who we are to which server.

use barge_api::{TokenRole, Whoami};
use serde::Serialize;

use crate::arguments::Globals;
use crate::failure::Failure;
use crate::session::Session;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  barge whoami
  BARGE_TOKEN=... barge whoami --server https://barge.example";

/// Say who you are to which server, and what you may do there
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

/// What `--json` prints: the API's answer, and where it came from.
#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    whoami: Whoami,
    address: String,
}

/// Runs the command.
pub(crate) async fn run(_args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let session = Session::open(globals, &terminal)?;
    let whoami = session.client.whoami().await?;
    let answer = Answer { whoami, address: session.client.address().to_owned() };
    terminal.data(&answer, |_| {
        let Answer { whoami: Whoami { name, role, service, environment, server }, address } = &answer;
        let mut text = format!("{name} at {address} (Barge {server})\nmay {}", allowed(*role));
        if let Some(service) = service {
            text.push_str(&format!(", for {service} alone"));
        }
        if let Some(environment) = environment {
            text.push_str(&format!(", in {environment} alone"));
        }
        text
    })
}

fn allowed(role: TokenRole) -> &'static str {
    match role {
        TokenRole::Viewer => "look (viewer)",
        TokenRole::Developer => "look, release, read logs and open terminals (developer)",
        TokenRole::Releaser => "look, release, approve, abort, roll back, scale and restart (releaser)",
        TokenRole::Admin => "do everything (admin)",
    }
}
