//! Back: to the release that served before, or to the same one with every instance anew. Neither waits for a person again.

use barge_api::NewRelease;
use barge_model::rollout::{Gate, Withdrawal};
use barge_model::{Origin, Release, ReleaseId};

use super::history::{promoted, same_definition};
use super::{Change, Refusal, Situation};
use crate::store::StoredRelease;

impl Situation<'_> {
    pub(super) fn rollback(&self, to: Option<ReleaseId>, reason: Option<String>) -> Result<Change, Refusal> {
        self.existing()?;
        if let Some(already) = self.goes_back_already(to.as_ref()) {
            return Ok(already);
        }
        let nothing = |why| Refusal::NothingToRollBackTo { key: self.key.clone(), why };
        let stable = self.stable();
        // What somebody sees who asks to go back: first the release that is on its way, or has just failed, and only then the one
        // that serves.
        let in_the_way = self.under_way().or(self.failed());
        let goal = match &to {
            Some(id) => Some(self.find(id)?),
            None if in_the_way.is_some() => stable,
            None => stable.and_then(|stable| self.stable_before(stable)),
        };
        let goal = goal.ok_or_else(|| {
            nothing(match in_the_way {
                Some(_) => "no release has served yet; this one can be aborted",
                None => "no earlier release has served",
            })
        })?;
        if !promoted(goal) {
            return Err(nothing("that release never served"));
        }
        if let Some(stable) = stable.filter(|stable| same_definition(&stable.release, &goal.release)) {
            let other = in_the_way.ok_or_else(|| nothing("what serves now is the same"))?;
            return Ok(self.take_back(other, stable, reason));
        }
        let origin = Origin::Rollback { to: goal.release.id.clone() };
        let release = self.again(&goal.release, origin, reason);
        let approval = self.approval(&release);
        let number = goal.number;
        Ok(self.begin(self.next_service(), release, Some(approval), "release.rollback", |new| {
            format!("back to release {number}, as release {new}")
        }))
    }

    pub(super) fn restart(&self, reason: Option<String>) -> Result<Change, Refusal> {
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

    /// A rollback to the same is on its way. Whoever asks for it again wants to be there, and not where it comes from: two people in the
    /// same trouble ask at once, and somebody whose command was interrupted asks twice.
    fn goes_back_already(&self, to: Option<&ReleaseId>) -> Option<Change> {
        let other = self.under_way()?;
        let Origin::Rollback { to: goal } = &other.release.origin else { return None };
        if to.is_some_and(|to| to != goal) {
            return None;
        }
        let service = self.existing().ok()?.clone();
        let message = match self.find(goal) {
            Ok(goal) => format!("release {} goes back to release {} already", other.number, goal.number),
            Err(_) => format!("release {} goes back already", other.number),
        };
        Some(self.answer(service, Some(&other.release.id), message, "release.rollback", "again".to_owned()))
    }

    /// The stable release goes on, without the one that is on its way or has failed.
    fn take_back(&self, other: &StoredRelease, stable: &StoredRelease, reason: Option<String>) -> Change {
        let mut service = self.next_service();
        service.withdrawn = Some(Withdrawal { release: other.release.id.clone(), rolled_back: true });
        let message = format!("release {} is taken back; release {} goes on", other.number, stable.number);
        self.answer(service, Some(&stable.release.id), message, "release.rollback", reason.unwrap_or_default())
    }

    /// The definition of a release that people have approved once, taken again: one instance first, but nobody is waited for.
    fn again(&self, release: &Release, origin: Origin, reason: Option<String>) -> Release {
        let mut config = release.config.clone();
        config.rollout.gate = Gate { until: config.rollout.gate.until, hold: None };
        for batch in &mut config.rollout.batches {
            batch.pause = None;
        }
        let (image, digest) = (release.image.clone(), release.digest.clone());
        self.new_release(NewRelease { image, digest, config, reason, supersede: false }, origin)
    }
}
