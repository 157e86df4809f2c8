//! One service's task: observe, decide, store, act; again after every change.
//!
//! `act` carries out what was decided, `news` takes in what the instances' barge-inits say and what their ends mean, `leave` stops
//! everything with the platform.

mod act;
mod leave;
mod news;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use barge_engine::{Desired, EngineError, ServiceReport};
use barge_init::Plan;
use barge_model::registration::{Acknowledged, Acknowledgements, Wanted};
use barge_model::rollout::{Action, Observed, RegistrarHealth, RolloutStatus, WaitingOn, step};
use barge_model::{InstanceId, ServiceKey, Timestamp};
use barge_runtime::chain;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::engine::{Shared, now};
use crate::instance::{self, News};
use crate::observe::{Instance, Process, Trouble};
use crate::store::{ServiceStore, StoreError};
use leave::Leaving;

/// What can be asked of a service's task.
#[derive(Debug)]
pub(crate) enum Message {
    /// Take a desired state.
    Apply(Box<Desired>, oneshot::Sender<Result<(), EngineError>>),
    /// Stop every process, because the platform stops; nothing of the desired state changes.
    Leave(Leave),
}

/// How every process is to be stopped.
#[derive(Debug)]
pub(crate) struct Leave {
    /// Each is first taken offline, and has its requests answered; else all are stopped at once.
    pub(crate) orderly: bool,
    /// How much longer than the processes may take by their own settings.
    pub(crate) patience: Duration,
    /// Told at the end whether all have stopped.
    pub(crate) done: oneshot::Sender<bool>,
}

/// Every port that an instance has; kept by the engine.
pub(crate) type Ports = BTreeSet<u16>;

/// The longest sleep without anything to wait for.
const IDLE: Duration = Duration::from_secs(60);
/// After a failed write.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);
/// A decision and its actions may call for another one so often before others get their turn.
const ROUNDS: u32 = 32;

/// The plan of an instance that is about to start and whose files are there, or why there is none.
type Prepared = (InstanceId, u64, Result<Plan, Trouble>);

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
    preparing: JoinSet<Prepared>,
    /// Watches of instances, and stops under way.
    watches: JoinSet<()>,
    leaving: Option<Leaving>,
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
            leaving: None,
            key,
            store,
            shared,
        };
        for record in service.store.records()? {
            service.shared.take_port(record.port);
            let id = record.id.clone();
            if record.failed.is_some() {
                let mut instance = Instance::new(record, Process::Failed);
                instance.status = instance::last_status(&service.store.instance_directory(&id), &id);
                service.instances.insert(id, instance);
            } else {
                service.instances.insert(id.clone(), Instance::new(record, Process::Adopting));
                service.watch(&id, None);
            }
        }
        Ok(service)
    }

    /// Works until `messages` is closed.
    pub(crate) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut acknowledgements = self.shared.config.acknowledgements.clone();
        let mut registrar_works = true;
        loop {
            let pause = self.reconcile();
            if self.has_left() {
                return;
            }
            tokio::select! {
                // Who asks us to leave lets go of us as well; it is over when everything has stopped.
                message = messages.recv(), if self.leaving.is_none() => match message {
                    Some(Message::Apply(desired, reply)) => {
                        let _ = reply.send(self.apply(*desired));
                    }
                    Some(Message::Leave(leave)) => self.leave(leave).await,
                    None => return,
                },
                Some(news) = self.news.1.recv() => self.take_news(news),
                Some(prepared) = self.preparing.join_next() => {
                    if let Ok((id, run, result)) = prepared {
                        self.prepared(&id, run, result);
                    }
                }
                Some(_) = self.watches.join_next() => {}
                changed = acknowledgements.changed(), if registrar_works => registrar_works = changed.is_ok(),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn apply(&mut self, desired: Desired) -> Result<(), EngineError> {
        if let Some(stored) = self.desired.as_ref().filter(|stored| stored.version > desired.version) {
            return Err(EngineError::Stale { key: self.key.clone(), given: desired.version, stored: stored.version });
        }
        // After a start everybody is told everything, and most have it already.
        if self.desired.as_ref() == Some(&desired) {
            return Ok(());
        }
        self.store.put_desired(&desired).map_err(|error| EngineError::failed("store the desired state", error))?;
        self.desired = Some(desired);
        Ok(())
    }

    /// Decides and acts until nothing changes any more; the answer is how long to wait for the next change.
    fn reconcile(&mut self) -> Duration {
        if self.leaving.is_some() {
            return self.go_on_leaving();
        }
        // An engine that only ends what runs decides nothing.
        if self.shared.config.only_ends {
            return IDLE;
        }
        if self.instances.values().any(|instance| instance.process == Process::Adopting) {
            // Nothing is decided, and nobody is told anything, before everything that may still run has been looked for.
            self.publish_report();
            return IDLE;
        }
        let mut trouble = false;
        for _ in 0..ROUNDS {
            match self.reconcile_once() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(key = %self.key, error = chain(&error), "the engine cannot go on with this service for now");
                    trouble = true;
                    break;
                }
            }
        }
        // Also when something could not be stored: who is dead must not get requests, and who is ready should.
        self.publish_wanted();
        self.publish_report();
        if trouble {
            return TROUBLE_PAUSE;
        }
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
        let acknowledgements = self.acknowledgements();
        let observe = |instance: &Instance| instance.observed(of(&acknowledgements, &instance.record.id));
        let observed = Observed {
            instances: self.instances.values().map(observe).collect(),
            registrar: acknowledgements.health.clone(),
        };
        let decision = step(&desired.rollout, &self.status, &observed, now());
        let mut changed = false;
        if decision.status != self.status {
            self.store.put_status(&decision.status)?;
            let fewer = decision.status.sets.len() < self.status.sets.len();
            self.status = decision.status;
            changed = true;
            if fewer {
                self.watches.spawn(Arc::clone(&self.shared).collect_images());
            }
        }
        self.waiting_on = decision.waiting_on;
        self.wake_at = decision.wake_at;
        for action in decision.actions {
            changed |= match action {
                Action::Scale { release, target, keep_held } => {
                    self.scale(&release, target, keep_held, &acknowledgements)?
                }
                Action::Stop { instance } => self.drain(&instance)?,
            };
        }
        changed |= self.start_due();
        changed |= self.stop_drained(&acknowledgements)?;
        Ok(changed)
    }

    /// What the registrar has said last of this service's instances. When it has ended, nothing can be registered, and nothing is
    /// stopped (R5).
    fn acknowledgements(&self) -> Acknowledgements {
        let receiver = &self.shared.config.acknowledgements;
        let mut acknowledgements = {
            let all = receiver.borrow();
            let own = self.instances.keys().filter_map(|id| Some((id.clone(), *all.instances.get(id)?)));
            Acknowledgements { health: all.health.clone(), instances: own.collect() }
        };
        if receiver.has_changed().is_err() {
            acknowledgements.health = RegistrarHealth::Unhealthy { reason: "the registrar has ended".to_owned() };
        }
        acknowledgements
    }

    fn publish_wanted(&self) {
        let empties = self.empties_itself();
        let wanted = |instance: &Instance| {
            let wanted = instance.wanted();
            // Whatever it answers to its check: it is about to stop, and comes back later under the same id.
            if empties { Wanted { ready: false, dead: true, ..wanted } } else { wanted }
        };
        let list = self.instances.values().map(wanted).collect();
        self.shared.publish_wanted(&self.key, list);
    }

    fn publish_report(&self) {
        let acknowledgements = self.acknowledgements();
        let report = |instance: &Instance| instance.report(of(&acknowledgements, &instance.record.id));
        self.shared.publish_report(ServiceReport {
            key: self.key.clone(),
            version: self.desired.as_ref().map_or(0, |desired| desired.version),
            replicas: self.desired.as_ref().map_or(0, |desired| desired.rollout.replicas),
            status: self.status.clone(),
            waiting_on: self.waiting_on.clone(),
            instances: self.instances.values().map(report).collect(),
        });
    }
}

fn of(acknowledgements: &Acknowledgements, id: &InstanceId) -> Acknowledged {
    acknowledgements.instances.get(id).copied().unwrap_or_default()
}
