//! What the table takes and what it refuses.

use std::time::Duration;

use barge_gateway::{Put, PutError, PutState, Table};
use proptest::prelude::*;

use crate::support::{address, key, put, uid, until};

/// A put in short: epoch, generation, state, port.
type Short = (u64, u64, PutState, u16);

fn long((epoch, generation, state, port): Short) -> Put {
    Put { epoch, ..put(address(port), generation, state) }
}

fn check(history: &[Short], next: Short, expected: Result<(), (u64, bool)>) {
    let table = Table::in_memory();
    for short in history {
        table.put(&key(), &uid(1), long(*short)).unwrap();
    }
    let (before, _) = table.list(&key());
    let result = table.put(&key(), &uid(1), long(next));
    match (result, expected) {
        (Ok(_), Ok(())) => {}
        (Err(PutError::Older { stored, terminal }), Err(expected)) => {
            assert_eq!((stored, terminal), expected, "{history:?} then {next:?}");
            assert_eq!(table.list(&key()).0, before, "what is refused changes nothing");
        }
        (result, _) => panic!("{history:?} then {next:?} gives {result:?}, not {expected:?}"),
    }
}

#[test]
fn registrations_are_fenced_by_epoch_and_generation_and_terminal_is_final() {
    use PutState::{Offline, Online, Terminal};
    check(&[], (0, 1, Terminal, 1), Ok(()));
    check(&[(0, 2, Online, 1)], (0, 2, Online, 1), Ok(()));
    check(&[(0, 2, Online, 1)], (0, 3, Offline, 1), Ok(()));
    check(&[(0, 2, Online, 1)], (0, 1, Offline, 1), Err((2, false)));
    check(&[(0, 2, Online, 1)], (0, 1, Terminal, 1), Err((2, false)));
    // The same generation cannot say two things.
    check(&[(0, 2, Online, 1)], (0, 2, Offline, 1), Err((2, false)));
    // A former leader is refused, however high its generations are.
    check(&[(2, 1, Online, 1)], (1, 9, Offline, 1), Err((1, false)));
    check(&[(1, 9, Online, 1)], (2, 1, Offline, 1), Ok(()));
    // R2.
    check(&[(0, 1, Online, 1), (0, 2, Terminal, 1)], (0, 3, Online, 1), Err((2, true)));
    check(&[(0, 1, Online, 1), (0, 2, Terminal, 1)], (9, 9, Offline, 1), Err((2, true)));
    check(&[(0, 1, Online, 1), (0, 2, Terminal, 1)], (0, 1, Online, 1), Err((2, true)));
    check(&[(0, 1, Online, 1), (0, 2, Terminal, 1)], (0, 2, Terminal, 1), Ok(()));
}

#[test]
fn repeating_a_registration_keeps_the_revision() {
    let table = Table::in_memory();
    let first = table.put(&key(), &uid(1), put(address(1), 1, PutState::Online)).unwrap();
    assert_eq!(table.put(&key(), &uid(1), put(address(1), 1, PutState::Online)).unwrap(), first);
    assert_eq!(table.put(&key(), &uid(1), put(address(1), 2, PutState::Online)).unwrap(), first + 1);
}

#[tokio::test]
async fn a_tombstone_counts_from_the_end_of_the_instance_not_from_its_last_request() {
    let table = Table::in_memory().keep_tombstones(Duration::from_millis(20));
    table.put(&key(), &uid(1), put(address(1), 1, PutState::Online)).unwrap();
    let quiet = || table.traffic(&key(), &uid(1)).unwrap().quiet_ms;
    until("the instance is quiet for longer than tombstones are kept", || quiet() > 40).await;
    table.put(&key(), &uid(1), put(address(1), 2, PutState::Terminal)).unwrap();
    let late = table.put(&key(), &uid(1), put(address(1), 3, PutState::Online));
    assert!(matches!(late, Err(PutError::Older { terminal: true, .. })), "{late:?}");
}

#[tokio::test]
async fn an_old_tombstone_is_forgotten_and_nothing_else() {
    let table = Table::in_memory().keep_tombstones(Duration::from_millis(20));
    table.put(&key(), &uid(1), put(address(1), 1, PutState::Terminal)).unwrap();
    table.put(&key(), &uid(2), put(address(2), 1, PutState::Offline)).unwrap();
    let quiet = || table.traffic(&key(), &uid(2)).unwrap().quiet_ms;
    until("both are older than tombstones are kept", || quiet() > 40).await;
    table.put(&key(), &uid(3), put(address(3), 1, PutState::Online)).unwrap();
    let uids: Vec<_> = table.list(&key()).1.into_iter().map(|listed| listed.uid).collect();
    assert_eq!(uids, [uid(2), uid(3)]);
}

fn states() -> impl Strategy<Value = PutState> {
    prop_oneof![Just(PutState::Online), Just(PutState::Offline), Just(PutState::Terminal)]
}

/// What the table should hold, written down as simply as can be.
fn model(stored: Option<Short>, (epoch, generation, state, port): Short) -> Result<Short, ()> {
    let next = (epoch, generation, state, port);
    let Some((stored_epoch, stored_generation, stored_state, _)) = stored else { return Ok(next) };
    if epoch < stored_epoch || (epoch == stored_epoch && generation < stored_generation) {
        return Err(());
    }
    if generation == stored_generation && state != stored_state {
        return Err(());
    }
    if stored_state == PutState::Terminal && state != PutState::Terminal {
        return Err(());
    }
    Ok(next)
}

proptest! {
    #[test]
    fn any_messages_in_any_order_leave_what_the_model_says(
        messages in proptest::collection::vec((0u32..3, (0u64..3, 0u64..5, states(), 1u16..3)), 0..40),
    ) {
        let table = Table::in_memory();
        let mut stored: std::collections::BTreeMap<u32, Short> = std::collections::BTreeMap::new();
        let mut revision = 0;
        for (instance, short) in messages {
            let before = stored.get(&instance).copied();
            let result = table.put(&key(), &uid(instance), long(short));
            match model(before, short) {
                Ok(next) => {
                    revision += u64::from(before != Some(next));
                    prop_assert_eq!(result.unwrap(), revision);
                    stored.insert(instance, next);
                }
                Err(()) => prop_assert!(result.is_err()),
            }
            let was_terminal = before.is_some_and(|before| before.2 == PutState::Terminal);
            prop_assert!(!was_terminal || stored[&instance].2 == PutState::Terminal, "R2");
            let (listed_revision, listed) = table.list(&key());
            let expected: Vec<_> = stored.iter().map(|(instance, short)| (uid(*instance), long(*short))).collect();
            prop_assert_eq!(listed_revision, revision);
            prop_assert_eq!(listed.into_iter().map(|listed| (listed.uid, listed.put)).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_registrars_calls_end_the_same_in_whatever_order_and_however_often_they_arrive(
        mut states in proptest::collection::vec(prop_oneof![Just(PutState::Online), Just(PutState::Offline)], 1..6),
        ends in any::<bool>(),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..30),
    ) {
        if ends {
            states.push(PutState::Terminal);
        }
        let calls: Vec<Short> = (1..).zip(&states).map(|(generation, state)| (0, generation, *state, 1)).collect();
        let table = Table::in_memory();
        // Any calls in any order, and each of them at least once in the end.
        for call in order.iter().map(|index| *index.get(&calls)).chain(calls.iter().copied()) {
            let _ = table.put(&key(), &uid(1), long(call));
        }
        prop_assert_eq!(&table.list(&key()).1[0].put, &long(*calls.last().unwrap()));
    }
}
