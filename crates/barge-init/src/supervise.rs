//! Carries out what `machine` decides: the one owner of the processes, fed by events from the threads around it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::PipeReader;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::libc as signals;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::agent::Handle;
use crate::events::{Event, Events, Shared};
use crate::log::{RotatedFile, Sink};
use crate::machine::{Action, Happened, Machine, Now};
use crate::plan::{Forward, MAIN, Plan};
use crate::probe::Asked;
use crate::reaper::Reaper;
use crate::run::{RunError, thread};
use crate::socket::StopRequest;
use crate::status::{Ending, Phase, Status, now_ms};
use crate::{child, drain, explain, files, log, probe, processes, status, system, voice};

/// How long processes that were left behind are looked for and killed.
const LEFTOVERS_LIMIT: Duration = Duration::from_secs(1);
/// How long the readers of the output may take to read what the process wrote last.
const OUTPUT_LIMIT: Duration = Duration::from_millis(500);
/// How long the registry may take to let the instance go.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// How long watchers may take to hear the last word.
const LAST_WORD: Duration = Duration::from_millis(20);

pub(crate) struct Supervisor {
    /// Where status and files are kept, if anywhere.
    directory: Option<PathBuf>,
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    events: Events,
    machine: Machine,
    reaper: Arc<Reaper>,
    begin: Instant,
    /// What runs, by its name.
    running: BTreeMap<String, Pid>,
    /// Helpers that were reaped while main's end was dealt with.
    ended: Vec<(Pid, Ending)>,
    /// Dropped to end the readiness checks.
    checking: Option<Sender<()>>,
    /// Closed once main's output has been read to its end.
    output: Vec<Receiver<()>>,
    memory: explain::Memory,
    /// Where the instance is registered, once it was ready.
    agent: Option<Arc<Handle>>,
}

impl Supervisor {
    pub(crate) fn new(directory: Option<PathBuf>, plan: Arc<Plan>, shared: Arc<Shared>, events: Events) -> Self {
        Self {
            directory,
            machine: Machine::new(Arc::clone(&plan)),
            memory: explain::Memory::now(&plan),
            plan,
            shared,
            events,
            reaper: Arc::default(),
            begin: Instant::now(),
            running: BTreeMap::new(),
            ended: Vec::new(),
            checking: None,
            output: Vec::new(),
            agent: None,
        }
    }

    /// Starts what can be started. A process that cannot be is held. The answer is the exit code, if it is over already.
    pub(crate) fn start(&mut self) -> Option<u8> {
        let ready = self.plan.check().map_err(|error| (Ending::NotStarted, crate::chain(&error)));
        match ready {
            Ok(()) => self.happen(Happened::Begin),
            // A plan that cannot be carried out is a start that has failed, like any other.
            Err((ending, reason)) => self.happen(Happened::NotStarted { name: MAIN.to_owned(), ending, reason }),
        }
    }

    /// Handles events until the instance is over; the result is the exit code.
    pub(crate) fn watch(&mut self, receiver: &Receiver<Event>) -> u8 {
        loop {
            let event = match self.machine.next_deadline() {
                Some(at) => receiver.recv_timeout(at.saturating_sub(self.begin.elapsed())),
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let code = match event {
                Ok(Event::Signal(signals::SIGCHLD)) => self.reap(),
                Ok(Event::Signal(number)) => self.happen(Happened::Signal(number)),
                Ok(Event::Stop(request)) => self.happen(Happened::Stop(request)),
                Ok(Event::Probed(found)) => self.happen(Happened::Probed(found)),
                Ok(Event::Drained(how)) => self.happen(Happened::Drained(how)),
                Ok(Event::Registration(words)) => self.happen(Happened::Registration(words)),
                Err(RecvTimeoutError::Timeout) => self.happen(Happened::Tick),
                Err(RecvTimeoutError::Disconnected) => Some(125),
            };
            if let Some(code) = code {
                return code;
            }
        }
    }

    /// Lets the machine decide, carries out what it says, and lets it decide about what comes of that.
    fn happen(&mut self, first: Happened) -> Option<u8> {
        let mut pending = std::collections::VecDeque::from([first]);
        while let Some(happened) = pending.pop_front() {
            let now = Now { elapsed: self.begin.elapsed(), wall_ms: now_ms() };
            // Nobody but we change it.
            let mut status = self.shared.lock().1.clone();
            let before = matches!(&happened, Happened::Probed(_)).then(|| (status.phase, status.reason.clone()));
            let actions = self.machine.handle(now, happened, &mut status);
            // A check that says what the one before said is no news.
            let news = before.is_none_or(|before| before != (status.phase, status.reason.clone()));
            if news {
                // Written before anybody can see it: whoever is told of a reason finds it in the files.
                self.write_down(&status);
                self.tell_registry(&status);
            }
            self.shared.publish(status, news);
            for action in actions {
                if let Action::Exit(code) = action {
                    self.last_word();
                    return Some(code);
                }
                pending.extend(self.act(action));
            }
        }
        None
    }

    fn act(&mut self, action: Action) -> Option<Happened> {
        match action {
            Action::Start(name) => return Some(self.start_process(name)),
            Action::Forward(number) => self.forward(number),
            Action::Signal(signal) => self.signal_group(MAIN, signal),
            Action::SignalHelper(name, signal) => self.signal_group(&name, signal),
            Action::BeginChecks => self.begin_checks(),
            Action::EndChecks => self.checking = None,
            Action::Drain(request) => self.drain(request),
            Action::Say(what) if self.plan.output.pass_on => voice::say(&what),
            Action::Say(_) | Action::Exit(_) => {}
        }
        None
    }

    fn start_process(&mut self, name: String) -> Happened {
        let process = if name == MAIN { Some(&self.plan.main) } else { self.plan.helpers.get(&name) };
        let started = match process {
            Some(process) if name == MAIN => {
                child::fill_templates(&self.plan).and_then(|()| child::start(&self.plan, process))
            }
            Some(process) => child::start(&self.plan, process),
            None => return Happened::Tick,
        };
        let started = match started {
            Ok(started) => started,
            Err(error) => {
                return Happened::NotStarted { name, ending: error.ending(), reason: crate::chain(&error) };
            }
        };
        if let Err(error) = self.listen_to(&name, started.stdout, started.stderr) {
            // Nobody would read what it writes. That is no reason to end all others: the next try may find room for a thread.
            let _ = killpg(started.pid, Signal::SIGKILL);
            return Happened::NotStarted { name, ending: Ending::NotStarted, reason: crate::chain(&error) };
        }
        self.running.insert(name.clone(), started.pid);
        let mark = processes::mark(started.pid).filter(|_| name == MAIN);
        Happened::Started { name, pid: started.pid.as_raw(), mark }
    }

    fn listen_to(&mut self, name: &str, stdout: PipeReader, stderr: Option<PipeReader>) -> Result<(), RunError> {
        let file = match (&self.directory, self.plan.output.file_bytes) {
            (Some(directory), Some(bytes)) => {
                let name = if name == MAIN { files::LOG.to_owned() } else { format!("{name}.log") };
                Some(Arc::new(Mutex::new(RotatedFile::open(directory.join(name), bytes))))
            }
            _ => None,
        };
        let pass_on = self.plan.output.pass_on;
        let own = |file: std::io::Result<std::os::fd::OwnedFd>| file.ok().map(File::from).filter(|_| pass_on);
        let streams = [
            (Some(stdout), own(std::io::stdout().as_fd().try_clone_to_owned()), "out"),
            (stderr, own(std::io::stderr().as_fd().try_clone_to_owned()), "err"),
        ];
        for (pipe, own, stream) in streams {
            let Some(pipe) = pipe else { continue };
            let sink = Sink {
                prefix: if name == MAIN { String::new() } else { format!("{name}: ") },
                stream: format!("{name} {stream}"),
                file: file.clone(),
                own,
                tail: Arc::clone(&self.shared.tail),
            };
            let (open, closed) = mpsc::channel::<()>();
            thread(move || {
                log::copy(pipe, sink);
                drop(open);
            })?;
            if name == MAIN {
                self.output.push(closed);
            }
        }
        Ok(())
    }

    fn begin_checks(&mut self) {
        let Some(main) = self.running.get(MAIN).copied() else { return };
        let (stop, stopped) = mpsc::channel();
        self.checking = Some(stop);
        let asked = Asked { plan: Arc::clone(&self.plan), main, reaper: Arc::clone(&self.reaper) };
        let events = self.events.clone();
        if let Err(error) = thread(move || probe::run(&asked, &stopped, &events)) {
            // It will not be ready by its deadline, and this is why.
            self.events.send(Event::Probed(Err(crate::chain(&error))));
        }
    }

    /// Tells the registry, if there is one, whether the instance is ready. Nobody waits for it.
    fn tell_registry(&mut self, status: &Status) {
        let Some(plan) = &self.plan.agent else { return };
        if self.agent.is_none() && status.phase == Phase::Ready {
            let address = status.address.as_ref().and_then(|address| address.parse().ok());
            let events = self.events.clone();
            let tell = move |words: &str| events.send(Event::Registration(words.to_owned()));
            match plan.start(&self.plan.instance, address, tell) {
                Ok(handle) => self.agent = Some(Arc::new(handle)),
                Err(error) => {
                    let words = format!("not registered: {}", crate::chain(&error));
                    if status.registration.as_ref() != Some(&words) {
                        self.events.send(Event::Registration(words));
                    }
                }
            }
        }
        let Some(agent) = &self.agent else { return };
        match status.phase {
            Phase::Ready => agent.ready(true, ""),
            Phase::NotReady => agent.ready(false, status.reason.as_deref().unwrap_or("not ready")),
            _ => {}
        }
    }

    /// Out of the registry first, as long as the network lives; then the wait for silence.
    fn drain(&self, request: StopRequest) {
        let (events, agent) = (self.events.clone(), self.agent.clone());
        let away = Duration::from_millis(self.plan.stop.away_ms);
        let spawned = thread(move || {
            let left = agent.map(|agent| agent.leave(LEAVE_LIMIT));
            let waited = (request.limit_ms > 0).then(|| drain::wait(&request, away));
            let told: Vec<String> = left.into_iter().chain(waited).collect();
            events.send(Event::Drained(told.join("; ")));
        });
        if spawned.is_err() {
            self.events.send(Event::Drained("no thread can be started: not waited".to_owned()));
        }
    }

    fn forward(&self, number: i32) {
        let Some(pid) = self.running.get(MAIN) else { return };
        if self.plan.signals == Forward::Process || system::signal_group(*pid, number).is_err() {
            // Or it has left its group.
            let _ = system::signal_process(*pid, number);
        }
    }

    fn signal_group(&self, name: &str, signal: Signal) {
        if let Some(pid) = self.running.get(name)
            && killpg(*pid, signal).is_err()
        {
            // It has left its group.
            let _ = kill(*pid, signal);
        }
    }

    /// Collects everything that has ended below us.
    fn reap(&mut self) -> Option<u8> {
        let mut ended = std::mem::take(&mut self.ended);
        ended.extend(self.reaper.reap());
        for (pid, ending) in ended {
            let Some(name) = self.running.iter().find(|(_, of)| **of == pid).map(|(name, _)| name.clone()) else {
                continue;
            };
            // What it leaves in its group must be gone before it is started again.
            let _ = killpg(pid, Signal::SIGKILL);
            self.running.remove(&name);
            let mut why = None;
            if name == MAIN {
                // After a crash: whoever was stopped in order has been waited for already.
                if let Some(agent) = &self.agent {
                    agent.begin_to_leave();
                }
                self.end_leftovers();
                self.read_output();
                if let Some(agent) = &self.agent {
                    agent.leave(LEAVE_LIMIT);
                }
                why = explain::why(ending, &self.memory, &self.shared.last_lines());
            }
            if let Some(code) = self.happen(Happened::Ended { name, ending, why }) {
                return Some(code);
            }
        }
        None
    }

    /// As subreaper we are the parent of everything that main has left behind, whatever group or session it moved to. What dies may leave
    /// children of its own, so this goes on until nobody is there, for at most a second: a process that hangs in the kernel stays.
    fn end_leftovers(&mut self) {
        let helpers: BTreeSet<Pid> = self.running.values().copied().collect();
        let deadline = Instant::now() + LEFTOVERS_LIMIT;
        loop {
            let (of_helpers, _) =
                self.reaper.reap().into_iter().partition::<Vec<_>, _>(|(pid, _)| helpers.contains(pid));
            if !of_helpers.is_empty() {
                self.ended.extend(of_helpers);
                self.events.send(Event::Signal(signals::SIGCHLD));
            }
            let left = processes::children(&helpers);
            if left.is_empty() || Instant::now() >= deadline {
                return;
            }
            for pid in left {
                let _ = kill(pid, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until main's last words are read. Whoever still holds its output cannot hold us up.
    fn read_output(&mut self) {
        let deadline = Instant::now() + OUTPUT_LIMIT;
        for closed in std::mem::take(&mut self.output) {
            let left = deadline.saturating_duration_since(Instant::now());
            if closed.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                self.output.push(closed);
            }
        }
    }

    fn write_down(&self, status: &Status) {
        let mut status = status.clone();
        if matches!(status.phase, Phase::Held | Phase::Ended) {
            status.log_tail = self.shared.last_lines();
        }
        if let Some(directory) = &self.directory {
            status::write(&directory.join(files::STATUS), &status);
        }
        if let (Some(path), true) = (&self.plan.termination_message, status.ending.is_some()) {
            explain::write_termination_message(path, &status);
        }
    }

    /// Watchers get the last word before the process ends; the status file has it in any case.
    fn last_word(&self) {
        if self.shared.is_watched() {
            std::thread::sleep(LAST_WORD);
        }
    }
}
