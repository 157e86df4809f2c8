//! Single steps of one registration.

use barge_model::registration::{Answer, Call, Intent, Registration, Want};
use barge_model::{Millis, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn online() -> Registration {
    let mut registration = Registration::default();
    assert!(registration.want(Want::Be(Intent::Online)));
    let call = registration.next_call(NOW).unwrap();
    assert!(registration.answered(call, Answer::Applied, NOW));
    registration
}

#[test]
fn one_call_is_under_way_at_a_time() {
    let mut registration = Registration::default();
    assert_eq!(registration.next_call(NOW), None, "nothing is wanted yet");
    registration.want(Want::Be(Intent::Online));
    let call = registration.next_call(NOW).unwrap();
    assert_eq!(call, Call { generation: 1, state: Intent::Online });
    assert_eq!(registration.next_call(NOW), None);
    registration.want(Want::Be(Intent::Offline));
    assert_eq!(registration.next_call(NOW), None, "the first call is not answered");
    assert!(!registration.answered(call, Answer::Applied, NOW), "the answer is about an intent that has passed");
    assert_eq!(registration.next_call(NOW), Some(Call { generation: 2, state: Intent::Offline }));
}

#[test]
fn offline_is_what_the_target_has_acknowledged_and_nobody_has_changed_since() {
    assert!(Registration::default().offline(), "the target was never told of it");
    let mut registration = online();
    assert!(!registration.offline());
    registration.want(Want::Be(Intent::Offline));
    assert!(!registration.offline(), "nobody has acknowledged it");
    let call = registration.next_call(NOW).unwrap();
    assert!(!registration.offline());
    registration.answered(call, Answer::Applied, NOW);
    assert!(registration.offline());
    registration.want(Want::Be(Intent::Online));
    assert!(!registration.offline(), "it is about to come back");
    registration.want(Want::Be(Intent::Terminal));
    let call = registration.next_call(NOW).unwrap();
    registration.answered(call, Answer::Applied, NOW);
    assert!(registration.offline());
}

#[test]
fn what_changes_nothing_is_not_stored() {
    let mut registration = Registration::default();
    assert!(!registration.want(Want::Keep));
    assert!(!registration.want(Want::Be(Intent::Offline)), "it was never online");
    let mut registration = online();
    assert!(!registration.want(Want::Be(Intent::Online)));
    assert!(registration.want(Want::Be(Intent::Terminal)));
    for intent in [Intent::Online, Intent::Offline, Intent::Terminal] {
        assert!(!registration.want(Want::Be(intent)), "terminal is final");
    }
}

#[test]
fn failed_calls_are_tried_again_ever_more_slowly_up_to_five_seconds() {
    let mut registration = Registration::default();
    registration.want(Want::Be(Intent::Online));
    let mut now = NOW;
    for wait in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
        let call = registration.next_call(now).unwrap();
        registration.answered(call, Answer::Failed, now);
        assert_eq!(registration.next_call(now.plus(Millis(wait - 1))), None, "{wait}");
        now = now.plus(Millis(wait));
    }
    // A clock that is set back by an hour does not silence it.
    let back = Timestamp::from_millis(now.as_millis() - 3_600_000);
    assert!(registration.next_call(back).is_some());
}

#[test]
fn a_late_failure_of_a_call_that_went_through_is_no_failure() {
    let mut registration = online();
    let call = Call { generation: 1, state: Intent::Online };
    assert!(!registration.answered(call, Answer::Failed, NOW));
    assert_eq!(registration.failures, 0, "or a service would be frozen for nothing");
    assert!(registration.online());
}

#[test]
fn a_target_that_holds_a_later_generation_is_overtaken() {
    let mut registration = Registration::default();
    registration.want(Want::Be(Intent::Online));
    let call = registration.next_call(NOW).unwrap();
    assert!(registration.answered(call, Answer::Older { stored: 7, terminal: false }, NOW));
    assert!(!registration.online());
    assert_eq!(registration.next_call(NOW), Some(Call { generation: 8, state: Intent::Online }));
}

#[test]
fn two_that_overtake_each_other_do_so_ever_more_slowly() {
    let mut registration = Registration::default();
    registration.want(Want::Be(Intent::Online));
    let mut now = NOW;
    for (stored, wait) in [(7, 0), (20, 200), (40, 400), (60, 800)] {
        let call = registration.next_call(now).unwrap();
        assert!(call.generation < stored);
        registration.answered(call, Answer::Older { stored, terminal: false }, now);
        let before = Timestamp::from_millis(now.as_millis() + wait - 1);
        assert!(wait == 0 || registration.next_call(before).is_none(), "{stored}");
        now = now.plus(Millis(wait.cast_unsigned()));
    }
    let call = registration.next_call(now).unwrap();
    assert_eq!(call, Call { generation: 61, state: Intent::Online });
    registration.answered(call, Answer::Applied, now);
    assert!(registration.online() && registration.failures == 0);
}

#[test]
fn no_generation_is_too_high_to_be_told() {
    let mut registration = online();
    let call = Call { generation: 1, state: Intent::Online };
    assert!(registration.answered(call, Answer::Older { stored: u64::MAX, terminal: false }, NOW));
    assert!(registration.want(Want::Be(Intent::Offline)));
    assert_eq!(registration.generation, u64::MAX);
}

#[test]
fn a_tombstone_at_the_target_is_final() {
    let mut registration = Registration::default();
    registration.want(Want::Be(Intent::Online));
    let call = registration.next_call(NOW).unwrap();
    registration.answered(call, Answer::Older { stored: 7, terminal: true }, NOW);
    assert!(registration.fenced && registration.terminal() && !registration.online());
    assert!(!registration.want(Want::Be(Intent::Online)));
    assert_eq!(registration.next_call(NOW), None);
}

#[test]
fn the_targets_list_is_compared() {
    // what the target lists -> told again?
    let rows = [
        (Some((1, Intent::Online)), false),
        (Some((1, Intent::Offline)), true),
        (Some((9, Intent::Online)), true),
        (None, true),
    ];
    for (listed, again) in rows {
        let mut registration = online();
        assert_eq!(registration.audited(listed), again, "{listed:?}");
        assert_eq!(registration.next_call(NOW).is_some(), again, "{listed:?}");
        assert_eq!(registration.intent, Some(Intent::Online), "a list changes no intent (R4)");
    }
    let mut ended = online();
    ended.want(Want::Be(Intent::Terminal));
    let call = ended.next_call(NOW).unwrap();
    assert!(!ended.audited(None), "a call is under way");
    ended.answered(call, Answer::Applied, NOW);
    assert!(!ended.audited(None), "what has ended need not be listed");
    assert!(ended.audited(Some((1, Intent::Online))), "but must not be listed as online");
}

#[test]
fn what_was_stored_is_read_without_the_call_that_was_under_way() {
    let mut registration = Registration::default();
    registration.want(Want::Be(Intent::Online));
    registration.next_call(NOW).unwrap();
    let text = serde_json::to_string(&registration).unwrap();
    assert_eq!(
        text,
        r#"{"generation":1,"intent":"online","acknowledged":null,"failures":0,"retry_at":0,"fenced":false}"#
    );
    let mut read: Registration = serde_json::from_str(&text).unwrap();
    assert_eq!(read.next_call(NOW), Some(Call { generation: 1, state: Intent::Online }), "the call is made again");
}
