//! An engine without processes: it carries out the real decisions of the rollout machine on instances that are available at once. What
//! stands above the Engine port is tested and measured over it.
//!
//! `service` is one service with its instances, `program` what runs in a terminal.

mod program;
mod service;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use barge_engine::{Desired, Engine, EngineError, ExecRequest, ExecSession, LogOptions, LogStream, ServiceReport};
use barge_model::{InstanceId, ServiceKey};
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};

use service::Service;

/// What an error of this engine says inside; no caller may ever read it.
const INTERNALS: &str = "10.1.2.3 refused password hunter2";

/// So many of the states that it was told last are remembered, so that it stays as small as it is however long it works.
const STATES_REMEMBERED: usize = 100;

/// The engine.
#[derive(Debug)]
pub struct FakeEngine {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    /// How often a state was taken.
    taken: watch::Sender<u64>,
    /// Lines that a followed log gets.
    lines: watch::Sender<Vec<String>>,
    /// Programs that run now.
    pub programs: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    services: BTreeMap<ServiceKey, Service>,
    applied: VecDeque<Desired>,
    /// So many times more, the engine does not take a state.
    refusals: usize,
    /// Reports fail.
    silent: bool,
    world: World,
}

/// What is the same for all instances.
#[derive(Debug, Default)]
struct World {
    clock: i64,
    serial: u128,
    /// Instances that start fail.
    broken: bool,
    /// Instances do not get ready.
    slow: bool,
}

#[allow(clippy::unwrap_used, clippy::missing_panics_doc)] // For tests alone, where a panic is how to fail.
impl FakeEngine {
    /// An engine that knows no service.
    pub fn new() -> Arc<Self> {
        let world = World { clock: 1_700_000_000_000, ..World::default() };
        Arc::new(Self {
            state: Mutex::new(State { world, ..State::default() }),
            changes: watch::Sender::new(0),
            taken: watch::Sender::new(0),
            lines: watch::Sender::new(vec!["one".to_owned(), "two".to_owned(), "three\rfour".to_owned()]),
            programs: watch::Sender::new(0),
        })
    }

    /// The next `count` states are not taken.
    pub fn refuse(&self, count: usize) {
        self.state().refusals = count;
    }

    /// Reports fail, or not.
    pub fn silent(&self, silent: bool) {
        self.state().silent = silent;
    }

    /// Instances that start from now on fail, or not.
    pub fn broken(&self, broken: bool) {
        self.state().world.broken = broken;
    }

    /// Instances that start from now on do not get ready, or all do.
    pub fn slow(&self, slow: bool) {
        self.state().world.slow = slow;
        self.of_each(|_| {});
    }

    /// Every instance of every service was started again; the result is how many services had to be decided about.
    pub fn restart_all(&self) -> usize {
        self.of_each(Service::count_restarts)
    }

    /// The engine forgets how releases ended.
    pub fn forget_ends(&self) {
        self.state().services.values_mut().for_each(Service::forget_ends);
        self.touch();
    }

    /// The engine forgets everything.
    pub fn forget(&self) {
        self.state().services.clear();
        self.touch();
    }

    /// The latest states that the engine was told, the last of them last.
    pub fn applied(&self) -> Vec<Desired> {
        self.state().applied.iter().cloned().collect()
    }

    /// How often the engine has taken a state so far.
    pub fn taken(&self) -> watch::Receiver<u64> {
        self.taken.subscribe()
    }

    /// Tells of a change, whether there was one or not.
    pub fn touch(&self) {
        self.changes.send_modify(|revision| *revision += 1);
    }

    /// A new line in every log.
    pub fn print(&self, line: &str) {
        self.lines.send_modify(|lines| lines.push(line.to_owned()));
    }

    /// Changes every service and decides what follows from that.
    fn of_each(&self, change: impl Fn(&mut Service)) -> usize {
        let mut state = self.state();
        let State { services, world, .. } = &mut *state;
        for service in services.values_mut() {
            change(service);
            service.settle(world);
        }
        let count = services.len();
        drop(state);
        self.touch();
        count
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn check(&self) -> Result<(), EngineError> {
        if self.state().silent { Err(internals("ask the database")) } else { Ok(()) }
    }
}

fn internals(doing: &str) -> EngineError {
    EngineError::failed(doing, std::io::Error::other(INTERNALS))
}

#[async_trait]
impl Engine for FakeEngine {
    async fn apply(&self, desired: Desired) -> Result<(), EngineError> {
        let mut state = self.state();
        if state.refusals > 0 {
            state.refusals -= 1;
            return Err(internals("take the state"));
        }
        if state.applied.len() == STATES_REMEMBERED {
            state.applied.pop_front();
        }
        state.applied.push_back(desired.clone());
        let State { services, world, .. } = &mut *state;
        let key = desired.key.clone();
        match services.get_mut(&key) {
            Some(service) => service.take(desired)?,
            None => {
                services.insert(key.clone(), Service::new(desired));
            }
        }
        if let Some(service) = services.get_mut(&key) {
            service.settle(world);
        }
        drop(state);
        self.taken.send_modify(|count| *count += 1);
        self.touch();
        Ok(())
    }

    async fn report(&self, key: &ServiceKey) -> Result<Option<Arc<ServiceReport>>, EngineError> {
        self.check()?;
        Ok(self.state().services.get(key).map(Service::report))
    }

    async fn reports(&self) -> Result<Vec<Arc<ServiceReport>>, EngineError> {
        self.check()?;
        Ok(self.state().services.values().map(Service::report).collect())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn logs(
        &self,
        key: &ServiceKey,
        instance: &InstanceId,
        options: LogOptions,
    ) -> Result<LogStream, EngineError> {
        self.check()?;
        let known = self.state().services.get(key).is_some_and(|known| known.has(instance));
        if !known {
            return Err(EngineError::UnknownInstance(instance.clone()));
        }
        let mut lines = self.lines.subscribe();
        let all = lines.borrow_and_update().clone();
        let old = futures_util::stream::iter(all.clone().into_iter().skip(all.len().saturating_sub(options.tail)));
        if !options.follow {
            return Ok(old.map(Ok).boxed());
        }
        let new = futures_util::stream::unfold((lines, all.len()), |(mut lines, seen)| async move {
            lines.wait_for(|lines| lines.len() > seen).await.ok()?;
            let line = lines.borrow()[seen].clone();
            Some((line, (lines, seen + 1)))
        });
        Ok(old.chain(new).map(Ok).boxed())
    }

    async fn exec(
        &self,
        _key: &ServiceKey,
        _instance: &InstanceId,
        request: ExecRequest,
    ) -> Result<ExecSession, EngineError> {
        let words: Vec<&str> = request.command.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["missing"] => {
                let missing = std::io::Error::from_raw_os_error(2);
                return Err(EngineError::failed("run \"missing\" in the instance", missing));
            }
            ["unreachable"] => return Err(internals("reach the instance")),
            _ => {}
        }
        let (input, inputs) = mpsc::channel(4);
        let (outputs, output) = mpsc::channel(4);
        self.programs.send_modify(|count| *count += 1);
        let programs = self.programs.clone();
        let command: Vec<String> = request.command;
        tokio::spawn(async move {
            program::run(&command, inputs, &outputs).await;
            programs.send_modify(|count| *count -= 1);
        });
        Ok(ExecSession { input, output })
    }
}
