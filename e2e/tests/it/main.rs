//! Scenarios: one file for each story.

// A scenario fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adoption;
mod api_page;
mod applications;
mod behaviours;
mod chaos;
mod commands;
mod demo;
mod faults;
mod gateway;
mod greedy;
mod java;
mod judge;
mod kubernetes;
mod leaving;
mod misbehaving;
mod points;
mod processes;
mod registry;
mod rights;
mod soak;
mod stage;
mod stored;
mod support;
mod terminal;
mod together;
mod up;
