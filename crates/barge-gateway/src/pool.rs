//! Room for connections to instances, and those among them that wait for their next request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::Connection;

/// Shorter than the idle limits of common servers, so that a connection is seldom closed while it is being used.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// So many of each instance are kept.
const MOST: usize = 1024;

/// The place of one connection among those that there is room for.
pub(crate) type Place = OwnedSemaphorePermit;

/// Of each instance, the connection that was used last is used next, so that those that are too many grow old.
#[derive(Debug)]
pub(crate) struct Pool {
    room: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    idle: HashMap<SocketAddr, Vec<Idle>>,
    /// How many wait for a place. None is kept meanwhile.
    waiting: usize,
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

/// Somebody who waits for a place, until this is dropped.
struct Waiting<'a>(&'a Pool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl Pool {
    /// One with room for so many connections, those that are used included.
    pub(crate) fn new(connections: usize) -> Self {
        let room = Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS)));
        Self { room, kept: Mutex::default() }
    }

    /// A place for another connection; none where there is no room until then.
    pub(crate) async fn place(&self, until: Instant) -> Option<Place> {
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(place) => Some(place),
            // Seldom, and so no part of what every connection carries with it.
            Err(_) => Box::pin(self.wait_for_place(until)).await,
        }
    }

    async fn wait_for_place(&self, until: Instant) -> Option<Place> {
        let mut place = pin!(Arc::clone(&self.room).acquire_owned());
        // In the queue before any is given up, so that it is given up for somebody who waits.
        if let Poll::Ready(place) = futures_util::poll!(place.as_mut()) {
            return place.ok();
        }
        let _waiting = self.make_room();
        tokio::time::timeout_at(until.into(), place).await.ok()?.ok()
    }

    /// Gives up the connection that has been idle for longest. As everybody who waits does so, and none is kept meanwhile, nobody waits
    /// while one is idle.
    fn make_room(&self) -> Waiting<'_> {
        let given_up = {
            let mut kept = self.lock();
            kept.waiting += 1;
            let oldest = kept.idle.values_mut().filter(|idle| !idle.is_empty());
            let oldest = oldest.min_by_key(|idle| idle.first().map(|first| first.since));
            oldest.map(|idle| idle.remove(0))
        };
        drop(given_up);
        Waiting(self)
    }

    /// A connection that waits for a request.
    pub(crate) fn take(&self, address: SocketAddr) -> Option<Box<Connection>> {
        let now = Instant::now();
        loop {
            // Bad ones are closed without holding up others.
            let mut idle = self.lock().idle.get_mut(&address)?.pop()?;
            if idle.is_good(now) {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps one whose last answer has come in full, unless it cannot be used again, or somebody waits for its place.
    pub(crate) fn keep(&self, mut connection: Box<Connection>) {
        if !connection.is_free() {
            return;
        }
        let mut kept = self.lock();
        if kept.waiting > 0 {
            return;
        }
        let idle = kept.idle.entry(connection.address).or_default();
        if idle.len() < MOST {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes those that have become old, or that their instances have closed.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut bad = Vec::new();
        self.lock().idle.retain(|_, idle| {
            bad.extend(idle.extract_if(.., |idle| !idle.is_good(now)));
            !idle.is_empty()
        });
        // Here, where nobody waits for it.
        drop(bad);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
