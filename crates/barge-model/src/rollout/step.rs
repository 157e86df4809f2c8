//! One step of the rollout: how a candidate begins, passes its gate, goes on, and ends.

use super::state::{
    CandidateProgress, Decision, FailureReason, Finished, InstancePhase, InstanceSet, Observed, Outcome, Phase, Role,
    RolloutSpec, RolloutStatus,
};
use super::view::{View, plan_of};
use super::{actions, mend, sizes};
use crate::ids::ReleaseId;
use crate::release::{Approval, Origin, Release};
use crate::time::{Millis, Timestamp};

/// How long the held instance of a failed release is kept.
pub const HELD_LIMIT: Millis = Millis::from_secs(24 * 3600);

/// While there is a candidate, a step comes at least so often, and each is noted that long after the one noted before it. So the
/// note is never older than two of these, unless nobody was there to step.
pub const STEP_INTERVAL: Millis = Millis::from_secs(60);

/// How many ended releases the status remembers.
const FINISHED_KEPT: usize = 50;

/// Decides what should happen to a service now.
///
/// Pure: the same arguments give the same answer. The caller stores `Decision::status`, then carries out the actions; a crash
/// between any two of them is harmless, because the next step starts from what is stored and observed.
pub fn step(spec: &RolloutSpec, status: &RolloutStatus, observed: &Observed, now: Timestamp) -> Decision {
    let mut view = View { spec, observed, now, status: status.clone() };
    mend::mend(&mut view.status, now);
    view.end_withdrawn_candidate();
    view.begin_target();
    view.advance_candidate();
    let bounds = sizes::apply(spec, &mut view.status, observed);
    view.let_go_of_held();
    view.drop_empty_sets();
    view.note_step(status);
    let actions = actions::of(&view, bounds);
    let (waiting_on, wake_at) = (view.waiting_on(), view.wake_at());
    Decision { status: view.status, actions, waiting_on, wake_at }
}

impl View<'_> {
    /// An abort, a rollback or a newer target ends the candidate, whatever state it is in (I5).
    fn end_withdrawn_candidate(&mut self) {
        let Some(candidate) = self.status.set(Role::Candidate).map(|set| set.release.id.clone()) else { return };
        let target = self.spec.target.as_ref();
        let outcome = match (self.withdrawn(&candidate), target) {
            (Some(withdrawn), _) => withdrawn,
            (None, Some(target)) if target.id == candidate => return,
            (None, Some(target)) if matches!(target.origin, Origin::Rollback { .. }) => Outcome::RolledBack,
            (None, _) => Outcome::Superseded,
        };
        self.end_candidate(outcome);
    }

    /// How `release` ends, if somebody has taken it back.
    fn withdrawn(&self, release: &ReleaseId) -> Option<Outcome> {
        let withdrawal = self.spec.withdrawn.as_ref().filter(|withdrawal| withdrawal.release == *release)?;
        Some(if withdrawal.rolled_back { Outcome::RolledBack } else { Outcome::Aborted })
    }

    /// The target becomes the candidate, once no other one is in its way.
    fn begin_target(&mut self) {
        let Some(target) = self.spec.target.as_ref() else { return };
        let known = self.status.sets.iter().any(|set| set.release.id == target.id);
        if known || self.status.outcome(&target.id).is_some() || self.status.candidate.is_some() {
            return;
        }
        if let Some(outcome) = self.withdrawn(&target.id) {
            self.finish(target.id.clone(), outcome);
            return;
        }
        // A rollback does not wait for anything of a failing release (I5); any other release lets it drain first (I4).
        if !matches!(target.origin, Origin::Rollback { .. }) && self.leftovers() > 0 {
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
        self.status.candidate = Some(CandidateProgress::starting(self.now));
    }

    fn advance_candidate(&mut self) {
        let Some(release) = self.status.set(Role::Candidate).map(|set| set.release.clone()) else { return };
        let Some(mut progress) = self.status.candidate.clone() else { return };
        // Time in which nothing can be registered is not the release's fault: its deadline counts from the thaw.
        if self.frozen() {
            progress.frozen = true;
            self.status.candidate = Some(progress);
            return;
        }
        if std::mem::take(&mut progress.frozen) {
            progress.progress_at = self.now;
        }
        if let Some(failure) = self.failure(&release, &mut progress) {
            self.end_candidate(Outcome::Failed { failure });
            return;
        }
        // Each pass may open the next phase; the number of phases bounds the passes.
        let passes = 3 + 2 * plan_of(&release).batches.len();
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
        let plan = plan_of(release);
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
        let gate = plan_of(release).gate.clone();
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
        let plan = plan_of(release);
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

    /// Notes that somebody has looked. The status is stored whenever it differs, so this alone makes it differ now and then only.
    fn note_step(&mut self, before: &RolloutStatus) {
        let changed = self.status != *before;
        let Some(progress) = &mut self.status.candidate else { return };
        let noted = progress.stepped_at.is_some_and(|at| self.now.since(at) < STEP_INTERVAL);
        if changed || !noted {
            progress.stepped_at = Some(self.now);
        }
    }

    fn drop_empty_sets(&mut self) {
        let observed = self.observed;
        self.status.sets.retain(|set| {
            let exists = observed.instances.iter().any(|instance| instance.release == set.release.id);
            set.role != Role::Defunct || set.target > 0 || exists
        });
    }
}
