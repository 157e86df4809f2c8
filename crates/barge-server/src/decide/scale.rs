//! How many instances: what somebody sets, and what `barge.yaml` says.
//!
//! A number in `barge.yaml` counts when it was changed there; as long as it is not, what was set by hand stays. A changed number is a
//! part of its release: where a person decides whether that goes on, the number waits for the approval as well, so that a release
//! which nobody has approved never takes instances from the one that serves.

use barge_model::Origin;
use barge_model::manifest::{MAX_REPLICAS, ServiceConfig};

use super::history::promoted;
use super::{Change, Refusal, Situation};
use crate::store::StoredRelease;

impl Situation<'_> {
    pub(super) fn scale(&self, replicas: u32) -> Result<Change, Refusal> {
        if replicas > MAX_REPLICAS {
            return Err(Refusal::TooManyReplicas(replicas));
        }
        let before = self.existing()?.replicas;
        let mut service = self.next_service();
        service.replicas = replicas;
        let mut message = in_words(before, replicas);
        let waits =
            |other: &&StoredRelease| other.approval.is_none() && other.release.config.rollout.gate.until.is_some();
        if let Some(other) = self.under_way().filter(waits) {
            message.push_str(&format!("; release {} keeps to its first batch until it is approved", other.number));
        }
        Ok(self.answer(service, None, message, "service.scale", format!("{before} -> {replicas}")))
    }

    /// The number that release `number` asks for, if it is another one than its predecessor in `barge.yaml` asked for.
    pub(super) fn newly_wanted(&self, config: &ServiceConfig, number: u32) -> Option<u32> {
        let wanted = config.replicas?;
        let before = self.releases.iter().find(|stored| stored.number < number && self.decided_count(stored));
        (before.and_then(|stored| stored.release.config.replicas) != Some(wanted)).then_some(wanted)
    }

    /// Whether the number of a release with this configuration waits for its approval.
    pub(super) fn approval_decides_count(&self, config: &ServiceConfig) -> bool {
        config.rollout.gate.until.is_some() && self.stable().is_some()
    }

    /// Whether the number in a release's configuration ever came into force.
    pub(super) fn decided_count(&self, stored: &StoredRelease) -> bool {
        let by_hand = stored.release.config.rollout.gate.until.is_some();
        let first = !self.releases.iter().any(|earlier| earlier.number < stored.number && promoted(earlier));
        stored.release.origin == Origin::Deploy && (!by_hand || stored.approval.is_some() || first)
    }
}

/// A change of the number of instances.
pub(super) fn in_words(before: u32, after: u32) -> String {
    let instances = if after == 1 { "instance" } else { "instances" };
    if before == after { format!("{after} {instances}, as before") } else { format!("{before} -> {after} {instances}") }
}
