//! Which releases are kept. `keep` sets how many of the latest, and how many that have served.

use super::story;

#[test]
fn the_latest_releases_stay_and_the_definitions_that_served_last_and_the_first_of_all() {
    story(
        "keep latest=2 served=2
         release A gate=open
         settle
         release B gate=open
         settle
         release C gate=open
         settle
         kept        | 3 2 1
         release D gate=open
         settle
         release E gate=open
         settle
         kept        | 5 4 3 1
         release F gate=open
         kept        | 6 5 4 1
         rollback to 3 | 404 not_found: there is no release 00000000000000000000000000 of test/greeter",
    );
}

#[test]
fn nothing_goes_before_there_are_too_many() {
    story(
        "keep latest=5 served=2
         release A
         abort 1
         settle
         release B
         abort 2
         settle
         release C
         abort 3
         settle
         release D
         abort 4
         settle
         release E
         kept | 5 4 3 2 1
         abort 5
         settle
         release F
         kept | 6 5 4 3 2",
    );
}

#[test]
fn what_has_served_stays_however_many_releases_come_to_nothing() {
    let nothing = "release C gate=open\nsettle\n".repeat(5);
    story(&format!(
        "keep latest=1 served=2
         release A gate=open
         settle
         release B gate=open
         settle
         break
         {nothing}
         mend
         rollback
         rollback | back to release 1, as release 8
         settle
         look     | stable 8 x1; 1 wanted"
    ));
}

#[test]
fn what_served_before_stays_however_often_the_same_is_started_anew() {
    let anew = "restart\nsettle\n".repeat(5);
    story(&format!(
        "keep latest=1 served=2
         release A gate=open
         settle
         release B gate=open
         settle
         {anew}
         kept     | 7 6 2 1
         rollback | back to release 1, as release 8"
    ));
}

#[test]
fn what_runs_stays_whatever_it_is() {
    story(
        "keep latest=1 served=2
         release A gate=open
         settle
         release B
         settle
         release C supersede
         start
         look
         kept     | 3 2 1
         settle
         look     | stable 1 x1, candidate 3 x1, at the gate; 1 wanted
         rollback | release 3 is taken back; release 1 goes on",
    );
}

#[test]
fn a_number_that_was_set_by_hand_outlives_the_release_before_it() {
    let anew = "restart\nsettle\n".repeat(3);
    story(&format!(
        "keep latest=1 served=2
         release A replicas=2 gate=open
         settle
         release B replicas=3 gate=open
         settle
         scale 7
         settle
         {anew}
         release C replicas=3 gate=open
         settle
         look | stable 6 x7; 7 wanted"
    ));
}
