//! Which releases are kept when another one is made. What is needed to go back stays, and what decides about the releases to come.

use std::collections::BTreeSet;

use barge_model::ReleaseId;

use super::Situation;
use super::history::{promoted, same_definition};
use crate::store::StoredRelease;

impl Situation<'_> {
    /// The releases that go once another one has been made.
    pub(super) fn forgotten(&self) -> Vec<ReleaseId> {
        // The one that is made is the latest.
        let latest = limit(self.retention.releases).saturating_sub(1);
        let older = self.releases.get(latest..).unwrap_or_default();
        if older.is_empty() {
            return Vec::new();
        }
        let needed = self.needed();
        older.iter().map(|stored| &stored.release.id).filter(|id| !needed.contains(id)).cloned().collect()
    }

    fn needed(&self) -> BTreeSet<&ReleaseId> {
        // Whatever has instances, and what should run now.
        let mut needed: BTreeSet<&ReleaseId> = self.status.sets.iter().map(|set| &set.release.id).collect();
        needed.extend(self.service.as_ref().and_then(|service| service.target.as_ref()));
        // The first that served tells of every later release that it was not the first.
        let first = self.releases.iter().rev().find(|stored| promoted(stored));
        // What the next number of instances is compared with.
        let counted = self.releases.iter().find(|stored| self.decided_count(stored));
        let others = self.served().into_iter().chain(first).chain(counted);
        needed.extend(others.map(|stored| &stored.release.id));
        needed
    }

    /// The definitions that served last, each by the latest release that had it.
    fn served(&self) -> Vec<&StoredRelease> {
        let at_most = limit(self.retention.served).max(2);
        let mut served: Vec<&StoredRelease> = Vec::new();
        for stored in self.promoted() {
            if served.len() == at_most {
                break;
            }
            if !served.iter().any(|other| same_definition(&other.release, &stored.release)) {
                served.push(stored);
            }
        }
        served
    }
}

fn limit(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
