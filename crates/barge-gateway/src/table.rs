//! Who serves what: the registrations, fenced by generation and epoch, and the requests in flight of each instance.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

/// What a registration says the instance is; the protocol's `state`.
pub use barge_model::registration::Intent as PutState;
use barge_model::{InstanceId, ServiceKey};
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::snapshot::{self, SnapshotError};

/// The body of `PUT /v1/services/{service}/instances/{uid}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// Where the instance answers.
    pub address: SocketAddr,
    /// Grows with every change; an older one is refused.
    pub generation: u64,
    /// Grows with every change of the registrar's leader; an older one is refused.
    #[serde(default)]
    pub epoch: u64,
    /// Whether it gets traffic.
    pub state: PutState,
    /// Its share of traffic; 0 gives none.
    #[serde(default = "one")]
    pub weight: u32,
    /// Anything that discovery should pass on.
    #[serde(default)]
    pub meta: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

/// Why a registration was refused: the target holds a later one (409).
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The stored generation or epoch is later, or the stored state is terminal.
    #[error("generation {stored} is stored already")]
    Older {
        /// The stored generation.
        stored: u64,
        /// Whether the stored state is terminal.
        terminal: bool,
    },
    /// The registration could not be written to disk, so it was not taken.
    #[error("write the snapshot")]
    Snapshot(#[source] SnapshotError),
}

/// An instance as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The instance.
    pub uid: InstanceId,
    /// What was registered.
    #[serde(flatten)]
    pub put: Put,
}

/// Requests of one instance: the zero-traffic check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests that are not answered in full yet.
    pub in_flight: u64,
    /// Milliseconds since the last one came or ended.
    pub quiet_ms: u64,
    /// Requests since the gateway started.
    pub total: u64,
}

/// One registered instance with its counters.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) uid: InstanceId,
    /// The id as answers carry it.
    name: HeaderValue,
    pub(crate) put: Put,
    pub(crate) counters: Arc<Counters>,
    /// When the registration became what it is.
    since: u64,
}

/// The counters live on when the registration changes.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    in_flight: AtomicU64,
    total: AtomicU64,
    last: AtomicU64,
    /// When a connection to it was last refused; 0 for never.
    refused: AtomicU64,
}

impl Counters {
    fn new() -> Arc<Self> {
        Arc::new(Self { last: AtomicU64::new(now_ms()), ..Self::default() })
    }

    fn lately_refused(&self) -> bool {
        let at = self.refused.load(Ordering::Relaxed);
        at > 0 && now_ms().saturating_sub(at) < AVOID_MS
    }
}

/// Counts one request for as long as it lives.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Counters>);

impl InFlight {
    fn begin(counters: &Arc<Counters>) -> Self {
        counters.in_flight.fetch_add(1, Ordering::SeqCst);
        counters.total.fetch_add(1, Ordering::Relaxed);
        counters.last.store(now_ms(), Ordering::SeqCst);
        Self(Arc::clone(counters))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.last.store(now_ms(), Ordering::SeqCst);
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Picked {
    /// Notes that it took no connection: the others are preferred for a moment.
    pub(crate) fn refused(&self) {
        self.in_flight.0.refused.store(now_ms().max(1), Ordering::Relaxed);
    }
}

/// A service's instances, those that have ended included.
#[derive(Debug, Default)]
struct Service {
    entries: BTreeMap<InstanceId, Arc<Entry>>,
    /// Those among them that serve. Of those that have ended there may be thousands, and no request looks at them.
    online: Vec<Arc<Entry>>,
    turn: AtomicUsize,
}

/// An instance picked for one request.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) uid: InstanceId,
    pub(crate) name: HeaderValue,
    pub(crate) address: SocketAddr,
    pub(crate) in_flight: InFlight,
}

/// Why nothing could be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoInstance {
    UnknownService,
    NoneOnline,
}

/// How long an instance that took no connection is left alone while others are there, in milliseconds.
const AVOID_MS: u64 = 1000;

/// How long a tombstone is kept: longer than any late message may live.
const TOMBSTONE: Duration = Duration::from_secs(24 * 3600);

type Services = BTreeMap<ServiceKey, Service>;

/// The registrations of a gateway.
#[derive(Debug)]
pub struct Table {
    services: RwLock<Services>,
    /// Held by the one registration that is being taken in, so that nothing else waits for the disk.
    writing: Mutex<()>,
    revision: watch::Sender<u64>,
    snapshot: Option<PathBuf>,
    tombstone: Duration,
}

impl Table {
    /// A table that forgets everything when it is dropped; for tests.
    pub fn in_memory() -> Self {
        Self {
            services: RwLock::default(),
            writing: Mutex::default(),
            revision: watch::Sender::new(0),
            snapshot: None,
            tombstone: TOMBSTONE,
        }
    }

    /// A table that is kept in the file `snapshot`, and starts from what is there.
    ///
    /// # Errors
    /// The file exists and cannot be used; a damaged one is kept beside it.
    pub fn open(snapshot: PathBuf) -> Result<Self, SnapshotError> {
        let stored = snapshot::read(&snapshot)?;
        let mut services = Services::new();
        for (key, listed) in stored.instances {
            let uid = listed.uid.clone();
            let entry = Arc::new(Entry::new(listed, Counters::new(), now_ms()));
            services.entry(key).or_default().entries.insert(uid, entry);
        }
        services.values_mut().for_each(Service::find_online);
        Ok(Self {
            services: RwLock::new(services),
            revision: watch::Sender::new(stored.revision),
            snapshot: Some(snapshot),
            ..Self::in_memory()
        })
    }

    /// Keeps tombstones for `time` instead of a day.
    #[must_use]
    pub fn keep_tombstones(self, time: Duration) -> Self {
        Self { tombstone: time, ..self }
    }

    /// Takes a registration; the answer is the revision from which it is in force. Repeating one changes nothing.
    ///
    /// # Errors
    /// An older generation or epoch, or anything but terminal after terminal (R2); or the snapshot cannot be written.
    pub fn put(&self, key: &ServiceKey, uid: &InstanceId, put: Put) -> Result<u64, PutError> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now_ms();
        let before = *self.revision.borrow();
        // Whoever watches looks for another one, so that it may begin anew; a snapshot could hold any.
        let revision = before.wrapping_add(1);
        let listed = Listed { uid: uid.clone(), put };
        let counters = {
            let services = self.read();
            let stored = services.get(key).and_then(|service| service.entries.get(uid));
            if let Some(stored) = stored {
                judge(&stored.put, &listed.put)?;
                if stored.put == listed.put {
                    return Ok(before);
                }
            }
            stored.map(|entry| Arc::clone(&entry.counters))
        };
        // Stored before it is in force: what a restarted gateway would not know is never acknowledged.
        self.write(revision, key, &listed, now)?;
        let entry = Entry::new(listed, counters.unwrap_or_else(Counters::new), now);
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        let service = services.entry(key.clone()).or_default();
        service.entries.insert(uid.clone(), Arc::new(entry));
        service.find_online();
        // None of those that are forgotten serves.
        for service in services.values_mut() {
            service.entries.retain(|_, entry| !self.forgotten(entry, now));
        }
        services.retain(|_, service| !service.entries.is_empty());
        drop(services);
        self.revision.send_replace(revision);
        Ok(revision)
    }

    /// All that is known of a service's instances, those that have ended included, and the revision of the list.
    pub fn list(&self, key: &ServiceKey) -> (u64, Vec<Listed>) {
        let services = self.read();
        let list = services.get(key).map(|service| service.entries.values().map(|entry| entry.listed()).collect());
        (*self.revision.borrow(), list.unwrap_or_default())
    }

    /// Waits until the revision is another one than `seen`. One that is later than ours comes from before a loss of our snapshot.
    pub async fn changed_since(&self, seen: u64) {
        let mut receiver = self.revision.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = receiver.wait_for(|revision| *revision != seen).await;
    }

    /// The requests of an instance; `None` when it was never registered.
    pub fn traffic(&self, key: &ServiceKey, uid: &InstanceId) -> Option<Traffic> {
        let services = self.read();
        let counters = &services.get(key)?.entries.get(uid)?.counters;
        Some(Traffic {
            in_flight: counters.in_flight.load(Ordering::SeqCst),
            quiet_ms: now_ms().saturating_sub(counters.last.load(Ordering::SeqCst)),
            total: counters.total.load(Ordering::Relaxed),
        })
    }

    /// Picks an instance by turns, weighted; never one of `tried`. `only` asks for one instance by its id. One that took no
    /// connection a moment ago is picked only where there is no other.
    pub(crate) fn pick(
        &self,
        key: &ServiceKey,
        only: Option<&InstanceId>,
        tried: &[InstanceId],
    ) -> Result<Picked, NoInstance> {
        let services = self.read();
        let service = services.get(key).ok_or(NoInstance::UnknownService)?;
        let serves = |entry: &Entry| !tried.contains(&entry.uid) && only.is_none_or(|only| *only == entry.uid);
        service
            .by_turns(|entry| serves(entry) && !entry.counters.lately_refused())
            .or_else(|| service.by_turns(serves))
            .ok_or(NoInstance::NoneOnline)
    }

    fn read(&self) -> RwLockReadGuard<'_, Services> {
        self.services.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the snapshot as it will be with `changed` in it.
    fn write(&self, revision: u64, key: &ServiceKey, changed: &Listed, now: u64) -> Result<(), PutError> {
        let Some(path) = &self.snapshot else { return Ok(()) };
        let bytes = {
            let services = self.read();
            let mut instances = vec![(key, &changed.uid, &changed.put)];
            for (of, service) in services.iter() {
                let kept = service.entries.values().filter(|entry| !self.forgotten(entry, now));
                let others = kept.filter(|entry| (of, &entry.uid) != (key, &changed.uid));
                instances.extend(others.map(|entry| (of, &entry.uid, &entry.put)));
            }
            snapshot::bytes(path, revision, &instances).map_err(PutError::Snapshot)?
        };
        snapshot::write(path, &bytes).map_err(PutError::Snapshot)
    }

    fn forgotten(&self, entry: &Entry, now: u64) -> bool {
        let in_use = entry.counters.in_flight.load(Ordering::SeqCst) > 0;
        let age = Duration::from_millis(now.saturating_sub(entry.since));
        entry.put.state == PutState::Terminal && !in_use && age > self.tombstone
    }
}

impl Entry {
    fn new(listed: Listed, counters: Arc<Counters>, since: u64) -> Self {
        // An id is made of letters and digits.
        let name = HeaderValue::from_str(listed.uid.as_str()).unwrap_or(HeaderValue::from_static("unknown"));
        Self { uid: listed.uid, name, put: listed.put, counters, since }
    }

    fn listed(&self) -> Listed {
        Listed { uid: self.uid.clone(), put: self.put.clone() }
    }
}

impl Service {
    fn find_online(&mut self) {
        let online = self.entries.values().filter(|entry| entry.put.state == PutState::Online && entry.put.weight > 0);
        self.online = online.cloned().collect();
    }

    fn by_turns(&self, serves: impl Fn(&Entry) -> bool) -> Option<Picked> {
        let weight = |entry: &Entry| u64::from(entry.put.weight);
        let online = || self.online.iter().map(AsRef::as_ref).filter(|entry: &&Entry| serves(entry));
        let total: u64 = online().map(weight).sum();
        let mut turn = (self.turn.fetch_add(1, Ordering::Relaxed) as u64).checked_rem(total)?;
        for entry in online() {
            if turn < weight(entry) {
                // Counted under the table's lock: a terminal registration waits for it, and the zero-traffic check then sees it.
                let in_flight = InFlight::begin(&entry.counters);
                let (uid, name) = (entry.uid.clone(), entry.name.clone());
                return Some(Picked { uid, name, address: entry.put.address, in_flight });
            }
            turn -= weight(entry);
        }
        None
    }
}

/// Whether `put` may follow `stored`.
fn judge(stored: &Put, put: &Put) -> Result<(), PutError> {
    let terminal = stored.state == PutState::Terminal;
    let older = (put.epoch, put.generation) < (stored.epoch, stored.generation);
    let rewritten = put.generation == stored.generation && put.state != stored.state;
    if older || rewritten || (terminal && put.state != PutState::Terminal) {
        return Err(PutError::Older { stored: stored.generation, terminal });
    }
    Ok(())
}

/// Milliseconds of a clock that is never set back or forward: a quiet time must not come from a corrected clock.
fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}
