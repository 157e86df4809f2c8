//! Connections to instances that wait for their next request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::connection::Connection;

/// Shorter than the idle limits of common servers, so that a connection is seldom closed while it is being used.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// So many of each instance are kept.
const MOST: usize = 1024;

/// Of each instance, the one that was used last is used next, so that those that are too many grow old.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<SocketAddr, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

impl Idle {
    /// Whether it can be used. Nobody drives it meanwhile, so an instance that has closed it is noticed here.
    fn is_good(&mut self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < IDLE_LIMIT && self.connection.is_free()
    }
}

impl Pool {
    /// A connection that waits for a request.
    pub(crate) fn take(&self, address: SocketAddr) -> Option<Box<Connection>> {
        let now = Instant::now();
        loop {
            // Bad ones are closed without holding up others.
            let mut idle = self.lock().get_mut(&address)?.pop()?;
            if idle.is_good(now) {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps one whose last answer has come in full, unless it cannot be used again.
    pub(crate) fn keep(&self, mut connection: Box<Connection>) {
        if !connection.is_free() {
            return;
        }
        let mut idle = self.lock();
        let idle = idle.entry(connection.address).or_default();
        if idle.len() < MOST {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes those that have become old, or that their instances have closed.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut bad = Vec::new();
        self.lock().retain(|_, idle| {
            bad.extend(idle.extract_if(.., |idle| !idle.is_good(now)));
            !idle.is_empty()
        });
        // Here, where nobody waits for it.
        drop(bad);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
