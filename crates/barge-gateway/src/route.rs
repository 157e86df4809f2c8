//! From a request to the service that it is meant for: by header, else by `SERVICE.ENVIRONMENT.localhost` in Host.

use barge_model::{EnvironmentName, InstanceId, ServiceKey, ServiceName};
use http::{HeaderMap, Uri, header};

/// Names the service, instead of the host name.
pub const HEADER_SERVICE: &str = "barge-service";
/// Names the environment, with [`HEADER_SERVICE`].
pub const HEADER_ENVIRONMENT: &str = "barge-environment";
/// Asks for one instance; in answers, the instance that answered.
pub const HEADER_INSTANCE: &str = "barge-instance";

/// Where a request should go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) key: ServiceKey,
    pub(crate) instance: Option<InstanceId>,
}

/// Why a request cannot be routed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("the request names no host and no {HEADER_SERVICE} header")]
    NoHost,
    #[error("the host {0:?} is not SERVICE.ENVIRONMENT.localhost")]
    Host(String),
    #[error("the header {0} is not a valid name")]
    Header(&'static str),
}

pub(crate) fn route(uri: &Uri, headers: &HeaderMap) -> Result<Route, RouteError> {
    let instance = match headers.get(HEADER_INSTANCE) {
        Some(value) => Some(parse(value).ok_or(RouteError::Header(HEADER_INSTANCE))?),
        None => None,
    };
    if let Some(service) = headers.get(HEADER_SERVICE) {
        let service: ServiceName = parse(service).ok_or(RouteError::Header(HEADER_SERVICE))?;
        let environment: EnvironmentName =
            headers.get(HEADER_ENVIRONMENT).and_then(parse).ok_or(RouteError::Header(HEADER_ENVIRONMENT))?;
        return Ok(Route { key: ServiceKey::new(environment, service), instance });
    }
    // HTTP/2 carries the host in the URI; HTTP/1.1 in the header. Exactly one Host header counts (RFC 9112, 3.2).
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (uri.host(), hosts.next(), hosts.next()) {
        (Some(host), _, None) => host,
        (None, Some(value), None) => value.to_str().map_err(|_| RouteError::Header("host"))?,
        (_, Some(_), Some(_)) => return Err(RouteError::Header("host")),
        _ => return Err(RouteError::NoHost),
    };
    let key = by_host(host).ok_or_else(|| RouteError::Host(host.chars().take(100).collect()))?;
    Ok(Route { key, instance })
}

fn by_host(host: &str) -> Option<ServiceKey> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    let labels = name.trim_end_matches('.').strip_suffix(".localhost")?;
    let (service, environment) = labels.split_once('.')?;
    Some(ServiceKey::new(EnvironmentName::new(environment).ok()?, ServiceName::new(service).ok()?))
}

fn parse<T: std::str::FromStr>(value: &http::HeaderValue) -> Option<T> {
    value.to_str().ok()?.parse().ok()
}
