//! The soak: random releases, aborts, rollbacks, restarts, scales and kills under load, for as long as one likes. No request may fail,
//! after each step everything has to be as it was asked for, and memory, descriptors, threads, processes and the disk stay as they are.
//!
//! The kill matrix looks for a moment at which something breaks; this looks for what only many operations, one after the other, bring to
//! light. `cargo xtask soak` runs it for an hour against release binaries; the tests take a few steps, so that it does not rot.

mod disk;
mod flat;
mod measure;
mod person;
mod script;
mod world;

use std::cell::Cell;
use std::time::{Duration, Instant};

use measure::Sample;
use script::Script;
use world::World;

/// A seed of which the first steps try every operation, and two ways to be disturbed.
const SHORT_SEED: u64 = 220;
const SHORT_STEPS: u32 = 12;

/// How long a soak goes on, and what happens in it.
#[derive(Debug, Clone, Copy)]
struct Limits {
    seed: u64,
    steps: u32,
    time: Duration,
}

impl Limits {
    /// What `cargo xtask soak` asks for; a few steps where it asks for nothing.
    fn of_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let Some(seed) = number("BARGE_SOAK_SEED") else {
            return Self { seed: SHORT_SEED, steps: SHORT_STEPS, time: Duration::MAX };
        };
        Self {
            seed,
            steps: number("BARGE_SOAK_STEPS").map_or(u32::MAX, |steps| u32::try_from(steps).unwrap()),
            time: number("BARGE_SOAK_MINUTES").map_or(Duration::MAX, |minutes| Duration::from_secs(minutes * 60)),
        }
    }

    /// Between two samples: some two hundred of them, and not more than one after each step.
    fn interval(self) -> Duration {
        if self.time == Duration::MAX { Duration::ZERO } else { self.time / 240 }
    }
}

/// Says how to have the same again, where something fails.
struct Replay {
    seed: u64,
    step: Cell<u32>,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (seed, step) = (self.seed, self.step.get());
            eprintln!(
                "failed at step {step} of seed {seed}; the same again: cargo xtask soak --seed {seed} --steps {step}"
            );
        }
    }
}

#[test]
fn random_operations_under_load_lose_no_request_and_grow_nowhere() {
    let limits = Limits::of_environment();
    let replay = Replay { seed: limits.seed, step: Cell::new(0) };
    eprintln!("seed {}", limits.seed);
    let mut world = World::begin();
    let begin = Instant::now();
    let (mut samples, mut sampled) = (vec![world.sample()], begin);
    for step in Script::new(limits.seed).take(limits.steps as usize).take_while(|_| begin.elapsed() < limits.time) {
        replay.step.set(step.number);
        eprintln!("{step}");
        let killed_at = world.carry_out(&step);
        match (step.disturbance, killed_at) {
            (Some(_), Some(stored)) => eprintln!("  killed as {stored} was stored"),
            (Some(_), None) => eprintln!("  nobody was killed: there were fewer transitions"),
            (None, _) => {}
        }
        if sampled.elapsed() >= limits.interval() {
            sampled = Instant::now();
            samples.push(world.sample());
        }
    }
    eprintln!("\nseed {}: {} steps in {} s", limits.seed, replay.step.get(), begin.elapsed().as_secs());
    judge(&samples, world);
}

/// What came of all of it.
fn judge(samples: &[Sample], world: World) {
    eprintln!("\n{}", flat::table(samples));
    eprintln!("| load | requests | failed | slowest |\n| --- | --- | --- | --- |");
    let counted = world.end();
    for one in &counted {
        eprintln!("| {} | {} | {} | {:.1} ms |", one.phase, one.requests, one.failed, one.slowest_ms);
    }
    for one in counted {
        assert_eq!(one.failed, 0, "{one:?}");
    }
    let grown = flat::objections(samples);
    assert!(grown.is_empty(), "{}", grown.join("\n"));
}

#[test]
fn a_seed_gives_the_same_steps_in_every_version() {
    let steps: Vec<String> = Script::new(SHORT_SEED).take(SHORT_STEPS as usize).map(|step| step.to_string()).collect();
    assert_eq!(
        steps,
        [
            "step 1: pair: release version 2",
            "step 2: pair: release version 3",
            "step 3: slow: kill an instance",
            "step 4: pair: approve",
            "step 5: slow: restart",
            "step 6: slow: scale to 2",
            "step 7: slow: release version 2, which cannot start; a barge-init is killed at transition 1",
            "step 8: slow: abort; an instance is killed at transition 9",
            "step 9: pair: kill a barge-init",
            "step 10: pair: roll back",
            "step 11: pair: release version 4; the platform is killed at transition 1",
            "step 12: slow: kill the platform",
        ]
    );
}
