//! What happens next: a pure function of what has happened and of the time. It starts nothing and asks nobody; `supervise` does.
//!
//! The life of an instance: helpers and main start in their order; main gets ready, or its start has failed and is held; a stop drains it,
//! tells it to end, and kills it; helpers end last. [`Machine::handle`] takes what happened and gives what is to be done.

mod helpers;
mod stop;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::libc as signals;
use nix::sys::signal::Signal;

use crate::plan::{Kind, MAIN, Plan, Probe};
use crate::processes::ProcessMark;
use crate::socket::StopRequest;
use crate::status::{Ending, Phase, Status, in_words};

/// How the reason begins when a start has missed its deadline.
pub const NOT_READY_WITHIN: &str = "it was not ready within";

/// Two clocks: one that only goes forward, since barge-init began, and the wall's in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Now {
    pub(crate) elapsed: Duration,
    pub(crate) wall_ms: i64,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Happened {
    /// barge-init is about to begin.
    Begin,
    /// A process runs.
    Started { name: String, pid: i32, mark: Option<ProcessMark> },
    /// A process could not be started.
    NotStarted { name: String, ending: Ending, reason: String },
    /// A process has ended.
    Ended { name: String, ending: Ending, why: Option<String> },
    /// A readiness check was made: where the process answers, or why it is not ready.
    Probed(Result<(Option<SocketAddr>, String), String>),
    /// A signal arrived.
    Signal(i32),
    /// Somebody asks for a stop.
    Stop(StopRequest),
    /// The wait for silence is over.
    Drained(String),
    /// The registry was told something, or cannot be.
    Registration(String),
    /// Time has passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start this process.
    Start(String),
    /// Send main what was meant for it, as the plan says: to its group, or to it alone.
    Forward(i32),
    /// Send main's whole group a signal.
    Signal(Signal),
    /// Send a helper's group a signal.
    SignalHelper(String, Signal),
    /// Begin to check readiness.
    BeginChecks,
    /// Check no more.
    EndChecks,
    /// Wait for silence.
    Drain(StopRequest),
    /// Tell whoever reads the output.
    Say(String),
    /// It is over.
    Exit(u8),
}

/// Where the instance is in its life.
#[derive(Debug, Clone, PartialEq)]
enum Life {
    /// Main was never ready; the deadline runs from its start.
    Starting { deadline: Option<Duration> },
    /// The start has missed its deadline and is being killed: the sentence that says so.
    Late { reason: String },
    /// Main was ready.
    Running,
    /// The start has failed, and is kept for a look.
    Held { until: Option<Duration> },
    /// Main is to get no more requests before it is told to stop, with this signal.
    Draining { grace: Duration, signal: Signal },
    /// Main was told to stop.
    Terminating { kill_at: Duration },
    /// Main is over; helpers are told to stop.
    Closing { kill_at: Duration, killed: bool, code: u8 },
    /// All is over.
    Over,
}

/// A process's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Its turn has not come.
    Waiting,
    /// It was to be started.
    Starting,
    /// It runs.
    Running { since: Duration },
    /// A helper that is to be started again.
    BackOff { until: Duration },
    /// A task that is done.
    Done,
    /// It has ended, or will not be started any more.
    Ended,
}

impl Unit {
    fn is_there(self) -> bool {
        matches!(self, Unit::Starting | Unit::Running { .. })
    }
}

/// The decisions of one supervisor.
#[derive(Debug)]
pub(crate) struct Machine {
    plan: Arc<Plan>,
    life: Life,
    units: BTreeMap<String, Unit>,
    /// The pause before a helper's next start, if it ends soon.
    pauses: BTreeMap<String, Duration>,
    /// Good checks in a row.
    good: u32,
    now: Now,
}

type Actions = Vec<Action>;

impl Machine {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        let names = plan.helpers.keys().cloned().chain([MAIN.to_owned()]);
        let units = names.map(|name| (name, Unit::Waiting)).collect();
        let (life, pauses) = (Life::Starting { deadline: None }, BTreeMap::new());
        Self { plan, life, units, pauses, good: 0, now: Now::default() }
    }

    /// Takes in what happened, tells it in the status, and says what is to be done.
    pub(crate) fn handle(&mut self, now: Now, happened: Happened, status: &mut Status) -> Actions {
        self.now = now;
        match happened {
            Happened::Begin => {
                self.note(status, "starting");
                self.start_due(status)
            }
            Happened::Started { name, pid, mark } => self.started(&name, pid, mark, status),
            Happened::NotStarted { name, ending, reason } if name == MAIN => self.hold(ending, reason, status),
            Happened::NotStarted { name, ending, reason } => self.helper_ended(&name, ending, Some(reason), status),
            Happened::Ended { name, ending, why } if name == MAIN => self.main_ended(ending, why, status),
            Happened::Ended { name, ending, why } => self.helper_ended(&name, ending, why, status),
            Happened::Probed(result) => self.probed(result, status),
            Happened::Signal(number) => self.signal(number, status),
            Happened::Stop(request) => self.stop(request, status),
            Happened::Drained(how) => self.drained(&how, status),
            Happened::Registration(words) => {
                self.note(status, &words);
                status.registration = Some(words);
                Vec::new()
            }
            Happened::Tick => self.tick(status),
        }
    }

    /// When time alone makes something happen.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let life = match &self.life {
            Life::Starting { deadline } => *deadline,
            Life::Held { until } => *until,
            Life::Terminating { kill_at } | Life::Closing { kill_at, .. } => Some(*kill_at),
            Life::Late { .. } | Life::Running | Life::Draining { .. } | Life::Over => None,
        };
        let again = self.units.values().filter_map(|unit| match unit {
            Unit::BackOff { until } => Some(*until),
            _ => None,
        });
        again.chain(life).min()
    }

    fn main(&self) -> Unit {
        self.units.get(MAIN).copied().unwrap_or(Unit::Ended)
    }

    fn set(&mut self, name: &str, unit: Unit) {
        self.units.insert(name.to_owned(), unit);
    }

    fn after(&self, span: Duration) -> Duration {
        self.now.elapsed.saturating_add(span)
    }

    fn note(&self, status: &mut Status, what: impl Into<String>) {
        status.note_at(self.now.wall_ms, what);
    }

    /// Starts whose turn it is.
    fn start_due(&mut self, status: &Status) -> Actions {
        if !matches!(self.life, Life::Starting { .. } | Life::Running | Life::Held { .. }) {
            return Vec::new();
        }
        let due: Vec<String> = self
            .units
            .iter()
            .filter(|(name, unit)| self.is_due(name, **unit, status))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &due {
            self.set(name, Unit::Starting);
        }
        due.into_iter().map(Action::Start).collect()
    }

    fn is_due(&self, name: &str, unit: Unit, status: &Status) -> bool {
        let process = if name == MAIN { Some(&self.plan.main) } else { self.plan.helpers.get(name) };
        let there = |name: &String| match self.units.get(name) {
            Some(Unit::Done) => true,
            Some(Unit::Running { .. }) if name == MAIN => status.was_ready,
            Some(Unit::Running { .. }) => {
                self.plan.helpers.get(name).is_some_and(|helper| helper.kind == Kind::Service)
            }
            _ => false,
        };
        match unit {
            // Of a start that has failed nothing more begins.
            Unit::Waiting => {
                !matches!(self.life, Life::Held { .. })
                    && process.is_some_and(|process| process.after.iter().all(there))
            }
            Unit::BackOff { until } => until <= self.now.elapsed,
            _ => false,
        }
    }

    fn started(&mut self, name: &str, pid: i32, mark: Option<ProcessMark>, status: &mut Status) -> Actions {
        self.set(name, Unit::Running { since: self.now.elapsed });
        if name != MAIN {
            return self.helper_started(name, pid, status);
        }
        (status.pid, status.process) = (Some(pid), mark);
        self.note(status, format!("process {pid} runs"));
        if self.plan.probe == Probe::None {
            return self.probed(Ok((None, "it runs, and nothing is checked".to_owned())), status);
        }
        if let Life::Starting { deadline } = &mut self.life {
            *deadline = self.now.elapsed.checked_add(Duration::from_millis(self.plan.start_deadline_ms));
        }
        let mut actions = vec![Action::BeginChecks];
        actions.extend(self.start_due(status));
        actions
    }

    fn probed(&mut self, result: Result<(Option<SocketAddr>, String), String>, status: &mut Status) -> Actions {
        if !matches!(self.life, Life::Starting { .. } | Life::Running) || !self.main().is_there() {
            return Vec::new();
        }
        match result {
            Ok((address, detail)) => {
                self.good = self.good.saturating_add(1);
                status.probed_at(self.now.wall_ms, true, &detail);
                if self.good < self.plan.checks.successes {
                    return Vec::new();
                }
                if status.phase != Phase::Ready {
                    self.note(status, format!("ready: {detail}"));
                }
                self.life = Life::Running;
                (status.phase, status.was_ready, status.reason) = (Phase::Ready, true, None);
                status.address = address.map(|address| address.to_string());
                self.start_due(status)
            }
            Err(reason) => {
                self.good = 0;
                if status.phase == Phase::Ready {
                    status.phase = Phase::NotReady;
                    self.note(status, format!("not ready any more: {reason}"));
                }
                status.probed_at(self.now.wall_ms, false, &reason);
                status.reason = Some(reason);
                Vec::new()
            }
        }
    }

    fn main_ended(&mut self, ending: Ending, why: Option<String>, status: &mut Status) -> Actions {
        self.set(MAIN, Unit::Ended);
        let mut actions = vec![Action::EndChecks];
        let because = |what: &str| why.as_ref().map_or_else(|| what.to_owned(), |why| format!("{what}: {why}"));
        let asked = matches!(self.life, Life::Draining { .. } | Life::Terminating { .. });
        if asked || status.was_ready {
            (status.pid, status.process, status.ending) = (None, None, Some(ending));
            let told = if asked { "stopped".to_owned() } else { because("the process ended after a good start") };
            if !asked {
                status.reason = Some(told.clone());
            }
            self.note(status, told);
            let code = match ending {
                Ending::Signalled { signal: signals::SIGTERM | signals::SIGINT } if asked => 0,
                Ending::Exited { code: 143 | 130 } if asked => 0,
                _ => ending.code(),
            };
            actions.extend(self.close(code, status));
            return actions;
        }
        let reason = match std::mem::replace(&mut self.life, Life::Running) {
            // It was killed for that, and by nobody else.
            Life::Late { reason } => reason,
            _ if ending == (Ending::Exited { code: 0 }) && why.is_none() => {
                "the process ended before it was ready; it must stay in the foreground for as long as it serves"
                    .to_owned()
            }
            _ => because("the process ended before it was ready"),
        };
        actions.extend(self.hold(ending, reason, status));
        actions
    }

    /// The start has failed: it is not tried again, and kept for a look.
    fn hold(&mut self, ending: Ending, reason: String, status: &mut Status) -> Actions {
        self.set(MAIN, Unit::Ended);
        (status.pid, status.process, status.ending) = (None, None, Some(ending));
        let mut actions = vec![Action::Say(format!("start failed: {reason}"))];
        let held = self.plan.hold_limit_ms > 0;
        self.note(status, format!("start failed{}: {reason}", if held { ", held" } else { "" }));
        status.reason = Some(reason);
        if held {
            let limit = Duration::from_millis(self.plan.hold_limit_ms);
            self.life = Life::Held { until: self.now.elapsed.checked_add(limit) };
            status.phase = Phase::Held;
        } else {
            actions.extend(self.close(ending.code(), status));
        }
        actions
    }

    fn tick(&mut self, status: &mut Status) -> Actions {
        let now = self.now.elapsed;
        match self.life.clone() {
            Life::Starting { deadline: Some(at) } if at <= now => self.too_late(status),
            Life::Held { until: Some(at) } if at <= now => self.end_hold("the hold has reached its limit", status),
            Life::Terminating { kill_at } if kill_at <= now => self.kill_main(status),
            Life::Closing { kill_at, killed, code } if kill_at <= now => self.kill_helpers(killed, code, status),
            _ => self.start_due(status),
        }
    }

    /// Main has not become ready in time: it is stopped, so that the scene holds still, and held.
    fn too_late(&mut self, status: &mut Status) -> Actions {
        let limit = in_words(Duration::from_millis(self.plan.start_deadline_ms));
        let last = status.reason.clone().unwrap_or_else(|| "it was never asked".to_owned());
        self.life = Life::Late { reason: format!("{NOT_READY_WITHIN} {limit} ({last})") };
        self.note(status, format!("not ready within {limit}: killed (SIGKILL)"));
        vec![Action::EndChecks, Action::Signal(Signal::SIGKILL)]
    }
}

#[cfg(test)]
mod tests;
