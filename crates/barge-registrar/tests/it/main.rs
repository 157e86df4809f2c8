//! Tests of the registrar: the invariants R1 to R6 against a target that fails, hangs, forgets and lies, and against the real gateway.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audit;
mod failures;
mod gateway;
mod kubernetes;
mod lifecycle;
mod simulation;
mod support;
mod vanishing;
