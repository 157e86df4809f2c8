//! What the threads around the supervisor tell it, and what those who ask are told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::log::Tail;
use crate::probe::Found;
use crate::socket::StopRequest;
use crate::status::{Phase, Status};

/// What can happen.
pub(crate) enum Event {
    /// A signal arrived.
    Signal(i32),
    /// A readiness check was made: where the process answers, or why it is not ready.
    Probed(Found),
    /// The engine asks for a stop.
    Stop(StopRequest),
    /// The wait for silence is over.
    Drained(String),
    /// How the registration stands, in words.
    Registration(String),
}

/// The way into the supervisor's loop.
#[derive(Clone)]
pub(crate) struct Events(pub(crate) Sender<Event>);

impl Events {
    pub(crate) fn send(&self, event: Event) {
        // The loop is gone when the process is about to exit; nothing is left to tell it.
        let _ = self.0.send(event);
    }
}

/// What the supervisor knows, for those who ask.
pub(crate) struct Shared {
    status: Mutex<(u64, Status)>,
    changed: Condvar,
    watchers: AtomicUsize,
    pub(crate) tail: Arc<Mutex<Tail>>,
}

impl Shared {
    pub(crate) fn new(status: Status) -> Self {
        Self {
            status: Mutex::new((1, status)),
            changed: Condvar::new(),
            watchers: AtomicUsize::new(0),
            tail: Arc::default(),
        }
    }

    /// The status and its revision.
    pub(crate) fn lock(&self) -> MutexGuard<'_, (u64, Status)> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the status; where it is news, who watches is woken.
    pub(crate) fn publish(&self, status: Status, news: bool) {
        let mut guard = self.lock();
        guard.1 = status;
        if news {
            guard.0 += 1;
            drop(guard);
            self.changed.notify_all();
        }
    }

    /// The status, with the last lines of output.
    pub(crate) fn status(&self) -> Status {
        let mut status = self.lock().1.clone();
        status.log_tail = self.last_lines();
        status
    }

    /// The last lines of output.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).lines()
    }

    /// Counts somebody who watches, for as long as the answer lives.
    pub(crate) fn watcher(&self) -> Watcher<'_> {
        self.watchers.fetch_add(1, Ordering::SeqCst);
        Watcher(&self.watchers)
    }

    /// Whether anybody watches.
    pub(crate) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::SeqCst) > 0
    }

    /// Waits for a revision later than `seen`, at most `limit`.
    pub(crate) fn wait_newer(&self, seen: u64, limit: Duration) -> (u64, Status) {
        let guard = self.lock();
        let (guard, _) = self
            .changed
            .wait_timeout_while(guard, limit, |(revision, _)| *revision <= seen)
            .unwrap_or_else(PoisonError::into_inner);
        let (revision, mut status) = guard.clone();
        drop(guard);
        if matches!(status.phase, Phase::Held | Phase::Ended) {
            status.log_tail = self.last_lines();
        }
        (revision, status)
    }
}

/// Somebody who watches.
pub(crate) struct Watcher<'a>(&'a AtomicUsize);

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
