//! One service of the fake engine: its desired state, what the rollout machine has decided, and its instances.

use std::collections::BTreeMap;
use std::sync::Arc;

use barge_engine::{Desired, EngineError, InstanceReport, LimitsReport, ProbeReport, ServiceReport, TimelineStep};
use barge_model::hold::Ending;
use barge_model::rollout::{
    Action, InstancePhase, Observed, ObservedInstance, RegistrarHealth, RolloutStatus, WaitingOn, step,
};
use barge_model::{InstanceId, Timestamp};

use super::World;

#[derive(Debug)]
pub(super) struct Service {
    desired: Desired,
    status: RolloutStatus,
    waiting_on: WaitingOn,
    observed: Vec<ObservedInstance>,
    created: BTreeMap<InstanceId, Timestamp>,
    /// As of the last decision; the same one for as long as it says the same.
    report: Arc<ServiceReport>,
}

impl Service {
    pub(super) fn new(desired: Desired) -> Self {
        let (status, waiting_on) = (RolloutStatus::default(), WaitingOn::FirstRelease);
        Self {
            report: Arc::new(ServiceReport {
                key: desired.key.clone(),
                version: desired.version,
                replicas: desired.rollout.replicas,
                status: status.clone(),
                waiting_on: waiting_on.clone(),
                instances: Vec::new(),
            }),
            desired,
            status,
            waiting_on,
            observed: Vec::new(),
            created: BTreeMap::new(),
        }
    }

    /// Takes a desired state, unless it is older than the one it has.
    pub(super) fn take(&mut self, desired: Desired) -> Result<(), EngineError> {
        let (key, given, stored) = (desired.key.clone(), desired.version, self.desired.version);
        if stored > given {
            return Err(EngineError::Stale { key, given, stored });
        }
        self.desired = desired;
        Ok(())
    }

    /// Every instance was started once more.
    pub(super) fn count_restarts(&mut self) {
        self.observed.iter_mut().for_each(|one| one.restarts += 1);
    }

    pub(super) fn forget_ends(&mut self) {
        self.status.finished.clear();
        self.publish();
    }

    pub(super) fn report(&self) -> Arc<ServiceReport> {
        Arc::clone(&self.report)
    }

    pub(super) fn has(&self, instance: &InstanceId) -> bool {
        self.created.contains_key(instance)
    }

    /// Steps until nothing changes any more.
    pub(super) fn settle(&mut self, world: &mut World) {
        for _ in 0..100 {
            world.clock += 1000;
            let now = Timestamp::from_millis(world.clock);
            let observed = Observed { instances: self.observed.clone(), registrar: RegistrarHealth::Healthy };
            let decision = step(&self.desired.rollout, &self.status, &observed, now);
            let decided_before = std::mem::replace(&mut self.status, decision.status);
            self.waiting_on = decision.waiting_on;
            for action in decision.actions {
                self.act(action, now, &mut world.serial);
            }
            for one in self.observed.iter_mut().filter(|one| one.phase == InstancePhase::Starting && !world.slow) {
                one.phase = if world.broken { InstancePhase::Held } else { InstancePhase::Ready };
                one.online = !world.broken;
            }
            if decided_before == self.status && observed.instances == self.observed {
                break;
            }
        }
        let observed = &self.observed;
        self.created.retain(|id, _| observed.iter().any(|one| one.id == *id));
        self.publish();
    }

    fn act(&mut self, action: Action, now: Timestamp, serial: &mut u128) {
        let instances = &mut self.observed;
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
            self.created.insert(id.clone(), now);
            let phase = InstancePhase::Starting;
            instances.push(ObservedInstance { id, release: release.clone(), phase, restarts: 0, online: false });
        }
    }

    fn publish(&mut self) {
        let report = ServiceReport {
            key: self.desired.key.clone(),
            version: self.desired.version,
            replicas: self.desired.rollout.replicas,
            status: self.status.clone(),
            waiting_on: self.waiting_on.clone(),
            instances: self.observed.iter().map(|one| self.instance(one)).collect(),
        };
        if *self.report != report {
            self.report = Arc::new(report);
        }
    }

    fn instance(&self, one: &ObservedInstance) -> InstanceReport {
        let held = one.phase == InstancePhase::Held;
        let created_at = self.created.get(&one.id).copied().unwrap_or_default();
        InstanceReport {
            id: one.id.clone(),
            release: one.release.clone(),
            phase: one.phase,
            online: one.online,
            address: Some("127.1.0.1:8080".to_owned()),
            restarts: one.restarts,
            created_at,
            reason: held.then(|| "it ended before it was ready".to_owned()),
            ending: held.then_some(Ending::Exited { code: 3 }),
            probes: vec![ProbeReport { at: created_at, ok: one.online, detail: "GET /".to_owned(), times: 1 }],
            timeline: vec![TimelineStep { at: created_at, what: "starting".to_owned() }],
            limits: LimitsReport::NotAsked,
        }
    }
}
