//! A gateway in a process of its own, through the registration protocol.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use barge_gateway::Listed;
use barge_model::registration::{Answer, Call};
use barge_model::{InstanceId, ServiceKey};
use barge_runtime::chain;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

use super::{Held, RegistrationTarget, TargetError, held, registration};

/// Registers in a gateway over HTTP. How long a call may take is the registrar's to say.
#[derive(Debug, Clone)]
pub struct RemoteGateway {
    client: Client,
    api: SocketAddr,
    token: String,
}

/// The protocol's answer to a registration that is older than the stored one (409).
#[derive(Deserialize)]
struct Older {
    generation: u64,
    terminal: bool,
}

/// The protocol's list of a service's instances.
#[derive(Deserialize)]
struct List {
    instances: Vec<Listed>,
}

impl RemoteGateway {
    /// A target behind the registration API at `api`.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(api: SocketAddr, token: String) -> Result<Self, TargetError> {
        // No proxy of the environment: the gateway is on this machine.
        let client = Client::builder().no_proxy().build().map_err(|error| TargetError(error.to_string()))?;
        Ok(Self { client, api, token })
    }

    fn url(&self, key: &ServiceKey, rest: &str) -> String {
        format!("http://{}/v1/services/{}/instances{rest}?environment={}", self.api, key.service, key.environment)
    }

    async fn understood(response: reqwest::Result<Response>) -> Result<Answer, String> {
        let response = response.map_err(|error| chain(&error))?;
        match response.status() {
            StatusCode::OK => Ok(Answer::Applied),
            StatusCode::CONFLICT => {
                let older: Older = response.json().await.map_err(|error| chain(&error))?;
                Ok(Answer::Older { stored: older.generation, terminal: older.terminal })
            }
            status => Err(format!("it answered {status}")),
        }
    }
}

#[async_trait]
impl RegistrationTarget for RemoteGateway {
    async fn put(&self, key: &ServiceKey, id: &InstanceId, address: SocketAddr, call: Call) -> Answer {
        let put = registration(address, call);
        let request = self.client.put(self.url(key, &format!("/{id}"))).bearer_auth(&self.token).json(&put);
        Self::understood(request.send().await).await.unwrap_or_else(|error| {
            tracing::warn!(%key, instance = %id, gateway = %self.api, error, "the gateway took no registration");
            Answer::Failed
        })
    }

    async fn list(&self, key: &ServiceKey) -> Result<BTreeMap<InstanceId, Held>, TargetError> {
        let fail = |error: reqwest::Error| TargetError(chain(&error));
        let request = self.client.get(self.url(key, "")).bearer_auth(&self.token);
        let list: List =
            request.send().await.and_then(Response::error_for_status).map_err(fail)?.json().await.map_err(fail)?;
        Ok(held(list.instances))
    }
}
