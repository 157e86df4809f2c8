//! From the machine's actions to what is to be written: the number of a ReplicaSet, and pods that go by name.
//!
//! Why a set that is on its way out has no ReplicaSet: `docs/decisions/2026-11-28-operator.md`.

use std::collections::BTreeMap;

use barge_model::rollout::{Action, InstancePhase, ObservedInstance, Outcome, Role, RolloutStatus};
use barge_model::{InstanceId, ReleaseId};

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The release has a ReplicaSet in this role, with so many pods. Made where there is none.
    Keep {
        /// Which release.
        release: ReleaseId,
        /// What for.
        role: Role,
        /// How many pods, held ones among them.
        pods: u32,
    },
    /// The release's ReplicaSet goes, and leaves its pods behind.
    Disown {
        /// Which release.
        release: ReleaseId,
    },
    /// The pod of the instance goes.
    Delete {
        /// Which instance.
        instance: InstanceId,
    },
}

/// What is to be written, in this order. `sets` are the ReplicaSets that there are, each with its role and its number. Both they and the
/// instances have to be at least as new as what was written last.
pub fn changes(
    status: &RolloutStatus,
    actions: &[Action],
    instances: &[ObservedInstance],
    sets: &BTreeMap<ReleaseId, (Role, u32)>,
) -> Vec<Change> {
    // One that belongs to no set any more would put others in the place of those that go.
    let kept =
        |release: &ReleaseId| status.sets.iter().find(|set| set.release.id == *release && set.role != Role::Defunct);
    let mut changes: Vec<Change> = sets
        .keys()
        .filter(|release| kept(release).is_none())
        .map(|release| Change::Disown { release: release.clone() })
        .collect();
    for action in actions {
        match action {
            Action::Scale { release, target, keep_held } => match kept(release) {
                Some(set) => {
                    let pods = pods(instances, release, *target, *keep_held);
                    changes.extend(held(instances, release, *keep_held));
                    let wanted = (set.role, pods);
                    if sets.get(release) != Some(&wanted) {
                        changes.push(Change::Keep { release: release.clone(), role: set.role, pods });
                    }
                }
                None => changes.extend(going(instances, release, *target, *keep_held)),
            },
            Action::Stop { instance } => changes.push(Change::Delete { instance: instance.clone() }),
        }
    }
    // A role may have changed where the number has not, and where nothing is to be scaled at all.
    let named: Vec<ReleaseId> = changes.iter().filter_map(keeps).cloned().collect();
    for set in status.sets.iter().filter(|set| set.role != Role::Defunct && !named.contains(&set.release.id)) {
        if let Some((role, pods)) = sets.get(&set.release.id)
            && *role != set.role
        {
            changes.push(Change::Keep { release: set.release.id.clone(), role: set.role, pods: *pods });
        }
    }
    changes
}

/// Which of the releases that are written down need not be any more: those of no set, of which nothing is `left` either, but for the one that
/// was stable before, to which somebody may want to go back. Without that, each release would leave something for ever.
pub fn spent(written: Vec<ReleaseId>, status: &RolloutStatus, left: &[ReleaseId]) -> Vec<ReleaseId> {
    let stable = status.set(Role::Stable).map(|set| &set.release.id);
    let promoted = status.finished.iter().rev().filter(|end| end.outcome == Outcome::Promoted).map(|end| &end.release);
    let former = promoted.into_iter().find(|release| Some(*release) != stable);
    let of_set = |release: &ReleaseId| status.sets.iter().any(|set| set.release.id == *release);
    let is_needed = |release: &ReleaseId| of_set(release) || left.contains(release) || former == Some(release);
    written.into_iter().filter(|release| !is_needed(release)).collect()
}

fn keeps(change: &Change) -> Option<&ReleaseId> {
    match change {
        Change::Keep { release, .. } => Some(release),
        _ => None,
    }
}

/// How many pods a ReplicaSet is to have. A held one that is kept stands for one that was asked for: it is not replaced (I7).
fn pods(instances: &[ObservedInstance], release: &ReleaseId, target: u32, keep_held: u32) -> u32 {
    let held = count(instances, release, |phase| phase == InstancePhase::Held).min(keep_held);
    let live = count(instances, release, is_live);
    if live > target { target + held } else { target.max(live + held) }
}

/// Which pods of a set that is on its way out go: held ones that are not kept, then those that are not available.
fn going(instances: &[ObservedInstance], release: &ReleaseId, target: u32, keep_held: u32) -> Vec<Change> {
    let of_release = instances.iter().filter(|instance| instance.release == *release);
    let mut live: Vec<&ObservedInstance> = of_release.filter(|instance| is_live(instance.phase)).collect();
    // The same ones again, should it be asked twice.
    live.sort_by_key(|one| (one.available(), one.phase == InstancePhase::Ready, one.id.clone()));
    let surplus = live.len().saturating_sub(index(target));
    let live = live.into_iter().take(surplus).map(|instance| Change::Delete { instance: instance.id.clone() });
    held(instances, release, keep_held).chain(live).collect()
}

/// The held ones that nobody is to look at any more go; where the set has a ReplicaSet, others come in their place.
fn held<'a>(
    instances: &'a [ObservedInstance],
    release: &'a ReleaseId,
    keep: u32,
) -> impl Iterator<Item = Change> + use<'a> {
    let held = instances.iter().filter(|one| one.release == *release && one.phase == InstancePhase::Held);
    held.skip(index(keep)).map(|instance| Change::Delete { instance: instance.id.clone() })
}

fn count(instances: &[ObservedInstance], release: &ReleaseId, fits: impl Fn(InstancePhase) -> bool) -> u32 {
    let found = instances.iter().filter(|instance| instance.release == *release && fits(instance.phase));
    u32::try_from(found.count()).unwrap_or(u32::MAX)
}

fn is_live(phase: InstancePhase) -> bool {
    !matches!(phase, InstancePhase::Held | InstancePhase::Draining)
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
