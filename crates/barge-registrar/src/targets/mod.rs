//! Where instances are registered.

mod gateway;
mod remote;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use barge_gateway::{Listed, Put};
use barge_model::registration::{Answer, Call, Intent};
use barge_model::{InstanceId, ServiceKey};

pub use gateway::GatewayTarget;
pub use remote::{GatewayAddress, NoGatewayAddress, RemoteGateway};

/// Why a target's list could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(pub String);

/// One instance as a target really holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Where it is said to answer.
    pub address: SocketAddr,
    /// The generation of the registration.
    pub generation: u64,
    /// What it is to the target.
    pub state: Intent,
}

/// What a gateway is told of an instance.
fn registration(address: SocketAddr, call: Call) -> Put {
    Put { address, generation: call.generation, epoch: 0, state: call.state, weight: 1, meta: BTreeMap::new() }
}

/// What a gateway's list holds, by instance.
fn held(list: Vec<Listed>) -> BTreeMap<InstanceId, Held> {
    let held = |put: Put| Held { address: put.address, generation: put.generation, state: put.state };
    list.into_iter().map(|listed| (listed.uid, held(listed.put))).collect()
}

/// A traffic target.
#[async_trait]
pub trait RegistrationTarget: Send + Sync + 'static {
    /// Tells the target of one instance.
    async fn put(&self, key: &ServiceKey, id: &InstanceId, address: SocketAddr, call: Call) -> Answer;

    /// What the target really holds for a service, by instance. Where a target serves several registrars, each is shown its own
    /// instances alone: what nobody here knows is taken back.
    async fn list(&self, key: &ServiceKey) -> Result<BTreeMap<InstanceId, Held>, TargetError>;

    /// How many requests of an instance are not answered in full yet: the zero-traffic check. None of one that the target does not know.
    async fn in_flight(&self, key: &ServiceKey, id: &InstanceId) -> Result<u64, TargetError>;
}

/// A target may be shared, and which one it is may be a matter of configuration.
#[async_trait]
impl<T: RegistrationTarget + ?Sized> RegistrationTarget for std::sync::Arc<T> {
    async fn put(&self, key: &ServiceKey, id: &InstanceId, address: SocketAddr, call: Call) -> Answer {
        (**self).put(key, id, address, call).await
    }

    async fn list(&self, key: &ServiceKey) -> Result<BTreeMap<InstanceId, Held>, TargetError> {
        (**self).list(key).await
    }

    async fn in_flight(&self, key: &ServiceKey, id: &InstanceId) -> Result<u64, TargetError> {
        (**self).in_flight(key, id).await
    }
}
