//! Looks through /proc for processes that nobody has a handle on: those left behind below barge-init, and those that outlived it.
//!
//! A process is recognised by its parent or by a mark in its environment, never by an id that was written down: ids are used again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

/// The variable that marks every process of an instance; its value is the instance's id.
pub const INSTANCE_MARK: &str = "BARGE_INSTANCE";
/// The variable that marks programs which people run beside an instance's process; its value is unlike any other.
pub const EXEC_MARK: &str = "BARGE_EXEC";

/// A process that forks while it is looked for is found in the next round; one that goes on winning, or hangs in the kernel, is left
/// alone after so long.
const LIMIT: Duration = Duration::from_secs(1);

/// Kills what is left of an instance whose barge-init is gone; the answer is how many processes that were.
///
/// Programs that people run beside it are theirs and stay.
pub fn end_leftovers(instance: &str) -> usize {
    let mark = format!("{INSTANCE_MARK}={instance}");
    let theirs = format!("{EXEC_MARK}=");
    kill_all(|environment| {
        let has = |prefix: &str| variables(environment).any(|variable| variable.starts_with(prefix.as_bytes()));
        variables(environment).any(|variable| variable == mark.as_bytes()) && !has(&theirs)
    })
}

/// Kills every process that has `value` as its exec mark; the answer is how many that were.
pub fn end_marked_exec(value: &str) -> usize {
    let mark = format!("{EXEC_MARK}={value}");
    kill_all(|environment| variables(environment).any(|variable| variable == mark.as_bytes()))
}

/// Kills the programs that people ran beside instances of which `ours` says yes, in sessions that nobody has any more; the answer is how
/// many processes that were.
pub fn end_execs_of(ours: impl Fn(&str) -> bool) -> usize {
    let (mark, theirs) = (format!("{INSTANCE_MARK}="), format!("{EXEC_MARK}="));
    kill_all(|environment| {
        let of_ours = |variable: &[u8]| {
            variable.strip_prefix(mark.as_bytes()).and_then(|id| std::str::from_utf8(id).ok()).is_some_and(&ours)
        };
        variables(environment).any(|variable| variable.starts_with(theirs.as_bytes()))
            && variables(environment).any(of_ours)
    })
}

/// The processes whose parent we are, those that were left to us included.
pub(crate) fn children() -> Vec<Pid> {
    let own = getpid();
    all().filter(|pid| stat(*pid).is_some_and(|(_, parent)| parent == own)).collect()
}

/// Kills until nobody is found any more, and waits until all of them have let go of their files and ports.
fn kill_all(is_one: impl Fn(&[u8]) -> bool) -> usize {
    let deadline = Instant::now() + LIMIT;
    let mut killed = BTreeSet::new();
    loop {
        let mut found = false;
        for pid in all().filter(|pid| *pid != getpid()) {
            // A process of somebody else, or one that has ended, cannot be read, and is none of ours.
            let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
            if is_one(&environment) && kill(pid, Signal::SIGKILL).is_ok() {
                found = true;
                killed.insert(pid);
            }
        }
        let dying = killed.iter().any(|pid| stat(*pid).is_some_and(|(state, _)| state != 'Z' && state != 'X'));
        if (!found && !dying) || Instant::now() >= deadline {
            return killed.len();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn all() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

/// State and parent from `/proc/PID/stat`; the field before them, a name, may hold anything.
fn stat(pid: Pid) -> Option<(char, Pid)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, Pid::from_raw(fields.next()?.parse().ok()?)))
}

fn variables(environment: &[u8]) -> impl Iterator<Item = &[u8]> {
    environment.split(|byte| *byte == 0)
}
