//! Room for connections to instances, and those among them that wait for their next request.
//!
//! All threads of a gateway share the room. Each keeps its own connections: one is driven by the thread that has opened it, and to wake
//! another thread for each piece of an answer would cost more than a connection does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::Connection;

/// Shorter than the idle limits of common servers, so that a connection is seldom closed while it is being used.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// So many of each instance are kept, by each thread.
const MOST: usize = 1024;

/// After so long without use, a connection of one thread is given up where another thread opens one to the same instance: one that
/// serves few connections at a time would let it wait. Connections that are in use from moment to moment are not.
const SPARE: Duration = Duration::from_millis(50);

/// The place of one connection among those that there is room for.
pub(crate) type Place = OwnedSemaphorePermit;

/// The connections of one thread. Of each instance, the one that was used last is used next, so that those that are too many grow old.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// Which part of what is kept is this thread's.
    own: usize,
}

/// What the threads of a gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    room: Arc<Semaphore>,
    /// A part for each thread.
    kept: Box<[Mutex<Kept>]>,
    /// How many wait for a place. None is kept meanwhile. It grows before any part is searched, and is read with a part locked: what is
    /// kept without seeing it is found by the search.
    waiting: AtomicUsize,
}

type Kept = HashMap<SocketAddr, Vec<Idle>>;

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
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Room for so many connections in all, those that are used included.
    pub(crate) fn new(threads: NonZeroUsize, connections: usize) -> Self {
        let room = Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS)));
        let kept = (0..threads.get()).map(|_| Mutex::default()).collect();
        Self { room, kept, waiting: AtomicUsize::new(0) }
    }

    /// Gives up the connection that has been idle for longest. As everybody who waits does so, and none is kept meanwhile, nobody waits
    /// while one is idle.
    fn make_room(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let parts = self.kept.iter().filter_map(|part| Some((oldest(&lock(part))?.1, part)));
        // Meanwhile that part may have used or given up its oldest; another one will do.
        let first = parts.min_by_key(|(since, _)| *since).map(|(_, part)| part);
        let given_up = first.into_iter().chain(&self.kept).find_map(|part| {
            let mut kept = lock(part);
            let (address, _) = oldest(&kept)?;
            Some(kept.get_mut(&address)?.remove(0))
        });
        drop(given_up);
        Waiting(self)
    }
}

/// Which connection has been idle for longest, and since when.
fn oldest(kept: &Kept) -> Option<(SocketAddr, Instant)> {
    let first = kept.iter().filter_map(|(address, idle)| Some((*address, idle.first()?.since)));
    first.min_by_key(|(_, since)| *since)
}

fn lock(part: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// That of the thread with the `number`.
    pub(crate) fn of_thread(number: usize, shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), own: number % shared.kept.len() }
    }

    /// A place for another connection; none where there is no room until then.
    pub(crate) async fn place(&self, until: Instant) -> Option<Place> {
        match Arc::clone(&self.shared.room).try_acquire_owned() {
            Ok(place) => Some(place),
            // Seldom, and so no part of what every connection carries with it.
            Err(_) => Box::pin(self.wait_for_place(until)).await,
        }
    }

    async fn wait_for_place(&self, until: Instant) -> Option<Place> {
        let mut place = pin!(Arc::clone(&self.shared.room).acquire_owned());
        // In the queue before any is given up, so that it is given up for somebody who waits.
        if let Poll::Ready(place) = futures_util::poll!(place.as_mut()) {
            return place.ok();
        }
        let _waiting = self.shared.make_room();
        tokio::time::timeout_at(until.into(), place).await.ok()?.ok()
    }

    /// Gives up one that another thread keeps of this instance and does not use, because this one opens another.
    pub(crate) fn spare(&self, address: SocketAddr) {
        let others = self.shared.kept.iter().enumerate().filter(|(part, _)| *part != self.own);
        let spared = others.map(|(_, part)| part).find_map(|part| {
            let mut kept = lock(part);
            let idle = kept.get_mut(&address)?;
            let unused = idle.first().is_some_and(|first| first.since.elapsed() >= SPARE);
            unused.then(|| idle.remove(0))
        });
        // Here, where nobody waits for it.
        drop(spared);
    }

    /// A connection that waits for a request.
    pub(crate) fn take(&self, address: SocketAddr) -> Option<Box<Connection>> {
        let now = Instant::now();
        loop {
            // Bad ones are closed without holding up others.
            let mut idle = self.kept().get_mut(&address)?.pop()?;
            if idle.is_good(now) {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps one whose last answer has come in full, unless it is over, or somebody waits for its place. Whether it can be used again is found
    /// out when it is to be used: whoever asks now, while the last piece of the answer is still on its way to the client, makes hyper allocate
    /// another buffer for the next one.
    pub(crate) fn keep(&self, connection: Box<Connection>) {
        if connection.is_over() {
            return;
        }
        let mut kept = self.kept();
        if self.shared.waiting.load(Ordering::Relaxed) > 0 {
            return;
        }
        let idle = kept.entry(connection.address).or_default();
        if idle.len() < MOST {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes those that have become old, or that their instances have closed.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut bad = Vec::new();
        self.kept().retain(|_, idle| {
            bad.extend(idle.extract_if(.., |idle| !idle.is_good(now)));
            !idle.is_empty()
        });
        // Here, where nobody waits for it.
        drop(bad);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.shared.kept[self.own])
    }
}
