//! The kill matrix: releases under load, and a SIGKILL at every transition of the rollout and registration machines.
//!
//! A transition is a store: the machines store before they act, so every one of them shows as a file that is replaced. The points are
//! therefore counted in a run without faults, never picked by hand, and a new transition is covered by itself. `cargo xtask chaos` tries
//! every point with every victim; the tests try a few. A run in which nobody was killed proves nothing, and is not counted as one.

mod story;

use std::sync::OnceLock;

use story::{Story, Tale, is_behind};

use crate::points::Acted;
use crate::stage::Victim;

/// At least so many transitions has a tale.
fn least(tale: Tale) -> usize {
    match tale {
        Tale::ThereAndBack => 40,
        Tale::NeverThere => 10,
    }
}

/// Every how many points the tests try one; `cargo xtask chaos` tries all.
fn stride(tale: Tale) -> usize {
    let all = std::env::var_os("BARGE_CHAOS").is_some_and(|value| value == "all");
    match tale {
        _ if all => 1,
        Tale::ThereAndBack => 20,
        Tale::NeverThere => 8,
    }
}

/// The one point that `cargo xtask chaos --point` asks for, to see again what happened there.
fn wanted_point() -> Option<usize> {
    std::env::var("BARGE_CHAOS_POINT").ok().map(|point| point.parse().expect("a number"))
}

/// The transitions of a run without faults, counted once for all who are killed in the same surroundings.
fn transitions(victim: Victim, tale: Tale) -> usize {
    static COUNTED: [OnceLock<usize>; 4] = [const { OnceLock::new() }; 4];
    let at = 2 * usize::from(is_behind(victim)) + usize::from(tale == Tale::NeverThere);
    let total = *COUNTED[at].get_or_init(|| Story::begin(victim).play(tale, None).transitions);
    assert!(total >= least(tale), "only {total} transitions were seen; what stores them?");
    total
}

/// In so many of the runs somebody has to be killed. Commands come and go, and an instance may be about to end by itself.
fn kills(victim: Victim, runs: usize) -> usize {
    let needed = match victim {
        Victim::Platform | Victim::PlatformAlone | Victim::Gateway => runs,
        Victim::Init | Victim::Instance => runs - runs / 4,
        Victim::CommandLine => runs / 3,
    };
    needed.max(1)
}

fn check(victim: Victim, tale: Tale, offset: usize) {
    let (total, stride) = (transitions(victim, tale), stride(tale));
    let (mut runs, mut killed) = (0, 0);
    let points = match wanted_point() {
        Some(point) => vec![point],
        None => (offset % stride..total).step_by(stride).collect(),
    };
    for point in points {
        let said = format!("{tale:?}, transition {point} of {total}");
        match Story::begin(victim).play(tale, Some((victim, point))).acted {
            // Two stores of one run may be a single one in another, so the last points may not come.
            None => assert!(point * 4 >= total * 3, "{said}: it did not come, and nobody was killed"),
            Some(Acted { stored, killed: pid }) => {
                (runs, killed) = (runs + 1, killed + usize::from(pid.is_some()));
                let what = if pid.is_some() { "killed" } else { "was not there to be killed" };
                eprintln!("{said} ({stored}): {victim} {what}");
            }
        }
    }
    let needed = kills(victim, runs);
    assert!(killed >= needed, "{tale:?}: {victim} was killed in {killed} of {runs} runs, instead of {needed}");
}

#[test]
fn the_platform_is_killed_at_every_transition() {
    check(Victim::Platform, Tale::ThereAndBack, 1);
}

#[test]
fn a_barge_init_is_killed_at_every_transition() {
    check(Victim::Init, Tale::ThereAndBack, 3);
}

#[test]
fn an_instance_is_killed_at_every_transition() {
    check(Victim::Instance, Tale::ThereAndBack, 5);
}

#[test]
fn the_platform_behind_a_gateway_is_killed_at_every_transition() {
    check(Victim::PlatformAlone, Tale::ThereAndBack, 11);
}

#[test]
fn the_gateway_is_killed_at_every_transition() {
    check(Victim::Gateway, Tale::ThereAndBack, 9);
}

#[test]
fn the_command_line_is_killed_at_every_transition() {
    check(Victim::CommandLine, Tale::ThereAndBack, 7);
}

#[test]
fn the_platform_is_killed_at_every_transition_of_an_abort() {
    check(Victim::Platform, Tale::NeverThere, 4);
}

#[test]
fn a_barge_init_is_killed_at_every_transition_of_an_abort() {
    check(Victim::Init, Tale::NeverThere, 3);
}

#[test]
fn an_instance_is_killed_at_every_transition_of_an_abort() {
    check(Victim::Instance, Tale::NeverThere, 5);
}

#[test]
fn the_platform_behind_a_gateway_is_killed_at_every_transition_of_an_abort() {
    check(Victim::PlatformAlone, Tale::NeverThere, 6);
}

#[test]
fn the_gateway_is_killed_at_every_transition_of_an_abort() {
    check(Victim::Gateway, Tale::NeverThere, 7);
}

#[test]
fn the_command_line_is_killed_at_every_transition_of_an_abort() {
    check(Victim::CommandLine, Tale::NeverThere, 1);
}
