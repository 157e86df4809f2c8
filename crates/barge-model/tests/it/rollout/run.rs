//! Runs the machine in a world: a step with all its actions, and a fair run until nothing changes any more.

use std::rc::Rc;

use barge_model::rollout::{Decision, Observed, RolloutSpec, RolloutStatus, WaitingOn};
use barge_model::{Millis, Timestamp};

use super::fixtures::{Catalogue, TICK};
use super::judge::{self, Grounds, Violation};
use super::world::World;

/// The machine, or a broken copy of it.
pub(crate) type Step = fn(&RolloutSpec, &RolloutStatus, &Observed, Timestamp) -> Decision;

pub(crate) fn grounds(world: &World) -> Grounds {
    Grounds { wish: world.wish.clone(), frozen: world.down, hidden: 0, vanished: 0 }
}

/// One step with fresh eyes; the first `actions` of its actions are carried out, and then the reconciler is gone.
pub(crate) fn step_and_crash(
    step: Step,
    catalogue: &Catalogue,
    world: &mut World,
    actions: usize,
) -> Result<WaitingOn, Violation> {
    let decision = step(&world.wish.spec(catalogue), &world.status, &world.observe(catalogue), world.now);
    if decision.status != *world.status {
        world.status = Rc::new(decision.status);
    }
    let grounds = grounds(world);
    for action in decision.actions.iter().take(actions) {
        let effects = world.carry_out(catalogue, action);
        judge::effects(catalogue, &grounds, world, &effects)?;
    }
    Ok(decision.waiting_on)
}

pub(crate) fn step_fully(step: Step, catalogue: &Catalogue, world: &mut World) -> Result<WaitingOn, Violation> {
    step_and_crash(step, catalogue, world, usize::MAX)
}

/// So many rounds must be enough for anything.
const PATIENCE: usize = 300;

/// Everything that can go on goes on, release `stuck` excepted, until nothing changes; then judges the rest.
pub(crate) fn settle(
    step: Step,
    catalogue: &Catalogue,
    world: &mut World,
    stuck: Option<usize>,
) -> Result<WaitingOn, Violation> {
    world.down = false;
    let mut quiet = 0;
    let mut waiting_on = WaitingOn::Nothing;
    for _ in 0..PATIENCE {
        let before = (Rc::clone(&world.status), world.instances.clone());
        waiting_on = step_fully(step, catalogue, world)?;
        let changed = world.everything_goes_on(stuck) || before.0 != world.status || before.1 != world.instances;
        quiet = if changed { 0 } else { quiet + 1 };
        if quiet > 2 {
            judge::rest(catalogue, world)?;
            return Ok(waiting_on);
        }
        // Pauses end; a deadline does not pass in between, because something changes in every round.
        world.now = world.now.plus(if changed { Millis(1) } else { TICK });
    }
    let what = format!("nothing comes to rest; it waits on: {waiting_on}");
    Err(Violation { invariant: "I8", what })
}
