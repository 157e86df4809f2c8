//! One step of the rollout: how a candidate begins, passes its gate, goes on, and ends.

use super::sizes;
use super::state::{
    Action, CandidateProgress, Decision, FailureReason, Finished, InstancePhase, InstanceSet, Observed,
    ObservedInstance, Outcome, Phase, RegistrarHealth, Role, RolloutSpec, RolloutStatus,
};
use super::waiting::WaitingOn;
use crate::ids::ReleaseId;
use crate::release::{Approval, Origin, Release};
use crate::time::{Millis, Timestamp};

/// How long the held instance of a failed release is kept.
pub const HELD_LIMIT: Millis = Millis::from_secs(24 * 3600);

/// How many ended releases the status remembers.
const FINISHED_KEPT: usize = 50;

/// Decides what should happen to a service now.
///
/// Pure: the same arguments give the same answer. The caller stores `Decision::status`, then carries out the actions; a crash
/// between any two of them is harmless, because the next step starts from what is stored and observed.
pub fn step(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
    let mut machine = Machine { spec, observed, now, status: status.clone() };
    machine.end_withdrawn_candidate();
    machine.begin_target();
    machine.advance_candidate();
    sizes::apply(spec, &mut machine.status, observed);
    machine.let_go_of_held();
    machine.drop_empty_sets();
    machine.decide()
}

struct Machine<'a> {
    spec: &'a RolloutSpec,
    observed: &'a Observed,
    now: Timestamp,
    status: RolloutStatus,
}

impl Machine<'_> {
    /// An abort, a rollback or a newer target ends the candidate, whatever state it is in (I5).
    fn end_withdrawn_candidate(&mut self) {
        let Some(candidate) = self.status.set(Role::Candidate).map(|set| set.release.id.clone()) else { return };
        let withdrawn = self.spec.withdrawn.as_ref().filter(|withdrawn| withdrawn.release == candidate);
        let target = self.spec.target.as_ref();
        let outcome = match (withdrawn, target) {
            (Some(withdrawal), _) if withdrawal.rolled_back => Outcome::RolledBack,
            (Some(_), _) => Outcome::Aborted,
            (None, Some(target)) if target.id == candidate => return,
            (None, Some(target)) if matches!(target.origin, Origin::Rollback { .. }) => Outcome::RolledBack,
            (None, _) => Outcome::Superseded,
        };
        self.end_candidate(outcome);
    }

    /// The target becomes the candidate, once no other one is in its way.
    fn begin_target(&mut self) {
        let Some(target) = self.spec.target.as_ref() else { return };
        let known = self.status.sets.iter().any(|set| set.release.id == target.id);
        if known || self.status.outcome(&target.id).is_some() || self.status.candidate.is_some() {
            return;
        }
        if self.spec.withdrawn.as_ref().is_some_and(|withdrawn| withdrawn.release == target.id) {
            self.finish(target.id.clone(), Outcome::Aborted);
            return;
        }
        // A rollback does not wait for anything of a failing release (I5); any other release lets it drain first (I4).
        if target.origin.waits_for_drain() && self.leftovers() > 0 {
            return;
        }
        for set in &mut self.status.sets {
            set.held_since = None;
        }
        self.status.sets.push(InstanceSet {
            release: target.clone(),
            role: Role::Candidate,
            target: 0,
            held_since: None,
        });
        self.status.candidate = Some(CandidateProgress {
            phase: Phase::Starting,
            since: self.now,
            progress_at: self.now,
            progress: 0,
            observed: Vec::new(),
            approval: None,
        });
    }

    fn advance_candidate(&mut self) {
        let Some(release) = self.status.set(Role::Candidate).map(|set| set.release.clone()) else { return };
        let Some(mut progress) = self.status.candidate.clone() else { return };
        if matches!(self.observed.registrar, RegistrarHealth::Unhealthy { .. }) {
            // Time in which nothing can be registered is not the release's fault.
            progress.progress_at = self.now;
            self.status.candidate = Some(progress);
            return;
        }
        if let Some(failure) = self.failure(&release, &mut progress) {
            self.end_candidate(Outcome::Failed { failure });
            return;
        }
        // Each pass may open the next phase; the number of phases bounds the passes.
        let passes = 3 + 2 * release.config.rollout.batches.len();
        for _ in 0..passes {
            let before = progress.phase.clone();
            if self.advance_phase(&release, &mut progress) {
                self.promote(&release.id);
                return;
            }
            if progress.phase == before {
                break;
            }
            progress.since = self.now;
            progress.progress_at = self.now;
            progress.progress = 0;
        }
        self.status.candidate = Some(progress);
    }

    /// Goes on by at most one phase; true when the candidate has replaced the stable release.
    fn advance_phase(&self, release: &Release, progress: &mut CandidateProgress) -> bool {
        let plan = &release.config.rollout;
        let replicas = self.spec.replicas;
        let available = self.available(&release.id);
        match progress.phase {
            Phase::Starting if available >= plan.first(replicas) => {
                progress.phase = Phase::Gate;
                progress.observed = self.identities(&release.id);
            }
            Phase::Gate if progress.observed != self.identities(&release.id) => {
                progress.phase = Phase::Starting;
                progress.observed.clear();
            }
            Phase::Gate => {
                if let Some(approval) = self.open_gate(release, progress) {
                    progress.approval = Some(approval);
                    progress.phase = Phase::Progressing { batch: 0 };
                }
            }
            Phase::Progressing { batch } => {
                let (goal, last) = plan.goal(batch, replicas);
                let old_left = self.old_running();
                if available < goal || old_left > replicas.saturating_sub(goal) {
                    return false;
                }
                if last {
                    return true;
                }
                progress.phase = Phase::Pausing { batch };
            }
            Phase::Pausing { batch } if available < plan.goal(batch, replicas).0 => {
                progress.phase = Phase::Progressing { batch };
            }
            Phase::Pausing { batch } => {
                if self.now.since(progress.since) >= plan.pause(batch).unwrap_or_default() {
                    progress.phase = Phase::Progressing { batch: batch + 1 };
                }
            }
            Phase::Starting => {}
        }
        false
    }

    /// The approval that opens the gate. A plan without `until: approved` is approved by the release's own, stored plan.
    fn open_gate(&self, release: &Release, progress: &CandidateProgress) -> Option<Approval> {
        let gate = &release.config.rollout.gate;
        if self.now.since(progress.since) < gate.hold.unwrap_or_default() {
            return None;
        }
        let stored = self.spec.approvals.iter().find(|approval| approval.covers(release)).cloned();
        stored.or_else(|| {
            gate.until.is_none().then(|| Approval {
                release: release.id.clone(),
                digest: release.digest.clone(),
                by: "the release's own plan".to_owned(),
                at: self.now,
            })
        })
    }

    /// Notes progress, and says whether the candidate has failed (I7).
    fn failure(&self, release: &Release, progress: &mut CandidateProgress) -> Option<FailureReason> {
        let held = self.of(&release.id).find(|instance| instance.phase == InstancePhase::Held);
        if let Some(instance) = held {
            return Some(FailureReason::StartFailed { instance: instance.id.clone() });
        }
        let plan = &release.config.rollout;
        let available = self.available(&release.id);
        let needed = match progress.phase {
            Phase::Starting => plan.first(self.spec.replicas),
            Phase::Progressing { batch } => plan.goal(batch, self.spec.replicas).0,
            Phase::Gate | Phase::Pausing { .. } => return None,
        };
        let reached = available + self.spec.replicas.saturating_sub(self.old_running());
        if reached > progress.progress {
            progress.progress = reached;
            progress.progress_at = self.now;
        }
        // A clock that was set back must not prolong the deadline beyond its length.
        progress.progress_at = progress.progress_at.min(self.now);
        let late = self.now.since(progress.progress_at) >= plan.progress_deadline;
        late.then_some(FailureReason::DeadlineExceeded { available, needed })
    }

    /// The candidate becomes stable; the former stable set is on its way out (nothing is copied: the tested instances stay).
    fn promote(&mut self, candidate: &ReleaseId) {
        for set in &mut self.status.sets {
            set.role = if set.release.id == *candidate { Role::Stable } else { Role::Defunct };
        }
        self.status.candidate = None;
        self.finish(candidate.clone(), Outcome::Promoted);
    }

    fn end_candidate(&mut self, outcome: Outcome) {
        let failed = matches!(outcome, Outcome::Failed { .. });
        let Some(set) = self.status.sets.iter_mut().find(|set| set.role == Role::Candidate) else { return };
        set.role = Role::Defunct;
        set.held_since = failed.then_some(self.now);
        let release = set.release.id.clone();
        self.status.candidate = None;
        self.finish(release, outcome);
    }

    fn finish(&mut self, release: ReleaseId, outcome: Outcome) {
        self.status.finished.push(Finished { release, outcome, at: self.now });
        let surplus = self.status.finished.len().saturating_sub(FINISHED_KEPT);
        self.status.finished.drain(..surplus);
    }

    /// A held instance is let go after a day, or when somebody aborts the failed release.
    fn let_go_of_held(&mut self) {
        let withdrawn = self.spec.withdrawn.as_ref().map(|withdrawn| &withdrawn.release);
        for set in &mut self.status.sets {
            if let Some(since) = set.held_since
                && (self.now.since(since) >= HELD_LIMIT || withdrawn == Some(&set.release.id))
            {
                set.held_since = None;
            }
        }
    }

    fn drop_empty_sets(&mut self) {
        let observed = self.observed;
        self.status.sets.retain(|set| {
            let exists = observed.instances.iter().any(|instance| instance.release == set.release.id);
            set.role != Role::Defunct || set.target > 0 || exists
        });
    }

    fn decide(self) -> Decision {
        let mut actions: Vec<Action> = Vec::new();
        // Downwards first, so that the total never passes its limit between two actions.
        let mut sets: Vec<&InstanceSet> = self.status.sets.iter().collect();
        sets.sort_by_key(|set| match set.role {
            Role::Defunct => 0,
            Role::Stable => 1,
            Role::Candidate => 2,
        });
        for set in sets {
            actions.push(Action::Scale {
                release: set.release.id.clone(),
                target: set.target,
                keep_held: u32::from(set.held_since.is_some() || set.role == Role::Candidate),
            });
        }
        let orphans = self.observed.instances.iter().filter(|instance| {
            instance.phase != InstancePhase::Draining
                && !self.status.sets.iter().any(|set| set.release.id == instance.release)
        });
        actions.extend(orphans.map(|instance| Action::Stop { instance: instance.id.clone() }));
        let waiting_on = self.waiting_on();
        let wake_at = self.wake_at();
        Decision { status: self.status, actions, waiting_on, wake_at }
    }

    fn waiting_on(&self) -> WaitingOn {
        if let RegistrarHealth::Unhealthy { reason } = &self.observed.registrar {
            return WaitingOn::Registrar { reason: reason.clone() };
        }
        if let (Some(set), Some(progress)) = (self.status.set(Role::Candidate), &self.status.candidate) {
            return self.candidate_waits_on(&set.release, progress);
        }
        let unfinished = self.spec.target.as_ref().is_some_and(|target| {
            self.status.outcome(&target.id).is_none() && !self.status.sets.iter().any(|set| set.release.id == target.id)
        });
        let leftovers = self.leftovers();
        match self.status.set(Role::Stable) {
            None if leftovers == 0 && !unfinished => WaitingOn::FirstRelease,
            Some(stable) if self.available(&stable.release.id) < self.spec.replicas => {
                WaitingOn::Stable { available: self.available(&stable.release.id), wanted: self.spec.replicas }
            }
            _ if leftovers > 0 => WaitingOn::Drain { instances: leftovers },
            _ => WaitingOn::Nothing,
        }
    }

    fn candidate_waits_on(&self, release: &Release, progress: &CandidateProgress) -> WaitingOn {
        let plan = &release.config.rollout;
        let available = self.available(&release.id);
        let unacknowledged =
            self.of(&release.id).filter(|instance| instance.phase == InstancePhase::Ready && !instance.online).count();
        match progress.phase {
            Phase::Starting if unacknowledged > 0 => {
                WaitingOn::Online { instances: u32::try_from(unacknowledged).unwrap_or(u32::MAX) }
            }
            Phase::Starting => WaitingOn::Start {
                release: release.id.clone(),
                available,
                needed: plan.first(self.spec.replicas),
                deadline: progress.progress_at.plus(plan.progress_deadline),
            },
            Phase::Gate => {
                let until = progress.since.plus(plan.gate.hold.unwrap_or_default());
                let approved = self.spec.approvals.iter().any(|approval| approval.covers(release));
                if plan.gate.until.is_some() && !approved {
                    WaitingOn::Approval { release: release.id.clone(), since: progress.since }
                } else {
                    WaitingOn::Hold { until }
                }
            }
            Phase::Progressing { batch } => WaitingOn::Batch {
                batch: u32::try_from(batch + 1).unwrap_or(u32::MAX),
                available,
                needed: plan.goal(batch, self.spec.replicas).0,
                old: self.old_running(),
            },
            Phase::Pausing { batch } => {
                WaitingOn::Pause { until: progress.since.plus(plan.pause(batch).unwrap_or_default()) }
            }
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let held = self.status.sets.iter().filter_map(|set| set.held_since).map(|since| since.plus(HELD_LIMIT)).min();
        let candidate = match (self.status.set(Role::Candidate), &self.status.candidate) {
            (Some(set), Some(progress)) => {
                let plan = &set.release.config.rollout;
                match progress.phase {
                    Phase::Starting | Phase::Progressing { .. } => {
                        Some(progress.progress_at.plus(plan.progress_deadline))
                    }
                    Phase::Gate => plan.gate.hold.map(|hold| progress.since.plus(hold)),
                    Phase::Pausing { batch } => Some(progress.since.plus(plan.pause(batch).unwrap_or_default())),
                }
            }
            _ => None,
        };
        [held, candidate].into_iter().flatten().filter(|at| *at > self.now).min()
    }

    fn of<'b>(&'b self, release: &'b ReleaseId) -> impl Iterator<Item = &'b ObservedInstance> {
        self.observed.instances.iter().filter(move |instance| instance.release == *release)
    }

    fn available(&self, release: &ReleaseId) -> u32 {
        count(self.of(release).filter(|instance| instance.available()))
    }

    fn identities(&self, release: &ReleaseId) -> Vec<(crate::ids::InstanceId, u32)> {
        let mut list: Vec<_> = self
            .of(release)
            .filter(|instance| instance.available())
            .map(|instance| (instance.id.clone(), instance.restarts))
            .collect();
        list.sort();
        list
    }

    /// Instances of other releases than the candidate that run and are not yet on their way out.
    fn old_running(&self) -> u32 {
        let candidate = self.status.set(Role::Candidate).map(|set| &set.release.id);
        count(self.observed.instances.iter().filter(|instance| {
            Some(&instance.release) != candidate
                && !matches!(instance.phase, InstancePhase::Draining | InstancePhase::Held)
        }))
    }

    /// Instances of defunct sets that still exist; those held for inspection are not in anybody's way.
    fn leftovers(&self) -> u32 {
        let defunct = |release: &ReleaseId| {
            self.status.sets.iter().any(|set| set.role == Role::Defunct && set.release.id == *release)
        };
        count(
            self.observed
                .instances
                .iter()
                .filter(|instance| instance.phase != InstancePhase::Held && defunct(&instance.release)),
        )
    }
}

impl Origin {
    /// Whether a release of this kind lets a predecessor's instances drain before it starts.
    fn waits_for_drain(&self) -> bool {
        !matches!(self, Origin::Rollback { .. })
    }
}

fn count<'a>(instances: impl Iterator<Item = &'a ObservedInstance>) -> u32 {
    u32::try_from(instances.count()).unwrap_or(u32::MAX)
}
