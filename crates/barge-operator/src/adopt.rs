//! A Deployment that gives its place to a service: how many instances it keeps meanwhile, so that never fewer are available than are
//! wanted.
//!
//! Pure, but for `look` and `write`. What the Deployment had before is written on it with the first instance that is taken from it, and
//! stays there until it is given back: whoever wants to know how many to bring back needs nothing else. Once the service has its place
//! it is left alone, whatever others do with it.
//!
//! It leaves out what a service is made of: `barge adopt` writes that.

use barge_crds::names;
use barge_crds::spec::AdoptionSpec;
use barge_model::ReleaseId;
use barge_model::rollout::{ObservedInstance, Phase, Role, RolloutSpec, RolloutStatus, Withdrawal};
use k8s_openapi::api::apps::v1;
use kube::api::{Api, Patch};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::apply::parameters;
use crate::change::Change;

/// The condition of a service that has taken a Deployment's place.
pub const ADOPTED: &str = "Adopted";

/// The Deployment, as far as it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deployment {
    /// How many instances it is to have.
    pub replicas: u32,
    /// How many of them are available.
    pub available: u32,
    /// How many it had before the first one was taken from it; nothing while it is untouched.
    pub before: Option<u32>,
    /// Who has taken its place, or does so.
    pub adopted_by: Option<String>,
    /// The version that was read.
    pub version: Option<String>,
}

impl From<&v1::Deployment> for Deployment {
    fn from(found: &v1::Deployment) -> Self {
        let count = |number: Option<i32>| u32::try_from(number.unwrap_or(0)).unwrap_or(0);
        let annotation = |name: &str| found.annotations().get(name).cloned();
        Self {
            // Without a number Kubernetes means one.
            replicas: count(found.spec.as_ref().map(|spec| spec.replicas.unwrap_or(1))),
            available: count(found.status.as_ref().and_then(|status| status.available_replicas)),
            before: annotation(names::REPLICAS_BEFORE).and_then(|number| number.parse().ok()),
            adopted_by: annotation(names::ADOPTED_BY),
            version: found.resource_version(),
        }
    }
}

/// The Deployment was not looked at or told.
#[derive(Debug, thiserror::Error)]
#[error("{doing} the Deployment {name}")]
pub struct AdoptError {
    doing: &'static str,
    name: String,
    source: Box<kube::Error>,
}

/// What is done with the Deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The service has no release that people have said is good: the Deployment has all that it had.
    Whole,
    /// One instance after the other is taken from it.
    Taking,
    /// It is given back.
    Returning,
}

/// A service's adoption of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption<'a> {
    /// What is wanted.
    pub spec: &'a AdoptionSpec,
    /// What the service is called on the Deployment, such as `WebService/shop`.
    pub service: String,
    /// The Deployment; nothing where there is none.
    pub deployment: Option<Deployment>,
    /// Registrations do not go through: nobody who serves is stopped (R5).
    pub frozen: bool,
}

/// What a Deployment is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// So many instances, and how many it had before.
    Scale {
        /// Instances.
        replicas: u32,
        /// Before the first one was taken.
        before: u32,
    },
    /// It is nobody's but its own again.
    Free,
}

impl Adoption<'_> {
    /// Somebody else's Deployment is nothing to touch.
    fn is_others(&self) -> bool {
        let by = self.deployment.as_ref().and_then(|deployment| deployment.adopted_by.as_deref());
        by.is_some_and(|by| by != self.service)
    }

    /// Whether nobody misses instances that the service takes away from itself: the Deployment has all that it had.
    fn is_whole(&self, replicas: u32) -> bool {
        match &self.deployment {
            _ if self.is_others() => false,
            Some(deployment) => deployment.available >= self.full(deployment, replicas),
            None => false,
        }
    }

    /// What it comes back to. Who gives a place back that has grown meanwhile gives it back as it is.
    fn full(&self, deployment: &Deployment, replicas: u32) -> u32 {
        match deployment.before {
            Some(before) if self.spec.undo => before.max(replicas),
            Some(before) => before,
            None => 0,
        }
    }

    /// What the rollout machine is told. With an undo there is to be nothing of the service, once the Deployment is whole again.
    pub fn wanted(&self, wanted: RolloutSpec) -> RolloutSpec {
        if !self.spec.undo || !self.is_whole(wanted.replicas) {
            return wanted;
        }
        let withdrawn =
            wanted.target.as_ref().map(|target| Withdrawal { release: target.id.clone(), rolled_back: true });
        RolloutSpec { replicas: 0, withdrawn, ..wanted }
    }

    /// Where it stands.
    pub fn stage(&self, status: &RolloutStatus) -> Stage {
        match () {
            () if self.spec.undo => Stage::Returning,
            () if status.set(Role::Stable).is_some() || is_past_the_gate(status) => Stage::Taking,
            () => Stage::Whole,
        }
    }

    /// What the Deployment is to be told, if anything. `replicas` are wanted of the service.
    pub fn told(&self, replicas: u32, status: &RolloutStatus, instances: &[ObservedInstance]) -> Option<Told> {
        let deployment = self.deployment.as_ref().filter(|_| !self.is_others())?;
        match (self.stage(status), deployment.before) {
            (Stage::Taking, _) if self.is_over(status) => None,
            (Stage::Taking, before) => {
                let before = before.unwrap_or(deployment.replicas);
                let replicas = replicas.saturating_sub(serving(status, instances)).min(before);
                let (takes, same) = (replicas < deployment.replicas, replicas == deployment.replicas);
                let nothing = (takes && self.frozen) || (same && deployment.before.is_some());
                (!nothing).then_some(Told::Scale { replicas, before })
            }
            // Never touched, or given back.
            (Stage::Whole | Stage::Returning, None) => None,
            (Stage::Returning, Some(_)) if self.is_whole(replicas) && instances.is_empty() => Some(Told::Free),
            (Stage::Whole | Stage::Returning, Some(before)) => {
                let replicas = self.full(deployment, replicas);
                (replicas != deployment.replicas).then_some(Told::Scale { replicas, before })
            }
        }
    }

    /// The service has the place, and the Deployment nothing any more. An instance that is lost later is none of the Deployment's business.
    fn is_over(&self, status: &RolloutStatus) -> bool {
        let nothing_left = |deployment: &Deployment| deployment.before.is_some() && deployment.replicas == 0;
        status.set(Role::Stable).is_some() && self.deployment.as_ref().is_none_or(nothing_left)
    }

    /// The changes without those that would take instances away while the Deployment is not whole again: a release that failed on its
    /// way goes only after others can serve in its place.
    pub fn hold(
        &self,
        changes: Vec<Change>,
        status: &RolloutStatus,
        pods: impl Fn(&ReleaseId) -> Option<u32>,
    ) -> Vec<Change> {
        let touched = self.deployment.as_ref().is_some_and(|deployment| deployment.before.is_some());
        let goes = self.stage(status) == Stage::Taking || !touched || self.is_others() || self.is_whole(0);
        let lessens = |change: &Change| match change {
            Change::Delete { .. } => true,
            Change::Keep { release, pods: wanted, .. } => pods(release).is_some_and(|there| *wanted < there),
            Change::Disown { .. } => false,
        };
        changes.into_iter().filter(|change| goes || !lessens(change)).collect()
    }

    /// Whether the Deployment is about to change without that anybody tells of it.
    pub fn is_under_way(&self, status: &RolloutStatus, instances: &[ObservedInstance]) -> bool {
        let Some(deployment) = self.deployment.as_ref().filter(|_| !self.is_others()) else { return false };
        match (self.stage(status), deployment.before) {
            (Stage::Taking, _) => !self.is_over(status),
            (Stage::Whole, before) => before.is_some() && !self.is_whole(0),
            (Stage::Returning, before) => before.is_some() || !instances.is_empty(),
        }
    }

    /// How it stands, for the condition: whether it is over, in one word, and as a sentence.
    pub fn condition(&self, status: &RolloutStatus, instances: &[ObservedInstance]) -> (bool, &'static str, String) {
        let name = &self.spec.deployment;
        let Some(deployment) = &self.deployment else {
            let sentence = match self.spec.undo {
                true => format!("there is no Deployment {name} that the place could be given back to"),
                false => format!("there is no Deployment {name} any more"),
            };
            return (!self.spec.undo && self.is_over(status), "Gone", sentence);
        };
        if let Some(other) = deployment.adopted_by.as_ref().filter(|_| self.is_others()) {
            return (false, "Taken", format!("the Deployment {name} has given its place to {other}"));
        }
        let (left, before) = (deployment.replicas, deployment.before.unwrap_or(deployment.replicas));
        match self.stage(status) {
            Stage::Taking if self.is_over(status) => {
                (true, "Complete", format!("the service has the place of the Deployment {name}"))
            }
            Stage::Taking => (false, "Taking", format!("the Deployment {name} has {left} of {before} instances left")),
            Stage::Whole => (false, "Waiting", format!("the Deployment {name} serves with {left} instances")),
            Stage::Returning if deployment.before.is_none() && instances.is_empty() => {
                (false, "GivenBack", format!("the Deployment {name} has its place again"))
            }
            Stage::Returning => {
                let available = deployment.available;
                (
                    false,
                    "Returning",
                    format!("the Deployment {name} comes back: {available} of {before} instances are available"),
                )
            }
        }
    }
}

fn is_past_the_gate(status: &RolloutStatus) -> bool {
    let phase = status.candidate.as_ref().map(|progress| &progress.phase);
    matches!(phase, Some(Phase::Progressing { .. } | Phase::Pausing { .. }))
}

/// Instances that serve and that nobody is about to take away: of the stable release, and of one that is past its gate.
fn serving(status: &RolloutStatus, instances: &[ObservedInstance]) -> u32 {
    let counts = |release: &ReleaseId| {
        status.sets.iter().any(|set| {
            set.release.id == *release
                && match set.role {
                    Role::Stable => true,
                    Role::Candidate => is_past_the_gate(status),
                    Role::Defunct => false,
                }
        })
    };
    let serving = instances.iter().filter(|instance| instance.available() && counts(&instance.release));
    u32::try_from(serving.count()).unwrap_or(u32::MAX)
}

/// Looks at the Deployment.
pub(crate) async fn look(client: &Client, namespace: &str, name: &str) -> Result<Option<Deployment>, AdoptError> {
    let api: Api<v1::Deployment> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(|error| failed("look at", name, error))?;
    Ok(found.as_ref().map(Deployment::from))
}

/// Tells the Deployment, in the version that was read: whoever has written since may have had a reason.
pub(crate) async fn write(
    client: &Client,
    namespace: &str,
    adoption: &Adoption<'_>,
    told: &Told,
) -> Result<(), AdoptError> {
    let (by, before, replicas) = match told {
        Told::Scale { replicas, before } => (json!(adoption.service), json!(before.to_string()), json!(replicas)),
        Told::Free => (Value::Null, Value::Null, Value::Null),
    };
    let version = adoption.deployment.as_ref().and_then(|deployment| deployment.version.as_ref());
    let annotations = json!({ names::ADOPTED_BY: by, names::REPLICAS_BEFORE: before });
    let mut patch = json!({ "metadata": { "annotations": annotations, "resourceVersion": version } });
    if !replicas.is_null() {
        patch["spec"] = json!({ "replicas": replicas });
    }
    let name = &adoption.spec.deployment;
    let api: Api<v1::Deployment> = Api::namespaced(client.clone(), namespace);
    match api.patch(name, &parameters(), &Patch::Merge(patch)).await {
        // The next look shows what there is now.
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
        written => written.map(drop).map_err(|error| failed("scale", name, error)),
    }
}

fn failed(doing: &'static str, name: &str, source: kube::Error) -> AdoptError {
    AdoptError { doing, name: name.to_owned(), source: Box::new(source) }
}
