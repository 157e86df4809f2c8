//! A service that a table of cases acts upon; every action is judged.

use std::rc::Rc;

use barge_model::manifest::Count;

use super::fixtures::{Catalogue, plan};
use super::run::{Step, settle, step_fully};
use super::world::World;

/// A service with a stable release 0, a release 1, and a release 2 that may be a rollback.
pub(crate) struct Scene {
    pub(crate) step: Step,
    pub(crate) catalogue: Catalogue,
    pub(crate) world: World,
    pub(crate) waits: String,
}

impl Scene {
    pub(crate) fn new(step: Step, replicas: u32, rollback: bool) -> Self {
        let plan = plan(Count::Percent(25), Count::Absolute(0), &["1"]);
        let catalogue = Catalogue::new(&plan, &[false, false, rollback]);
        let world = World::with_stable(&catalogue, replicas);
        Self { step, catalogue, world, waits: String::new() }
    }

    pub(crate) fn settle(&mut self) -> &mut Self {
        let waiting_on = settle(self.step, &self.catalogue, &mut self.world, None).unwrap();
        self.waits = waiting_on.to_string();
        self
    }

    pub(crate) fn deploy(&mut self, release: usize) -> &mut Self {
        self.world.wish.target = Some(release);
        if self.catalogue.is_rollback(release) {
            self.world.wish.approve(release);
        }
        self
    }

    pub(crate) fn approve(&mut self) -> &mut Self {
        self.world.wish.approve(self.world.wish.target.unwrap());
        self
    }

    pub(crate) fn take_back(&mut self, rolled_back: bool) -> &mut Self {
        self.world.wish.withdrawn = Some((self.world.wish.target.unwrap(), rolled_back));
        self
    }

    pub(crate) fn scale(&mut self, replicas: u32) -> &mut Self {
        self.world.wish.replicas = replicas;
        self
    }

    pub(crate) fn step(&mut self) -> &mut Self {
        self.waits = step_fully(self.step, &self.catalogue, &mut self.world).unwrap().to_string();
        self
    }

    /// A step, and one phase more for every instance.
    pub(crate) fn round(&mut self) -> &mut Self {
        self.step();
        self.world.everything_goes_on(None);
        self
    }

    /// For what the judge cannot know, because the history that it reads is damaged.
    pub(crate) fn round_without_judge(&mut self) -> &mut Self {
        let spec = self.world.wish.spec(&self.catalogue);
        let observed = self.world.observe(&self.catalogue);
        let decision = (self.step)(&spec, &self.world.status, &observed, self.world.now);
        self.world.status = Rc::new(decision.status);
        for action in &decision.actions {
            self.world.carry_out(&self.catalogue, action);
        }
        self.world.everything_goes_on(None);
        self.world.now = self.world.now.plus(barge_model::Millis(2000));
        self.waits = decision.waiting_on.to_string();
        self
    }

    pub(crate) fn first_of(&self, release: usize) -> usize {
        self.world.instances.iter().position(|instance| instance.release == release).unwrap()
    }

    pub(crate) fn summary(&self) -> String {
        let mut parts = Vec::new();
        for set in &self.world.status.sets {
            let number = self.catalogue.number(&set.release.id);
            let role = format!("{:?}", set.role).to_lowercase();
            parts.push(format!("{number} {role} {}", self.world.available_of(number)));
        }
        format!("{}; {}", parts.join(", "), self.waits)
    }
}
