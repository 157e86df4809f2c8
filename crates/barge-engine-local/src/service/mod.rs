//! One service's task: observe, decide, store, act; again after every change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use barge_engine::{Desired, EngineError, ServiceReport};
use barge_init::{Phase, StopRequest, TrafficCheck};
use barge_model::hold::{Ended, Verdict, verdict};
use barge_model::rollout::{Action, InstancePhase, Observed, Role, RolloutStatus, WaitingOn, step};
use barge_model::{InstanceId, Release, ReleaseId, ServiceKey, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::engine::{Shared, now};
use crate::instance::{self, News};
use crate::observe::{Instance, Process, ending};
use crate::store::{Record, ServiceStore, StoreError};
use crate::{addresses, limits};

/// What can be asked of a service's task.
#[derive(Debug)]
pub(crate) enum Message {
    /// Take a desired state.
    Apply(Box<Desired>, oneshot::Sender<Result<(), EngineError>>),
    /// Stop every process, because the platform stops; nothing of the desired state changes.
    Suspend(oneshot::Sender<()>),
}

/// The longest sleep without anything to wait for.
const IDLE: Duration = Duration::from_secs(60);
/// After a failed write.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);
/// So many failed tries to start a candidate's instance count as a failed start.
const START_TRIES: u32 = 3;

pub(crate) struct Service {
    key: ServiceKey,
    store: ServiceStore,
    shared: Arc<Shared>,
    desired: Option<Desired>,
    status: RolloutStatus,
    waiting_on: WaitingOn,
    wake_at: Option<Timestamp>,
    instances: BTreeMap<InstanceId, Instance>,
    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
    preparing: JoinSet<(InstanceId, u64, Result<(), String>)>,
    watches: JoinSet<()>,
    suspended: Option<oneshot::Sender<()>>,
}

impl Service {
    /// Loads what is stored and looks for what still runs.
    pub(crate) fn load(key: ServiceKey, shared: Arc<Shared>) -> Result<Self, StoreError> {
        let store = ServiceStore::new(&shared.config.directory, &key);
        let mut service = Self {
            desired: store.desired()?,
            status: store.status()?,
            waiting_on: WaitingOn::Nothing,
            wake_at: None,
            instances: BTreeMap::new(),
            news: mpsc::channel(256),
            preparing: JoinSet::new(),
            watches: JoinSet::new(),
            suspended: None,
            key,
            store,
            shared,
        };
        for mut record in service.store.records()? {
            service.shared.take_port(record.port);
            let id = record.id.clone();
            if record.suspended {
                record.suspended = false;
                service.store.put_record(&record)?;
                service.instances.insert(id, Instance::new(record, Process::New));
            } else {
                service.instances.insert(id.clone(), Instance::new(record, Process::Adopting));
                service.watch(&id, false);
            }
        }
        Ok(service)
    }

    /// Works until `messages` is closed.
    pub(crate) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut acknowledgements = self.shared.config.acknowledgements.clone();
        loop {
            let pause = self.reconcile();
            if self.suspended.is_some() && !self.instances.values().any(|i| i.process == Process::Running) {
                if let Some(done) = self.suspended.take() {
                    let _ = done.send(());
                }
                return;
            }
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Apply(desired, reply)) => {
                        let _ = reply.send(self.apply(*desired));
                    }
                    Some(Message::Suspend(done)) => self.suspend(done).await,
                    None => return,
                },
                Some(news) = self.news.1.recv() => self.take_news(news),
                Some(prepared) = self.preparing.join_next() => {
                    if let Ok((id, run, result)) = prepared {
                        self.prepared(&id, run, result);
                    }
                }
                Some(_) = self.watches.join_next() => {}
                changed = acknowledgements.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn apply(&mut self, desired: Desired) -> Result<(), EngineError> {
        if let Some(stored) = self.desired.as_ref().filter(|stored| stored.version > desired.version) {
            return Err(EngineError::Stale { key: self.key.clone(), given: desired.version, stored: stored.version });
        }
        self.store.put_desired(&desired).map_err(|error| EngineError::failed("store the desired state", error))?;
        self.desired = Some(desired);
        Ok(())
    }

    /// Decides and acts until nothing changes any more; the answer is how long to wait for the next change.
    fn reconcile(&mut self) -> Duration {
        if self.suspended.is_some() {
            return IDLE;
        }
        let adopting = self.instances.values().any(|instance| instance.process == Process::Adopting);
        if adopting {
            // Nothing is decided, and nobody is told anything, before everything that may still run has been looked for.
            self.publish_report();
            return IDLE;
        }
        for _ in 0..32 {
            match self.reconcile_once() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    let text = barge_error_chain(&error);
                    tracing::error!(key = %self.key, error = text, "the engine cannot go on with this service for now");
                    return TROUBLE_PAUSE;
                }
            }
        }
        self.publish_wanted();
        self.publish_report();
        let now = now();
        let restart = self.instances.values().filter_map(|instance| match instance.process {
            Process::BackOff(at) => Some(at),
            _ => None,
        });
        let next = restart.chain(self.wake_at).min();
        next.map_or(IDLE, |at| (at.since(now).as_duration() + Duration::from_millis(1)).min(IDLE))
    }

    /// One round; true when it changed something that the next round may build upon.
    fn reconcile_once(&mut self) -> Result<bool, StoreError> {
        let Some(desired) = self.desired.clone() else { return Ok(false) };
        let acknowledgements = self.shared.config.acknowledgements.borrow().clone();
        let observed = Observed {
            instances: self
                .instances
                .values()
                .map(|instance| {
                    instance.observed(acknowledgements.instances.get(&instance.record.id).copied().unwrap_or_default())
                })
                .collect(),
            registrar: acknowledgements.health.clone(),
        };
        let decision = step(&desired.rollout, &self.status, &observed, now());
        let mut changed = false;
        if decision.status != self.status {
            self.store.put_status(&decision.status)?;
            self.status = decision.status;
            changed = true;
        }
        self.waiting_on = decision.waiting_on;
        self.wake_at = decision.wake_at;
        for action in decision.actions {
            changed |= match action {
                Action::Scale { release, target, keep_held } => self.scale(&release, target, keep_held)?,
                Action::Stop { instance } => self.drain(&instance)?,
            };
        }
        changed |= self.start_due();
        changed |= self.stop_drained()?;
        Ok(changed)
    }

    /// Carries out `Action::Scale`.
    fn scale(&mut self, release: &ReleaseId, target: u32, keep_held: u32) -> Result<bool, StoreError> {
        let of_release = |wanted: fn(InstancePhase) -> bool| {
            move |instance: &&Instance| instance.record.release == *release && wanted(instance.phase())
        };
        let held: Vec<InstanceId> = self
            .instances
            .values()
            .filter(of_release(|phase| phase == InstancePhase::Held))
            .map(|instance| instance.record.id.clone())
            .collect();
        let mut live: Vec<(bool, Timestamp, InstanceId)> = self
            .instances
            .values()
            .filter(of_release(|phase| !matches!(phase, InstancePhase::Held | InstancePhase::Draining)))
            .map(|i| (i.phase() == InstancePhase::Ready, i.record.created_at, i.record.id.clone()))
            .collect();
        let keep_held = usize::try_from(keep_held).unwrap_or(usize::MAX);
        let target = usize::try_from(target).unwrap_or(usize::MAX);
        let mut changed = false;
        for id in held.iter().skip(keep_held) {
            changed |= self.drain(id)?;
        }
        // A held instance that is kept stands for one that was asked for: it is not replaced (I7).
        let existing = live.len() + held.len().min(keep_held);
        if existing < target {
            for _ in existing..target {
                changed |= self.create(release)?;
            }
        } else if live.len() > target {
            // Those that are not ready go first, then the newest.
            live.sort_by(|a, b| (a.0, b.1).cmp(&(b.0, a.1)));
            for (_, _, id) in live.iter().take(live.len() - target) {
                changed |= self.drain(id)?;
            }
        }
        Ok(changed)
    }

    fn create(&mut self, release: &ReleaseId) -> Result<bool, StoreError> {
        let (host, port) = match self.shared.allocate() {
            Ok(found) => found,
            Err(addresses::AddressError::NoPort) => {
                tracing::error!(key = %self.key, "no port is free for another instance");
                return Ok(false);
            }
        };
        let now = now();
        let record = Record {
            id: InstanceId::from_parts(now, rand::random()),
            release: release.clone(),
            created_at: now,
            host: host.to_string(),
            port,
            restarts: 0,
            draining: false,
            suspended: false,
        };
        self.store.put_record(&record)?;
        self.instances.insert(record.id.clone(), Instance::new(record, Process::New));
        Ok(true)
    }

    /// Begins an instance's end: stored first, never taken back.
    fn drain(&mut self, id: &InstanceId) -> Result<bool, StoreError> {
        let Some(instance) = self.instances.get_mut(id).filter(|instance| !instance.record.draining) else {
            return Ok(false);
        };
        let record = Record { draining: true, ..instance.record.clone() };
        self.store.put_record(&record)?;
        instance.record = record;
        Ok(true)
    }

    /// Starts what is new, and again what has waited long enough.
    fn start_due(&mut self) -> bool {
        let now = now();
        let due: Vec<InstanceId> = self
            .instances
            .values()
            .filter(|instance| !instance.record.draining)
            .filter(|instance| match instance.process {
                Process::New => true,
                Process::BackOff(at) => at <= now,
                _ => false,
            })
            .map(|instance| instance.record.id.clone())
            .collect();
        for id in &due {
            self.prepare(id);
        }
        !due.is_empty()
    }

    fn prepare(&mut self, id: &InstanceId) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        let Some(release) = release_of(&self.status, &instance.record.release) else {
            instance.trouble = Some("the definition of its release is gone".to_owned());
            instance.process = Process::Failed;
            return;
        };
        instance.process = Process::Preparing;
        instance.run += 1;
        instance.status = None;
        let (limits, groups) = limits::set(id, &release.config.resources);
        instance.limits = limits;
        let (record, run) = (instance.record.clone(), instance.run);
        let (shared, key, directory) = (Arc::clone(&self.shared), self.key.clone(), self.store.instance_directory(id));
        self.preparing.spawn(async move {
            let result = shared.start_instance(&key, &release, &record, &directory, groups).await;
            (record.id, run, result)
        });
    }

    fn prepared(&mut self, id: &InstanceId, run: u64, result: Result<(), String>) {
        let role = self.role_of(id);
        let Some(instance) = self.instances.get_mut(id).filter(|instance| instance.run == run) else { return };
        match result {
            Ok(()) => {
                instance.process = Process::Running;
                instance.attempts = 0;
                instance.trouble = None;
                self.watch(id, true);
            }
            Err(reason) => {
                tracing::warn!(key = %self.key, instance = %id, reason, "an instance could not be started");
                instance.attempts += 1;
                instance.trouble = Some(reason);
                instance.process = if role == Role::Candidate && instance.attempts >= START_TRIES {
                    Process::Failed
                } else {
                    Process::BackOff(now().plus(barge_model::hold::back_off(instance.attempts)))
                };
            }
        }
    }

    fn watch(&mut self, id: &InstanceId, fresh: bool) {
        let Some(instance) = self.instances.get(id) else { return };
        let directory = self.store.instance_directory(id);
        self.watches.spawn(instance::watch(directory, id.clone(), instance.run, fresh, self.news.0.clone()));
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Status { id, run, status } => {
                let Some(instance) = self.instances.get_mut(&id).filter(|instance| instance.run == run) else { return };
                if instance.process == Process::Adopting {
                    tracing::info!(key = %self.key, instance = %id, "adopted");
                    instance.process = Process::Running;
                }
                instance.status = Some(*status);
            }
            News::Gone { id, run, last } => {
                let role = self.role_of(&id);
                let Some(instance) = self.instances.get_mut(&id).filter(|instance| instance.run == run) else { return };
                let last = last.map(|last| *last);
                gone(instance, last, role);
                if let Err(error) = self.store.put_record(&instance.record) {
                    tracing::error!(instance = %id, error = &error as &dyn std::error::Error, "a record could not be stored");
                }
            }
        }
    }

    fn role_of(&self, id: &InstanceId) -> Role {
        let release = self.instances.get(id).map(|instance| &instance.record.release);
        let set = self.status.sets.iter().find(|set| Some(&set.release.id) == release);
        set.map_or(Role::Defunct, |set| set.role)
    }

    /// Draining instances: told to stop once the target knows that they end, forgotten once they are gone.
    fn stop_drained(&mut self) -> Result<bool, StoreError> {
        let acknowledgements = self.shared.config.acknowledgements.borrow().clone();
        let mut finished = Vec::new();
        for (id, instance) in &mut self.instances {
            if !instance.record.draining {
                continue;
            }
            let terminal = acknowledgements.instances.get(id).is_some_and(|acknowledged| acknowledged.terminal);
            match instance.process {
                Process::Running if terminal && !instance.stop_sent => {
                    instance.stop_sent = true;
                    let request = stop_request(
                        &self.key,
                        instance,
                        release_of(&self.status, &instance.record.release),
                        &self.shared,
                    );
                    let directory = self.store.instance_directory(id);
                    self.watches.spawn(async move {
                        // Where nobody answers, the watch finds out by itself that the instance is gone.
                        instance::stop(&directory, request).await;
                    });
                }
                Process::Running | Process::Preparing | Process::Adopting => {}
                Process::New | Process::BackOff(_) | Process::Failed if terminal => finished.push(id.clone()),
                _ => {}
            }
        }
        for id in &finished {
            self.store.remove_instance(id)?;
            limits::remove(id);
            if let Some(instance) = self.instances.remove(id) {
                self.shared.free_port(instance.record.port);
            }
        }
        Ok(!finished.is_empty())
    }

    async fn suspend(&mut self, done: oneshot::Sender<()>) {
        self.preparing.shutdown().await;
        for (id, instance) in &mut self.instances {
            instance.record.suspended = true;
            if let Err(error) = self.store.put_record(&instance.record) {
                tracing::warn!(instance = %id, error = &error as &dyn std::error::Error, "will count as a crash");
            }
            if matches!(instance.process, Process::Running | Process::Adopting) {
                let request = StopRequest { traffic: None, quiet_ms: 0, limit_ms: 0, grace_ms: 5000 };
                instance.process = Process::Running;
                if !instance::stop(&self.store.instance_directory(id), request).await {
                    instance.process = Process::New;
                }
            } else {
                instance.process = Process::New;
            }
        }
        self.suspended = Some(done);
    }

    fn publish_wanted(&self) {
        let list = self.instances.values().map(Instance::wanted).collect();
        self.shared.publish_wanted(&self.key, list);
    }

    fn publish_report(&self) {
        let acknowledgements = self.shared.config.acknowledgements.borrow().clone();
        let report = ServiceReport {
            key: self.key.clone(),
            version: self.desired.as_ref().map_or(0, |desired| desired.version),
            replicas: self.desired.as_ref().map_or(0, |desired| desired.rollout.replicas),
            status: self.status.clone(),
            waiting_on: self.waiting_on.clone(),
            instances: self
                .instances
                .values()
                .map(|i| i.report(acknowledgements.instances.get(&i.record.id).copied().unwrap_or_default()))
                .collect(),
        };
        self.shared.publish_report(report);
    }
}

/// An instance's barge-init is gone: what follows is decided by `hold::verdict`.
fn gone(instance: &mut Instance, last: Option<barge_init::Status>, role: Role) {
    let was_ready = last.as_ref().is_some_and(|status| status.was_ready);
    instance.ending = last.as_ref().and_then(|status| status.ending).map(ending);
    let held = last.as_ref().is_some_and(|status| status.phase == Phase::Held);
    instance.status = last;
    if instance.record.suspended {
        instance.process = Process::New;
        return;
    }
    let ended = Ended {
        role,
        stopping: instance.record.draining,
        was_ready: was_ready && !held,
        restarts: instance.record.restarts,
    };
    instance.process = match verdict(ended) {
        Verdict::Gone => Process::New,
        Verdict::Hold => Process::Failed,
        Verdict::Restart(pause) => {
            instance.record.restarts += 1;
            Process::BackOff(now().plus(pause))
        }
    };
}

fn release_of(status: &RolloutStatus, release: &ReleaseId) -> Option<Release> {
    status.sets.iter().find(|set| set.release.id == *release).map(|set| set.release.clone())
}

fn stop_request(key: &ServiceKey, instance: &Instance, release: Option<Release>, shared: &Shared) -> StopRequest {
    let drain = release.map(|release| release.config.drain).unwrap_or_default();
    let traffic = shared.config.traffic.as_ref().map(|endpoint| TrafficCheck {
        address: endpoint.address,
        path: format!(
            "/v1/services/{}/instances/{}/traffic?environment={}",
            key.service, instance.record.id, key.environment
        ),
        token: endpoint.token.clone(),
    });
    // What was never ready never had a request.
    let had_traffic = instance.status.as_ref().is_some_and(|status| status.was_ready);
    StopRequest {
        traffic,
        quiet_ms: drain.quiet.0,
        limit_ms: if had_traffic { drain.limit.0 } else { 0 },
        grace_ms: drain.grace.0,
    }
}

fn barge_error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Every port that an instance has, by service; kept by the engine.
pub(crate) type Ports = BTreeSet<u16>;
