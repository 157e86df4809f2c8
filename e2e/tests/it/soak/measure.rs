//! What is measured of each process: its memory, its descriptors, its threads.

use super::disk::Disk;

/// Whose process it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Platform,
    Gateway,
    Init,
}

/// A process's id and when it was started, since ids are used again.
pub(super) type Life = (u32, u64);

/// What one process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) who: Who,
    pub(super) life: Life,
    /// Resident memory, in bytes.
    pub(super) resident: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

/// What there was at one moment at which nothing moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) measured: Vec<Measured>,
    /// Processes of the platform, of its gateway and of its instances.
    pub(super) processes: u64,
    pub(super) disk: Disk,
}

/// Measures a process; nothing where it is gone.
pub(super) fn measure(who: Who, pid: u32) -> Option<Measured> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let number = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some(Measured {
        who,
        life: (pid, start_time(pid)?),
        resident: number("VmRSS:")? * 1024,
        descriptors: u64::try_from(descriptors).ok()?,
        threads: number("Threads:")?,
    })
}

/// In ticks of the kernel since the machine was started.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, a name, may hold anything; what is wanted is the 22nd of proc_pid_stat(5).
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}
