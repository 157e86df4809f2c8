//! barge-init beside the programs that others use as PID 1 of a container: what each of them does, and what it costs. Each runs in a PID
//! namespace of its own, with the same business process below it; that needs root and unshare(1).
//!
//! `BARGE_BENCH_IDLE_SECONDS` says how long nothing happens for the CPU figure. A word, `cases` or `figures`, asks for one half.

// A bench fails by panicking, like a test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cases;
mod container;
mod figures;
mod stage;
mod supervisors;
mod systems;

use crate::stage::Programs;
use crate::systems::System;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |half: &str| wanted.is_empty() || wanted.iter().any(|word| word == half);
    let programs = Programs::new();
    let systems = System::available();
    if is_wanted("cases") {
        cases::run(&systems, &programs);
    }
    if is_wanted("figures") {
        figures::run(&systems, &programs);
    }
}
