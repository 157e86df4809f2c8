//! How many instances each set may have: the arithmetic of surge, availability and batches, in one place.
//!
//! Two limits hold at once: what runs never exceeds replicas + surge (I3), and what is available never falls below
//! replicas - unavailable by our doing (I2). Observations may be late, so a set never counts for more than its stored target,
//! and never for less room than it visibly takes.

use super::plan::RolloutPlan;
use super::state::{
    InstancePhase, InstanceSet, Observed, ObservedInstance, Phase, RegistrarHealth, Role, RolloutSpec, RolloutStatus,
};
use super::view::plan_of;

/// What bounds the actions beside the targets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// So many instances must stay available.
    pub(super) floor: u32,
    /// Of the available instances that belong to no set, so many are not needed.
    pub(super) strangers_may_go: u32,
}

/// Writes the new targets into `status`.
pub(super) fn apply(spec: &RolloutSpec, status: &mut RolloutStatus, observed: &Observed) -> Bounds {
    let frozen = matches!(observed.registrar, RegistrarHealth::Unhealthy { .. });
    let replicas = spec.replicas;
    let leading = status.set(Role::Candidate).or(status.set(Role::Stable));
    let Some(plan) = leading.map(|set| plan_of(&set.release).into_owned()) else {
        // Nobody is there to take over: what is left may go at once.
        if !frozen {
            status.sets.iter_mut().for_each(|set| set.target = 0);
        }
        let strange = Sizes::new(status, observed).strange.available;
        return Bounds { floor: 0, strangers_may_go: if replicas == 0 { strange } else { 0 } };
    };
    let (candidate_goal, stable_goal) = goals(&plan, status, observed, replicas);
    let has_stable = status.set(Role::Stable).is_some();
    let deciding = status.candidate.is_some();
    let approved = status.candidate.as_ref().is_some_and(|progress| progress.approval.is_some());
    let mut sizes = Sizes::new(status, observed);
    // Before anything was ever approved there is nothing whose availability could be kept.
    let kept = has_stable || approved || sizes.strange.live > 0;
    let floor = if kept { replicas.saturating_sub(plan.unavailable(replicas)) } else { 0 };
    sizes.limit(floor, replicas.saturating_add(plan.surge(replicas)));
    sizes.take_back_unstarted();
    if frozen {
        if !deciding {
            sizes.raise(Role::Stable, stable_goal);
        }
        return Bounds { floor, strangers_may_go: 0 };
    }
    sizes.lower(Role::Defunct, 0, None);
    let strangers_may_go = sizes.spare.min(sizes.strange.available);
    sizes.spare -= strangers_may_go;
    // Scaling down goes as fast as it may; the replacement by a candidate goes in small steps.
    sizes.lower(Role::Stable, replicas, None);
    let drain_cap = deciding.then(|| plan.surge(replicas).max(plan.unavailable(replicas)).max(1));
    sizes.lower(Role::Stable, stable_goal, drain_cap);
    sizes.lower(Role::Candidate, candidate_goal, None);
    sizes.raise(Role::Stable, stable_goal);
    sizes.raise(Role::Candidate, candidate_goal);
    Bounds { floor, strangers_may_go }
}

/// How many instances the candidate and the stable set should have in the end.
fn goals(plan: &RolloutPlan, status: &RolloutStatus, observed: &Observed, replicas: u32) -> (u32, u32) {
    let ceiling = replicas.saturating_add(plan.surge(replicas));
    let beside = |first: u32| (first, replicas.min(ceiling.saturating_sub(first)));
    match status.candidate.as_ref().map(|progress| &progress.phase) {
        None => (0, replicas),
        Some(Phase::Starting) => beside(plan.first(replicas)),
        Some(Phase::Gate) => {
            // At the gate the candidate does not grow: an instance that nobody has watched would start the clock anew (I6).
            let present = |set: &InstanceSet| set.target.max(look_at_set(set, observed).live);
            let present = status.set(Role::Candidate).map_or(0, present);
            beside(plan.first(replicas).min(present))
        }
        Some(Phase::Progressing { batch } | Phase::Pausing { batch }) => {
            let (goal, _) = plan.goal(*batch, replicas);
            (goal, replicas.saturating_sub(goal))
        }
    }
}

/// Some instances as seen, reduced to numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Available instances; of a set at most the stored target, because anything beyond is about to go.
    available: u32,
    /// Instances that take room: neither draining nor held.
    live: u32,
    /// Instances that are draining.
    draining: u32,
}

struct Sizes<'a> {
    status: &'a mut RolloutStatus,
    /// One for each set.
    seen: Vec<Seen>,
    /// Instances that belong to no set.
    strange: Seen,
    /// Available instances that may go without breaking the floor.
    spare: u32,
    ceiling: u32,
}

impl<'a> Sizes<'a> {
    fn new(status: &'a mut RolloutStatus, observed: &Observed) -> Self {
        let seen = status.sets.iter().map(|set| look_at_set(set, observed)).collect();
        let strange = look(
            observed
                .instances
                .iter()
                .filter(|instance| !status.sets.iter().any(|set| set.release.id == instance.release)),
        );
        Self { status, seen, strange, spare: 0, ceiling: 0 }
    }

    fn limit(&mut self, floor: u32, ceiling: u32) {
        let available = self.seen.iter().fold(self.strange.available, |sum, set| sum.saturating_add(set.available));
        self.spare = available.saturating_sub(floor);
        self.ceiling = ceiling;
    }

    /// What was decided and never started is decided anew: meanwhile there may be less room.
    fn take_back_unstarted(&mut self) {
        let total = self.status.sets.iter().zip(&self.seen).map(|(set, seen)| set.target.max(seen.live));
        let mut excess = total.fold(self.strange.live, u32::saturating_add).saturating_sub(self.ceiling);
        for role in [Role::Defunct, Role::Candidate, Role::Stable] {
            for (set, seen) in self.status.sets.iter_mut().zip(&self.seen).filter(|(set, _)| set.role == role) {
                let back = set.target.saturating_sub(seen.live).min(excess);
                set.target -= back;
                excess -= back;
            }
        }
    }

    /// Lowers the sets of `role` towards `goal`: what is not available goes freely, what is available only within `spare`.
    fn lower(&mut self, role: Role, goal: u32, drain_cap: Option<u32>) {
        for (set, seen) in self.status.sets.iter_mut().zip(&self.seen) {
            if set.role != role || set.target <= goal {
                continue;
            }
            let mut target = goal.max(seen.available.saturating_sub(self.spare));
            if let Some(cap) = drain_cap {
                target = target.max((seen.live + seen.draining).saturating_sub(cap));
            }
            let target = target.min(set.target);
            self.spare -= seen.available.saturating_sub(target).min(self.spare);
            set.target = target;
        }
    }

    /// Raises the set of `role` towards `goal`, as far as the ceiling leaves room.
    fn raise(&mut self, role: Role, goal: u32) {
        let Some(index) = self.status.sets.iter().position(|set| set.role == role) else { return };
        let others = (0..self.seen.len())
            .filter(|other| *other != index)
            .map(|other| self.status.sets[other].target.max(self.seen[other].live))
            .fold(self.strange.live, u32::saturating_add);
        let set = &mut self.status.sets[index];
        if set.target < goal {
            set.target = goal.min(self.ceiling.saturating_sub(others)).max(set.target);
        }
    }
}

fn look<'a>(instances: impl Iterator<Item = &'a ObservedInstance>) -> Seen {
    let mut seen = Seen::default();
    for instance in instances {
        match instance.phase {
            InstancePhase::Draining => seen.draining += 1,
            InstancePhase::Held => {}
            _ => seen.live += 1,
        }
        seen.available += u32::from(instance.available());
    }
    seen
}

fn look_at_set(set: &InstanceSet, observed: &Observed) -> Seen {
    let seen = look(observed.instances.iter().filter(|instance| instance.release == set.release.id));
    Seen { available: seen.available.min(set.target), ..seen }
}
