//! Tests of barge-init against the real program, with shells as business processes and servers of the tests' own behind the probe.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod children;
mod drain;
mod ending;
mod held;
mod log;
mod namespaces;
mod plan;
mod readiness;
mod refusals;
mod socket;
mod status;
mod support;
