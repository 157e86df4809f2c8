//! The demo's last word: what the load met, by phase.

use barge_load::Counted;
use serde::Serialize;

use crate::failure::Failure;
use crate::table::{Cell, Table};
use crate::terminal::{Style, Terminal};

#[derive(Serialize)]
struct Document<'a> {
    phases: &'a [Counted],
    requests: u64,
    failed: u64,
}

/// Prints the table, or the document.
pub(super) fn print(terminal: &Terminal, phases: &[Counted]) -> Result<(), Failure> {
    let (requests, failed) = (phases.iter().map(|p| p.requests).sum(), phases.iter().map(|p| p.failed).sum());
    let slowest = phases.iter().map(|p| p.slowest_ms).fold(0.0, f64::max);
    let duration = phases.iter().map(|p| p.duration_ms).sum();
    terminal.data(&Document { phases, requests, failed }, |paint| {
        let mut table = Table::new(&["phase", "duration", "requests", "failed", "slowest"]);
        for phase in phases {
            table.row(row(&phase.phase, phase.duration_ms, phase.requests, phase.failed, phase.slowest_ms));
        }
        table.row(row("all", duration, requests, failed, slowest));
        let mut text = format!("\n{}", table.render(paint, ""));
        for phase in phases {
            if let Some(why) = &phase.first_failure {
                text.push_str(&format!("first failure in {:?}: {why}\n", phase.phase));
            }
        }
        text
    })
}

fn row(name: &str, duration_ms: u64, requests: u64, failed: u64, slowest_ms: f64) -> [Cell; 5] {
    let style = if failed == 0 { Style::Green } else { Style::Red };
    [
        name.into(),
        seconds(duration_ms).into(),
        requests.to_string().into(),
        Cell::styled(style, failed.to_string()),
        format!("{slowest_ms:.1} ms").into(),
    ]
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}
