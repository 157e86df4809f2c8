//! What a real API server makes of the definitions: what it refuses, fills in, shows and scales.

use barge_crds::spec::ServiceSpec;
use barge_crds::{ServiceStatus, WebService, WebServiceSpec};
use barge_model::manifest::Kind;
use barge_model::rollout::RolloutSpec;
use barge_model::{Approval, ServiceKey, Timestamp};
use barge_world::Place;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::support::{EARLIER, digest, release};

/// A namespace of a test's own, in a cluster that knows the resources.
struct World(Place);

impl World {
    /// None, said aloud, where there is no cluster.
    async fn new(name: &str) -> Option<Self> {
        Place::new(name).await.map(Self)
    }

    fn services(&self) -> Api<WebService> {
        self.0.api()
    }

    /// For what the types would not let through.
    fn anything(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<WebService>(&());
        Api::namespaced_with(self.0.client.clone(), &self.0.namespace, &resource)
    }

    async fn end(&self) {
        self.0.end().await;
    }
}

/// A service with everything, as JSON.
fn good() -> Value {
    let target = release(Kind::Web);
    let approval = Approval {
        release: target.id.clone(),
        digest: target.digest.clone(),
        by: "bob".to_owned(),
        at: Timestamp::from_millis(1_764_300_100_001),
    };
    let rollout = RolloutSpec { replicas: 3, target: Some(target), approvals: vec![approval], withdrawn: None };
    let key = ServiceKey::new("test".parse().unwrap(), "greeter".parse().unwrap());
    let service = ServiceSpec::new(&key, 2, &rollout);
    serde_json::to_value(WebService::new("greeter", WebServiceSpec { service })).unwrap()
}

/// The same with a value at a path put in the place of what is there, or taken away.
fn with(path: &str, value: Value) -> Value {
    let mut service = good();
    let (parent, field) = path.rsplit_once('/').unwrap();
    let parent = service.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(parent), Value::Null) => drop(parent.remove(field)),
        (parent, value) => parent[field] = value,
    }
    service
}

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() {
    let Some(world) = World::new("refused").await else { return };
    let services = world.anything();
    for (expected, path, value) in [
        ("at most 40 lower-case letters", "/metadata/name", json!("a".repeat(41))),
        ("the approval must name the release", "/spec/approval/release", json!(EARLIER)),
        ("the approval must name the release", "/spec/approval/digest", json!(digest('b'))),
        ("the approval must name the release", "/spec/release", Value::Null),
        ("must cover drain.limit and drain.grace", "/spec/release/terminationGracePeriodSeconds", json!(69)),
        ("must cover drain.limit and drain.grace", "/spec/release/drain/limit", json!("1h")),
        ("drain.quiet is waited for within drain.limit", "/spec/release/drain/quiet", json!("2m")),
        ("a batch of size 0", "/spec/release/rollout/batches/0/size", json!(0)),
        ("a batch of size 0", "/spec/release/rollout/batches/0/size", json!("0%")),
        ("should be greater than or equal to 1", "/spec/release/rollout/firstBatch", json!(0)),
        ("should match", "/spec/release/rollout/maxSurge", json!("101%")),
        ("should match", "/spec/release/rollout/progressDeadline", json!("1 week")),
        ("Unsupported value", "/spec/release/rollout/gate/until", json!("friday")),
        ("should be less than or equal to 10000", "/spec/replicas", json!(10_000_000)),
        ("should be greater than or equal to 0", "/spec/replicas", json!(-1)),
        ("should match", "/spec/release/digest", json!("latest")),
        ("should match", "/spec/release/image", json!("registry.example.com/a@sha256:b")),
        ("should match", "/spec/release/id", json!("01arz3")),
        ("a variable has either a value or a secret", "/spec/release/env/GREETING/secret", json!("both")),
        ("a variable has either a value or a secret", "/spec/release/env/GREETING/value", Value::Null),
        ("name the release that they take again", "/spec/release/origin/release", Value::Null),
        ("Required value", "/spec/environment", Value::Null),
        ("Required value", "/spec/release/command", Value::Null),
        ("at least 1 items", "/spec/release/command", json!([])),
        ("must be of type integer", "/spec/replicas", json!("three")),
    ] {
        match services.create(&PostParams::default(), &object(with(path, value.clone()))).await {
            Ok(_) => panic!("{path} = {value} was taken"),
            Err(error) => assert!(error.to_string().contains(expected), "{path} = {value}: {error}"),
        }
    }
    services.create(&PostParams::default(), &object(good())).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn what_must_not_change_does_not() {
    let Some(world) = World::new("changes").await else { return };
    let services = world.anything();
    services.create(&PostParams::default(), &object(good())).await.unwrap();
    let merge = async |patch: Value| services.patch("greeter", &PatchParams::default(), &Patch::Merge(patch)).await;
    for (expected, spec) in [
        ("version must not become smaller", json!({ "version": 1 })),
        ("a service stays in its environment", json!({ "environment": "product" })),
        (
            "a release never changes",
            json!({ "release": { "digest": digest('b') }, "approval": { "digest": digest('b') } }),
        ),
        ("a release never changes", json!({ "release": { "env": { "GREETING": { "value": "bye" } } } })),
        ("a release can be replaced, but not taken away", json!({ "release": null, "approval": null })),
    ] {
        match merge(json!({ "spec": spec })).await {
            Ok(_) => panic!("{expected}: it was taken"),
            Err(error) => assert!(error.to_string().contains(expected), "{expected}: {error}"),
        }
    }
    // A new release with an id of its own, not approved yet.
    merge(json!({ "spec": { "version": 3, "release": { "id": EARLIER, "digest": digest('b') }, "approval": null } }))
        .await
        .unwrap();
    world.end().await;
}

#[tokio::test]
async fn what_is_left_out_is_filled_in() {
    let Some(world) = World::new("defaults").await else { return };
    let full = good();
    let least: Value = ["id", "image", "digest", "command", "createdAt"]
        .into_iter()
        .map(|field| (field.to_owned(), full["spec"]["release"][field].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut service = with("/spec/approval", Value::Null);
    service["spec"]["release"] = least;
    let made = world.anything().create(&PostParams::default(), &object(service)).await.unwrap();
    let made: WebService = serde_json::from_value(serde_json::to_value(made).unwrap()).unwrap();
    let release = barge_crds::convert::rollout(&made).unwrap().target.unwrap();
    assert_eq!(release.config.rollout, barge_model::rollout::RolloutPlan::default());
    assert_eq!(release.config.drain, barge_model::manifest::Drain::default());
    world.end().await;
}

#[tokio::test]
async fn a_list_tells_the_story_and_an_autoscaler_finds_what_it_needs() {
    let Some(world) = World::new("shown").await else { return };
    world.anything().create(&PostParams::default(), &object(good())).await.unwrap();
    let services = world.services();
    let mut status = ServiceStatus {
        replicas: 3,
        selector: "barge.dev/service=greeter".to_owned(),
        available: 3,
        stable: Some(EARLIER.to_owned()),
        ..ServiceStatus::default()
    };
    status.waiting_on.message = "waiting for approval".to_owned();
    services
        .patch_status("greeter", &PatchParams::default(), &Patch::Merge(json!({ "status": status })))
        .await
        .unwrap();
    let request = http_table(&world.0.namespace);
    let table: Value = world.0.client.request(request).await.unwrap();
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().filter_map(|column| column["name"].as_str()).collect();
    assert_eq!(names, ["Name", "Wanted", "Available", "Stable", "Candidate", "Waiting", "Age"]);
    let cells = &table["rows"][0]["cells"];
    let cells = &cells.as_array().unwrap()[..6];
    assert_eq!(json!(cells), json!(["greeter", 3, 3, EARLIER, null, "waiting for approval"]));
    world.end().await;
}

fn http_table(namespace: &str) -> http::Request<Vec<u8>> {
    http::Request::get(format!("/apis/barge.dev/v1alpha1/namespaces/{namespace}/webservices"))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap()
}

#[tokio::test]
async fn a_scale_changes_the_replicas_and_nothing_else() {
    let Some(world) = World::new("scale").await else { return };
    world.anything().create(&PostParams::default(), &object(good())).await.unwrap();
    let services = world.services();
    let before = services.get("greeter").await.unwrap();
    let patch = Patch::Merge(json!({ "spec": { "replicas": 9 } }));
    services.patch_scale("greeter", &PatchParams::default(), &patch).await.unwrap();
    let after = services.get("greeter").await.unwrap();
    assert_eq!(after.spec.service.replicas, 9);
    assert_eq!(after.spec.service.release, before.spec.service.release);
    world.end().await;
}
