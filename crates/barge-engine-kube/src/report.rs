//! From a custom resource and its pods to the report of a service.

use std::collections::HashMap;
use std::sync::Arc;

use barge_crds::convert::{self, Nonsense, SetWithoutRelease};
use barge_crds::{ServiceResource, ServiceStatus};
use barge_engine::{Desired, InstanceReport, ServiceReport};
use barge_model::rollout::{FailureReason, Observed, Outcome, RegistrarHealth, RolloutStatus, WaitingOn, step};
use barge_model::{InstanceId, Release, ReleaseId, ServiceKey, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use crate::instance::{self, Told};

/// The operator's word for a release that is frozen.
const REGISTRAR: &str = "registrar";

/// Why a service cannot be reported.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("the operator has not accepted it")]
    Specification(#[source] Nonsense),
    #[error("its status cannot be understood")]
    Status(#[source] SetWithoutRelease),
}

/// The report of a service. `definition` finds what a release is.
pub(crate) fn report<K: ServiceResource>(
    resource: &K,
    key: &ServiceKey,
    pods: &[Arc<Pod>],
    definition: impl Fn(&ReleaseId) -> Option<Release>,
    now: Timestamp,
) -> Result<ServiceReport, ReportError> {
    let nothing = ServiceStatus::default();
    let status = resource.status().unwrap_or(&nothing);
    let wanted = convert::rollout(resource).map_err(ReportError::Specification)?;
    let of_target = |id: &ReleaseId| wanted.target.as_ref().filter(|target| target.id == *id).cloned();
    let stored = convert::stored(status, |id| of_target(id).or_else(|| definition(id))).map_err(ReportError::Status)?;
    let told = told(status, &stored);
    let unknown = Told::default();
    let report = |pod: &Arc<Pod>| instance::report(pod, told.get(&instance::id(pod)?).unwrap_or(&unknown));
    let mut instances: Vec<InstanceReport> = pods.iter().filter_map(report).collect();
    instances.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let observed =
        Observed { instances: instances.iter().map(instance::observed).collect(), registrar: health(status) };
    Ok(ServiceReport {
        key: key.clone(),
        version: u64::try_from(status.version).unwrap_or(0),
        replicas: wanted.replicas,
        // The status has it as a sentence. The machine says the same again, of what it has stored itself.
        waiting_on: step(&wanted, &stored, &observed, now).waiting_on,
        status: stored,
        instances,
    })
}

/// The report of a service of which nothing was ever released: there is no resource, since nobody knows of which kind it will be.
pub(crate) fn unreleased(desired: &Desired) -> ServiceReport {
    ServiceReport {
        key: desired.key.clone(),
        version: desired.version,
        replicas: desired.rollout.replicas,
        status: RolloutStatus::default(),
        waiting_on: WaitingOn::FirstRelease,
        instances: Vec::new(),
    }
}

/// What the operator tells of instances: in its list, which may leave some out, and in the history of releases.
fn told(status: &ServiceStatus, stored: &RolloutStatus) -> HashMap<InstanceId, Told> {
    let failed = stored.finished.iter().filter_map(|end| match &end.outcome {
        Outcome::Failed { failure: FailureReason::StartFailed { instance } } => {
            Some((instance.clone(), Told { held: true, reason: None }))
        }
        _ => None,
    });
    let listed = status.instances.iter().filter_map(|one| Some((one.id.parse().ok()?, Told::from(one))));
    failed.chain(listed).collect()
}

fn health(status: &ServiceStatus) -> RegistrarHealth {
    if status.waiting_on.on != REGISTRAR {
        return RegistrarHealth::Healthy;
    }
    // The sentence with another reason shows where the reason stands in it.
    let frame = WaitingOn::Registrar { reason: "\0".to_owned() }.to_string();
    let sentence = status.waiting_on.message.as_str();
    let reason = frame.split_once('\0').and_then(|(before, after)| sentence.strip_prefix(before)?.strip_suffix(after));
    RegistrarHealth::Unhealthy { reason: reason.unwrap_or(sentence).to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barge_crds::status::WaitingStatus;

    #[test]
    fn the_reason_of_a_freeze_is_found_in_its_sentence() {
        for reason in ["the lease is old", ""] {
            let message = WaitingOn::Registrar { reason: reason.to_owned() }.to_string();
            let waiting_on = WaitingStatus { on: "registrar".to_owned(), message };
            let status = ServiceStatus { waiting_on, ..ServiceStatus::default() };
            assert_eq!(health(&status), RegistrarHealth::Unhealthy { reason: reason.to_owned() });
        }
        assert_eq!(health(&ServiceStatus::default()), RegistrarHealth::Healthy);
    }
}
