//! The kill matrix: releases under load, and a SIGKILL at every transition of the rollout and registration machines.
//!
//! A transition is a store: the machines store before they act, so every one of them shows as a file that is replaced. The points are
//! therefore counted in a run without faults, never picked by hand, and a new transition is covered by itself. `cargo xtask chaos` tries
//! every point with every victim; the tests try a few.

mod story;

use story::Story;

use crate::stage::Victim;

/// At least so many transitions has a release with its approval.
const LEAST: usize = 40;

/// Every how many points the tests try one; `cargo xtask chaos` tries all.
fn stride() -> usize {
    if std::env::var_os("BARGE_CHAOS").is_some_and(|value| value == "all") { 1 } else { 15 }
}

fn check(victim: Victim, offset: usize) {
    let total = Story::begin(victim).play(None).transitions;
    assert!(total >= LEAST, "only {total} transitions were seen; what stores them?");
    for point in (offset % stride()..total).step_by(stride()) {
        let played = Story::begin(victim).play(Some((victim, point)));
        eprintln!("{victim:?} killed at transition {point} of {total} ({})", played.killed_at.unwrap_or_default());
    }
}

#[test]
fn the_platform_is_killed_at_every_transition() {
    check(Victim::Platform, 1);
}

#[test]
fn a_barge_init_is_killed_at_every_transition() {
    check(Victim::Init, 3);
}

#[test]
fn an_instance_is_killed_at_every_transition() {
    check(Victim::Instance, 5);
}

#[test]
fn the_platform_behind_a_gateway_is_killed_at_every_transition() {
    check(Victim::PlatformAlone, 11);
}

#[test]
fn the_gateway_is_killed_at_every_transition() {
    check(Victim::Gateway, 9);
}

#[test]
fn the_command_line_is_killed_at_every_transition() {
    check(Victim::CommandLine, 7);
}
