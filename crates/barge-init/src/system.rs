//! What the standard library and nix do not reach: settings of a child between fork and exec, and signals without a name: those that
//! end a process, and those that are passed on.
#![allow(unsafe_code)] // The one place of the project for it.

use std::ops::RangeInclusive;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;

use crate::status::Ending;

/// What a child sets for itself before it becomes the program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OwnSettings {
    /// Resources with their soft and hard limits.
    pub(crate) limits: Vec<(Resource, u64, u64)>,
    /// The permissions that its new files do not get.
    pub(crate) umask: Option<u32>,
}

/// Has the child set what is its own. Nothing is added where there is nothing to set: the start is faster then.
pub(crate) fn set_before_exec(command: &mut Command, settings: OwnSettings) {
    if settings == OwnSettings::default() {
        return;
    }
    let set = move || {
        for (resource, soft, hard) in &settings.limits {
            setrlimit(*resource, *soft, *hard)?;
        }
        if let Some(mask) = settings.umask {
            umask(Mode::from_bits_truncate(mask));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe functions may be called, and nothing be allocated: setrlimit(2) and umask(2)
    // are system calls, and the closure reads what was allocated before the fork.
    unsafe {
        command.pre_exec(set);
    }
}

/// The real-time signals that this program's C library leaves to programs; nix knows none of them.
pub(crate) fn real_time_signals() -> RangeInclusive<i32> {
    libc::SIGRTMIN()..=libc::SIGRTMAX()
}

/// Sends a process any signal.
pub(crate) fn signal_process(pid: Pid, number: i32) -> Result<(), Errno> {
    // SAFETY: kill(2) takes two integers and touches no memory of ours.
    Errno::result(unsafe { libc::kill(pid.as_raw(), number) }).map(drop)
}

/// Sends a process group any signal.
pub(crate) fn signal_group(group: Pid, number: i32) -> Result<(), Errno> {
    // SAFETY: killpg(3) takes two integers and touches no memory of ours.
    Errno::result(unsafe { libc::killpg(group.as_raw(), number) }).map(drop)
}

/// Takes one process below us that has ended; none where all go on. All signals are told of, also those that have no name.
pub(crate) fn reap_one() -> Option<(Pid, Ending)> {
    let mut status = 0;
    loop {
        // SAFETY: waitpid(2) writes to the one integer that it is given, which lives until it returns.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        let ending = match pid {
            -1 if Errno::last() == Errno::EINTR => continue,
            ..=0 => return None,
            _ if libc::WIFEXITED(status) => Ending::Exited { code: libc::WEXITSTATUS(status) },
            _ if libc::WIFSIGNALED(status) => Ending::Signalled { signal: libc::WTERMSIG(status) },
            // Stopped or continued, which was not asked for.
            _ => continue,
        };
        return Some((Pid::from_raw(pid), ending));
    }
}
