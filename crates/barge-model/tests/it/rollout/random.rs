//! Long random runs: everything that may happen, at any time, with late and repeated observations and a clock that jumps.

use std::collections::BTreeSet;
use std::rc::Rc;

use barge_model::manifest::Count;
use barge_model::rollout::{Action, Decision, Gate, InstancePhase, Observed, RolloutPlan, RolloutStatus, Until, step};
use barge_model::{Millis, Timestamp};
use proptest::prelude::*;

use super::fixtures::{Catalogue, START, TICK, plan};
use super::judge::{self, Grounds, Violation};
use super::run::{Step, settle};
use super::world::{Engine, Instance, World};
use crate::runner::runner;

#[derive(Debug, Clone)]
pub(crate) enum Event {
    ScaleTo(u32),
    Deploy,
    Approve,
    TakeBack {
        rolled_back: bool,
    },
    Ready(usize),
    Online(usize),
    Offline(usize),
    Crash(usize),
    Restart(usize),
    Lose(usize),
    Evict(usize),
    End(usize),
    EverythingGoesOn,
    Registrar {
        down: bool,
    },
    Clock {
        millis: i64,
    },
    Observe,
    /// Steps with an observation that is so many observations old.
    Step {
        late: usize,
    },
    /// Carries out the next action of the latest step.
    Act,
    /// Carries out all that are left.
    ActAll,
    /// The reconciler dies before it has carried out the rest.
    Die,
}

#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) plan: RolloutPlan,
    pub(crate) rollbacks: Vec<bool>,
    pub(crate) replicas: u32,
    pub(crate) empty: bool,
    pub(crate) events: Vec<Event>,
}

fn event(latest: usize) -> impl Strategy<Value = Event> {
    let which = 0usize..12;
    prop_oneof![
        2 => (0u32..6).prop_map(Event::ScaleTo),
        2 => Just(Event::Deploy),
        3 => Just(Event::Approve),
        1 => any::<bool>().prop_map(|rolled_back| Event::TakeBack { rolled_back }),
        4 => which.clone().prop_map(Event::Ready),
        4 => which.clone().prop_map(Event::Online),
        1 => which.clone().prop_map(Event::Offline),
        2 => which.clone().prop_map(Event::Crash),
        2 => which.clone().prop_map(Event::Restart),
        1 => which.clone().prop_map(Event::Lose),
        1 => which.clone().prop_map(Event::Evict),
        3 => which.prop_map(Event::End),
        8 => Just(Event::EverythingGoesOn),
        1 => any::<bool>().prop_map(|down| Event::Registrar { down }),
        1 => Just(Event::Registrar { down: false }),
        2 => (-20_000i64..20_000).prop_map(|millis| Event::Clock { millis }),
        6 => Just(Event::Observe),
        6 => (0..=latest).prop_map(|late| Event::Step { late }),
        6 => Just(Event::Act),
        6 => Just(Event::ActAll),
        1 => Just(Event::Die),
    ]
}

/// Scripts whose observations are at most `latest` observations old.
pub(crate) fn script(latest: usize, batches: impl Strategy<Value = u32> + 'static) -> impl Strategy<Value = Script> {
    let count = prop_oneof![(0u32..3).prop_map(Count::Absolute), (0u8..=50).prop_map(Count::Percent)];
    let batch = prop::sample::select(vec!["1", "2", "25%", "50%"]);
    let limits = (count.clone(), count, prop::collection::vec(batch, 0..3), batches);
    let plan = (limits, prop::bool::weighted(0.1)).prop_map(|((surge, unavailable, batches, first_batch), hold)| {
        let gate = Gate { until: Some(Until::Approved), hold: hold.then_some(TICK) };
        RolloutPlan { first_batch, gate, ..plan(surge, unavailable, &batches) }
    });
    let rollbacks = prop::collection::vec(prop::bool::weighted(0.4), 8);
    let events = prop::collection::vec(event(latest), 0..200);
    (plan, rollbacks, 0u32..6, prop::bool::weighted(0.2), events).prop_map(
        |(plan, mut rollbacks, replicas, empty, events)| {
            rollbacks[0] = false;
            Script { plan, rollbacks, replicas, empty, events }
        },
    )
}

struct Snapshot {
    world: World,
    changed: u32,
    vanished: u32,
}

struct Run<'a> {
    step: Step,
    catalogue: &'a Catalogue,
    world: World,
    snapshots: Vec<Snapshot>,
    /// What we have begun to end.
    drained: BTreeSet<u32>,
    /// How often an instance has become available or was lost so far, not by our doing.
    changed: u32,
    vanished: u32,
    pending: Vec<Action>,
    grounds: Grounds,
    changed_when_observed: u32,
    vanished_when_observed: u32,
}

impl Run<'_> {
    fn observe(&mut self) {
        self.snapshots.push(Snapshot { world: self.world.clone(), changed: self.changed, vanished: self.vanished });
    }

    /// An observation may be late, but an engine knows what it has done itself since.
    fn amended(&self, snapshot: &Snapshot) -> Observed {
        let mut world = snapshot.world.clone();
        for instance in &self.world.instances {
            match world.instances.iter_mut().find(|seen| seen.serial == instance.serial) {
                Some(seen) if instance.phase == InstancePhase::Draining => seen.phase = InstancePhase::Draining,
                Some(_) => {}
                None => world.instances.push(Instance {
                    phase: if instance.live() { InstancePhase::Starting } else { instance.phase },
                    online: false,
                    ..instance.clone()
                }),
            }
        }
        let gone = |seen: &Instance| !self.world.instances.iter().any(|instance| instance.serial == seen.serial);
        world.instances.iter_mut().filter(|seen| gone(seen) && self.drained.contains(&seen.serial)).for_each(|seen| {
            seen.phase = InstancePhase::Draining;
        });
        world.observe(self.catalogue)
    }

    fn happen(&mut self, event: &Event) -> Result<(), Violation> {
        match *event {
            Event::Observe => self.observe(),
            Event::Step { late } => self.decide(late),
            Event::Act => self.act(1)?,
            Event::ActAll => self.act(usize::MAX)?,
            Event::Die => self.pending.clear(),
            Event::Clock { millis } => {
                self.world.now = Timestamp::from_millis(self.world.now.as_millis() + millis);
            }
            Event::Registrar { down } => self.world.down = down,
            Event::ScaleTo(replicas) => self.world.wish.replicas = replicas,
            Event::Deploy => self.deploy(),
            Event::Approve => {
                if let Some(target) = self.world.wish.target {
                    self.world.wish.approve(target);
                }
            }
            Event::TakeBack { rolled_back } => {
                self.world.wish.withdrawn = self.world.wish.target.map(|target| (target, rolled_back));
            }
            _ => self.happen_to_instances(event),
        }
        judge::state(self.catalogue, &self.world)
    }

    fn deploy(&mut self) {
        let following = self.world.wish.target.map_or(0, |target| target + 1);
        if following < self.catalogue.releases.len() {
            self.world.wish.target = Some(following);
            if self.catalogue.is_rollback(following) {
                self.world.wish.approve(following);
            }
        }
    }

    fn happen_to_instances(&mut self, event: &Event) {
        let world = &mut self.world;
        let available = world.available();
        if let Event::EverythingGoesOn = event {
            world.everything_goes_on(None);
            self.changed += world.available() - available;
            return;
        }
        let (count, live) = (world.instances.len(), world.count(Instance::live));
        let index = match *event {
            Event::Ready(index) | Event::Online(index) | Event::Offline(index) | Event::Crash(index) => index,
            Event::Restart(index) | Event::Lose(index) | Event::Evict(index) | Event::End(index) => index,
            _ => return,
        };
        if count == 0 {
            return;
        }
        let index = index % count;
        match *event {
            Event::Ready(_) => world.get_ready(index),
            Event::Online(_) => world.get_online(index),
            Event::Offline(_) => world.get_offline(index),
            Event::Crash(_) => world.crash(self.catalogue, index),
            Event::Restart(_) => world.restart(index),
            Event::Lose(_) => world.lose(index),
            Event::Evict(_) => world.evict(index),
            _ => world.end(index),
        };
        self.changed += available.abs_diff(self.world.available());
        self.vanished += live - self.world.count(Instance::live);
    }

    fn decide(&mut self, late: usize) {
        if self.snapshots.is_empty() || late == 0 {
            self.observe();
        }
        let snapshot = &self.snapshots[self.snapshots.len().saturating_sub(1 + late)];
        let observed = self.amended(snapshot);
        let spec = self.world.wish.spec(self.catalogue);
        let decision = (self.step)(&spec, &self.world.status, &observed, self.world.now);
        self.world.status = Rc::new(decision.status);
        self.pending = decision.actions;
        self.grounds = Grounds { wish: self.world.wish.clone(), frozen: snapshot.world.down, hidden: 0, vanished: 0 };
        self.changed_when_observed = snapshot.changed;
        self.vanished_when_observed = snapshot.vanished;
    }

    fn act(&mut self, at_most: usize) -> Result<(), Violation> {
        let count = self.pending.len().min(at_most);
        for action in self.pending.drain(..count) {
            self.grounds.hidden = self.changed - self.changed_when_observed;
            self.grounds.vanished = self.vanished - self.vanished_when_observed;
            let effects = self.world.carry_out(self.catalogue, &action);
            let draining = self.world.instances.iter().filter(|i| i.phase == InstancePhase::Draining);
            self.drained.extend(draining.map(|instance| instance.serial));
            judge::effects(self.catalogue, &self.grounds, &self.world, &effects)?;
        }
        Ok(())
    }
}

/// Runs a script to its end, then lets everything come to rest, and then takes back what is on its way.
pub(crate) fn run(step: Step, engine: Engine, script: &Script) -> Result<(), Violation> {
    let catalogue = Catalogue::new(&script.plan, &script.rollbacks);
    let mut world = match script.empty {
        true => World::empty(script.replicas),
        false => World::with_stable(&catalogue, script.replicas),
    };
    world.engine = engine;
    let mut run = Run {
        step,
        catalogue: &catalogue,
        grounds: super::run::grounds(&world),
        world,
        snapshots: Vec::new(),
        changed: 0,
        vanished: 0,
        drained: BTreeSet::new(),
        pending: Vec::new(),
        changed_when_observed: 0,
        vanished_when_observed: 0,
    };
    for event in &script.events {
        run.happen(event)?;
    }
    let mut taken_back = run.world.clone();
    settle(step, &catalogue, &mut run.world, None)?;
    let Some(target) = taken_back.wish.target else { return Ok(()) };
    let stuck = (!taken_back.promoted(&catalogue, target)).then_some(target);
    taken_back.wish.withdrawn = Some((target, true));
    settle(step, &catalogue, &mut taken_back, stuck)?;
    Ok(())
}

/// Looks for a script that breaks an invariant.
pub(crate) fn find(
    step: Step,
    engine: Engine,
    scripts: &impl Strategy<Value = Script>,
    cases: u32,
) -> Result<(), String> {
    let tested = runner(cases).run(scripts, |script| {
        run(step, engine, &script)
            .map_err(|violation| TestCaseError::fail(format!("{} {}", violation.invariant, violation.what)))
    });
    tested.map_err(|error| error.to_string())
}

#[test]
fn no_run_breaks_an_invariant() {
    find(step, Engine::Sound, &script(0, 1u32..=1), 400).unwrap();
}

#[test]
fn no_run_with_two_instances_first_breaks_an_invariant() {
    find(step, Engine::Sound, &script(0, 2u32..=3), 200).unwrap();
}

#[test]
fn no_run_with_late_observations_breaks_an_invariant() {
    find(step, Engine::Sound, &script(3, 1u32..=1), 400).unwrap();
}

fn shifted(status: &RolloutStatus, by: Millis) -> RolloutStatus {
    let mut status = status.clone();
    for set in &mut status.sets {
        set.held_since = set.held_since.map(|at| at.plus(by));
    }
    for finished in &mut status.finished {
        finished.at = finished.at.plus(by);
    }
    if let Some(candidate) = &mut status.candidate {
        candidate.since = candidate.since.plus(by);
        candidate.progress_at = candidate.progress_at.plus(by);
        candidate.stepped_at = candidate.stepped_at.map(|at| at.plus(by));
        if let Some(approval) = &mut candidate.approval {
            approval.at = START;
        }
    }
    status
}

/// The machine looks at differences of time alone, and what is stored as JSON is all that it knows (I9).
fn check_step(
    spec: &barge_model::rollout::RolloutSpec,
    status: &RolloutStatus,
    observed: &Observed,
    now: Timestamp,
) -> Decision {
    let decision = step(spec, status, observed, now);
    let stored = serde_json::to_string(status).unwrap();
    let read = serde_json::from_str(&stored).unwrap();
    assert_eq!(step(spec, &read, observed, now), decision, "after reading the status again");
    let day = Millis::from_secs(86_400);
    let later = step(spec, &shifted(status, day), observed, now.plus(day));
    assert_eq!(later.status, shifted(&decision.status, day), "a day later");
    assert_eq!(later.actions, decision.actions, "a day later");
    decision
}

#[test]
fn nothing_but_what_is_stored_matters() {
    find(check_step, Engine::Sound, &script(0, 1u32..=2), 60).unwrap();
}
