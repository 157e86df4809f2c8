//! Forward: a new release, the approval that lets it go on, the abort that ends it.

use barge_api::{GatePolicy, NewRelease};
use barge_model::release::check_image;
use barge_model::rollout::{Phase, Role, Until, Withdrawal};
use barge_model::{Digest, Origin, ReleaseId};

use super::history::failed;
use super::scale::in_words;
use super::{Change, Refusal, Situation};
use crate::store::StoredRelease;

impl Situation<'_> {
    pub(super) fn release(&self, mut new: NewRelease) -> Result<Change, Refusal> {
        if self.gate != GatePolicy::Plan {
            // What the plan leaves out, the environment asks for.
            new.config.rollout.gate.until = Some(Until::Approved);
        }
        new.config.check().map_err(|error| Refusal::Config(error.to_string()))?;
        check_image(&new.image).map_err(|error| Refusal::Config(error.to_string()))?;
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
        let release = self.new_release(new, Origin::Deploy);
        let mut count = String::new();
        if let Some(replicas) = self.newly_wanted(&release.config, self.next_number()) {
            if !self.approval_decides_count(&release.config) {
                service.replicas = replicas;
            } else if replicas != service.replicas {
                count = format!("; {}, once it is approved", in_words(service.replicas, replicas));
            }
        }
        Ok(self.begin(service, release, None, "release.create", |number| {
            format!("release {number} is on its way{superseded}{count}")
        }))
    }

    pub(super) fn approve(&self, id: &ReleaseId, digest: &Digest) -> Result<Change, Refusal> {
        let stored = self.find(id)?;
        let number = stored.number;
        if *digest != stored.release.digest {
            let (given, stored) = (digest.clone(), stored.release.digest.clone());
            return Err(Refusal::OtherDigest { given, stored, number });
        }
        let ended = self.refuse_ended(stored);
        // The approval of a release that has gone on as approved is only repeated; of one that was taken back, or has given way to
        // another one since, it comes too late.
        let complete = self.status.set(Role::Stable).is_some_and(|set| set.release.id == *id);
        if let Some(approval) = stored.approval.as_ref().filter(|_| ended.is_ok() || complete) {
            let message = format!("release {number} was approved by {} already", approval.by);
            let service = self.existing()?.clone();
            return Ok(self.answer(service, Some(id), message, "release.approve", "again".to_owned()));
        }
        ended?;
        if self.gate == GatePolicy::SecondPerson && stored.release.created_by == self.actor {
            let (key, by) = (self.key.clone(), self.actor.to_owned());
            return Err(Refusal::SecondPerson { key, number, by });
        }
        self.refuse_before_gate(stored)?;
        let mut service = self.next_service();
        let mut message = format!("release {number} is approved; the remaining instances follow");
        if let Some(replicas) = self.newly_wanted(&stored.release.config, number)
            && self.approval_decides_count(&stored.release.config)
            && service.replicas != replicas
        {
            message.push_str("; ");
            message.push_str(&in_words(service.replicas, replicas));
            service.replicas = replicas;
        }
        let mut change = self.answer(service, Some(id), message, "release.approve", String::new());
        change.approval = Some(self.approval(&stored.release));
        Ok(change)
    }

    pub(super) fn abort(&self, id: &ReleaseId, reason: Option<&str>) -> Result<Change, Refusal> {
        let stored = self.find(id)?;
        let number = stored.number;
        let message = if failed(stored) {
            format!("the held instance of release {number} is let go")
        } else {
            self.refuse_ended(stored)?;
            match self.stable() {
                Some(stable) => format!("release {number} is aborted; release {} goes on", stable.number),
                None => format!("release {number} is aborted; nothing runs any more"),
            }
        };
        let mut service = self.next_service();
        service.withdrawn = Some(Withdrawal { release: id.clone(), rolled_back: false });
        Ok(self.answer(service, Some(id), message, "release.abort", reason.unwrap_or_default().to_owned()))
    }

    /// Nobody approves what nobody can have looked at.
    fn refuse_before_gate(&self, stored: &StoredRelease) -> Result<(), Refusal> {
        let candidate = self.status.set(Role::Candidate).is_some_and(|set| set.release.id == stored.release.id);
        let phase = self.status.candidate.as_ref().map(|progress| &progress.phase);
        let why = match (candidate, phase) {
            (false, _) => "it has not begun yet",
            (true, None | Some(Phase::Starting)) => "its first instance is not available yet",
            (true, Some(_)) => return Ok(()),
        };
        Err(Refusal::NotAtGate { key: self.key.clone(), number: stored.number, why })
    }
}
