//! What handlers take from a request; whatever cannot be understood becomes a problem document.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, header};
use barge_model::{EnvironmentName, InstanceId, ReleaseId, ServiceKey, ServiceName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use utoipa::IntoParams;

use crate::access::hex;
use crate::problem::ServerError;

/// Parts of the path.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ServerError))]
pub(crate) struct ApiPath<T>(pub(crate) T);

/// The query.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ServerError))]
pub(crate) struct ApiQuery<T>(pub(crate) T);

/// Which service.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ServicePath {
    /// The environment.
    pub(crate) environment: EnvironmentName,
    /// The service.
    pub(crate) service: ServiceName,
}

/// Which release.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ReleasePath {
    /// The environment.
    pub(crate) environment: EnvironmentName,
    /// The service.
    pub(crate) service: ServiceName,
    /// The release.
    pub(crate) release: ReleaseId,
}

/// Which instance.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct InstancePath {
    /// The environment.
    pub(crate) environment: EnvironmentName,
    /// The service.
    pub(crate) service: ServiceName,
    /// The instance.
    pub(crate) instance: InstanceId,
}

impl ServicePath {
    pub(crate) fn key(self) -> ServiceKey {
        ServiceKey::new(self.environment, self.service)
    }
}

/// Headers of operations that change something.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code)]
pub(crate) struct ChangeHeaders {
    /// Makes a repetition of the same request harmless: it gets the first one's answer.
    #[param(rename = "Idempotency-Key", required = false, min_length = 1, max_length = 200)]
    idempotency_key: Option<String>,
    /// The version of the service that the caller has seen; the request is refused when it has changed since.
    #[param(rename = "If-Match", required = false)]
    if_match: Option<String>,
}

/// A body that asks for a change, with the headers that belong to it. It is read as what it should be only after the question of
/// access.
#[derive(Debug)]
pub(crate) struct Posted {
    bytes: Bytes,
    is_json: bool,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) if_match: Option<u64>,
    /// A digest of method, path and body.
    pub(crate) request: String,
}

impl<S: Send + Sync> FromRequest<S> for Posted {
    type Rejection = ServerError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ServerError> {
        let idempotency_key = idempotency_key(request.headers())?;
        let if_match = if_match(request.headers())?;
        let is_json = is_json(request.headers());
        let mut hasher = Sha256::new();
        hasher.update(request.method().as_str());
        hasher.update(request.uri().path());
        let bytes =
            Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status().as_u16() {
                413 => ServerError::TooLarge,
                _ => ServerError::Invalid(rejection.body_text()),
            })?;
        // Where nothing has to be said, nothing is sent.
        let (bytes, is_json) = if bytes.is_empty() { (Bytes::from_static(b"{}"), true) } else { (bytes, is_json) };
        hasher.update(&bytes);
        Ok(Self { bytes, is_json, idempotency_key, if_match, request: hex(&hasher.finalize()) })
    }
}

impl Posted {
    /// Reads the body.
    ///
    /// # Errors
    /// It is not what it should be.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, ServerError> {
        if !self.is_json {
            return Err(ServerError::NotJson);
        }
        let axum::Json(body) = axum::Json::<T>::from_bytes(&self.bytes)?;
        Ok(body)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ServerError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= 200);
    let invalid = || ServerError::Invalid("Idempotency-Key must be 1 to 200 visible characters".to_owned());
    text.map(|text| Some(text.to_owned())).ok_or_else(invalid)
}

/// An entity tag (RFC 9110, 13.1.1): the version in quotes, which may be forgotten; `*` stands for any version.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ServerError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let invalid = || ServerError::Invalid("If-Match must be a version in quotes, such as \"7\"".to_owned());
    let version = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let digits = version.bytes().all(|byte| byte.is_ascii_digit());
    version.parse().ok().filter(|_| digits).map(Some).ok_or_else(invalid)
}
