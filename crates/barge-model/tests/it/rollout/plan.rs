//! Tables: batches, percentages, surge, and the one instance that a service may have.

use barge_model::manifest::Count;
use barge_model::rollout::RolloutPlan;

use super::fixtures::plan;

fn with(surge: &str, unavailable: &str, batches: &[&str]) -> RolloutPlan {
    plan(surge.parse().unwrap(), unavailable.parse().unwrap(), batches)
}

#[test]
fn percentages_are_rounded_to_the_side_that_can_do_no_harm() {
    // share, replicas, rounded up, rounded down
    let rows = [
        ("0%", 10, 0, 0),
        ("1%", 1, 1, 0),
        ("1%", 300, 3, 3),
        ("25%", 1, 1, 0),
        ("25%", 3, 1, 0),
        ("25%", 4, 1, 1),
        ("25%", 5, 2, 1),
        ("33%", 3, 1, 0),
        ("50%", 3, 2, 1),
        ("100%", 7, 7, 7),
        ("100%", 0, 0, 0),
        ("3", 1, 3, 3),
        ("25%", u32::MAX, 1_073_741_824, 1_073_741_823),
    ];
    for (share, replicas, up, down) in rows {
        let count: Count = share.parse().unwrap();
        assert_eq!(count.rounded_up(replicas), up, "{share} of {replicas}");
        assert_eq!(count.rounded_down(replicas), down, "{share} of {replicas}");
    }
}

#[test]
fn there_is_always_room_for_progress() {
    // surge, unavailable, replicas -> surge, unavailable
    let rows = [
        ("25%", "0", 1, 1, 0),
        ("25%", "0", 10, 3, 0),
        ("25%", "0", 0, 1, 0),
        ("0", "0", 3, 1, 0),
        ("0", "1", 3, 0, 1),
        ("0", "1", 1, 0, 1),
        // Nothing can be missing from a service of no instances, so a release of it needs room.
        ("0", "1", 0, 1, 1),
        ("0", "25%", 3, 1, 0),
        ("0", "25%", 4, 0, 1),
        ("2", "1", 3, 2, 1),
    ];
    for (surge, unavailable, replicas, expected_surge, expected_unavailable) in rows {
        let plan = with(surge, unavailable, &[]);
        let found = (plan.surge(replicas), plan.unavailable(replicas));
        assert_eq!(found, (expected_surge, expected_unavailable), "{surge} and {unavailable} of {replicas}");
    }
}

#[test]
fn the_first_batch_is_one_instance_at_least_and_never_more_than_there_are() {
    // first_batch, replicas -> first
    for (first_batch, replicas, first) in [(1, 0, 1), (1, 1, 1), (1, 300, 1), (3, 2, 2), (3, 0, 1), (3, 10, 3)] {
        let plan = RolloutPlan { first_batch, ..RolloutPlan::default() };
        assert_eq!(plan.first(replicas), first, "{first_batch} of {replicas}");
    }
}

/// The goals of all batches, with `!` behind the last one.
fn goals(batches: &[&str], replicas: u32) -> String {
    let plan = with("1", "0", batches);
    let mut text = Vec::new();
    for batch in 0..=batches.len() {
        let (goal, last) = plan.goal(batch, replicas);
        text.push(format!("{goal}{}", if last { "!" } else { "" }));
        if last {
            break;
        }
    }
    text.join(" ")
}

#[test]
fn batches_add_up_and_the_last_one_takes_what_is_left() {
    let rows: &[(&[&str], u32, &str)] = &[
        (&[], 10, "10!"),
        (&[], 1, "1!"),
        (&[], 0, "0!"),
        (&["25%"], 10, "4 10!"),
        (&["25%", "50%"], 10, "4 9 10!"),
        (&["25%", "25%", "25%", "25%"], 4, "2 3 4!"),
        (&["3"], 10, "4 10!"),
        (&["100%"], 10, "10!"),
        (&["50%"], 1, "1!"),
        (&["1%"], 2, "2!"),
        (&["1", "1"], 0, "0!"),
        (&["4294967295"], 10, "10!"),
    ];
    for (batches, replicas, expected) in rows {
        assert_eq!(goals(batches, *replicas), *expected, "{batches:?} of {replicas}");
    }
}

#[test]
fn pauses_belong_to_batches_that_are_written() {
    let plan = with("1", "0", &["1"]);
    assert_eq!(plan.pause(0), Some(super::fixtures::TICK));
    assert_eq!(plan.pause(1), None);
}

#[test]
fn a_plan_that_cannot_be_carried_out_is_refused() {
    let fine = RolloutPlan::default();
    assert_eq!(fine.check(), Ok(()));
    let refused = |plan: &RolloutPlan| plan.check().unwrap_err();
    assert_eq!(
        refused(&RolloutPlan { first_batch: 0, ..fine.clone() }),
        "first_batch must be at least 1: somebody has to see the release run"
    );
    assert_eq!(refused(&with("1", "0", &["0"])), "a batch of size 0 would never make progress");
    assert_eq!(refused(&with("1", "0", &["0%"])), "a batch of size 0 would never make progress");
    assert_eq!(refused(&with("1", "0", &["1"; 101])), "batches has more than 100 entries");
    let deadline = RolloutPlan { progress_deadline: barge_model::Millis(0), ..fine };
    assert_eq!(refused(&deadline), "progress_deadline must be longer than 0s");
}
