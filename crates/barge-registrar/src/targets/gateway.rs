//! The embedded gateway, in the same process.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use barge_gateway::{PutError, Table};
use barge_model::registration::{Answer, Call};
use barge_model::{InstanceId, ServiceKey};
use tokio::sync::Mutex;

use super::{Held, RegistrationTarget, TargetError, held, registration};

/// Registers in a gateway's table.
#[derive(Debug, Clone)]
pub struct GatewayTarget {
    table: Arc<Table>,
    /// The table takes one registration at a time. Those that wait for a disk that hangs wait here, and take no thread for it.
    turn: Arc<Mutex<()>>,
}

impl GatewayTarget {
    /// A target over `table`.
    pub fn new(table: Arc<Table>) -> Self {
        Self { table, turn: Arc::default() }
    }
}

#[async_trait]
impl RegistrationTarget for GatewayTarget {
    async fn put(&self, key: &ServiceKey, id: &InstanceId, address: SocketAddr, call: Call) -> Answer {
        let put = registration(address, call);
        let (table, of, instance) = (Arc::clone(&self.table), key.clone(), id.clone());
        let turn = Arc::clone(&self.turn).lock_owned().await;
        // The table writes to disk before it answers; whatever else runs on this thread must not wait for that.
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            table.put(&of, &instance, put)
        });
        let error: Box<dyn Error + Send + Sync> = match asked.await {
            Ok(Ok(_)) => return Answer::Applied,
            Ok(Err(PutError::Older { stored, terminal })) => return Answer::Older { stored, terminal },
            Ok(Err(error @ PutError::Snapshot(_))) => error.into(),
            Err(broken) => broken.into(),
        };
        tracing::warn!(%key, instance = %id, error = &*error as &dyn Error, "the gateway took no registration");
        Answer::Failed
    }

    async fn list(&self, key: &ServiceKey) -> Result<BTreeMap<InstanceId, Held>, TargetError> {
        Ok(held(self.table.list(key).1))
    }

    async fn in_flight(&self, key: &ServiceKey, id: &InstanceId) -> Result<u64, TargetError> {
        Ok(self.table.traffic(key, id).map_or(0, |traffic| traffic.in_flight))
    }
}
