//! Why a process has ended, in words: from how it ended, from the kernel's count of kills for want of memory, and from its last lines.

use std::io::Write;
use std::path::{Path, PathBuf};

use nix::libc as signals;

use crate::plan::Plan;
use crate::status::{Ending, Status};

/// The longest termination message that Kubernetes takes, in bytes (`terminationMessagePath` of a container).
const MESSAGE_BYTES: usize = 4096;

/// Words in a line of output, and what they mean. The first that fits the latest line counts.
const MEANINGS: [(&str, &str); 14] = [
    ("OutOfMemoryError: Java heap space", "the JVM's heap is too small for what it does (-Xmx, -XX:MaxRAMPercentage)"),
    (
        "OutOfMemoryError: GC overhead limit",
        "the JVM's heap is too small for what it does (-Xmx, -XX:MaxRAMPercentage)",
    ),
    ("OutOfMemoryError: Metaspace", "the JVM's room for classes is too small (-XX:MaxMetaspaceSize)"),
    ("OutOfMemoryError: unable to create", "the machine or a limit allows no more threads"),
    ("java.lang.OutOfMemoryError", "the JVM has run out of memory"),
    (
        "There is insufficient memory for the Java Runtime Environment",
        "the machine has less memory than the JVM asks for",
    ),
    (
        "A fatal error has been detected by the Java Runtime Environment",
        "the JVM itself has crashed; hs_err_pid*.log tells where",
    ),
    ("UnsupportedClassVersionError", "its classes were compiled for a newer JVM than the one that runs them"),
    ("Could not find or load main class", "the JVM does not find the main class on its class path"),
    ("Address already in use", "a port that it wants is taken already"),
    ("EADDRINUSE", "a port that it wants is taken already"),
    ("BindException", "it cannot listen on the address that it wants"),
    ("No space left on device", "the disk is full"),
    ("Too many open files", "its limit of open files is reached"),
];

/// What the kernel says of kills for want of memory.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The group's file that counts them, and the one with its limit.
    files: Option<(PathBuf, PathBuf)>,
    kills: u64,
}

impl Memory {
    /// Notes how many there were so far in the groups that limit the instance: those of the plan, or our own.
    pub(crate) fn now(plan: &Plan) -> Self {
        let of_plan = plan.groups.iter().filter_map(|group| files_in(group.parent()?));
        let files = of_plan.chain(own_group()).next();
        let kills = files.as_ref().and_then(|(events, _)| kills_in(events)).unwrap_or(0);
        Self { files, kills }
    }

    /// Whether the kernel has killed somebody since then, in words.
    fn killed(&self) -> Option<String> {
        let (events, limit) = self.files.as_ref()?;
        if kills_in(events)? <= self.kills {
            return None;
        }
        let limit: Option<u64> = std::fs::read_to_string(limit).ok().and_then(|text| text.trim().parse().ok());
        // Without a limit of its own, version 1 tells of a number near the end of what 64 bits hold.
        let limit = limit.filter(|limit| *limit < 1 << 60);
        let of = limit.map_or_else(String::new, |limit| format!(" of {} MiB", limit >> 20));
        Some(format!("the kernel killed it because it took more than its limit{of} of memory"))
    }
}

/// The files of our own group, of either version of cgroups(7).
fn own_group() -> Option<(PathBuf, PathBuf)> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        let root = Path::new("/sys/fs/cgroup");
        match controllers {
            "" => files_in(&root.join(path)),
            _ if controllers.split(',').any(|name| name == "memory") => files_in(&root.join("memory").join(path)),
            _ => None,
        }
    })
}

/// The files of a group that count kills and tell the limit, where it is one of memory.
fn files_in(group: &Path) -> Option<(PathBuf, PathBuf)> {
    let versions = [("memory.events", "memory.max"), ("memory.oom_control", "memory.limit_in_bytes")];
    let paths = versions.map(|(events, limit)| (group.join(events), group.join(limit)));
    paths.into_iter().find(|(events, _)| events.is_file())
}

fn kills_in(events: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(events).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Why main has ended, where more can be said than how.
pub(crate) fn why(ending: Ending, memory: &Memory, last_lines: &[String]) -> Option<String> {
    let how = ending.in_words();
    if let Some(killed) = memory.killed() {
        return Some(format!("{how}; {killed}"));
    }
    let meaning = last_lines.iter().rev().find_map(|line| {
        let (_, meaning) = MEANINGS.iter().find(|(words, _)| line.contains(words))?;
        Some(format!("{how}; {meaning}: {}", shortened(line)))
    });
    let last = || last_lines.iter().rev().find(|line| !line.trim().is_empty());
    meaning.or_else(|| match ending {
        Ending::Exited { code: 0 } => None,
        Ending::Exited { .. } => Some(last().map_or_else(
            || format!("{how}, without a word"),
            |line| format!("{how}; its last line: {}", shortened(line)),
        )),
        Ending::Signalled { signal: signals::SIGKILL } => {
            Some(format!("{how}; not by barge-init, and no limit of memory that can be seen from here was reached"))
        }
        _ => Some(how),
    })
}

fn shortened(line: &str) -> String {
    line.trim().chars().take(300).collect()
}

/// Writes why the instance is held or over, and its last lines, to where an engine reads it. It may not be there, or full.
pub(crate) fn write_termination_message(path: &Path, status: &Status) {
    let reason = status.reason.clone().unwrap_or_default();
    let ending = status.ending.map(Ending::in_words).unwrap_or_default();
    let head = if reason.contains(&ending) { reason } else { format!("{ending}: {reason}") };
    let mut text = head.trim_end_matches(": ").to_owned();
    for line in status.log_tail.iter().rev().take(20).rev() {
        text.push('\n');
        text.push_str(line);
    }
    let mut end = text.len().min(MESSAGE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).open(path);
    // Nobody is told of a message that cannot be written: the status has it as well.
    let _ = file.and_then(|mut file| file.write_all(&text.as_bytes()[..end]));
}
