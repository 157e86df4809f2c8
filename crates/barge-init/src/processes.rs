//! Looks through /proc for processes that nobody has a handle on: those left behind below barge-init, and those that outlived it.
//!
//! A process is recognised by its parent or by a mark in its environment, never by an id that was written down: ids are used again.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

/// The variable that marks every process of an instance; its value is the instance's id.
pub const INSTANCE_MARK: &str = "BARGE_INSTANCE";
/// The variable that marks programs which people run beside an instance's process; its value is unlike any other.
pub const EXEC_MARK: &str = "BARGE_EXEC";

/// A process that forks while it is looked for is found in the next round; one that wins so often is left alone.
const ROUNDS: u32 = 20;

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

/// The processes whose parent we are, those that were left to us included.
pub(crate) fn children() -> Vec<Pid> {
    let own = getpid();
    all().filter(|pid| parent(*pid) == Some(own)).collect()
}

fn kill_all(is_one: impl Fn(&[u8]) -> bool) -> usize {
    let mut count = 0;
    for _ in 0..ROUNDS {
        let mut found = 0;
        for pid in all().filter(|pid| *pid != getpid()) {
            // A process of somebody else, or one that has ended, cannot be read, and is none of ours.
            let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
            if is_one(&environment) && kill(pid, Signal::SIGKILL).is_ok() {
                found += 1;
            }
        }
        if found == 0 {
            break;
        }
        count += found;
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    count
}

fn all() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

/// The fourth field of `/proc/PID/stat`; the second one, a name, may hold anything.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

fn variables(environment: &[u8]) -> impl Iterator<Item = &[u8]> {
    environment.split(|byte| *byte == 0)
}
