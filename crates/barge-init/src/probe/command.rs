//! A check by a command: bounded in time, in a process group of its own, of which nothing stays.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};

use super::Asked;
use crate::child;
use crate::status::{Ending, in_words};

/// Between two looks whether the check is wanted any more.
const LOOK: Duration = Duration::from_millis(50);

/// Runs the command to its end, at most for `limit`.
pub(super) fn check(asked: &Asked, words: &[String], limit: Duration, stop: &Receiver<()>) -> Result<String, String> {
    let shown = words.join(" ");
    let start = || child::start_check(&asked.plan, &asked.plan.main, words).map(|child| child.id().cast_signed());
    let (pid, ended) = asked.reaper.start(start).map_err(|error| crate::chain(&error))?;
    let group = nix::unistd::Pid::from_raw(pid);
    let deadline = Instant::now() + limit;
    let result = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match ended.recv_timeout(left.min(LOOK)) {
            Ok(Ending::Exited { code: 0 }) => break Ok(format!("{shown}: exit code 0")),
            Ok(ending) => break Err(format!("{shown}: {}", ending.in_words())),
            Err(RecvTimeoutError::Disconnected) => break Err(format!("{shown}: nobody waits for it")),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                break Err(format!("{shown}: not done within {}", in_words(limit)));
            }
            Err(RecvTimeoutError::Timeout) if stop.try_recv() == Err(TryRecvError::Disconnected) => {
                break Err(format!("{shown}: not wanted any more"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    // What it has left in its group, and it itself where its time is up; the reaper takes them.
    let _ = killpg(group, Signal::SIGKILL);
    result
}
