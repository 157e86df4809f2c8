//! The operator on a real Kubernetes: images that nodes pull from a registry, pods that run, and barge-init in them.
//!
//! Who sets the readiness gate here is a stand-in for the registrar: whatever is ready is online.

mod images;
mod world;

use barge_model::rollout::Withdrawal;

use self::world::World;
use crate::support::approval;

#[tokio::test]
async fn a_release_goes_its_way_and_one_that_cannot_start_is_held() {
    let Some(mut world) = World::new("way").await else { return };
    let first = world.release("1", "hello").await;
    world.want(3, &first, Some(approval(&first))).await;
    let status = world.wait("three of the first", |status| status.available == 3 && status.stable.is_some()).await;
    assert_eq!(status.stable.as_deref(), Some(first.id.as_str()));
    assert_eq!(status.waiting_on.message, "everything runs as it should");

    let second = world.release("2", "good day").await;
    world.want(3, &second, None).await;
    let status = world.wait("the gate", |status| status.waiting_on.on == "approval").await;
    assert_eq!(status.candidate.as_deref(), Some(second.id.as_str()));
    assert_eq!((world.pods_of(&second).await, world.pods_of(&first).await), (1, 3), "I1");
    assert_eq!(status.replicas, 3, "an autoscaler does not count the one at the gate");

    world.want(3, &second, Some(approval(&second))).await;
    world.wait("the second everywhere", |status| status.stable.as_deref() == Some(second.id.as_str())).await;
    world.wait("only the second", |status| status.instances.len() == 3 && status.available == 3).await;
    assert_eq!(world.sets().await, 1, "who is on the way out has no ReplicaSet");

    let broken = world.broken("3").await;
    world.want(3, &broken, None).await;
    let status =
        world.wait("the failure", |status| status.history.iter().any(|end| end.release == broken.id.as_str())).await;
    let held = status.instances.iter().find(|instance| instance.phase == "held").unwrap();
    let reason = held.reason.as_deref().unwrap();
    assert!(reason.contains("greeter.conf, line 3: the setting \"greting\" is unknown"), "{reason}");
    assert_eq!((status.available, world.pods_of(&broken).await), (3, 1), "I7");

    world.take_back(Withdrawal { release: broken.id.clone(), rolled_back: false }).await;
    world.wait("nobody is held", |status| status.instances.len() == 3 && status.available == 3).await;
    world.end().await;
}

#[tokio::test]
async fn what_somebody_takes_away_comes_back() {
    let Some(mut world) = World::new("back").await else { return };
    let first = world.release("1", "hello").await;
    world.want(2, &first, Some(approval(&first))).await;
    world.wait("two", |status| status.available == 2).await;
    world.delete_map(&first).await;
    world.delete_set(&first).await;
    world.wait("fewer", |status| status.available < 2).await;
    world.wait("two again", |status| status.available == 2).await;
    world.restart_operator();
    world.delete_pod().await;
    world.wait("fewer", |status| status.available < 2).await;
    world.wait("two again", |status| status.available == 2).await;
    world.delete_service().await;
    world.wait_empty().await;
    world.end().await;
}

#[tokio::test]
async fn nonsense_is_a_condition_and_leaves_alone_what_runs() {
    let Some(mut world) = World::new("nonsense").await else { return };
    let first = world.release("1", "hello").await;
    world.want(1, &first, Some(approval(&first))).await;
    world.wait("one", |status| status.available == 1).await;
    let mut second = world.release("2", "good day").await;
    // The schema lets it through: whether it is an image's name is not for a pattern to say.
    second.image = "greeter".to_owned();
    world.want(1, &second, None).await;
    let told = world.wait("a condition", |status| status.conditions.iter().any(|one| one.reason == "Nonsense")).await;
    assert!(told.waiting_on.message.starts_with("not accepted: spec.release.image: "), "{:?}", told.waiting_on);
    assert_eq!((told.available, world.pods_of(&first).await), (1, 1));
    world.end().await;
}
