//! Carries changes out. Each may have been carried out before, by somebody who was killed.

use std::sync::Arc;

use barge_crds::GROUP;
use barge_model::rollout::{Role, RolloutStatus};
use barge_model::{InstanceId, Release, ReleaseId, ServiceKey};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::build::{self, BuildError, Owner, Settings};
use crate::change::{Change, spent};
use crate::kept::Place;
use crate::names;
use crate::views::Views;

/// Why a change was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The objects of a release cannot be made.
    #[error("make the objects of a release")]
    Build(#[from] BuildError),
    /// The API server refused, or was not there.
    #[error("{doing}")]
    Write {
        /// What was being done, to which object.
        doing: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// An object with our name that is somebody else's.
    #[error("the ReplicaSet {name} is not of this service; hint: kubectl delete replicaset {name} --cascade=orphan")]
    Foreign {
        /// What it is called.
        name: String,
    },
}

/// Where changes of one service go.
pub(crate) struct Writer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) views: &'a Views,
    pub(crate) settings: &'a Settings,
    pub(crate) owner: &'a Owner,
    pub(crate) key: &'a ServiceKey,
}

impl Writer<'_> {
    /// Carries out one change. `definition` is that of the release in question.
    pub(crate) async fn apply(
        &self,
        change: &Change,
        definition: impl Fn(&ReleaseId) -> Option<Release>,
    ) -> Result<(), ApplyError> {
        match change {
            Change::Keep { release, role, pods } => match self.set(release) {
                Some(set) => self.change_set(&set, *role, *pods).await,
                None => match definition(release) {
                    Some(release) => self.make_set(&release, *role, *pods).await,
                    None => Ok(()),
                },
            },
            Change::Disown { release } => match self.set(release) {
                Some(set) => self.disown(release, &set).await,
                None => Ok(()),
            },
            Change::Delete { instance } => self.delete(instance).await,
        }
    }

    /// Brings the ConfigMap of a release back, where it is not there. Pods cannot start without it.
    pub(crate) async fn pin(&self, release: &Release) -> Result<(), ApplyError> {
        let map = build::config_map(self.owner, self.key, release, self.settings)?;
        // Whatever a later version would write there: what is there cannot change, and must not (I9).
        if self.views.maps.get(&self.owner.namespace, &map.name_any()).is_some() {
            return Ok(());
        }
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.owner.namespace);
        match api.create(&PostParams::default(), &map).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            made => made.map(drop).map_err(|error| failed("make the ConfigMap", &map.name_any(), error)),
        }
    }

    /// Removes the ConfigMaps of releases that nobody needs any more.
    pub(crate) async fn unpin(&self, status: &RolloutStatus) -> Result<(), ApplyError> {
        let place = Place::new(&self.owner.namespace, self.key);
        let (pods, sets) = (self.views.pods.of(&place), self.views.sets.of(&place));
        let left = pods.iter().filter_map(|pod| release_of(pod.as_ref()));
        // Also those that are about to go.
        let left: Vec<ReleaseId> = left.chain(sets.iter().filter_map(|set| release_of(set.as_ref()))).collect();
        let maps = self.views.maps.of(&place);
        let written = maps.iter().filter_map(|map| release_of(map.as_ref())).collect();
        for release in spent(written, status, &left) {
            let name = names::of_release(&self.key.service, &release);
            let Some(map) = maps.iter().find(|map| map.name_any() == name) else { continue };
            let preconditions = Preconditions { uid: map.uid(), resource_version: None };
            let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.owner.namespace);
            let deleted = api.delete(&name, &delete).await;
            gone_is_fine(deleted.map(drop)).map_err(|error| failed("delete the ConfigMap", &name, error))?;
        }
        Ok(())
    }

    fn set(&self, release: &ReleaseId) -> Option<Arc<ReplicaSet>> {
        let sets = self.views.sets_of(&self.owner.namespace, self.key);
        sets.into_iter().find(|set| set.labels().get(names::RELEASE).is_some_and(|id| id == release.as_str()))
    }

    fn sets(&self) -> Api<ReplicaSet> {
        Api::namespaced(self.client.clone(), &self.owner.namespace)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.owner.namespace)
    }

    async fn make_set(&self, release: &Release, role: Role, pods: u32) -> Result<(), ApplyError> {
        self.pin(release).await?;
        let set = build::replica_set(self.owner, self.key, release, (role, pods), self.settings)?;
        match self.sets().create(&PostParams::default(), &set).await {
            Ok(made) => {
                self.views.wrote_set(self.key, &made);
                Ok(())
            }
            // Made by us a moment ago, and not told of yet; or one of that name is about to go.
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(failed("make the ReplicaSet", &set.name_any(), error)),
        }
    }

    async fn change_set(&self, set: &ReplicaSet, role: Role, pods: u32) -> Result<(), ApplyError> {
        let name = set.name_any();
        if !set.owner_references().iter().any(|owner| owner.uid == self.owner.reference.uid) {
            return Err(ApplyError::Foreign { name });
        }
        // Of that version alone: who has written since may have had a reason.
        let patch = json!({
            "metadata": { "labels": { names::ROLE: names::role(role) }, "resourceVersion": set.resource_version() },
            "spec": { "replicas": pods },
        });
        let patched = self.sets().patch(&name, &parameters(), &Patch::Merge(patch)).await;
        let patched = patched.map_err(|error| failed("change the ReplicaSet", &name, error))?;
        self.views.wrote_set(self.key, &patched);
        Ok(())
    }

    /// The pods become the custom resource's first, so that they go with it.
    async fn disown(&self, release: &ReleaseId, set: &ReplicaSet) -> Result<(), ApplyError> {
        let (name, uid) = (set.name_any(), set.uid());
        let mut reference = self.owner.reference.clone();
        reference.controller = None;
        for pod in self.views.pods_of(&self.owner.namespace, self.key) {
            let is_of_set = pod.labels().get(names::RELEASE).is_some_and(|id| id == release.as_str());
            if is_of_set && !pod.owner_references().iter().any(|owner| owner.uid == reference.uid) {
                let patch = json!({ "metadata": { "uid": pod.uid(), "ownerReferences": [reference] } });
                let patched = self.pods().patch(&pod.name_any(), &parameters(), &Patch::Strategic(patch)).await;
                gone_is_fine(patched.map(drop)).map_err(|error| failed("take over the pod", &pod.name_any(), error))?;
            }
        }
        let delete = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Orphan),
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        let deleted = self.sets().delete(&name, &delete).await;
        gone_is_fine(deleted.map(drop)).map_err(|error| failed("delete the ReplicaSet", &name, error))?;
        self.views.deleted_set(self.key, set);
        Ok(())
    }

    async fn delete(&self, instance: &InstanceId) -> Result<(), ApplyError> {
        let pods = self.views.pods_of(&self.owner.namespace, self.key);
        let is_it = |pod: &&Arc<Pod>| pod.uid().and_then(|uid| names::instance(&uid)).as_ref() == Some(instance);
        let Some(pod) = pods.iter().find(is_it) else { return Ok(()) };
        let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
        let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let deleted = self.pods().delete(&pod.name_any(), &delete).await;
        gone_is_fine(deleted.map(drop)).map_err(|error| failed("delete the pod", &pod.name_any(), error))?;
        self.views.deleted_pod(self.key, pod);
        Ok(())
    }
}

fn release_of(object: &impl ResourceExt) -> Option<ReleaseId> {
    object.labels().get(names::RELEASE)?.parse().ok()
}

/// Who writes.
pub(crate) fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(format!("operator.{GROUP}")), ..PatchParams::default() }
}

/// What is not there need not be removed.
fn gone_is_fine(done: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match done {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        done => done,
    }
}

fn failed(doing: &str, name: &str, source: kube::Error) -> ApplyError {
    ApplyError::Write { doing: format!("{doing} {name}"), source: Box::new(source) }
}
