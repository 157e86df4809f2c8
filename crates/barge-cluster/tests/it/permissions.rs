//! What each part may do, on a real cluster: with each verb it can do what the table says that it is for, and without it is refused.

use std::time::{Duration, Instant};

use barge_cluster::permissions::{PERMISSIONS, Permission, Reach};
use barge_cluster::{Component, NAMESPACE, Object, Settings, render};
use barge_world::{PATIENCE, Place};
use futures_util::TryStreamExt;
use http::{HeaderName, HeaderValue};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::GroupVersionKind;
use kube::core::dynamic::DynamicObject;
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use crate::render::plain;

/// Between two tries: roles take a moment to reach the API server's authorizer.
const PAUSE: Duration = Duration::from_millis(20);

/// An object of each kind that any part has to do with, in full.
fn sample(permission: &Permission, namespace: &str) -> (ApiResource, Value) {
    let kind = |version: &str, kind: &str, rest: Value| {
        let plural = permission.resource.split('/').next().unwrap();
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(permission.group, version, kind), plural);
        let mut document =
            json!({ "apiVersion": resource.api_version, "kind": kind, "metadata": { "name": "sample" } });
        document.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        (resource, document)
    };
    // No node has the label, so that nothing runs.
    let pod = json!({ "nodeSelector": { "barge.test/nowhere": "1" }, "containers": [{ "name": "main", "image": "nothing" }] });
    let service = json!({ "spec": { "environment": "test", "replicas": 0 } });
    match (permission.group, permission.resource) {
        ("barge.dev", "webservices" | "webservices/status") => kind("v1alpha1", "WebService", service),
        ("barge.dev", "rpcservices" | "rpcservices/status") => kind("v1alpha1", "RpcService", service),
        ("", "pods" | "pods/status") => kind("v1", "Pod", json!({ "spec": pod })),
        ("", "configmaps") => kind("v1", "ConfigMap", json!({ "immutable": true, "data": { "release.json": "{}" } })),
        ("apps", "replicasets" | "deployments") => {
            let labels = json!({ "sample": "1" });
            let template = json!({ "metadata": { "labels": labels }, "spec": pod });
            let spec = json!({ "replicas": 0, "selector": { "matchLabels": labels }, "template": template });
            let name = if permission.resource == "deployments" { "Deployment" } else { "ReplicaSet" };
            kind("v1", name, json!({ "spec": spec }))
        }
        ("events.k8s.io", "events") => {
            let event = json!({
                "eventTime": "2026-11-28T12:00:00.000000Z", "reportingController": "barge.dev/test", "reportingInstance": "test",
                "action": "Test", "reason": "Test", "type": "Normal", "regarding": { "kind": "Pod", "name": "sample", "namespace": namespace },
            });
            kind("v1", "Event", event)
        }
        ("coordination.k8s.io", "leases") => kind("v1", "Lease", json!({ "spec": { "holderIdentity": "somebody" } })),
        other => panic!("there is no sample of {other:?}"),
    }
}

/// A namespace in which the parts have their roles, under accounts of its own.
struct World {
    place: Place,
    roles: Vec<Object>,
}

impl World {
    async fn new(name: &str) -> Option<Self> {
        let place = Place::new(name).await?;
        let settings = Settings { services: Some(place.namespace.clone()), ..plain() };
        let wanted = ["ServiceAccount", "Role", "RoleBinding"];
        let mut objects = render(&settings).unwrap();
        objects.retain(|object| wanted.contains(&object.resource.kind.as_str()));
        for object in &mut objects {
            let text =
                object.document.to_string().replace(&format!("\"{NAMESPACE}\""), &format!("\"{}\"", place.namespace));
            object.document = serde_json::from_str(&text).unwrap();
            // An installation that goes on elsewhere must not take them for left-overs.
            object.document["metadata"]["labels"] = Value::Null;
        }
        let world = Self { place, roles: Vec::new() };
        for object in &objects {
            world.apply(object).await;
        }
        for permission in PERMISSIONS {
            world.make_sample(permission).await;
        }
        objects.retain(|object| object.resource.kind == "Role");
        Some(Self { roles: objects, ..world })
    }

    async fn apply(&self, object: &Object) {
        let parameters = PatchParams::apply("barge-test").force();
        object
            .api(&self.place.client)
            .patch(object.name(), &parameters, &Patch::Apply(&object.document))
            .await
            .unwrap();
    }

    async fn make_sample(&self, permission: &Permission) {
        let (resource, mut document) = sample(permission, &self.place.namespace);
        document["metadata"]["name"] = json!(permission.name.unwrap_or("sample"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.place.client.clone(), &self.place.namespace, &resource);
        let object: DynamicObject = serde_json::from_value(document).unwrap();
        match api.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            made => drop(made.unwrap()),
        }
    }

    /// Asks as a part.
    fn client_of(&self, component: Component) -> Client {
        let mut config = self.place.config.clone();
        let user = format!("system:serviceaccount:{}:{}", self.place.namespace, component.name());
        config.headers.push((HeaderName::from_static("impersonate-user"), HeaderValue::from_str(&user).unwrap()));
        Client::try_from(config).unwrap()
    }

    /// Does once what a verb is for.
    async fn attempt(&self, client: &Client, permission: &Permission, verb: &str) -> Result<(), kube::Error> {
        let (resource, document) = sample(permission, &self.place.namespace);
        let namespace = &self.place.namespace;
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let name = permission.name.unwrap_or("sample");
        let is_status = permission.resource.ends_with("/status");
        // What is created or deleted is only tried, so that the sample stays.
        let (create, delete) =
            (PostParams { dry_run: true, ..PostParams::default() }, DeleteParams::default().dry_run());
        let note = Patch::Merge(json!({ "metadata": { "annotations": { "barge.test/note": "1" } } }));
        match verb {
            "list" => api.list(&ListParams::default()).await.map(drop),
            "get" => api.get(name).await.map(drop),
            "watch" => {
                let events = api.watch(&WatchParams::default().timeout(5), "0").await?;
                match std::pin::pin!(events).try_next().await? {
                    Some(WatchEvent::Error(status)) => Err(kube::Error::Api(status)),
                    _ => Ok(()),
                }
            }
            "create" => {
                let mut object: DynamicObject = serde_json::from_value(document).unwrap();
                object.metadata.name = Some("another".to_owned());
                api.create(&create, &object).await.map(drop)
            }
            "update" => {
                let own: Api<DynamicObject> = Api::namespaced_with(self.place.client.clone(), namespace, &resource);
                let object = own.get(name).await.unwrap();
                match is_status {
                    true => api.replace_status(name, &PostParams::default(), &object).await.map(drop),
                    false => api.replace(name, &PostParams::default(), &object).await.map(drop),
                }
            }
            "patch" if is_status => api.patch_status(name, &PatchParams::default(), &note).await.map(drop),
            "patch" => api.patch(name, &PatchParams::default(), &note).await.map(drop),
            "delete" => api.delete(name, &delete).await.map(drop),
            other => panic!("nobody knows how to {other}"),
        }
    }

    /// Tries until it is refused, or until it is not.
    async fn until(&self, client: &Client, permission: &Permission, verb: &str, allowed: bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let done = self.attempt(client, permission, verb).await;
            let refused = matches!(&done, Err(kube::Error::Api(status)) if status.is_forbidden());
            if if allowed { done.is_ok() } else { refused } {
                return;
            }
            assert!(Instant::now() < end, "{verb} {permission:?}: allowed {allowed}, and {done:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The role that a permission is in, and the same without one of its verbs.
    fn role_and_without(&self, permission: &Permission, verb: &str) -> (&Object, Object) {
        let what = match permission.reach {
            Reach::Services => "services",
            Reach::Own => "own",
        };
        let name = format!("{}-{what}", permission.component.name());
        let role = self.roles.iter().find(|role| role.name() == name).unwrap();
        let mut without = role.clone();
        let rule = without.document["rules"].as_array_mut().unwrap().iter_mut().find(|rule| {
            let names = permission.name.map_or(Value::Null, |name| json!([name]));
            rule["apiGroups"] == json!([permission.group])
                && rule["resources"] == json!([permission.resource])
                && rule["resourceNames"] == names
        });
        let verbs = rule.unwrap()["verbs"].as_array_mut().unwrap();
        let before = verbs.len();
        verbs.retain(|found| found != verb);
        // A rule has to have a verb; this one means nothing.
        verbs.extend(verbs.is_empty().then(|| json!("nothing")));
        assert!(verbs.len() < before || verbs[0] == "nothing");
        (role, without)
    }
}

#[tokio::test]
async fn without_any_of_its_verbs_a_part_cannot_do_what_it_is_for() {
    let Some(world) = World::new("verbs").await else { return };
    let mut tried = 0;
    for permission in PERMISSIONS {
        let client = world.client_of(permission.component);
        for (verb, _) in permission.verbs {
            let (role, without) = world.role_and_without(permission, verb);
            world.until(&client, permission, verb, true).await;
            world.apply(&without).await;
            world.until(&client, permission, verb, false).await;
            world.apply(role).await;
            tried += 1;
        }
    }
    assert_eq!(tried, PERMISSIONS.iter().map(|permission| permission.verbs.len()).sum::<usize>());
    world.place.end().await;
}

#[tokio::test]
async fn what_no_part_needs_is_refused() {
    let Some(world) = World::new("refused").await else { return };
    let first = |component| PERMISSIONS.iter().find(|permission| permission.component == component).unwrap();
    let somebody = |permission: &Permission, group, resource, name| Permission { group, resource, name, ..*permission };
    for (component, group, resource, name, verbs) in [
        (Component::Operator, "", "pods", None, &["create", "get"][..]),
        (Component::Operator, "barge.dev", "webservices", None, &["create", "patch", "delete"]),
        (Component::Operator, "apps", "deployments", None, &["list", "create", "delete"]),
        (
            Component::Operator,
            "coordination.k8s.io",
            "leases",
            Some(Component::Registrar.name()),
            &["update", "delete"],
        ),
        // It may patch pods where the parts are, which is this namespace here.
        (Component::Registrar, "", "pods", None, &["create", "delete"]),
        (Component::Registrar, "barge.dev", "webservices", None, &["list"]),
        (Component::Registrar, "", "configmaps", None, &["list"]),
        (Component::Registrar, "coordination.k8s.io", "leases", Some(Component::Operator.name()), &["get"]),
    ] {
        let (allowed, client) = (first(component), world.client_of(component));
        // The roles are in force.
        world.until(&client, allowed, allowed.verbs[0].0, true).await;
        let permission = somebody(allowed, group, resource, name);
        for verb in verbs {
            let refused = world.attempt(&client, &permission, verb).await.unwrap_err();
            assert!(
                matches!(&refused, kube::Error::Api(status) if status.is_forbidden()),
                "{component:?} {verb} {resource}: {refused}"
            );
        }
    }
    let secrets: Api<k8s_openapi::api::core::v1::Secret> =
        Api::namespaced(world.client_of(Component::Operator), &world.place.namespace);
    assert!(secrets.list(&ListParams::default()).await.is_err(), "secrets are nobody's business");
    world.place.end().await;
}
