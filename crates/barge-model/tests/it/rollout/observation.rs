//! What nobody could see is no observation: gates, pauses and deadlines while the machine sleeps, the platform is down, or the clock is
//! set. The judge adds up what somebody can have seen, step by step; what the machine stores does not matter to it.

use std::rc::Rc;

use barge_model::manifest::Count;
use barge_model::rollout::{FailureReason, Gate, Outcome, Phase, STEP_INTERVAL, step};
use barge_model::{Millis, Timestamp};
use proptest::prelude::*;

use super::fixtures::{Catalogue, plan};
use super::run::{Step, step_fully};
use super::scene::Scene;
use super::world::World;
use crate::runner::runner;

/// The gate's time, the pause and the deadline of the releases here.
const WAIT: Millis = Millis::from_secs(600);

/// By how much the machine's clock differs between one step and the next.
fn pause() -> impl Strategy<Value = i64> {
    prop_oneof![
        12 => 1i64..60_000,
        2 => 60_000i64..180_000,
        // The machine sleeps, or the platform is down, or the clock is set forward.
        1 => 180_000i64..7_200_000,
        // The clock is set back.
        1 => -3_600_000i64..0,
    ]
}

/// How much of a phase somebody has seen, in milliseconds.
#[derive(Default)]
struct Seen {
    at_least: i64,
    at_most: i64,
}

impl Seen {
    fn pass(&mut self, pause: i64) {
        self.at_most += pause.clamp(0, 120_000);
        // A clock that was set back may cost what has passed since the last note.
        self.at_least = if pause < 0 { (self.at_least - 60_000).max(0) } else { self.at_least + pause.min(60_000) };
    }

    fn long_enough(&self) -> bool {
        self.at_most >= WAIT.0.cast_signed()
    }

    fn too_long(&self) -> bool {
        self.at_least >= WAIT.0.cast_signed()
    }
}

fn phase(world: &World) -> Option<Phase> {
    world.status.candidate.as_ref().map(|candidate| candidate.phase.clone())
}

/// A release whose instances go on in every pause, or never get ready.
fn run(step: Step, stuck: bool, pauses: &[i64]) -> Result<(), String> {
    let mut plan = plan(Count::Absolute(1), Count::Absolute(0), &["1"]);
    plan.gate = Gate { until: None, hold: Some(WAIT) };
    plan.batches[0].pause = Some(WAIT);
    plan.progress_deadline = WAIT;
    let catalogue = Catalogue::new(&plan, &[false, false]);
    let mut world = World::with_stable(&catalogue, 3);
    world.wish.target = Some(1);
    let mut seen = Seen::default();
    for pause in pauses {
        let before = phase(&world);
        step_fully(step, &catalogue, &mut world).map_err(|violation| format!("{violation:?}"))?;
        match world.outcome(&catalogue, 1) {
            Some(Outcome::Promoted) => return Ok(()),
            Some(Outcome::Failed { failure: FailureReason::DeadlineExceeded { .. } })
                if stuck && seen.long_enough() =>
            {
                return Ok(());
            }
            Some(outcome) => return Err(format!("{outcome:?} after {} ms", seen.at_most)),
            None => {}
        }
        let watched = stuck || matches!(before, Some(Phase::Gate | Phase::Pausing { .. }));
        if before == phase(&world) {
            if watched && seen.too_long() {
                return Err(format!("{before:?} did not end after {} ms", seen.at_least));
            }
        } else {
            if before.is_some() && watched && !seen.long_enough() {
                return Err(format!("{before:?} ended after {} ms", seen.at_most));
            }
            seen = Seen::default();
        }
        world.everything_goes_on(stuck.then_some(1));
        world.now = Timestamp::from_millis(world.now.as_millis() + pause);
        seen.pass(*pause);
    }
    Ok(())
}

/// Looks for a history in which something counts that nobody has seen, or does not count that somebody has.
pub(crate) fn find(step: Step, cases: u32) -> Result<(), String> {
    let histories = (any::<bool>(), prop::collection::vec(pause(), 1..150));
    let tested =
        runner(cases).run(&histories, |(stuck, pauses)| run(step, stuck, &pauses).map_err(TestCaseError::fail));
    tested.map_err(|error| error.to_string())
}

#[test]
fn what_nobody_could_see_opens_no_gate_and_fails_no_release() {
    find(step, 1000).unwrap();
}

#[test]
fn a_minute_awake_and_a_night_asleep_are_no_ten_minutes() {
    let night = 8 * 3_600_000;
    // It starts, gets ready and online; the gate closes at the third step.
    let begin = [1000, 1000, 1000];
    for stuck in [true, false] {
        let awake = [begin.as_slice(), &[30_000, 30_000, night, 1000]].concat();
        run(step, stuck, &awake).unwrap();
        // Two minutes of each gap count, so that no wait is without an end.
        let nights = [begin.as_slice(), &[night; 40]].concat();
        run(step, stuck, &nights).unwrap();
    }
}

#[test]
fn a_step_alone_is_noted_once_a_minute_and_asks_for_the_next_one() {
    let mut scene = Scene::new(step, 3, false);
    scene.deploy(1).settle();
    for down in [false, true] {
        scene.world.down = down;
        scene.step();
        let mut stored = 0;
        for _ in 0..600 {
            scene.world.now = scene.world.now.plus(Millis::from_secs(1));
            let world = &mut scene.world;
            let observed = world.observe(&scene.catalogue);
            let decision = step(&world.wish.spec(&scene.catalogue), &world.status, &observed, world.now);
            assert!(decision.wake_at.is_some_and(|at| at.since(world.now) <= STEP_INTERVAL), "{:?}", decision.wake_at);
            if decision.status != *world.status {
                stored += 1;
                world.status = Rc::new(decision.status);
            }
        }
        assert!((9..=10).contains(&stored), "ten minutes were stored {stored} times");
    }
}
