//! Starts: of a helper again and again, and of a business process that never gets to serve.

use std::path::Path;
use std::time::Duration;

use super::Verdict;
use crate::container::{Container, eventually, numbers, within};
use crate::stage::{Stage, free_port};
use crate::systems::{System, Wanted};

/// How long a helper may take for four starts with growing pauses.
const FOUR_STARTS: Duration = Duration::from_secs(20);
/// By how much the third pause must be longer than the first; supervisord, which looks once a second, may make 2 of 3.
const GROWTH: f64 = 1.6;
/// How long a failed start is looked at: supervisord with its listener takes some seconds to end, and others try again each second.
const LOOK: Duration = Duration::from_secs(5);
/// The time after which every system takes a start for a good one, if it goes by time.
const GOOD: Duration = Duration::from_millis(2500);
/// The time that a late failure takes: longer than what any of the systems waits for.
const LATE_MS: &str = "4000";
/// How long an end may take that is bound to come.
const SOON: Duration = Duration::from_secs(10);

pub(crate) fn crashing_helper(stage: &Stage<'_>) -> Verdict {
    if !stage.system.has_helpers() {
        return Verdict::No("one process alone".to_owned());
    }
    let beside = stage.path("beside");
    let helper = stage.business(&["exit", &beside.display().to_string(), "0", "1"]);
    let wanted = Wanted { command: stage.business(&["stamp", "TOLD"]), helper: Some(helper), ..Wanted::default() };
    let mut container = stage.start(&wanted);
    let Some(starts) = within(FOUR_STARTS, || Some(numbers(&beside)).filter(|starts| starts.len() >= 4)) else {
        return Verdict::No(format!("started {} times", numbers(&beside).len()));
    };
    if container.code().is_some() || stage.told().len() != 1 {
        return Verdict::No("main was disturbed".to_owned());
    }
    let pauses: Vec<f64> = starts.windows(2).take(3).map(|pair| (pair[1] - pair[0]) as f64 / 1e9).collect();
    let shown: Vec<String> = pauses.iter().map(|pause| format!("{pause:.1}")).collect();
    Verdict::of(pauses[2] > pauses[0] * GROWTH, || format!("restarted, after {} s", shown.join(", ")))
}

fn hold(stage: &Stage<'_>, port: u16, arguments: &[&str]) -> Container {
    stage.start(&Wanted { command: stage.business(arguments), hold: Some(port), ..Wanted::default() })
}

pub(crate) fn fails_at_once(stage: &Stage<'_>) -> Verdict {
    let container = hold(stage, free_port(), &["exit", "TOLD", "0", "3"]);
    held(stage, container, LOOK)
}

pub(crate) fn fails_late(stage: &Stage<'_>) -> Verdict {
    let container = hold(stage, free_port(), &["exit", "TOLD", LATE_MS, "3"]);
    let late = Duration::from_millis(LATE_MS.parse().unwrap());
    held(stage, container, late + LOOK)
}

/// Whether PID 1 is still there after `span`, and the process was started once.
fn held(stage: &Stage<'_>, mut container: Container, span: Duration) -> Verdict {
    eventually("the start", || (!stage.told().is_empty()).then_some(()));
    let more = within(span, || {
        let (code, starts) = (container.code(), stage.told().len());
        match code {
            Some(code) => Some(format!("ends with {code}")),
            None if starts > 1 => Some("started again".to_owned()),
            None => None,
        }
    });
    let verdict = Verdict::of(more.is_none(), || more.unwrap_or_default());
    verdict.with(stage.system, &[(System::S6, "finish and check scripts"), (System::Supervisord, "startretries=0")])
}

pub(crate) fn crashes_later(stage: &Stage<'_>) -> Verdict {
    let (port, now) = (free_port(), stage.path("now"));
    let mut container = hold(stage, port, &["crash-later", &port.to_string(), &now.display().to_string()]);
    eventually("the port", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    // What tells a good start by time alone gets that time; nothing may end meanwhile.
    if let Some(code) = container.end(GOOD) {
        return Verdict::No(format!("ends before it crashes, with {code}"));
    }
    crash(&now);
    let code = container.end(SOON);
    let instead = || code.map_or("goes on".to_owned(), |code| format!("ends with {code}"));
    Verdict::of(code == Some(4), instead).with(stage.system, &[(System::S6, "finish scripts")])
}

fn crash(now: &Path) {
    std::fs::write(now, "").unwrap();
}
