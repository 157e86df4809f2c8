//! What is said where parts are not there.

use barge_cluster::available::{is_available, missing};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

pub(crate) fn deployment(name: &str, wanted: i32, available: i32) -> Deployment {
    serde_json::from_value(json!({
        "metadata": { "name": name, "generation": 3, "labels": { "app.kubernetes.io/version": barge_cluster::VERSION } },
        "spec": { "replicas": wanted, "selector": {}, "template": {} },
        "status": { "observedGeneration": 3, "replicas": wanted, "updatedReplicas": wanted, "availableReplicas": available },
    }))
    .unwrap()
}

pub(crate) fn pod(part: &str, name: &str, status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": name, "labels": { "app.kubernetes.io/name": part } },
        "spec": { "nodeName": "node1", "containers": [] },
        "status": status,
    }))
    .unwrap()
}

pub(crate) fn container(state: Value, last: Value, ready: bool, image: &str) -> Value {
    json!({ "containerStatuses": [{
        "name": "main", "image": "", "imageID": image, "ready": ready, "restartCount": 0, "state": state, "lastState": last,
    }] })
}

pub(crate) fn all(available: i32) -> Vec<Deployment> {
    vec![
        deployment("barge-gateway", 1, 1),
        deployment("barge-registrar", 2, 2),
        deployment("barge-operator", 2, available),
    ]
}

#[test]
fn a_part_is_there_when_all_its_pods_are_of_the_present_version() {
    let there = deployment("barge-operator", 2, 2);
    assert!(is_available(&there));
    let change = |edit: &dyn Fn(&mut Deployment)| {
        let mut changed = there.clone();
        edit(&mut changed);
        is_available(&changed)
    };
    assert!(!change(&|one| one.metadata.generation = Some(4)), "the controller has not looked yet");
    assert!(!change(&|one| one.status.as_mut().unwrap().updated_replicas = Some(1)), "one is of before");
    assert!(!change(&|one| one.status.as_mut().unwrap().replicas = Some(3)), "one of before still goes");
    assert!(!change(&|one| one.status.as_mut().unwrap().available_replicas = Some(1)), "one is not ready");
    assert!(!change(&|one| one.status = None));
}

#[test]
fn what_keeps_a_part_is_told_in_words() {
    assert_eq!(missing(&all(2), &[]), Vec::<String>::new());
    let none = Value::Null;
    let waiting = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling\n image \"x\"" } });
    let crashed = json!({ "terminated": { "exitCode": 2, "message": "error: unrecognized subcommand\n" } });
    let back_off = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s" } });
    let silent = json!({ "terminated": { "exitCode": 137 } });
    let no_node =
        json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "message": "0/2 nodes are available" }] });
    let cases = [
        (container(waiting, none.clone(), false, ""), "pod one waits (ImagePullBackOff): Back-off pulling image \"x\""),
        (container(back_off.clone(), crashed, false, "i"), "pod one ended with code 2: error: unrecognized subcommand"),
        (
            container(back_off, silent, false, "i"),
            "pod one ended with code 137: kubectl -n barge-system logs one --previous",
        ),
        (
            container(json!({ "running": {} }), none.clone(), false, "i"),
            "pod one runs and is not ready: kubectl -n barge-system logs one",
        ),
        (no_node, "pod one has no node: 0/2 nodes are available"),
        (json!({}), "pod one has not begun"),
    ];
    for (status, expected) in cases {
        let told = missing(&all(1), &[pod("barge-operator", "one", status)]);
        assert_eq!(told, ["barge-operator: 1 of 2 available".to_owned(), format!("  {expected}")]);
    }
    let ready = pod("barge-operator", "two", container(json!({ "running": {} }), none, true, "i"));
    assert_eq!(missing(&all(1), &[ready]), ["barge-operator: 1 of 2 available"]);
    assert_eq!(missing(&all(2)[..2], &[]), ["barge-operator: there is no such Deployment"]);
}

#[test]
fn a_cluster_that_makes_no_pod_says_why() {
    let mut refused = deployment("barge-operator", 2, 0);
    refused.status.as_mut().unwrap().conditions = serde_json::from_value(json!([
        { "type": "ReplicaFailure", "status": "True", "message": "exceeded quota" },
    ]))
    .unwrap();
    let all = [deployment("barge-gateway", 1, 1), deployment("barge-registrar", 2, 2), refused];
    assert_eq!(missing(&all, &[]), ["barge-operator: 0 of 2 available", "  no pod is made: exceeded quota"]);
}
