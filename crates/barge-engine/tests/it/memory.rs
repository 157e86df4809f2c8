//! An engine in memory, whose instances start and end at once, and which breaks one rule if a test wants it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use barge_engine::{
    Desired, Engine, EngineError, ExecRequest, ExecSession, InstanceReport, LimitsReport, LogOptions, LogStream,
    ServiceReport,
};
use barge_model::rollout::{
    Action, InstancePhase, Observed, ObservedInstance, RegistrarHealth, Role, RolloutStatus, WaitingOn, step,
};
use barge_model::{InstanceId, ReleaseId, ServiceKey, Timestamp};
use tokio::sync::watch;

/// A rule that an engine breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It starts one more instance of every candidate.
    TwoCandidates,
    /// It loses a stable instance when a release has failed.
    HurtsStable,
    /// It takes every desired state, however old.
    TakesOldVersions,
    /// It never tells that instances are online.
    NeverOnline,
    /// It restarts what failed to start.
    RestartsHeld,
    /// It lets instances be that should end.
    NeverStops,
}

#[derive(Default)]
struct State {
    desired: Option<Desired>,
    status: RolloutStatus,
    waiting_on: Option<WaitingOn>,
    instances: Vec<ObservedInstance>,
    count: u128,
}

pub(crate) struct Memory {
    fault: Fault,
    /// Releases that do not start.
    pub(crate) broken: Mutex<BTreeSet<ReleaseId>>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

impl Memory {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, broken: Mutex::default(), state: Mutex::default(), changes: watch::Sender::new(0) }
    }

    fn reconcile(&self, state: &mut State) {
        let Some(desired) = state.desired.clone() else { return };
        for _ in 0..50 {
            let observed = Observed { instances: state.instances.clone(), registrar: RegistrarHealth::Healthy };
            let decision = step(&desired.rollout, &state.status, &observed, Timestamp::from_millis(1));
            let before = (state.status.clone(), state.instances.clone());
            state.status = decision.status;
            state.waiting_on = Some(decision.waiting_on);
            for action in decision.actions {
                self.act(state, action);
            }
            if before == (state.status.clone(), state.instances.clone()) {
                break;
            }
        }
        if self.fault == Fault::HurtsStable && state.status.sets.iter().any(|set| set.held_since.is_some()) {
            state.instances.retain(|instance| instance.phase == InstancePhase::Held);
        }
    }

    fn act(&self, state: &mut State, action: Action) {
        match action {
            Action::Stop { instance } => state.instances.retain(|existing| existing.id != instance),
            Action::Scale { release, target, keep_held } => self.scale(state, &release, target, keep_held),
        }
    }

    fn scale(&self, state: &mut State, release: &ReleaseId, target: u32, keep_held: u32) {
        let candidate = state.status.set(Role::Candidate).is_some_and(|set| set.release.id == *release);
        let extra = u32::from(self.fault == Fault::TwoCandidates && candidate);
        let (mut live, mut held) = (0, 0);
        let stops = self.fault != Fault::NeverStops;
        state.instances.retain(|instance| {
            if instance.release != *release {
                return true;
            }
            let (count, limit) = if instance.phase == InstancePhase::Held {
                (&mut held, keep_held)
            } else {
                (&mut live, target + extra)
            };
            *count += 1;
            *count <= limit || !stops
        });
        let broken = self.broken.lock().unwrap().contains(release);
        for _ in live + held.min(keep_held)..target + extra {
            state.count += 1;
            let phase = match broken {
                true if self.fault == Fault::RestartsHeld => InstancePhase::Starting,
                true => InstancePhase::Held,
                false => InstancePhase::Ready,
            };
            state.instances.push(ObservedInstance {
                id: InstanceId::from_parts(Timestamp::from_millis(1), state.count),
                release: release.clone(),
                phase,
                restarts: 0,
                online: phase == InstancePhase::Ready && self.fault != Fault::NeverOnline,
            });
        }
    }

    fn describe(state: &State) -> Option<ServiceReport> {
        let desired = state.desired.as_ref()?;
        let report = |instance: &ObservedInstance| InstanceReport {
            id: instance.id.clone(),
            release: instance.release.clone(),
            phase: instance.phase,
            online: instance.online,
            address: None,
            restarts: 0,
            created_at: Timestamp::default(),
            reason: None,
            ending: None,
            probes: Vec::new(),
            timeline: Vec::new(),
            limits: LimitsReport::NotAsked,
        };
        Some(ServiceReport {
            key: desired.key.clone(),
            version: desired.version,
            replicas: desired.rollout.replicas,
            status: state.status.clone(),
            waiting_on: state.waiting_on.clone().unwrap_or(WaitingOn::Nothing),
            instances: state.instances.iter().map(report).collect(),
        })
    }
}

#[async_trait]
impl Engine for Memory {
    async fn apply(&self, desired: Desired) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap();
        let stored = state.desired.as_ref().map_or(0, |desired| desired.version);
        if stored > desired.version && self.fault != Fault::TakesOldVersions {
            return Err(EngineError::Stale { key: desired.key, given: desired.version, stored });
        }
        state.desired = Some(desired);
        self.reconcile(&mut state);
        self.changes.send_modify(|revision| *revision += 1);
        Ok(())
    }

    async fn report(&self, _: &ServiceKey) -> Result<Option<Arc<ServiceReport>>, EngineError> {
        Ok(Self::describe(&self.state.lock().unwrap()).map(Arc::new))
    }

    async fn reports(&self) -> Result<Vec<Arc<ServiceReport>>, EngineError> {
        Ok(Self::describe(&self.state.lock().unwrap()).map(Arc::new).into_iter().collect())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn logs(&self, _: &ServiceKey, id: &InstanceId, _: LogOptions) -> Result<LogStream, EngineError> {
        Err(EngineError::UnknownInstance(id.clone()))
    }

    async fn exec(&self, _: &ServiceKey, id: &InstanceId, _: ExecRequest) -> Result<ExecSession, EngineError> {
        Err(EngineError::UnknownInstance(id.clone()))
    }
}
