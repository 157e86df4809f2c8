//! What a cluster's answers mean.

use barge_cluster::check::{Finding, Metrics, Observed, State, judge};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::version::Info;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::missing::{all, container, pod};

const NOW: &str = "2026-11-28T12:00:00Z";

fn version(minor: &str) -> Info {
    serde_json::from_value(json!({
        "major": "1", "minor": minor, "gitVersion": format!("v1.{minor}.0"), "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
    }))
    .unwrap()
}

fn established() -> Vec<CustomResourceDefinition> {
    let known = |definition: CustomResourceDefinition| {
        let mut value = serde_json::to_value(definition).unwrap();
        // What the API server adds by itself.
        value["spec"]["conversion"] = json!({ "strategy": "None" });
        value["spec"]["names"]["listKind"] = json!("List");
        let condition =
            json!({ "type": "Established", "status": "True", "lastTransitionTime": NOW, "reason": "", "message": "" });
        value["status"] = json!({ "conditions": [condition] });
        serde_json::from_value(value).unwrap()
    };
    barge_crds::definitions().map(known).into()
}

fn lease(name: &str, renewed: &str) -> Lease {
    let spec = json!({ "holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": renewed });
    serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap()
}

fn node(name: &str, ready: &str) -> Node {
    let conditions = json!([{ "type": "Ready", "status": ready }]);
    serde_json::from_value(json!({ "metadata": { "name": name }, "status": { "conditions": conditions } })).unwrap()
}

/// A cluster on which all is well.
fn good() -> Observed {
    let running = || container(json!({ "running": {} }), Value::Null, true, "image");
    Observed {
        now: NOW.parse::<Timestamp>().unwrap(),
        version: Ok(version("34")),
        definitions: Ok(established()),
        allowed: Vec::new(),
        deployments: Ok(all(2)),
        pods: Ok(vec![pod("barge-operator", "one", running())]),
        leases: Ok(vec![
            lease("barge-operator", "2026-11-28T11:59:58Z"),
            lease("barge-registrar", "2026-11-28T11:59:50Z"),
        ]),
        nodes: Ok(vec![node("node1", "True")]),
        metrics: Metrics::There,
    }
}

fn one(observed: &Observed, what: &str) -> Finding {
    judge(observed).into_iter().find(|finding| finding.what == what).unwrap_or_else(|| panic!("{what}"))
}

/// What becomes of one finding where one thing is otherwise; nothing else becomes worse.
fn check(what: &str, state: State, detail: &str, change: impl FnOnce(&mut Observed)) -> Finding {
    let mut observed = good();
    change(&mut observed);
    let found = one(&observed, what);
    assert_eq!((found.state, found.detail.as_str()), (state, detail), "{what}");
    assert!(!state.is_bad() || found.hint.is_some(), "{found:?}");
    found
}

#[test]
fn where_all_is_well_nothing_is_to_be_done() {
    let findings = judge(&good());
    assert!(findings.iter().all(|finding| finding.state == State::Good && finding.hint.is_none()), "{findings:#?}");
    let told: Vec<&str> = findings.iter().map(|finding| finding.what.as_str()).collect();
    let expected = [
        "Kubernetes",
        "definition webservices.barge.dev",
        "definition rpcservices.barge.dev",
        "you may install",
        "you may release",
        "barge-gateway",
        "barge-registrar",
        "barge-operator",
        "leader of barge-registrar",
        "leader of barge-operator",
        "nodes",
        "nodes pull images",
        "metrics for autoscaling",
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_old_or_silent_kubernetes() {
    check("Kubernetes", State::Good, "v1.34+.0", |seen| seen.version = Ok(version("34+")));
    check("Kubernetes", State::Old, "v1.29.0; its API server has to be 1.30 or newer", |seen| {
        seen.version = Ok(version("29"))
    });
    check("Kubernetes", State::Unknown, "it says \"v1.x.0\"", |seen| seen.version = Ok(version("x")));
    check("Kubernetes", State::Missing, "no route", |seen| seen.version = Err("no route".to_owned()));
}

#[test]
fn definitions_of_another_version() {
    let what = "definition webservices.barge.dev";
    check(what, State::Missing, "it is not there", |seen| seen.definitions.as_mut().unwrap().clear());
    check(what, State::Missing, "it is not established", |seen| seen.definitions.as_mut().unwrap()[0].status = None);
    check(what, State::Unknown, "it cannot be asked: forbidden", |seen| seen.definitions = Err("forbidden".to_owned()));
    let old =
        format!("it is of another version, and says something else than this program's ({})", barge_cluster::VERSION);
    check(what, State::Old, &old, |seen| {
        seen.definitions.as_mut().unwrap()[0].spec.versions[0].additional_printer_columns = None;
    });
    check(what, State::Old, &old, |seen| {
        seen.definitions.as_mut().unwrap()[0].spec.names.short_names.as_mut().unwrap().push("more".to_owned());
    });
    check(what, State::Old, &old, |seen| {
        let version = &mut seen.definitions.as_mut().unwrap()[0].spec.versions[0];
        version.schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap().description = Some("other".to_owned());
    });
}

#[test]
fn parts_that_are_away_or_old() {
    check("barge-operator", State::Missing, "there is no such Deployment in barge-system", |seen| {
        seen.deployments.as_mut().unwrap().truncate(2);
    });
    check("barge-operator", State::Missing, "1 of 2 available; pod one has not begun", |seen| {
        (seen.deployments, seen.pods) = (Ok(all(1)), Ok(vec![pod("barge-operator", "one", json!({}))]));
    });
    let old = format!("it is of 0.0.9, and this program of {}", barge_cluster::VERSION);
    check("barge-gateway", State::Old, &old, |seen| {
        let labels = seen.deployments.as_mut().unwrap()[0].metadata.labels.as_mut().unwrap();
        labels.insert("app.kubernetes.io/version".to_owned(), "0.0.9".to_owned());
    });
}

#[test]
fn leaders_that_are_silent_or_not_well() {
    let what = "leader of barge-registrar";
    check(what, State::Missing, "nobody has ever held the lease", |seen| seen.leases.as_mut().unwrap().truncate(1));
    check(what, State::Missing, "one was heard of last 16 s ago", |seen| {
        seen.leases.as_mut().unwrap()[1] = lease("barge-registrar", "2026-11-28T11:59:44Z");
    });
    check(what, State::Missing, "nobody holds the lease", |seen| {
        seen.leases.as_mut().unwrap()[1].spec.as_mut().unwrap().holder_identity = Some(String::new());
    });
    check(what, State::Missing, "one says: the gateway is away", |seen| {
        let health = [("barge.dev/health".to_owned(), "the gateway is away".to_owned())];
        seen.leases.as_mut().unwrap()[1].metadata.annotations = Some(health.into());
    });
    // A clock that is behind the cluster's.
    check(what, State::Good, "one, heard of 0 s ago", |seen| {
        seen.leases.as_mut().unwrap()[1] = lease("barge-registrar", "2026-11-28T12:00:30Z");
    });
}

#[test]
fn nodes_and_what_they_pull() {
    check("nodes", State::Missing, "none is ready", |seen| seen.nodes = Ok(vec![node("node1", "False")]));
    check("nodes", State::Without, "1 ready; not node2", |seen| {
        seen.nodes.as_mut().unwrap().push(node("node2", "Unknown"))
    });
    let what = "nodes pull images";
    let nobody = "no pod of ours has been on node2, so that nobody knows of those";
    check(what, State::Unknown, nobody, |seen| seen.nodes.as_mut().unwrap().push(node("node2", "True")));
    check(what, State::Missing, "node1: no such host", |seen| {
        let waiting = json!({ "waiting": { "reason": "ErrImagePull", "message": "no such host" } });
        seen.pods.as_mut().unwrap().push(pod("barge-gateway", "two", container(waiting, Value::Null, false, "")));
    });
    check(what, State::Unknown, "it cannot be asked: forbidden", |seen| seen.pods = Err("forbidden".to_owned()));
}

#[test]
fn without_metrics_services_run_all_the_same() {
    let what = "metrics for autoscaling";
    let found =
        check(what, State::Without, "the cluster does not measure pods", |seen| seen.metrics = Metrics::Missing);
    assert!(!found.state.is_bad() && found.hint.is_some());
    check(what, State::Without, "away", |seen| seen.metrics = Metrics::Silent("away".to_owned()));
}
