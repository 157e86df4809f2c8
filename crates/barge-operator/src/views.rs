//! What the cluster is known to be: the watches' latest news, kept by object.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use barge_model::rollout::Role;
use barge_model::{InstanceId, Release, ReleaseId, ServiceKey};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use tokio::sync::Notify;

use crate::kept::{Kept, Place};
use crate::names;
use crate::observe::{Said, is_to_be_asked};

/// Whoever has written waits no longer than this for the news of it: a watch may have broken meanwhile and begun anew.
const PATIENCE: Duration = Duration::from_secs(10);

/// The objects of all services, and what was said by barge-init.
#[derive(Debug, Default)]
pub struct Views {
    /// All pods of ours.
    pub pods: Kept<Pod>,
    /// All ReplicaSets of ours.
    pub sets: Kept<ReplicaSet>,
    /// All ConfigMaps of ours.
    pub maps: Kept<ConfigMap>,
    /// Of those that were asked; nothing where none of them ever answered.
    said: Mutex<HashMap<InstanceId, Option<Said>>>,
    /// Somebody waits for an answer.
    pub(crate) asks: Notify,
    written: Mutex<HashMap<Place, Vec<Written>>>,
}

/// Something that was written, of which the watches have not told yet.
#[derive(Debug)]
struct Written {
    what: What,
    at: Instant,
}

#[derive(Debug)]
enum What {
    /// The ReplicaSet of this name in this version, or a later one.
    Set(String, u64),
    /// No ReplicaSet of this name and this UID any more.
    NoSet(String, String),
    /// A pod of this name and this UID that is ending, or none.
    NoPod(String, String),
}

impl Views {
    /// The pods of a service.
    pub fn pods_of(&self, namespace: &str, key: &ServiceKey) -> Vec<Arc<Pod>> {
        self.pods.of(&Place::new(namespace, key))
    }

    /// The ReplicaSets of a service that are not about to go.
    pub fn sets_of(&self, namespace: &str, key: &ServiceKey) -> Vec<Arc<ReplicaSet>> {
        let all = self.sets.of(&Place::new(namespace, key)).into_iter();
        all.filter(|set| set.metadata.deletion_timestamp.is_none()).collect()
    }

    /// What a release is: from its ConfigMap, or else from its ReplicaSet.
    pub fn definition(&self, namespace: &str, key: &ServiceKey, release: &ReleaseId) -> Option<Release> {
        let name = names::of_release(&key.service, release);
        let map = self.maps.get(namespace, &name);
        let of_map = map.as_ref().and_then(|map| map.data.as_ref()?.get("release.json"));
        let set = self.sets.get(namespace, &name);
        let of_set = set.as_ref().and_then(|set| set.metadata.annotations.as_ref()?.get(names::DEFINITION));
        let texts = of_map.into_iter().chain(of_set);
        texts.filter_map(|text| serde_json::from_str::<Release>(text).ok()).find(|found| found.id == *release)
    }

    /// What barge-init has said last of an instance.
    pub fn said(&self, instance: &InstanceId) -> Option<Said> {
        lock(&self.said).get(instance).cloned().flatten()
    }

    /// Whether all of a service's pods that are to be asked were asked; whoever has just begun knows nothing of any. Sees to it that they are.
    pub fn is_asked(&self, pods: &[Arc<Pod>]) -> bool {
        let said = lock(&self.said);
        let asked = pods.iter().filter_map(|pod| is_to_be_asked(pod.as_ref())).all(|(id, _)| said.contains_key(&id));
        if !asked {
            self.asks.notify_one();
        }
        asked
    }

    /// Keeps what was said of those that were asked, and nothing of others; true where it is news. Who does not answer now is taken at his
    /// last word.
    pub fn hear(&self, mut news: HashMap<InstanceId, Option<Said>>) -> bool {
        let mut said = lock(&self.said);
        for (id, answer) in news.iter_mut().filter(|(_, answer)| answer.is_none()) {
            *answer = said.get(id).cloned().flatten();
        }
        let changed = *said != news;
        *said = news;
        changed
    }

    /// A ReplicaSet was written.
    pub(crate) fn wrote_set(&self, key: &ServiceKey, set: &ReplicaSet) {
        self.wrote(set, key, What::Set(set.name_any(), version(set)));
    }

    /// A ReplicaSet was deleted.
    pub(crate) fn deleted_set(&self, key: &ServiceKey, set: &ReplicaSet) {
        self.wrote(set, key, What::NoSet(set.name_any(), set.uid().unwrap_or_default()));
    }

    /// A pod was deleted.
    pub(crate) fn deleted_pod(&self, key: &ServiceKey, pod: &Pod) {
        self.wrote(pod, key, What::NoPod(pod.name_any(), pod.uid().unwrap_or_default()));
    }

    fn wrote(&self, object: &impl ResourceExt, key: &ServiceKey, what: What) {
        let place = Place::new(&object.namespace().unwrap_or_default(), key);
        lock(&self.written).entry(place).or_default().push(Written { what, at: Instant::now() });
    }

    /// Whether the watches have told of all that was written for a service.
    pub fn is_up_to_date(&self, namespace: &str, key: &ServiceKey) -> bool {
        let mut all = lock(&self.written);
        let place = Place::new(namespace, key);
        let Some(written) = all.get_mut(&place) else { return true };
        written.retain(|written| written.at.elapsed() < PATIENCE && !self.has_told(namespace, &written.what));
        let told = written.is_empty();
        if told {
            all.remove(&place);
        }
        told
    }

    fn has_told(&self, namespace: &str, what: &What) -> bool {
        match what {
            What::Set(name, least) => self.sets.get(namespace, name).is_some_and(|set| version(set.as_ref()) >= *least),
            What::NoSet(name, uid) => is_going(self.sets.get(namespace, name).as_deref(), uid),
            What::NoPod(name, uid) => is_going(self.pods.get(namespace, name).as_deref(), uid),
        }
    }
}

/// Whether the object of that UID is no more, or about to go.
fn is_going(object: Option<&impl ResourceExt>, uid: &str) -> bool {
    object.is_none_or(|object| object.uid().as_deref() != Some(uid) || object.meta().deletion_timestamp.is_some())
}

/// The ReplicaSets of a service as the changes are told of them.
pub fn roles(sets: &[Arc<ReplicaSet>]) -> BTreeMap<ReleaseId, (Role, u32)> {
    let role = |set: &ReplicaSet| {
        let labels = set.metadata.labels.as_ref()?;
        let release: ReleaseId = labels.get(names::RELEASE)?.parse().ok()?;
        // One whose role somebody has taken away has none that is right.
        let role = match labels.get(names::ROLE).map(String::as_str) {
            Some("stable") => Role::Stable,
            Some("candidate") => Role::Candidate,
            _ => Role::Defunct,
        };
        let pods = set.spec.as_ref()?.replicas.unwrap_or(1);
        Some((release, (role, u32::try_from(pods).unwrap_or(0))))
    };
    sets.iter().filter_map(|set| role(set)).collect()
}

/// Versions of one object grow (KEP-5504).
fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
