//! The rules as stories: one request in a line, and after `|` what the caller is told.

mod approvals;
mod going_back;
mod kept;
mod numbers;
mod releases;
mod world;

use world::World;

/// Plays a story line by line; every line that says what it expects is compared.
///
/// `release A [replicas=N] [memory=SIZE] [auto] [supersede]`, `approve N [digest=A]`, `abort N`, `rollback [to N]`, `restart`, `scale N`;
/// `@V` before a request stands for If-Match. `start` lets the engine take one step, `settle` as many as there are; `break` makes every
/// instance fail that starts from now on, `forget` makes the engine lose everything. `look` describes what runs, `kept` names the
/// releases that are stored.
#[track_caller]
fn story(lines: &str) {
    let mut world = World::default();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (step, expected) = line.split_once('|').map_or((line, None), |(step, told)| (step, Some(told.trim())));
        let told = world.play(step.trim());
        match expected {
            Some(expected) => assert_eq!(told, expected, "in the line: {line}\nof the story:{lines}"),
            None => assert!(!is_refusal(&told), "the line {line:?} was refused: {told}\nin the story:{lines}"),
        }
    }
}

/// Plays what everybody begins with: release 1 of `A` with two instances, complete.
#[track_caller]
fn after_first(lines: &str) {
    story(&format!("release A replicas=2\nsettle\napprove 1\nsettle\n{lines}"));
}

/// A refusal begins with its status and code.
fn is_refusal(told: &str) -> bool {
    told.split_once(": ")
        .is_some_and(|(code, _)| ["404 ", "409 ", "412 ", "422 "].iter().any(|status| code.starts_with(status)))
}
