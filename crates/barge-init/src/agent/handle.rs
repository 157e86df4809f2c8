//! The agent's thread, which does what the course says, and the handle by which the supervisor tells it what the instance is.
//!
//! One thread makes all calls, one after the other: a heartbeat that is under way is over before the instance is deregistered, and none
//! comes after. Whoever holds the handle never waits for a registry, but in [`Handle::leave`], which is bounded.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::course::{Call, Course, Names, Outcome, Stage, Wanted};
use crate::status::in_words;

/// The longest that one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(2);

/// Whatever a registry says of its patience, it does not hear from us more often.
const LEAST_BEAT: Duration = Duration::from_millis(100);

/// What is told of the instance.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) service: String,
    pub(super) address: SocketAddr,
    pub(super) tags: Vec<String>,
    pub(super) meta: std::collections::BTreeMap<String, String>,
    /// How long the registry may hear nothing before it takes the instance for dead.
    pub(super) ttl: Duration,
}

/// A kind of registry. A call is idempotent: it may have been made before, without anybody knowing.
pub(super) trait Registry: Send {
    /// How it is spoken of from now on.
    fn names(&self) -> Names;

    /// Makes a call, until `deadline`.
    fn carry_out(&mut self, call: &Call, deadline: Instant) -> Outcome;

    /// How long it may hear nothing, where it has a word in that.
    fn ttl(&self) -> Option<Duration> {
        None
    }
}

/// The way to a running agent. Dropping it ends the heartbeats, and leaves the registration to its expiry.
#[derive(Debug)]
pub struct Handle {
    orders: Sender<Wanted>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    words: String,
    over: bool,
    /// Until when a leave is waited for, once there is one.
    leave_until: Option<Instant>,
}

impl Handle {
    /// Tells whether the instance is ready, and if not, why. Returns at once.
    pub fn ready(&self, ready: bool, reason: &str) {
        let wanted = if ready { Wanted::Ready } else { Wanted::NotReady(reason.to_owned()) };
        // The thread is gone once nothing is to be told any more.
        let _ = self.orders.send(wanted);
    }

    /// Ends the heartbeats, and begins to deregister the instance for good. Returns at once.
    pub fn begin_to_leave(&self) {
        let _ = self.orders.send(Wanted::Leaving);
    }

    /// Ends the heartbeats, deregisters the instance for good, and tells in words how it went; waits at most for `limit` from the first
    /// time that this is asked. What was not done by then is tried further for as long as the handle lives.
    pub fn leave(&self, limit: Duration) -> String {
        let sent = self.orders.send(Wanted::Leaving);
        let mut state = self.shared.lock();
        if sent.is_ok() {
            let now = Instant::now();
            let left = state.leave_until.get_or_insert(now + limit).saturating_duration_since(now);
            let waited = self.shared.changed.wait_timeout_while(state, left, |state| !state.over);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let words = &state.words;
        if state.over { words.clone() } else { format!("{words} (waited {})", in_words(limit)) }
    }

    /// How the registration stands, in words.
    pub fn state(&self) -> String {
        self.shared.lock().words.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread. `tell` hears in words of each change, in that thread.
pub(super) fn start(
    registry: Box<dyn Registry>,
    ttl: Duration,
    tell: impl Fn(&str) + Send + 'static,
) -> std::io::Result<Handle> {
    let (orders, receiver) = mpsc::channel();
    let course = Course::new(ttl / 3);
    let shared = Arc::new(Shared::default());
    shared.lock().words = course.words(&registry.names());
    let agent = Agent { course, registry, ttl, begin: Instant::now(), shared: Arc::clone(&shared), tell };
    let builder = std::thread::Builder::new().name("agent".to_owned()).stack_size(256 * 1024);
    builder.spawn(move || agent.run(&receiver))?;
    Ok(Handle { orders, shared })
}

struct Agent<T> {
    course: Course,
    registry: Box<dyn Registry>,
    /// As the plan says.
    ttl: Duration,
    begin: Instant,
    shared: Arc<Shared>,
    tell: T,
}

impl<T: Fn(&str)> Agent<T> {
    /// Makes the calls that are due until it is over, or the handle is gone.
    fn run(mut self, orders: &Receiver<Wanted>) {
        let random = RandomState::new();
        for number in 0u64.. {
            let before = self.course.stage();
            match self.order(orders) {
                Ok(Some(wanted)) => self.course.want(self.begin.elapsed(), wanted),
                Ok(None) => {
                    let Some(call) = self.course.next(self.begin.elapsed()) else { continue };
                    let (beat, outcome) = self.carry_out(&call);
                    let jitter = (random.hash_one(number) >> 32) as f64 / f64::from(u32::MAX);
                    self.course.answered(self.begin.elapsed(), &call, outcome, beat, jitter);
                }
                Err(Gone) => return,
            }
            self.publish(before);
            if self.course.is_over() {
                return;
            }
        }
    }

    /// The next order; none once a call is due.
    fn order(&self, orders: &Receiver<Wanted>) -> Result<Option<Wanted>, Gone> {
        match self.course.due() {
            None => orders.recv().map(Some).map_err(|_| Gone),
            Some(due) => {
                let left = due.saturating_sub(self.begin.elapsed());
                let order = if left.is_zero() {
                    orders.try_recv().map_err(|error| error == TryRecvError::Disconnected)
                } else {
                    orders.recv_timeout(left).map_err(|error| error == RecvTimeoutError::Disconnected)
                };
                match order {
                    Ok(wanted) => Ok(Some(wanted)),
                    Err(true) => Err(Gone),
                    Err(false) => Ok(None),
                }
            }
        }
    }

    fn carry_out(&mut self, call: &Call) -> (Duration, Outcome) {
        let limit = CALL_LIMIT.min(self.ttl / 3);
        let outcome = self.registry.carry_out(call, Instant::now() + limit);
        ((self.registry.ttl().unwrap_or(self.ttl) / 3).max(LEAST_BEAT), outcome)
    }

    /// Shows how things stand, and tells of it where that is new.
    fn publish(&self, before: Stage) {
        let words = self.course.words(&self.registry.names());
        let mut state = self.shared.lock();
        state.over = self.course.is_over();
        state.words.clone_from(&words);
        drop(state);
        self.shared.changed.notify_all();
        if self.course.stage() != before {
            (self.tell)(&words);
        }
    }
}

/// The handle is gone.
struct Gone;
