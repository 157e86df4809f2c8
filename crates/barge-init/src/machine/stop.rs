//! Stops: asked for on the socket or by a signal; a wait for silence, SIGTERM, SIGKILL.

use std::time::Duration;

use nix::libc as signals;
use nix::sys::signal::Signal;

use super::{Action, Actions, Life, Machine};
use crate::socket::StopRequest;
use crate::status::{Ending, Phase, Status};

/// Between two SIGKILLs for a process that hangs in the kernel.
const KILL_AGAIN: Duration = Duration::from_secs(1);

impl Machine {
    pub(super) fn signal(&mut self, number: i32, status: &mut Status) -> Actions {
        let ends = matches!(number, signals::SIGTERM | signals::SIGINT);
        match self.life {
            Life::Closing { .. } | Life::Over => Vec::new(),
            Life::Held { .. } if ends => self.end_hold("a signal asks for a stop", status),
            Life::Draining { grace, .. } if ends => {
                self.life = Life::Draining { grace, signal: stop_signal(number) };
                self.note(status, "a second signal asks for a stop: no more draining");
                self.terminate(status)
            }
            Life::Terminating { .. } if ends => vec![Action::Forward(number)],
            _ if ends => {
                let plan = &self.plan.stop;
                let (quiet_ms, limit_ms, grace_ms) = (plan.quiet_ms, plan.limit_ms, plan.grace_ms);
                let request = StopRequest { traffic: None, url: plan.check.clone(), quiet_ms, limit_ms, grace_ms };
                self.begin_stop(request, stop_signal(number), "a signal asks for a stop", status)
            }
            // They are for a terminal's background jobs, which main is none of.
            _ if matches!(number, signals::SIGTTIN | signals::SIGTTOU) => Vec::new(),
            _ => vec![Action::Forward(number)],
        }
    }

    pub(super) fn stop(&mut self, request: StopRequest, status: &mut Status) -> Actions {
        let at_once = request.limit_ms == 0;
        match &mut self.life {
            Life::Held { .. } => self.end_hold("asked to stop", status),
            // Whoever asks again may be in more of a hurry: a drain is cut short, a grace period that runs is not.
            Life::Draining { grace, .. } if at_once => {
                *grace = Duration::from_millis(request.grace_ms);
                self.note(status, "asked to stop at once: no more draining");
                self.terminate(status)
            }
            Life::Draining { .. } | Life::Terminating { .. } | Life::Closing { .. } | Life::Over => Vec::new(),
            Life::Starting { .. } | Life::Late { .. } | Life::Running => {
                self.begin_stop(request, Signal::SIGTERM, "asked to stop", status)
            }
        }
    }

    fn begin_stop(&mut self, request: StopRequest, signal: Signal, why: &str, status: &mut Status) -> Actions {
        status.phase = Phase::Stopping;
        if !self.main().is_there() {
            // What has to be done before it is not done yet.
            self.note(status, format!("{why} before it was started"));
            return self.close(0, status);
        }
        self.life = Life::Draining { grace: Duration::from_millis(request.grace_ms), signal };
        let mut actions = vec![Action::EndChecks];
        let at_once = request.limit_ms == 0;
        self.note(status, if at_once { format!("{why} at once") } else { format!("{why}: draining") });
        if at_once && self.plan.agent.is_none() {
            actions.extend(self.terminate(status));
        } else {
            // Whoever is in a registry is taken out of it first.
            actions.push(Action::Drain(request));
        }
        actions
    }

    pub(super) fn drained(&mut self, how: &str, status: &mut Status) -> Actions {
        if !matches!(self.life, Life::Draining { .. }) {
            return Vec::new();
        }
        self.note(status, format!("drained: {how}"));
        self.terminate(status)
    }

    fn terminate(&mut self, status: &mut Status) -> Actions {
        let Life::Draining { grace, signal } = self.life else { return Vec::new() };
        self.life = Life::Terminating { kill_at: self.after(grace) };
        self.note(status, format!("told to stop ({signal})"));
        vec![Action::Signal(signal)]
    }

    pub(super) fn kill_main(&mut self, status: &mut Status) -> Actions {
        self.life = Life::Terminating { kill_at: self.after(KILL_AGAIN) };
        self.note(status, "still there after its grace period: killed (SIGKILL)");
        vec![Action::Signal(Signal::SIGKILL)]
    }

    pub(super) fn end_hold(&mut self, why: &str, status: &mut Status) -> Actions {
        self.note(status, why);
        let code = status.ending.map_or(0, Ending::code);
        self.close(code, status)
    }
}

/// Whoever asks with SIGINT means it: there are services for which it is another way to stop than SIGTERM, and images say which one they
/// want (`STOPSIGNAL`).
fn stop_signal(number: i32) -> Signal {
    if number == signals::SIGINT { Signal::SIGINT } else { Signal::SIGTERM }
}
