//! The rollout machine: which instances of which release should exist, decided purely.
//!
//! Data flow: ([`RolloutSpec`], stored [`RolloutStatus`], [`Observed`], now) -> [`step`] -> [`Decision`]. An engine stores the
//! decision's status first and then carries out its actions, each of which may be repeated or lost without harm.
//!
//! One module for each question: [`plan`] what the release asks for, `state` what is stored, `view` what a step looks at,
//! `mend` what a damaged status means, `step` how a candidate goes on, `sizes` how many instances each set may have, `actions`
//! what the engine has to do, [`waiting`] what people are told.

mod actions;
mod mend;
pub mod plan;
mod sizes;
mod state;
mod step;
mod view;
pub mod waiting;

pub use plan::{Batch, Gate, RolloutPlan, Until};
pub use state::{
    Action, CandidateProgress, Decision, FailureReason, Finished, InstancePhase, InstanceSet, Observed,
    ObservedInstance, Outcome, Phase, RegistrarHealth, Role, RolloutSpec, RolloutStatus, Withdrawal,
};
pub use step::{HELD_LIMIT, STEP_INTERVAL, step};
pub use waiting::WaitingOn;
