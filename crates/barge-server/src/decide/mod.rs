//! What a request means for a service: decided purely, from what is stored, what the engine has observed, and the request.
//!
//! Nothing here reads a clock, a database or an engine, so every rule of releases, approvals and rollbacks is a table in the tests.
//! One module for each question: `forward` how a release goes on (make, approve, abort), `back` how to return (roll back, restart),
//! `scale` how many instances, `history` what has been so far, `kept` how much of that stays, `refusal` why not.

mod back;
mod forward;
mod history;
mod kept;
mod refusal;
mod scale;
#[cfg(test)]
mod tests;

use barge_api::{GatePolicy, NewRelease, RolloutAnswer};
use barge_model::rollout::RolloutStatus;
use barge_model::{Approval, Digest, Origin, Release, ReleaseId, ServiceKey, Timestamp};

use crate::retention::Retention;
use crate::store::{StoredRelease, StoredService};

pub(crate) use refusal::Refusal;

/// The longest reason that somebody may give, in characters: the history and the audit hold hundreds of them, and show them all at once.
const MAX_REASON: usize = 4000;

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

impl Request {
    /// Why, where somebody says so.
    fn reason(&self) -> Option<&str> {
        match self {
            Request::Release(new) => new.reason.as_deref(),
            Request::Abort { reason, .. } | Request::Rollback { reason, .. } | Request::Restart { reason } => {
                reason.as_deref()
            }
            Request::Approve { .. } | Request::Scale { .. } => None,
        }
    }
}

/// What is to be written, and what the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) service: StoredService,
    pub(crate) release: Option<(Release, u32)>,
    pub(crate) approval: Option<Approval>,
    /// Releases that are not kept any longer.
    pub(crate) forgotten: Vec<ReleaseId>,
    pub(crate) answer: RolloutAnswer,
    /// The audit's word for it.
    pub(crate) action: &'static str,
    /// The audit's details.
    pub(crate) detail: String,
}

/// Everything that a decision looks at.
#[derive(Debug, Clone)]
pub(crate) struct Situation<'a> {
    pub(crate) key: &'a ServiceKey,
    /// What is stored of the service; nothing before its first release.
    pub(crate) service: Option<StoredService>,
    /// Its releases, newest first.
    pub(crate) releases: Vec<StoredRelease>,
    /// How many of them are kept.
    pub(crate) retention: Retention,
    /// What the engine has decided so far.
    pub(crate) status: &'a RolloutStatus,
    /// What the engine was told last, if anything.
    pub(crate) told: Option<Told>,
    /// Who has to approve releases of the environment.
    pub(crate) gate: GatePolicy,
    /// Who asks.
    pub(crate) actor: &'a str,
    /// The version that the caller has seen, where it says so.
    pub(crate) if_match: Option<u64>,
    pub(crate) now: Timestamp,
    /// For a new id.
    pub(crate) random: u128,
}

/// What an engine was told last. It knows more than the database where that was lost, or restored from a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) version: u64,
    pub(crate) replicas: u32,
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
    let length = request.reason().map_or(0, |reason| reason.chars().count());
    if length > MAX_REASON {
        return Err(Refusal::ReasonTooLong(length));
    }
    let mut change = match request {
        Request::Release(new) => situation.release(*new),
        Request::Approve { release, digest } => situation.approve(&release, &digest),
        Request::Abort { release, reason } => situation.abort(&release, reason.as_deref()),
        Request::Rollback { to, reason } => situation.rollback(to, reason),
        Request::Restart { reason } => situation.restart(reason),
        Request::Scale { replicas } => situation.scale(replicas),
    }?;
    if change.release.is_some() {
        change.forgotten = situation.forgotten();
    }
    Ok(change)
}

impl Situation<'_> {
    /// The service as stored, one version on; beyond what the engine has, which would refuse anything older.
    fn next_service(&self) -> StoredService {
        let replicas = self.told.map_or(1, |told| told.replicas);
        let fresh = || StoredService { key: self.key.clone(), version: 0, replicas, target: None, withdrawn: None };
        let mut service = self.service.clone().unwrap_or_else(fresh);
        service.version = service.version.max(self.told.map_or(0, |told| told.version)) + 1;
        service
    }

    /// A release that somebody makes now.
    fn new_release(&self, new: NewRelease, origin: Origin) -> Release {
        Release {
            id: ReleaseId::from_parts(self.now, self.random),
            image: new.image,
            digest: new.digest,
            config: new.config,
            origin,
            created_at: self.now,
            created_by: self.actor.to_owned(),
            reason: new.reason,
        }
    }

    fn approval(&self, release: &Release) -> Approval {
        Approval {
            release: release.id.clone(),
            digest: release.digest.clone(),
            by: self.actor.to_owned(),
            at: self.now,
        }
    }

    /// The release becomes the one that should run.
    fn begin(
        &self,
        mut service: StoredService,
        release: Release,
        approval: Option<Approval>,
        action: &'static str,
        message: impl FnOnce(u32) -> String,
    ) -> Change {
        let number = self.next_number();
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
        Change { service, release: None, approval: None, forgotten: Vec::new(), answer, action, detail }
    }
}
