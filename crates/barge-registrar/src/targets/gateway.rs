//! The embedded gateway, in the same process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use barge_gateway::{Put, PutError, Table};
use barge_model::registration::{Answer, Call};
use barge_model::{InstanceId, ServiceKey};

use super::{Held, RegistrationTarget, TargetError};

/// Registers in a gateway's table.
#[derive(Debug, Clone)]
pub struct GatewayTarget {
    table: Arc<Table>,
}

impl GatewayTarget {
    /// A target over `table`.
    pub fn new(table: Arc<Table>) -> Self {
        Self { table }
    }
}

#[async_trait]
impl RegistrationTarget for GatewayTarget {
    async fn put(&self, key: &ServiceKey, id: &InstanceId, address: SocketAddr, call: Call) -> Answer {
        let put =
            Put { address, generation: call.generation, epoch: 0, state: call.state, weight: 1, meta: BTreeMap::new() };
        match self.table.put(key, id, put) {
            Ok(_) => Answer::Applied,
            Err(PutError::Older { stored, terminal }) => Answer::Older { stored, terminal },
            Err(error @ PutError::Snapshot(_)) => {
                tracing::warn!(%key, instance = %id, error = &error as &dyn std::error::Error, "the gateway took no registration");
                Answer::Failed
            }
        }
    }

    async fn list(&self, key: &ServiceKey) -> Result<BTreeMap<InstanceId, Held>, TargetError> {
        let (_, list) = self.table.list(key);
        let held = |put: Put| Held { address: put.address, generation: put.generation, state: put.state };
        Ok(list.into_iter().map(|listed| (listed.uid, held(listed.put))).collect())
    }
}
