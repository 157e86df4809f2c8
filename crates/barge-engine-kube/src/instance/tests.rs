use barge_model::hold::Ending;
use serde_json::{Value, json};

use super::*;

const STARTED: &str = "2026-11-28T10:00:02Z";

/// A pod with conditions that are met, the state of its container, and other fields of its status.
fn pod(met: &[&str], state: Value, others: Value) -> Pod {
    let condition =
        |name: &&str| json!({ "type": name, "status": "True", "lastTransitionTime": "2026-11-28T10:00:03Z" });
    let mut conditions: Vec<Value> = met.iter().map(condition).collect();
    conditions.extend(others["no"].as_array().cloned().unwrap_or_default());
    let mut main =
        json!({ "name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
    for field in ["restartCount", "lastState"] {
        if let Some(value) = others.get(field) {
            main[field] = value.clone();
        }
    }
    let mut pod = json!({
        "metadata": {
            "name": "greeter-x", "uid": "123e4567-e89b-12d3-a456-426614174000",
            "creationTimestamp": "2026-11-28T10:00:00Z",
            "labels": { names::RELEASE: "01ARZ3NDEKTSV4RRFFQ69G5FAV" },
        },
        "spec": { "nodeName": "node1", "containers": [{ "name": "main", "ports": [
            { "name": "ready", "containerPort": 7070 }, { "name": "service", "containerPort": 8080 },
        ] }] },
        "status": { "phase": "Running", "podIP": "10.1.2.3", "conditions": conditions, "containerStatuses": [main] },
    });
    for (part, field) in [("metadata", "deletionTimestamp"), ("status", "phase"), ("status", "initContainerStatuses")] {
        if let Some(value) = others.get(field) {
            pod[part][field] = value.clone();
        }
    }
    serde_json::from_value(pod).unwrap()
}

fn running() -> Value {
    json!({ "running": { "startedAt": STARTED } })
}

fn held(reason: &str) -> Told {
    Told { held: true, reason: Some(reason.to_owned()) }
}

#[test]
fn phases_and_their_reasons() {
    let waiting = |word: &str| json!({ "waiting": { "reason": word, "message": "more words" } });
    let ended = json!({ "terminated": { "exitCode": 3, "message": "exit code 3; no such file" } });
    let no = |reason: &str| json!({ "no": [{ "type": "Ready", "status": "False", "reason": reason }] });
    let unscheduled = json!({ "no": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room" }] });
    let init = |state: Value| {
        json!({ "initContainerStatuses": [{
            "name": "barge-init", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        }] })
    };
    let ready = ["ContainersReady", "barge.dev/online"];
    let told = Told::default();
    for (pod, told, phase, reason) in [
        (pod(&[], running(), json!({})), &told, InstancePhase::Starting, None),
        (pod(&ready[..1], running(), json!({})), &told, InstancePhase::Ready, None),
        (pod(&ready, running(), json!({})), &held("old news"), InstancePhase::Ready, None),
        (pod(&ready, running(), no("ReadinessGatesNotReady")), &told, InstancePhase::Ready, None),
        (pod(&ready, running(), no("NodeLost")), &told, InstancePhase::Starting, Some("NodeLost")),
        (
            pod(&[], running(), json!({})),
            &held("its file is missing"),
            InstancePhase::Held,
            Some("its file is missing"),
        ),
        (
            pod(&[], waiting("ImagePullBackOff"), json!({})),
            &told,
            InstancePhase::Starting,
            Some("ImagePullBackOff: more words"),
        ),
        (
            pod(&[], waiting("CrashLoopBackOff"), json!({})),
            &told,
            InstancePhase::BackOff,
            Some("CrashLoopBackOff: more words"),
        ),
        (pod(&[], waiting(""), json!({ "restartCount": 1 })), &told, InstancePhase::BackOff, Some("more words")),
        (
            pod(&[], ended, json!({})),
            &told,
            InstancePhase::BackOff,
            Some("it ended with exit code 3: exit code 3; no such file"),
        ),
        (pod(&[], Value::Null, unscheduled), &told, InstancePhase::Starting, Some("Unschedulable: no room")),
        (
            pod(&[], waiting("PodInitializing"), init(waiting("ErrImagePull"))),
            &told,
            InstancePhase::Starting,
            Some("barge-init: ErrImagePull: more words"),
        ),
        (
            pod(&ready, running(), json!({ "deletionTimestamp": "2026-11-28T11:00:00Z" })),
            &told,
            InstancePhase::Draining,
            None,
        ),
    ] {
        let report = report(&pod, told).unwrap();
        assert_eq!((report.phase, report.reason.as_deref()), (phase, reason), "{pod:?}");
    }
    assert_eq!(report(&pod(&ready, running(), json!({ "phase": "Failed" })), &told), None, "evicted");
}

#[test]
fn endings_are_the_process_s() {
    for (terminated, ending) in [
        (json!({ "exitCode": 0 }), Ending::Exited { code: 0 }),
        (json!({ "exitCode": 3, "message": "exit code 3, without a word" }), Ending::Exited { code: 3 }),
        (json!({ "exitCode": 137, "message": "killed (SIGKILL)" }), Ending::Signalled { signal: 9 }),
        (json!({ "exitCode": 137 }), Ending::Signalled { signal: 9 }),
        (json!({ "exitCode": 130, "message": "exit code 130; its last line: bye" }), Ending::Exited { code: 130 }),
        (json!({ "exitCode": 255 }), Ending::Exited { code: 255 }),
        (json!({ "exitCode": 0, "signal": 15 }), Ending::Signalled { signal: 15 }),
    ] {
        let last = json!({ "restartCount": 1, "lastState": { "terminated": terminated } });
        let report = report(&pod(&["ContainersReady"], running(), last), &Told::default()).unwrap();
        assert_eq!((report.ending, report.restarts), (Some(ending), 1), "{terminated}");
    }
}

#[test]
fn a_life_is_told_in_its_order() {
    let met = ["PodScheduled", "Initialized", "ContainersReady", "barge.dev/online"];
    let ended = json!({ "terminated": {
        "exitCode": 137, "startedAt": "2026-11-28T10:00:01Z", "finishedAt": "2026-11-28T10:00:02Z", "message": "killed (SIGKILL)\nlast words",
    } });
    let report =
        report(&pod(&met, running(), json!({ "restartCount": 1, "lastState": ended })), &Told::default()).unwrap();
    let told: Vec<&str> = report.timeline.iter().map(|step| step.what.as_str()).collect();
    let signal = "it was ended by SIGKILL (killed, perhaps for its use of memory): killed (SIGKILL)";
    let life = ["created", "started", signal, "started", "given to node1", "barge-init is in place", "ready", "online"];
    assert_eq!(told, life);
    assert!(report.timeline.is_sorted_by_key(|step| step.at));
    assert_eq!((report.address.as_deref(), report.online), (Some("10.1.2.3:8080"), true));
    assert_eq!(report.limits, LimitsReport::NotAsked);
}

#[test]
fn what_has_not_started_says_so() {
    let waiting = json!({ "waiting": { "reason": "ErrImagePull" } });
    assert_eq!(not_started(&pod(&[], waiting.clone(), json!({}))).as_deref(), Some("ErrImagePull"));
    assert_eq!(not_started(&pod(&[], Value::Null, json!({}))).as_deref(), Some("it waits for its node"));
    assert_eq!(not_started(&pod(&[], running(), json!({}))), None);
    let before = json!({ "lastState": { "terminated": { "exitCode": 1 } }, "restartCount": 1 });
    let again = pod(&[], waiting, before.clone());
    assert_eq!((not_started(&again), has_former(&again)), (None, false), "the log is that of the former one already");
    assert!(has_former(&pod(&[], running(), before)));
}
