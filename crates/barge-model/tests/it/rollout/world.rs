//! A world of instances, and a tiny engine that carries out actions in it exactly as the local engine does.

use std::fmt;
use std::rc::Rc;

use barge_model::hold::{Ended, Verdict, verdict};
use barge_model::rollout::{
    Action, Finished, InstancePhase, InstanceSet, Observed, ObservedInstance, Outcome, RegistrarHealth, Role,
    RolloutStatus,
};
use barge_model::{InstanceId, Timestamp};

use super::fixtures::{Catalogue, START, Wish, instance_id};

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Instance {
    pub(crate) serial: u32,
    pub(crate) release: usize,
    pub(crate) phase: InstancePhase,
    pub(crate) online: bool,
    pub(crate) restarts: u32,
}

impl Instance {
    pub(crate) fn available(&self) -> bool {
        self.phase == InstancePhase::Ready && self.online
    }

    pub(crate) fn live(&self) -> bool {
        !matches!(self.phase, InstancePhase::Held | InstancePhase::Draining)
    }

    pub(crate) fn id(&self) -> InstanceId {
        instance_id(self.serial)
    }
}

/// What an action did to the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Created { release: usize },
    Drained { release: usize, available: bool, held: bool },
}

/// Ways in which an engine could be wrong; each is planted once, to see that the judge notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sound,
    /// Starts another instance in the place of a held one.
    ReplacesHeld,
    /// Stops instances that are available before those that are ready and not yet online.
    TakesReadyForAvailable,
    /// Starts an instance of a defunct set in the place of one that was lost.
    GrowsWhatIsDefunct,
    /// Stops what serves before what does not.
    StopsServingFirst,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) wish: Wish,
    pub(crate) status: Rc<RolloutStatus>,
    /// In the order of their making.
    pub(crate) instances: Vec<Instance>,
    /// The registrar is down.
    pub(crate) down: bool,
    pub(crate) now: Timestamp,
    pub(crate) serial: u32,
    pub(crate) engine: Engine,
}

impl World {
    /// Release 0 is stable, with all its instances.
    pub(crate) fn with_stable(catalogue: &Catalogue, replicas: u32) -> Self {
        let mut world = Self::empty(replicas);
        world.wish.target = Some(0);
        world.wish.approve(0);
        let release = catalogue.releases[0].clone();
        let id = release.id.clone();
        world.status = Rc::new(RolloutStatus {
            sets: vec![InstanceSet { release, role: Role::Stable, target: replicas, held_since: None }],
            candidate: None,
            finished: vec![Finished { release: id, outcome: Outcome::Promoted, at: START }],
        });
        for _ in 0..replicas {
            world.create(0);
        }
        for instance in &mut world.instances {
            instance.phase = InstancePhase::Ready;
            instance.online = true;
        }
        world
    }

    /// Nothing was ever released.
    pub(crate) fn empty(replicas: u32) -> Self {
        Self {
            wish: Wish { replicas, ..Wish::default() },
            status: Rc::default(),
            instances: Vec::new(),
            down: false,
            now: START,
            serial: 0,
            engine: Engine::Sound,
        }
    }

    pub(crate) fn observe(&self, catalogue: &Catalogue) -> Observed {
        let seen = |instance: &Instance| ObservedInstance {
            id: instance.id(),
            release: catalogue.id(instance.release).clone(),
            phase: instance.phase,
            restarts: instance.restarts,
            online: instance.online,
        };
        let registrar = match self.down {
            true => RegistrarHealth::Unhealthy { reason: "it is down".to_owned() },
            false => RegistrarHealth::Healthy,
        };
        Observed { instances: self.instances.iter().map(seen).collect(), registrar }
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Instance) -> bool) -> u32 {
        u32::try_from(self.instances.iter().filter(|instance| wanted(instance)).count()).unwrap()
    }

    pub(crate) fn available(&self) -> u32 {
        self.count(Instance::available)
    }

    pub(crate) fn available_of(&self, release: usize) -> u32 {
        self.count(|instance| instance.release == release && instance.available())
    }

    /// How the release ended, if it did.
    pub(crate) fn outcome(&self, catalogue: &Catalogue, release: usize) -> Option<&Outcome> {
        self.status.outcome(catalogue.id(release)).map(|finished| &finished.outcome)
    }

    pub(crate) fn promoted(&self, catalogue: &Catalogue, release: usize) -> bool {
        self.outcome(catalogue, release) == Some(&Outcome::Promoted)
    }

    /// The release that was promoted last.
    pub(crate) fn last_promoted(&self, catalogue: &Catalogue) -> Option<usize> {
        let promoted = self.status.finished.iter().rev().find(|finished| finished.outcome == Outcome::Promoted)?;
        Some(catalogue.number(&promoted.release))
    }

    /// Carries out one action as `barge-engine-local` does.
    pub(crate) fn carry_out(&mut self, catalogue: &Catalogue, action: &Action) -> Vec<Effect> {
        match action {
            Action::Scale { release, target, keep_held } => {
                self.scale(catalogue, catalogue.number(release), *target, *keep_held)
            }
            Action::Stop { instance } => {
                let found = self.instances.iter().position(|candidate| candidate.id() == *instance);
                found.and_then(|index| self.drain(index)).into_iter().collect()
            }
        }
    }

    fn scale(&mut self, catalogue: &Catalogue, release: usize, target: u32, keep_held: u32) -> Vec<Effect> {
        let of_release = |wanted: fn(&Instance) -> bool, world: &Self| -> Vec<usize> {
            let fits = |index: &usize| world.instances[*index].release == release && wanted(&world.instances[*index]);
            (0..world.instances.len()).filter(fits).collect()
        };
        let held = of_release(|instance| instance.phase == InstancePhase::Held, self);
        let mut live = of_release(Instance::live, self);
        let (target, keep_held) = (target as usize, keep_held as usize);
        let mut effects = Vec::new();
        for index in held.iter().skip(keep_held) {
            effects.extend(self.drain(*index));
        }
        let kept = if self.engine == Engine::ReplacesHeld { 0 } else { held.len().min(keep_held) };
        let set = self.status.sets.iter().find(|set| set.release.id == *catalogue.id(release));
        let grows = set.is_some_and(|set| set.role != Role::Defunct) || self.engine == Engine::GrowsWhatIsDefunct;
        if live.len() + kept < target && grows {
            for _ in live.len() + kept..target {
                self.create(release);
                effects.push(Effect::Created { release });
            }
        } else if live.len() > target {
            // Those that are not available go first, then the newest.
            let stays = |instance: &Instance| match self.engine {
                Engine::TakesReadyForAvailable => instance.phase == InstancePhase::Ready,
                Engine::StopsServingFirst => !instance.available(),
                _ => instance.available(),
            };
            live.sort_by_key(|index| {
                let instance = &self.instances[*index];
                (stays(instance), std::cmp::Reverse(instance.serial))
            });
            for index in live.iter().take(live.len() - target) {
                effects.extend(self.drain(*index));
            }
        }
        effects
    }

    fn create(&mut self, release: usize) {
        self.instances.push(Instance {
            serial: self.serial,
            release,
            phase: InstancePhase::Starting,
            online: false,
            restarts: 0,
        });
        self.serial += 1;
    }

    fn drain(&mut self, index: usize) -> Option<Effect> {
        let instance = &mut self.instances[index];
        if instance.phase == InstancePhase::Draining {
            return None;
        }
        let effect = Effect::Drained {
            release: instance.release,
            available: instance.available(),
            held: instance.phase == InstancePhase::Held,
        };
        instance.phase = InstancePhase::Draining;
        Some(effect)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let online = if self.online { " online" } else { "" };
        write!(f, "#{} of {}: {:?}{online}", self.serial, self.release, self.phase)
    }
}

/// Short enough to be read after a failed run.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}, registrar down: {}", self.wish, self.down)?;
        for set in &self.status.sets {
            writeln!(f, "  {:?} {} target {} held since {:?}", set.role, set.release.id, set.target, set.held_since)?;
        }
        if let Some(candidate) = &self.status.candidate {
            writeln!(f, "  {:?} observed {:?}", candidate.phase, candidate.observed)?;
        }
        for finished in &self.status.finished {
            writeln!(f, "  {} {:?}", finished.release, finished.outcome)?;
        }
        writeln!(f, "  {:?}", self.instances)
    }
}

/// What happens to instances by themselves. Each says whether it was possible.
impl World {
    pub(crate) fn get_ready(&mut self, index: usize) -> bool {
        let possible = self.instances[index].phase == InstancePhase::Starting;
        if possible {
            self.instances[index].phase = InstancePhase::Ready;
        }
        possible
    }

    pub(crate) fn get_online(&mut self, index: usize) -> bool {
        let instance = &mut self.instances[index];
        let possible = instance.phase == InstancePhase::Ready && !instance.online && !self.down;
        instance.online |= possible;
        possible
    }

    /// The traffic target takes an instance out although it is ready.
    pub(crate) fn get_offline(&mut self, index: usize) -> bool {
        let possible = self.instances[index].available() && !self.down;
        if possible {
            self.instances[index].online = false;
        }
        possible
    }

    /// The process ends before it was ready, or after.
    pub(crate) fn crash(&mut self, catalogue: &Catalogue, index: usize) -> bool {
        let instance = &self.instances[index];
        let was_ready = match instance.phase {
            InstancePhase::Starting => false,
            InstancePhase::Ready => true,
            _ => return false,
        };
        let set = self.status.sets.iter().find(|set| set.release.id == *catalogue.id(instance.release));
        let role = set.map_or(Role::Defunct, |set| set.role);
        let ended = Ended { role, stopping: false, was_ready, restarts: instance.restarts };
        let instance = &mut self.instances[index];
        instance.online = false;
        match verdict(ended) {
            Verdict::Hold => instance.phase = InstancePhase::Held,
            Verdict::Restart(_) => {
                instance.phase = InstancePhase::BackOff;
                instance.restarts += 1;
            }
            Verdict::Gone => {
                self.instances.remove(index);
            }
        }
        true
    }

    pub(crate) fn restart(&mut self, index: usize) -> bool {
        let possible = self.instances[index].phase == InstancePhase::BackOff;
        if possible {
            self.instances[index].phase = InstancePhase::Starting;
        }
        possible
    }

    /// Its node is lost, or somebody deleted it by force.
    pub(crate) fn lose(&mut self, index: usize) -> bool {
        self.instances.remove(index);
        true
    }

    /// Somebody else takes it out of traffic and ends it.
    pub(crate) fn evict(&mut self, index: usize) -> bool {
        self.drain(index).is_some()
    }

    /// A draining instance has no traffic any more and ends.
    pub(crate) fn end(&mut self, index: usize) -> bool {
        let possible = self.instances[index].phase == InstancePhase::Draining && !self.down;
        if possible {
            self.instances.remove(index);
        }
        possible
    }

    /// Everything goes on by one phase, as long as it belongs to a release that is not `stuck`.
    pub(crate) fn everything_goes_on(&mut self, stuck: Option<usize>) -> bool {
        let mut changed = false;
        for index in (0..self.instances.len()).rev() {
            let may_go_on = stuck != Some(self.instances[index].release);
            changed |= self.end(index)
                || (may_go_on && (self.get_online(index) || self.get_ready(index) || self.restart(index)));
        }
        changed
    }
}
