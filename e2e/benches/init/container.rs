//! A PID namespace of its own for each system, which is PID 1 in it as it is in a container; and waits that end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that is bound to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks, where nobody tells.
const LOOK: Duration = Duration::from_micros(200);

/// Asks until there is an answer, at most for `limit`.
pub(crate) fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

/// The same for what is bound to happen.
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, ask).unwrap_or_else(|| panic!("waited in vain for: {what}"))
}

/// The numbers that a process has written down, a line for each; none while there is no file.
pub(crate) fn numbers(path: &Path) -> Vec<i64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// A system that runs, with everything below it; nothing of it is left when this is dropped.
pub(crate) struct Container {
    child: Child,
    /// PID 1, as it is called outside; none where it had ended before anybody could look.
    init: Option<u32>,
    namespace: PathBuf,
}

impl Container {
    /// Starts a command as PID 1.
    pub(crate) fn start(command: &[String]) -> Self {
        let mut child = Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"])
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let parent = child.id();
        let list = format!("/proc/{parent}/task/{parent}/children");
        let first = || std::fs::read_to_string(&list).ok()?.split_whitespace().next()?.parse().ok();
        let init = eventually("PID 1", || first().map(Some).or_else(|| child.try_wait().unwrap().map(|_| None)));
        let namespace = init.and_then(namespace).unwrap_or_default();
        Self { child, init, namespace }
    }

    /// Sends PID 1 a signal, by its number or its name.
    pub(crate) fn signal(&self, name: &str) {
        if let Some(init) = self.init {
            barge_testkit::signal(name, init);
        }
    }

    /// The same without another program, so that it can be timed.
    pub(crate) fn signal_now(&self, signal: nix::sys::signal::Signal) {
        let init = self.init.unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(init.cast_signed()), signal).unwrap();
    }

    /// The exit code of PID 1, once it has ended, as a shell would count it.
    pub(crate) fn code(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.try_wait().unwrap()?;
        status.code().or_else(|| status.signal().map(|signal| 128 + signal))
    }

    /// The same, waited for.
    pub(crate) fn end(&mut self, limit: Duration) -> Option<i32> {
        within(limit, || self.code())
    }

    /// Everything that is there, PID 1 included, as it is called outside.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| namespace(*pid).is_some_and(|of| of == self.namespace)).collect()
    }

    /// What has ended and was not reaped by PID 1.
    pub(crate) fn zombies(&self) -> usize {
        let Some(init) = self.init else { return 0 };
        let list = format!("/proc/{init}/task/{init}/children");
        let children = std::fs::read_to_string(list).unwrap_or_default();
        children.split_whitespace().filter(|pid| is_zombie(pid)).count()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.code().is_none() {
            self.signal("KILL");
            // The kernel ends everything in a namespace before it lets its PID 1 go.
            let _ = self.child.wait();
        }
    }
}

fn namespace(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

fn is_zombie(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}
