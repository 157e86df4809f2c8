//! Tests of barge-init against the real program, with shells as business processes and servers of the tests' own behind the probe.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod checks;
mod children;
mod diagnosis;
mod drain;
mod ending;
mod exec;
mod fuzz;
mod held;
mod helpers;
mod line;
mod log;
mod namespaces;
mod plan;
mod readiness;
mod refusals;
mod registered;
mod settings;
mod socket;
mod status;
mod support;
