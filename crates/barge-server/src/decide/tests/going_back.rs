//! Rollbacks and restarts.

use super::{after_first, story};

/// Releases 1 of `A` and 2 of `B`, complete.
#[track_caller]
fn after_second(lines: &str) {
    after_first(&format!("release B\nsettle\napprove 2\nsettle\n{lines}"));
}

#[test]
fn a_rollback_takes_back_what_is_on_its_way() {
    let check = |before: &str| {
        after_first(&format!(
            "release B
             {before}
             rollback  | release 2 is taken back; release 1 goes on
             approve 2 | 409 release_ended: release 2 of test/greeter has ended: it is not on its way any more
             settle
             look      | stable 1 x2; 2 wanted
             abort 2   | 409 release_ended: release 2 of test/greeter has ended: it was rolled back"
        ));
    };
    check("look");
    check("start");
    check("settle");
    check("settle\napprove 2\nstart");
}

#[test]
fn a_rollback_after_the_end_goes_to_the_release_before_without_waiting() {
    after_second(
        "rollback  | back to release 1, as release 3
         settle
         look      | stable 3 x2; 2 wanted",
    );
}

#[test]
fn rollbacks_without_a_goal_go_to_and_fro_between_the_last_two() {
    after_second(
        "rollback  | back to release 1, as release 3
         settle
         rollback  | back to release 2, as release 4
         settle
         rollback  | back to release 3, as release 5
         settle
         look      | stable 5 x2; 2 wanted",
    );
}

#[test]
fn a_rollback_that_is_asked_for_twice_is_carried_out_once() {
    after_second(
        "rollback      | back to release 1, as release 3
         rollback      | release 3 goes back to release 1 already
         start
         rollback      | release 3 goes back to release 1 already
         rollback to 1 | release 3 goes back to release 1 already
         settle
         look          | stable 3 x2; 2 wanted
         rollback      | back to release 2, as release 4",
    );
}

#[test]
fn a_rollback_on_its_way_can_be_taken_back_by_name() {
    after_second(
        "rollback
         start
         rollback to 2 | release 3 is taken back; release 2 goes on
         settle
         look          | stable 2 x2; 2 wanted
         rollback
         start
         abort 4       | release 4 is aborted; release 2 goes on
         settle
         look          | stable 2 x2; 2 wanted
         break
         rollback
         settle
         look          | stable 2 x2, defunct 5 x1; 2 wanted
         rollback      | release 5 is taken back; release 2 goes on",
    );
}

#[test]
fn a_rollback_right_after_a_failure_is_for_the_failed_release_and_leaves_what_serves() {
    after_second(
        "break
         release C
         settle
         look      | stable 2 x2, defunct 3 x1; 2 wanted
         rollback  | release 3 is taken back; release 2 goes on
         settle
         look      | stable 2 x2; 2 wanted
         mend
         rollback  | back to release 1, as release 4",
    );
}

#[test]
fn a_rollback_to_a_named_release_works_in_every_state() {
    let check = |before: &str| {
        after_second(&format!(
            "release C gate=open
             settle
             release D
             {before}
             rollback to 1 | back to release 1, as release 5
             settle
             look          | stable 5 x2; 2 wanted
             approve 4     | 409 release_ended: release 4 of test/greeter has ended: it was rolled back"
        ));
    };
    check("start");
    check("settle");
    check("settle\napprove 4\nstart");
}

#[test]
fn a_rollback_to_what_serves_takes_back_what_is_on_its_way() {
    after_second(
        "rollback to 2 | 409 nothing_to_roll_back_to: test/greeter has nothing to go back to: what serves now is the same
         release C
         settle
         rollback to 2 | release 3 is taken back; release 2 goes on",
    );
}

#[test]
fn a_rollback_to_an_equal_definition_is_none() {
    after_second(
        "rollback
         settle
         rollback to 1 | 409 nothing_to_roll_back_to: test/greeter has nothing to go back to: what serves now is the same
         restart       | release 3 starts anew, as release 4
         settle
         rollback      | back to release 2, as release 5",
    );
}

#[test]
fn whatever_changes_what_runs_can_be_rolled_back() {
    let check = |before: &str, after: &str| {
        story(&format!(
            "release A gate=open {before}
             settle
             release A gate=open {after}
             settle
             rollback | back to release 1, as release 3"
        ));
    };
    check("colour=red", "colour=blue");
    check("memory=64MiB", "memory=32MiB");
    check("healthcheck=/good", "healthcheck=/bad");
    check("command=./good", "command=./bad");
}

#[test]
fn a_change_of_the_rollout_alone_is_nothing_to_go_back_from() {
    story(
        "release A
         settle
         approve 1
         settle
         release A gate=1h
         settle
         abort 2
         settle
         rollback | 409 nothing_to_roll_back_to: test/greeter has nothing to go back to: no earlier release has served",
    );
}

#[test]
fn there_is_nothing_to_go_back_to_before_a_second_release() {
    let nothing = "409 nothing_to_roll_back_to: test/greeter has nothing to go back to:";
    story("rollback | 404 not_found: test/greeter was never released");
    story("rollback to 1 | 404 not_found: test/greeter was never released");
    story(&format!(
        "release A
         settle
         rollback      | {nothing} no release has served yet; this one can be aborted
         rollback to 1 | {nothing} that release never served
         approve 1
         settle
         rollback      | {nothing} no earlier release has served
         rollback to 9 | 404 not_found: there is no release 00000000000000000000000000 of test/greeter"
    ));
}

#[test]
fn a_rollback_to_a_release_that_never_served_is_refused() {
    let refused = "409 nothing_to_roll_back_to: test/greeter has nothing to go back to: that release never served";
    after_first(&format!(
        "release B
         settle
         abort 2
         settle
         rollback to 2 | {refused}
         break
         release C
         settle
         rollback to 3 | {refused}"
    ));
}

#[test]
fn a_rollback_does_not_change_the_number_of_instances() {
    after_first(
        "release B replicas=5
         settle
         approve 2
         settle
         rollback
         settle
         look      | stable 3 x5; 5 wanted",
    );
}

#[test]
fn an_engine_that_lost_everything_can_be_rolled_back_all_the_same() {
    after_second(
        "forget
         rollback | back to release 1, as release 3
         settle
         look     | stable 3 x2; 2 wanted",
    );
}

#[test]
fn a_restart_is_a_release_of_what_serves_and_waits_for_nobody() {
    after_second(
        "restart | release 2 starts anew, as release 3
         restart | 409 release_under_way: release 3 of test/greeter (ID) is on its way
         settle
         look    | stable 3 x2; 2 wanted
         break
         release C
         settle
         mend
         restart | release 3 starts anew, as release 5",
    );
}

#[test]
fn a_restart_needs_something_that_serves() {
    story("restart | 404 not_found: test/greeter was never released");
    story(
        "release A
         restart | 409 release_under_way: release 1 of test/greeter (ID) is on its way
         abort 1
         restart | 409 nothing_to_restart: test/greeter runs no release that could be started anew",
    );
}
