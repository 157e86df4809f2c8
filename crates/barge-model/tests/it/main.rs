//! Tests of the model.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod generated;
mod hold;
mod manifest;
mod registration;
mod rollout;
mod runner;
