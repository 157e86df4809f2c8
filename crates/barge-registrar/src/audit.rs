//! Compares the target's real list with the intents (R3). The look is taken beside the loop, so that a target that hangs holds up no
//! instance that is ending; what has changed while it was taken is left for the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use barge_model::registration::{Intent, Registration, WantedList};
use barge_model::{InstanceId, ServiceKey};

use crate::journal::Entry;
use crate::registrar::Registrar;
use crate::targets::{Held, RegistrationTarget, TargetError};

/// What a target had acknowledged, by instance.
type Before = BTreeMap<InstanceId, Option<(u64, Intent)>>;

/// One look at the target's list of a service.
pub(crate) struct Look {
    key: ServiceKey,
    /// What the target had acknowledged when the look began, of instances without a call under way.
    before: Before,
    /// All that the journal knew then. What it has forgotten since was told its end, however late the list shows it.
    known: BTreeSet<InstanceId>,
    held: Result<BTreeMap<InstanceId, Held>, TargetError>,
}

impl<T: RegistrationTarget> Registrar<T> {
    /// Begins to look at every service, unless the last looks are not over yet.
    pub(crate) fn start_audit(&mut self, list: &WantedList) {
        if self.audits.is_empty() {
            let of_entries = self.entries.values().map(|entry| &entry.key);
            self.look_at(list.keys().chain(of_entries).cloned().collect());
        }
    }

    /// Begins a first look at services that are new, without which little can be said of their instances. Where it fails, the next audit is another.
    pub(crate) fn look_at_new(&mut self, list: &WantedList) {
        let new: BTreeSet<ServiceKey> = list.keys().filter(|key| !self.looked_for.contains(*key)).cloned().collect();
        if !new.is_empty() {
            self.look_at(new);
        }
    }

    fn look_at(&mut self, services: BTreeSet<ServiceKey>) {
        let mut looks: BTreeMap<&ServiceKey, (Before, BTreeSet<InstanceId>)> =
            services.iter().map(|key| (key, Default::default())).collect();
        for (id, entry) in &self.entries {
            let Some((before, known)) = looks.get_mut(&entry.key) else { continue };
            known.insert(id.clone());
            if entry.registration.in_flight.is_none() {
                before.insert(id.clone(), entry.registration.acknowledged);
            }
        }
        for (key, (before, known)) in looks {
            let (target, key, limit) = (Arc::clone(&self.target), key.clone(), self.config.call_limit);
            self.audits.spawn(async move {
                let held = tokio::time::timeout(limit, target.list(&key)).await;
                let held = held.unwrap_or_else(|_| Err(TargetError("it did not answer in time".to_owned())));
                Look { key, before, known, held }
            });
        }
        self.looked_for.extend(services);
    }

    /// Takes in what a look has seen.
    pub(crate) fn take_look(&mut self, look: Look) {
        let held = match look.held {
            Ok(held) => held,
            // A list that failed says nothing (R4).
            Err(error) => {
                tracing::debug!(key = %look.key, %error, "the target's list could not be had");
                return;
            }
        };
        self.looked_at.insert(look.key.clone());
        for (id, before) in &look.before {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            let listed = held.get(id).map(|held| (held.generation, held.state));
            if entry.registration.acknowledged == *before && entry.registration.audited(listed) {
                tracing::warn!(key = %look.key, instance = %id, "the target's list differed from the intent; telling it again");
            }
        }
        let known = |id: &InstanceId| look.known.contains(id) || self.entries.contains_key(id);
        let strange = held.into_iter().filter(|(id, held)| held.state != Intent::Terminal && !known(id));
        for (id, held) in strange.collect::<Vec<_>>() {
            self.take_over(&look.key, &id, held);
        }
    }

    /// An instance that the target holds and the journal does not, as after the loss of a journal. From now on it is treated like
    /// any other: told anew when it lives, and taken back when the engine does not list it, unless that concerns many at once.
    fn take_over(&mut self, key: &ServiceKey, id: &InstanceId, held: Held) {
        tracing::warn!(%key, instance = %id, "the target holds an instance that the journal does not know");
        let registration = Registration {
            generation: held.generation,
            intent: Some(held.state),
            acknowledged: Some((held.generation, held.state)),
            ..Registration::default()
        };
        self.store(id, Entry { key: key.clone(), address: held.address, registration });
    }
}
