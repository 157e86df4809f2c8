//! `barge releases`: the history.

use barge_api::{ReleaseList, ReleaseView};
use barge_model::{Origin, Timestamp};

use crate::arguments::Globals;
use crate::failure::Failure;
use crate::page;
use crate::session::Target;
use crate::table::{Cell, Table};
use crate::terminal::{Style, Terminal, ago, now};

const EXAMPLES: &str = "\
Examples:
  barge releases
  barge releases -n 100 -e product
  barge releases --json   everything that is known of each, approvals and failures too";

/// List the releases of a service, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many to show
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let target = Target::open(globals, &terminal).await?;
    let all = target.releases().await?;
    let shown: Vec<ReleaseView> = all.iter().take(args.limit).cloned().collect();
    let list = ReleaseList { releases: shown };
    terminal.data(&list, |paint| {
        if list.releases.is_empty() {
            return format!("{target} has no releases; `{}` makes the first", target.command("deploy"));
        }
        table(&list.releases, &all, now()).render(paint, "")
    })
}

fn table(releases: &[ReleaseView], all: &[ReleaseView], now: Timestamp) -> Table {
    let mut table = Table::new(&["RELEASE", "STATE", "IMAGE", "MADE", "BY", "APPROVED BY", "ABOUT"]);
    for view in releases {
        table.row([
            view.number.to_string().into(),
            page::state(view.state),
            view.digest.short().into(),
            ago(view.created_at, now).into(),
            view.created_by.clone().into(),
            view.approval.as_ref().map(|approval| approval.by.clone()).unwrap_or_default().into(),
            Cell::styled(Style::Dim, about(view, all)),
        ]);
    }
    table
}

/// Where it comes from, why, and what became of it.
fn about(view: &ReleaseView, all: &[ReleaseView]) -> String {
    let origin = match &view.origin {
        Origin::Deploy => None,
        Origin::Rollback { to } => Some(format!("back to {}", page::number(to, all))),
        Origin::Restart { of } => Some(format!("restart of {}", page::number(of, all))),
    };
    let failure = view.failure.as_ref().map(|failure| failure.summary.clone());
    let parts: Vec<String> = [origin, view.reason.clone(), failure].into_iter().flatten().collect();
    parts.join("; ")
}
