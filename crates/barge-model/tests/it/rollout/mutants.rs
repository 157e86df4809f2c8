//! Each invariant is broken once on purpose: a check that cannot fail proves nothing.

use barge_model::manifest::Count;
use barge_model::rollout::{
    Action, Decision, InstancePhase, Observed, Phase, RegistrarHealth, Role, RolloutSpec, RolloutStatus, step,
};
use barge_model::{ReleaseId, Timestamp};

use super::explorer::{Budget, Explorer};
use super::fixtures::{Catalogue, plan};
use super::random;
use super::run::Step;
use super::world::{Engine, World};

const BUDGET: Budget = Budget { faults: 1, ticks: 1, outages: 1, scales: 1, aborts: 1, deploys: 2 };

/// The model check finds a violation of `invariant` in small worlds with this machine and this engine.
#[track_caller]
fn check_found(invariant: &str, step: Step, engine: Engine, unavailable: u32) {
    let plan = plan(Count::Absolute(1), Count::Absolute(unavailable), &[]);
    let catalogue = Catalogue::new(&plan, &[false, false, false]);
    let mut world = World::with_stable(&catalogue, 2);
    world.engine = engine;
    let found = Explorer::new(step, &catalogue, &[1, 3]).explore(world, BUDGET).unwrap_err();
    assert_eq!(found.violation.invariant, invariant, "{found:?}");
}

/// Changes the target of a set, in the status and in the action.
fn retarget(decision: &mut Decision, role: Role, change: impl Fn(u32) -> u32) {
    for set in decision.status.sets.iter_mut().filter(|set| set.role == role) {
        set.target = change(set.target);
        for action in &mut decision.actions {
            if let Action::Scale { release, target, .. } = action
                && *release == set.release.id
            {
                *target = set.target;
            }
        }
    }
}

fn phase(decision: &Decision) -> Option<&Phase> {
    decision.status.candidate.as_ref().map(|candidate| &candidate.phase)
}

#[test]
fn i1_an_approval_of_another_digest_that_counts_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let mut spec = spec.clone();
        for approval in &mut spec.approvals {
            if let Some(target) = spec.target.as_ref().filter(|target| target.id == approval.release) {
                approval.digest = target.digest.clone();
            }
        }
        step(&spec, status, observed, now)
    }
    check_found("I1", mutant, Engine::Sound, 0);
}

#[test]
fn i1_a_first_batch_in_percent_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let mut decision = step(spec, status, observed, now);
        retarget(&mut decision, Role::Candidate, |target| target.max((spec.replicas * 60).div_ceil(100)));
        decision
    }
    // More than the ceiling allows, or more than the gate does: both are noticed.
    let plan = plan(Count::Absolute(3), Count::Absolute(0), &[]);
    let catalogue = Catalogue::new(&plan, &[false, false]);
    let world = World::with_stable(&catalogue, 3);
    let found = Explorer::new(mutant, &catalogue, &[]).explore(world, BUDGET).unwrap_err();
    assert_eq!(found.violation.invariant, "I1", "{found:?}");
}

#[test]
fn i2_a_stable_instance_that_goes_before_the_new_one_serves_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let mut decision = step(spec, status, observed, now);
        if phase(&decision).is_some() {
            retarget(&mut decision, Role::Stable, |target| target.min(spec.replicas.saturating_sub(1)));
        }
        decision
    }
    check_found("I2", mutant, Engine::Sound, 0);
}

#[test]
fn i2_an_engine_that_stops_what_serves_first_is_found() {
    check_found("I2", step, Engine::StopsServingFirst, 0);
}

#[test]
fn i2_an_engine_that_takes_ready_for_available_is_found() {
    let scripts = random::script(0, 1u32..=1);
    let found = random::find(step, Engine::TakesReadyForAvailable, &scripts, 2000).unwrap_err();
    assert!(found.contains("I2 "), "{found}");
}

#[test]
fn i3_a_candidate_that_does_not_wait_for_room_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let mut decision = step(spec, status, observed, now);
        if matches!(phase(&decision), Some(Phase::Progressing { .. })) {
            retarget(&mut decision, Role::Candidate, |_| spec.replicas);
        }
        decision
    }
    check_found("I3", mutant, Engine::Sound, 0);
}

#[test]
fn i4_a_third_version_that_does_not_wait_for_the_drain_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let mut observed = observed.clone();
        observed.instances.retain(|instance| instance.phase != InstancePhase::Draining);
        step(spec, status, &observed, now)
    }
    check_found("I4", mutant, Engine::Sound, 0);
}

#[test]
fn i5_an_abort_that_waits_for_the_failing_release_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let starts = |id: &ReleaseId| observed.instances.iter().any(|i| i.release == *id && !i.available());
        let mut spec = spec.clone();
        let mut status = status.clone();
        if spec.withdrawn.as_ref().is_some_and(|withdrawn| starts(&withdrawn.release)) {
            spec.withdrawn = None;
            // And its deadline never passes.
            status.candidate.iter_mut().for_each(|candidate| candidate.progress_at = now);
        }
        step(&spec, &status, observed, now)
    }
    check_found("I5", mutant, Engine::Sound, 0);
}

#[test]
fn i5_an_abort_that_leaves_stable_short_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let mut decision = step(spec, status, observed, now);
        if spec.withdrawn.is_some() {
            retarget(&mut decision, Role::Stable, |target| target.saturating_sub(1));
        }
        decision
    }
    check_found("I5", mutant, Engine::Sound, 2);
}

#[test]
fn i6_an_aborted_candidate_that_comes_back_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let mut decision = step(spec, status, observed, now);
        retarget(&mut decision, Role::Defunct, |target| target.max(1));
        decision
    }
    let found = {
        let plan = plan(Count::Absolute(1), Count::Absolute(0), &[]);
        let catalogue = Catalogue::new(&plan, &[false, false]);
        let mut world = World::with_stable(&catalogue, 2);
        world.engine = Engine::GrowsWhatIsDefunct;
        let mut explorer = Explorer::new(mutant, &catalogue, &[1, 3]);
        explorer.liveness = false;
        explorer.explore(world, BUDGET).unwrap_err()
    };
    assert_eq!(found.violation.invariant, "I6", "{found:?}");
}

#[test]
fn i6_an_engine_that_replaces_a_lost_instance_of_a_defunct_set_is_found() {
    let scripts = random::script(0, 1u32..=1);
    let found = random::find(step, Engine::GrowsWhatIsDefunct, &scripts, 2000).unwrap_err();
    assert!(found.contains("I6 ") || found.contains("I7 "), "{found}");
}

#[test]
fn i6_scaling_that_touches_the_candidate_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let mut decision = step(spec, status, observed, now);
        if spec.replicas == 3 && phase(&decision) == Some(&Phase::Gate) {
            retarget(&mut decision, Role::Candidate, |_| 0);
        }
        decision
    }
    check_found("I6", mutant, Engine::Sound, 1);
}

#[test]
fn i7_a_held_instance_that_is_not_kept_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let mut decision = step(spec, status, observed, now);
        for action in &mut decision.actions {
            if let Action::Scale { keep_held, .. } = action {
                *keep_held = 0;
            }
        }
        decision
    }
    check_found("I7", mutant, Engine::Sound, 0);
}

#[test]
fn i7_an_engine_that_starts_another_in_the_place_of_a_held_one_is_found() {
    fn slow(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        // The machine learns late of a failed start.
        let mut observed = observed.clone();
        observed.instances.retain(|instance| instance.phase != InstancePhase::Held);
        step(spec, status, &observed, now)
    }
    check_found("I1", slow, Engine::ReplacesHeld, 0);
}

#[test]
fn i8_a_reconciler_that_acts_only_on_what_is_new_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let mut decision = step(spec, status, observed, now);
        if decision.status == *status {
            // It has acted on this status already; it thinks so at least.
            decision.actions.clear();
        }
        decision
    }
    let plan = plan(Count::Absolute(1), Count::Absolute(0), &[]);
    let catalogue = Catalogue::new(&plan, &[false, false]);
    let world = World::with_stable(&catalogue, 2);
    let found = Explorer::new(mutant, &catalogue, &[]).explore(world, BUDGET).unwrap_err();
    assert!(["I5", "I8"].contains(&found.violation.invariant), "{found:?}");
}

#[test]
fn i8_a_former_leader_without_a_fence_is_found() {
    let found = super::cases::two_leaders(false).unwrap_err();
    assert!(["I1", "I2", "I3", "I6"].contains(&found.invariant), "{found:?}");
}

#[test]
fn a_machine_that_does_not_notice_that_nobody_looked_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let mut status = status.clone();
        status.candidate.iter_mut().for_each(|candidate| candidate.stepped_at = None);
        step(spec, &status, observed, now)
    }
    let found = super::observation::find(mutant, 1000).unwrap_err();
    assert!(found.contains(" after "), "{found}");
}

#[test]
fn r5_a_release_that_goes_on_while_the_registrar_is_down_is_found() {
    fn mutant(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
        let observed = Observed { registrar: RegistrarHealth::Healthy, ..observed.clone() };
        step(spec, status, &observed, now)
    }
    check_found("R5", mutant, Engine::Sound, 0);
}
