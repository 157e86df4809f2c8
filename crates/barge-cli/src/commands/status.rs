//! `barge status`: how a service stands.

use std::collections::BTreeSet;
use std::time::Duration;

use barge_api::{ReleaseView, ServiceStatus};
use barge_model::ReleaseId;
use futures_util::StreamExt;

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::page;
use crate::session::Target;
use crate::terminal::{Terminal, now, write_out};

const EXAMPLES: &str = "\
Examples:
  barge status
  barge status -m greeter -e product
  barge status --watch          redrawn on a terminal; elsewhere a line for each change
  barge status --watch --json   one JSON document a line, for programs";

/// How long the server may be away while we watch.
const AWAY_TRIES: u32 = 60;
const AWAY_PAUSE: Duration = Duration::from_millis(500);
/// How often ages are brought up to date.
const REDRAW: Duration = Duration::from_secs(1);

/// Show how a service stands: releases, instances, and what it waits for
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Stay and show every change
    #[arg(short, long)]
    watch: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let target = Target::open(globals, &terminal).await?;
    if args.watch {
        return watch(&target, &terminal).await;
    }
    let status = target.status().await?;
    let releases = if terminal.json() { Vec::new() } else { target.releases_of(&status).await? };
    terminal.data(&status, |paint| page::render(&status, &releases, now(), paint, |rest| target.command(rest)))
}

/// Shows every change; a server that restarts is waited for.
async fn watch(target: &Target, terminal: &Terminal) -> Result<(), Failure> {
    let mut screen =
        Screen { target, terminal, asked: BTreeSet::new(), releases: Vec::new(), last: None, line: String::new() };
    let mut away = 0;
    loop {
        let error = match target.client().watch_status(&target.environment, &target.service).await {
            Ok(mut stream) => loop {
                tokio::select! {
                    item = stream.next() => match item {
                        Some(Ok(status)) => {
                            away = 0;
                            screen.show(status).await?;
                        }
                        Some(Err(error)) => break Failure::from(error),
                        None => break Failure::new(Kind::Unreachable, "the server ended the status stream"),
                    },
                    () = tokio::time::sleep(REDRAW) => screen.draw()?,
                }
            },
            Err(error) => Failure::from(error),
        };
        away += 1;
        if error.kind() != Kind::Unreachable || away > AWAY_TRIES {
            return Err(error);
        }
        if away == 1 {
            terminal.note("the server does not answer; trying again");
        }
        tokio::time::sleep(AWAY_PAUSE).await;
    }
}

struct Screen<'a> {
    target: &'a Target,
    terminal: &'a Terminal,
    /// The releases that were asked for; some may be forgotten.
    asked: BTreeSet<ReleaseId>,
    releases: Vec<ReleaseView>,
    last: Option<ServiceStatus>,
    line: String,
}

impl Screen<'_> {
    async fn show(&mut self, status: ServiceStatus) -> Result<(), Failure> {
        if self.terminal.json() {
            return self.terminal.json_line(&status);
        }
        if !self.terminal.redraws() {
            let line = page::summary(&status, now());
            if line != self.line {
                write_out(format!("{line}\n").as_bytes())?;
                self.line = line;
            }
            return Ok(());
        }
        let named = page::named(&status);
        if self.asked != named {
            self.releases = self.target.releases_of(&status).await?;
            self.asked = named;
        }
        self.last = Some(status);
        self.draw()
    }

    /// Draws the page anew from the top of the screen.
    fn draw(&self) -> Result<(), Failure> {
        let Some(status) = &self.last else { return Ok(()) };
        let page = page::render(status, &self.releases, now(), self.terminal.paint(), |rest| self.target.command(rest));
        write_out(format!("\x1b[H\x1b[2J{page}\n  Ctrl-C ends this view\n").as_bytes())
    }
}
