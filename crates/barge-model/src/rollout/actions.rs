//! From the decided status to what an engine has to do.
//!
//! A target may have been decided a while ago, by a reconciler that died before it acted. What has changed since is weighed here:
//! an action that would now take away what is needed waits, or goes only as far as it may.

use super::sizes::Bounds;
use super::state::{Action, InstancePhase, InstanceSet, ObservedInstance, Role};
use super::view::{View, count};

/// The actions, in the order in which they are to be carried out.
pub(super) fn of(view: &View<'_>, bounds: Bounds) -> Vec<Action> {
    let mut sets: Vec<&InstanceSet> = view.status.sets.iter().collect();
    // Downwards first, so that the total never passes its limit between two actions.
    sets.sort_by_key(|set| match set.role {
        Role::Defunct => 0,
        Role::Stable => 1,
        Role::Candidate => 2,
    });
    let available = count(view.observed.instances.iter().filter(|instance| instance.available()));
    let mut spare = available.saturating_sub(bounds.floor).saturating_sub(bounds.strangers_may_go);
    let mut actions: Vec<Action> =
        sets.into_iter().filter_map(|set| Some(scale(set, target_now(view, set, &mut spare)?))).collect();
    actions.extend(stops(view, bounds.strangers_may_go));
    actions
}

fn scale(set: &InstanceSet, target: u32) -> Action {
    let keep_held = match (set.role, set.held_since) {
        // Each instance that fails to start is kept, and none is started in its place; one is kept in any case (I7).
        (Role::Candidate, _) => set.target.max(1),
        (_, held_since) => u32::from(held_since.is_some()),
    };
    Action::Scale { release: set.release.id.clone(), target, keep_held }
}

/// How far the set may be brought to its target now; nothing when it has to wait.
fn target_now(view: &View<'_>, set: &InstanceSet, spare: &mut u32) -> Option<u32> {
    let live = count(view.of(&set.release.id).filter(|instance| is_live(instance)));
    if view.frozen() {
        // A decision from before the freeze may still ask for fewer instances (R5).
        return (live < set.target && set.role != Role::Defunct).then_some(set.target);
    }
    let available = view.available(&set.release.id);
    let leaving = available.saturating_sub(set.target);
    let may_leave = leaving.min(*spare);
    *spare -= may_leave;
    if may_leave == leaving {
        return Some(set.target);
    }
    let staying = available - may_leave;
    (staying < live).then_some(staying)
}

/// Instances that belong to no set end: what does not serve at once, what serves as far as it is not needed.
fn stops(view: &View<'_>, mut may_go: u32) -> Vec<Action> {
    if view.frozen() {
        return Vec::new();
    }
    let strange = view.observed.instances.iter().filter(|instance| {
        instance.phase != InstancePhase::Draining
            && !view.status.sets.iter().any(|set| set.release.id == instance.release)
    });
    strange
        .filter(|instance| {
            let goes = !instance.available() || may_go > 0;
            may_go = may_go.saturating_sub(u32::from(instance.available()));
            goes
        })
        .map(|instance| Action::Stop { instance: instance.id.clone() })
        .collect()
}

fn is_live(instance: &ObservedInstance) -> bool {
    !matches!(instance.phase, InstancePhase::Held | InstancePhase::Draining)
}
