//! Tests of the embedded registry.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod blobs;
mod collect;
mod conformance;
mod fuzz;
mod manifests;
mod peer;
mod referrers;
mod support;
mod uploads;
