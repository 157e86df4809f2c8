//! The loop that joins the parts: one owner of the process's fate, fed by events from the threads around it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::consts as signals;

use crate::events::{Event, Events, Shared};
use crate::plan::Plan;
use crate::run::{RunError, thread};
use crate::socket::StopRequest;
use crate::status::{Ending, Phase, Status};
use crate::{child, drain, files, log, probe, processes, status};

/// How the reason begins when a start has missed its deadline.
pub const NOT_READY_WITHIN: &str = "it was not ready within";

/// From SIGTERM to SIGKILL, where a signal and not the engine asks for the stop.
const SIGNAL_GRACE: Duration = Duration::from_secs(10);
/// How long processes that were left behind are looked for and killed.
const LEFTOVERS_LIMIT: Duration = Duration::from_secs(1);
/// How long the log's reader may take to read what the process wrote last.
const OUTPUT_LIMIT: Duration = Duration::from_millis(500);

struct Stopping {
    grace: Duration,
    /// Set with SIGTERM: when SIGKILL follows.
    kill_at: Option<Instant>,
}

pub(crate) struct Supervisor {
    directory: PathBuf,
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    events: Events,
    main: Option<Pid>,
    /// Dropped to end the readiness checks.
    probing: Option<Sender<()>>,
    /// Closed once the output has been read to its end.
    output: Option<Receiver<()>>,
    stopping: Option<Stopping>,
    /// The start's deadline, or the end of the hold.
    deadline: Option<Instant>,
    /// Set when the start has missed its deadline: the sentence that says so.
    late: Option<String>,
}

impl Supervisor {
    pub(crate) fn new(directory: PathBuf, plan: Plan, shared: Arc<Shared>, events: Events) -> Self {
        Self {
            directory,
            plan: Arc::new(plan),
            shared,
            events,
            main: None,
            probing: None,
            output: None,
            stopping: None,
            deadline: None,
            late: None,
        }
    }

    /// Starts the process and what listens to it. A process that cannot be started is held, which is no error.
    pub(crate) fn start(&mut self) -> Result<(), RunError> {
        self.update(|status| status.note("starting"));
        let started = match child::start(&self.plan) {
            Ok(started) => started,
            Err(error) => {
                self.hold(error.ending(), crate::chain(&error));
                return Ok(());
            }
        };
        self.main = Some(started.pid);
        let listening = self.listen_to(started.output);
        if listening.is_err() {
            // Nobody would see it end.
            self.signal_group(Signal::SIGKILL);
            return listening;
        }
        self.deadline = Instant::now().checked_add(Duration::from_millis(self.plan.start_deadline_ms));
        self.update(|status| {
            status.pid = Some(started.pid.as_raw());
            status.process = processes::mark(started.pid);
            status.note(format!("process {} runs", started.pid));
        });
        Ok(())
    }

    fn listen_to(&mut self, output: std::io::PipeReader) -> Result<(), RunError> {
        let (path, limit) = (self.directory.join(files::LOG), self.plan.log_file_bytes);
        let tail = Arc::clone(&self.shared.tail);
        let (open, closed) = mpsc::channel::<()>();
        thread(move || {
            log::copy(output, &path, limit, &tail);
            drop(open);
        })?;
        self.output = Some(closed);
        let (stop, stopped) = mpsc::channel();
        self.probing = Some(stop);
        let (plan, events) = (Arc::clone(&self.plan), self.events.clone());
        thread(move || probe::run(&plan, &stopped, &events))
    }

    /// Handles events until the instance is over; the result is the exit code.
    pub(crate) fn watch(&mut self, receiver: &Receiver<Event>) -> u8 {
        loop {
            let event = match self.next_deadline() {
                Some(at) => receiver.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let code = match event {
                Ok(event) => self.handle(event),
                Err(RecvTimeoutError::Timeout) => self.time_is_up(),
                Err(RecvTimeoutError::Disconnected) => Some(125),
            };
            if let Some(code) = code {
                return code;
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        match &self.stopping {
            Some(stopping) => stopping.kill_at,
            None => self.deadline,
        }
    }

    fn handle(&mut self, event: Event) -> Option<u8> {
        match event {
            Event::Signal(signals::SIGCHLD) => self.reap(),
            Event::Signal(number) => self.signal(number),
            Event::Stop(request) => self.stop(request),
            Event::Probed(result) => {
                self.probed(result);
                None
            }
            Event::Drained(how) => {
                self.update(|status| status.note(format!("drained: {how}")));
                self.terminate();
                None
            }
        }
    }

    fn time_is_up(&mut self) -> Option<u8> {
        if let Some(stopping) = &mut self.stopping {
            stopping.kill_at = Some(Instant::now() + Duration::from_secs(1));
            self.update(|status| status.note("still there after its grace period: killed (SIGKILL)"));
            self.signal_group(Signal::SIGKILL);
            return None;
        }
        if self.main.is_none() {
            return Some(self.end_hold("the hold has reached its limit"));
        }
        // The process has not become ready in time: it is stopped, so that the scene holds still, and held.
        let limit = status::in_words(Duration::from_millis(self.plan.start_deadline_ms));
        let last = self.shared.lock().1.reason.clone().unwrap_or_else(|| "it was never asked".to_owned());
        self.deadline = None;
        self.probing = None;
        self.late = Some(format!("{NOT_READY_WITHIN} {limit} ({last})"));
        self.update(|status| status.note(format!("not ready within {limit}: killed (SIGKILL)")));
        self.signal_group(Signal::SIGKILL);
        None
    }

    fn signal(&mut self, number: i32) -> Option<u8> {
        let ends = matches!(number, signals::SIGTERM | signals::SIGINT);
        if ends && self.main.is_none() {
            return Some(self.end_hold("a signal asks for a stop"));
        }
        if ends && self.stopping.is_none() {
            self.stopping = Some(Stopping { grace: SIGNAL_GRACE, kill_at: None });
            self.begin_stopping("a signal asks for a stop");
            self.terminate();
        } else if let Ok(signal) = Signal::try_from(number)
            && !matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU)
        {
            self.signal_group(signal);
        }
        None
    }

    fn probed(&mut self, result: Result<(std::net::SocketAddr, String), String>) {
        if self.stopping.is_some() || self.main.is_none() || self.late.is_some() {
            return;
        }
        let news = {
            let status = &self.shared.lock().1;
            match &result {
                Ok(_) => status.phase != Phase::Ready,
                Err(reason) => status.phase == Phase::Ready || status.reason.as_ref() != Some(reason),
            }
        };
        if result.is_ok() {
            self.deadline = None;
        }
        let change = |status: &mut Status| note_probe(status, result);
        if news {
            self.update(change);
        } else {
            change(&mut self.shared.lock().1);
        }
    }

    fn stop(&mut self, request: StopRequest) -> Option<u8> {
        if self.main.is_none() {
            return Some(self.end_hold("asked to stop"));
        }
        let at_once = request.limit_ms == 0;
        if let Some(stopping) = &mut self.stopping {
            // Whoever asks again may be in more of a hurry: a drain is cut short, a grace period that runs is not.
            if at_once && stopping.kill_at.is_none() {
                stopping.grace = Duration::from_millis(request.grace_ms);
                self.update(|status| status.note("asked to stop at once: no more draining"));
                self.terminate();
            }
            return None;
        }
        self.stopping = Some(Stopping { grace: Duration::from_millis(request.grace_ms), kill_at: None });
        if at_once {
            self.begin_stopping("asked to stop at once");
            self.terminate();
            return None;
        }
        self.begin_stopping("asked to stop: draining");
        let events = self.events.clone();
        let spawned = thread(move || {
            let (quiet, limit) = (Duration::from_millis(request.quiet_ms), Duration::from_millis(request.limit_ms));
            events.send(Event::Drained(drain::wait(request.traffic.as_ref(), quiet, limit)));
        });
        if spawned.is_err() {
            self.terminate();
        }
        None
    }

    fn begin_stopping(&mut self, why: &str) {
        self.probing = None;
        self.update(|status| {
            status.phase = Phase::Stopping;
            status.note(why);
        });
    }

    fn terminate(&mut self) {
        let Some(stopping) = self.stopping.as_mut().filter(|stopping| stopping.kill_at.is_none()) else { return };
        stopping.kill_at = Some(Instant::now() + stopping.grace);
        self.signal_group(Signal::SIGTERM);
        self.update(|status| status.note("told to stop (SIGTERM)"));
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(pid) = self.main
            && killpg(pid, signal).is_err()
        {
            // It has left its group.
            let _ = kill(pid, signal);
        }
    }

    /// Collects everything that has ended below us; the process's own end decides.
    fn reap(&mut self) -> Option<u8> {
        loop {
            let (pid, ending) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ending::Exited { code }),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ending::Signalled { signal: signal as i32 }),
                Ok(WaitStatus::StillAlive) | Err(_) => return None,
                Ok(_) => continue,
            };
            if Some(pid) == self.main {
                return self.main_ended(pid, ending);
            }
        }
    }

    fn main_ended(&mut self, pid: Pid, ending: Ending) -> Option<u8> {
        self.main = None;
        self.probing = None;
        let _ = killpg(pid, Signal::SIGKILL);
        end_what_is_left();
        if let Some(output) = self.output.take() {
            let _ = output.recv_timeout(OUTPUT_LIMIT);
        }
        let asked = self.stopping.is_some();
        if asked || self.shared.lock().1.was_ready {
            self.update(|status| {
                (status.pid, status.process) = (None, None);
                status.ending = Some(ending);
            });
            self.finish(if asked { "stopped" } else { "the process ended after a good start" });
            return Some(match ending {
                Ending::Signalled { signal: signals::SIGTERM } | Ending::Exited { code: 143 } if asked => 0,
                _ => ending.code(),
            });
        }
        let reason = self.late.take().unwrap_or_else(|| match ending {
            Ending::Exited { code: 0 } => {
                "the process ended before it was ready; it must stay in the foreground for as long as it serves"
                    .to_owned()
            }
            _ => "the process ended before it was ready".to_owned(),
        });
        self.hold(ending, reason);
        None
    }

    fn hold(&mut self, ending: Ending, reason: String) {
        self.deadline = Instant::now().checked_add(Duration::from_millis(self.plan.hold_limit_ms));
        self.update(|status| {
            status.phase = Phase::Held;
            (status.pid, status.process) = (None, None);
            status.ending = Some(ending);
            status.note(format!("start failed, held: {reason}"));
            status.reason = Some(reason);
        });
    }

    fn end_hold(&self, why: &str) -> u8 {
        self.finish(why);
        self.shared.lock().1.ending.map_or(0, Ending::code)
    }

    fn finish(&self, why: &str) {
        self.update(|status| {
            status.phase = Phase::Ended;
            status.note(why);
        });
        // Watchers get the last word before the process ends; the status file has it in any case.
        std::thread::sleep(Duration::from_millis(20));
    }

    /// Changes the status, wakes who watches, and writes the status to its file.
    fn update(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.shared.change(change);
        if matches!(status.phase, Phase::Held | Phase::Ended) {
            status.log_tail = self.shared.last_lines();
        }
        status::write(&self.directory.join(files::STATUS), &status);
    }
}

fn note_probe(status: &mut Status, result: Result<(std::net::SocketAddr, String), String>) {
    match result {
        Ok((address, detail)) => {
            if status.phase != Phase::Ready {
                status.note(format!("ready: {detail}"));
            }
            status.probed(true, detail);
            status.phase = Phase::Ready;
            status.was_ready = true;
            status.reason = None;
            status.address = Some(address.to_string());
        }
        Err(reason) => {
            if status.phase == Phase::Ready {
                status.phase = Phase::NotReady;
                status.note(format!("not ready any more: {reason}"));
            }
            status.probed(false, reason.clone());
            status.reason = Some(reason);
        }
    }
}

/// As subreaper we are the parent of everything that was left behind, whatever group or session it moved to. What dies may leave
/// children of its own, so this goes on until nobody is there, for at most a second: a process that hangs in the kernel stays.
fn end_what_is_left() {
    let deadline = Instant::now() + LEFTOVERS_LIMIT;
    loop {
        while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
        let left = processes::children();
        if left.is_empty() || Instant::now() >= deadline {
            return;
        }
        for pid in left {
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
