//! One instance, its registrar, and a target behind a network that loses, repeats, delays and reorders.

use std::collections::BTreeMap;

use barge_model::registration::{Answer, Call, Candidate, Intent, Registration, Want};
use barge_model::{InstanceId, Millis, Timestamp};
use proptest::prelude::*;

use super::{Machine, SOUND};
use crate::runner::runner;

#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The instance's readiness changes.
    Ready(bool),
    /// Its process ended and will be started again, or has been.
    Dead(bool),
    /// It is to end.
    End,
    /// The registrar looks at the instance and makes the call that is due.
    Work,
    /// A call reaches the target; it may reach it again later.
    Deliver {
        which: usize,
        again: bool,
    },
    /// An answer reaches the registrar; it may do so again later.
    Answer {
        which: usize,
        again: bool,
    },
    /// The registrar has waited long enough for its call.
    TimeOut,
    /// The registrar dies and starts again from what is stored.
    Restart,
    /// The target's list is compared.
    Audit,
    /// The target loses what it has stored; late calls are gone with it.
    Forget,
    Clock {
        millis: i64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => any::<bool>().prop_map(Event::Ready),
        2 => any::<bool>().prop_map(Event::Dead),
        1 => Just(Event::End),
        8 => Just(Event::Work),
        8 => (0usize..6, prop::bool::weighted(0.3)).prop_map(|(which, again)| Event::Deliver { which, again }),
        8 => (0usize..6, prop::bool::weighted(0.3)).prop_map(|(which, again)| Event::Answer { which, again }),
        3 => Just(Event::TimeOut),
        1 => Just(Event::Restart),
        2 => Just(Event::Audit),
        1 => Just(Event::Forget),
        3 => (-10_000i64..10_000).prop_map(|millis| Event::Clock { millis }),
    ]
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) &'static str, pub(crate) &'static str);

struct Run {
    machine: Machine,
    instance: Candidate,
    was_ready: bool,
    /// The process was told to stop.
    stopped: bool,
    memory: Registration,
    stored: Registration,
    target: Option<(u64, Intent)>,
    /// The target has once taken a terminal call.
    was_terminal: bool,
    calls: Vec<Call>,
    answers: Vec<(Call, Answer)>,
    /// What was ever sent, by generation.
    sent: BTreeMap<u64, Intent>,
    now: Timestamp,
}

impl Run {
    fn new(machine: Machine) -> Self {
        let id = InstanceId::from_parts(Timestamp::default(), 1);
        Self {
            machine,
            instance: Candidate { id, ready: false, ending: false, dead: false, online: false },
            was_ready: false,
            stopped: false,
            memory: Registration::default(),
            stored: Registration::default(),
            target: None,
            was_terminal: false,
            calls: Vec::new(),
            answers: Vec::new(),
            sent: BTreeMap::new(),
            now: Timestamp::from_millis(1_700_000_000_000),
        }
    }

    fn happen(&mut self, event: &Event) -> Result<(), Violation> {
        match *event {
            Event::Ready(ready) => {
                self.instance.ready = ready && !self.instance.dead && !self.stopped;
                self.was_ready |= self.instance.ready;
            }
            Event::Dead(dead) => {
                self.instance.dead = dead;
                self.instance.ready &= !dead;
            }
            Event::End => self.instance.ending = true,
            Event::Work => self.work()?,
            Event::Deliver { which, again } => self.deliver(which, again)?,
            Event::Answer { which, again } => self.answer(which, again)?,
            Event::TimeOut => self.time_out()?,
            Event::Restart => {
                self.memory = Registration { in_flight: None, ..read_again(&self.stored) };
                self.answers.clear();
            }
            Event::Audit => self.audit()?,
            Event::Forget => {
                self.target = None;
                self.was_terminal = false;
                self.calls.clear();
            }
            Event::Clock { millis } => self.now = Timestamp::from_millis(self.now.as_millis() + millis),
        }
        Ok(())
    }

    /// As the registrar's loop: want, store, call; and the engine stops what the target knows to end.
    fn work(&mut self) -> Result<(), Violation> {
        self.instance.online = self.memory.intent == Some(Intent::Online);
        let want = (self.machine.wants)(std::slice::from_ref(&self.instance))[0];
        // Before its first readiness nothing is registered at all.
        let unknown = self.memory == Registration::default();
        if !unknown || want == Want::Be(Intent::Online) {
            let before = self.memory.intent;
            if (self.machine.want)(&mut self.memory, want) && !self.machine.stores_late {
                self.stored = self.memory.clone();
            }
            if before == Some(Intent::Terminal) && self.memory.intent != before {
                return Err(Violation("R2", "a terminal intent was taken back"));
            }
        }
        if let Some(call) = self.memory.next_call(self.now) {
            self.send(call)?;
        }
        self.stored = self.memory.clone();
        if self.instance.ending && (self.machine.terminal)(&self.memory) && !self.stopped {
            self.stopped = true;
            if matches!(self.target, Some((_, Intent::Online | Intent::Offline))) {
                return Err(Violation("R1", "the process was told to stop before the target knew"));
            }
        }
        Ok(())
    }

    fn send(&mut self, call: Call) -> Result<(), Violation> {
        if (self.stored.generation, self.stored.intent) != (call.generation, Some(call.state)) {
            return Err(Violation("R3", "a call was made that nobody has stored"));
        }
        if *self.sent.entry(call.generation).or_insert(call.state) != call.state {
            return Err(Violation("R2", "one generation says two things"));
        }
        self.calls.push(call);
        Ok(())
    }

    fn deliver(&mut self, which: usize, again: bool) -> Result<(), Violation> {
        if self.calls.is_empty() {
            return Ok(());
        }
        let which = which % self.calls.len();
        let call = if again { self.calls[which] } else { self.calls.remove(which) };
        let answer = match self.target.filter(|stored| (self.machine.refuses)(*stored, call)) {
            Some((stored, state)) => Answer::Older { stored, terminal: state == Intent::Terminal },
            None => {
                self.target = Some((call.generation, call.state));
                Answer::Applied
            }
        };
        self.answers.push((call, answer));
        self.was_terminal |= call.state == Intent::Terminal && answer == Answer::Applied;
        if matches!(self.target, Some((_, Intent::Online))) {
            if self.was_terminal || self.stopped {
                return Err(Violation("R2", "an instance that had ended came online again"));
            }
            if !self.was_ready {
                return Err(Violation("R1", "an instance was online before it was ready"));
            }
        }
        Ok(())
    }

    fn answer(&mut self, which: usize, again: bool) -> Result<(), Violation> {
        if self.answers.is_empty() {
            return Ok(());
        }
        let which = which % self.answers.len();
        let (call, answer) = if again { self.answers[which] } else { self.answers.remove(which) };
        self.take(call, answer)
    }

    fn time_out(&mut self) -> Result<(), Violation> {
        let (Some(generation), Some(state)) = (self.memory.in_flight, self.memory.intent) else { return Ok(()) };
        let state = self.sent.get(&generation).copied().unwrap_or(state);
        self.take(Call { generation, state }, Answer::Failed)
    }

    fn take(&mut self, call: Call, answer: Answer) -> Result<(), Violation> {
        let before = self.memory.intent;
        if (self.machine.answered)(&mut self.memory, call, answer, self.now) {
            self.stored = self.memory.clone();
        }
        let fenced = matches!(answer, Answer::Older { terminal: true, .. });
        if self.memory.intent != before && !fenced {
            return Err(Violation("R5", "an answer changed what an instance is to be"));
        }
        Ok(())
    }

    fn audit(&mut self) -> Result<(), Violation> {
        // The target's list leaves out what has ended.
        let listed = self.target.filter(|(_, state)| *state != Intent::Terminal);
        let before = self.memory.intent;
        if (self.machine.audited)(&mut self.memory, listed) {
            self.stored = self.memory.clone();
        }
        if self.memory.intent != before {
            return Err(Violation("R4", "a list changed what an instance is to be"));
        }
        Ok(())
    }

    /// The network is good again: registrar and target come to agree.
    fn settle(&mut self) -> Result<(), Violation> {
        for _ in 0..self.calls.len() {
            self.deliver(0, false)?;
        }
        for _ in 0..60 {
            self.now = self.now.plus(Millis::from_secs(10));
            self.work()?;
            for _ in 0..self.calls.len() {
                self.deliver(0, false)?;
            }
            self.time_out_unanswered()?;
            self.audit()?;
        }
        let agreed = match (self.memory.intent, self.target) {
            (None, None) => true,
            (Some(Intent::Terminal), None) => true,
            (Some(intent), Some((generation, state))) => intent == state && generation == self.memory.generation,
            _ => false,
        };
        let wanted = match (self.instance.ending, self.instance.ready) {
            (true, _) => self.memory.intent.is_none_or(|intent| intent == Intent::Terminal),
            (false, true) => self.memory.intent == Some(Intent::Online),
            (false, false) => true,
        };
        let online = matches!(self.target, Some((_, Intent::Online)));
        if !agreed || !wanted || self.memory.online() != online {
            return Err(Violation("R3", "registrar and target never came to agree"));
        }
        if self.instance.ending && !self.stopped {
            return Err(Violation("R3", "an instance that is to end was never stopped"));
        }
        Ok(())
    }

    fn time_out_unanswered(&mut self) -> Result<(), Violation> {
        while !self.answers.is_empty() {
            self.answer(0, false)?;
        }
        self.time_out()
    }
}

fn read_again(registration: &Registration) -> Registration {
    serde_json::from_str(&serde_json::to_string(registration).unwrap()).unwrap()
}

pub(crate) fn run(machine: Machine, events: &[Event]) -> Result<(), Violation> {
    let mut run = Run::new(machine);
    for event in events {
        run.happen(event)?;
    }
    run.settle()
}

/// Looks for a run that breaks a rule.
pub(crate) fn find(machine: Machine, cases: u32) -> Result<(), String> {
    let tested = runner(cases).run(&prop::collection::vec(event(), 0..120), |events| {
        run(machine, &events).map_err(|Violation(rule, what)| TestCaseError::fail(format!("{rule} {what}")))
    });
    tested.map_err(|error| error.to_string())
}

#[test]
fn no_bad_network_breaks_a_rule() {
    find(SOUND, 3000).unwrap();
}
