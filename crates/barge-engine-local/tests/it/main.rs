//! Tests of the local engine with everything that it works with in earnest: processes under barge-init, an OCI registry, the gateway's
//! table and the registrar. Only the server is missing.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adoption;
mod conformance;
mod crashes;
mod exec;
mod logs;
mod obstacles;
mod starts;
mod support;
