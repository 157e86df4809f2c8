//! An instance's way: online after readiness, offline before its end, and never back (R1, R2, R6).

use barge_model::registration::Acknowledgements;
use barge_model::registration::Intent::{Offline, Online, Terminal};
use barge_model::rollout::RegistrarHealth;

use crate::support::{Bench, dead, ending, id, not_ready, ready, starting};

#[tokio::test]
async fn before_the_registrar_works_nothing_is_known() {
    let (_sender, acknowledgements) = barge_registrar::channel();
    assert!(matches!(acknowledgements.borrow().health, RegistrarHealth::Unhealthy { .. }));
    let mut bench = Bench::fake();
    bench.wait_healthy().await;
    bench.stop().await;
}

#[tokio::test]
async fn an_instance_is_online_only_after_its_readiness() {
    let mut bench = Bench::fake();
    bench.want([starting(1), not_ready(2)]);
    bench.settle(90).await;
    assert!(bench.target.calls(1).is_empty() && bench.target.calls(2).is_empty());
    bench.want([ready(1), ready(2)]);
    bench.wait_online(1).await;
    bench.wait_online(2).await;
    assert_eq!(bench.target.state(1), Some(Online));
    bench.check();
}

#[tokio::test]
async fn an_end_is_told_and_acknowledged() {
    let mut bench = Bench::fake();
    bench.want([ready(1)]);
    bench.wait_online(1).await;
    bench.want([ending(1)]);
    bench.wait(1, false, true).await;
    assert_eq!(bench.target.calls(1), [Online, Terminal]);
    bench.check();
}

#[tokio::test]
async fn what_is_dead_is_acknowledged_offline_also_where_it_was_never_registered() {
    let mut bench = Bench::fake();
    bench.want([ready(1), starting(2)]);
    bench.wait_online(1).await;
    assert!(bench.acknowledged(1).is_some_and(|seen| !seen.offline));
    assert_eq!(bench.acknowledged(2), None);
    bench.want([dead(1), dead(2)]);
    let offline =
        |number| move |seen: &Acknowledgements| seen.instances.get(&id(number)).is_some_and(|one| one.offline);
    bench.wait_for("1 offline", offline(1)).await;
    bench.wait_for("2 offline", offline(2)).await;
    assert_eq!(bench.target.calls(1), [Online, Offline]);
    assert!(bench.target.calls(2).is_empty());
    bench.check();
}

#[tokio::test]
async fn an_instance_that_was_never_registered_may_end_at_once() {
    let mut bench = Bench::fake();
    bench.want([ending(1)]);
    bench.wait(1, false, true).await;
    assert!(bench.target.calls(1).is_empty());
}

#[tokio::test]
async fn nothing_brings_an_ended_instance_back() {
    let mut bench = Bench::fake();
    bench.want([ready(1)]);
    bench.wait_online(1).await;
    bench.want([ending(1)]);
    bench.wait(1, false, true).await;
    for list in [[ready(1)], [dead(1)], [ready(1)]] {
        bench.want(list);
        bench.settle(90).await;
    }
    bench.restart().await;
    bench.settle(91).await;
    assert_eq!(bench.target.state(1), Some(Terminal));
    assert_eq!(bench.acknowledged(1).map(|seen| seen.online), Some(false));
    bench.check();
}

#[tokio::test]
async fn an_instance_that_is_started_again_goes_offline_and_comes_back() {
    let mut bench = Bench::fake();
    bench.want([ready(1)]);
    bench.wait_online(1).await;
    bench.want([dead(1)]);
    bench.wait_target(1, Offline).await;
    bench.want([starting(1)]);
    bench.settle(90).await;
    bench.want([ready(1)]);
    bench.wait_online(1).await;
    assert_eq!(bench.target.calls(1), [Online, Offline, Online]);
    bench.check();
}

#[tokio::test]
async fn an_instance_that_moves_is_told_again() {
    let mut bench = Bench::fake();
    bench.want([ready(1)]);
    bench.wait_online(1).await;
    let mut moved = ready(1);
    moved.address = Some(([127, 0, 0, 9], 9).into());
    bench.want([moved.clone()]);
    bench
        .eventually("the new address", || {
            bench.target.lock().held.values().any(|held| Some(held.address) == moved.address)
        })
        .await;
    bench.wait_online(1).await;
    bench.check();
}

#[tokio::test]
async fn a_failed_check_alone_never_empties_a_service() {
    let mut bench = Bench::fake();
    bench.want([ready(1), ready(2), ready(3)]);
    for number in 1..=3 {
        bench.wait_online(number).await;
    }
    // One of three may go.
    bench.want([not_ready(1), ready(2), ready(3)]);
    bench.wait_target(1, Offline).await;
    // All the others at once may not, nor may the last one.
    bench.want([not_ready(1), not_ready(2), not_ready(3)]);
    bench.settle(90).await;
    bench.want([not_ready(1), not_ready(2), dead(3)]);
    bench.wait_target(3, Offline).await;
    bench.settle(91).await;
    assert_eq!(bench.target.state(2), Some(Online));
    // An end is no matter of doubt.
    bench.want([not_ready(1), ending(2), dead(3)]);
    bench.wait(2, false, true).await;
    bench.check();
}

#[tokio::test]
async fn an_instance_is_forgotten_once_it_has_ended_and_is_gone() {
    let mut bench = Bench::fake();
    bench.want([ready(1)]);
    bench.wait_online(1).await;
    bench.want([ending(1)]);
    bench.wait(1, false, true).await;
    bench.want([]);
    bench.wait_for("nothing of it", |seen| seen.instances.is_empty()).await;
    assert!(!bench.journal.path().join(format!("{}.json", id(1))).exists());
}
