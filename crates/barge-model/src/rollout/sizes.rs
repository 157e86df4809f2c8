//! How many instances each set may have: the arithmetic of surge, availability and batches, in one place.
//!
//! Two limits hold at once: what runs never exceeds replicas + surge (I3), and what is available never falls below
//! replicas - unavailable by our doing (I2). Observations may be late, so a set never counts for more than its stored target,
//! and never for less room than it visibly takes.

use super::state::{InstancePhase, InstanceSet, Observed, Phase, RegistrarHealth, Role, RolloutSpec, RolloutStatus};

/// One set as seen, reduced to numbers.
#[derive(Clone, Copy)]
struct Seen {
    /// Available instances, at most the stored target: anything beyond is about to go.
    available: u32,
    /// Instances that take room: neither draining nor held.
    live: u32,
    /// Instances that are draining.
    draining: u32,
}

/// Writes the new targets into `status`.
pub(super) fn apply(spec: &RolloutSpec, status: &mut RolloutStatus, observed: &Observed) {
    let frozen = matches!(observed.registrar, RegistrarHealth::Unhealthy { .. });
    let plan = match status.set(Role::Candidate).or(status.set(Role::Stable)) {
        Some(set) => set.release.config.rollout.clone(),
        None => {
            // Nobody is there to take over: what is left may go at once.
            if !frozen {
                status.sets.iter_mut().for_each(|set| set.target = 0);
            }
            return;
        }
    };
    let replicas = spec.replicas;
    let ceiling = replicas.saturating_add(plan.surge(replicas));
    let has_stable = status.set(Role::Stable).is_some();
    let candidate = status.candidate.as_ref().map(|progress| progress.phase.clone());
    let (candidate_goal, stable_goal) = match &candidate {
        None => (0, replicas),
        Some(Phase::Starting | Phase::Gate) => {
            let first = plan.first(replicas);
            (first, replicas.min(ceiling.saturating_sub(first)))
        }
        Some(Phase::Progressing { batch } | Phase::Pausing { batch }) => {
            let (goal, _) = plan.goal(*batch, replicas);
            (goal, replicas.saturating_sub(goal))
        }
    };
    let floor = if has_stable { replicas.saturating_sub(plan.unavailable(replicas)) } else { 0 };
    let mut sizes = Sizes::new(status, observed, floor, ceiling);
    if frozen {
        if candidate.is_none() {
            sizes.raise(Role::Stable, stable_goal);
        }
        return;
    }
    sizes.lower(Role::Defunct, 0, None);
    let drain_cap = candidate.is_some().then(|| plan.surge(replicas).max(plan.unavailable(replicas)).max(1));
    sizes.lower(Role::Stable, stable_goal, drain_cap);
    sizes.lower(Role::Candidate, candidate_goal, None);
    sizes.raise(Role::Stable, stable_goal);
    sizes.raise(Role::Candidate, candidate_goal);
}

struct Sizes<'a> {
    status: &'a mut RolloutStatus,
    seen: Vec<Seen>,
    /// Available instances that may go without breaking the floor.
    spare: u32,
    ceiling: u32,
}

impl<'a> Sizes<'a> {
    fn new(status: &'a mut RolloutStatus, observed: &Observed, floor: u32, ceiling: u32) -> Self {
        let seen: Vec<Seen> = status.sets.iter().map(|set| look(set, observed)).collect();
        let available: u32 = seen.iter().map(|set| set.available).sum();
        Self { status, seen, spare: available.saturating_sub(floor), ceiling }
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
        let others: u32 = (0..self.seen.len())
            .filter(|other| *other != index)
            .map(|other| self.status.sets[other].target.max(self.seen[other].live))
            .sum();
        let set = &mut self.status.sets[index];
        if set.target < goal {
            set.target = goal.min(self.ceiling.saturating_sub(others)).max(set.target);
        }
    }
}

fn look(set: &InstanceSet, observed: &Observed) -> Seen {
    let mut seen = Seen { available: 0, live: 0, draining: 0 };
    for instance in observed.instances.iter().filter(|instance| instance.release == set.release.id) {
        match instance.phase {
            InstancePhase::Draining => seen.draining += 1,
            InstancePhase::Held => {}
            _ => seen.live += 1,
        }
        seen.available += u32::from(instance.available());
    }
    seen.available = seen.available.min(set.target);
    seen
}
