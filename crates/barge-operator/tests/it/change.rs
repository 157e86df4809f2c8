//! Whole releases over ReplicaSets, with an operator that is killed between any two writes.

use std::collections::BTreeMap;

use barge_model::rollout::{
    Action, InstancePhase, InstanceSet, ObservedInstance, Outcome, Role, RolloutStatus, Withdrawal,
};
use barge_model::{InstanceId, Release, ReleaseId, Timestamp};
use barge_operator::change::{Change, changes, spent};
use proptest::prelude::*;

use crate::world::World;
use barge_world::{approval, release};

/// Until nothing changes any more.
fn settle(world: &mut World, held: impl Fn(&ReleaseId) -> bool + Copy) {
    for _ in 0..60 {
        world.look();
        world.reconcile(usize::MAX);
        world.replica_sets();
        world.live(held);
    }
}

/// A first release that serves with so many instances.
fn serving(replicas: u32) -> (World, Release) {
    let first = release(1);
    let mut world = World::default();
    world.spec.replicas = replicas;
    world.spec.target = Some(first.clone());
    world.spec.approvals = vec![approval(&first)];
    settle(&mut world, |_| false);
    assert_eq!((world.available(), world.pods.len()), (index(replicas), index(replicas)));
    assert_eq!(world.sets[&first.id], (Role::Stable, replicas));
    (world, first)
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap()
}

#[test]
fn one_instance_then_an_approval_then_the_rest() {
    let (mut world, first) = serving(4);
    let second = release(2);
    world.spec.target = Some(second.clone());
    settle(&mut world, |_| false);
    assert_eq!((world.of(&first.id), world.of(&second.id)), (4, 1), "I1");
    assert_eq!(world.sets[&second.id], (Role::Candidate, 1));
    world.spec.approvals = vec![approval(&second)];
    settle(&mut world, |_| false);
    assert_eq!((world.of(&first.id), world.of(&second.id)), (0, 4));
    assert_eq!(world.sets.len(), 1, "the former set has no ReplicaSet any more: {:?}", world.sets);
    assert_eq!(world.sets[&second.id], (Role::Stable, 4));
}

#[test]
fn what_is_written_down_of_a_release_goes_when_nobody_needs_it_any_more() {
    let (mut world, first) = serving(3);
    let releases: Vec<Release> = (1..=4).map(release).collect();
    for next in &releases[1..3] {
        world.spec.target = Some(next.clone());
        world.spec.approvals = vec![approval(next)];
        settle(&mut world, |_| false);
    }
    world.spec.target = Some(releases[3].clone());
    settle(&mut world, |_| false);
    let written = || releases.iter().map(|release| release.id.clone()).collect();
    let gone = [first.id.clone()];
    assert_eq!(spent(written(), &world.status, &[]), gone, "not the candidate, the stable one, and the one before");
    assert_eq!(spent(written(), &world.status, &gone), [], "something of it is left");
    world.spec.withdrawn = Some(Withdrawal { release: releases[3].id.clone(), rolled_back: false });
    settle(&mut world, |_| false);
    assert_eq!(spent(written(), &world.status, &[]), [first.id, releases[3].id.clone()], "an aborted one goes");
}

#[test]
fn a_start_that_fails_is_kept_and_not_repeated() {
    let (mut world, first) = serving(3);
    let second = release(2);
    let broken = |release: &ReleaseId| *release == second.id;
    world.spec.target = Some(second.clone());
    settle(&mut world, broken);
    assert!(matches!(world.status.outcome(&second.id).unwrap().outcome, Outcome::Failed { .. }));
    let held: Vec<_> = world.pods.iter().filter(|pod| pod.phase == InstancePhase::Held).collect();
    assert_eq!((held.len(), world.of(&second.id), world.of(&first.id)), (1, 1, 3), "I7");
    assert!(!world.sets.contains_key(&second.id), "nobody starts another one");
    world.spec.withdrawn = Some(Withdrawal { release: second.id.clone(), rolled_back: false });
    settle(&mut world, broken);
    assert_eq!((world.of(&second.id), world.of(&first.id)), (0, 3));
}

#[test]
fn one_that_fails_late_is_kept_while_the_others_go() {
    let (mut world, first) = serving(4);
    let second = release(2);
    world.spec.target = Some(second.clone());
    settle(&mut world, |_| false);
    world.spec.approvals = vec![approval(&second)];
    // The first one has started; all others cannot.
    settle(&mut world, |release| *release == second.id);
    let held = world.pods.iter().filter(|pod| pod.phase == InstancePhase::Held).count();
    assert_eq!(held, 1, "one is kept: {:?}", world.pods);
    assert_eq!((world.of(&first.id), world.of(&second.id)), (4, 1));
}

#[test]
fn a_scale_at_the_gate_is_for_the_stable_one_alone() {
    let (mut world, first) = serving(4);
    let second = release(2);
    world.spec.target = Some(second.clone());
    settle(&mut world, |_| false);
    for replicas in [20, 3, 7] {
        world.spec.replicas = replicas;
        settle(&mut world, |_| false);
        assert_eq!((world.of(&first.id), world.of(&second.id)), (index(replicas), 1), "I6");
    }
}

#[test]
fn a_replica_set_that_somebody_has_removed_or_changed_comes_back() {
    let (mut world, first) = serving(3);
    world.sets.insert(first.id.clone(), (Role::Candidate, 9));
    world.reconcile(usize::MAX);
    assert_eq!(world.sets[&first.id], (Role::Stable, 3));
    world.sets.clear();
    settle(&mut world, |_| false);
    assert_eq!(world.sets[&first.id], (Role::Stable, 3));
}

proptest! {
    /// What people do, where the operator is killed, and when it hears of the pods.
    #[test]
    fn killed_between_any_two_writes_and_told_late_it_comes_to_the_same_end(
        turns in prop::collection::vec((0usize..3, any::<bool>(), any::<bool>(), any::<bool>()), 1..80),
        replicas in 1u32..8,
        fails in any::<bool>(),
    ) {
        let (mut world, first) = serving(replicas);
        let second = release(2);
        let broken = |release: &ReleaseId| fails && *release == second.id;
        world.spec.target = Some(second.clone());
        let half = turns.len() / 2;
        for (number, (writes, looks, controls, lives)) in turns.into_iter().enumerate() {
            if number == half {
                world.spec.approvals = vec![approval(&second)];
            }
            if looks {
                world.look();
            }
            world.reconcile(writes);
            if controls {
                world.replica_sets();
            }
            let approved = !world.spec.approvals.iter().all(|approval| approval.release != second.id);
            prop_assert!(approved || world.of(&second.id) <= 1, "I1: {:?}", world.pods);
            prop_assert!(world.available() >= index(replicas), "I2: {:?}", world.pods);
            if lives {
                world.live(broken);
            }
        }
        world.spec.approvals = vec![approval(&second)];
        settle(&mut world, broken);
        prop_assert_eq!(world.available(), index(replicas));
        let (kept, gone) = if fails { (&first.id, &second.id) } else { (&second.id, &first.id) };
        prop_assert_eq!(world.of(kept), index(replicas));
        prop_assert_eq!(world.of(gone), usize::from(fails), "the held one alone");
        prop_assert_eq!(world.sets.len(), 1);
    }
}

#[test]
fn a_held_one_that_is_kept_stands_for_one_that_was_asked_for() {
    let release = release(1);
    let instance = |number: u128, phase| ObservedInstance {
        id: InstanceId::from_parts(Timestamp::default(), number),
        release: release.id.clone(),
        phase,
        restarts: 0,
        online: false,
    };
    let set = InstanceSet { release: release.clone(), role: Role::Candidate, target: 0, held_since: None };
    let status = RolloutStatus { sets: vec![set], ..RolloutStatus::default() };
    let (ready, held, draining) = (InstancePhase::Ready, InstancePhase::Held, InstancePhase::Draining);
    for (phases, target, keep_held, pods, deleted) in [
        (vec![], 2, 2, 2, 0),
        (vec![held], 1, 1, 1, 0),
        (vec![ready, held], 3, 3, 3, 0),
        // A smaller target is for those that run; the held one is apart.
        (vec![ready, ready, held], 1, 1, 2, 0),
        // It is not kept any more: it goes, and another one comes.
        (vec![ready, held], 2, 0, 2, 1),
        (vec![ready, draining], 1, 1, 1, 0),
    ] {
        let instances: Vec<_> = phases.iter().zip(1..).map(|(phase, number)| instance(number, *phase)).collect();
        let scale = Action::Scale { release: release.id.clone(), target, keep_held };
        let changes = changes(&status, &[scale], &instances, &BTreeMap::new());
        let deletes = changes.iter().filter(|change| matches!(change, Change::Delete { .. })).count();
        let keep = Change::Keep { release: release.id.clone(), role: Role::Candidate, pods };
        assert!(changes.contains(&keep) && deletes == deleted, "{phases:?}, {target}, {keep_held}: {changes:?}");
    }
}
