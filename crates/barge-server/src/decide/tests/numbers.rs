//! How many instances: scaling, and the number in `barge.yaml`.

use super::{after_first, story};

#[test]
fn any_number_up_to_the_limit_can_be_set() {
    after_first(
        "scale 4        | 2 -> 4 instances
         scale 4        | 4 instances, as before
         scale 1        | 4 -> 1 instance
         scale 0        | 1 -> 0 instances
         settle
         look           | stable 1 x0; 0 wanted
         scale 10000    | 0 -> 10000 instances
         scale 10001    | 422 invalid: replicas is 10001; at most 10000 are allowed
         scale 10000000 | 422 invalid: replicas is 10000000; at most 10000 are allowed",
    );
    story("scale 1 | 404 not_found: test/greeter was never released");
}

#[test]
fn scaling_at_the_gate_changes_the_stable_release_alone() {
    after_first(
        "release B
         settle
         scale 5 | 2 -> 5 instances; release 2 keeps to its first batch until it is approved
         settle
         look    | stable 1 x5, candidate 2 x1, at the gate; 5 wanted",
    );
}

#[test]
fn a_number_that_did_not_change_in_barge_yaml_leaves_what_was_set_by_hand() {
    after_first(
        "scale 7
         release B replicas=2 | release 2 is on its way
         settle
         approve 2            | release 2 is approved; the remaining instances follow
         settle
         look                 | stable 2 x7; 7 wanted
         release C            | release 3 is on its way
         settle
         approve 3
         settle
         look                 | stable 3 x7; 7 wanted",
    );
}

#[test]
fn a_number_that_changed_in_barge_yaml_counts_from_the_approval_on() {
    after_first(
        "release B replicas=5 | release 2 is on its way; 2 -> 5 instances, once it is approved
         settle
         look                 | stable 1 x2, candidate 2 x1, at the gate; 2 wanted
         approve 2            | release 2 is approved; the remaining instances follow; 2 -> 5 instances
         settle
         look                 | stable 2 x5; 5 wanted",
    );
}

#[test]
fn a_smaller_number_takes_no_instance_away_before_the_approval() {
    after_first(
        "scale 20
         release B replicas=1
         settle
         look                 | stable 1 x20, candidate 2 x1, at the gate; 20 wanted
         abort 2
         settle
         look                 | stable 1 x20; 20 wanted",
    );
}

#[test]
fn a_number_that_never_came_into_force_is_still_a_change() {
    after_first(
        "release B replicas=5
         settle
         abort 2
         settle
         release C replicas=5 | release 3 is on its way; 2 -> 5 instances, once it is approved
         settle
         abort 3
         settle
         release D replicas=2 | release 4 is on its way
         settle
         approve 4            | release 4 is approved; the remaining instances follow",
    );
}

#[test]
fn a_release_that_needs_no_approval_brings_its_number_at_once() {
    after_first(
        "release B replicas=5 gate=open | release 2 is on its way
         settle
         look                           | stable 2 x5; 5 wanted
         scale 3
         release C replicas=5 gate=open
         settle
         look                           | stable 3 x3; 3 wanted",
    );
}

#[test]
fn the_first_release_brings_its_number_at_once_and_keeps_what_was_set_meanwhile() {
    story(
        "release A replicas=4
         settle
         scale 2
         approve 1            | release 1 is approved; the remaining instances follow
         settle
         look                 | stable 1 x2; 2 wanted
         release B replicas=4 | release 2 is on its way",
    );
}

#[test]
fn a_rollback_between_two_releases_is_no_change_of_barge_yaml() {
    after_first(
        "release B replicas=5
         settle
         approve 2
         settle
         rollback
         settle
         release C replicas=2 | release 4 is on its way; 5 -> 2 instances, once it is approved
         abort 4
         release D replicas=5 | release 5 is on its way",
    );
}

#[test]
fn a_lost_database_begins_with_what_the_engine_runs_and_beyond_its_version() {
    // The version itself is judged with every step.
    story(
        "ahead 50 3
         release B | release 1 is on its way
         settle
         look      | candidate 1 x1, at the gate; 3 wanted",
    );
    after_first(
        "ahead 50 2
         scale 4 | 2 -> 4 instances
         scale 5 | 4 -> 5 instances",
    );
}
