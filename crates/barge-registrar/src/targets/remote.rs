//! A gateway in a process of its own, through the registration protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use barge_gateway::{Listed, Traffic};
use barge_model::registration::{Answer, Call};
use barge_model::{InstanceId, ServiceKey};
use barge_runtime::chain;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

use super::{Held, RegistrationTarget, TargetError, held, registration};

/// A connection that takes longer is none: whoever calls may have another try within his own limit.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Registers in a gateway over HTTP. How long a call may take is the registrar's to say.
#[derive(Debug, Clone)]
pub struct RemoteGateway {
    client: Client,
    api: GatewayAddress,
    token: String,
}

/// Where a gateway takes registrations, as `HOST:PORT`. A name is looked up for each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAddress(String);

/// A text that is no `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no HOST:PORT, such as barge-gateway.barge-system:7403")]
pub struct NoGatewayAddress(String);

impl FromStr for GatewayAddress {
    type Err = NoGatewayAddress;

    fn from_str(text: &str) -> Result<Self, NoGatewayAddress> {
        let of_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        let named = text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && host.chars().all(of_name) && is_port(port));
        let sound = named || text.parse::<SocketAddr>().is_ok_and(|address| address.port() > 0);
        if sound { Ok(Self(text.to_owned())) } else { Err(NoGatewayAddress(text.to_owned())) }
    }
}

impl From<SocketAddr> for GatewayAddress {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

impl fmt::Display for GatewayAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
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
    pub fn new(api: impl Into<GatewayAddress>, token: String) -> Result<Self, TargetError> {
        // No proxy of the environment: the gateway is on this machine, or in this cluster.
        let client = Client::builder().no_proxy().connect_timeout(CONNECT_LIMIT).build();
        Ok(Self { client: client.map_err(|error| TargetError(chain(&error)))?, api: api.into(), token })
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

    async fn in_flight(&self, key: &ServiceKey, id: &InstanceId) -> Result<u64, TargetError> {
        let fail = |error: reqwest::Error| TargetError(chain(&error));
        let request = self.client.get(self.url(key, &format!("/{id}/traffic"))).bearer_auth(&self.token);
        let response = request.send().await.map_err(fail)?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(0);
        }
        let traffic: Traffic = response.error_for_status().map_err(fail)?.json().await.map_err(fail)?;
        Ok(traffic.in_flight)
    }
}
