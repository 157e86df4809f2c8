//! The stored status: what a version of Barge has written, a later one reads, and changes nothing by it (I9).

use std::rc::Rc;

use barge_model::manifest::Count;
use barge_model::rollout::{
    CandidateProgress, FailureReason, Finished, InstanceSet, Outcome, Phase, Role, RolloutStatus, step,
};
use barge_model::{Approval, Origin, Timestamp};

use super::fixtures::{Catalogue, START, digest, instance_id, plan, release};
use super::run::settle;
use super::world::World;
use crate::generated;

/// Every field and every kind of outcome once.
fn full() -> RolloutStatus {
    let plan = plan(Count::Percent(25), Count::Absolute(1), &["25%", "3"]);
    let releases: Vec<_> = (0..3).map(|number| release(number, plan.clone(), Origin::Deploy)).collect();
    let set = |number: usize, role, target, held_since| InstanceSet {
        release: releases[number].clone(),
        role,
        target,
        held_since,
    };
    let outcomes = [
        Outcome::Promoted,
        Outcome::Aborted,
        Outcome::Superseded,
        Outcome::RolledBack,
        Outcome::Failed { failure: FailureReason::StartFailed { instance: instance_id(7) } },
        Outcome::Failed { failure: FailureReason::DeadlineExceeded { available: 1, needed: 2 } },
    ];
    RolloutStatus {
        sets: vec![
            set(0, Role::Stable, 3, None),
            set(1, Role::Candidate, 2, None),
            set(2, Role::Defunct, 0, Some(START)),
        ],
        candidate: Some(CandidateProgress {
            phase: Phase::Pausing { batch: 1 },
            since: START,
            progress_at: START,
            progress: 2,
            observed: vec![(instance_id(5), 1)],
            approval: Some(Approval {
                release: releases[1].id.clone(),
                digest: digest(1),
                by: "grace".to_owned(),
                at: START,
            }),
            frozen: false,
            stepped_at: Some(START),
        }),
        finished: outcomes
            .into_iter()
            .map(|outcome| Finished { release: releases[0].id.clone(), outcome, at: Timestamp::from_millis(1) })
            .collect(),
    }
}

#[test]
fn the_stored_form_is_as_committed() {
    let text = serde_json::to_string_pretty(&full()).unwrap() + "\n";
    generated::check("tests/it/samples/rollout-status.json", &text);
}

#[test]
fn what_the_first_version_wrote_is_still_read() {
    // This file is never written anew: what it holds is stored somewhere.
    let text = include_str!("../samples/rollout-status-0.1.json");
    let read: RolloutStatus = serde_json::from_str(text).unwrap();
    let mut expected = full();
    // Defaults are stored as they were when the release was made.
    for set in &mut expected.sets {
        set.release.config.drain.limit = barge_model::Millis::from_secs(30);
    }
    // A later version notes when it looked; until its first step nothing is known of that.
    expected.candidate.as_mut().unwrap().stepped_at = None;
    assert_eq!(read, expected);
}

/// A world at rest, in which an upgraded controller reads the status with `read` and steps: what does that change?
fn after_an_upgrade(world: &World, catalogue: &Catalogue, read: fn(&str) -> RolloutStatus) -> Result<(), String> {
    let mut world = world.clone();
    world.status = Rc::new(read(&serde_json::to_string(&*world.status).unwrap()));
    let decision = step(&world.wish.spec(catalogue), &world.status, &world.observe(catalogue), world.now);
    for action in &decision.actions {
        let effects = world.carry_out(catalogue, action);
        if !effects.is_empty() {
            return Err(format!("{action:?} did {effects:?}"));
        }
    }
    Ok(())
}

/// Worlds at rest: idle, at the gate, after a failure.
fn worlds_at_rest(catalogue: &Catalogue) -> Vec<World> {
    let idle = World::with_stable(catalogue, 3);
    let mut gate = idle.clone();
    gate.wish.target = Some(1);
    settle(step, catalogue, &mut gate, None).unwrap();
    let mut failed = idle.clone();
    failed.wish.target = Some(1);
    super::run::step_fully(step, catalogue, &mut failed).unwrap();
    assert!(failed.crash(catalogue, 3));
    settle(step, catalogue, &mut failed, None).unwrap();
    vec![idle, gate, failed]
}

fn read(text: &str) -> RolloutStatus {
    serde_json::from_str(text).unwrap()
}

/// A version that infers roles: the newest release must be the stable one.
fn infers_roles(text: &str) -> RolloutStatus {
    let mut status = read(text);
    status.candidate = None;
    let newest = status.sets.iter().map(|set| set.release.id.clone()).max().unwrap();
    for set in &mut status.sets {
        set.role = if set.release.id == newest { Role::Stable } else { Role::Defunct };
    }
    status
}

/// A version that computes a release's identity anew, and takes one for the other.
fn computes_identity(text: &str) -> RolloutStatus {
    let mut status = read(text);
    let ids: Vec<_> = status.sets.iter().rev().map(|set| set.release.id.clone()).collect();
    for (set, id) in status.sets.iter_mut().zip(ids) {
        set.release.id = id;
    }
    status
}

#[test]
fn i9_an_upgrade_changes_no_running_instance() {
    let catalogue = Catalogue::new(&super::fixtures::simple_plan(), &[false, false]);
    for world in worlds_at_rest(&catalogue) {
        after_an_upgrade(&world, &catalogue, read).unwrap();
    }
}

#[test]
fn i9_a_version_that_infers_or_computes_what_is_stored_is_found() {
    let catalogue = Catalogue::new(&super::fixtures::simple_plan(), &[false, false]);
    let gate = &worlds_at_rest(&catalogue)[1];
    for broken in [infers_roles, computes_identity] {
        after_an_upgrade(gate, &catalogue, broken).unwrap_err();
    }
}
