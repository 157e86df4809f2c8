//! Tests of the server through its API, over a fake engine that carries out real rollout decisions.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod database;
mod document;
mod exec;
mod fuzz;
mod outcomes;
mod problems;
mod releases;
mod repetition;
mod retention;
mod streams;
mod support;
mod together;
mod tokens;
