//! Visits every state that a small world can reach, breadth first, and judges each of them.
//!
//! A state is kept in a canonical form: instances are sorted and renumbered, and points in time become ages, because the machine
//! looks at differences of time alone (`random` checks that). A step may be cut off after any of its actions: the reconciler died.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use barge_model::Timestamp;
use barge_model::rollout::{Decision, InstancePhase, Phase, RolloutStatus};

use super::fixtures::{Catalogue, START, TICK, Wish, instance_id};
use super::judge::{self, Violation};
use super::run::{Step, grounds};
use super::world::World;

/// How often each kind of trouble may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) faults: u8,
    pub(crate) ticks: u8,
    pub(crate) outages: u8,
    pub(crate) scales: u8,
    pub(crate) aborts: u8,
    pub(crate) deploys: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Begin,
    Step { actions: usize },
    Ready(usize),
    Online(usize),
    Restart(usize),
    End(usize),
    Crash(usize),
    Lose(usize),
    Evict(usize),
    Tick,
    Registrar { down: bool },
    ScaleTo(u32),
    Deploy(usize),
    Approve(usize),
    TakeBack { rolled_back: bool },
}

/// What happened, and what became of it.
type Next = (Event, World, Budget);

pub(crate) struct Explorer<'a> {
    pub(crate) step: Step,
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) sizes: &'a [u32],
    /// Also look whether everything comes to rest from every state.
    pub(crate) liveness: bool,
    statuses: HashMap<Rc<RolloutStatus>, Rc<RolloutStatus>>,
    /// Where the canonical ones of them are.
    addresses: HashSet<*const RolloutStatus>,
    seen: HashSet<u64>,
    ends_well: HashSet<u64>,
    history: Vec<(u32, Event)>,
    queue: VecDeque<(u32, World, Budget)>,
}

/// What went wrong, and how it came to that.
pub(crate) struct Found {
    pub(crate) violation: Violation,
    pub(crate) trace: Vec<Event>,
    pub(crate) world: Box<World>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}\nafter: {:?}\n{:?}", self.violation.invariant, self.violation.what, self.trace, self.world)
    }
}

/// The serial number of the instance that is watched at the gate.
const WATCHED: u32 = 1000;

impl<'a> Explorer<'a> {
    pub(crate) fn new(step: Step, catalogue: &'a Catalogue, sizes: &'a [u32]) -> Self {
        Self {
            step,
            catalogue,
            sizes,
            liveness: true,
            statuses: HashMap::new(),
            addresses: HashSet::new(),
            seen: HashSet::new(),
            ends_well: HashSet::new(),
            history: Vec::new(),
            queue: VecDeque::new(),
        }
    }

    /// Visits everything that can be reached from `world`; the answer is the number of states.
    pub(crate) fn explore(&mut self, world: World, budget: Budget) -> Result<usize, Box<Found>> {
        self.meet(0, Event::Begin, world, budget);
        while let Some((index, world, budget)) = self.queue.pop_front() {
            let found = |violation, world: &World| {
                Box::new(Found { violation, trace: self.trace(index), world: Box::new(world.clone()) })
            };
            judge::state(self.catalogue, &world).map_err(|violation| found(violation, &world))?;
            let worlds = self.successors(&world, budget).map_err(|(event, violation, after)| {
                let mut trace = self.trace(index);
                trace.push(event);
                Box::new(Found { violation, trace, world: after })
            })?;
            for (event, after, budget) in worlds {
                self.meet(index, event, after, budget);
            }
            self.comes_to_rest(&world).map_err(|found| {
                let (violation, after) = *found;
                Box::new(Found { violation, trace: self.trace(index), world: Box::new(after) })
            })?;
        }
        Ok(self.history.len())
    }

    fn trace(&self, mut index: u32) -> Vec<Event> {
        let mut events = Vec::new();
        while index > 0 {
            let (before, event) = self.history[index as usize];
            events.push(event);
            index = before;
        }
        events.reverse();
        events
    }

    fn meet(&mut self, from: u32, event: Event, mut world: World, budget: Budget) {
        self.canonical(&mut world);
        let key = key(&world, &budget);
        if self.seen.insert(key) {
            let index = u32::try_from(self.history.len()).unwrap();
            self.history.push((from, event));
            self.queue.push_back((index, world, budget));
        }
    }

    fn successors(&self, world: &World, budget: Budget) -> Result<Vec<Next>, (Event, Violation, Box<World>)> {
        let mut next = Vec::new();
        let decision = self.decide(world);
        let mut after = world.clone();
        if decision.status != *world.status {
            after.status = Rc::new(decision.status);
        }
        let grounds = grounds(world);
        next.push((Event::Step { actions: 0 }, after.clone(), budget));
        for (actions, action) in (1..).zip(&decision.actions) {
            let effects = after.carry_out(self.catalogue, action);
            let event = Event::Step { actions };
            judge::effects(self.catalogue, &grounds, &after, &effects)
                .map_err(|violation| (event, violation, Box::new(after.clone())))?;
            if !effects.is_empty() {
                next.push((event, after.clone(), budget));
            }
        }
        self.of_instances(world, budget, &mut next);
        self.of_people(world, budget, &mut next);
        Ok(next)
    }

    fn decide(&self, world: &World) -> Decision {
        (self.step)(&world.wish.spec(self.catalogue), &world.status, &world.observe(self.catalogue), world.now)
    }

    fn of_instances(&self, world: &World, budget: Budget, next: &mut Vec<Next>) {
        for index in 0..world.instances.len() {
            // Of instances that look the same one is enough; they are sorted.
            let looks = |index: usize| {
                let i = &world.instances[index];
                (i.release, i.phase, i.online, i.serial == WATCHED)
            };
            if index > 0 && looks(index) == looks(index - 1) {
                continue;
            }
            let mut add = |event, budget, change: &dyn Fn(&mut World) -> bool| {
                let mut after = world.clone();
                if change(&mut after) {
                    next.push((event, after, budget));
                }
            };
            add(Event::Ready(index), budget, &|world| world.get_ready(index));
            add(Event::Online(index), budget, &|world| world.get_online(index));
            add(Event::Restart(index), budget, &|world| world.restart(index));
            add(Event::End(index), budget, &|world| world.end(index));
            if let Some(faults) = budget.faults.checked_sub(1) {
                let budget = Budget { faults, ..budget };
                add(Event::Crash(index), budget, &|world| world.crash(self.catalogue, index));
                add(Event::Lose(index), budget, &|world| world.lose(index));
                add(Event::Evict(index), budget, &|world| world.evict(index));
            }
        }
    }

    fn of_people(&self, world: &World, budget: Budget, next: &mut Vec<Next>) {
        let mut add = |event, budget: Option<Budget>, change: &dyn Fn(&mut World)| {
            let Some(budget) = budget else { return };
            let mut after = world.clone();
            change(&mut after);
            next.push((event, after, budget));
        };
        let less = |value: u8| value.checked_sub(1);
        let tick = less(budget.ticks).filter(|_| world.status.candidate.is_some());
        add(Event::Tick, tick.map(|ticks| Budget { ticks, ..budget }), &tick_of);
        let outage = match world.down {
            true => Some(budget),
            false => less(budget.outages).map(|outages| Budget { outages, ..budget }),
        };
        add(Event::Registrar { down: !world.down }, outage, &|world| world.down = !world.down);
        for size in self.sizes.iter().filter(|size| **size != world.wish.replicas) {
            let budget = less(budget.scales).map(|scales| Budget { scales, ..budget });
            add(Event::ScaleTo(*size), budget, &|world| world.wish.replicas = *size);
        }
        let target = world.wish.target;
        let following = target.map_or(0, |target| target + 1);
        if following < self.catalogue.releases.len() {
            let budget = less(budget.deploys).map(|deploys| Budget { deploys, ..budget });
            add(Event::Deploy(following), budget, &|world| {
                world.wish.target = Some(following);
                if self.catalogue.is_rollback(following) {
                    world.wish.approve(following);
                }
            });
        }
        let Some(target) = target else { return };
        if !world.wish.is_approved(target) {
            add(Event::Approve(target), Some(budget), &|world| world.wish.approve(target));
        }
        if world.wish.withdrawn.is_none_or(|(withdrawn, _)| withdrawn != target) {
            let budget = less(budget.aborts).map(|aborts| Budget { aborts, ..budget });
            add(Event::TakeBack { rolled_back: true }, budget, &|world| world.wish.withdrawn = Some((target, true)));
        }
    }

    /// From here everything must come to rest: left alone, aborted, and rolled back, the latter two without any help of the
    /// release that is taken back (I5, I8).
    fn comes_to_rest(&mut self, world: &World) -> Result<(), Box<(Violation, World)>> {
        if !self.liveness {
            return Ok(());
        }
        self.ends_well(world.clone(), None)?;
        let Some(target) = world.wish.target else { return Ok(()) };
        let stuck = (!world.promoted(self.catalogue, target)).then_some(target);
        if stuck.is_some() && world.wish.withdrawn.is_none() {
            let mut aborted = world.clone();
            aborted.wish.withdrawn = Some((target, false));
            self.ends_well(aborted, stuck)?;
        }
        let rollback = (target + 1..self.catalogue.releases.len()).find(|number| self.catalogue.is_rollback(*number));
        if let Some(rollback) = rollback {
            let mut rolled_back = world.clone();
            rolled_back.wish.target = Some(rollback);
            rolled_back.wish.approve(rollback);
            self.ends_well(rolled_back, stuck)?;
        }
        Ok(())
    }

    fn ends_well(&mut self, mut world: World, stuck: Option<usize>) -> Result<(), Box<(Violation, World)>> {
        world.down = false;
        let mut path = Vec::new();
        let mut quiet = 0;
        for _ in 0..200 {
            self.canonical(&mut world);
            let key = key(&world, &(stuck, quiet));
            if self.ends_well.contains(&key) {
                quiet = usize::MAX;
                break;
            }
            path.push(key);
            let before = (Rc::clone(&world.status), world.instances.clone());
            super::run::step_fully(self.step, self.catalogue, &mut world).map_err(|v| Box::new((v, world.clone())))?;
            let goes_on = world.everything_goes_on(stuck);
            let changed = goes_on || before.0 != world.status || before.1 != world.instances;
            quiet = if changed { 0 } else { quiet + 1 };
            if quiet > 2 {
                judge::rest(self.catalogue, &world).map_err(|violation| Box::new((violation, world.clone())))?;
                break;
            }
            if !changed {
                tick_of(&mut world);
            }
        }
        if quiet <= 2 {
            let what = format!("nothing comes to rest with {stuck:?} stuck");
            let invariant = if stuck.is_some() { "I5" } else { "I8" };
            return Err(Box::new((Violation { invariant, what }, world)));
        }
        self.ends_well.extend(path);
        Ok(())
    }

    fn canonical(&mut self, world: &mut World) {
        let gate = world.status.candidate.as_ref().filter(|candidate| candidate.phase == Phase::Gate);
        let watched = gate.and_then(|candidate| candidate.observed.first()).cloned();
        for instance in &mut world.instances {
            let is_watched = watched.as_ref().is_some_and(|w| *w == (instance.id(), instance.restarts));
            instance.online &= matches!(instance.phase, InstancePhase::Ready | InstancePhase::Draining);
            (instance.serial, instance.restarts) = (if is_watched { WATCHED } else { 0 }, 0);
        }
        world.instances.sort_by_key(|i| (i.release, i.phase, i.online, i.serial));
        for (serial, instance) in (0..).zip(&mut world.instances) {
            if instance.serial != WATCHED {
                instance.serial = serial;
            }
        }
        world.serial = u32::try_from(world.instances.len()).unwrap();
        world.now = START;
        if self.addresses.contains(&Rc::as_ptr(&world.status)) {
            return;
        }
        if let Some(known) = self.statuses.get(&world.status) {
            world.status = Rc::clone(known);
            return;
        }
        let raw = Rc::clone(&world.status);
        let status = Rc::new(canonical_status(&raw));
        let status = Rc::clone(self.statuses.entry(Rc::clone(&status)).or_insert(status));
        self.statuses.insert(raw, Rc::clone(&status));
        self.addresses.insert(Rc::as_ptr(&status));
        world.status = status;
    }
}

/// Time passes: everything becomes older instead of the clock going on.
fn tick_of(world: &mut World) {
    let mut status = (*world.status).clone();
    if let Some(candidate) = &mut status.candidate {
        candidate.since = older(candidate.since);
        candidate.progress_at = older(candidate.progress_at);
    }
    world.status = Rc::new(status);
}

/// Beyond one tick it does not matter how old something is: every deadline and pause is as long.
fn older(at: Timestamp) -> Timestamp {
    let age = i64::try_from(TICK.0).unwrap();
    Timestamp::from_millis((at.as_millis() - age).max(START.as_millis() - age))
}

fn canonical_status(status: &RolloutStatus) -> RolloutStatus {
    let mut status = status.clone();
    status.finished.iter_mut().for_each(|finished| finished.at = START);
    status.sets.iter_mut().for_each(|set| set.held_since = set.held_since.map(|_| START));
    for finished in &mut status.finished {
        if let barge_model::rollout::Outcome::Failed { failure } = &mut finished.outcome {
            *failure = barge_model::rollout::FailureReason::DeadlineExceeded { available: 0, needed: 0 };
        }
    }
    if let Some(candidate) = &mut status.candidate {
        let watched = candidate.phase == Phase::Gate && !candidate.observed.is_empty();
        candidate.observed = if watched { vec![(instance_id(WATCHED), 0)] } else { Vec::new() };
        // In these worlds nobody sleeps: steps follow each other closely (`observation` is about those that do not).
        candidate.stepped_at = Some(START);
    }
    status
}

/// Equal states have equal statuses, which are kept once: their addresses stand for them.
fn key(world: &World, rest: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    let wish: &Wish = &world.wish;
    (wish, Rc::as_ptr(&world.status), world.down).hash(&mut hasher);
    for instance in &world.instances {
        (instance.release, instance.phase, instance.online, instance.serial == WATCHED).hash(&mut hasher);
    }
    rest.hash(&mut hasher);
    hasher.finish()
}
