//! What is known of one instance, and how it reads as an observation of the rollout, as a want of the registrar, and as a report.

use std::net::SocketAddr;

use barge_engine::{InstanceReport, ProbeReport, TimelineStep};
use barge_init::{Phase, Status};
use barge_model::Timestamp;
use barge_model::hold::Ending;
use barge_model::registration::{Acknowledged, Wanted};
use barge_model::rollout::{InstancePhase, ObservedInstance};
use tokio::task::AbortHandle;

use crate::store::Record;

/// What an instance's process is doing, as far as the engine knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Process {
    /// It was there when the engine started; nobody has answered yet.
    Adopting,
    /// To be started.
    New,
    /// Its files are being brought.
    Preparing,
    /// Its barge-init was started and lives.
    Running,
    /// It ended, and is started again then.
    BackOff(Timestamp),
    /// It could not be started at all; kept for inspection like a failed start.
    Failed,
}

/// Why an instance does not run, before any barge-init could tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// A sentence for people.
    pub(crate) reason: String,
    /// The same may succeed a little later.
    pub(crate) passing: bool,
}

impl Trouble {
    pub(crate) fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), passing: false }
    }

    pub(crate) fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), passing: true }
    }
}

/// One instance.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) record: Record,
    pub(crate) process: Process,
    /// Grows with every start; news of an earlier run is old.
    pub(crate) run: u64,
    pub(crate) status: Option<Status>,
    /// Why it could not be started.
    pub(crate) trouble: Option<String>,
    /// Failed tries to start it, in a row.
    pub(crate) attempts: u32,
    pub(crate) ending: Option<Ending>,
    /// Brings its files.
    pub(crate) preparing: Option<AbortHandle>,
    /// barge-init has been told to stop.
    pub(crate) stop_sent: bool,
    /// barge-init holds a failed start that is to be tried again, and has been told to end.
    pub(crate) again: bool,
}

impl Instance {
    pub(crate) fn new(record: Record, process: Process) -> Self {
        Self {
            trouble: record.failed.clone(),
            record,
            process,
            run: 0,
            status: None,
            attempts: 0,
            ending: None,
            preparing: None,
            stop_sent: false,
            again: false,
        }
    }

    /// Keeps it for inspection although no barge-init holds it.
    pub(crate) fn fail(&mut self, reason: &str) {
        let held = self.status.as_ref().and_then(|status| status.reason.clone());
        let reason = held.map_or_else(|| reason.to_owned(), |held| format!("{reason}: {held}"));
        self.record.failed = Some(reason.clone());
        self.trouble = Some(reason);
        self.process = Process::Failed;
    }

    pub(crate) fn phase(&self) -> InstancePhase {
        if self.record.draining {
            return InstancePhase::Draining;
        }
        match (&self.process, self.status.as_ref().map(|status| status.phase)) {
            (Process::BackOff(_), _) => InstancePhase::BackOff,
            (Process::Running, Some(Phase::Held)) if self.again => InstancePhase::BackOff,
            (Process::Failed, _) | (Process::Running, Some(Phase::Held)) => InstancePhase::Held,
            (Process::Running, Some(Phase::Ready)) => InstancePhase::Ready,
            (Process::Running, Some(Phase::Stopping | Phase::Ended)) => InstancePhase::BackOff,
            _ => InstancePhase::Starting,
        }
    }

    pub(crate) fn observed(&self, acknowledged: Acknowledged) -> ObservedInstance {
        ObservedInstance {
            id: self.record.id.clone(),
            release: self.record.release.clone(),
            phase: self.phase(),
            restarts: self.record.restarts,
            online: acknowledged.online,
        }
    }

    pub(crate) fn wanted(&self) -> Wanted {
        Wanted {
            id: self.record.id.clone(),
            address: self.address(),
            ready: self.phase() == InstancePhase::Ready,
            ending: self.record.draining,
            dead: matches!(self.phase(), InstancePhase::BackOff | InstancePhase::Held),
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        self.status.as_ref()?.address.as_ref()?.parse().ok()
    }

    /// How its process ended. One that was late was ended by its barge-init, as the reason says; that it was killed would only lead astray.
    fn ending(&self) -> Option<Ending> {
        let status = self.status.as_ref();
        let reason = status.and_then(|status| status.reason.as_deref()).unwrap_or_default();
        if reason.starts_with(barge_init::NOT_READY_WITHIN) {
            return None;
        }
        status.and_then(|status| status.ending).map(ending).or(self.ending)
    }

    pub(crate) fn report(&self, acknowledged: Acknowledged) -> InstanceReport {
        let status = self.status.as_ref();
        InstanceReport {
            id: self.record.id.clone(),
            release: self.record.release.clone(),
            phase: self.phase(),
            online: acknowledged.online,
            address: status.and_then(|status| status.address.clone()),
            restarts: self.record.restarts,
            created_at: self.record.created_at,
            reason: self.trouble.clone().or_else(|| status.and_then(|status| status.reason.clone())),
            ending: self.ending(),
            probes: status.map(probes).unwrap_or_default(),
            timeline: status.map(timeline).unwrap_or_default(),
            limits: self.record.limits.clone(),
        }
    }
}

/// barge-init's word for an ending as the model's.
pub(crate) fn ending(ending: barge_init::Ending) -> Ending {
    match ending {
        barge_init::Ending::Exited { code } => Ending::Exited { code },
        barge_init::Ending::Signalled { signal } => Ending::Signalled { signal },
        barge_init::Ending::NotStarted => Ending::NotStarted,
    }
}

fn probes(status: &Status) -> Vec<ProbeReport> {
    let report = |probe: &barge_init::ProbeRecord| ProbeReport {
        at: Timestamp::from_millis(probe.at),
        ok: probe.ok,
        detail: probe.detail.clone(),
        times: probe.times,
    };
    status.probes.iter().map(report).collect()
}

fn timeline(status: &Status) -> Vec<TimelineStep> {
    let step = |entry: &barge_init::TimelineEntry| TimelineStep {
        at: Timestamp::from_millis(entry.at),
        what: entry.what.clone(),
    };
    status.timeline.iter().map(step).collect()
}
