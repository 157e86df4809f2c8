//! A typed client of API v1.

use std::pin::Pin;
use std::time::Duration;

use barge_model::{EnvironmentName, InstanceId, ReleaseId, ServiceName, host};
use futures_util::{Stream, StreamExt};
use reqwest::{Method, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};

use crate::exec::ExecOpen;
use crate::exec_connection::{self, ExecConnection};
use crate::problem::Problem;
use crate::types::{
    AbortRequest, ApprovalRequest, EnvironmentList, NewRelease, ReleaseList, ReleaseView, RestartRequest,
    RollbackRequest, RolloutAnswer, ScaleRequest, ServiceList, ServiceStatus, Whoami,
};

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server cannot be reached.
    #[error("reach the Barge server at {address}")]
    Unreachable {
        /// Its address.
        address: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// The server refused or failed.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The server's answer is not one of API v1.
    #[error("understand the server's answer to {0}")]
    Answer(String, #[source] serde_json::Error),
    /// Something else than Barge answers.
    #[error("{address} answered {status}, and not as a Barge server does")]
    NotBarge {
        /// The address.
        address: String,
        /// The HTTP status.
        status: u16,
    },
    /// The terminal's connection broke.
    #[error("talk to the instance")]
    Exec(#[source] Box<tungstenite::Error>),
    /// The terminal's connection is open and nothing comes, no answer to a ping either.
    #[error("the connection to the instance has been silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// The client could not be set up.
    #[error("set up the HTTP client")]
    Setup(#[source] reqwest::Error),
}

/// A stream of a service's status, one item after each change.
pub type StatusStream = Pin<Box<dyn Stream<Item = Result<ServiceStatus, ApiError>> + Send>>;

/// How long a call may take that is answered at once: longer than the server's own 30 s, so that its answer is the one that is told.
const CALL_LIMIT: Duration = Duration::from_secs(35);
/// How long opening a terminal may take, until the server knows what to run.
const EXEC_LIMIT: Duration = Duration::from_secs(10);
/// A stream says something at least so often.
const STREAM_SILENCE: Duration = Duration::from_secs(60);

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    address: String,
    token: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the server at `address` (such as `http://127.0.0.1:7400`).
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(address: &str, token: &str) -> Result<Self, ApiError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("barge/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(STREAM_SILENCE)
            .no_proxy();
        if is_plain_loopback(address) {
            // Reading the system's authorities takes longer than many a command.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(ApiError::Setup)?;
        Ok(Self { http, address: address.trim_end_matches('/').to_owned(), token: token.to_owned() })
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Who the caller is.
    ///
    /// # Errors
    /// As for every call: unreachable, refused, or not understood.
    pub async fn whoami(&self) -> Result<Whoami, ApiError> {
        self.get("/api/v1/whoami").await
    }

    /// The environments.
    ///
    /// # Errors
    /// As for every call.
    pub async fn environments(&self) -> Result<EnvironmentList, ApiError> {
        self.get("/api/v1/environments").await
    }

    /// The services of all environments.
    ///
    /// # Errors
    /// As for every call.
    pub async fn services(&self) -> Result<ServiceList, ApiError> {
        self.get("/api/v1/services").await
    }

    /// A service's status.
    ///
    /// # Errors
    /// As for every call.
    pub async fn status(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
    ) -> Result<ServiceStatus, ApiError> {
        self.get(&path(environment, service, "status")).await
    }

    /// A service's releases, newest first.
    ///
    /// # Errors
    /// As for every call.
    pub async fn releases(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
    ) -> Result<ReleaseList, ApiError> {
        self.get(&path(environment, service, "releases")).await
    }

    /// One release.
    ///
    /// # Errors
    /// As for every call.
    pub async fn release(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        release: &ReleaseId,
    ) -> Result<ReleaseView, ApiError> {
        self.get(&path(environment, service, &format!("releases/{release}"))).await
    }

    /// Makes a release. `key` makes a repetition harmless.
    ///
    /// # Errors
    /// As for every call.
    pub async fn new_release(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        release: &NewRelease,
        key: &str,
    ) -> Result<RolloutAnswer, ApiError> {
        self.post(&path(environment, service, "releases"), release, Some(key)).await
    }

    /// Approves a release.
    ///
    /// # Errors
    /// As for every call.
    pub async fn approve(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        release: &ReleaseId,
        request: &ApprovalRequest,
    ) -> Result<RolloutAnswer, ApiError> {
        self.post(&path(environment, service, &format!("releases/{release}/approval")), request, None).await
    }

    /// Aborts a release.
    ///
    /// # Errors
    /// As for every call.
    pub async fn abort(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        release: &ReleaseId,
        request: &AbortRequest,
    ) -> Result<RolloutAnswer, ApiError> {
        self.post(&path(environment, service, &format!("releases/{release}/abort")), request, None).await
    }

    /// Rolls back.
    ///
    /// # Errors
    /// As for every call.
    pub async fn rollback(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        request: &RollbackRequest,
        key: &str,
    ) -> Result<RolloutAnswer, ApiError> {
        self.post(&path(environment, service, "rollback"), request, Some(key)).await
    }

    /// Starts every instance anew.
    ///
    /// # Errors
    /// As for every call.
    pub async fn restart(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        request: &RestartRequest,
        key: &str,
    ) -> Result<RolloutAnswer, ApiError> {
        self.post(&path(environment, service, "restart"), request, Some(key)).await
    }

    /// Changes the number of instances.
    ///
    /// # Errors
    /// As for every call.
    pub async fn scale(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        request: &ScaleRequest,
    ) -> Result<RolloutAnswer, ApiError> {
        self.post(&path(environment, service, "scale"), request, None).await
    }

    /// A service's status now and after every change, until the stream is dropped.
    ///
    /// # Errors
    /// As for every call.
    pub async fn watch_status(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
    ) -> Result<StatusStream, ApiError> {
        let what = path(environment, service, "status/stream");
        let response = self.send(self.request(Method::GET, &what)).await?;
        let address = self.address.clone();
        let lines = data_lines(response, address);
        Ok(Box::pin(lines.map(move |line| parse(&what, line?.as_bytes()))))
    }

    /// An instance's output, line by line.
    ///
    /// # Errors
    /// As for every call.
    pub async fn logs(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        instance: &InstanceId,
        tail: usize,
        follow: bool,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<String, ApiError>> + Send>>, ApiError> {
        let what = path(environment, service, &format!("instances/{instance}/logs/stream?tail={tail}&follow={follow}"));
        let response = self.send(self.request(Method::GET, &what)).await?;
        Ok(Box::pin(data_lines(response, self.address.clone())))
    }

    /// Opens a program in an instance.
    ///
    /// # Errors
    /// As for every call.
    pub async fn exec(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        instance: &InstanceId,
        open: &ExecOpen,
    ) -> Result<ExecConnection, ApiError> {
        let fail = |error: tungstenite::Error| match error {
            tungstenite::Error::Http(response) => {
                let status = response.status().as_u16();
                let body = response.body().clone().unwrap_or_default();
                serde_json::from_slice::<Problem>(&body)
                    .map_or(ApiError::NotBarge { address: self.address.clone(), status }, |p| {
                        ApiError::Problem(Box::new(p))
                    })
            }
            other => ApiError::Exec(Box::new(other)),
        };
        let address = self.address.replacen("http", "ws", 1);
        let url = format!("{address}{}", path(environment, service, &format!("instances/{instance}/exec")));
        let mut request = url.into_client_request().map_err(fail)?;
        if let Ok(value) = format!("Bearer {}", self.token).parse() {
            request.headers_mut().insert(http::header::AUTHORIZATION, value);
        }
        let text = serde_json::to_string(open).map_err(|error| ApiError::Answer("exec".to_owned(), error))?;
        let opened = exec_connection::open(request, text, EXEC_LIMIT).await;
        opened.ok_or(ApiError::Silent(EXEC_LIMIT))?.map_err(fail)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.address)).bearer_auth(&self.token)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.call(path, self.request(Method::GET, path)).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        key: Option<&str>,
    ) -> Result<T, ApiError> {
        let mut request = self.request(Method::POST, path).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.call(path, request).await
    }

    async fn call<T: DeserializeOwned>(&self, what: &str, request: RequestBuilder) -> Result<T, ApiError> {
        let response = self.send(request.timeout(CALL_LIMIT)).await?;
        let bytes = response.bytes().await.map_err(|source| self.unreachable(source))?;
        parse(what, &bytes)
    }

    async fn send(&self, request: RequestBuilder) -> Result<reqwest::Response, ApiError> {
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response.bytes().await.unwrap_or_default();
        Err(match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => ApiError::Problem(Box::new(problem)),
            Err(_) => ApiError::NotBarge { address: self.address.clone(), status: status.as_u16() },
        })
    }

    fn unreachable(&self, source: reqwest::Error) -> ApiError {
        ApiError::Unreachable { address: self.address.clone(), source }
    }
}

/// Whether nothing but HTTP on this machine is spoken with the server.
fn is_plain_loopback(address: &str) -> bool {
    reqwest::Url::parse(address)
        .is_ok_and(|url| url.scheme() == "http" && host::is_loopback(url.host_str().unwrap_or_default()))
}

fn path(environment: &EnvironmentName, service: &ServiceName, rest: &str) -> String {
    format!("/api/v1/environments/{environment}/services/{service}/{rest}")
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| ApiError::Answer(what.to_owned(), error))
}

/// The `data:` lines of a server-sent event stream; every event of ours has exactly one.
fn data_lines(response: reqwest::Response, address: String) -> impl Stream<Item = Result<String, ApiError>> + Send {
    let state = (response.bytes_stream().boxed(), Vec::<u8>::new(), address);
    futures_util::stream::unfold(state, |(mut bytes, mut buffer, address)| async move {
        // A status of many instances is one long line; what was searched once is not searched again.
        let mut searched = 0;
        loop {
            if let Some(end) = buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=searched + end).collect();
                searched = 0;
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
                match text.strip_prefix("data:") {
                    Some(data) => {
                        let data = data.strip_prefix(' ').unwrap_or(data).to_owned();
                        return Some((Ok(data), (bytes, buffer, address)));
                    }
                    None => continue,
                }
            }
            searched = buffer.len();
            match bytes.next().await? {
                Ok(piece) => buffer.extend_from_slice(&piece),
                Err(source) => {
                    let error = ApiError::Unreachable { address: address.clone(), source };
                    return Some((Err(error), (futures_util::stream::empty().boxed(), Vec::new(), address)));
                }
            }
        }
    })
}
