//! The loop that joins the parts: one owner of the process's fate, fed by events from the threads around it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::log::Tail;
use crate::plan::Plan;
use crate::socket::StopRequest;
use crate::status::{Ending, Phase, Status};
use crate::{child, client, drain, files, log, probe, socket};

/// Why barge-init itself cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("read the plan {path}")]
    ReadPlan { path: PathBuf, source: std::io::Error },
    #[error("understand the plan {path}")]
    ParsePlan { path: PathBuf, source: serde_json::Error },
    #[error("lock {path}: another barge-init lives there")]
    Lock { path: PathBuf, source: std::io::Error },
    #[error("listen on the status socket")]
    Socket(#[source] std::io::Error),
    #[error("set up signals")]
    Signals(#[source] std::io::Error),
    #[error("start a thread")]
    Thread(#[source] std::io::Error),
}

/// What can happen.
pub(crate) enum Event {
    /// A signal arrived.
    Signal(i32),
    /// A readiness check was made: where the process answers, or why it is not ready.
    Probed(Result<(std::net::SocketAddr, String), String>),
    /// The engine asks for a stop.
    Stop(StopRequest),
    /// The wait for silence is over.
    Drained(String),
    /// The last writer closed the output.
    OutputClosed,
}

/// The way into the loop.
#[derive(Clone)]
pub(crate) struct Events(Sender<Event>);

impl Events {
    pub(crate) fn send(&self, event: Event) {
        // The loop is gone when the process is about to exit; nothing is left to tell it.
        let _ = self.0.send(event);
    }
}

/// What the loop knows, for those who ask.
pub(crate) struct Shared {
    status: Mutex<(u64, Status)>,
    changed: Condvar,
    tail: Arc<Mutex<Tail>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (u64, Status)> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status, with the last lines of output.
    pub(crate) fn status(&self) -> Status {
        let mut status = self.lock().1.clone();
        status.log_tail = self.tail.lock().map(|tail| tail.lines()).unwrap_or_default();
        status
    }

    /// Waits for a revision later than `seen`, at most `limit`.
    pub(crate) fn wait_newer(&self, seen: u64, limit: Duration) -> (u64, Status) {
        let guard = self.lock();
        let (guard, _) = self
            .changed
            .wait_timeout_while(guard, limit, |(revision, _)| *revision <= seen)
            .unwrap_or_else(PoisonError::into_inner);
        let (revision, mut status) = guard.clone();
        drop(guard);
        if matches!(status.phase, Phase::Held | Phase::Ended) {
            status.log_tail = self.tail.lock().map(|tail| tail.lines()).unwrap_or_default();
        }
        (revision, status)
    }
}

/// Runs the plan in `directory` to its end; the result is the exit code.
pub(crate) fn run(directory: &Path) -> Result<u8, RunError> {
    let plan = read_plan(directory)?;
    let lock = lock(directory)?;
    // A session of its own: a Ctrl-C at the platform's terminal is not meant for the instance.
    let _ = nix::unistd::setsid();
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let (sender, receiver) = mpsc::channel();
    let events = Events(sender);
    forward_signals(&events)?;
    let tail = Arc::new(Mutex::new(Tail::default()));
    let status = Mutex::new((1, Status::new(plan.instance.clone())));
    let shared = Arc::new(Shared { status, changed: Condvar::new(), tail });
    listen(directory, &shared, &events)?;
    let mut supervisor = Supervisor {
        directory: directory.to_owned(),
        plan: Arc::new(plan),
        shared,
        events,
        main: None,
        probing: None,
        stopping: None,
        deadline: None,
        output_open: false,
    };
    supervisor.start()?;
    let code = supervisor.watch(&receiver);
    drop(lock);
    Ok(code)
}

fn read_plan(directory: &Path) -> Result<Plan, RunError> {
    let path = directory.join(files::PLAN);
    let bytes = std::fs::read(&path).map_err(|source| RunError::ReadPlan { path: path.clone(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| RunError::ParsePlan { path, source })
}

fn lock(directory: &Path) -> Result<File, RunError> {
    let path = directory.join(files::LOCK);
    let fail = |source| RunError::Lock { path: path.clone(), source };
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(fail)?;
    file.try_lock().map_err(|error| fail(std::io::Error::other(error)))?;
    Ok(file)
}

fn listen(directory: &Path, shared: &Arc<Shared>, events: &Events) -> Result<(), RunError> {
    let handle = File::open(directory).map_err(RunError::Socket)?;
    let path = client::short_path(&handle);
    // The lock is ours, so a socket that is there belongs to nobody.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(RunError::Socket)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(RunError::Socket)?;
    let (shared, events) = (Arc::clone(shared), events.clone());
    thread(move || socket::serve(&listener, &shared, &events))
}

fn thread(work: impl FnOnce() + Send + 'static) -> Result<(), RunError> {
    std::thread::Builder::new().stack_size(128 * 1024).spawn(work).map(|_| ()).map_err(RunError::Thread)
}

/// Every signal that can be caught is passed on to the process, except those that are ours.
fn forward_signals(events: &Events) -> Result<(), RunError> {
    use signal_hook::consts as s;
    let list = [
        s::SIGCHLD,
        s::SIGTERM,
        s::SIGINT,
        s::SIGHUP,
        s::SIGQUIT,
        s::SIGUSR1,
        s::SIGUSR2,
        s::SIGWINCH,
        s::SIGALRM,
        s::SIGCONT,
    ];
    let mut signals = signal_hook::iterator::Signals::new(list).map_err(RunError::Signals)?;
    let events = events.clone();
    thread(move || {
        for signal in signals.forever() {
            events.send(Event::Signal(signal));
        }
    })
}

struct Stopping {
    grace: Duration,
    /// Set with SIGTERM: when SIGKILL follows.
    kill_at: Option<Instant>,
}

struct Supervisor {
    directory: PathBuf,
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    events: Events,
    main: Option<Pid>,
    /// Dropped to end the readiness checks.
    probing: Option<Sender<()>>,
    stopping: Option<Stopping>,
    /// The start's deadline, or the end of the hold.
    deadline: Option<Instant>,
    output_open: bool,
}

impl Supervisor {
    fn start(&mut self) -> Result<(), RunError> {
        self.update(|status| status.note("starting"));
        match child::start(&self.plan) {
            Ok(started) => {
                self.main = Some(started.pid);
                self.output_open = true;
                self.deadline = Instant::now().checked_add(Duration::from_millis(self.plan.start_deadline_ms));
                let (path, limit) = (self.directory.join(files::LOG), self.plan.log_file_bytes);
                let (tail, events) = (Arc::clone(&self.shared.tail), self.events.clone());
                thread(move || log::copy(started.output, &path, limit, &tail, &events))?;
                let (stop, stopped) = mpsc::channel();
                self.probing = Some(stop);
                let (plan, events) = (Arc::clone(&self.plan), self.events.clone());
                thread(move || probe::run(&plan, &stopped, &events))?;
                self.update(|status| {
                    status.pid = Some(started.pid.as_raw());
                    status.note(format!("process {} runs", started.pid));
                });
            }
            Err(error) => self.hold(Ending::NotStarted, crate::chain(&error)),
        }
        Ok(())
    }

    /// Handles events until the instance is over; the result is the exit code.
    fn watch(&mut self, receiver: &Receiver<Event>) -> u8 {
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
        let kill_at = self.stopping.as_ref().and_then(|stopping| stopping.kill_at);
        kill_at.or(if self.stopping.is_some() { None } else { self.deadline })
    }

    fn handle(&mut self, event: Event) -> Option<u8> {
        match event {
            Event::Signal(signal_hook::consts::SIGCHLD) => return self.reap(),
            Event::Signal(number) => return self.signal(number),
            Event::Probed(result) => self.probed(result),
            Event::Stop(request) => return self.stop(request),
            Event::Drained(how) => {
                self.update(|status| status.note(format!("drained: {how}")));
                self.terminate();
            }
            Event::OutputClosed => self.output_open = false,
        }
        None
    }

    fn time_is_up(&mut self) -> Option<u8> {
        if self.stopping.is_some() {
            self.update(|status| status.note("still there after its grace period: killed"));
            self.signal_group(Signal::SIGKILL);
            self.stopping =
                Some(Stopping { grace: Duration::ZERO, kill_at: Some(Instant::now() + Duration::from_secs(1)) });
            return None;
        }
        match self.main {
            // The process has not become ready in time: it is stopped, so that the scene holds still, and held.
            Some(_) => {
                let deadline = Duration::from_millis(self.plan.start_deadline_ms);
                let last = self.shared.lock().1.reason.clone().unwrap_or_default();
                self.deadline = None;
                self.probing = None;
                self.update(|status| {
                    status.reason = Some(format!("it was not ready within {} s ({last})", deadline.as_secs()));
                });
                self.signal_group(Signal::SIGKILL);
                None
            }
            None => {
                let code = self.shared.lock().1.ending.map_or(1, Ending::code);
                self.finish("the hold has reached its limit");
                Some(code)
            }
        }
    }

    fn signal(&mut self, number: i32) -> Option<u8> {
        let ends = matches!(number, signal_hook::consts::SIGTERM | signal_hook::consts::SIGINT);
        if ends && self.main.is_none() {
            self.finish("stopped");
            return Some(143);
        }
        if ends && self.stopping.is_none() {
            self.stopping = Some(Stopping { grace: Duration::from_secs(10), kill_at: None });
            self.begin_stopping("a signal asks for a stop");
            self.terminate();
        } else if let (Some(_), Ok(signal)) = (self.main, Signal::try_from(number)) {
            self.signal_group(signal);
        }
        None
    }

    fn probed(&mut self, result: Result<(std::net::SocketAddr, String), String>) {
        if self.stopping.is_some() || self.main.is_none() {
            return;
        }
        let before = self.shared.lock().1.phase;
        let news = match (&result, before) {
            (Ok(_), Phase::Ready) | (Err(_), Phase::Held | Phase::Ended | Phase::Stopping) => false,
            (Ok(_), _) => true,
            (Err(reason), _) => self.shared.lock().1.reason.as_ref() != Some(reason) || before == Phase::Ready,
        };
        if result.is_ok() {
            self.deadline = None;
        }
        let change = |status: &mut Status| match result {
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
        };
        if news {
            self.update(change);
        } else {
            change(&mut self.shared.lock().1);
        }
    }

    fn stop(&mut self, request: StopRequest) -> Option<u8> {
        if self.main.is_none() {
            self.finish("stopped");
            return Some(self.shared.lock().1.ending.map_or(0, Ending::code));
        }
        if self.stopping.is_some() {
            return None;
        }
        self.stopping = Some(Stopping { grace: Duration::from_millis(request.grace_ms), kill_at: None });
        self.begin_stopping("asked to stop: draining");
        if request.limit_ms == 0 {
            self.terminate();
            return None;
        }
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
        let Some(stopping) = self.stopping.as_mut() else { return };
        stopping.kill_at = Some(Instant::now() + stopping.grace);
        self.signal_group(Signal::SIGTERM);
        self.update(|status| status.note("told to stop (SIGTERM)"));
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(pid) = self.main {
            let _ = killpg(pid, signal);
        }
    }

    /// Collects everything that has ended below us; the process's own end decides.
    fn reap(&mut self) -> Option<u8> {
        let mut code = None;
        loop {
            let ended = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ending::Exited { code }),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ending::Signalled { signal: signal as i32 }),
                Ok(WaitStatus::StillAlive) | Err(_) => return code,
                Ok(_) => continue,
            };
            if Some(ended.0) == self.main {
                code = self.main_ended(ended.0, ended.1);
            }
        }
    }

    fn main_ended(&mut self, pid: Pid, ending: Ending) -> Option<u8> {
        // What the process left behind in its group goes with it.
        let _ = killpg(pid, Signal::SIGKILL);
        self.main = None;
        self.probing = None;
        self.collect_output();
        let was_ready = self.shared.lock().1.was_ready;
        if self.stopping.is_some() || was_ready {
            let asked = self.stopping.is_some();
            self.update(|status| {
                status.pid = None;
                status.ending = Some(ending);
            });
            self.finish(if asked { "stopped" } else { "the process ended after a good start" });
            return Some(match ending {
                Ending::Signalled { signal: 15 } | Ending::Exited { code: 143 } if asked => 0,
                _ => ending.code(),
            });
        }
        let reason = self.shared.lock().1.reason.clone().filter(|reason| reason.starts_with("it was not ready within"));
        self.hold(ending, reason.unwrap_or_else(|| "the process ended before it was ready".to_owned()));
        None
    }

    fn hold(&mut self, ending: Ending, reason: String) {
        self.deadline = Instant::now().checked_add(Duration::from_millis(self.plan.hold_limit_ms));
        self.probing = None;
        self.update(|status| {
            status.phase = Phase::Held;
            status.pid = None;
            status.ending = Some(ending);
            status.note(format!("start failed, held: {reason}"));
            status.reason = Some(reason);
        });
    }

    fn finish(&mut self, why: &str) {
        self.kill_stragglers();
        self.update(|status| {
            status.phase = Phase::Ended;
            status.note(why);
        });
        // Watchers get the last word before the process ends; the status file has it in any case.
        std::thread::sleep(Duration::from_millis(20));
    }

    /// As subreaper we are the parent of everything that was left behind, whatever group it moved to.
    fn kill_stragglers(&self) {
        let own = std::process::id();
        let Ok(children) = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")) else { return };
        for pid in children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Gives the log's reader a moment to take what the process wrote last.
    fn collect_output(&mut self) {
        let mut unread = 0;
        for _ in 0..20 {
            let lines = self.shared.tail.lock().map(|tail| tail.lines().len()).unwrap_or_default();
            std::thread::sleep(Duration::from_millis(2));
            if lines == unread {
                break;
            }
            unread = lines;
        }
    }

    /// Changes the status, writes it to its file and wakes who watches.
    fn update(&self, change: impl FnOnce(&mut Status)) {
        let status = {
            let mut guard = self.shared.lock();
            change(&mut guard.1);
            guard.0 += 1;
            guard.1.clone()
        };
        self.write_status(status);
        self.shared.changed.notify_all();
    }

    fn write_status(&self, mut status: Status) {
        if matches!(status.phase, Phase::Held | Phase::Ended) {
            status.log_tail = self.shared.tail.lock().map(|tail| tail.lines()).unwrap_or_default();
        }
        let path = self.directory.join(files::STATUS);
        let temporary = self.directory.join("status.json.new");
        let Ok(bytes) = serde_json::to_vec(&status) else { return };
        // A full disk must not end the process; the socket still answers.
        let written = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&bytes));
        if written.is_ok() {
            let _ = std::fs::rename(&temporary, &path);
        }
    }
}
