//! Where instances are registered.

mod gateway;

use async_trait::async_trait;
use barge_model::registration::{Answer, Call, Intent};
use barge_model::{InstanceId, ServiceKey};

pub use gateway::GatewayTarget;

/// Why a target's list could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(pub String);

/// A traffic target.
#[async_trait]
pub trait RegistrationTarget: Send + Sync + 'static {
    /// Tells the target of one instance.
    async fn put(&self, key: &ServiceKey, id: &InstanceId, address: std::net::SocketAddr, call: Call) -> Answer;

    /// What the target really holds for a service: generation and state by instance.
    async fn list(&self, key: &ServiceKey) -> Result<Vec<(InstanceId, u64, Intent)>, TargetError>;
}
