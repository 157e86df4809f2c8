//! Tests of the conformance suite itself: an engine that follows the pure rollout step passes, and engines that break a rule do not.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod conformance;
mod memory;
