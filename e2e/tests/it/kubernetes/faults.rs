//! What fails on a cluster while releases go their way under load: parts of Barge, parts of Kubernetes, and what people do by hand.

use barge_testkit::cluster;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::turn;
use super::world::{REPLICAS, World, until};

/// What may fail at the gate and after it, without the cluster noticing.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_barge_are_killed_and_people_interfere_and_no_request_is_lost() {
    let _turn = turn().await;
    let Some(mut world) = World::new("parts").await else { return };

    world.phase("the operator's leader is killed at the gate, and all of them after it");
    let release = world.next_release().await;
    world.gate(&release).await;
    world.kill(&world.leader("barge-operator").await).await;
    world.approve(&release).await;
    for operator in world.parts("barge-operator").await {
        world.kill(&operator.name_any()).await;
    }
    world.complete(&release).await;

    world.phase("the registrar's leader is killed at the gate, and all of them after it");
    let release = world.next_release().await;
    world.gate(&release).await;
    world.kill(&world.leader("barge-registrar").await).await;
    world.approve(&release).await;
    for registrar in world.parts("barge-registrar").await {
        world.kill(&registrar.name_any()).await;
    }
    world.complete(&release).await;

    world.phase("Barge is upgraded with a release under way");
    let release = world.next_release().await;
    world.gate(&release).await;
    world.kubectl(&[
        "rollout",
        "restart",
        "deployment/barge-operator",
        "deployment/barge-registrar",
        "-n",
        "barge-system",
    ]);
    world.approve(&release).await;
    // The definitions are applied anew, and everything that runs goes on.
    world.install();
    world.complete(&release).await;

    world.phase("somebody edits the ReplicaSet of the stable release");
    let sets: Api<ReplicaSet> = world.greeter.api();
    let name = barge_crds::names::of_release(&barge_world::key().service, &release.id);
    let edit = json!({ "spec": { "replicas": 5 }, "metadata": { "labels": { "barge.dev/role": "defunct" } } });
    sets.patch(&name, &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    until("the number that is wanted", async || {
        let set = sets.get(&name).await.unwrap();
        set.labels().get("barge.dev/role").is_some_and(|role| role == "stable")
            && set.spec.unwrap().replicas == Some(i32::try_from(REPLICAS).unwrap())
    })
    .await;
    world.complete(&release).await;

    world.phase("pods are deleted by hand while the rest follows");
    let release = world.next_release().await;
    world.gate(&release).await;
    world.approve(&release).await;
    world.greeter.delete_pod().await;
    world.greeter.delete_pod().await;
    world.complete(&release).await;

    world.phase("the end");
    // Deleted with a release at its gate: nothing of it stays.
    let release = world.next_release().await;
    world.gate(&release).await;
    world.end(1000).await;
}

/// What may fail of Kubernetes itself.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_kubernetes_fail_and_no_request_is_lost() {
    let _turn = turn().await;
    if cluster::kubeconfig().is_none() || cluster::own_nodes().is_none() {
        return;
    }
    let Some(mut world) = World::new("cluster").await else { return };
    for part in ["apiserver", "etcd", "kcm", "scheduler"] {
        world.phase(&format!("{part} is killed while the rest follows, and comes back"));
        let release = world.next_release().await;
        world.gate(&release).await;
        world.approve(&release).await;
        world.cluster(&["kill", part]);
        world.cluster(&["start", part]);
        world.complete(&release).await;
    }

    let node = world.node_without_gateway().await;
    let number = node.trim_start_matches("node").to_owned();
    world.phase(&format!("{node} is drained while a release waits"));
    let release = world.next_release().await;
    world.gate(&release).await;
    world.kubectl(&["drain", &node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s"]);
    world.approve(&release).await;
    world.complete(&release).await;
    world.kubectl(&["uncordon", &node]);

    world.phase(&format!("the kubelet of {node} is killed, until its pods are evicted"));
    let release = world.next_release().await;
    world.gate(&release).await;
    let kubelet = format!("kubelet{number}");
    world.cluster(&["kill", &kubelet]);
    until("the node is not ready", async || !is_ready(&world, &node).await).await;
    world.approve(&release).await;
    world
        .wait("the release serves", |status| {
            status.stable.as_deref() == Some(release.id.as_str())
                && status.available >= i32::try_from(REPLICAS).unwrap()
        })
        .await;
    world.cluster(&["start", &kubelet]);
    until("the node is ready", async || is_ready(&world, &node).await).await;
    world.complete(&release).await;

    world.phase("the end");
    world.end(1000).await;
}

async fn is_ready(world: &World, node: &str) -> bool {
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(world.greeter.place.client.clone());
    let Ok(node) = nodes.get(node).await else { return false };
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
