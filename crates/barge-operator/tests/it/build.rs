//! The objects of a release.

use barge_crds::spec::PodsSpec;
use barge_model::Release;
use barge_model::manifest::EnvValue;
use barge_model::rollout::Role;
use barge_operator::build::{Nodes, Owner, Settings, config_map, replica_set};
use barge_operator::names;
use k8s_openapi::api::core::v1::EnvVar;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use barge_world::{key, release};

fn owner() -> Owner {
    let reference = OwnerReference {
        api_version: "barge.dev/v1alpha1".to_owned(),
        kind: "WebService".to_owned(),
        name: "greeter".to_owned(),
        uid: "123e4567-e89b-12d3-a456-426614174000".to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    Owner { namespace: "test-greeter".to_owned(), reference, pods: PodsSpec::default() }
}

fn settings() -> Settings {
    let barge_init = format!("registry.example.com/barge-init@sha256:{}", "b".repeat(64));
    Settings {
        barge_init,
        pull_secrets: vec!["pull".to_owned()],
        registrar: Some("http://registrar.example:7375".to_owned()),
        nodes: Nodes::default(),
    }
}

#[test]
fn instances_go_to_the_nodes_that_are_theirs() {
    let pod = |settings: &Settings| {
        let set = replica_set(&owner(), &key(), &release(7), (Role::Candidate, 1), settings).unwrap();
        set.spec.unwrap().template.unwrap().spec.unwrap()
    };
    let anywhere = pod(&settings());
    assert_eq!((anywhere.node_selector, anywhere.tolerations), (None, None));
    let selector = [("pool".to_owned(), "services".to_owned())].into();
    let nodes = Nodes { selector, tolerated: vec!["dedicated".to_owned()] };
    let there = pod(&Settings { nodes, ..settings() });
    assert_eq!(there.node_selector.unwrap()["pool"], "services");
    let taint = &there.tolerations.unwrap()[0];
    assert_eq!((taint.key.as_deref(), taint.operator.as_deref()), (Some("dedicated"), Some("Exists")));
}

#[test]
fn a_definition_is_pinned_twice_and_can_be_read_from_both() {
    let release = release(7);
    let map = config_map(&owner(), &key(), &release, &settings()).unwrap();
    let set = replica_set(&owner(), &key(), &release, (Role::Candidate, 1), &settings()).unwrap();
    let texts =
        [map.data.unwrap()["release.json"].clone(), set.metadata.annotations.unwrap()[names::DEFINITION].clone()];
    for text in texts {
        assert_eq!(serde_json::from_str::<Release>(&text).unwrap(), release);
    }
    assert_eq!(map.immutable, Some(true));
}

#[test]
fn barge_init_understands_its_plan() {
    let release = release(7);
    let map = config_map(&owner(), &key(), &release, &settings()).unwrap();
    let plan: barge_init::Plan = serde_json::from_str(&map.data.unwrap()["plan.json"]).unwrap();
    assert_eq!(plan.main.command, release.config.command);
    assert_eq!(plan.stop.limit_ms, release.config.drain.limit.0);
    assert_eq!(plan.stop.check.as_deref(), Some("http://registrar.example:7375/v1/traffic/$BARGE_POD_UID"));
    assert!(plan.main.inherit_env && plan.main.env.is_empty(), "no secret and no value stands in the plan");
}

#[test]
fn a_pod_is_what_the_release_says() {
    let release = release(7);
    let set = replica_set(&owner(), &key(), &release, (Role::Candidate, 3), &settings()).unwrap();
    let spec = set.spec.unwrap();
    assert_eq!(spec.replicas, Some(3));
    let template = spec.template.unwrap();
    let labels = template.metadata.unwrap().labels.unwrap();
    assert!(!labels.contains_key(names::ROLE), "a pod keeps its labels when its set is promoted");
    assert_eq!(spec.selector.match_labels, Some(labels));
    let pod = template.spec.unwrap();
    assert_eq!(pod.readiness_gates.unwrap()[0].condition_type, names::ONLINE);
    assert!(pod.termination_grace_period_seconds.unwrap() * 1000 > 70_000, "the drain fits in");
    assert_eq!(pod.automount_service_account_token, Some(false));
    let main = &pod.containers[0];
    assert_eq!(main.image.as_deref().unwrap(), format!("{}@{}", release.image, release.digest));
    assert!(main.liveness_probe.is_none() && main.startup_probe.is_none());
    let env: Vec<&EnvVar> = main.env.as_ref().unwrap().iter().collect();
    let find = |name: &str| env.iter().filter(|variable| variable.name == name).collect::<Vec<_>>();
    assert_eq!(find("GREETING")[0].value.as_deref(), Some("hello $$(PORT)"), "Kubernetes replaces nothing in it");
    assert_eq!(find("PORT").len(), 1);
    assert_eq!(find("PORT")[0].value.as_deref(), Some("8080"), "the platform's wins");
    let secret = find("PASSWORD")[0].value_from.as_ref().unwrap().secret_key_ref.as_ref().unwrap();
    assert_eq!((secret.name.as_str(), secret.key.as_str()), ("greeter-password", "value"));
    let resources = main.resources.as_ref().unwrap();
    assert_eq!(resources.limits, resources.requests);
    assert_eq!(resources.limits.as_ref().unwrap()["memory"].0, "64Mi");
}

#[test]
fn the_same_release_makes_the_same_objects() {
    let make = || {
        let map = config_map(&owner(), &key(), &release(7), &settings()).unwrap();
        let set = replica_set(&owner(), &key(), &release(7), (Role::Stable, 2), &settings()).unwrap();
        (map, set)
    };
    assert_eq!(make(), make());
}

#[test]
fn callers_that_know_instances_already_find_them() {
    let mut owner = owner();
    owner.pods.port = Some(3000);
    owner.pods.labels = [("app".to_owned(), "shop".to_owned()), (names::SERVICE.to_owned(), "other".to_owned())].into();
    owner.pods.ports = [("http".to_owned(), 3000)].into();
    let mut release = release(7);
    release.config.env.insert("KEY".to_owned(), EnvValue::Secret { secret: "store/api.key".to_owned() });
    let set = replica_set(&owner, &key(), &release, (Role::Candidate, 1), &settings()).unwrap();
    let spec = set.spec.unwrap();
    let template = spec.template.unwrap();
    let labels = template.metadata.unwrap().labels.unwrap();
    assert_eq!((labels["app"].as_str(), labels[names::SERVICE].as_str()), ("shop", "greeter"));
    assert!(
        !spec.selector.match_labels.unwrap().contains_key("app"),
        "what others mean by their labels is not what we find pods by"
    );
    assert!(!set.metadata.labels.unwrap().contains_key("app"), "no controller of others takes our set for its own");
    let main = &template.spec.unwrap().containers[0];
    let ports: Vec<(&str, i32)> =
        main.ports.as_ref().unwrap().iter().map(|port| (port.name.as_deref().unwrap(), port.container_port)).collect();
    assert_eq!(ports, [("service", 3000), ("ready", 7070), ("http", 3000)]);
    let env = main.env.as_ref().unwrap();
    let find = |name: &str| env.iter().find(|variable| variable.name == name).unwrap();
    assert_eq!(find("PORT").value.as_deref(), Some("3000"));
    let secret = find("KEY").value_from.as_ref().unwrap().secret_key_ref.as_ref().unwrap();
    assert_eq!((secret.name.as_str(), secret.key.as_str()), ("store", "api.key"));
    let map = config_map(&owner, &key(), &release, &settings()).unwrap();
    let plan: barge_init::Plan = serde_json::from_str(&map.data.unwrap()["plan.json"]).unwrap();
    assert_eq!(plan.port, 3000, "what is probed is what callers ask");
}
