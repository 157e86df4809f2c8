//! Signals for the business process, and how its end is told.

use std::time::Duration;

use super::Verdict;
use crate::container::{PATIENCE, eventually, within};
use crate::stage::Stage;
use crate::systems::{GRACE, System, Wanted};

/// Signals by name and number; the last is SIGRTMIN+1 of Debian's C library.
const SIGNALS: [(&str, i64); 11] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("USR1", 10),
    ("USR2", 12),
    ("WINCH", 28),
    ("TERM", 15),
    ("TSTP", 20),
    ("CONT", 18),
    ("ALRM", 14),
    ("RTMIN+1", 35),
];
/// How long a signal may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);
/// How long after its grace a process may be there.
const AFTER_GRACE: Duration = Duration::from_secs(3);
/// Where ends are a script's matter.
const SCRIPTS: [(System, &str); 4] = [
    (System::S6, "finish scripts"),
    (System::Runsv, "finish script"),
    (System::Runsvdir, "finish script"),
    (System::Supervisord, "event listener"),
];

/// Each signal on its own: some systems end with one of them.
pub(crate) fn signals(stage: &Stage<'_>) -> Verdict {
    let (arrived, missing): (Vec<_>, Vec<_>) = SIGNALS.iter().partition(|(_, number)| {
        let stage = stage.again();
        let command = stage.business(&["signals", "TOLD", "0"]);
        let container = stage.start(&Wanted { command, to_process_alone: true, ..Wanted::default() });
        eventually("a process that listens to signals", || (!stage.told().is_empty()).then_some(()));
        container.signal(&number.to_string());
        within(ARRIVES_WITHIN, || stage.told().contains(number).then_some(())).is_some()
    });
    let names = |list: &[&(&str, i64)]| list.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
    let instead = if arrived.is_empty() {
        "none".to_owned()
    } else if arrived.len() < missing.len() {
        format!("only {}", names(&arrived))
    } else {
        format!("not {}", names(&missing))
    };
    Verdict::of(missing.is_empty(), || instead)
}

/// The process stays, so that the one that it has started has the time to listen.
pub(crate) fn group(stage: &Stage<'_>) -> Verdict {
    let business = stage.business(&[])[0].clone();
    let (told, beside) = (stage.path("told").display().to_string(), stage.path("beside"));
    let script = format!("{business} signals {} 0 & exec {business} stubborn {told}", beside.display());
    let command = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    let container = stage.start(&Wanted { command, ..Wanted::default() });
    let told = || crate::container::numbers(&beside);
    eventually("both", || (!stage.told().is_empty() && !told().is_empty()).then_some(()));
    container.signal("TERM");
    let arrived = within(ARRIVES_WITHIN, || told().contains(&15).then_some(()));
    Verdict::of(arrived.is_some(), String::new).with(stage.system, &[(System::Runsv, "control/t script")])
}

pub(crate) fn exit_codes(stage: &Stage<'_>) -> Verdict {
    compare(stage, &["0", "3", "255"].map(|code| (vec!["exit", "TOLD", "0", code], code.parse().unwrap())))
}

pub(crate) fn deaths(stage: &Stage<'_>) -> Verdict {
    compare(stage, &[("9", 137), ("10", 138)].map(|(signal, code)| (vec!["die", "TOLD", signal], code)))
}

/// Runs each, and compares the exit codes of PID 1 with what they should be.
fn compare(stage: &Stage<'_>, runs: &[(Vec<&str>, i32)]) -> Verdict {
    let ends: Vec<Option<i32>> = runs.iter().map(|(words, _)| stage.again().run(words).end(PATIENCE)).collect();
    let codes: Vec<i32> = runs.iter().map(|(_, code)| *code).collect();
    judge(&ends, &codes).with(stage.system, &SCRIPTS)
}

fn judge(ends: &[Option<i32>], codes: &[i32]) -> Verdict {
    let shown = |end: &Option<i32>| end.map_or("no end".to_owned(), |code| code.to_string());
    let good = ends.iter().zip(codes).all(|(end, code)| *end == Some(*code));
    Verdict::of(good, || ends.iter().map(shown).collect::<Vec<_>>().join(", "))
}

/// One dies of the TERM, one ends with a failure of its own.
pub(crate) fn asked(stage: &Stage<'_>) -> Verdict {
    let runs = [(vec!["stamp", "TOLD"], 0), (vec!["signals", "TOLD", "5"], 5)];
    let ends = runs.each_ref().map(|(words, _)| {
        let stage = stage.again();
        let mut container = stage.run_until_told(words);
        container.signal("TERM");
        container.end(PATIENCE)
    });
    judge(&ends, &runs.map(|(_, code)| code))
        .with(stage.system, &[(System::Tini, "-e 143"), (System::S6, "finish scripts")])
}

pub(crate) fn stubborn(stage: &Stage<'_>) -> Verdict {
    let mut container = stage.run_until_told(&["stubborn", "TOLD"]);
    container.signal("TERM");
    if container.end(GRACE / 2).is_some() {
        return Verdict::No("PID 1 leaves at once".to_owned());
    }
    let end = container.end(GRACE + AFTER_GRACE);
    let instead = || format!("still there {} s after it", AFTER_GRACE.as_secs());
    Verdict::of(end.is_some(), instead).with(stage.system, &[(System::Runsv, "control/t script")])
}
