//! What the engine reports and the store remembers, as the API shows it. Pure.

use barge_api::{
    CandidateView, FailureView, InstanceView, ProbeView, ReleaseState, ReleaseView, ServiceStatus, ServiceSummary,
    TimelineView,
};
use barge_engine::{InstanceReport, LimitsReport, ServiceReport};
use barge_model::manifest::Kind;
use barge_model::rollout::{FailureReason, Finished, InstancePhase, Outcome, Role, RolloutStatus, WaitingOn};
use barge_model::{InstanceId, ServiceKey, Timestamp};

use crate::store::{StoredRelease, StoredService};

/// How many ended releases a status shows.
const FINISHED_SHOWN: usize = 10;

/// A service's status. `report` is `None` as long as the engine knows nothing of it.
pub(crate) fn status(
    service: &StoredService,
    report: Option<&ServiceReport>,
    url: Option<String>,
    now: Timestamp,
) -> ServiceStatus {
    let empty = RolloutStatus::default();
    let rollout = report.map_or(&empty, |report| &report.status);
    let waiting_on = report.map_or(WaitingOn::FirstRelease, |report| report.waiting_on.clone());
    let kind = kind(rollout);
    let candidate = rollout.set(Role::Candidate).zip(rollout.candidate.as_ref()).map(|(set, progress)| CandidateView {
        release: set.release.id.clone(),
        digest: set.release.digest.clone(),
        phase: progress.phase.clone(),
        since: progress.since,
    });
    let skip = rollout.finished.len().saturating_sub(FINISHED_SHOWN);
    ServiceStatus {
        service: service.key.service.clone(),
        environment: service.key.environment.clone(),
        kind,
        url: url.filter(|_| kind != Some(Kind::Rpc)),
        replicas: service.replicas,
        available: report.map_or(0, available),
        stable: rollout.set(Role::Stable).map(|set| set.release.id.clone()),
        candidate,
        sentence: waiting_on.sentence(now),
        waiting_on,
        finished: rollout.finished[skip..].to_vec(),
        instances: report.map(instances).unwrap_or_default(),
        version: service.version,
        // A later version is not this one: it comes from a database that was lost, and wants something else.
        settled: report.is_some_and(|report| report.version == service.version),
    }
}

/// A service in a list: as in its status, without making what a list does not show.
pub(crate) fn summary(
    service: &StoredService,
    report: Option<&ServiceReport>,
    url: Option<String>,
    now: Timestamp,
) -> ServiceSummary {
    let rollout = report.map(|report| &report.status);
    let of_role = |role| rollout.and_then(|rollout| rollout.set(role)).map(|set| set.release.id.clone());
    let has_candidate = rollout.is_some_and(|rollout| rollout.candidate.is_some());
    let waiting_on = report.map_or(&WaitingOn::FirstRelease, |report| &report.waiting_on);
    ServiceSummary {
        service: service.key.service.clone(),
        environment: service.key.environment.clone(),
        url: url.filter(|_| rollout.and_then(kind) != Some(Kind::Rpc)),
        replicas: service.replicas,
        available: report.map_or(0, available),
        stable: of_role(Role::Stable),
        candidate: of_role(Role::Candidate).filter(|_| has_candidate),
        sentence: waiting_on.sentence(now),
    }
}

fn kind(rollout: &RolloutStatus) -> Option<Kind> {
    rollout.sets.first().map(|set| set.release.config.kind)
}

/// The instances of a service, oldest first.
pub(crate) fn instances(report: &ServiceReport) -> Vec<InstanceView> {
    let mut list: Vec<InstanceView> = report.instances.iter().map(|one| instance(&report.status, one)).collect();
    list.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    list
}

fn available(report: &ServiceReport) -> u32 {
    let available = |one: &&InstanceReport| one.phase == InstancePhase::Ready && one.online;
    u32::try_from(report.instances.iter().filter(available).count()).unwrap_or(u32::MAX)
}

fn instance(status: &RolloutStatus, report: &InstanceReport) -> InstanceView {
    let set = status.sets.iter().find(|set| set.release.id == report.release);
    InstanceView {
        id: report.id.clone(),
        release: report.release.clone(),
        role: set.map_or(Role::Defunct, |set| set.role),
        phase: report.phase,
        online: report.online,
        address: report.address.clone(),
        restarts: report.restarts,
        created_at: report.created_at,
        reason: report.reason.clone(),
        ended: report.ending.map(barge_model::hold::Ending::in_words),
        probes: report
            .probes
            .iter()
            .map(|probe| ProbeView { at: probe.at, ok: probe.ok, detail: probe.detail.clone(), times: probe.times })
            .collect(),
        timeline: report.timeline.iter().map(|step| TimelineView { at: step.at, what: step.what.clone() }).collect(),
        limits_not_enforced: match &report.limits {
            LimitsReport::NotEnforced { reason } => Some(reason.clone()),
            LimitsReport::NotAsked | LimitsReport::Enforced => None,
        },
    }
}

/// A release. `service` and `rollout` tell where it stands now.
pub(crate) fn release(
    key: &ServiceKey,
    stored: StoredRelease,
    service: &StoredService,
    rollout: &RolloutStatus,
) -> ReleaseView {
    let finished = stored.finished.or_else(|| rollout.outcome(&stored.release.id).cloned());
    let set = rollout.sets.iter().find(|set| set.release.id == stored.release.id);
    let state = match (finished.as_ref().map(|finished| &finished.outcome), set.map(|set| set.role)) {
        (Some(Outcome::Promoted), Some(Role::Stable)) => ReleaseState::Stable,
        (Some(Outcome::Promoted), _) => ReleaseState::Former,
        (Some(Outcome::Aborted), _) => ReleaseState::Aborted,
        (Some(Outcome::Superseded), _) => ReleaseState::Superseded,
        (Some(Outcome::RolledBack), _) => ReleaseState::RolledBack,
        (Some(Outcome::Failed { .. }), _) => ReleaseState::Failed,
        (None, Some(Role::Candidate)) => ReleaseState::Candidate,
        (None, Some(Role::Stable)) => ReleaseState::Stable,
        (None, _) if service.target.as_ref() == Some(&stored.release.id) => ReleaseState::Pending,
        // It never began before the next one came.
        (None, _) => ReleaseState::Superseded,
    };
    let release = stored.release;
    ReleaseView {
        id: release.id,
        number: stored.number,
        service: key.service.clone(),
        environment: key.environment.clone(),
        state,
        image: release.image,
        digest: release.digest,
        config: release.config,
        origin: release.origin,
        created_at: release.created_at,
        created_by: release.created_by,
        reason: release.reason,
        approval: stored.approval,
        finished,
        failure: stored.failure,
    }
}

/// The instance that shows why a release failed.
pub(crate) fn failed_instance(report: &ServiceReport, finished: &Finished) -> Option<InstanceId> {
    let Outcome::Failed { failure } = &finished.outcome else { return None };
    if let FailureReason::StartFailed { instance } = failure {
        return Some(instance.clone());
    }
    let of_release = |one: &&InstanceReport| one.release == finished.release;
    let unavailable = report.instances.iter().filter(of_release).find(|one| !one.online);
    unavailable.or_else(|| report.instances.iter().find(of_release)).map(|one| one.id.clone())
}

/// What is known of a failure, with the failed instance's last lines of output.
pub(crate) fn failure(report: &ServiceReport, finished: &Finished, log: Vec<String>) -> Option<FailureView> {
    let Outcome::Failed { failure } = &finished.outcome else { return None };
    let id = failed_instance(report, finished);
    let one = id.as_ref().and_then(|id| report.instances.iter().find(|one| one.id == *id));
    let summary = match failure {
        FailureReason::StartFailed { instance } => {
            let how = one.and_then(|one| one.ending).map(barge_model::hold::Ending::in_words);
            let why = one.and_then(|one| one.reason.clone());
            let told: Vec<String> = why.into_iter().chain(how).collect();
            format!("instance {} could not start: {}", instance.short(), told.join("; "))
        }
        FailureReason::DeadlineExceeded { available, needed } => {
            format!("no progress before the deadline: {available} of {needed} instances were available")
        }
    };
    Some(FailureView { summary, instance: one.map(|one| instance(&report.status, one)), log })
}
