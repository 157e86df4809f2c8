//! The cases that users of other release controllers hit, each on a real cluster (the anchors of docs/invariants.md).

use barge_crds::ServiceStatus;
use barge_crds::status::OutcomeStatus;
use barge_model::Release;
use barge_model::rollout::Withdrawal;
use barge_world::approval;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;

use super::world::World;

fn of(status: &ServiceStatus, release: &Release) -> usize {
    let serves = |one: &&barge_crds::status::InstanceStatus| one.release == release.id.as_str() && one.phase == "ready";
    status.instances.iter().filter(serves).count()
}

async fn gate(world: &World, release: &Release) -> ServiceStatus {
    let at_gate = |status: &ServiceStatus| {
        status.waiting_on.on == "approval" && status.candidate.as_deref() == Some(release.id.as_str())
    };
    world.wait("the gate", at_gate).await
}

/// Only this release, at this count.
async fn rest(world: &World, release: &Release, count: usize) -> ServiceStatus {
    let rests = |status: &ServiceStatus| {
        status.candidate.is_none()
            && status.stable.as_deref() == Some(release.id.as_str())
            && status.instances.len() == count
            && of(status, release) == count
    };
    world.wait("rest", rests).await
}

fn ended(status: &ServiceStatus, release: &Release) -> Option<OutcomeStatus> {
    status.history.iter().find(|end| end.release == release.id.as_str()).map(|end| end.outcome)
}

#[tokio::test]
async fn scaling_waits_for_no_gate_and_opens_none() {
    let Some(mut world) = World::new("scaling").await else { return };
    let first = world.release("1", "hello").await;
    world.want(2, &first, Some(approval(&first))).await;
    rest(&world, &first, 2).await;
    let second = world.release("2", "good day").await;
    world.want(2, &second, None).await;
    gate(&world, &second).await;
    // Argo Rollouts 4261 and 3412, CloneSet 410 and 632: scaled while it is paused, both sides or neither.
    for replicas in [5, 1, 3] {
        world.want(replicas, &second, None).await;
        let count = usize::try_from(replicas).unwrap();
        let scaled = |status: &ServiceStatus| of(status, &first) == count && status.instances.len() == count + 1;
        let status = world.wait("another number of the stable release alone", scaled).await;
        assert_eq!((of(&status, &second), status.waiting_on.on.as_str()), (1, "approval"), "I1, I6");
    }
    // Argo Rollouts 4973: scaled after an abort, the aborted one comes back.
    world.take_back(Withdrawal { release: second.id.clone(), rolled_back: false }).await;
    let status = rest(&world, &first, 3).await;
    assert_eq!(ended(&status, &second), Some(OutcomeStatus::Aborted));
    world.want(4, &second, None).await;
    rest(&world, &first, 4).await;
    assert_eq!(world.pods_of(&second).await, 0, "I6");
    world.end().await;
}

#[tokio::test]
async fn a_third_version_a_rollback_and_an_abort_of_nothing() {
    let Some(mut world) = World::new("third").await else { return };
    let first = world.release("1", "hello").await;
    world.want(2, &first, Some(approval(&first))).await;
    rest(&world, &first, 2).await;
    // Argo Rollouts 1292: an abort with nothing under way scaled what serves to nothing.
    world.take_back(Withdrawal { release: first.id.clone(), rolled_back: false }).await;
    let status = rest(&world, &first, 2).await;
    assert_eq!(status.available, 2);

    // Argo Rollouts 1372, 1852 and 3331: a third version in the middle of the second one.
    let second = world.release("2", "good day").await;
    world.want(2, &second, None).await;
    gate(&world, &second).await;
    let third = world.release("3", "good evening").await;
    world.want(2, &third, None).await;
    let status = gate(&world, &third).await;
    assert_eq!((ended(&status, &second), of(&status, &first)), (Some(OutcomeStatus::Superseded), 2));
    world.wait("nothing of the second", |status| status.instances.len() == 3).await;
    assert_eq!(world.pods_of(&second).await, 0, "I4");

    // Flagger 1432: a rollback is ignored while an approval is awaited. And in the middle of the batches.
    world.take_back(Withdrawal { release: third.id.clone(), rolled_back: true }).await;
    let status = rest(&world, &first, 2).await;
    assert_eq!(ended(&status, &third), Some(OutcomeStatus::RolledBack));
    let fourth = world.release("4", "good night").await;
    world.want(2, &fourth, Some(approval(&fourth))).await;
    world.wait("the fourth on its way", |status| status.candidate.as_deref() == Some(fourth.id.as_str())).await;
    world.take_back(Withdrawal { release: fourth.id.clone(), rolled_back: true }).await;
    rest(&world, &first, 2).await;

    // Argo Rollouts 1297: the configuration is deleted while somebody looks at the first instance.
    let fifth = world.release("5", "good morning").await;
    world.want(2, &fifth, None).await;
    gate(&world, &fifth).await;
    world.delete_map(&fifth).await;
    world.delete_map(&first).await;
    world.want(2, &fifth, Some(approval(&fifth))).await;
    rest(&world, &fifth, 2).await;
    world.end().await;
}

/// Stops the processes of a release's instances, which hang from then on.
async fn hang(world: &World, release: &Release) {
    let of_release = ListParams::default().labels(&format!("{}={}", barge_operator::names::RELEASE, release.id));
    let pods = world.api::<Pod>().list(&of_release).await.unwrap().items;
    let uids: Vec<String> = pods.iter().filter_map(ResourceExt::uid).collect();
    let mut stopped = 0;
    for process in std::fs::read_dir("/proc").unwrap() {
        let path = process.unwrap().path();
        let (environment, name) = (std::fs::read(path.join("environ")), std::fs::read_to_string(path.join("comm")));
        let (Ok(environment), Ok(name)) = (environment, name) else { continue };
        let environment = String::from_utf8_lossy(&environment).into_owned();
        if name.trim() == "greeter" && uids.iter().any(|uid| environment.contains(uid.as_str())) {
            let id = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(std::process::Command::new("kill").args(["-STOP", &id]).status().unwrap().success());
            stopped += 1;
        }
    }
    assert_eq!(stopped, pods.len(), "the nodes' processes are not this machine's");
}

#[tokio::test]
async fn a_broken_stable_release_does_not_block_what_mends_it() {
    let Some(mut world) = World::new("broken").await else { return };
    if barge_world::own_nodes().is_none() {
        return world.end().await;
    }
    let first = world.release("1", "hello").await;
    world.want(2, &first, Some(approval(&first))).await;
    rest(&world, &first, 2).await;
    // Argo Rollouts 3110 and 1774, Flagger 639: what serves is broken, and its successor waits for it to be well.
    hang(&world, &first).await;
    world.wait("nobody is well", |status| of(status, &first) == 0).await;
    let second = world.release("2", "good day").await;
    world.want(2, &second, None).await;
    gate(&world, &second).await;
    world.want(2, &second, Some(approval(&second))).await;
    rest(&world, &second, 2).await;
    world.end().await;
}
