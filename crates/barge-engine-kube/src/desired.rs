//! What is to be written of a desired state, beside what there is already.
//!
//! An autoscaler writes the number of instances through the scale subresource, at any time. The server's number is a person's word, and
//! counts when it is said: it is written when it is another one than the server has written last, which is noted on the resource. With every other
//! change, an approval or a release, the number that is there is written back, in the version in which it was read; so nobody is fought with.

use std::collections::BTreeMap;

use barge_crds::{ServiceResource, ServiceSpec};
use barge_engine::Desired;
use serde_json::{Value, json};

/// The number of instances that the server has written last.
pub(crate) const REPLICAS: &str = "barge.dev/server-replicas";

/// What follows from a desired state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Write {
    /// The resource is later; its version.
    Stale(u64),
    /// Everything is there already.
    Nothing,
    /// To be applied. It holds for the version of the resource that was read alone, where there is one.
    Apply(Value),
}

/// Decides. `found` is the resource that there is.
pub(crate) fn write<K: ServiceResource>(desired: &Desired, found: Option<&K>) -> Write {
    let mut spec = ServiceSpec::new(&desired.key, desired.version, &desired.rollout);
    if let Some(later) = found.map(|found| found.spec().version).filter(|version| *version > spec.version) {
        return Write::Stale(u64::try_from(later).unwrap_or(0));
    }
    let asked = spec.replicas.to_string();
    if let Some(found) = found {
        if annotation(found) == Some(&asked) {
            spec.replicas = found.spec().replicas;
        }
        if *found.spec() == spec && annotation(found) == Some(&asked) {
            return Write::Nothing;
        }
    }
    let version = found.and_then(|found| found.meta().resource_version.clone());
    Write::Apply(json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {
            "name": desired.key.service,
            "annotations": BTreeMap::from([(REPLICAS, asked)]),
            "resourceVersion": version,
        },
        "spec": spec,
    }))
}

fn annotation<K: ServiceResource>(found: &K) -> Option<&String> {
    found.meta().annotations.as_ref()?.get(REPLICAS)
}
