//! A third version, a rollback and a dying controller, in every state that a release can be in.

use barge_model::rollout::{InstancePhase, Phase, step};

use super::run::step_and_crash;
use super::scene::Scene;

/// A name, and how release 1 gets there, in a world with three instances.
type State = (&'static str, fn(&mut Scene));

const STATES: &[State] = &[
    ("wanted, not yet seen", |scene| {
        scene.deploy(1);
    }),
    ("starting", |scene| {
        scene.deploy(1).step();
    }),
    ("ready, not online", |scene| {
        scene.deploy(1).round();
    }),
    ("held", |scene| {
        scene.deploy(1).step();
        let index = scene.first_of(1);
        scene.world.crash(&scene.catalogue, index);
        assert_eq!(scene.world.instances[index].phase, InstancePhase::Held);
    }),
    ("failed", |scene| {
        scene.deploy(1).step();
        let index = scene.first_of(1);
        scene.world.crash(&scene.catalogue, index);
        scene.settle();
    }),
    ("at the gate", |scene| {
        scene.deploy(1).settle();
        assert_eq!(scene.world.status.candidate.as_ref().unwrap().phase, Phase::Gate);
    }),
    ("progressing", |scene| {
        scene.deploy(1).settle().approve().round();
        assert!(matches!(scene.world.status.candidate.as_ref().unwrap().phase, Phase::Progressing { .. }));
    }),
    ("pausing", |scene| {
        scene.deploy(1).settle().approve();
        while !matches!(scene.world.status.candidate.as_ref().unwrap().phase, Phase::Pausing { .. }) {
            scene.round();
        }
    }),
    ("last batch", |scene| {
        scene.deploy(1).settle().approve();
        while scene.world.available_of(1) < 3 {
            scene.round();
            scene.world.now = scene.world.now.plus(barge_model::Millis(2000));
        }
    }),
    ("frozen", |scene| {
        scene.deploy(1).settle().approve().round();
        scene.world.down = true;
        scene.step();
    }),
    ("aborted", |scene| {
        scene.deploy(1).settle().take_back(false).step();
    }),
];

#[test]
fn a_third_version_in_every_state_takes_the_place_of_the_second() {
    for (name, reach) in STATES {
        println!("{name}");
        let mut scene = Scene::new(step, 3, false);
        reach(&mut scene);
        scene.deploy(2).settle();
        // A release that was complete when the third came stays; any other is gone.
        assert!(scene.summary().ends_with("2 candidate 1; waiting for approval"), "{name}: {}", scene.summary());
        scene.approve().settle();
        assert_eq!(scene.summary(), "2 stable 3; everything runs as it should", "{name}");
    }
}

#[test]
fn a_rollback_in_every_state_ends_with_all_instances() {
    for (name, reach) in STATES {
        println!("{name}");
        let mut scene = Scene::new(step, 3, true);
        reach(&mut scene);
        scene.deploy(2).settle();
        assert_eq!(scene.summary(), "2 stable 3; everything runs as it should", "{name}");
        let mut scene = Scene::new(step, 3, true);
        reach(&mut scene);
        scene.take_back(true).settle();
        let stable = if scene.world.promoted(&scene.catalogue, 1) { 1 } else { 0 };
        assert_eq!(scene.summary(), format!("{stable} stable 3; everything runs as it should"), "{name}");
    }
}

#[test]
fn a_controller_that_is_killed_at_every_transition_comes_to_the_same_end() {
    for cut in 0..40 {
        let mut scene = Scene::new(step, 3, false);
        scene.deploy(1).approve();
        for round in 0..80 {
            // It dies after fewer and more actions in turn; each third time it lives.
            let actions = if round % 3 == 0 { usize::MAX } else { (cut + round) % 4 };
            step_and_crash(step, &scene.catalogue, &mut scene.world, actions).unwrap();
            scene.world.everything_goes_on(None);
            scene.world.now = scene.world.now.plus(barge_model::Millis(3000));
        }
        scene.settle();
        assert_eq!(scene.summary(), "1 stable 3; everything runs as it should", "cut {cut}");
    }
}
