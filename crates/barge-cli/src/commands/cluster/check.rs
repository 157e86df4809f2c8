//! `barge cluster check`: what is there, what is missing, what is too old.

use barge_cluster::check::{Finding, State, judge, observe};

use super::connection::client;
use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::replica::ClusterArgs;
use crate::table::{Cell, Table};
use crate::terminal::{Paint, Style, Terminal};

const EXAMPLES: &str = "\
Only asks, and changes nothing. Its exit code is 0 where nothing is missing or too old.

Examples:
  barge cluster check
  barge cluster check --context product --json";

/// Say what of an installation is there, missing or too old
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let client = client(&args.cluster).await?;
    let findings = judge(&observe(&client, jiff::Timestamp::now()).await);
    terminal.data(&findings, |paint| table(&findings, paint))?;
    let bad = findings.iter().filter(|finding| finding.state.is_bad()).count();
    match bad {
        0 => Ok(()),
        // The document has said it.
        _ if terminal.json() => Err(Failure::program(Kind::General.exit_code())),
        bad => Err(Failure::new(Kind::General, format!("{bad} of {} things are missing or too old", findings.len()))),
    }
}

fn table(findings: &[Finding], paint: Paint) -> String {
    let mut table = Table::new(&["WHAT", "STATE", "DETAIL"]);
    for finding in findings {
        let style = match finding.state {
            State::Good => Style::Green,
            State::Missing | State::Old => Style::Red,
            State::Without | State::Unknown => Style::Yellow,
        };
        let state = Cell::styled(style, finding.state.word());
        table.row([finding.what.as_str().into(), state, finding.detail.as_str().into()]);
        if let Some(hint) = &finding.hint {
            table.note(format!("hint: {hint}"));
        }
    }
    table.render(paint, "")
}
