//! Looks through /proc for processes that nobody has a handle on: those left behind below barge-init, and those that outlived it.
//!
//! A process is recognised by its parent, by a mark in its environment, or by its id together with the time of its start. The mark is
//! the surest, but a program may be started with an empty environment, or overwrite its own to show a title. An id alone is never
//! enough: ids are used again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};
use serde::{Deserialize, Serialize};

use crate::status::Status;

/// The variable that marks every process of an instance; its value is the instance's id.
pub const INSTANCE_MARK: &str = "BARGE_INSTANCE";
/// The variable that marks programs which people run beside an instance's process; its value is unlike any other.
pub const EXEC_MARK: &str = "BARGE_EXEC";

/// A process that forks while it is looked for is found in the next round; one that goes on winning, or hangs in the kernel, is left
/// alone after so long.
const LIMIT: Duration = Duration::from_secs(1);

/// What a process is known by when it has lost the mark of its environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    /// Its id.
    pub pid: i32,
    /// When it was started, in ticks of the kernel since the machine was.
    pub start_time: u64,
    /// Which start of the machine that was.
    pub boot: String,
    /// Its process group at its start.
    pub group: i32,
    /// Its session at its start.
    pub session: i32,
}

/// The mark of a process that we have started and not waited for yet.
pub(crate) fn mark(pid: Pid) -> Option<ProcessMark> {
    let Stat { group, session, start_time, .. } = stat(pid)?;
    let (group, session) = (group.as_raw(), session.as_raw());
    Some(ProcessMark { pid: pid.as_raw(), start_time, boot: boot(), group, session })
}

/// Kills what is left of an instance whose barge-init is gone and has left no word; the answer is how many processes that were.
///
/// Programs that people run beside it are theirs and stay.
pub fn end_leftovers(instance: &str) -> usize {
    end_leftovers_of(instance, None)
}

/// Kills what is left of an instance whose barge-init is gone; the answer is how many processes that were. With the status that it has
/// written last, its process is found also where it has lost its mark, together with its group and everything below it.
///
/// Programs that people run beside it are theirs and stay.
pub fn end_leftovers_of(instance: &str, last: Option<&Status>) -> usize {
    let mark = format!("{INSTANCE_MARK}={instance}");
    let process = last.and_then(|last| last.process.as_ref()).filter(|process| process.boot == boot());
    let mut kin = process.map(Kin::new);
    kill_all(|there| {
        if let Some(kin) = &mut kin {
            kin.look_at(there);
        }
        let known = |stat: &Stat| kin.as_ref().is_some_and(|kin| kin.knows(stat));
        let theirs = format!("{EXEC_MARK}=");
        let ours = |stat: &&Stat| {
            // A process of somebody else, or one that has ended, cannot be read; its mark is none of ours.
            let environment = environment(stat.pid).unwrap_or_default();
            let has = |text: &str, whole: bool| {
                variables(&environment).any(|variable| match whole {
                    true => variable == text.as_bytes(),
                    false => variable.starts_with(text.as_bytes()),
                })
            };
            (has(&mark, true) || known(stat)) && !has(&theirs, false)
        };
        there.iter().filter(ours).map(|stat| stat.pid).collect()
    })
}

/// Kills every process that has `value` as its exec mark; the answer is how many that were.
pub fn end_marked_exec(value: &str) -> usize {
    let mark = format!("{EXEC_MARK}={value}");
    let marked = |stat: &&Stat| {
        let environment = environment(stat.pid).unwrap_or_default();
        variables(&environment).any(|variable| variable == mark.as_bytes())
    };
    kill_all(|there| there.iter().filter(marked).map(|stat| stat.pid).collect())
}

/// Kills the programs that people ran beside instances of which `ours` says yes, in sessions that nobody has any more; the answer is how
/// many processes that were.
pub fn end_execs_of(ours: impl Fn(&str) -> bool) -> usize {
    let (mark, theirs) = (format!("{INSTANCE_MARK}="), format!("{EXEC_MARK}="));
    let of_ours = |variable: &[u8]| {
        variable.strip_prefix(mark.as_bytes()).and_then(|id| std::str::from_utf8(id).ok()).is_some_and(&ours)
    };
    let marked = |stat: &&Stat| {
        let environment = environment(stat.pid).unwrap_or_default();
        variables(&environment).any(|variable| variable.starts_with(theirs.as_bytes()))
            && variables(&environment).any(of_ours)
    };
    kill_all(|there| there.iter().filter(marked).map(|stat| stat.pid).collect())
}

/// The processes whose parent we are, those that were left to us included, but for the groups in `kept`.
pub(crate) fn children(kept: &BTreeSet<Pid>) -> Vec<Pid> {
    let own = getpid();
    all().filter(|stat| stat.parent == own && !kept.contains(&stat.group)).map(|stat| stat.pid).collect()
}

/// The processes of a group, and everything below them, whatever group that has.
pub(crate) fn of_group(group: Pid) -> Vec<Pid> {
    let there: Vec<Stat> = all().filter(Stat::alive).collect();
    let mut members: BTreeSet<Pid> = there.iter().filter(|stat| stat.group == group).map(|stat| stat.pid).collect();
    loop {
        let below = |stat: &&Stat| members.contains(&stat.parent) && !members.contains(&stat.pid);
        let more: Vec<Pid> = there.iter().filter(below).map(|stat| stat.pid).collect();
        if more.is_empty() {
            return members.into_iter().collect();
        }
        members.extend(more);
    }
}

/// The processes that belong to one that was written down, which itself may have ended.
struct Kin<'a> {
    mark: &'a ProcessMark,
    /// By id and time of start: whoever was seen to belong here does so for as long as it lives, also when its parent has gone.
    known: BTreeSet<(Pid, u64)>,
}

impl<'a> Kin<'a> {
    fn new(mark: &'a ProcessMark) -> Self {
        Self { mark, known: BTreeSet::new() }
    }

    fn knows(&self, stat: &Stat) -> bool {
        self.known.contains(&(stat.pid, stat.start_time))
    }

    /// Adds the process, its group, and everything below them.
    fn look_at(&mut self, there: &[Stat]) {
        let (group, session) = (Pid::from_raw(self.mark.group), Pid::from_raw(self.mark.session));
        let is_main = |stat: &&Stat| stat.pid.as_raw() == self.mark.pid && stat.start_time == self.mark.start_time;
        let main = there.iter().find(is_main);
        // The kernel gives no id away that is still a group's or a session's. Where the process has ended, nobody may be there by the
        // name of either: a later process would have a group or a session of its own. barge-init may be waiting to be reaped.
        let others = |stat: &Stat| stat.pid == group || (stat.pid == session && stat.alive());
        let group_is_ours = main.is_some() || !there.iter().any(others);
        let belongs = |stat: &Stat| {
            let as_written = (stat.group, stat.session) == (group, session) && stat.start_time >= self.mark.start_time;
            main.is_some_and(|main| stat.group == main.group) || (group_is_ours && as_written)
        };
        self.known.extend(there.iter().filter(|stat| belongs(stat)).map(|stat| (stat.pid, stat.start_time)));
        loop {
            let parents: BTreeSet<Pid> = there.iter().filter(|stat| self.knows(stat)).map(|stat| stat.pid).collect();
            let below = there.iter().filter(|stat| parents.contains(&stat.parent) && !self.knows(stat));
            let below: Vec<(Pid, u64)> = below.map(|stat| (stat.pid, stat.start_time)).collect();
            if below.is_empty() {
                return;
            }
            self.known.extend(below);
        }
    }
}

/// Kills what `choose` takes of the processes that are there until it takes none any more, and waits until all of them have let go of
/// their files and ports.
fn kill_all(mut choose: impl FnMut(&[Stat]) -> Vec<Pid>) -> usize {
    let deadline = Instant::now() + LIMIT;
    let mut killed = BTreeSet::new();
    loop {
        let there: Vec<Stat> = all().filter(|stat| stat.pid != getpid()).collect();
        let alive = |pid: &Pid| there.iter().any(|stat| stat.pid == *pid && stat.alive());
        let mut found = false;
        for pid in choose(&there).into_iter().filter(alive) {
            if kill(pid, Signal::SIGKILL).is_ok() {
                found = true;
                killed.insert(pid);
            }
        }
        let dying = killed.iter().any(|pid| stat(*pid).is_some_and(|stat| stat.alive()));
        if (!found && !dying) || Instant::now() >= deadline {
            return killed.len();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What `/proc/PID/stat` says of a process, as far as it matters here.
#[derive(Debug, Clone, Copy)]
struct Stat {
    pid: Pid,
    state: char,
    parent: Pid,
    group: Pid,
    session: Pid,
    start_time: u64,
}

impl Stat {
    /// It has files and ports: one that has ended and that nobody has waited for has none.
    fn alive(&self) -> bool {
        self.state != 'Z' && self.state != 'X'
    }
}

fn all() -> impl Iterator<Item = Stat> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw));
    pids.filter_map(stat)
}

fn stat(pid: Pid) -> Option<Stat> {
    let bytes = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The second field, a name, may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let mut id = || fields.next()?.parse().ok().map(Pid::from_raw);
    let (parent, group, session) = (id()?, id()?, id()?);
    // Field 22 of proc_pid_stat(5); the next one here is the seventh.
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Stat { pid, state, parent, group, session, start_time })
}

/// The id of this start of the machine.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn environment(pid: Pid) -> std::io::Result<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/environ"))
}

fn variables(environment: &[u8]) -> impl Iterator<Item = &[u8]> {
    environment.split(|byte| *byte == 0)
}
