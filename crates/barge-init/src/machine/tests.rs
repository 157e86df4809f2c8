//! The machine alone: what it does with every order of what can happen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use proptest::prelude::*;

use super::{Action, Happened, Life, Machine, Now};
use crate::plan::{Kind, MAIN, Plan, Process};
use crate::socket::StopRequest;
use crate::status::{Ending, Phase, Status};

fn process(after: &[&str]) -> Process {
    let after = after.iter().map(|name| (*name).to_owned()).collect();
    Process { command: vec!["x".to_owned()], after, ..Process::default() }
}

/// A task before main, and a helper.
fn plan(probe: bool) -> Plan {
    let probe = if probe { r#"{"kind":"accept"}"# } else { r#"{"kind":"none"}"# };
    let text = format!(
        r#"{{"instance":"i","main":{{"command":["x"]}},"probe":{probe},"start_deadline_ms":1000,"hold_limit_ms":5000}}"#
    );
    let mut plan: Plan = serde_json::from_str(&text).unwrap();
    plan.main = process(&["task"]);
    plan.helpers.insert("task".to_owned(), Process { kind: Kind::Task, ..process(&[]) });
    plan.helpers.insert("helper".to_owned(), process(&[]));
    plan
}

/// A machine with what it would be the parent of.
struct World {
    machine: Machine,
    status: Status,
    now: Now,
    running: BTreeMap<String, i32>,
    to_start: BTreeSet<String>,
    next_pid: i32,
    checking: bool,
    draining: bool,
    exit: Option<u8>,
    /// Main was told to end, or killed.
    told: Vec<Signal>,
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut world = Self {
            machine: Machine::new(Arc::new(plan)),
            status: Status::default(),
            now: Now::default(),
            running: BTreeMap::new(),
            to_start: BTreeSet::new(),
            next_pid: 100,
            checking: false,
            draining: false,
            exit: None,
            told: Vec::new(),
        };
        world.happen(Happened::Begin);
        world
    }

    fn happen(&mut self, happened: Happened) {
        assert_eq!(self.exit, None, "nothing happens after the end");
        for action in self.machine.handle(self.now, happened, &mut self.status) {
            assert_eq!(self.exit, None, "an end is the last thing that is done");
            match action {
                Action::Start(name) => {
                    assert!(!self.running.contains_key(&name), "{name} is started twice");
                    assert!(self.to_start.insert(name.clone()), "{name} is to be started twice");
                }
                Action::Signal(signal) => self.told.push(signal),
                Action::BeginChecks => self.checking = true,
                Action::EndChecks => self.checking = false,
                Action::Drain(_) => self.draining = true,
                Action::Exit(code) => self.exit = Some(code),
                Action::Forward(_) | Action::SignalHelper(..) | Action::Say(_) => {}
            }
        }
        if self.exit.is_some() {
            assert!(self.running.is_empty() || matches!(self.machine.life, Life::Over), "{:?}", self.running);
        }
    }

    fn start(&mut self, name: &str) {
        if self.to_start.remove(name) {
            self.next_pid += 1;
            self.running.insert(name.to_owned(), self.next_pid);
            self.happen(Happened::Started { name: name.to_owned(), pid: self.next_pid, mark: None });
        }
    }

    fn fail(&mut self, name: &str) {
        if self.to_start.remove(name) {
            let ending = Ending::Exited { code: 127 };
            self.happen(Happened::NotStarted { name: name.to_owned(), ending, reason: "is not there".to_owned() });
        }
    }

    fn end(&mut self, name: &str, ending: Ending) {
        if self.running.remove(name).is_some() {
            self.happen(Happened::Ended { name: name.to_owned(), ending, why: None });
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now.elapsed += span;
        if self.machine.next_deadline().is_some_and(|at| at <= self.now.elapsed) {
            self.happen(Happened::Tick);
        }
    }

    fn main_runs(&mut self) {
        self.start("helper");
        self.start("task");
        self.end("task", Ending::Exited { code: 0 });
        self.start(MAIN);
    }

    fn ready(&mut self) {
        if self.checking {
            self.happen(Happened::Probed(Ok((None, "fine".to_owned()))));
        }
    }
}

const DONE: Ending = Ending::Exited { code: 0 };
const KILLED: Ending = Ending::Signalled { signal: 9 };
const TERMINATED: Ending = Ending::Signalled { signal: 15 };

fn stop(limit_ms: u64) -> Happened {
    Happened::Stop(StopRequest { traffic: None, url: None, quiet_ms: 10, limit_ms, grace_ms: 2000 })
}

#[test]
fn what_comes_after_waits() {
    let mut world = World::new(plan(true));
    assert_eq!(world.to_start, BTreeSet::from(["helper".to_owned(), "task".to_owned()]));
    world.start("task");
    assert!(!world.to_start.contains(MAIN), "a task that runs is not done");
    world.end("task", DONE);
    assert!(world.to_start.contains(MAIN));
}

#[test]
fn a_stop_before_main_was_started_ends_what_has_begun() {
    let mut world = World::new(plan(true));
    world.start("task");
    world.happen(Happened::Signal(15));
    world.fail("helper");
    world.end("task", TERMINATED);
    assert_eq!((world.exit, world.status.phase), (Some(0), Phase::Ended));
    assert!(!world.to_start.contains(MAIN));
}

#[test]
fn a_start_that_is_late_is_killed_and_held_until_its_limit() {
    let mut world = World::new(plan(true));
    world.main_runs();
    world.pass(Duration::from_millis(1000));
    assert_eq!(world.told, [Signal::SIGKILL]);
    world.end(MAIN, KILLED);
    assert_eq!(world.status.phase, Phase::Held);
    assert!(world.status.reason.as_deref().unwrap().starts_with("it was not ready within 1 s"));
    world.pass(Duration::from_millis(5000));
    assert_eq!(world.exit, None, "a helper is still there");
    world.end("helper", TERMINATED);
    assert_eq!(world.exit, Some(137));
}

#[test]
fn a_stop_is_a_wait_then_sigterm_then_sigkill() {
    let mut world = World::new(plan(true));
    world.main_runs();
    world.ready();
    world.happen(stop(60_000));
    assert!(world.draining && world.told.is_empty() && !world.checking);
    world.happen(Happened::Drained("quiet".to_owned()));
    assert_eq!(world.told, [Signal::SIGTERM]);
    world.pass(Duration::from_millis(1999));
    assert_eq!(world.told, [Signal::SIGTERM]);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.told, [Signal::SIGTERM, Signal::SIGKILL]);
    world.end("helper", DONE);
    world.end(MAIN, KILLED);
    assert_eq!(world.exit, Some(137));
}

#[test]
fn pauses_of_a_helper_grow_and_begin_anew_after_a_good_run() {
    let mut world = World::new(plan(false));
    world.main_runs();
    let mut pauses = Vec::new();
    for round in 0..9 {
        let before = world.now.elapsed;
        if round == 8 {
            world.pass(Duration::from_secs(60));
        }
        let ended = world.now.elapsed;
        world.end("helper", KILLED);
        let again = world.machine.next_deadline().unwrap();
        pauses.push((again - ended).as_secs());
        world.pass(again - ended);
        assert!(world.to_start.contains("helper"), "{before:?}");
        world.start("helper");
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 1]);
}

/// What may come next.
#[derive(Debug, Clone)]
enum Step {
    Start(usize),
    Fail(usize),
    End(usize, Ending),
    Probe(bool),
    Signal(i32),
    Stop(u64),
    Drained,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ending = prop_oneof![Just(DONE), Just(KILLED), Just(TERMINATED), Just(Ending::Exited { code: 3 })];
    let step = prop_oneof![
        8 => (0..3usize).prop_map(Step::Start),
        1 => (0..3usize).prop_map(Step::Fail),
        3 => (0..3usize, ending).prop_map(|(who, how)| Step::End(who, how)),
        4 => any::<bool>().prop_map(Step::Probe),
        1 => prop_oneof![Just(1), Just(2), Just(15), Just(20), Just(10)].prop_map(Step::Signal),
        1 => prop_oneof![Just(0), Just(60_000)].prop_map(Step::Stop),
        1 => Just(Step::Drained),
        4 => prop_oneof![Just(1), Just(500), Just(2_000), Just(70_000)].prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..60)
}

const NAMES: [&str; 3] = ["task", "helper", MAIN];

proptest! {
    /// Whatever happens in whatever order: nothing is started twice, nothing happens after the end, a start that failed is told of, and the
    /// end comes once it is asked for and everything that runs gives way.
    #[test]
    fn every_order_comes_to_an_end(steps in steps(), probe: bool) {
        let mut world = World::new(plan(probe));
        for step in steps {
            if world.exit.is_some() {
                break;
            }
            match step {
                Step::Start(who) => world.start(NAMES[who]),
                Step::Fail(who) => world.fail(NAMES[who]),
                Step::End(who, how) => world.end(NAMES[who], how),
                Step::Probe(true) => world.ready(),
                Step::Probe(false) if world.checking => world.happen(Happened::Probed(Err("no".to_owned()))),
                Step::Signal(number) => world.happen(Happened::Signal(number)),
                Step::Stop(limit) => world.happen(stop(limit)),
                Step::Drained if world.draining => world.happen(Happened::Drained("quiet".to_owned())),
                Step::Pass(ms) => world.pass(Duration::from_millis(ms)),
                Step::Probe(false) | Step::Drained => {}
            }
            if world.status.phase == Phase::Held {
                prop_assert!(world.status.reason.is_some() && world.status.ending.is_some());
                prop_assert!(!world.running.contains_key(MAIN));
            }
            if world.status.phase == Phase::Ready {
                prop_assert!(world.running.contains_key(MAIN) && world.status.was_ready);
            }
        }
        for _ in 0..4 {
            if world.exit.is_some() {
                break;
            }
            world.happen(Happened::Signal(15));
            for name in NAMES {
                if world.exit.is_none() {
                    world.start(name);
                }
                if world.exit.is_none() {
                    world.end(name, TERMINATED);
                }
            }
        }
        prop_assert!(world.exit.is_some(), "{:?} {:?}", world.machine, world.status.timeline);
        prop_assert_eq!(world.status.phase, Phase::Ended);
    }
}
