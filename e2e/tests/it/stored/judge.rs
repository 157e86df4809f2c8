//! Judges a sequence of moments as they were stored: by instances, approvals and registrations, and not by what the platform says of
//! itself. `mutants` plants a bug for each rule.
//!
//! | | what is asked of every moment, or of a moment and the next |
//! | --- | --- |
//! | I1 | a release without a stored approval has no more instances than its first batch |
//! | I2 | whoever served is drained only while enough others serve |
//! | I3 | what runs is at most replicas + surge |
//! | I4 | one candidate and one stable set at most, and no instances of two releases that nobody has approved |
//! | I6, I7 | a release that was taken back or has failed gets no further instance, and none of its instances is started again |
//! | I9 | an instance stays one of its release, and a release what it is |
//! | R1 | at the gateway nobody is online who was not ready before, and nobody who was told to stop |
//! | R2 | there nobody who has ended is online, nobody comes back from his end, and no generation gets smaller |
//! | R3 | whatever the gateway knows, the registrar's journal has stored before |
//! | R4 | at the gateway nobody ends whose end the engine has not stored |
//! | R6 | somebody is always online, where there should be anybody |
//!
//! What moments cannot tell: I5 and I8 are about where everything comes to rest, which `crate::judge` looks at; R5 is about a gateway that
//! does not answer, which leaves no trace but requests without an answer, and those the load counts.

use std::collections::{BTreeMap, BTreeSet};

use barge_model::registration::Intent;
use barge_model::rollout::{Outcome, Role, RolloutPlan};
use barge_model::{InstanceId, Release, ReleaseId};

use super::record::{Kept, Look, Seen};
use crate::judge::Judged;

/// The system notes the time of a file in steps of so many milliseconds, at the most.
const CLOCK_STEP: i64 = 20;

/// Judges what was seen. The first moment has to be at rest: its stable release counts as approved, and whoever is online as ready.
pub(crate) fn judge(seen: &Seen) -> Judged {
    let looks = &seen.looks;
    let first = looks.first().ok_or("nothing was seen")?;
    let mut past = Past::begin(first, &seen.ready);
    let mut before = first;
    for (number, now) in looks.iter().enumerate() {
        past.learn(now);
        let judged = moment(&past, now).and_then(|()| step(&past, before, now));
        judged.map_err(|wrong| {
            format!("moment {} of {}: {wrong}\nbefore: {before:#?}\nthen: {now:#?}", number + 1, looks.len())
        })?;
        past.close(now);
        before = now;
    }
    Ok(())
}

/// What earlier moments have shown.
struct Past<'a> {
    approved: BTreeSet<ReleaseId>,
    definitions: BTreeMap<ReleaseId, Release>,
    /// Releases that were taken back or have failed, in an earlier moment.
    over: BTreeSet<ReleaseId>,
    /// The release of each instance, and how often it was started again.
    instances: BTreeMap<InstanceId, (ReleaseId, u32)>,
    /// When each instance was ready for the first time.
    ready: &'a BTreeMap<InstanceId, i64>,
    was_online: BTreeSet<InstanceId>,
}

impl<'a> Past<'a> {
    fn begin(first: &Look, ready: &'a BTreeMap<InstanceId, i64>) -> Self {
        let stable = first.status.sets.iter().filter(|set| set.role == Role::Stable);
        Self {
            approved: stable.map(|set| set.release.id.clone()).collect(),
            definitions: BTreeMap::new(),
            over: BTreeSet::new(),
            instances: BTreeMap::new(),
            ready,
            was_online: online(first).cloned().collect(),
        }
    }

    /// Takes in what a moment may build upon: the engine is told of an approval before anything follows from it.
    fn learn(&mut self, now: &Look) {
        for release in releases(now) {
            self.definitions.entry(release.id.clone()).or_insert_with(|| release.clone());
        }
        for approval in &now.wanted.approvals {
            if self.definitions.get(&approval.release).is_some_and(|release| approval.covers(release)) {
                self.approved.insert(approval.release.clone());
            }
        }
    }

    /// Takes in what the next moment is compared with.
    fn close(&mut self, now: &Look) {
        let ended = now.status.finished.iter().filter(|finished| finished.outcome != Outcome::Promoted);
        self.over.extend(ended.map(|finished| finished.release.clone()));
        for (id, kept) in &now.instances {
            self.instances.insert(id.clone(), (kept.release.clone(), kept.restarts));
        }
        self.was_online.extend(online(now).cloned());
    }

    fn plan_of(&self, release: &ReleaseId) -> RolloutPlan {
        self.definitions.get(release).map(|release| release.config.rollout.clone()).unwrap_or_default()
    }
}

fn releases(look: &Look) -> impl Iterator<Item = &Release> {
    look.wanted.target.iter().chain(look.status.sets.iter().map(|set| &set.release))
}

/// The instances that the gateway asks.
fn online(look: &Look) -> impl Iterator<Item = &InstanceId> {
    look.gateway.iter().filter(|(_, registered)| registered.state == Intent::Online).map(|(id, _)| id)
}

fn is_online(look: &Look, id: &InstanceId) -> bool {
    look.gateway.get(id).is_some_and(|registered| registered.state == Intent::Online)
}

/// Neither on its way out nor kept as a failed start.
fn live(kept: &Kept) -> bool {
    !kept.draining && !kept.held
}

/// How a release goes that is on its way, else the one that serves.
fn plan(past: &Past<'_>, look: &Look) -> RolloutPlan {
    let leading = look.status.set(Role::Candidate).or(look.status.set(Role::Stable));
    leading.map(|set| past.plan_of(&set.release.id)).unwrap_or_default()
}

/// Judges one moment.
fn moment(past: &Past<'_>, now: &Look) -> Judged {
    numbers(past, now)?;
    roles(past, now)?;
    registrations(now)
}

fn numbers(past: &Past<'_>, now: &Look) -> Judged {
    let mut exist: BTreeMap<&ReleaseId, u32> = BTreeMap::new();
    for kept in now.instances.values().filter(|kept| !kept.draining) {
        *exist.entry(&kept.release).or_default() += 1;
    }
    for (release, count) in exist {
        let first = past.plan_of(release).first_batch;
        if count > first && !past.approved.contains(release) {
            return Err(format!("I1: {count} instances of {release}, which nobody has approved"));
        }
    }
    let (live, replicas) = (now.instances.values().filter(|kept| live(kept)).count(), now.wanted.replicas);
    let limit = replicas + plan(past, now).surge(replicas);
    if live > limit as usize {
        return Err(format!("I3: {live} instances run, of at most {limit}"));
    }
    if replicas > 0 && online(now).next().is_none() {
        return Err("R6: nobody is online".to_owned());
    }
    Ok(())
}

fn roles(past: &Past<'_>, now: &Look) -> Judged {
    for role in [Role::Stable, Role::Candidate] {
        let sets = now.status.sets.iter().filter(|set| set.role == role).count();
        if sets > 1 {
            return Err(format!("I4: {sets} sets are {role:?}"));
        }
    }
    let live = now.instances.values().filter(|kept| live(kept)).map(|kept| &kept.release);
    let unapproved: BTreeSet<&ReleaseId> = live.filter(|release| !past.approved.contains(*release)).collect();
    if unapproved.len() > 1 {
        return Err(format!("I4: {unapproved:?} run at the same time, and nobody has approved them"));
    }
    match releases(now).find(|release| past.definitions.get(&release.id) != Some(*release)) {
        Some(changed) => Err(format!("I9: release {} is not what it was", changed.id)),
        None => Ok(()),
    }
}

fn registrations(now: &Look) -> Judged {
    for (id, registered) in &now.gateway {
        let kept = now.instances.get(id);
        if registered.state == Intent::Online {
            let Some(kept) = kept else { return Err(format!("R2: {id} is online and has ended")) };
            if kept.draining && kept.stopping {
                return Err(format!("R1: {id} is online and was told to stop"));
            }
        }
        if registered.state == Intent::Terminal && kept.is_some_and(|kept| !kept.draining) {
            return Err(format!("R4: {id} has ended for the gateway, and not for the engine"));
        }
        let stored = now.journal.get(id).map(|stored| (stored.generation, stored.intent));
        let foreseen = match stored {
            Some((generation, intent)) => {
                generation > registered.generation
                    || generation == registered.generation && intent == Some(registered.state)
            }
            // What is over is forgotten there, once the gateway knows.
            None => registered.state == Intent::Terminal,
        };
        if !foreseen {
            return Err(format!("R3: the gateway has {registered:?} of {id}, and the journal {stored:?}"));
        }
    }
    Ok(())
}

/// Judges what has changed.
fn step(past: &Past<'_>, before: &Look, now: &Look) -> Judged {
    drains(past, before, now)?;
    for (id, kept) in &now.instances {
        let known = past.instances.get(id);
        if known.is_some_and(|(release, _)| *release != kept.release) {
            return Err(format!("I9: {id} was an instance of another release"));
        }
        let restarts = known.map(|(_, restarts)| *restarts);
        if past.over.contains(&kept.release) && restarts.is_none_or(|restarts| restarts < kept.restarts) {
            return Err(format!("I6, I7: {id} was started although its release was taken back or has failed"));
        }
    }
    for id in online(now).filter(|id| !past.was_online.contains(*id)) {
        if past.ready.get(id).is_none_or(|at| *at > now.gateway_at + CLOCK_STEP) {
            return Err(format!("R1: {id} is online, and was ready at {:?}", past.ready.get(id)));
        }
    }
    for (id, earlier) in &before.gateway {
        let Some(later) = now.gateway.get(id) else { continue };
        if earlier.state == Intent::Terminal && later.state != Intent::Terminal {
            return Err(format!("R2: {id} has come back from its end"));
        }
        if later.generation < earlier.generation {
            return Err(format!("R2: {id} went from {earlier:?} back to {later:?}"));
        }
    }
    Ok(())
}

/// I2. An instance that was lost between the two moments may not have been known to be lost.
fn drains(past: &Past<'_>, before: &Look, now: &Look) -> Judged {
    let drained = |(id, kept): &(&InstanceId, &Kept)| {
        kept.draining && is_online(before, id) && before.instances.get(*id).is_some_and(|kept| !kept.draining)
    };
    if !now.instances.iter().any(|one| drained(&one)) {
        return Ok(());
    }
    let serves = |(id, kept): &(&InstanceId, &Kept)| !kept.draining && (is_online(now, id) || is_online(before, id));
    let (left, replicas) = (now.instances.iter().filter(serves).count(), now.wanted.replicas);
    let needed = replicas.saturating_sub(plan(past, now).unavailable(replicas));
    if left < needed as usize {
        return Err(format!("I2: one that served is drained, which leaves {left} of {needed}"));
    }
    Ok(())
}
