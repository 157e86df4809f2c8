//! The loop: wants -> intents, stored -> calls -> answers -> acknowledgements.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use barge_model::registration::{
    Acknowledged, Acknowledgements, Answer, Call, Candidate, Intent, Registration, Want, Wanted, WantedList, wants,
};
use barge_model::rollout::RegistrarHealth;
use barge_model::{InstanceId, ServiceKey, Timestamp};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::audit::Look;
use crate::journal::{Entry, Journal, JournalError};
use crate::targets::RegistrationTarget;
use crate::vanished::Vanished;

/// What can be set.
#[derive(Debug, Clone)]
pub struct RegistrarConfig {
    /// Where the intents are stored.
    pub journal: PathBuf,
    /// How often the target's real list is compared with the intents.
    pub audit_interval: Duration,
    /// How long one call may take.
    pub call_limit: Duration,
    /// Of many instances that vanish at once, one is gone when its address has refused connections for so long (R4).
    pub refused_for: Duration,
}

/// So many failed calls of one instance in a row mean that the target is down.
const FAILURES_UNTIL_UNHEALTHY: u32 = 3;

/// The way from a registrar to engines. Until the registrar has begun to work nothing is known of registrations, which is said as
/// such: an engine that took this for "nobody is online" would start its observations anew with every restart.
pub fn channel() -> (watch::Sender<Acknowledgements>, watch::Receiver<Acknowledgements>) {
    let health = RegistrarHealth::Unhealthy { reason: "the registrar has not begun to work yet".to_owned() };
    watch::channel(Acknowledgements { health, instances: BTreeMap::new() })
}

/// Registers what an engine reports.
pub struct Registrar<T> {
    pub(crate) target: Arc<T>,
    pub(crate) config: RegistrarConfig,
    journal: Journal,
    pub(crate) entries: BTreeMap<InstanceId, Entry>,
    calls: JoinSet<Answer>,
    /// What each call under way is about; kept apart from the call, which may break.
    under_way: HashMap<Id, (InstanceId, Call)>,
    pub(crate) audits: JoinSet<Look>,
    /// Services at whose list a first look has begun.
    pub(crate) looked_for: BTreeSet<ServiceKey>,
    /// Services whose list was seen since the start: of those it is known whom the target holds without our knowledge.
    pub(crate) looked_at: BTreeSet<ServiceKey>,
    /// Why the journal cannot be written, while it cannot.
    journal_trouble: Option<String>,
    vanished: Vanished,
    alarm: Option<String>,
}

impl<T: RegistrationTarget> Registrar<T> {
    /// Opens the journal.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(target: T, config: RegistrarConfig) -> Result<Self, JournalError> {
        let (journal, entries) = Journal::open(config.journal.clone())?;
        Ok(Self {
            target: Arc::new(target),
            vanished: Vanished::new(config.refused_for),
            config,
            journal,
            entries,
            calls: JoinSet::new(),
            under_way: HashMap::new(),
            audits: JoinSet::new(),
            looked_for: BTreeSet::new(),
            looked_at: BTreeSet::new(),
            journal_trouble: None,
            alarm: None,
        })
    }

    /// For engines whose addresses go with their instances: of many that vanish at once, one is also gone when its address has said nothing for so long.
    #[must_use]
    pub fn believe_silence(mut self, silent_for: Duration) -> Self {
        self.vanished.believe_silence(silent_for);
        self
    }

    /// The services of which the journal has instances. Whoever lists what exists has to list them too, where none is left of them.
    pub fn services(&self) -> BTreeSet<ServiceKey> {
        self.entries.values().map(|entry| entry.key.clone()).collect()
    }

    /// Works until `shutdown`.
    pub async fn run(
        mut self,
        mut wanted: watch::Receiver<WantedList>,
        acknowledgements: watch::Sender<Acknowledgements>,
        shutdown: CancellationToken,
    ) {
        let mut audit = tokio::time::interval(self.config.audit_interval);
        audit.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let list = wanted.borrow_and_update().clone();
            self.take_wants(&list);
            self.forget_the_gone(&list);
            self.look_at_new(&list);
            let wake = self.start_calls();
            self.publish(&list, &acknowledgements);
            let pause = wake.unwrap_or(Duration::from_secs(3600));
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { break },
                Some(answered) = self.calls.join_next_with_id() => {
                    self.take_answer(answered);
                    while let Some(answered) = self.calls.try_join_next_with_id() {
                        self.take_answer(answered);
                    }
                }
                Some(look) = self.audits.join_next() => if let Ok(look) = look { self.take_look(look) },
                Some(()) = self.vanished.take_check() => {}
                () = tokio::time::sleep(pause) => {}
                _ = audit.tick() => {
                    self.start_audit(&list);
                    self.vanished.start_checks(|id| self.entries.get(id).map(|entry| entry.address));
                }
                () = shutdown.cancelled() => break,
            }
        }
        self.calls.shutdown().await;
        self.audits.shutdown().await;
        self.vanished.shutdown().await;
    }

    fn take_wants(&mut self, list: &WantedList) {
        // What could not be stored is tried again in this very pass.
        self.journal_trouble = None;
        for (key, instances) in list {
            let candidates: Vec<Candidate> = instances.iter().map(|wanted| self.candidate(wanted)).collect();
            for (wanted, want) in instances.iter().zip(wants(&candidates)) {
                self.take_want(key, wanted, want);
            }
        }
    }

    fn candidate(&self, wanted: &Wanted) -> Candidate {
        Candidate {
            id: wanted.id.clone(),
            ready: wanted.ready,
            ending: wanted.ending,
            dead: wanted.dead,
            online: self.entries.get(&wanted.id).is_some_and(|entry| entry.registration.intent == Some(Intent::Online)),
        }
    }

    fn take_want(&mut self, key: &ServiceKey, wanted: &Wanted, want: Want) {
        let known = self.entries.get(&wanted.id);
        let mut entry = match (known, wanted.address) {
            (Some(entry), _) => entry.clone(),
            // Before its first readiness the target has nothing to know of an instance.
            (None, Some(address)) if want == Want::Be(Intent::Online) => {
                Entry { key: key.clone(), address, registration: Registration::default() }
            }
            (None, _) => return,
        };
        let changed = entry.registration.want(want);
        let online = entry.registration.intent == Some(Intent::Online) && wanted.ready;
        let moved = wanted.address.filter(|address| online && *address != entry.address);
        if let Some(address) = moved {
            entry.address = address;
            if !changed {
                // The target has the old address under the generation of before.
                entry.registration.generation = entry.registration.generation.saturating_add(1);
            }
        }
        if changed || moved.is_some() {
            self.store(&wanted.id, entry);
        }
    }

    /// Stores an intent, and only then lets it be acted on (R3).
    pub(crate) fn store(&mut self, id: &InstanceId, entry: Entry) {
        match self.journal.store(id, &entry) {
            Ok(()) => {
                self.entries.insert(id.clone(), entry);
            }
            Err(error) => {
                tracing::error!(instance = %id, error = &error as &dyn std::error::Error, "an intent could not be stored");
                self.journal_trouble = Some("the registrar's journal cannot be written".to_owned());
            }
        }
    }

    /// Entries of instances that the engine does not list any more. A few of many may vanish; most of a service at once are an error elsewhere, or one of
    /// somebody who has removed the engine's files, and each of those has to be proven (R4).
    fn forget_the_gone(&mut self, list: &WantedList) {
        let present: BTreeSet<&InstanceId> = list.values().flatten().map(|wanted| &wanted.id).collect();
        let gone: Vec<(InstanceId, bool)> = self
            .entries
            .iter()
            .filter(|(id, entry)| list.contains_key(&entry.key) && !present.contains(id))
            .map(|(id, entry)| (id.clone(), entry.registration.intent == Some(Intent::Terminal)))
            .collect();
        let mut unasked: BTreeSet<InstanceId> =
            gone.iter().filter(|(_, asked)| !asked).map(|(id, _)| id.clone()).collect();
        let mut doubted = self.too_many(&unasked);
        // Where another one is, none of them can be any more.
        let taken: BTreeSet<SocketAddr> = list.values().flatten().filter_map(|wanted| wanted.address).collect();
        unasked.retain(|id| self.entries.get(id).is_some_and(|entry| !taken.contains(&entry.address)));
        doubted.retain(|id| unasked.contains(id));
        self.vanished.update(&unasked, doubted);
        let alarm = self.vanished.alarm(self.entries.len());
        if let Some(alarm) = alarm.as_ref().filter(|alarm| self.alarm.as_ref() != Some(*alarm)) {
            tracing::error!("{alarm}");
        }
        self.alarm = alarm;
        for (id, _) in gone {
            if self.vanished.may_go(&id) {
                self.forget(&id);
            }
        }
    }

    /// Those of the `unasked` that are more than half of what is left of their service, even where that is one alone, or of what is left
    /// of all services together. Those that were asked to end are left of nothing.
    fn too_many(&self, unasked: &BTreeSet<InstanceId>) -> BTreeSet<InstanceId> {
        let left = |entry: &Entry| entry.registration.intent != Some(Intent::Terminal);
        let all: Vec<_> = self.entries.iter().filter(|(_, entry)| left(entry)).collect();
        if unasked.len() * 2 > all.len() {
            return unasked.clone();
        }
        let mut services: BTreeMap<&ServiceKey, (usize, Vec<&InstanceId>)> = BTreeMap::new();
        for (id, entry) in all {
            let (all, missing) = services.entry(&entry.key).or_default();
            *all += 1;
            missing.extend(unasked.get(id));
        }
        let lost = services.into_values().filter(|(all, missing)| missing.len() * 2 > *all);
        lost.flat_map(|(_, missing)| missing).cloned().collect()
    }

    /// Takes an instance back for good, and forgets it once the target has acknowledged that.
    fn forget(&mut self, id: &InstanceId) {
        let Some(mut entry) = self.entries.get(id).cloned() else { return };
        if entry.registration.want(Want::Be(Intent::Terminal)) {
            self.store(id, entry);
        } else if entry.registration.terminal() && entry.registration.in_flight.is_none() {
            match self.journal.remove(id) {
                Ok(()) => {
                    self.entries.remove(id);
                }
                Err(error) => tracing::warn!(instance = %id, error = &error as &dyn std::error::Error, "not forgotten"),
            }
        }
    }

    /// Starts the calls that are due; the answer is how long to wait for the next one.
    fn start_calls(&mut self) -> Option<Duration> {
        let now = now();
        let mut wake: Option<Duration> = None;
        for (id, entry) in &mut self.entries {
            if let Some(call) = entry.registration.next_call(now) {
                let (target, id, key, address) =
                    (Arc::clone(&self.target), id.clone(), entry.key.clone(), entry.address);
                let limit = self.config.call_limit;
                let about = (id.clone(), call);
                let handle = self.calls.spawn(async move {
                    let answer = tokio::time::timeout(limit, target.put(&key, &id, address, call)).await;
                    answer.unwrap_or(Answer::Failed)
                });
                self.under_way.insert(handle.id(), about);
            } else if entry.registration.in_flight.is_none() && entry.registration.retry_at > now {
                let left = entry.registration.retry_at.since(now).as_duration();
                wake = Some(wake.map_or(left, |wake| wake.min(left)));
            }
        }
        wake
    }

    fn take_answer(&mut self, answered: Result<(Id, Answer), JoinError>) {
        // A call that broke is one that failed.
        let (task, answer) = answered.unwrap_or_else(|error| (error.id(), Answer::Failed));
        let Some((id, call)) = self.under_way.remove(&task) else { return };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.registration.answered(call, answer, now()) {
            let entry = entry.clone();
            // An answer that cannot be stored is still true; after a restart the call is made again, which does no harm.
            if let Err(error) = self.journal.store(&id, &entry) {
                tracing::warn!(instance = %id, error = &error as &dyn std::error::Error, "an answer could not be stored");
            }
        }
    }

    fn publish(&self, list: &WantedList, sender: &watch::Sender<Acknowledgements>) {
        let failing = self.entries.values().any(|entry| entry.registration.failures >= FAILURES_UNTIL_UNHEALTHY);
        let reason = self
            .alarm
            .clone()
            .or_else(|| self.journal_trouble.clone())
            .or_else(|| failing.then(|| "the gateway does not take registrations".to_owned()));
        let health = reason.map_or(RegistrarHealth::Healthy, |reason| RegistrarHealth::Unhealthy { reason });
        // An instance that ends before it was ever registered has nothing to be taken back: saying so lets the engine stop it. Whether it
        // was, a journal that was lost cannot tell, but the target's list can.
        let never = |wanted: &Wanted| Acknowledged { online: false, offline: true, terminal: wanted.ending };
        let unregistered = list
            .iter()
            .filter(|(key, _)| self.looked_at.contains(*key))
            .flat_map(|(_, instances)| instances)
            .filter(|wanted| (wanted.ending || wanted.dead) && !self.entries.contains_key(&wanted.id))
            .map(|wanted| (wanted.id.clone(), never(wanted)));
        let instances = self
            .entries
            .iter()
            .map(|(id, entry)| {
                let known = &entry.registration;
                let (online, offline, terminal) = (known.online(), known.offline(), known.terminal());
                (id.clone(), Acknowledged { online, offline, terminal })
            })
            .chain(unregistered)
            .collect();
        let next = Acknowledgements { health, instances };
        sender.send_if_modified(|current| {
            let changed = *current != next;
            *current = next;
            changed
        });
    }
}

fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
