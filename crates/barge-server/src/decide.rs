//! What a request means for a service: decided purely, from what is stored, what the engine has observed, and the request.
//!
//! Nothing here reads a clock, a database or an engine, so every rule of releases, approvals and rollbacks is a table in the tests.

use barge_api::{NewRelease, RolloutAnswer, code};
use barge_model::manifest::MAX_REPLICAS;
use barge_model::rollout::{Finished, Gate, Outcome, Phase, Role, RolloutStatus, Withdrawal};
use barge_model::{Approval, Digest, Origin, Release, ReleaseId, ServiceKey, Timestamp};

use crate::store::{StoredRelease, StoredService};

/// What somebody asks for.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// A new release.
    Release(Box<NewRelease>),
    /// A release may go on.
    Approve { release: ReleaseId, digest: Digest },
    /// A release should not go on, or a failed one's held instance be let go.
    Abort { release: ReleaseId, reason: Option<String> },
    /// Back to an earlier release.
    Rollback { to: Option<ReleaseId>, reason: Option<String> },
    /// Every instance anew.
    Restart { reason: Option<String> },
    /// Another number of instances.
    Scale { replicas: u32 },
}

/// What is to be written, and what the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) service: StoredService,
    pub(crate) release: Option<(Release, u32)>,
    pub(crate) approval: Option<Approval>,
    pub(crate) answer: RolloutAnswer,
    /// The audit's word for it.
    pub(crate) action: &'static str,
    /// The audit's details.
    pub(crate) detail: String,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0} was never released")]
    UnknownService(ServiceKey),
    #[error("there is no release {release} of {key}")]
    UnknownRelease { key: ServiceKey, release: ReleaseId },
    #[error("{key} was changed meanwhile: it is at version {stored}, the request was for {given}")]
    ChangedMeanwhile { key: ServiceKey, stored: u64, given: u64 },
    #[error("release {number} of {key} ({release}) is on its way")]
    UnderWay { key: ServiceKey, release: ReleaseId, number: u32 },
    #[error("release {number} of {key} has ended: {how}")]
    Ended { key: ServiceKey, number: u32, how: &'static str },
    #[error("release {number} of {key} is not at its gate: {why}")]
    NotAtGate { key: ServiceKey, number: u32, why: &'static str },
    #[error("the digest {given} is not the one of release {number}, which has {stored}")]
    OtherDigest { given: Digest, stored: Digest, number: u32 },
    #[error("{key} has nothing to go back to: {why}")]
    NothingToRollBackTo { key: ServiceKey, why: &'static str },
    #[error("{0} runs no release that could be started anew")]
    NothingToRestart(ServiceKey),
    #[error("replicas is {0}; at most {MAX_REPLICAS} are allowed")]
    TooManyReplicas(u32),
    #[error("the configuration cannot be used: {0}")]
    Config(String),
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
}

impl Refusal {
    /// HTTP status and stable code.
    pub(crate) fn status_and_code(&self) -> (u16, &'static str) {
        match self {
            Refusal::UnknownService(_) | Refusal::UnknownRelease { .. } => (404, code::NOT_FOUND),
            Refusal::ChangedMeanwhile { .. } => (412, code::CHANGED_MEANWHILE),
            Refusal::UnderWay { .. } => (409, code::RELEASE_UNDER_WAY),
            Refusal::Ended { .. } => (409, code::RELEASE_ENDED),
            Refusal::NotAtGate { .. } => (409, code::NOT_AT_GATE),
            Refusal::NothingToRollBackTo { .. } | Refusal::NothingToRestart(_) => (409, code::NOTHING_TO_ROLL_BACK_TO),
            Refusal::OtherDigest { .. } | Refusal::TooManyReplicas(_) | Refusal::Config(_) => (422, code::INVALID),
            Refusal::KeyReused => (422, code::KEY_REUSED),
        }
    }

    /// The command that helps, where one does.
    pub(crate) fn hint(&self) -> Option<String> {
        let on = |verb: &str, key: &ServiceKey| format!("barge {verb} -e {} -m {}", key.environment, key.service);
        match self {
            Refusal::UnderWay { key, .. } => Some(format!(
                "{} to see it, {} to take it back, or deploy again with --supersede",
                on("status", key),
                on("abort", key)
            )),
            Refusal::NotAtGate { key, .. } => Some(on("status --watch", key)),
            Refusal::UnknownRelease { key, .. }
            | Refusal::Ended { key, .. }
            | Refusal::NothingToRollBackTo { key, .. } => Some(on("releases", key)),
            Refusal::ChangedMeanwhile { key, .. } => Some(on("status", key)),
            Refusal::UnknownService(_) | Refusal::NothingToRestart(_) => Some("barge services".to_owned()),
            Refusal::OtherDigest { .. } | Refusal::TooManyReplicas(_) | Refusal::Config(_) | Refusal::KeyReused => None,
        }
    }
}

/// Everything that a decision looks at.
#[derive(Debug, Clone)]
pub(crate) struct Situation<'a> {
    pub(crate) key: &'a ServiceKey,
    /// What is stored of the service; nothing before its first release.
    pub(crate) service: Option<StoredService>,
    /// Its releases, newest first.
    pub(crate) releases: Vec<StoredRelease>,
    /// What the engine has decided so far.
    pub(crate) status: &'a RolloutStatus,
    /// Who asks.
    pub(crate) actor: &'a str,
    /// The version that the caller has seen, where it says so.
    pub(crate) if_match: Option<u64>,
    pub(crate) now: Timestamp,
    /// For a new id.
    pub(crate) random: u128,
}

/// Decides.
pub(crate) fn decide(mut situation: Situation<'_>, request: Request) -> Result<Change, Refusal> {
    // The engine knows of an end a moment before it is stored.
    for stored in &mut situation.releases {
        stored.finished = stored.finished.take().or_else(|| situation.status.outcome(&stored.release.id).cloned());
    }
    if let (Some(given), stored) = (situation.if_match, situation.service.as_ref().map_or(0, |s| s.version))
        && given != stored
    {
        return Err(Refusal::ChangedMeanwhile { key: situation.key.clone(), stored, given });
    }
    match request {
        Request::Release(new) => situation.release(*new),
        Request::Approve { release, digest } => situation.approve(&release, &digest),
        Request::Abort { release, reason } => situation.abort(&release, reason.as_deref()),
        Request::Rollback { to, reason } => situation.rollback(to, reason),
        Request::Restart { reason } => situation.restart(reason),
        Request::Scale { replicas } => situation.scale(replicas),
    }
}

impl Situation<'_> {
    fn release(&self, new: NewRelease) -> Result<Change, Refusal> {
        new.config.check().map_err(|error| Refusal::Config(error.to_string()))?;
        let under_way = self.under_way();
        if let Some(other) = under_way.filter(|_| !new.supersede) {
            return Err(Refusal::UnderWay {
                key: self.key.clone(),
                release: other.release.id.clone(),
                number: other.number,
            });
        }
        let superseded = under_way.map(|other| format!(", in place of release {}", other.number)).unwrap_or_default();
        let mut service = self.next_service();
        // A number that was changed in barge.yaml counts; one that was not leaves what `barge scale` has set.
        let before = self.releases.first().map(|latest| latest.release.config.replicas);
        if let Some(replicas) = new.config.replicas
            && before != Some(Some(replicas))
        {
            service.replicas = replicas;
        }
        let release = self.new_release(new.image, new.digest, new.config, Origin::Deploy, new.reason);
        Ok(self.begin(service, release, None, "release.create", |number| {
            format!("release {number} is on its way{superseded}")
        }))
    }

    fn approve(&self, id: &ReleaseId, digest: &Digest) -> Result<Change, Refusal> {
        let stored = self.find(id)?;
        let number = stored.number;
        if *digest != stored.release.digest {
            let (given, stored) = (digest.clone(), stored.release.digest.clone());
            return Err(Refusal::OtherDigest { given, stored, number });
        }
        let service = self.existing()?;
        if let Some(approval) = &stored.approval {
            let message = format!("release {number} was approved by {} already", approval.by);
            return Ok(self.answer(service.clone(), Some(id), message, "release.approve", String::new()));
        }
        self.refuse_ended(stored)?;
        let candidate = self.status.set(Role::Candidate).is_some_and(|set| set.release.id == *id);
        let phase = self.status.candidate.as_ref().map(|progress| &progress.phase);
        let why = match (candidate, phase) {
            (true, Some(Phase::Starting)) => "its first instance is not available yet",
            (false, _) => "it has not begun yet",
            (true, _) => "",
        };
        if !why.is_empty() {
            return Err(Refusal::NotAtGate { key: self.key.clone(), number, why });
        }
        let message = format!("release {number} is approved; the remaining instances follow");
        let mut change = self.answer(self.next_service(), Some(id), message, "release.approve", String::new());
        change.approval = Some(self.approval(&stored.release));
        Ok(change)
    }

    fn abort(&self, id: &ReleaseId, reason: Option<&str>) -> Result<Change, Refusal> {
        let stored = self.find(id)?;
        let number = stored.number;
        let failed = matches!(stored.finished, Some(Finished { outcome: Outcome::Failed { .. }, .. }));
        if !failed {
            self.refuse_ended(stored)?;
        }
        let mut service = self.next_service();
        service.withdrawn = Some(Withdrawal { release: id.clone(), rolled_back: false });
        let message = if failed {
            format!("the held instance of release {number} is let go")
        } else {
            format!("release {number} is aborted; the stable release goes on")
        };
        Ok(self.answer(service, Some(id), message, "release.abort", reason.unwrap_or_default().to_owned()))
    }

    fn rollback(&self, to: Option<ReleaseId>, reason: Option<String>) -> Result<Change, Refusal> {
        self.existing()?;
        let nothing = |why| Refusal::NothingToRollBackTo { key: self.key.clone(), why };
        let stable = self.stable();
        let goal = match &to {
            Some(id) => Some(self.find(id)?),
            None if self.under_way().is_some() => stable,
            None => self.stable_before(stable),
        };
        let goal = goal.ok_or_else(|| nothing("no earlier release has served"))?;
        if !promoted(goal) {
            return Err(nothing("that release never served"));
        }
        if stable.is_some_and(|stable| stable.release.id == goal.release.id) {
            let Some(candidate) = self.under_way() else { return Err(nothing("that release serves already")) };
            let mut service = self.next_service();
            service.withdrawn = Some(Withdrawal { release: candidate.release.id.clone(), rolled_back: true });
            let message = format!("release {} is taken back; release {} goes on", candidate.number, goal.number);
            let detail = reason.unwrap_or_default();
            return Ok(self.answer(service, Some(&goal.release.id), message, "release.rollback", detail));
        }
        let origin = Origin::Rollback { to: goal.release.id.clone() };
        let release = self.again(&goal.release, origin, reason);
        let approval = self.approval(&release);
        let number = goal.number;
        Ok(self.begin(self.next_service(), release, Some(approval), "release.rollback", |new| {
            format!("back to release {number}, as release {new}")
        }))
    }

    fn restart(&self, reason: Option<String>) -> Result<Change, Refusal> {
        self.existing()?;
        if let Some(other) = self.under_way() {
            let (release, number) = (other.release.id.clone(), other.number);
            return Err(Refusal::UnderWay { key: self.key.clone(), release, number });
        }
        let stable = self.stable().ok_or_else(|| Refusal::NothingToRestart(self.key.clone()))?;
        let origin = Origin::Restart { of: stable.release.id.clone() };
        let release = self.again(&stable.release, origin, reason);
        let approval = self.approval(&release);
        let number = stable.number;
        Ok(self.begin(self.next_service(), release, Some(approval), "service.restart", |new| {
            format!("release {number} starts anew, as release {new}")
        }))
    }

    fn scale(&self, replicas: u32) -> Result<Change, Refusal> {
        if replicas > MAX_REPLICAS {
            return Err(Refusal::TooManyReplicas(replicas));
        }
        let before = self.existing()?.replicas;
        let mut service = self.next_service();
        service.replicas = replicas;
        let message = match self.under_way() {
            Some(_) => {
                format!("{before} -> {replicas} instances; the release on its way keeps its number until its gate")
            }
            None => format!("{before} -> {replicas} instances"),
        };
        Ok(self.answer(service, None, message, "service.scale", format!("{before} -> {replicas}")))
    }

    /// The release that should run and has not ended, one way or the other.
    fn under_way(&self) -> Option<&StoredRelease> {
        let service = self.service.as_ref()?;
        let target = service.target.as_ref()?;
        let withdrawn = service.withdrawn.as_ref().is_some_and(|withdrawn| withdrawn.release == *target);
        let stable = self.status.set(Role::Stable).is_some_and(|set| set.release.id == *target);
        self.releases
            .iter()
            .find(|stored| stored.release.id == *target)
            .filter(|stored| stored.finished.is_none() && !withdrawn && !stable)
    }

    /// The release that serves.
    fn stable(&self) -> Option<&StoredRelease> {
        let id = match self.status.set(Role::Stable) {
            Some(set) => &set.release.id,
            // An engine that has lost everything: what was promoted last.
            None => return self.promoted_by_time().next(),
        };
        self.releases.iter().find(|stored| stored.release.id == *id)
    }

    /// The release that served before `stable`.
    fn stable_before(&self, stable: Option<&StoredRelease>) -> Option<&StoredRelease> {
        let stable = stable?;
        self.promoted_by_time()
            .skip_while(|stored| stored.release.id != stable.release.id)
            .find(|stored| stored.release.id != stable.release.id && !same_definition(&stored.release, &stable.release))
    }

    /// Releases that have served, the latest first.
    fn promoted_by_time(&self) -> impl Iterator<Item = &StoredRelease> {
        let mut list: Vec<&StoredRelease> = self.releases.iter().filter(|stored| promoted(stored)).collect();
        list.sort_by_key(|stored| std::cmp::Reverse((stored.finished.as_ref().map(|f| f.at), stored.number)));
        list.into_iter()
    }

    fn find(&self, id: &ReleaseId) -> Result<&StoredRelease, Refusal> {
        self.existing()?;
        let found = self.releases.iter().find(|stored| stored.release.id == *id);
        found.ok_or_else(|| Refusal::UnknownRelease { key: self.key.clone(), release: id.clone() })
    }

    fn existing(&self) -> Result<&StoredService, Refusal> {
        self.service.as_ref().ok_or_else(|| Refusal::UnknownService(self.key.clone()))
    }

    fn refuse_ended(&self, stored: &StoredRelease) -> Result<(), Refusal> {
        let ended = |how| Err(Refusal::Ended { key: self.key.clone(), number: stored.number, how });
        match stored.finished.as_ref().map(|finished| &finished.outcome) {
            Some(Outcome::Promoted) => ended("it has replaced the one before it"),
            Some(Outcome::Aborted) => ended("it was aborted"),
            Some(Outcome::Superseded) => ended("a newer one took its place"),
            Some(Outcome::RolledBack) => ended("it was rolled back"),
            Some(Outcome::Failed { .. }) => ended("it failed"),
            None if self.under_way().is_none_or(|other| other.release.id != stored.release.id) => {
                ended("it is not on its way any more")
            }
            None => Ok(()),
        }
    }

    /// The service as stored, one version on.
    fn next_service(&self) -> StoredService {
        let fresh = || StoredService { key: self.key.clone(), version: 0, replicas: 1, target: None, withdrawn: None };
        let mut service = self.service.clone().unwrap_or_else(fresh);
        service.version += 1;
        service
    }

    fn new_release(
        &self,
        image: String,
        digest: Digest,
        config: barge_model::manifest::ServiceConfig,
        origin: Origin,
        reason: Option<String>,
    ) -> Release {
        Release {
            id: ReleaseId::from_parts(self.now, self.random),
            image,
            digest,
            config,
            origin,
            created_at: self.now,
            created_by: self.actor.to_owned(),
            reason,
        }
    }

    /// The definition of a release that people have approved once, taken again: one instance first, but nobody is waited for.
    fn again(&self, release: &Release, origin: Origin, reason: Option<String>) -> Release {
        let mut config = release.config.clone();
        config.rollout.gate = Gate { until: config.rollout.gate.until, hold: None };
        for batch in &mut config.rollout.batches {
            batch.pause = None;
        }
        self.new_release(release.image.clone(), release.digest.clone(), config, origin, reason)
    }

    fn approval(&self, release: &Release) -> Approval {
        Approval {
            release: release.id.clone(),
            digest: release.digest.clone(),
            by: self.actor.to_owned(),
            at: self.now,
        }
    }

    fn begin(
        &self,
        mut service: StoredService,
        release: Release,
        approval: Option<Approval>,
        action: &'static str,
        message: impl FnOnce(u32) -> String,
    ) -> Change {
        let number = self.releases.first().map_or(0, |latest| latest.number) + 1;
        service.target = Some(release.id.clone());
        let detail = release.reason.clone().unwrap_or_default();
        let mut change = self.answer(service, Some(&release.id), message(number), action, detail);
        change.release = Some((release, number));
        change.approval = approval;
        change
    }

    fn answer(
        &self,
        service: StoredService,
        release: Option<&ReleaseId>,
        message: String,
        action: &'static str,
        detail: String,
    ) -> Change {
        let answer = RolloutAnswer { release: release.cloned(), message, version: service.version };
        Change { service, release: None, approval: None, answer, action, detail }
    }
}

fn promoted(stored: &StoredRelease) -> bool {
    matches!(stored.finished, Some(Finished { outcome: Outcome::Promoted, .. }))
}

/// Whether going from one release to the other would change anything that runs.
fn same_definition(a: &Release, b: &Release) -> bool {
    a.digest == b.digest && a.config.command == b.config.command && a.config.env == b.config.env
}
