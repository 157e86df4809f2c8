//! Waits for everything that ends below barge-init: what it has started, and what was left to it.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};

use nix::unistd::Pid;

use crate::status::Ending;
use crate::system;

/// Who waits for whom.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    awaited: Mutex<BTreeMap<i32, Sender<Ending>>>,
}

impl Reaper {
    /// Starts a process whose end is awaited; it cannot be missed however soon it comes.
    pub(crate) fn start<E>(&self, start: impl FnOnce() -> Result<i32, E>) -> Result<(i32, Receiver<Ending>), E> {
        // Held, so that nobody is reaped between the start and the note.
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = start()?;
        let (sender, receiver) = mpsc::channel();
        awaited.insert(pid, sender);
        Ok((pid, receiver))
    }

    /// Takes everything that has ended; the answer is those for whom nobody waits.
    pub(crate) fn reap(&self) -> Vec<(Pid, Ending)> {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = Vec::new();
        while let Some((pid, ending)) = system::reap_one() {
            match awaited.remove(&pid.as_raw()) {
                // Who has waited in vain has gone.
                Some(waiting) => drop(waiting.send(ending)),
                None => ended.push((pid, ending)),
            }
        }
        ended
    }
}
