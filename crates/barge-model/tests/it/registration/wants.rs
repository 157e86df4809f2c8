//! What a service's instances want, looked at as a whole (R6).

use barge_model::registration::{Candidate, Intent, Want, wants};
use barge_model::{InstanceId, Timestamp};
use proptest::prelude::*;

use crate::runner::runner;

/// `r`eady or `n`ot ready, `e`nding or `d`ead; a capital letter when it is online.
fn instances(letters: &str) -> Vec<Candidate> {
    let candidate = |(number, letter): (u128, char)| Candidate {
        id: InstanceId::from_parts(Timestamp::default(), number),
        ready: letter.eq_ignore_ascii_case(&'r'),
        ending: letter.eq_ignore_ascii_case(&'e'),
        dead: letter.eq_ignore_ascii_case(&'d'),
        online: letter.is_ascii_uppercase(),
    };
    (0..).zip(letters.chars()).map(candidate).collect()
}

/// `+` online, `-` offline, `x` terminal, `.` as it is.
fn wanted(letters: &str) -> String {
    let sign = |want: Want| match want {
        Want::Keep => '.',
        Want::Be(Intent::Online) => '+',
        Want::Be(Intent::Offline) => '-',
        Want::Be(Intent::Terminal) => 'x',
    };
    wants(&instances(letters)).into_iter().map(sign).collect()
}

#[test]
fn an_end_is_believed_at_once_and_a_failed_check_only_while_half_are_well() {
    let rows = [
        ("", ""),
        ("r", "+"),
        ("n", "."),
        ("N", "."),
        ("E", "x"),
        ("D", "-"),
        // One of two that hangs gets no more requests; the other one is the last.
        ("RN", "+-"),
        ("RRN", "++-"),
        ("RRNN", "++--"),
        ("RRNNN", "++..."),
        ("RRRNN", "+++--"),
        ("NNNN", "...."),
        ("RRRe", "+++x"),
        // Those that end do not count as well.
        ("RNEE", "+-xx"),
        ("RNNE", "+..x"),
        // Nor do those that are dead.
        ("RND", "+.-"),
        ("RRRND", "+++--"),
        // What is ready and not online yet serves nobody.
        ("rrrN", "+++."),
    ];
    for (letters, expected) in rows {
        assert_eq!(wanted(letters), expected, "{letters}");
    }
}

/// Not being ready takes only a part of a service offline, and never its last instance.
fn check_r6(wants: fn(&[Candidate]) -> Vec<Want>, instances: &[Candidate]) -> Result<(), TestCaseError> {
    let wanted = wants(instances);
    let serving = |i: &&Candidate| i.online && !i.ending && !i.dead;
    let goes = |(instance, want): &(&Candidate, &Want)| serving(instance) && **want == Want::Be(Intent::Offline);
    let before = instances.iter().filter(serving).count();
    let gone = instances.iter().zip(&wanted).filter(goes).count();
    prop_assert!(gone == 0 || gone < before, "R6: all {before} instances went offline");
    prop_assert!(gone * 2 <= before, "R6: {gone} of {before} went at once");
    for (instance, want) in instances.iter().zip(&wanted) {
        prop_assert!(!instance.ending || *want == Want::Be(Intent::Terminal));
        prop_assert!(*want != Want::Be(Intent::Online) || instance.ready, "R1: online before ready");
    }
    Ok(())
}

fn find(wants: fn(&[Candidate]) -> Vec<Want>) -> Result<(), String> {
    runner(2000)
        .run(&"[rRnNeEdD]{0,12}", |letters| check_r6(wants, &instances(&letters)))
        .map_err(|error| error.to_string())
}

#[test]
fn a_sick_dependency_never_empties_a_service() {
    find(wants).unwrap();
}

#[test]
fn r6_believing_every_failed_check_is_found() {
    let found = find(|instances| {
        let one = |instance: &Candidate| match instance {
            Candidate { ending: true, .. } => Want::Be(Intent::Terminal),
            Candidate { ready: true, .. } => Want::Be(Intent::Online),
            _ => Want::Be(Intent::Offline),
        };
        instances.iter().map(one).collect()
    });
    assert!(found.unwrap_err().contains("R6"));
}
