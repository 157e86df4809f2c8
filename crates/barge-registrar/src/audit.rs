//! Compares the target's real list with the intents (R3). The look is taken beside the loop, so that a target that hangs holds up no
//! instance that is ending; what has changed while it was taken is left for the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use barge_model::registration::{Intent, Registration, WantedList};
use barge_model::{InstanceId, ServiceKey};

use crate::journal::Entry;
use crate::registrar::Registrar;
use crate::targets::{Held, RegistrationTarget, TargetError};

/// One look at the target's list of a service.
pub(crate) struct Look {
    key: ServiceKey,
    /// What the target had acknowledged when the look began, of instances without a call under way.
    before: BTreeMap<InstanceId, Option<(u64, Intent)>>,
    /// All that the journal knew then. What it has forgotten since was told its end, however late the list shows it.
    known: BTreeSet<InstanceId>,
    held: Result<BTreeMap<InstanceId, Held>, TargetError>,
}

impl<T: RegistrationTarget> Registrar<T> {
    /// Begins to look at every service, unless the last looks are not over yet.
    pub(crate) fn start_audit(&mut self, list: &WantedList) {
        if !self.audits.is_empty() {
            return;
        }
        let keys: BTreeSet<&ServiceKey> = list.keys().chain(self.entries.values().map(|entry| &entry.key)).collect();
        for key in keys {
            let settled = |entry: &Entry| entry.key == *key && entry.registration.in_flight.is_none();
            let before = self
                .entries
                .iter()
                .filter(|(_, entry)| settled(entry))
                .map(|(id, entry)| (id.clone(), entry.registration.acknowledged))
                .collect();
            let of_service = self.entries.iter().filter(|(_, entry)| entry.key == *key);
            let known = of_service.map(|(id, _)| id.clone()).collect();
            let (target, key, limit) = (Arc::clone(&self.target), key.clone(), self.config.call_limit);
            self.audits.spawn(async move {
                let held = tokio::time::timeout(limit, target.list(&key)).await;
                let held = held.unwrap_or_else(|_| Err(TargetError("it did not answer in time".to_owned())));
                Look { key, before, known, held }
            });
        }
    }

    /// Takes in what a look has seen.
    pub(crate) fn take_look(&mut self, look: Look) {
        let mut held = match look.held {
            Ok(held) => held,
            // A list that failed says nothing (R4).
            Err(error) => {
                tracing::debug!(key = %look.key, %error, "the target's list could not be had");
                return;
            }
        };
        for (id, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.key == look.key) {
            let held = held.remove(id).map(|held| (held.generation, held.state));
            let unchanged = look.before.get(id) == Some(&entry.registration.acknowledged);
            if unchanged && entry.registration.audited(held) {
                tracing::warn!(key = %look.key, instance = %id, "the target's list differed from the intent; telling it again");
            }
        }
        let strange = held.into_iter().filter(|(id, held)| held.state != Intent::Terminal && !look.known.contains(id));
        for (id, held) in strange {
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
