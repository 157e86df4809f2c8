//! Helpers: started again when they end, and told to end after main.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Action, Actions, Life, Machine, Unit};
use crate::plan::{Kind, MAIN};
use crate::status::{Ending, HelperStatus, Phase, Status, in_words};

/// The pause before the first new start of a helper; doubled with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A helper that has run for so long has started well, and the pauses begin anew.
const GOOD_RUN: Duration = Duration::from_secs(60);
/// From SIGTERM to SIGKILL for helpers.
const GRACE: Duration = Duration::from_secs(5);
/// How long killed helpers are waited for: one may hang in the kernel.
const LAST_WAIT: Duration = Duration::from_secs(1);

impl Machine {
    pub(super) fn helper_started(&mut self, name: &str, pid: i32, status: &mut Status) -> Actions {
        let helper = status.helpers.entry(name.to_owned()).or_default();
        helper.pid = Some(pid);
        let restarts = helper.restarts;
        if restarts == 0 {
            self.note(status, format!("helper {name} runs (process {pid})"));
        }
        match self.life {
            // Its start was under way when the end began.
            Life::Closing { .. } => vec![Action::SignalHelper(name.to_owned(), Signal::SIGTERM)],
            _ => self.start_due(status),
        }
    }

    pub(super) fn helper_ended(
        &mut self,
        name: &str,
        ending: Ending,
        why: Option<String>,
        status: &mut Status,
    ) -> Actions {
        let how = why.map_or_else(|| ending.in_words(), |why| format!("{}: {why}", ending.in_words()));
        let entry = status.helpers.entry(name.to_owned()).or_default();
        *entry = HelperStatus { pid: None, ending: Some(ending), reason: Some(how.clone()), restarts: entry.restarts };
        let kind = self.plan.helpers.get(name).map(|helper| helper.kind).unwrap_or_default();
        let before = self.units.insert(name.to_owned(), Unit::Ended);
        if let Life::Closing { code, .. } = self.life {
            return self.finish_when_alone(code, status);
        }
        match kind {
            Kind::Task if ending == (Ending::Exited { code: 0 }) => {
                self.set(name, Unit::Done);
                self.note(status, format!("task {name} is done"));
                self.start_due(status)
            }
            Kind::Task if matches!(self.life, Life::Starting { .. }) && !self.main().is_there() => {
                self.hold(ending, format!("the task {name} failed: {how}"), status)
            }
            Kind::Task => {
                self.note(status, format!("task {name} failed: {how}"));
                Vec::new()
            }
            Kind::Service => self.again_later(name, before, &how, status),
        }
    }

    fn again_later(&mut self, name: &str, before: Option<Unit>, how: &str, status: &mut Status) -> Actions {
        let ran = match before {
            Some(Unit::Running { since }) => self.now.elapsed.saturating_sub(since),
            _ => Duration::ZERO,
        };
        let last = self.pauses.get(name).copied().filter(|_| ran < GOOD_RUN);
        let pause = last.map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE));
        self.pauses.insert(name.to_owned(), pause);
        self.set(name, Unit::BackOff { until: self.after(pause) });
        if let Some(helper) = status.helpers.get_mut(name) {
            helper.restarts = helper.restarts.saturating_add(1);
            if helper.restarts == 1 {
                // A loop of crashes must not push everything else out of the timeline; the helper's own lines tell the rest.
                self.note(status, format!("helper {name} ended ({how}); started again in {}", in_words(pause)));
            }
        }
        Vec::new()
    }

    /// Main is over: helpers are told to end.
    pub(super) fn close(&mut self, code: u8, status: &mut Status) -> Actions {
        status.phase = Phase::Stopping;
        self.life = Life::Closing { kill_at: self.after(GRACE), killed: false, code };
        for unit in self.units.values_mut().filter(|unit| matches!(unit, Unit::BackOff { .. } | Unit::Waiting)) {
            *unit = Unit::Ended;
        }
        let mut actions = self.to_helpers(Signal::SIGTERM);
        if !actions.is_empty() {
            self.note(status, "helpers are told to stop (SIGTERM)");
        }
        actions.extend(self.finish_when_alone(code, status));
        actions
    }

    pub(super) fn kill_helpers(&mut self, killed: bool, code: u8, status: &mut Status) -> Actions {
        if killed {
            self.note(status, "helpers are still there after SIGKILL: left");
            return self.finish(code, status);
        }
        self.life = Life::Closing { kill_at: self.after(LAST_WAIT), killed: true, code };
        self.note(status, "helpers are still there after their grace period: killed (SIGKILL)");
        self.to_helpers(Signal::SIGKILL)
    }

    fn to_helpers(&self, signal: Signal) -> Actions {
        let there = self.units.iter().filter(|(name, unit)| *name != MAIN && matches!(unit, Unit::Running { .. }));
        there.map(|(name, _)| Action::SignalHelper(name.clone(), signal)).collect()
    }

    fn finish_when_alone(&mut self, code: u8, status: &mut Status) -> Actions {
        if self.units.values().any(|unit| unit.is_there()) { Vec::new() } else { self.finish(code, status) }
    }

    fn finish(&mut self, code: u8, status: &mut Status) -> Actions {
        self.life = Life::Over;
        status.phase = Phase::Ended;
        self.note(status, format!("over, with the exit code {code}"));
        vec![Action::Exit(code)]
    }
}
