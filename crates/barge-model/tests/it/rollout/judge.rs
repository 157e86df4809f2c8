//! Says whether what happened in the world was allowed. It counts instances; what the machine thinks of itself does not matter.

use super::fixtures::{Catalogue, Wish};
use super::world::{Effect, Instance, World};
use barge_model::rollout::{InstancePhase, Outcome};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) what: String,
}

fn violated(invariant: &'static str, what: impl Into<String>) -> Result<(), Violation> {
    Err(Violation { invariant, what: what.into() })
}

/// On which grounds an action was decided.
#[derive(Debug, Clone)]
pub(crate) struct Grounds {
    pub(crate) wish: Wish,
    /// The registrar was seen to be down.
    pub(crate) frozen: bool,
    /// Available instances that were lost or won since the observation: nobody could know.
    pub(crate) hidden: u32,
    /// Instances of any kind that were lost since; they may be replaced even where a scaling down is still under way.
    pub(crate) vanished: u32,
}

/// Judges the effects of one action of the engine.
pub(crate) fn effects(
    catalogue: &Catalogue,
    grounds: &Grounds,
    after: &World,
    effects: &[Effect],
) -> Result<(), Violation> {
    let plan = catalogue.plan();
    let replicas = grounds.wish.replicas;
    let made = u32::try_from(effects.iter().filter(|e| matches!(e, Effect::Created { .. })).count()).unwrap();
    let serving = |effect: &&Effect| matches!(effect, Effect::Drained { available: true, .. });
    let drained = u32::try_from(effects.iter().filter(serving).count()).unwrap();
    for effect in effects {
        match *effect {
            Effect::Created { release } => {
                let live = after.count(Instance::live);
                let limit = replicas + plan.surge(replicas);
                if live > limit && made > grounds.vanished {
                    violated("I3", format!("{live} instances run, {limit} are allowed"))?;
                }
                created(catalogue, grounds, after, release)?;
            }
            Effect::Drained { release, available, held } => {
                if grounds.frozen {
                    violated("R5", format!("an instance of {release} was stopped while the registrar was down"))?;
                }
                if held {
                    held_let_go(&grounds.wish, after, release)?;
                }
                if available {
                    let floor = replicas.saturating_sub(plan.unavailable(replicas));
                    let left = after.available();
                    let missing = left + grounds.hidden < floor && after.last_promoted(catalogue).is_some();
                    // Where the engine saw everything, nothing that serves is stopped below the limit, held it before or not.
                    if missing && (grounds.hidden == 0 || left + drained >= floor) {
                        violated("I2", format!("{left} are available, {floor} are needed"))?;
                    }
                    gate_untouched(catalogue, grounds, after, release)?;
                }
            }
        }
    }
    state(catalogue, after)
}

/// Judges what exists, whoever made it so.
pub(crate) fn state(catalogue: &Catalogue, world: &World) -> Result<(), Violation> {
    for release in 0..catalogue.releases.len() {
        let plan = &catalogue.releases[release].config.rollout;
        if world.wish.is_approved(release) || plan.gate.until.is_none() {
            continue;
        }
        let exist = world.count(|i| i.release == release && i.phase != InstancePhase::Draining);
        if exist > plan.first_batch {
            violated("I1", format!("{exist} instances of {release} exist, which nobody has approved"))?;
        }
    }
    Ok(())
}

fn created(catalogue: &Catalogue, grounds: &Grounds, after: &World, release: usize) -> Result<(), Violation> {
    if after.promoted(catalogue, release) {
        return Ok(());
    }
    if matches!(after.outcome(catalogue, release), Some(Outcome::Failed { .. })) {
        return violated("I7", format!("{release} has failed and was started again"));
    }
    if grounds.wish.taken_back(release) {
        return violated("I6", format!("an instance of {release} was made, which was taken back"));
    }
    // What drains and never had traffic is in nobody's way; that includes what was held.
    let another = after.instances.iter().find(|instance| {
        instance.release != release
            && (instance.live() || instance.phase == InstancePhase::Draining && instance.online)
            && !after.promoted(catalogue, instance.release)
    });
    if let Some(another) = another.filter(|_| !catalogue.is_rollback(release)) {
        return violated("I4", format!("{release} was started while {} was still there", another.release));
    }
    Ok(())
}

/// A held instance stays until somebody takes the release back; one of several is enough.
fn held_let_go(wish: &Wish, after: &World, release: usize) -> Result<(), Violation> {
    let left = after.count(|instance| instance.release == release && instance.phase == InstancePhase::Held);
    if left == 0 && !wish.taken_back(release) {
        return violated("I7", format!("the held instance of {release} was not kept"));
    }
    Ok(())
}

/// Until its approval a candidate that nobody took back keeps what it has: scaling changes stable alone.
fn gate_untouched(catalogue: &Catalogue, grounds: &Grounds, after: &World, release: usize) -> Result<(), Violation> {
    let waiting = !grounds.wish.is_approved(release)
        && !grounds.wish.taken_back(release)
        && after.outcome(catalogue, release).is_none();
    let first = catalogue.releases[release].config.rollout.first_batch;
    if waiting && grounds.wish.replicas >= first {
        return violated("I6", format!("the observed instance of {release} was stopped"));
    }
    Ok(())
}

/// Judges where everything has come to rest.
pub(crate) fn rest(catalogue: &Catalogue, world: &World) -> Result<(), Violation> {
    let replicas = world.wish.replicas;
    let stable = world.last_promoted(catalogue);
    let waits = world
        .wish
        .target
        .filter(|target| world.outcome(catalogue, *target).is_none() && !world.wish.taken_back(*target));
    if let Some(target) = waits {
        if world.wish.is_approved(target) {
            return violated("I8", format!("{target} is approved and does not go on"));
        }
        let first = catalogue.releases[target].config.rollout.first(replicas);
        // Fewer than the first batch where there was less to do when it began: at the gate it does not grow.
        if !(1..=first).contains(&world.available_of(target)) {
            return violated("I8", format!("{target} should wait with {first} available instances"));
        }
    }
    for instance in &world.instances {
        let belongs = Some(instance.release) == stable || Some(instance.release) == waits;
        if instance.phase != InstancePhase::Held && !belongs {
            return violated("I5", format!("an instance of {} is left over", instance.release));
        }
    }
    let held = world.count(|instance| instance.phase == InstancePhase::Held);
    if held > 1 {
        return violated("I3", format!("{held} instances are held"));
    }
    let floor = replicas.saturating_sub(catalogue.plan().unavailable(replicas));
    let available = stable.map_or(replicas, |stable| world.available_of(stable));
    match waits {
        Some(target) if stable.is_some() && available + world.available_of(target) < floor => {
            violated("I2", format!("{available} stable instances are available at the gate"))
        }
        None if available != replicas => violated("I5", format!("stable has {available} instances of {replicas}")),
        _ => Ok(()),
    }
}
