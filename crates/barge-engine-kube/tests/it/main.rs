//! The engine on a real Kubernetes, with an operator in this process and a stand-in for the registrar: whatever is ready is online.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apply;
mod conformance;
mod exec;
mod logs;
mod reports;
mod support;
