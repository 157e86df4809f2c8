//! New releases and aborts, in every state.

use super::{after_first, story};

#[test]
fn a_first_release_makes_one_instance_and_waits() {
    story(
        "release A replicas=3 | release 1 is on its way
         settle
         look                 | candidate 1 x1, at the gate; 3 wanted
         approve 1
         settle
         look                 | stable 1 x3; 3 wanted",
    );
}

#[test]
fn a_second_release_is_refused_while_one_is_on_its_way() {
    after_first(
        "release B
         release C | 409 release_under_way: release 2 of test/greeter (ID) is on its way
         settle
         release C | 409 release_under_way: release 2 of test/greeter (ID) is on its way
         approve 2
         release C | 409 release_under_way: release 2 of test/greeter (ID) is on its way
         settle
         release C | release 3 is on its way",
    );
}

#[test]
fn a_release_takes_the_place_of_another_one_when_asked_to() {
    after_first(
        "release B
         settle
         release C supersede | release 3 is on its way, in place of release 2
         settle
         look                | stable 1 x2, candidate 3 x1, at the gate; 2 wanted
         approve 2           | 409 release_ended: release 2 of test/greeter has ended: a newer one took its place
         abort 2             | 409 release_ended: release 2 of test/greeter has ended: a newer one took its place
         approve 3
         settle
         look                | stable 3 x2; 2 wanted
         release D supersede | release 4 is on its way",
    );
}

#[test]
fn a_superseded_release_that_never_began_cannot_go_on_either() {
    after_first(
        "release B
         release C supersede
         approve 2 | 409 release_ended: release 2 of test/greeter has ended: it is not on its way any more
         abort 2   | 409 release_ended: release 2 of test/greeter has ended: it is not on its way any more",
    );
}

#[test]
fn a_failed_or_aborted_release_does_not_block_the_next_one() {
    after_first(
        "break
         release B
         settle
         mend
         release C | release 3 is on its way
         settle
         look      | stable 1 x2, candidate 3 x1, at the gate; 2 wanted
         abort 3
         release D | release 4 is on its way",
    );
}

#[test]
fn a_release_that_is_on_its_way_is_aborted_in_every_phase() {
    let check = |before: &str, after: &str| {
        after_first(&format!(
            "release B
             {before}
             abort 2   | release 2 is aborted; release 1 goes on
             approve 2 | 409 release_ended: release 2 of test/greeter has ended: it is not on its way any more
             abort 2   | 409 release_ended: release 2 of test/greeter has ended: it is not on its way any more
             settle
             abort 2   | 409 release_ended: release 2 of test/greeter has ended: it was aborted
             look      | {after}; 2 wanted"
        ));
    };
    check("look", "stable 1 x2");
    check("start", "stable 1 x2");
    check("settle", "stable 1 x2");
    check("settle\napprove 2", "stable 1 x2");
    check("settle\napprove 2\nstart", "stable 1 x2");
}

#[test]
fn aborting_a_failed_release_lets_go_of_its_held_instance() {
    after_first(
        "break
         release B
         settle
         look      | stable 1 x2, defunct 2 x1; 2 wanted
         approve 2 | 409 release_ended: release 2 of test/greeter has ended: it failed
         abort 2   | the held instance of release 2 is let go
         settle
         look      | stable 1 x2; 2 wanted
         abort 2   | the held instance of release 2 is let go",
    );
}

#[test]
fn an_abort_of_the_first_release_says_that_nothing_is_left() {
    story(
        "release A
         settle
         abort 1 | release 1 is aborted; nothing runs any more
         settle
         look    | ; 1 wanted",
    );
}

#[test]
fn what_is_complete_or_unknown_cannot_be_aborted() {
    after_first(
        "abort 1 | 409 release_ended: release 1 of test/greeter has ended: it is complete
         abort 7 | 404 not_found: there is no release 00000000000000000000000000 of test/greeter",
    );
    story("abort 1 | 404 not_found: test/greeter was never released");
}

#[test]
fn a_configuration_or_image_that_cannot_run_is_refused() {
    let check = |options: &str, why: &str| story(&format!("release A {options} | 422 invalid: {why}"));
    check("replicas=10001", "the configuration cannot be used: replicas is 10001; at most 10000 are allowed");
    check(
        "healthcheck=healthz",
        "the configuration cannot be used: healthcheck \"healthz\" must be a path that starts with '/' and has no spaces",
    );
    let image = "the configuration cannot be used: image must be a registry and a repository in lower case, without a tag or digest, such as 127.0.0.1:7401/greeter";
    check("image=", image);
    check("image=greeter@sha256:1", image);
    check(&format!("image={}", "a".repeat(600)), image);
}

#[test]
fn a_request_for_another_version_than_the_stored_one_is_refused() {
    let refused = |stored: u32, given: u32| {
        format!(
            "412 changed_meanwhile: test/greeter was changed meanwhile: it is at version {stored}, the request was for {given}"
        )
    };
    story(&format!(
        "@1 release A | {}
         @0 release A | release 1 is on its way
         @0 release A | {}
         settle
         @2 approve 1 | {}
         @1 approve 1 | release 1 is approved; the remaining instances follow
         @1 scale 4   | {}
         @2 scale 4   | 1 -> 4 instances",
        refused(0, 1),
        refused(1, 0),
        refused(1, 2),
        refused(2, 1),
    ));
}
