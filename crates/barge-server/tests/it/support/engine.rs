//! An engine without processes: it carries out the real decisions of the rollout machine on instances that are available at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use barge_engine::{
    Desired, Engine, EngineError, ExecInput, ExecOutput, ExecRequest, ExecSession, InstanceReport, LimitsReport,
    LogOptions, LogStream, ServiceReport,
};
use barge_model::hold::Ending;
use barge_model::rollout::{
    Action, InstancePhase, Observed, ObservedInstance, RegistrarHealth, RolloutStatus, WaitingOn, step,
};
use barge_model::{InstanceId, ServiceKey, Timestamp};
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};

/// What an error of this engine says inside; no caller may ever read it.
pub(crate) const INTERNALS: &str = "10.1.2.3 refused password hunter2";

/// The engine.
pub(crate) struct FakeEngine {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    /// Lines that a followed log gets.
    lines: watch::Sender<Vec<String>>,
    /// Programs that run now.
    pub(crate) programs: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    services: BTreeMap<ServiceKey, Service>,
    applied: Vec<Desired>,
    clock: i64,
    serial: u128,
    /// So many times more, the engine does not take a state.
    refusals: usize,
    /// Reports fail.
    silent: bool,
    /// Instances that start fail.
    broken: bool,
    /// Instances do not get ready.
    slow: bool,
}

struct Service {
    desired: Desired,
    status: RolloutStatus,
    waiting_on: WaitingOn,
    observed: Vec<ObservedInstance>,
    created: BTreeMap<InstanceId, Timestamp>,
}

impl FakeEngine {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { clock: 1_700_000_000_000, ..State::default() };
        Arc::new(Self {
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
            lines: watch::Sender::new(vec!["one".to_owned(), "two".to_owned(), "three\rfour".to_owned()]),
            programs: watch::Sender::new(0),
        })
    }

    /// The next `count` states are not taken.
    pub(crate) fn refuse(&self, count: usize) {
        self.state().refusals = count;
    }

    /// Reports fail, or not.
    pub(crate) fn silent(&self, silent: bool) {
        self.state().silent = silent;
    }

    /// Instances that start from now on fail, or not.
    pub(crate) fn broken(&self, broken: bool) {
        self.state().broken = broken;
    }

    /// Instances that start from now on do not get ready, or all do.
    pub(crate) fn slow(&self, slow: bool) {
        let mut state = self.state();
        state.slow = slow;
        let keys: Vec<ServiceKey> = state.services.keys().cloned().collect();
        keys.iter().for_each(|key| settle(&mut state, key));
        drop(state);
        self.touch();
    }

    /// Every state that the engine was ever told.
    pub(crate) fn applied(&self) -> Vec<Desired> {
        self.state().applied.clone()
    }

    /// The engine forgets how releases ended.
    pub(crate) fn forget_ends(&self) {
        self.state().services.values_mut().for_each(|service| service.status.finished.clear());
        self.touch();
    }

    /// The engine forgets everything.
    pub(crate) fn forget(&self) {
        self.state().services.clear();
        self.touch();
    }

    /// Tells of a change, whether there was one or not.
    pub(crate) fn touch(&self) {
        self.changes.send_modify(|revision| *revision += 1);
    }

    /// A new line in every log.
    pub(crate) fn print(&self, line: &str) {
        self.lines.send_modify(|lines| lines.push(line.to_owned()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn check(&self) -> Result<(), EngineError> {
        let internals = || EngineError::failed("ask the database", std::io::Error::other(INTERNALS));
        if self.state().silent { Err(internals()) } else { Ok(()) }
    }
}

/// Steps until nothing changes any more.
fn settle(state: &mut State, key: &ServiceKey) {
    let (broken, slow) = (state.broken, state.slow);
    let Some(service) = state.services.get_mut(key) else { return };
    for _ in 0..100 {
        state.clock += 1000;
        let now = Timestamp::from_millis(state.clock);
        let observed = Observed { instances: service.observed.clone(), registrar: RegistrarHealth::Healthy };
        let decision = step(&service.desired.rollout, &service.status, &observed, now);
        let before = (service.status.clone(), service.observed.clone());
        service.status = decision.status;
        service.waiting_on = decision.waiting_on;
        for action in decision.actions {
            act(service, action, now, &mut state.serial);
        }
        for one in service.observed.iter_mut().filter(|one| one.phase == InstancePhase::Starting && !slow) {
            one.phase = if broken { InstancePhase::Held } else { InstancePhase::Ready };
            one.online = !broken;
        }
        if before == (service.status.clone(), service.observed.clone()) {
            return;
        }
    }
}

fn act(service: &mut Service, action: Action, now: Timestamp, serial: &mut u128) {
    let instances = &mut service.observed;
    let (release, target, keep_held) = match action {
        Action::Stop { instance } => return instances.retain(|one| one.id != instance),
        Action::Scale { release, target, keep_held } => (release, target as usize, keep_held as usize),
    };
    let (mut held, mut live) = (0, 0);
    instances.retain(|one| {
        if one.release != release {
            return true;
        }
        let (count, limit) =
            if one.phase == InstancePhase::Held { (&mut held, keep_held) } else { (&mut live, target) };
        *count += 1;
        *count <= limit
    });
    for _ in live + held.min(keep_held)..target {
        *serial += 1;
        let id = InstanceId::from_parts(now, *serial);
        service.created.insert(id.clone(), now);
        let phase = InstancePhase::Starting;
        instances.push(ObservedInstance { id, release: release.clone(), phase, restarts: 0, online: false });
    }
}

impl Service {
    fn report(&self) -> ServiceReport {
        let instance = |one: &ObservedInstance| InstanceReport {
            id: one.id.clone(),
            release: one.release.clone(),
            phase: one.phase,
            online: one.online,
            address: Some("127.1.0.1:8080".to_owned()),
            restarts: one.restarts,
            created_at: self.created[&one.id],
            reason: (one.phase == InstancePhase::Held).then(|| "it ended before it was ready".to_owned()),
            ending: (one.phase == InstancePhase::Held).then_some(Ending::Exited { code: 3 }),
            probes: Vec::new(),
            timeline: Vec::new(),
            limits: LimitsReport::NotAsked,
        };
        ServiceReport {
            key: self.desired.key.clone(),
            version: self.desired.version,
            replicas: self.desired.rollout.replicas,
            status: self.status.clone(),
            waiting_on: self.waiting_on.clone(),
            instances: self.observed.iter().map(instance).collect(),
        }
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn apply(&self, desired: Desired) -> Result<(), EngineError> {
        let mut state = self.state();
        if state.refusals > 0 {
            state.refusals -= 1;
            return Err(EngineError::failed("take the state", std::io::Error::other(INTERNALS)));
        }
        state.applied.push(desired.clone());
        let key = desired.key.clone();
        match state.services.get_mut(&key) {
            Some(service) if service.desired.version > desired.version => {
                return Err(EngineError::Stale { key, given: desired.version, stored: service.desired.version });
            }
            Some(service) => service.desired = desired,
            None => {
                let service = Service {
                    desired,
                    status: RolloutStatus::default(),
                    waiting_on: WaitingOn::FirstRelease,
                    observed: Vec::new(),
                    created: BTreeMap::new(),
                };
                state.services.insert(key.clone(), service);
            }
        }
        settle(&mut state, &key);
        drop(state);
        self.touch();
        Ok(())
    }

    async fn report(&self, key: &ServiceKey) -> Result<Option<ServiceReport>, EngineError> {
        self.check()?;
        Ok(self.state().services.get(key).map(Service::report))
    }

    async fn reports(&self) -> Result<Vec<ServiceReport>, EngineError> {
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
        let known = self.state().services.get(key).is_some_and(|known| known.created.contains_key(instance));
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
                return Err(EngineError::failed(
                    "run \"missing\" in the instance",
                    std::io::Error::from_raw_os_error(2),
                ));
            }
            ["unreachable"] => {
                return Err(EngineError::failed("reach the instance", std::io::Error::other(INTERNALS)));
            }
            _ => {}
        }
        let (input, inputs) = mpsc::channel(4);
        let (outputs, output) = mpsc::channel(4);
        self.programs.send_modify(|count| *count += 1);
        let programs = self.programs.clone();
        let command: Vec<String> = request.command;
        tokio::spawn(async move {
            program(&command, inputs, &outputs).await;
            programs.send_modify(|count| *count -= 1);
        });
        Ok(ExecSession { input, output })
    }
}

/// `exit N` ends with a code, `cat` gives back what it gets, `size` tells the next size, anything else waits until nobody is there.
async fn program(command: &[String], mut inputs: mpsc::Receiver<ExecInput>, outputs: &mpsc::Sender<ExecOutput>) {
    let code = match command.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["exit", code] => code.parse().unwrap(),
        ["cat"] => loop {
            match inputs.recv().await {
                Some(ExecInput::Data(bytes)) => {
                    if outputs.send(ExecOutput::Stdout(bytes)).await.is_err() {
                        return;
                    }
                }
                Some(ExecInput::End) => break 0,
                Some(_) => {}
                None => return,
            }
        },
        ["notes"] => loop {
            let told = match inputs.recv().await {
                Some(ExecInput::End) => break 0,
                Some(other) => format!("{other:?}\n"),
                None => return,
            };
            if outputs.send(ExecOutput::Stderr(told.into())).await.is_err() {
                return;
            }
        },
        _ => {
            while inputs.recv().await.is_some() {}
            return;
        }
    };
    // Whoever asked may be gone.
    let _ = outputs.send(ExecOutput::Exit(code)).await;
}
