//! What each system does, found out by having it do it. Where a system has no such feature the answer is "no"; where its documentation
//! says how to script it, the script is there (`supervisors`), and the answer says so.

mod endings;
mod leftovers;
mod load;
mod starts;

use std::time::{Duration, Instant};

pub(crate) use leftovers::ORPHANS;

use crate::stage::{Programs, Stage};
use crate::systems::System;

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Yes,
    /// With what somebody has to write for it.
    With(&'static str),
    No(String),
}

impl Verdict {
    pub(crate) fn of(good: bool, instead: impl FnOnce() -> String) -> Self {
        if good { Self::Yes } else { Self::No(instead()) }
    }

    /// Says what it took of somebody's own for those systems for which it did.
    fn with(self, system: System, scripts: &[(System, &'static str)]) -> Self {
        match (scripts.iter().find(|(of, _)| *of == system), self) {
            (Some((_, script)), Self::Yes) => Self::With(script),
            (_, verdict) => verdict,
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Yes => "yes".to_owned(),
            Self::With(script) => format!("yes ({script})"),
            Self::No(instead) if instead.is_empty() => "no".to_owned(),
            Self::No(instead) => format!("no: {instead}"),
        }
    }
}

/// A case, and what finds it out.
type Case = (&'static str, fn(&Stage<'_>) -> Verdict);

const CASES: [Case; 15] = [
    ("10,000 orphans that end at once are all reaped", leftovers::orphans),
    ("a daemon (forked twice, own session) is reaped when it ends", leftovers::daemon),
    ("what the process leaves behind is gone when the container ends", leftovers::left_behind),
    ("HUP INT QUIT USR1 USR2 WINCH TERM TSTP CONT ALRM RTMIN+1 arrive as they are", endings::signals),
    ("TERM reaches the children of the process as well", endings::group),
    ("the exit codes 0, 3, 255 are passed on", endings::exit_codes),
    ("a death by signal is told as 128+n", endings::deaths),
    ("after a TERM that was asked for, 143 is told as 0, and a failure (5) as it is", endings::asked),
    ("a process that ignores TERM is killed after its grace", endings::stubborn),
    ("a helper that crashes is restarted, with growing pauses, and main goes on", starts::crashing_helper),
    ("a start that fails at once is held for a look, and not repeated", starts::fails_at_once),
    ("a start that fails late, never having served, is held as well", starts::fails_late),
    ("a crash after a good start (4) ends the container with its code", starts::crashes_later),
    ("a stop under load: what the process finishes after TERM arrives", load::graceful),
    ("a stop under load: TERM waits until a process that just dies of it has answered", load::abrupt),
];

/// Tries every case with every system, and prints what came of it.
pub(crate) fn run(systems: &[System], programs: &Programs) {
    let systems: Vec<System> = systems.iter().copied().filter(|system| *system != System::TiniStatic).collect();
    let names: Vec<&str> = systems.iter().map(|system| system.name()).collect();
    println!("| case | {} |", names.join(" | "));
    println!("| --- |{}", " --- |".repeat(names.len()));
    for (name, find_out) in CASES {
        let verdicts = systems.iter().map(|system| {
            let begin = Instant::now();
            let verdict = find_out(&Stage::new(*system, programs)).in_words();
            said(name, *system, &verdict, begin.elapsed());
            verdict
        });
        println!("| {name} | {} |", verdicts.collect::<Vec<_>>().join(" | "));
    }
}

/// It takes minutes; whoever waits may want to know for what.
fn said(name: &str, system: System, verdict: &str, span: Duration) {
    eprintln!("{name}: {}: {verdict} ({:.1} s)", system.name(), span.as_secs_f64());
}
