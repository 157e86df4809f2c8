//! Approvals: a positive record for one release and its digest, at its gate.

use super::{after_first, story};

#[test]
fn an_approval_is_for_the_digest_that_somebody_looked_at() {
    after_first(
        "release B
         settle
         approve 2 digest=C | 422 invalid: the digest sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc is not the one of release 2, which has sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
         look               | stable 1 x2, candidate 2 x1, at the gate; 2 wanted
         approve 2 digest=B | release 2 is approved; the remaining instances follow",
    );
}

#[test]
fn nothing_is_approved_before_its_first_instance_is_available() {
    after_first(
        "release B
         approve 2 | 409 not_at_gate: release 2 of test/greeter is not at its gate: it has not begun yet
         start
         approve 2 | 409 not_at_gate: release 2 of test/greeter is not at its gate: its first instance is not available yet
         settle
         approve 2 | release 2 is approved; the remaining instances follow",
    );
}

#[test]
fn an_approval_may_come_before_the_observation_is_over() {
    after_first(
        "release B gate=1h
         settle
         approve 2 | release 2 is approved; the remaining instances follow
         settle
         look      | stable 1 x2, candidate 2 x1, at the gate; 2 wanted",
    );
}

#[test]
fn a_repeated_approval_is_an_answer_and_no_second_record() {
    after_first(
        "release B
         settle
         approve 2 | release 2 is approved; the remaining instances follow
         approve 2 | release 2 was approved by ann already
         settle
         look      | stable 2 x2; 2 wanted
         approve 2 | release 2 was approved by ann already",
    );
}

#[test]
fn an_approved_release_that_was_taken_back_is_not_approved_again() {
    after_first(
        "release B
         settle
         approve 2
         abort 2
         approve 2 | 409 release_ended: release 2 of test/greeter has ended: it is not on its way any more
         settle
         approve 2 | 409 release_ended: release 2 of test/greeter has ended: it was aborted",
    );
}

#[test]
fn a_release_without_a_gate_has_nothing_to_approve_once_it_is_complete() {
    after_first(
        "release B gate=open
         settle
         look      | stable 2 x2; 2 wanted
         approve 2 | 409 release_ended: release 2 of test/greeter has ended: it is complete",
    );
}

#[test]
fn an_approval_of_an_unknown_release_is_refused() {
    after_first("approve 7 | 404 not_found: there is no release 00000000000000000000000000 of test/greeter");
    story("approve 1 | 404 not_found: test/greeter was never released");
}

#[test]
fn a_release_that_has_given_way_to_a_later_one_is_not_approved_again() {
    after_first(
        "release B
         settle
         approve 2
         settle
         look      | stable 2 x2; 2 wanted
         approve 1 | 409 release_ended: release 1 of test/greeter has ended: it is complete",
    );
}

#[test]
fn an_environment_may_ask_for_a_person_whatever_the_plan_leaves_out() {
    after_first(
        "asks approval
         release B gate=open
         settle
         look      | stable 1 x2, candidate 2 x1, at the gate; 2 wanted
         approve 2 | release 2 is approved; the remaining instances follow",
    );
}

#[test]
fn an_environment_may_ask_for_another_person() {
    after_first(
        "asks second-person
         release B gate=open
         settle
         look      | stable 1 x2, candidate 2 x1, at the gate; 2 wanted
         approve 2 | 403 second_person_needed: release 2 of test/greeter was made by ann: here another person has to approve it
         look      | stable 1 x2, candidate 2 x1, at the gate; 2 wanted
         bob
         approve 2 | release 2 is approved; the remaining instances follow",
    );
}
