//! The operator: what the rollout machine decides, on Kubernetes.
//!
//! Data flow, all of it pure: pods → [`observe`] → `barge_model::rollout::step` → [`change`] → what is to be written, made by [`build`].
//! [`names`] are the labels and annotations by which everything is found again.
//!
//! It leaves out, so far, the loop that reads and writes.

pub mod build;
pub mod change;
pub mod names;
pub mod observe;
