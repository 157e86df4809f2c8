//! What a step looks at, and the few questions that its parts ask of it.

use std::borrow::Cow;

use super::plan::{Gate, RolloutPlan};
use super::state::{InstancePhase, Observed, ObservedInstance, RegistrarHealth, Role, RolloutSpec, RolloutStatus};
use crate::ids::{InstanceId, ReleaseId};
use crate::release::{Origin, Release};
use crate::time::Timestamp;

/// One step's arguments, with the status as far as it is decided.
pub(super) struct View<'a> {
    pub(super) spec: &'a RolloutSpec,
    pub(super) observed: &'a Observed,
    pub(super) now: Timestamp,
    pub(super) status: RolloutStatus,
}

impl View<'_> {
    /// Registrations do not go through: releases freeze, and nothing is stopped (R5).
    pub(super) fn frozen(&self) -> bool {
        matches!(self.observed.registrar, RegistrarHealth::Unhealthy { .. })
    }

    pub(super) fn of<'b>(&'b self, release: &'b ReleaseId) -> impl Iterator<Item = &'b ObservedInstance> {
        self.observed.instances.iter().filter(move |instance| instance.release == *release)
    }

    pub(super) fn available(&self, release: &ReleaseId) -> u32 {
        count(self.of(release).filter(|instance| instance.available()))
    }

    /// The available instances of `release`, each with its restarts.
    pub(super) fn identities(&self, release: &ReleaseId) -> Vec<(InstanceId, u32)> {
        let mut list: Vec<_> = self
            .of(release)
            .filter(|instance| instance.available())
            .map(|instance| (instance.id.clone(), instance.restarts))
            .collect();
        list.sort();
        list
    }

    /// Instances of other releases than the candidate that run and are not yet on their way out.
    pub(super) fn old_running(&self) -> u32 {
        let candidate = self.status.set(Role::Candidate).map(|set| &set.release.id);
        count(self.observed.instances.iter().filter(|instance| {
            Some(&instance.release) != candidate
                && !matches!(instance.phase, InstancePhase::Draining | InstancePhase::Held)
        }))
    }

    /// Instances of defunct sets that still exist; those held for inspection are not in anybody's way.
    pub(super) fn leftovers(&self) -> u32 {
        let defunct = |release: &ReleaseId| {
            self.status.sets.iter().any(|set| set.role == Role::Defunct && set.release.id == *release)
        };
        count(
            self.observed
                .instances
                .iter()
                .filter(|instance| instance.phase != InstancePhase::Held && defunct(&instance.release)),
        )
    }
}

/// How a release goes. A rollback repeats what people have approved and watched before: it takes no time for observing (I5).
pub(super) fn plan_of(release: &Release) -> Cow<'_, RolloutPlan> {
    let plan = &release.config.rollout;
    if !matches!(release.origin, Origin::Rollback { .. }) {
        return Cow::Borrowed(plan);
    }
    let gate = Gate { hold: None, ..plan.gate.clone() };
    Cow::Owned(RolloutPlan { gate, batches: Vec::new(), ..plan.clone() })
}

/// Counts as the machine counts.
pub(super) fn count<'a>(instances: impl Iterator<Item = &'a ObservedInstance>) -> u32 {
    u32::try_from(instances.count()).unwrap_or(u32::MAX)
}
