//! Who serves what: the registrations, fenced by generation and epoch, and the requests in flight of each instance.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use barge_model::registration::Intent;
use barge_model::{InstanceId, ServiceKey};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::snapshot::{self, SnapshotError};

/// What a registration says the instance is; the protocol's `state`.
pub type PutState = Intent;

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
    pub(crate) put: Put,
    pub(crate) counters: Arc<Counters>,
}

/// The counters live on when the registration changes.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    in_flight: AtomicU64,
    total: AtomicU64,
    last: AtomicI64,
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

/// A service's instances: those that serve, and all that are known.
#[derive(Debug, Default)]
struct Service {
    entries: BTreeMap<InstanceId, Entry>,
    turn: AtomicUsize,
}

/// An instance picked for one request.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) uid: InstanceId,
    pub(crate) address: SocketAddr,
    pub(crate) in_flight: InFlight,
}

/// Why nothing could be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoInstance {
    UnknownService,
    NoneOnline,
}

/// How long a tombstone is kept, in milliseconds: longer than any late message may live.
const TOMBSTONE_MS: i64 = 24 * 3600 * 1000;

/// The registrations of a gateway.
#[derive(Debug)]
pub struct Table {
    services: RwLock<BTreeMap<ServiceKey, Service>>,
    revision: watch::Sender<u64>,
    snapshot: Option<PathBuf>,
}

impl Table {
    /// A table that forgets everything when it is dropped; for tests.
    pub fn in_memory() -> Self {
        Self { services: RwLock::default(), revision: watch::Sender::new(0), snapshot: None }
    }

    /// A table that is kept in the file `snapshot`, and starts from what is there.
    ///
    /// # Errors
    /// The file exists and cannot be used; a damaged one is kept beside it.
    pub fn open(snapshot: PathBuf) -> Result<Self, SnapshotError> {
        let stored = snapshot::read(&snapshot)?;
        let table = Self {
            services: RwLock::default(),
            revision: watch::Sender::new(stored.revision),
            snapshot: Some(snapshot),
        };
        {
            let mut services = table.services.write().unwrap_or_else(PoisonError::into_inner);
            for (key, listed) in stored.instances {
                let counters = Arc::new(Counters { last: AtomicI64::new(now_ms()), ..Counters::default() });
                let entry = Entry { uid: listed.uid.clone(), put: listed.put, counters };
                services.entry(key).or_default().entries.insert(listed.uid, entry);
            }
        }
        Ok(table)
    }

    /// Takes a registration; the answer is the revision from which it is in force. Repeating one changes nothing.
    ///
    /// # Errors
    /// An older generation or epoch, or anything but terminal after terminal (R2); or the snapshot cannot be written.
    pub fn put(&self, key: &ServiceKey, uid: &InstanceId, put: Put) -> Result<u64, PutError> {
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        let entries = services.get(key).map(|service| &service.entries);
        if let Some(stored) = entries.and_then(|entries| entries.get(uid)) {
            let terminal = stored.put.state == Intent::Terminal;
            let older = (put.epoch, put.generation) < (stored.put.epoch, stored.put.generation);
            let rewritten = put.generation == stored.put.generation && put.state != stored.put.state;
            if older || rewritten || (terminal && put.state != Intent::Terminal) {
                return Err(PutError::Older { stored: stored.put.generation, terminal });
            }
            if stored.put == put {
                return Ok(*self.revision.borrow());
            }
        }
        let revision = *self.revision.borrow() + 1;
        let entries = &mut services.entry(key.clone()).or_default().entries;
        let counters = entries.get(uid).map_or_else(
            || Arc::new(Counters { last: AtomicI64::new(now_ms()), ..Counters::default() }),
            |entry| Arc::clone(&entry.counters),
        );
        let entry = Entry { uid: uid.clone(), put, counters };
        let before = entries.insert(uid.clone(), entry);
        forget_old_tombstones(&mut services);
        if let Err(error) = self.write(&services, revision) {
            let entries = &mut services.entry(key.clone()).or_default().entries;
            match before {
                Some(before) => entries.insert(uid.clone(), before),
                None => entries.remove(uid),
            };
            return Err(PutError::Snapshot(error));
        }
        drop(services);
        self.revision.send_replace(revision);
        Ok(revision)
    }

    /// The instances of a service that get traffic or may get it again, and the revision of the list.
    pub fn list(&self, key: &ServiceKey) -> (u64, Vec<Listed>) {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        let list = services.get(key).map(|service| listed(service).collect()).unwrap_or_default();
        (*self.revision.borrow(), list)
    }

    /// Waits until the revision is later than `seen`.
    pub async fn changed_since(&self, seen: u64) {
        let mut receiver = self.revision.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = receiver.wait_for(|revision| *revision > seen).await;
    }

    /// The requests of an instance; `None` when it was never registered.
    pub fn traffic(&self, key: &ServiceKey, uid: &InstanceId) -> Option<Traffic> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        let counters = &services.get(key)?.entries.get(uid)?.counters;
        Some(Traffic {
            in_flight: counters.in_flight.load(Ordering::SeqCst),
            quiet_ms: now_ms().saturating_sub(counters.last.load(Ordering::SeqCst)).max(0).cast_unsigned(),
            total: counters.total.load(Ordering::Relaxed),
        })
    }

    /// Picks an instance by turns, weighted; never one of `tried`. `only` asks for one instance by its id.
    pub(crate) fn pick(
        &self,
        key: &ServiceKey,
        only: Option<&InstanceId>,
        tried: &[InstanceId],
    ) -> Result<Picked, NoInstance> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        let service = services.get(key).ok_or(NoInstance::UnknownService)?;
        let serves = |entry: &&Entry| {
            entry.put.state == Intent::Online
                && entry.put.weight > 0
                && !tried.contains(&entry.uid)
                && only.is_none_or(|only| *only == entry.uid)
        };
        let total: usize =
            service.entries.values().filter(serves).map(|entry| usize::try_from(entry.put.weight).unwrap_or(1)).sum();
        if total == 0 {
            return Err(NoInstance::NoneOnline);
        }
        let mut turn = service.turn.fetch_add(1, Ordering::Relaxed) % total;
        for entry in service.entries.values().filter(serves) {
            let weight = usize::try_from(entry.put.weight).unwrap_or(1);
            if turn < weight {
                // Counted under the table's lock: a terminal registration waits for it, and the zero-traffic check then sees it.
                let in_flight = InFlight::begin(&entry.counters);
                return Ok(Picked { uid: entry.uid.clone(), address: entry.put.address, in_flight });
            }
            turn -= weight;
        }
        Err(NoInstance::NoneOnline)
    }

    fn write(&self, services: &BTreeMap<ServiceKey, Service>, revision: u64) -> Result<(), SnapshotError> {
        let Some(path) = &self.snapshot else { return Ok(()) };
        let instances = services
            .iter()
            .flat_map(|(key, service)| listed(service).map(move |listed| (key.clone(), listed)))
            .collect();
        snapshot::write(path, &snapshot::Snapshot::new(revision, instances))
    }
}

fn listed(service: &Service) -> impl Iterator<Item = Listed> + '_ {
    service.entries.values().map(|entry| Listed { uid: entry.uid.clone(), put: entry.put.clone() })
}

fn forget_old_tombstones(services: &mut BTreeMap<ServiceKey, Service>) {
    let oldest = now_ms() - TOMBSTONE_MS;
    for service in services.values_mut() {
        service.entries.retain(|_, entry| {
            let in_use = entry.counters.in_flight.load(Ordering::SeqCst) > 0;
            entry.put.state != Intent::Terminal || in_use || entry.counters.last.load(Ordering::SeqCst) > oldest
        });
    }
    services.retain(|_, service| !service.entries.is_empty());
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
