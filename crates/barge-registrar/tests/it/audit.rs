//! The target's real list against the intents (R3).

use barge_model::registration::Intent::{self, Offline, Online, Terminal};
use barge_registrar::Held;

use crate::support::{Bench, List, dead, ending, id, key, ready, service, starting};

async fn online() -> Bench<crate::support::Fake> {
    let mut bench = Bench::fake();
    bench.want([ready(1), ready(2)]);
    bench.wait_online(1).await;
    bench.wait_online(2).await;
    bench
}

fn held(number: u128, generation: u64, state: Intent) -> Held {
    Held { address: ready(number).address.unwrap(), generation, state }
}

#[tokio::test]
async fn a_target_that_has_forgotten_is_told_again() {
    let mut bench = online().await;
    bench.target.lock().held.clear();
    bench.wait_target(1, Online).await;
    bench.wait_target(2, Online).await;
    bench.wait_online(1).await;
    bench.check();
}

#[tokio::test]
async fn a_target_that_holds_something_else_is_told_again() {
    let bench = online().await;
    bench.target.lock().held.insert((key(), id(1)), held(1, 1, Offline));
    bench.wait_target(1, Online).await;
    bench.check();
}

#[tokio::test]
async fn a_forgotten_end_is_no_matter() {
    let mut bench = online().await;
    bench.want([ending(1), ready(2)]);
    bench.wait(1, false, true).await;
    bench.target.lock().held.clear();
    // The other one shows that the target was looked at.
    bench.wait_target(2, Online).await;
    assert_eq!(bench.target.calls(1), [Online, Terminal]);
}

#[tokio::test]
async fn a_list_that_fails_changes_nothing() {
    for list in [List::Fails, List::Hangs] {
        let mut bench = online().await;
        bench.target.lock().list = list;
        bench.target.lock().held.clear();
        bench.settle(90).await;
        assert_eq!(bench.target.calls(1), [Online]);
        assert!(bench.acknowledged(1).is_some_and(|seen| seen.online));
        bench.target.lock().list = List::Works;
        bench.wait_target(1, Online).await;
    }
}

#[tokio::test]
async fn a_list_that_hangs_holds_up_no_end() {
    let mut bench = online().await;
    bench.target.lock().list = List::Hangs;
    for name in ["a", "b", "c", "d", "e", "f"] {
        bench.wanted.send_modify(|wanted| {
            wanted.insert(service(name), Vec::new());
        });
    }
    bench.want([ending(1), ready(2)]);
    bench.wait(1, false, true).await;
    bench.stop().await;
}

#[tokio::test]
async fn what_the_target_alone_knows_is_taken_back() {
    let mut bench = online().await;
    bench.target.lock().held.insert((key(), id(7)), held(7, 5, Online));
    bench.wait_target(7, Terminal).await;
    assert_eq!(bench.target.lock().held[&(key(), id(7))].generation, 6);
    bench.wait_for("nothing of it", |seen| !seen.instances.contains_key(&id(7))).await;
    assert_eq!(bench.target.state(1), Some(Online));
    bench.check();
}

#[tokio::test]
async fn what_the_target_alone_knows_is_treated_as_what_it_is_to_the_engine() {
    let mut bench = online().await;
    // Known to the engine, lost by the journal: one that starts, and one that has died.
    bench.target.lock().held.insert((key(), id(7)), held(7, 5, Online));
    bench.target.lock().held.insert((key(), id(8)), held(8, 5, Online));
    bench.want([ready(1), ready(2), starting(7), dead(8)]);
    bench.wait_target(8, Offline).await;
    bench.want([ready(1), ready(2), ready(7), ready(8)]);
    bench.wait_online(7).await;
    bench.wait_online(8).await;
    bench.check();
}

#[tokio::test]
async fn an_end_that_a_lost_journal_does_not_know_is_acknowledged_only_once_the_target_was_looked_at() {
    let mut bench = Bench::fake();
    // Online since before the loss, and about to be stopped.
    bench.target.lock().held.insert((key(), id(7)), held(7, 5, Online));
    bench.target.lock().list = List::Fails;
    bench.want([ending(7), ready(1)]);
    bench.wait_online(1).await;
    bench.settle(90).await;
    assert_eq!(bench.acknowledged(7), None, "nobody may take it for one that was never registered");
    bench.target.lock().list = List::Works;
    bench.wait(7, false, true).await;
    assert_eq!(bench.target.state(7), Some(Terminal));
    bench.check();
}

#[tokio::test]
async fn a_lost_journal_takes_nobody_offline() {
    let mut bench = online().await;
    for file in std::fs::read_dir(bench.journal.path()).unwrap().flatten() {
        std::fs::remove_file(file.path()).unwrap();
    }
    bench.restart().await;
    bench.wait_online(1).await;
    bench.wait_online(2).await;
    let offline = bench.target.lock().calls.iter().any(|(_, call)| call.state != Online);
    assert!(!offline);
}
