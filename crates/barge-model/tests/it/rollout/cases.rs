//! What users of other release controllers ran into, one row each; every action on the way is judged.

use std::rc::Rc;

use barge_model::Millis;
use barge_model::manifest::Count;
use barge_model::rollout::{Action, HELD_LIMIT, InstancePhase, Phase, Role, RolloutStatus, step};

use super::fixtures::{Catalogue, START, plan};
use super::judge::{self, Grounds, Violation};
use super::run::{grounds, settle, step_fully};
use super::scene::Scene;
use super::world::World;

type Row = (&'static str, u32, fn(&mut Scene), &'static str);

const ROWS: &[Row] = &[
    (
        "scaled from 10 to 20 to 3 while gated",
        10,
        |scene| {
            scene.deploy(1).settle().scale(20).settle();
            assert_eq!(scene.summary(), "0 stable 20, 1 candidate 1; waiting for approval");
            scene.scale(3).settle();
        },
        "0 stable 3, 1 candidate 1; waiting for approval",
    ),
    (
        "an autoscaler that oscillates, while gated and while batches follow",
        4,
        |scene| {
            scene.deploy(1).settle();
            for replicas in [9, 4, 9, 2, 6, 4] {
                scene.scale(replicas).round().round();
                assert_eq!(scene.world.available_of(1), 1, "the candidate stays alone");
            }
            scene.approve();
            for replicas in [9, 4, 9, 2, 6, 4] {
                scene.scale(replicas).round();
            }
            scene.settle();
        },
        "1 stable 4; everything runs as it should",
    ),
    (
        "an abort while idle",
        3,
        |scene| {
            let before = scene.world.status.clone();
            scene.take_back(false).settle();
            assert_eq!(scene.world.status, before, "nothing was on its way");
        },
        "0 stable 3; everything runs as it should",
    ),
    (
        "an abort, and then scaling",
        3,
        |scene| {
            scene.deploy(1).settle().take_back(false).settle().scale(6).settle();
        },
        "0 stable 6; everything runs as it should",
    ),
    (
        "the candidate evicted while it is observed",
        3,
        |scene| {
            scene.deploy(1).settle();
            let since = scene.world.status.candidate.as_ref().unwrap().since;
            let index = scene.first_of(1);
            scene.world.evict(index);
            scene.settle();
            assert!(scene.world.status.candidate.as_ref().unwrap().since > since, "the clock starts anew");
        },
        "0 stable 3, 1 candidate 1; waiting for approval",
    ),
    (
        "the candidate's node lost while it is observed",
        3,
        |scene| {
            scene.deploy(1).settle();
            let since = scene.world.status.candidate.as_ref().unwrap().since;
            let index = scene.first_of(1);
            scene.world.lose(index);
            scene.approve().settle();
            assert!(scene.world.now > since);
        },
        "1 stable 3; everything runs as it should",
    ),
    (
        "a stable release in a crash loop does not veto its fix",
        3,
        |scene| {
            for instance in &mut scene.world.instances {
                (instance.phase, instance.online) = (InstancePhase::BackOff, false);
            }
            scene.deploy(1).approve();
            for _ in 0..40 {
                scene.step();
                for index in (0..scene.world.instances.len()).rev() {
                    let world = &mut scene.world;
                    let _ = world.end(index)
                        || world.instances[index].release == 1 && (world.get_online(index) || world.get_ready(index));
                }
                scene.world.now = scene.world.now.plus(Millis(1500));
            }
        },
        "1 stable 3; everything runs as it should",
    ),
    (
        "the controller upgraded with an unchanged template, at the gate",
        3,
        |scene| {
            scene.deploy(1).settle();
            let before = scene.world.clone();
            scene.world.status = Rc::new(read_again(&scene.world.status));
            scene.step();
            assert_eq!(scene.world.instances, before.instances, "an upgrade changes no running instance (I9)");
            assert_eq!(scene.world.status, before.status);
        },
        "0 stable 3, 1 candidate 1; waiting for approval",
    ),
    (
        "the registry down after the approval",
        3,
        |scene| {
            scene.deploy(1).settle().approve();
            scene.world.down = true;
            for _ in 0..20 {
                scene.round();
                scene.world.now = scene.world.now.plus(super::fixtures::TICK);
            }
            assert_eq!(
                scene.summary(),
                "0 stable 3, 1 candidate 1; frozen: instances cannot be registered (it is down); nothing is stopped \
                 meanwhile"
            );
            scene.settle();
        },
        "1 stable 3; everything runs as it should",
    ),
    (
        "the registry down for longer than the deadline, and then a step before anything got better",
        3,
        |scene| {
            scene.deploy(1).step();
            scene.world.down = true;
            scene.step();
            scene.world.now = scene.world.now.plus(Millis::from_secs(3600));
            scene.world.down = false;
            scene.step().settle();
        },
        "0 stable 3, 1 candidate 1; waiting for approval",
    ),
    (
        "the stable release's configuration deleted during the hold, and its instances lost",
        3,
        |scene| {
            // What people want names release 1 alone; what runs is pinned in the status.
            scene.deploy(1).settle();
            for _ in 0..2 {
                let index = scene.first_of(0);
                scene.world.lose(index);
            }
            scene.settle();
            let stable = scene.world.status.set(Role::Stable).unwrap();
            assert_eq!(stable.release, scene.catalogue.releases[0], "the whole definition is stored");
        },
        "0 stable 3, 1 candidate 1; waiting for approval",
    ),
    (
        "the approval deleted after it has opened the gate",
        3,
        |scene| {
            scene.deploy(1).settle().approve().step();
            scene.world.wish.approved = 0;
            for _ in 0..30 {
                // The judge would see instances that nobody has approved any more; the stored approval counts.
                scene.round_without_judge();
            }
        },
        "1 stable 3; everything runs as it should",
    ),
];

#[test]
fn what_users_of_other_controllers_ran_into() {
    for (name, replicas, act, expected) in ROWS {
        println!("{name}");
        let mut scene = Scene::new(step, *replicas, false);
        act(&mut scene);
        assert_eq!(scene.summary(), *expected, "{name}");
    }
}

/// The first of two leaders has decided and stored, and sleeps; the second goes on; then the first one wakes up.
pub(crate) fn two_leaders(fenced: bool) -> Result<(), Violation> {
    let mut scene = Scene::new(step, 3, false);
    scene.deploy(1).settle().approve();
    let spec = scene.world.wish.spec(&scene.catalogue);
    let observed = scene.world.observe(&scene.catalogue);
    let first = step(&spec, &scene.world.status, &observed, scene.world.now);
    let first_grounds = grounds(&scene.world);
    scene.world.status = Rc::new(first.status.clone());

    scene.take_back(true);
    let mut leader = 2;
    for _ in 0..4 {
        scene.round();
    }
    scene.world.wish.approved = 1;
    if !fenced {
        leader = 1;
    }
    for action in first.actions.iter().filter(|_| leader == 1) {
        let effects = scene.world.carry_out(&scene.catalogue, action);
        let grounds = Grounds { wish: scene.world.wish.clone(), ..first_grounds.clone() };
        judge::effects(&scene.catalogue, &grounds, &scene.world, &effects)?;
        assert!(matches!(action, Action::Scale { .. }));
    }
    scene.settle();
    assert_eq!(scene.summary(), "0 stable 3; everything runs as it should");
    Ok(())
}

#[test]
fn of_two_leaders_the_former_one_does_nothing() {
    two_leaders(true).unwrap();
}

fn read_again(status: &RolloutStatus) -> RolloutStatus {
    serde_json::from_str(&serde_json::to_string(status).unwrap()).unwrap()
}

#[test]
fn a_status_without_its_approval_is_back_before_the_gate() {
    let mut scene = Scene::new(step, 3, false);
    scene.deploy(1).settle().approve().round();
    let damage: [fn(&mut RolloutStatus); 2] =
        [|status| status.candidate = None, |status| status.candidate.as_mut().unwrap().approval = None];
    scene.world.wish.approved = 0;
    for damage in damage {
        let mut status = (*scene.world.status).clone();
        damage(&mut status);
        let spec = scene.world.wish.spec(&scene.catalogue);
        let decision = step(&spec, &status, &scene.world.observe(&scene.catalogue), scene.world.now);
        assert!(matches!(decision.status.candidate.unwrap().phase, Phase::Starting | Phase::Gate));
        let candidate = decision.status.sets.iter().find(|set| set.role == Role::Candidate).unwrap();
        assert_eq!(candidate.target, 1, "a missing field means: not approved");
    }
}

#[test]
fn a_lost_status_stops_nothing_that_serves() {
    // Nobody remembers release 0, and what is wanted was aborted.
    let mut scene = Scene::new(step, 3, false);
    scene.deploy(1).take_back(false);
    scene.world.status = Rc::default();
    for _ in 0..10 {
        scene.round();
        scene.world.now = scene.world.now.plus(super::fixtures::TICK);
    }
    assert_eq!(scene.world.available_of(0), 3);

    // What is wanted was approved: its instances are taken over, one at the gate first.
    let mut scene = Scene::new(step, 3, false);
    scene.world.status = Rc::default();
    scene.settle();
    assert_eq!(scene.summary(), "0 stable 3; everything runs as it should");
    assert!(scene.world.instances.iter().all(|instance| instance.serial < 3), "the same instances as before");

    // Something else is wanted now: what serves goes once there is something in its place.
    let mut scene = Scene::new(step, 3, false);
    scene.world.status = Rc::default();
    scene.deploy(1).approve();
    for _ in 0..40 {
        scene.round_without_judge();
        assert!(scene.world.available() >= 3);
    }
    assert_eq!(scene.summary(), "1 stable 3; everything runs as it should");
}

#[test]
fn what_drains_at_once_is_capped() {
    let plan = plan(Count::Absolute(2), Count::Absolute(0), &[]);
    let catalogue = Catalogue::new(&plan, &[false, false]);
    let mut world = World::with_stable(&catalogue, 10);
    world.wish.target = Some(1);
    world.wish.approve(1);
    for round in 0..200 {
        step_fully(step, &catalogue, &mut world).unwrap();
        let draining = world.count(|instance| instance.phase == InstancePhase::Draining);
        assert!(world.status.candidate.is_none() || draining <= 2, "{draining} drain at once");
        for index in (0..world.instances.len()).rev() {
            // Draining takes long, everything else is quick.
            let _ = (round % 5 == 0 && world.end(index)) || world.get_online(index) || world.get_ready(index);
        }
        world.now = world.now.plus(Millis(100));
    }
    settle(step, &catalogue, &mut world, None).unwrap();
    assert_eq!(world.available_of(1), 10);
}

/// Release 1 is observed for an hour, and its batches have pauses; it is a rollback or not.
fn with_an_hour_of_observation(origin_is_rollback: bool) -> (Catalogue, World) {
    let mut plan = plan(Count::Percent(25), Count::Absolute(0), &["1", "1"]);
    plan.gate.hold = Some(Millis::from_secs(3600));
    let catalogue = Catalogue::new(&plan, &[false, origin_is_rollback]);
    let mut world = World::with_stable(&catalogue, 5);
    world.wish.target = Some(1);
    world.wish.approve(1);
    (catalogue, world)
}

/// Rounds in which the clock hardly moves.
fn rounds(catalogue: &Catalogue, world: &mut World, count: usize) {
    for _ in 0..count {
        step_fully(step, catalogue, world).unwrap();
        world.everything_goes_on(None);
        world.now = world.now.plus(Millis(1));
    }
}

#[test]
fn a_rollback_observes_nothing_and_a_deployment_does() {
    let (catalogue, mut world) = with_an_hour_of_observation(true);
    rounds(&catalogue, &mut world, 100);
    assert_eq!(world.available_of(1), 5, "what was approved before goes on at once");
    let (catalogue, mut world) = with_an_hour_of_observation(false);
    rounds(&catalogue, &mut world, 100);
    assert_eq!(world.available_of(1), 1);
}

#[test]
fn a_clock_that_was_ahead_prolongs_no_observation() {
    let (catalogue, mut world) = with_an_hour_of_observation(false);
    let hour = Millis::from_secs(3600);
    world.now = world.now.plus(Millis(100 * hour.0));
    rounds(&catalogue, &mut world, 10);
    world.now = START;
    for _ in 0..60 {
        rounds(&catalogue, &mut world, 1);
        world.now = world.now.plus(Millis::from_secs(60));
    }
    rounds(&catalogue, &mut world, 1);
    let phase = &world.status.candidate.as_ref().unwrap().phase;
    assert!(matches!(phase, Phase::Progressing { .. }), "an hour by the clock that is right now: {phase:?}");
}

#[test]
fn what_is_held_is_kept_for_a_day_or_until_somebody_aborts() {
    let plan = plan(Count::Percent(25), Count::Absolute(0), &[]);
    let catalogue = Catalogue::new(&plan, &[false, false]);
    let mut world = World::with_stable(&catalogue, 2);
    world.wish.target = Some(1);
    rounds(&catalogue, &mut world, 1);
    world.instances[2].phase = InstancePhase::Held;
    rounds(&catalogue, &mut world, 5);
    let held = |world: &World| world.count(|instance| instance.phase == InstancePhase::Held);
    assert_eq!(held(&world), 1);
    let mut aborted = world.clone();
    aborted.wish.withdrawn = Some((1, false));
    rounds(&catalogue, &mut aborted, 5);
    assert_eq!(held(&aborted), 0);
    let observed = world.observe(&catalogue);
    let decision = step(&world.wish.spec(&catalogue), &world.status, &observed, world.now);
    world.now = decision.wake_at.unwrap();
    assert!(world.now.since(START) >= HELD_LIMIT);
    let decision = step(&world.wish.spec(&catalogue), &world.status, &observed, world.now);
    for action in &decision.actions {
        world.carry_out(&catalogue, action);
    }
    assert_eq!(held(&world), 0, "a day has passed");
}
