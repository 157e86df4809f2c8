//! Tests of the `barge` binary: it is run as people run it, against a server that plays a part.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adopt;
mod bad_input;
mod bad_registry;
mod build;
mod cluster;
mod deploy;
mod errors;
mod exec;
mod fake;
mod gateway;
mod help;
mod java;
mod lock;
mod login;
mod operate;
mod statements;
mod support;
