//! Pods as they are at each moment of their lives.

use barge_model::rollout::InstancePhase;
use barge_operator::names;
use barge_operator::observe::{Said, Seen, essential, is_to_be_asked, observe};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use barge_world::release;

fn pod(change: Value) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": "greeter-1-abcde",
            "uid": "123e4567-e89b-12d3-a456-426614174000",
            "labels": { names::RELEASE: release(1).id },
        },
        "status": { "phase": "Running", "podIP": "10.88.1.2" },
    });
    merge(&mut pod, change);
    let whole: Pod = serde_json::from_value(pod).unwrap();
    // What is kept of it says the same of whatever is asked here.
    let mut kept = whole.clone();
    essential(&mut kept);
    assert_eq!(observe(&kept, None), observe(&whole, None));
    assert_eq!(is_to_be_asked(&kept), is_to_be_asked(&whole));
    kept
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            change.into_iter().for_each(|(name, value)| merge(into.entry(name).or_insert(Value::Null), value));
        }
        (into, change) => *into = change,
    }
}

fn status(state: Value, restarts: i32, conditions: &[(&str, &str)]) -> Value {
    let conditions: Vec<Value> =
        conditions.iter().map(|(name, status)| json!({ "type": name, "status": status })).collect();
    let container = json!({ "name": names::MAIN, "restartCount": restarts, "state": state, "image": "", "imageID": "", "ready": false });
    json!({ "status": { "conditions": conditions, "containerStatuses": [container] } })
}

fn seen(change: Value, said: Option<Said>) -> Seen {
    observe(&pod(change), said.as_ref()).unwrap()
}

#[test]
fn each_moment_has_its_phase() {
    let running = || json!({ "running": {} });
    let said = |held| Some(Said { held, reason: "line 3: unknown setting".to_owned() });
    let ready = ("ContainersReady", "True");
    for (what, change, said, phase, online, reason) in [
        ("just made", json!({ "status": null }), None, InstancePhase::Starting, false, None),
        (
            "no node has room",
            json!({ "status": { "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes" }] } }),
            None,
            InstancePhase::Starting,
            false,
            Some("Unschedulable: 0/2 nodes"),
        ),
        (
            "the image does not come",
            status(json!({ "waiting": { "reason": "ImagePullBackOff", "message": "not found" } }), 0, &[]),
            None,
            InstancePhase::Starting,
            false,
            Some("ImagePullBackOff: not found"),
        ),
        (
            "it starts",
            status(running(), 0, &[]),
            said(false),
            InstancePhase::Starting,
            false,
            Some("line 3: unknown setting"),
        ),
        (
            "it is held",
            status(running(), 0, &[]),
            said(true),
            InstancePhase::Held,
            false,
            Some("line 3: unknown setting"),
        ),
        ("it is ready", status(running(), 0, &[ready]), None, InstancePhase::Ready, false, None),
        (
            "what was said before it was ready",
            status(running(), 0, &[ready]),
            said(true),
            InstancePhase::Ready,
            false,
            None,
        ),
        (
            "it is online",
            status(running(), 2, &[ready, (names::ONLINE, "True"), ("Ready", "True")]),
            None,
            InstancePhase::Ready,
            true,
            None,
        ),
        (
            "its node is lost",
            status(running(), 0, &[ready, (names::ONLINE, "True"), ("Ready", "False")]),
            None,
            InstancePhase::Starting,
            true,
            Some("its node does not answer"),
        ),
        (
            "its gate is open, and the kubelet has not said so yet",
            json!({ "status": {
                "conditions": [
                    { "type": "ContainersReady", "status": "True" },
                    { "type": names::ONLINE, "status": "True" },
                    { "type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady" },
                ],
                "containerStatuses": status(running(), 0, &[])["status"]["containerStatuses"],
            } }),
            None,
            InstancePhase::Ready,
            true,
            None,
        ),
        (
            "it has crashed",
            status(
                json!({ "terminated": { "exitCode": 3, "message": "main ended" } }),
                0,
                &[("ContainersReady", "False")],
            ),
            None,
            InstancePhase::BackOff,
            false,
            Some("it ended with exit code 3: main ended"),
        ),
        (
            "it waits to be started again",
            status(json!({ "waiting": { "reason": "CrashLoopBackOff" } }), 4, &[]),
            None,
            InstancePhase::BackOff,
            false,
            Some("CrashLoopBackOff"),
        ),
        (
            "barge-init cannot be brought in",
            json!({ "status": { "initContainerStatuses": [
                { "name": "barge", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                  "state": { "waiting": { "reason": "ImagePullBackOff", "message": "not found" } } },
            ] } }),
            None,
            InstancePhase::Starting,
            false,
            Some("barge: ImagePullBackOff: not found"),
        ),
        (
            "it is deleted",
            json!({ "metadata": { "deletionTimestamp": "2026-11-28T00:00:00Z" }, "status": { "phase": "Failed" } }),
            None,
            InstancePhase::Draining,
            false,
            None,
        ),
    ] {
        let seen = seen(change, said);
        assert_eq!((seen.instance.phase, seen.instance.online), (phase, online), "{what}");
        assert_eq!(seen.reason.as_deref(), reason, "{what}");
    }
}

#[test]
fn what_is_none_of_ours_or_over_is_no_instance() {
    for change in [
        json!({ "metadata": { "labels": null } }),
        json!({ "metadata": { "labels": { names::RELEASE: "latest" } } }),
        json!({ "metadata": { "uid": null } }),
        json!({ "status": { "phase": "Failed", "reason": "Evicted" } }),
        json!({ "status": { "phase": "Succeeded" } }),
    ] {
        assert_eq!(observe(&pod(change.clone()), None), None, "{change}");
    }
}

#[test]
fn those_that_run_and_are_not_ready_are_asked() {
    let running = || json!({ "running": {} });
    assert_eq!(is_to_be_asked(&pod(status(running(), 0, &[]))).unwrap().1, "10.88.1.2");
    let mut ending = status(running(), 0, &[]);
    merge(&mut ending, json!({ "metadata": { "deletionTimestamp": "2026-11-28T00:00:00Z" } }));
    for change in [
        ending,
        status(running(), 0, &[("ContainersReady", "True")]),
        status(json!({ "waiting": { "reason": "ContainerCreating" } }), 0, &[]),
        json!({}),
    ] {
        assert_eq!(is_to_be_asked(&pod(change.clone())), None, "{change}");
    }
}
