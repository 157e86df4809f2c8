//! What the pods' condition has to say.

use barge_crds::names;
use barge_model::registration::{Acknowledged, Acknowledgements};
use barge_registrar::kubernetes::condition::change;
use barge_registrar::kubernetes::traffic::{Traffic, traffic};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::{UID, pod};

const ONLINE: Acknowledged = Acknowledged { online: true, offline: false, terminal: false };
const OFFLINE: Acknowledged = Acknowledged { online: false, offline: true, terminal: false };
const TERMINAL: Acknowledged = Acknowledged { online: false, offline: true, terminal: true };
/// Told, and not acknowledged.
const PENDING: Acknowledged = Acknowledged { online: false, offline: false, terminal: false };

fn acknowledgements(known: Option<Acknowledged>) -> Acknowledgements {
    let id = names::instance(UID).unwrap();
    Acknowledgements { instances: known.into_iter().map(|known| (id.clone(), known)).collect(), ..Default::default() }
}

/// A pod whose condition says so, with that reason.
fn says(status: &'static str, reason: &'static str) -> impl Fn(&mut Value) {
    move |pod| {
        let condition = json!({ "type": "barge.dev/online", "status": status, "reason": reason, "lastTransitionTime": "2026-11-28T08:00:00Z" });
        pod["status"]["conditions"].as_array_mut().unwrap().push(condition);
    }
}

/// What the patch says, without the texts for people.
fn patched(change_pod: impl Fn(&mut Value), known: Option<Acknowledged>) -> Option<(String, String)> {
    let change = change(&pod(change_pod), &acknowledgements(known))?;
    let condition = change.patch(&"2026-11-28T09:00:00Z".parse().map(Time).unwrap())["status"]["conditions"][0].clone();
    let word = |name: &str| condition[name].as_str().unwrap().to_owned();
    Some((word("status"), word("reason")))
}

fn expected(status: &str, reason: &str) -> Option<(String, String)> {
    Some((status.to_owned(), reason.to_owned()))
}

#[test]
fn a_pod_is_online_once_that_is_acknowledged() {
    assert_eq!(patched(|_| {}, Some(ONLINE)), expected("True", "Acknowledged"));
    assert_eq!(patched(says("False", "NotReady"), Some(ONLINE)), expected("True", "Acknowledged"));
    assert_eq!(patched(says("Unknown", "x"), Some(ONLINE)), expected("True", "Acknowledged"));
    assert_eq!(patched(says("True", "Acknowledged"), Some(ONLINE)), None, "it says so already");
}

#[test]
fn a_pod_is_offline_once_that_is_acknowledged() {
    for before in ["True", "False"] {
        assert_eq!(patched(says(before, "x"), Some(OFFLINE)), expected("False", "Offline"));
        assert_eq!(patched(says(before, "x"), Some(TERMINAL)), expected("False", "Ending"));
    }
    assert_eq!(patched(says("False", "Offline"), Some(OFFLINE)), None);
}

#[test]
fn who_knows_nothing_takes_nobody_offline() {
    for known in [None, Some(PENDING)] {
        assert_eq!(patched(says("True", "Acknowledged"), known), None);
        let not_ready = |pod: &mut Value| {
            says("True", "Acknowledged")(pod);
            pod["status"]["conditions"][0]["status"] = json!("False");
        };
        assert_eq!(patched(not_ready, known), None);
        // Of one that is not online it says what it waits for.
        assert_eq!(patched(|_| {}, known), expected("False", "NotAcknowledged"));
        let starting = |pod: &mut Value| pod["status"]["conditions"][0]["status"] = json!("False");
        assert_eq!(patched(starting, known), expected("False", "NotReady"));
        let without_port = |pod: &mut Value| pod["spec"]["containers"][1]["ports"] = json!([]);
        assert_eq!(patched(without_port, known), expected("False", "NoAddress"));
    }
}

#[test]
fn a_patch_is_of_one_pod_and_keeps_the_time_of_the_last_change() {
    let now: Time = "2026-11-28T09:00:00Z".parse().map(Time).unwrap();
    let change = |status, known| change(&pod(says(status, "x")), &acknowledgements(Some(known))).unwrap();
    let (kept, changed) = (change("False", OFFLINE), change("True", OFFLINE));
    assert_eq!((kept.namespace.as_str(), kept.pod.as_str()), ("shop", "greeter-1"));
    assert_eq!(kept.patch(&now)["metadata"], json!({ "uid": UID }));
    assert_eq!(kept.patch(&now)["status"]["conditions"][0]["lastTransitionTime"], "2026-11-28T08:00:00Z");
    assert_eq!(changed.patch(&now)["status"]["conditions"][0]["lastTransitionTime"], "2026-11-28T09:00:00Z");
    assert!(changed.is_urgent() && kept.is_urgent());
}

#[test]
fn requests_may_come_until_the_end_is_acknowledged() {
    for (known, leaves, expected) in [
        (None, false, Traffic::MayCome),
        (None, true, Traffic::MayCome),
        (Some(PENDING), true, Traffic::MayCome),
        (Some(ONLINE), true, Traffic::MayCome),
        (Some(OFFLINE), false, Traffic::MayCome),
        (Some(OFFLINE), true, Traffic::Ends),
        (Some(TERMINAL), false, Traffic::Ends),
    ] {
        assert_eq!(traffic(known, leaves), expected, "{known:?} {leaves}");
    }
}
