//! The operator: what the rollout machine decides, on Kubernetes.
//!
//! Data flow: watches → [`views`] → [`observe`] → `barge_model::rollout::step` → [`change`] → [`apply`], with what [`build`] makes of a release;
//! [`reconcile`] is all of it for one service, [`run`] for all of them. `ask` hears from barge-init what Kubernetes cannot know. [`names`]
//! are the labels and annotations by which everything is found again. `observe`, `change` and `build` are pure. [`adopt`] is the way from a
//! Deployment that was there before to a service in its place.
//!
//! [`events`] are what people are told of it. Which replica works, `barge-lease` says.
//!
//! It leaves out registration: who is online, the pods' condition says, which the registrar sets.

pub mod adopt;
pub mod apply;
mod ask;
pub mod build;
pub mod change;
pub mod events;
pub mod kept;
pub mod observe;
pub mod reconcile;
pub mod run;
mod status;
pub mod views;

pub use barge_crds::names;
pub use run::{Operator, run};
