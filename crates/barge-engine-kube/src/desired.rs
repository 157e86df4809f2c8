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
        // No word of the server's: a service that was adopted, say, keeps what its callers know it by.
        (spec.pods, spec.adopts) = (found.spec().pods.clone(), found.spec().adopts.clone());
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

#[cfg(test)]
mod tests {
    use super::*;
    use barge_crds::{WebService, WebServiceSpec};
    use barge_model::rollout::RolloutSpec;
    use barge_world::{key, release};

    fn desired(version: u64, replicas: u32) -> Desired {
        let target = Some(release(1));
        Desired { key: key(), version, rollout: RolloutSpec { replicas, target, ..RolloutSpec::default() } }
    }

    /// The resource as it is once a desired state was written, and an autoscaler has had its say.
    fn found(version: u64, replicas: u32, scaled: i32) -> WebService {
        let wanted = desired(version, replicas);
        let mut service = ServiceSpec::new(&wanted.key, wanted.version, &wanted.rollout);
        service.replicas = scaled;
        let mut found = WebService::new("greeter", WebServiceSpec { service });
        found.metadata.annotations = Some([(REPLICAS.to_owned(), replicas.to_string())].into());
        found.metadata.resource_version = Some("42".to_owned());
        found
    }

    #[test]
    fn the_latest_version_stays_and_the_number_is_whose_word_was_last() {
        // What the server wants, what it has written and what an autoscaler has made of that; then the number that is written.
        for (wanted, there, expected) in [
            ((2, 5), (1, 5, 5), Some(5)),
            ((2, 5), (1, 5, 9), Some(9)),
            ((2, 6), (1, 5, 9), Some(6)),
            ((2, 9), (1, 5, 9), Some(9)),
            ((1, 6), (1, 5, 5), Some(6)),
            ((1, 5), (1, 5, 9), None),
        ] {
            let found = found(there.0, there.1, there.2);
            let written = match write(&desired(wanted.0, wanted.1), Some(&found)) {
                Write::Apply(patch) => {
                    assert_eq!(patch["metadata"]["resourceVersion"], "42");
                    assert_eq!(patch["metadata"]["annotations"][REPLICAS], wanted.1.to_string());
                    patch["spec"]["replicas"].as_i64()
                }
                Write::Nothing => None,
                Write::Stale(_) => panic!("{wanted:?} {there:?}"),
            };
            assert_eq!(written, expected, "{wanted:?} {there:?}");
        }
        assert_eq!(write(&desired(3, 5), Some(&found(4, 5, 5))), Write::Stale(4));
        let Write::Apply(patch) = write::<WebService>(&desired(3, 5), None) else { panic!() };
        assert_eq!((&patch["kind"], &patch["spec"]["version"]), (&json!("WebService"), &json!(3)));
        assert!(patch["metadata"]["resourceVersion"].is_null());
    }

    #[test]
    fn a_resource_that_somebody_else_has_made_gets_the_server_s_number() {
        let mut found = found(0, 5, 9);
        found.metadata.annotations = None;
        let Write::Apply(patch) = write(&desired(1, 5), Some(&found)) else { panic!() };
        assert_eq!(patch["spec"]["replicas"], 5);
    }
}
