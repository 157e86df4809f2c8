//! `barge services`: everything that runs.

use barge_api::{ServiceList, ServiceSummary};

use crate::arguments::Globals;
use crate::failure::Failure;
use crate::session::Session;
use crate::table::{Cell, Table};
use crate::terminal::{Style, Terminal};

const EXAMPLES: &str = "\
Examples:
  barge services
  barge services -e product
  barge services --json";

/// List the services of all environments, or of one
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) async fn run(_args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let session = Session::open(globals, &terminal)?;
    let mut services = session.client.services().await?.services;
    if globals.environment.is_some() {
        // An environment that does not exist is an error and not an empty list.
        let wanted = session.environment().await?.name;
        services.retain(|summary| summary.environment == wanted);
    }
    let list = ServiceList { services };
    terminal.data(&list, |paint| {
        if list.services.is_empty() {
            return "nothing was ever released here; `barge deploy` in a project's directory does".to_owned();
        }
        let mut table = Table::new(&["SERVICE", "ENVIRONMENT", "AVAILABLE", "STANDS", "URL"]);
        for summary in &list.services {
            table.row(row(summary));
        }
        table.render(paint, "")
    })
}

fn row(summary: &ServiceSummary) -> [Cell; 5] {
    let full = summary.available >= summary.replicas;
    let style = if full { Style::Green } else { Style::Yellow };
    [
        summary.service.to_string().into(),
        summary.environment.to_string().into(),
        Cell::styled(style, format!("{} of {}", summary.available, summary.replicas)),
        summary.sentence.clone().into(),
        summary.url.clone().unwrap_or_default().into(),
    ]
}
