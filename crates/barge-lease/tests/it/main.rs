//! Leases: the election as a table and by chance, and on a real Kubernetes with replicas that stop in the middle.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod election;
