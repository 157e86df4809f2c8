//! Carries out what was decided: makes instances, starts them, takes them out of traffic, stops and forgets them. Every step is stored
//! before it is done, so that the next engine finds what this one has begun.

use std::sync::Arc;

use barge_init::{Plan, StopRequest, TrafficCheck};
use barge_model::hold::MAX_BACK_OFF;
use barge_model::registration::Acknowledgements;
use barge_model::rollout::{InstancePhase, Role, RolloutStatus};
use barge_model::{InstanceId, Release, ReleaseId, ServiceKey, Timestamp};
use barge_runtime::chain;
use tokio::process::Child;

use super::{Service, of};
use crate::addresses::AddressError;
use crate::engine::{Shared, now};
use crate::instance;
use crate::limits;
use crate::observe::{Instance, Process, Trouble};
use crate::store::{Record, StoreError};

/// So many tries to start a candidate's instance that failed for a passing reason count as a failed start.
const START_TRIES: u32 = 3;

impl Service {
    /// Carries out `Action::Scale`.
    pub(super) fn scale(
        &mut self,
        release: &ReleaseId,
        target: u32,
        keep_held: u32,
        acknowledgements: &Acknowledgements,
    ) -> Result<bool, StoreError> {
        let of_release = |instance: &&Instance| instance.record.release == *release;
        let held: Vec<InstanceId> = self
            .instances
            .values()
            .filter(of_release)
            .filter(|instance| instance.phase() == InstancePhase::Held)
            .map(|instance| instance.record.id.clone())
            .collect();
        let rank = |instance: &Instance| {
            let observed = instance.observed(of(acknowledgements, &instance.record.id));
            (observed.available(), observed.phase == InstancePhase::Ready)
        };
        let mut live: Vec<((bool, bool), Timestamp, InstanceId)> = self
            .instances
            .values()
            .filter(of_release)
            .filter(|instance| !matches!(instance.phase(), InstancePhase::Held | InstancePhase::Draining))
            .map(|instance| (rank(instance), instance.record.created_at, instance.record.id.clone()))
            .collect();
        let keep_held = usize::try_from(keep_held).unwrap_or(usize::MAX);
        let target = usize::try_from(target).unwrap_or(usize::MAX);
        let mut changed = false;
        for id in held.iter().skip(keep_held) {
            changed |= self.drain(id)?;
        }
        // A held instance that is kept stands for one that was asked for: it is not replaced (I7).
        let existing = live.len() + held.len().min(keep_held);
        // What is on its way out never grows, whatever it is told.
        let grows = self.role_of_release(release) != Role::Defunct;
        for _ in (existing..target).filter(|_| grows) {
            changed |= self.create(release)?;
        }
        if live.len() > target {
            // Those that are not available go first (I2), of these what is not ready, then the newest.
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
            Err(AddressError::NoPort) => {
                tracing::error!(key = %self.key, "no port is free for another instance");
                return Ok(false);
            }
        };
        let record = Record::new(InstanceId::from_parts(now(), rand::random()), release.clone(), now(), host, port);
        if let Err(error) = self.store.put_record(&record) {
            self.shared.free_port(port);
            return Err(error);
        }
        self.instances.insert(record.id.clone(), Instance::new(record, Process::New));
        Ok(true)
    }

    /// Begins an instance's end: stored first, never taken back.
    pub(super) fn drain(&mut self, id: &InstanceId) -> Result<bool, StoreError> {
        let Some(instance) = self.instances.get_mut(id).filter(|instance| !instance.record.draining) else {
            return Ok(false);
        };
        let record = Record { draining: true, ..instance.record.clone() };
        self.store.put_record(&record)?;
        instance.record = record;
        if let (Process::Preparing, Some(preparing)) = (&instance.process, instance.preparing.take()) {
            // Files may be long in coming, and nobody needs them any more.
            preparing.abort();
            instance.run += 1;
            instance.process = Process::New;
        }
        Ok(true)
    }

    /// Starts what is new, and again what has waited long enough.
    pub(super) fn start_due(&mut self) -> bool {
        let now = now();
        let is_due = |instance: &&Instance| match instance.process {
            Process::New => true,
            // A clock that was set back must not prolong it.
            Process::BackOff(at) => at <= now || at.since(now) > MAX_BACK_OFF,
            _ => false,
        };
        let due: Vec<InstanceId> = self
            .instances
            .values()
            .filter(|instance| !instance.record.draining)
            .filter(is_due)
            .map(|instance| instance.record.id.clone())
            .collect();
        for id in &due {
            self.prepare(id);
        }
        !due.is_empty()
    }

    /// Brings an instance's files and makes its plan; the start itself follows in `prepared`.
    fn prepare(&mut self, id: &InstanceId) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        let Some(release) = release_of(&self.status, &instance.record.release) else {
            self.not_started(id, Trouble::lasting("the definition of its release is gone"));
            return;
        };
        instance.process = Process::Preparing;
        instance.run += 1;
        instance.status = None;
        instance.stop_sent = false;
        let (limits, groups) = limits::set(id, &release.config.resources);
        instance.record.limits = limits;
        let (record, run) = (instance.record.clone(), instance.run);
        let (shared, key, directory) = (Arc::clone(&self.shared), self.key.clone(), self.store.instance_directory(id));
        instance.preparing = Some(self.preparing.spawn(async move {
            let result = shared.prepare_instance(&key, &release, &record, &directory, groups).await;
            (record.id, run, result)
        }));
    }

    /// Starts an instance whose files are there.
    pub(super) fn prepared(&mut self, id: &InstanceId, run: u64, result: Result<Plan, Trouble>) {
        let Some(instance) = self.instances.get_mut(id).filter(|instance| instance.run == run) else { return };
        if instance.record.draining {
            // Its end came first.
            instance.process = Process::New;
            return;
        }
        let directory = self.store.instance_directory(id);
        let program = &self.shared.config.init_program;
        let started = result.and_then(|plan| {
            instance::start(&directory, &plan, program)
                .map_err(|error| Trouble { reason: chain(&error), passing: error.passing() })
        });
        match started {
            Ok(child) => {
                instance.process = Process::Running;
                instance.record.suspended = false;
                // Should this not be stored, the next engine finds a living instance and takes it for what it is.
                if let Err(error) = self.store.put_record(&instance.record) {
                    tracing::warn!(instance = %id, error = chain(&error), "a start could not be noted");
                }
                self.watch(id, Some(child));
            }
            Err(trouble) => self.not_started(id, trouble),
        }
    }

    /// Nothing of an instance runs, and no barge-init could tell why.
    pub(super) fn not_started(&mut self, id: &InstanceId, trouble: Trouble) {
        let Trouble { reason, passing } = trouble;
        let candidate = self.role_of(id) == Role::Candidate;
        let Some(instance) = self.instances.get_mut(id) else { return };
        tracing::warn!(key = %self.key, instance = %id, reason, "an instance could not be started");
        instance.attempts += 1;
        if instance.record.draining {
            instance.process = Process::New;
        } else if candidate && (!passing || instance.attempts >= START_TRIES) {
            instance.record.failed = Some(reason.clone());
            instance.process = Process::Failed;
        } else {
            instance.process = Process::BackOff(now().plus(barge_model::hold::back_off(instance.attempts)));
        }
        instance.trouble = Some(reason);
        self.note(id);
    }

    /// Stores an instance's record where nothing depends on it: what is lost is found out again.
    pub(super) fn note(&self, id: &InstanceId) {
        if let Some(instance) = self.instances.get(id)
            && let Err(error) = self.store.put_record(&instance.record)
        {
            tracing::error!(instance = %id, error = chain(&error), "a record could not be stored");
        }
    }

    /// Watches an instance's barge-init: one that was just started, or one that may have outlived an engine.
    pub(super) fn watch(&mut self, id: &InstanceId, started: Option<Child>) {
        let Some(instance) = self.instances.get(id) else { return };
        let directory = self.store.instance_directory(id);
        self.watches.spawn(instance::watch(directory, id.clone(), instance.run, started, self.news.0.clone()));
    }

    /// Draining instances: told to stop once the target knows that they end, forgotten once they are gone.
    pub(super) fn stop_drained(&mut self, acknowledgements: &Acknowledgements) -> Result<bool, StoreError> {
        let mut finished = Vec::new();
        for (id, instance) in &mut self.instances {
            if !instance.record.draining || !of(acknowledgements, id).terminal {
                continue;
            }
            match instance.process {
                Process::Running if !instance.stop_sent => {
                    instance.stop_sent = true;
                    let release = release_of(&self.status, &instance.record.release);
                    let request = stop_request(&self.key, instance, release, &self.shared);
                    self.watches.spawn(instance::stop(self.store.instance_directory(id), request));
                }
                Process::Running | Process::Preparing | Process::Adopting => {}
                Process::New | Process::BackOff(_) | Process::Failed => finished.push(id.clone()),
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

    /// What an instance's set is for; an instance without a set is on its way out.
    pub(super) fn role_of(&self, id: &InstanceId) -> Role {
        self.instances.get(id).map_or(Role::Defunct, |instance| self.role_of_release(&instance.record.release))
    }

    fn role_of_release(&self, release: &ReleaseId) -> Role {
        let set = self.status.sets.iter().find(|set| set.release.id == *release);
        set.map_or(Role::Defunct, |set| set.role)
    }
}

/// A stop without a wait for silence, for what has no traffic.
pub(super) fn at_once() -> StopRequest {
    StopRequest { traffic: None, url: None, quiet_ms: 0, limit_ms: 0, grace_ms: 5000 }
}

pub(super) fn release_of(status: &RolloutStatus, release: &ReleaseId) -> Option<Release> {
    status.sets.iter().find(|set| set.release.id == *release).map(|set| set.release.clone())
}

pub(super) fn stop_request(
    key: &ServiceKey,
    instance: &Instance,
    release: Option<Release>,
    shared: &Shared,
) -> StopRequest {
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
        url: None,
        traffic,
        quiet_ms: drain.quiet.0,
        limit_ms: if had_traffic { drain.limit.0 } else { 0 },
        grace_ms: drain.grace.0,
    }
}
