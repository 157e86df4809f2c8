//! The way between the custom resources and the machines of `barge-model`, in both directions.
//!
//! What passes the schema may still be nonsense: a name that the machines do not take, a span beyond all numbers. That is [`Nonsense`], with the
//! field's path, for a condition that people read.

mod release;
mod status;

use barge_model::rollout::{RolloutSpec, Withdrawal};
use barge_model::{Approval, EnvironmentName, InvalidName, Release, ServiceKey, ServiceName};

use crate::kinds::ServiceResource;
use crate::spec::{ApprovalSpec, ServiceSpec, WithdrawalSpec};
use crate::values::{from_time, to_time};

pub use release::resolve;
pub use status::{SetWithoutRelease, stored, to_status};

/// A specification that passes the schema and makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct Nonsense {
    /// Where, such as `spec.release.env`.
    pub path: String,
    /// What is wrong there.
    pub why: String,
}

impl Nonsense {
    /// What is wrong at a path.
    pub fn at(path: impl Into<String>, why: impl ToString) -> Self {
        Self { path: path.into(), why: why.to_string() }
    }
}

/// Which service a resource is.
///
/// # Errors
/// Its name or its environment's is none that the machines know.
pub fn key(resource: &impl ServiceResource) -> Result<ServiceKey, Nonsense> {
    let name = resource.meta().name.as_deref().unwrap_or_default();
    let name = ServiceName::new(name).map_err(|error| Nonsense::at("metadata.name", error))?;
    let environment = EnvironmentName::new(resource.spec().environment.as_str());
    Ok(ServiceKey::new(environment.map_err(|error| Nonsense::at("spec.environment", error))?, name))
}

/// What the machine is told.
///
/// # Errors
/// The first part that makes no sense.
pub fn rollout(resource: &impl ServiceResource) -> Result<RolloutSpec, Nonsense> {
    let spec = resource.spec();
    let replicas = u32::try_from(spec.replicas).map_err(|error| Nonsense::at("spec.replicas", error))?;
    if replicas > barge_model::manifest::MAX_REPLICAS {
        return Err(Nonsense::at("spec.replicas", format!("at most {}", barge_model::manifest::MAX_REPLICAS)));
    }
    let target = spec.release.as_ref().map(|release| resolve(release, kind_of(resource))).transpose()?;
    let approvals = spec.approval.as_ref().map(approval).transpose()?.into_iter().collect();
    let withdrawn = spec.withdrawn.as_ref().map(withdrawal).transpose()?;
    Ok(RolloutSpec { replicas, target, approvals, withdrawn })
}

fn kind_of<R: ServiceResource>(_: &R) -> barge_model::manifest::Kind {
    R::KIND
}

fn name<T>(path: &str, name: Result<T, InvalidName>) -> Result<T, Nonsense> {
    name.map_err(|error| Nonsense::at(path, error))
}

fn approval(spec: &ApprovalSpec) -> Result<Approval, Nonsense> {
    Ok(Approval {
        release: name("spec.approval.release", spec.release.parse())?,
        digest: name("spec.approval.digest", spec.digest.parse())?,
        by: spec.by.clone(),
        at: to_time(&spec.at),
    })
}

fn withdrawal(spec: &WithdrawalSpec) -> Result<Withdrawal, Nonsense> {
    let release = name("spec.withdrawn.release", spec.release.parse())?;
    Ok(Withdrawal { release, rolled_back: spec.rolled_back })
}

impl From<&Approval> for ApprovalSpec {
    fn from(approval: &Approval) -> Self {
        Self {
            release: approval.release.to_string(),
            digest: approval.digest.to_string(),
            by: approval.by.clone(),
            at: from_time(approval.at),
        }
    }
}

impl ServiceSpec {
    /// What the server wants of a service, as a resource says it.
    pub fn new(key: &ServiceKey, version: u64, rollout: &RolloutSpec) -> Self {
        let covers = |release: &Release| rollout.approvals.iter().rev().find(|approval| approval.covers(release));
        Self {
            environment: key.environment.to_string(),
            replicas: i32::try_from(rollout.replicas).unwrap_or(i32::MAX),
            version: i64::try_from(version).unwrap_or(i64::MAX),
            release: rollout.target.as_ref().map(Into::into),
            // The others are for releases that are not wanted any more.
            approval: rollout.target.as_ref().and_then(covers).map(Into::into),
            withdrawn: rollout.withdrawn.as_ref().map(|withdrawn| WithdrawalSpec {
                release: withdrawn.release.to_string(),
                rolled_back: withdrawn.rolled_back,
            }),
            // Said by whoever has made the resource; the server keeps it as it is.
            pods: None,
            adopts: None,
        }
    }
}
