//! Each rule is broken once on purpose: a check that cannot fail proves nothing.

use barge_model::registration::{Answer, Intent, Registration, Want, wants};

use super::network::find;
use super::{Machine, SOUND};

#[track_caller]
fn check_found(rule: &str, machine: Machine) {
    let found = find(machine, 3000).unwrap_err();
    assert!(found.contains(&format!("{rule} ")), "{found}");
}

#[test]
fn r1_online_before_ready_is_found() {
    let machine = Machine {
        wants: |instances| {
            let mut wants = wants(instances);
            if !instances[0].ending {
                wants[0] = Want::Be(Intent::Online);
            }
            wants
        },
        ..SOUND
    };
    check_found("R1", machine);
}

#[test]
fn r1_a_stop_before_the_target_knows_is_found() {
    let intended =
        |registration: &Registration| registration.terminal() || registration.intent == Some(Intent::Terminal);
    check_found("R1", Machine { terminal: intended, ..SOUND });
}

#[test]
fn r2_a_target_that_takes_any_generation_is_found() {
    check_found("R2", Machine { refuses: |_, _| false, ..SOUND });
}

#[test]
fn r2_an_end_that_is_taken_back_is_found() {
    let machine = Machine {
        want: |registration, want| {
            let ended = registration.intent == Some(Intent::Terminal);
            if ended && want == Want::Be(Intent::Terminal) {
                // It asks itself anew each time whether the instance ends.
                (registration.intent, registration.generation) = (None, registration.generation + 1);
                return true;
            }
            registration.want(want)
        },
        ..SOUND
    };
    check_found("R2", machine);
}

#[test]
fn r2_a_change_without_a_new_generation_is_found() {
    let machine = Machine {
        want: |registration, want| {
            let changed = registration.want(want);
            if changed && registration.generation > 1 {
                registration.generation -= 1;
            }
            changed
        },
        ..SOUND
    };
    check_found("R2", machine);
}

#[test]
fn r3_a_call_before_its_intent_is_stored_is_found() {
    check_found("R3", Machine { stores_late: true, ..SOUND });
}

#[test]
fn r3_a_list_that_nobody_compares_is_found() {
    check_found("R3", Machine { audited: |_, _| false, ..SOUND });
}

#[test]
fn r3_an_older_generation_that_does_not_grow_is_found() {
    let machine = Machine {
        answered: |registration, call, answer, now| match answer {
            Answer::Older { terminal: false, .. } => registration.answered(call, Answer::Failed, now),
            _ => registration.answered(call, answer, now),
        },
        audited: |registration, listed| {
            // After a loss of its journal: it starts at the beginning.
            let told = registration.audited(listed);
            if told {
                *registration = Registration { generation: 1, intent: registration.intent, ..Registration::default() };
            }
            told
        },
        ..SOUND
    };
    let found = find(machine, 3000).unwrap_err();
    assert!(found.contains("R2 ") || found.contains("R3 "), "{found}");
}

#[test]
fn r4_an_instance_that_ends_because_a_list_was_empty_is_found() {
    let machine = Machine {
        audited: |registration, listed| match listed {
            None => registration.want(Want::Be(Intent::Terminal)),
            Some(_) => registration.audited(listed),
        },
        ..SOUND
    };
    check_found("R4", machine);
}

#[test]
fn r5_an_instance_that_goes_because_the_target_is_down_is_found() {
    let machine = Machine {
        answered: |registration, call, answer, now| {
            let changed = registration.answered(call, answer, now);
            if answer == Answer::Failed && registration.failures > 0 {
                registration.intent = Some(Intent::Offline);
            }
            changed
        },
        ..SOUND
    };
    check_found("R5", machine);
}
