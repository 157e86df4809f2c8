//! From pods to what the registrar has to know of them.

use std::collections::BTreeSet;

use barge_crds::names;
use barge_model::registration::Wanted;
use barge_registrar::kubernetes::pods::{Leaving, instance, wanted};
use serde_json::{Value, json};

use super::{UID, pod};
use crate::support::service;

/// The instance of a pod that serves.
fn serving() -> Wanted {
    let address = Some("10.88.1.7:8080".parse().unwrap());
    Wanted { id: names::instance(UID).unwrap(), address, ready: true, ending: false, dead: false }
}

#[test]
fn an_instance_is_what_its_pod_shows() {
    let not_ready = || Wanted { ready: false, ..serving() };
    type Row = (&'static str, fn(&mut Value), Wanted);
    let rows: Vec<Row> = vec![
        ("one that serves", |_| {}, serving()),
        ("one that is not ready", |pod| pod["status"]["conditions"][0]["status"] = json!("False"), not_ready()),
        (
            "one whose node does not answer",
            |pod| pod["status"]["conditions"][0]["status"] = json!("Unknown"),
            not_ready(),
        ),
        (
            "one that is deleted",
            |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-11-28T00:00:00Z"),
            Wanted { ending: true, ..serving() },
        ),
        (
            "one that was evicted",
            |pod| pod["status"]["phase"] = json!("Failed"),
            Wanted { ending: true, dead: true, ..serving() },
        ),
        (
            "one whose process has ended",
            |pod| pod["status"]["containerStatuses"][1]["state"] = json!({ "terminated": { "exitCode": 1 } }),
            Wanted { dead: true, ..serving() },
        ),
        (
            "one that waits for another start",
            |pod| {
                pod["status"]["containerStatuses"][1]["state"] = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
                pod["status"]["containerStatuses"][1]["restartCount"] = json!(1);
            },
            Wanted { dead: true, ..serving() },
        ),
        (
            "one that waits for its first start",
            |pod| {
                pod["status"]["containerStatuses"][1]["state"] = json!({ "waiting": { "reason": "ContainerCreating" } })
            },
            serving(),
        ),
        (
            "one on no node yet",
            |pod| pod["status"] = json!({ "phase": "Pending" }),
            Wanted { address: None, ..not_ready() },
        ),
        ("one without a status", |pod| pod["status"] = Value::Null, Wanted { address: None, ..not_ready() }),
        (
            "one of IPv6",
            |pod| pod["status"]["podIP"] = json!("fd00::7"),
            Wanted { address: Some("[fd00::7]:8080".parse().unwrap()), ..serving() },
        ),
        (
            "one without a port for the service",
            |pod| pod["spec"]["containers"][1]["ports"][1]["name"] = json!("http"),
            Wanted { address: None, ..serving() },
        ),
    ];
    for (what, change, expected) in rows {
        assert_eq!(instance(&pod(change)).map(|(_, wanted)| wanted), Some(expected), "{what}");
    }
}

#[test]
fn what_is_none_of_ours_is_left_alone() {
    let changes: [fn(&mut Value); 4] = [
        |pod| pod["metadata"]["labels"] = json!({}),
        |pod| pod["metadata"]["labels"]["barge.dev/environment"] = json!("Not A Name"),
        |pod| pod["metadata"]["labels"]["barge.dev/service"] = json!("-"),
        |pod| pod["metadata"]["uid"] = json!("7"),
    ];
    for change in changes {
        assert_eq!(instance(&pod(change)), None);
    }
}

#[test]
fn services_are_listed_also_where_no_pod_is_left() {
    let mut pods: Vec<_> = ["8", "7", "9"]
        .map(|digit| pod(|pod| pod["metadata"]["uid"] = json!(UID.replace("123e4567", &digit.repeat(8)))))
        .into();
    pods.push(pod(|pod| pod["metadata"]["labels"] = json!({})));
    let known = BTreeSet::from([service("shop")]);
    let list = wanted(&pods, &known, &Leaving::new());
    assert_eq!(list.keys().cloned().collect::<Vec<_>>(), [service("greeter"), service("shop")]);
    assert!(list[&service("shop")].is_empty());
    let ids: Vec<_> = list[&service("greeter")].iter().map(|wanted| wanted.id.clone()).collect();
    assert!(ids.is_sorted() && ids.len() == 3, "the same list for the same pods, in whatever order: {ids:?}");
    pods.reverse();
    assert_eq!(wanted(&pods, &known, &Leaving::new()), list);
}

#[test]
fn who_has_said_that_it_stops_is_offline_until_another_container_is_in_its_place() {
    let in_container =
        |container: &str| pod(|pod| pod["status"]["containerStatuses"][1]["containerID"] = json!(container));
    let leaving = Leaving::from([(names::instance(UID).unwrap(), "containerd://1".to_owned())]);
    for (container, dead) in [("containerd://1", true), ("containerd://2", false)] {
        let list = wanted(&[in_container(container)], &BTreeSet::new(), &leaving);
        assert_eq!(list[&service("greeter")], [Wanted { dead, ..serving() }], "{container}");
    }
}
