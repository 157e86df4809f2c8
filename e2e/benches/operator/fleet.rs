//! Many services in a namespace of their own: what is wanted of them is written here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use barge_crds::{ReleaseSpec, ServiceSpec, WebService, WebServiceSpec, definitions, names};
use barge_model::manifest::{Drain, EnvValue, Kind, Resources, ServiceConfig};
use barge_model::rollout::{Gate, RolloutPlan, RolloutSpec};
use barge_model::{Millis, Origin, Release, ReleaseId, ServiceKey, ServiceName, Timestamp};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::figures::Times;
use crate::seen::Seen;

pub(crate) const REPLICAS: u32 = 10;
/// So many write at once.
pub(crate) const WRITERS: usize = 50;
/// How long anything may take: all parts of a cluster share the cores with this.
const PATIENCE: Duration = Duration::from_secs(1200);

/// One service, and what is wanted of it.
pub(crate) struct Wanted {
    pub(crate) key: ServiceKey,
    pub(crate) release: Release,
    pub(crate) replicas: u32,
    version: u64,
}

impl Wanted {
    /// What its release is called.
    pub(crate) fn set(&self) -> String {
        names::of_release(&self.key.service, &self.release.id)
    }
}

/// All of them.
pub(crate) struct Fleet {
    client: Client,
    namespace: String,
    pub(crate) seen: Arc<Seen>,
    pub(crate) all: Vec<Wanted>,
    names: Vec<String>,
    watching: JoinHandle<()>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Fleet {
    /// A namespace, of which nothing is left of an earlier run; no service is in it yet.
    pub(crate) async fn new(client: Client, namespace: &str, services: usize) -> Self {
        install(&client).await;
        remove(&client, namespace).await;
        let made = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        let made: Namespace = serde_json::from_value(made).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &made).await.unwrap();
        let seen = Arc::new(Seen::default());
        let watching = {
            let (seen, client, namespace) = (Arc::clone(&seen), client.clone(), namespace.to_owned());
            tokio::spawn(async move { seen.watch(client, &namespace).await })
        };
        let all: Vec<Wanted> = (0..services).map(wanted).collect();
        let names = all.iter().map(|one| one.key.service.to_string()).collect();
        Self { client, namespace: namespace.to_owned(), seen, all, names, watching }
    }

    pub(crate) fn services(&self) -> Api<WebService> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes all services, each with a release that waits for nobody.
    pub(crate) async fn begin(&self) {
        let made = futures_util::stream::iter(&self.all).for_each_concurrent(WRITERS, async |one| {
            let rollout =
                RolloutSpec { replicas: one.replicas, target: Some(one.release.clone()), ..RolloutSpec::default() };
            let service = ServiceSpec::new(&one.key, one.version, &rollout);
            let resource = WebService::new(one.key.service.as_str(), WebServiceSpec { service });
            self.services().create(&PostParams::default(), &resource).await.unwrap();
        });
        made.await;
    }

    /// Releases something new with a gate into the first `count` of them; how long each took from the answer until its ReplicaSet was seen.
    pub(crate) async fn release(&mut self, count: usize) -> Times {
        for one in &mut self.all[..count] {
            one.release_anew(Gate::default());
        }
        let answers = self.write(count, Wanted::released).await;
        let sets: Vec<(String, Instant)> =
            self.all[..count].iter().zip(answers).map(|(one, at)| (one.set(), at)).collect();
        when_seen(&self.seen, &sets).await
    }

    /// Waits until the first `count` of them wait for approval.
    pub(crate) async fn waiting(&self, count: usize) {
        let lacks = |seen: &Seen| seen.lacking(&self.names[..count], |_, status| status.waiting_on.on == "approval");
        self.seen.until("every release waits for approval", PATIENCE, lacks).await;
    }

    /// Approves what was released into the first `count` of them.
    pub(crate) async fn approve(&mut self, count: usize) {
        self.all[..count].iter_mut().for_each(|one| one.version += 1);
        self.write(count, Wanted::approved).await;
    }

    /// Writes something of the first `count`, many at once; when each answer came, in their order.
    async fn write(&self, count: usize, what: impl Fn(&Wanted) -> Value) -> Vec<Instant> {
        let services = self.services();
        let written = futures_util::stream::iter(&self.all[..count]).map(|one| {
            let (services, patch) = (services.clone(), what(one));
            async move {
                patched(&services, &one.key.service, &patch).await;
                Instant::now()
            }
        });
        written.buffered(WRITERS).collect().await
    }

    /// Changes one of them.
    pub(crate) async fn change(&mut self, number: usize, change: impl FnOnce(&mut Wanted) -> Value) {
        let services = self.services();
        let one = &mut self.all[number];
        let patch = change(one);
        patched(&services, &one.key.service, &patch).await;
    }

    /// Waits until nothing is on its way, and every service has as many instances available as are wanted.
    pub(crate) async fn settled(&self, what: &str) {
        let wanted: BTreeMap<&str, &Wanted> = self.all.iter().map(|one| (one.key.service.as_str(), one)).collect();
        let lacks = |seen: &Seen| {
            seen.lacking(&self.names, |name, status| {
                let one = wanted[name];
                let whole = status.available == i32::try_from(one.replicas).unwrap() && status.sets.len() == 1;
                status.version == i64::try_from(one.version).unwrap()
                    && status.candidate.is_none()
                    && status.stable.is_some()
                    && whole
            })
        };
        self.seen.until(what, PATIENCE, lacks).await;
    }

    /// Takes everything away.
    pub(crate) async fn end(self) {
        remove(&self.client, &self.namespace).await;
    }
}

impl Wanted {
    /// A new release, of a new image.
    pub(crate) fn release_anew(&mut self, gate: Gate) {
        self.version += 1;
        self.release = release(&self.key, self.version, gate);
    }

    /// The specification of that.
    pub(crate) fn released(&self) -> Value {
        let mut release = json!(ReleaseSpec::from(&self.release));
        // What is not named in a patch stays as it is, and the release before may have had a gate.
        if self.release.config.rollout.gate.until.is_none() {
            release["rollout"]["gate"] = json!({ "until": null });
        }
        json!({ "spec": { "version": self.version, "release": release, "approval": null, "withdrawn": null } })
    }

    fn approved(&self) -> Value {
        let (id, digest) = (&self.release.id, &self.release.digest);
        let approval = json!({ "release": id, "digest": digest, "by": "bench", "at": "2026-01-01T00:00:00.000000Z" });
        json!({ "spec": { "version": self.version, "approval": approval } })
    }

    /// Takes the release back.
    pub(crate) fn aborted(&mut self) -> Value {
        self.version += 1;
        json!({ "spec": { "version": self.version, "withdrawn": { "release": self.release.id } } })
    }

    pub(crate) fn scaled(&mut self, replicas: u32) -> Value {
        self.version += 1;
        self.replicas = replicas;
        json!({ "spec": { "version": self.version, "replicas": replicas } })
    }
}

/// From each moment until its ReplicaSet was seen.
pub(crate) async fn when_seen(seen: &Seen, sets: &[(String, Instant)]) -> Times {
    let lacks = |seen: &Seen| {
        let unseen = sets.iter().filter(|(name, _)| seen.set(name).is_none()).count();
        (unseen > 0).then(|| format!("{unseen} are not there"))
    };
    seen.until("every release has a ReplicaSet", PATIENCE, lacks).await;
    // A watch may be faster than the answer.
    let times = sets.iter().filter_map(|(name, at)| Some(seen.set(name)?.saturating_duration_since(*at)));
    Times::new(times.collect())
}

async fn patched(services: &Api<WebService>, name: &ServiceName, patch: &Value) {
    let parameters = PatchParams::default();
    services.patch(name.as_str(), &parameters, &Patch::Merge(patch)).await.unwrap();
}

fn wanted(number: usize) -> Wanted {
    let service = ServiceName::new(format!("service-{number}")).unwrap();
    let key = ServiceKey::new("bench".parse().unwrap(), service);
    let release = release(&key, 1, Gate { until: None, hold: None });
    Wanted { key, release, replicas: REPLICAS, version: 1 }
}

/// What a project of usual size says of itself.
fn release(key: &ServiceKey, version: u64, gate: Gate) -> Release {
    let env = (1..=10).map(|number| {
        (format!("VARIABLE_{number}"), EnvValue::Text(format!("postgres://database-{number}.example.com/orders")))
    });
    Release {
        id: ReleaseId::from_parts(Timestamp::from_millis(1_764_300_000_000), u128::from(version)),
        image: format!("registry.example.com/{}", key.service),
        digest: format!("sha256:{version:064x}").parse().unwrap(),
        config: ServiceConfig {
            kind: Kind::Web,
            command: vec!["java".to_owned(), "-jar".to_owned(), "service.jar".to_owned()],
            healthcheck: None,
            templates: Vec::new(),
            replicas: None,
            env: env.collect(),
            resources: Resources::default(),
            rollout: RolloutPlan { gate, ..RolloutPlan::default() },
            drain: Drain::default(),
            start_deadline: Millis::from_secs(300),
        },
        origin: Origin::Deploy,
        created_at: Timestamp::from_millis(1_764_300_000_000),
        created_by: "bench".to_owned(),
        reason: Some("to be measured".to_owned()),
    }
}

/// The definitions, as this version has them.
async fn install(client: &Client) {
    let all: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions() {
        let name = definition.name_any();
        all.patch(&name, &PatchParams::apply("barge-bench").force(), &Patch::Apply(&definition)).await.unwrap();
        let known = kube::runtime::conditions::is_crd_established();
        let known = kube::runtime::wait::await_condition(all.clone(), &name, known);
        tokio::time::timeout(PATIENCE, known).await.unwrap().unwrap();
    }
}

/// Removes a namespace and waits until it is gone.
pub(crate) async fn remove(client: &Client, namespace: &str) {
    let all: Api<Namespace> = Api::all(client.clone());
    let Some(found) = all.get_opt(namespace).await.unwrap() else { return };
    all.delete(namespace, &DeleteParams::default()).await.unwrap();
    let uid = found.uid().unwrap();
    let gone = kube::runtime::conditions::is_deleted(&uid);
    let gone = kube::runtime::wait::await_condition(all, namespace, gone);
    tokio::time::timeout(PATIENCE, gone).await.unwrap().unwrap();
}
