//! What the standard library and nix do not reach: settings of a child between fork and exec, and signals without a name, those that
//! arrive, that are passed on, and that end a process.
#![allow(unsafe_code)] // The one place of the project for it.

use std::fs::File;
use std::io::PipeReader;
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;

use crate::status::Ending;

/// What a child sets for itself before it becomes the program.
#[derive(Debug, Default)]
pub(crate) struct OwnSettings {
    /// The files `cgroup.procs` of the groups that it enters. barge-init itself stays outside: the kernel, short of memory in a group, kills
    /// a second one while the first one is still about to go, and nobody would be left to tell why.
    pub(crate) groups: Vec<File>,
    /// Resources with their soft and hard limits.
    pub(crate) limits: Vec<(Resource, u64, u64)>,
    /// The permissions that its new files do not get.
    pub(crate) umask: Option<u32>,
}

/// Has the child set what is its own. Nothing is added where there is nothing to set: the start is faster then.
pub(crate) fn set_before_exec(command: &mut Command, settings: OwnSettings) {
    let OwnSettings { groups, limits, umask: mask } = settings;
    if groups.is_empty() && limits.is_empty() && mask.is_none() {
        return;
    }
    let set = move || {
        for group in &groups {
            // Whoever writes 0 means himself; the right to it is that of who has opened the file.
            nix::unistd::write(group, b"0")?;
        }
        for (resource, soft, hard) in &limits {
            setrlimit(*resource, *soft, *hard)?;
        }
        if let Some(mask) = mask {
            umask(Mode::from_bits_truncate(mask));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe functions may be called, and nothing be allocated: write(2), setrlimit(2) and
    // umask(2) are system calls, and the closure reads what was allocated before the fork.
    unsafe {
        command.pre_exec(set);
    }
}

/// Has the child lead a session on the terminal that is its standard input.
pub(crate) fn lead_terminal(command: &mut Command) {
    // SAFETY: setsid(2) and ioctl(2) are system calls, which may be called between fork and exec; nothing is allocated, and what is handed over are
    // integers.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            Errno::result(libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0))?;
            Ok(())
        });
    }
}

/// Gives a terminal another size; whoever is in its foreground is told by SIGWINCH.
pub(crate) fn set_window_size(terminal: &File, size: &libc::winsize) -> Result<(), Errno> {
    // SAFETY: TIOCSWINSZ reads the size, which lives until ioctl(2) returns.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(size)) }).map(drop)
}

/// The real-time signals that this program's C library leaves to programs; nix knows none of them.
pub(crate) fn real_time_signals() -> RangeInclusive<i32> {
    libc::SIGRTMIN()..=libc::SIGRTMAX()
}

/// Where the handler writes the numbers of signals; for as long as the program runs.
static ARRIVED: AtomicI32 = AtomicI32::new(-1);

/// Catches signals of any number; the answer is where each that arrives can be read, as a byte. (signal-hook, made for programs that do
/// more with signals, copies all it has for each one; for these that was most of the start.)
pub(crate) fn catch_signals(numbers: impl Iterator<Item = i32>) -> std::io::Result<PipeReader> {
    let (reader, writer) = std::io::pipe()?;
    // A handler may not wait. What finds 64 KiB of others unread is lost, as if it had arrived together with one of them.
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    ARRIVED.store(writer.into_raw_fd(), Ordering::SeqCst);
    // SAFETY: all zeroes are a value of this type, which consists of integers and of a pointer that may be none.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = write_down as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // On a thread's own stack for signals where it has one, as the standard library's threads do.
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // One after the other: that stack has room for two, and what finds none ends the program.
    // SAFETY: sigfillset(3) writes to the mask, which is ours.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    for number in numbers {
        // SAFETY: sigaction(2) reads the action, which lives until it returns; the handler calls only what a handler may call.
        Errno::result(unsafe { libc::sigaction(number, &raw const action, std::ptr::null_mut()) })?;
    }
    Ok(reader)
}

extern "C" fn write_down(number: libc::c_int) {
    let before = Errno::last_raw();
    // Signals end at 64.
    let byte = number as u8;
    // SAFETY: write(2) is async-signal-safe, and reads the one byte that lives until it returns.
    unsafe { libc::write(ARRIVED.load(Ordering::SeqCst), (&raw const byte).cast(), 1) };
    Errno::set_raw(before);
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
