//! A HorizontalPodAutoscaler on the custom resource, while a release goes its way.

use barge_crds::ServiceStatus;
use barge_model::rollout::Withdrawal;
use barge_world::approval;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::world::World;

/// Between `least` and `most` instances, so many that each has `memory` on average. What a container uses is never exactly that, so that `most` or
/// `least` is where it comes to rest.
async fn autoscale(world: &World, (least, most): (i32, i32), memory: &str) {
    let scaler = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "greeter" },
        "spec": {
            "scaleTargetRef": { "apiVersion": "barge.dev/v1alpha1", "kind": "WebService", "name": "greeter" },
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [{
                "type": "Resource",
                "resource": { "name": "memory", "target": { "type": "AverageValue", "averageValue": memory } },
            }],
            "behavior": { "scaleDown": { "stabilizationWindowSeconds": 0 } },
        },
    });
    let scalers: Api<HorizontalPodAutoscaler> = world.api();
    scalers.patch("greeter", &PatchParams::apply("barge-test").force(), &Patch::Apply(&scaler)).await.unwrap();
}

fn stable_of(status: &ServiceStatus, release: &str) -> usize {
    let of_release = status.instances.iter().filter(|instance| instance.release == release);
    of_release.filter(|instance| instance.online && instance.phase == "ready").count()
}

#[tokio::test]
async fn an_autoscaler_works_through_a_gate_an_abort_and_a_rollback() {
    let Some(mut world) = World::new("scale").await else { return };
    let first = world.release("1", "hello").await;
    world.want(2, &first, Some(approval(&first))).await;
    world.wait("two", |status| status.available == 2 && status.stable.is_some()).await;
    // Less than any program has: up to the most there may be.
    autoscale(&world, (2, 4), "1Ki").await;
    let scaled = |status: &ServiceStatus| status.available == 4 && status.replicas == 4;
    world.wait_long("four, as the autoscaler wants", scaled).await;

    let second = world.release("2", "good day").await;
    world.release_only(&second, None).await;
    let status = world.wait("the gate", |status| status.waiting_on.on == "approval").await;
    assert_eq!((status.replicas, stable_of(&status, second.id.as_str())), (4, 1));
    // More than it could ever have: down to the least, with the gate closed.
    autoscale(&world, (2, 4), "100Gi").await;
    let status = world
        .wait_long("two of the first, and the one at the gate", |status| {
            status.replicas == 2 && stable_of(status, first.id.as_str()) == 2 && status.instances.len() == 3
        })
        .await;
    assert_eq!((status.waiting_on.on.as_str(), world.pods_of(&second).await), ("approval", 1), "I6");
    autoscale(&world, (2, 3), "1Ki").await;
    let status = world.wait_long("three of the first again", |status| stable_of(status, first.id.as_str()) == 3).await;
    assert_eq!((status.replicas, world.pods_of(&second).await), (3, 1), "I1, I6: it grows on one side alone");

    world.withdraw(Withdrawal { release: second.id.clone(), rolled_back: false }).await;
    world.wait("nothing of the second", |status| status.instances.len() == 3 && status.available == 3).await;
    autoscale(&world, (4, 4), "1Ki").await;
    world.wait_long("four, with the second aborted", |status| status.available == 4).await;
    assert_eq!(world.pods_of(&second).await, 0, "I6: an aborted candidate never comes back by scaling");

    // A rollback: the first one is wanted again, after a third has become stable.
    let third = world.release("3", "good evening").await;
    world.release_only(&third, Some(approval(&third))).await;
    let is_stable = |status: &ServiceStatus| status.stable.as_deref() == Some(third.id.as_str());
    world.wait("the third everywhere", |status| is_stable(status) && status.available == 4).await;
    let mut back = first.clone();
    back.id = world.release("4", "hello").await.id;
    world.release_only(&back, Some(approval(&back))).await;
    autoscale(&world, (2, 2), "1Ki").await;
    world
        .wait_long("two of the first, again", |status| {
            status.stable.as_deref() == Some(back.id.as_str())
                && stable_of(status, back.id.as_str()) == 2
                && status.instances.len() == 2
        })
        .await;
    world.end().await;
}
