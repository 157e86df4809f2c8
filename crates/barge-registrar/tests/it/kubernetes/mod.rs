//! The registrar on Kubernetes: its pure parts in tables, and the whole of it on a real cluster.

mod cluster;
mod condition;
mod pods;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// The instance of every pod here.
const UID: &str = "123e4567-e89b-12d3-a456-426614174000";

/// A pod that serves, with what `change` makes of it.
fn pod(change: impl Fn(&mut Value)) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": "greeter-1",
            "namespace": "shop",
            "uid": UID,
            "labels": { "barge.dev/service": "greeter", "barge.dev/environment": "test", "barge.dev/release": "1" },
        },
        "spec": { "containers": [
            { "name": "log", "ports": [{ "containerPort": 9 }] },
            { "name": "main", "ports": [
                { "name": "ready", "containerPort": 7070 },
                { "name": "service", "containerPort": 8080 },
            ] },
        ] },
        "status": {
            "phase": "Running",
            "podIP": "10.88.1.7",
            "conditions": [{ "type": "ContainersReady", "status": "True" }, { "type": "Ready", "status": "False" }],
            "containerStatuses": [
                { "name": "log", "restartCount": 3, "ready": true, "image": "", "imageID": "", "state": { "terminated": { "exitCode": 0 } } },
                { "name": "main", "restartCount": 0, "ready": true, "image": "", "imageID": "", "state": { "running": {} } },
            ],
        },
    });
    change(&mut pod);
    serde_json::from_value(pod).unwrap()
}
