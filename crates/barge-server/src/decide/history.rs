//! What has been so far: which release is on its way, which one serves, and which ones served before.

use barge_model::manifest::ServiceConfig;
use barge_model::rollout::{Finished, Outcome, Role};
use barge_model::{Release, ReleaseId};

use super::{Refusal, Situation};
use crate::store::{StoredRelease, StoredService};

impl Situation<'_> {
    /// The number of the next release.
    pub(super) fn next_number(&self) -> u32 {
        self.releases.first().map_or(0, |latest| latest.number) + 1
    }

    /// The release that should run and has not ended, one way or the other.
    pub(super) fn under_way(&self) -> Option<&StoredRelease> {
        let serves = |target: &&StoredRelease| {
            self.status.set(Role::Stable).is_some_and(|set| set.release.id == target.release.id)
        };
        self.target().filter(|target| target.finished.is_none() && !serves(target))
    }

    /// The release that failed, as long as nobody has let go of what is held of it.
    pub(super) fn failed(&self) -> Option<&StoredRelease> {
        self.target().filter(|target| failed(target))
    }

    /// The release that should run, unless somebody has taken it back.
    fn target(&self) -> Option<&StoredRelease> {
        let service = self.service.as_ref()?;
        let target = service.target.as_ref()?;
        let withdrawn = service.withdrawn.as_ref().is_some_and(|withdrawn| withdrawn.release == *target);
        self.releases.iter().find(|stored| stored.release.id == *target).filter(|_| !withdrawn)
    }

    /// The release that serves.
    pub(super) fn stable(&self) -> Option<&StoredRelease> {
        let id = match self.status.set(Role::Stable) {
            Some(set) => &set.release.id,
            // An engine that has lost everything: what was promoted last.
            None => return self.promoted().next(),
        };
        self.releases.iter().find(|stored| stored.release.id == *id)
    }

    /// The release that served before `stable`; what runs the same does not count.
    pub(super) fn stable_before(&self, stable: &StoredRelease) -> Option<&StoredRelease> {
        self.promoted()
            .skip_while(|stored| stored.release.id != stable.release.id)
            .find(|stored| !same_definition(&stored.release, &stable.release))
    }

    /// Releases that have served, the latest first: none overtakes another (I4), whatever the clock said.
    pub(super) fn promoted(&self) -> impl Iterator<Item = &StoredRelease> {
        let mut list: Vec<&StoredRelease> = self.releases.iter().filter(|stored| promoted(stored)).collect();
        list.sort_by_key(|stored| std::cmp::Reverse(stored.number));
        list.into_iter()
    }

    pub(super) fn find(&self, id: &ReleaseId) -> Result<&StoredRelease, Refusal> {
        self.existing()?;
        let found = self.releases.iter().find(|stored| stored.release.id == *id);
        found.ok_or_else(|| Refusal::UnknownRelease { key: self.key.clone(), release: id.clone() })
    }

    pub(super) fn existing(&self) -> Result<&StoredService, Refusal> {
        self.service.as_ref().ok_or_else(|| Refusal::UnknownService(self.key.clone()))
    }

    pub(super) fn refuse_ended(&self, stored: &StoredRelease) -> Result<(), Refusal> {
        let how = match stored.finished.as_ref().map(|finished| &finished.outcome) {
            Some(Outcome::Promoted) => "it is complete",
            Some(Outcome::Aborted) => "it was aborted",
            Some(Outcome::Superseded) => "a newer one took its place",
            Some(Outcome::RolledBack) => "it was rolled back",
            Some(Outcome::Failed { .. }) => "it failed",
            None if self.under_way().is_none_or(|other| other.release.id != stored.release.id) => {
                "it is not on its way any more"
            }
            None => return Ok(()),
        };
        Err(Refusal::Ended { key: self.key.clone(), number: stored.number, how })
    }
}

/// Whether a release has become stable once.
pub(super) fn promoted(stored: &StoredRelease) -> bool {
    matches!(stored.finished, Some(Finished { outcome: Outcome::Promoted, .. }))
}

/// Whether a release failed by itself.
pub(super) fn failed(stored: &StoredRelease) -> bool {
    matches!(stored.finished, Some(Finished { outcome: Outcome::Failed { .. }, .. }))
}

/// Whether going from one release to the other would change nothing that runs. How many instances there are, and how the release
/// went, is no part of what runs.
pub(super) fn same_definition(a: &Release, b: &Release) -> bool {
    // Named one by one, so that a new part of a configuration has to be decided about. Nothing is copied: many pairs are compared.
    let ServiceConfig {
        kind,
        command,
        healthcheck,
        templates,
        replicas: _,
        env,
        resources,
        rollout: _,
        drain,
        start_deadline,
    } = &a.config;
    let other = &b.config;
    a.digest == b.digest
        && (kind, command, healthcheck, templates)
            == (&other.kind, &other.command, &other.healthcheck, &other.templates)
        && (env, resources, drain) == (&other.env, &other.resources, &other.drain)
        && *start_deadline == other.start_deadline
}
