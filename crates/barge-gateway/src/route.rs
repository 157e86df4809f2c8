//! From a request to the service that it is meant for: by header, else by `SERVICE.ENVIRONMENT.DOMAIN` in Host; the domain is `localhost` unless
//! somebody gives it one of its own.
//!
//! A page of a name that was made to lead here (DNS rebinding) may send any header of ours, because it asks its own site. What it cannot
//! choose is Host, which therefore must be a name of this machine or of the domain also where the headers say everything.

use barge_model::host;
use barge_model::{EnvironmentName, InstanceId, ServiceKey, ServiceName};
use http::{HeaderMap, Uri, header};

/// The domain of names that are all this machine (RFC 6761, 6.3).
pub(crate) const LOCAL: &str = "localhost";
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
    #[error("the host {host:?} is not SERVICE.ENVIRONMENT.{domain}")]
    Host { host: String, domain: String },
    #[error("with a {HEADER_SERVICE} header the host must be a name of this machine, such as localhost, and not {0:?}")]
    Foreign(String),
    #[error("the header {0} is not a valid name")]
    Header(&'static str),
}

pub(crate) fn route(uri: &Uri, headers: &HeaderMap, domain: &str) -> Result<Route, RouteError> {
    let instance = match headers.get(HEADER_INSTANCE) {
        Some(value) => Some(parse(value).ok_or(RouteError::Header(HEADER_INSTANCE))?),
        None => None,
    };
    let host = named_host(uri, headers)?;
    if let Some(service) = headers.get(HEADER_SERVICE) {
        // Without any host it is no page's request: browsers always name one.
        if let Some(foreign) = host.filter(|host| !is_own(host, domain)) {
            return Err(RouteError::Foreign(short(foreign)));
        }
        let service: ServiceName = parse(service).ok_or(RouteError::Header(HEADER_SERVICE))?;
        let environment: EnvironmentName =
            headers.get(HEADER_ENVIRONMENT).and_then(parse).ok_or(RouteError::Header(HEADER_ENVIRONMENT))?;
        return Ok(Route { key: ServiceKey::new(environment, service), instance });
    }
    let host = host.ok_or(RouteError::NoHost)?;
    let unknown = || RouteError::Host { host: short(host), domain: domain.to_owned() };
    let key = by_host(host, domain).ok_or_else(unknown)?;
    Ok(Route { key, instance })
}

/// HTTP/2 carries the host in the URI; HTTP/1.1 in the header. Exactly one Host header counts (RFC 9112, 3.2).
fn named_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<Option<&'a str>, RouteError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (uri.host(), hosts.next(), hosts.next()) {
        (_, Some(_), Some(_)) => Err(RouteError::Header("host")),
        (Some(host), _, _) => Ok(Some(host)),
        (None, Some(value), _) => value.to_str().map(Some).map_err(|_| RouteError::Header("host")),
        (None, None, _) => Ok(None),
    }
}

fn short(host: &str) -> String {
    host.chars().take(100).collect()
}

/// Whether no page can have made the name lead here: it is this machine's, or below the domain.
fn is_own(host: &str, domain: &str) -> bool {
    host::is_loopback(host) || host::is_below_localhost(host) || below(&name(host), domain).is_some()
}

fn name(host: &str) -> String {
    host::name(host).to_ascii_lowercase()
}

/// What stands before the domain in a name.
fn below<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    name.trim_end_matches('.').strip_suffix(domain)?.strip_suffix('.')
}

fn by_host(host: &str, domain: &str) -> Option<ServiceKey> {
    let name = name(host);
    let labels = below(&name, domain)?;
    let (service, environment) = labels.split_once('.')?;
    Some(ServiceKey::new(EnvironmentName::new(environment).ok()?, ServiceName::new(service).ok()?))
}

fn parse<T: std::str::FromStr>(value: &http::HeaderValue) -> Option<T> {
    value.to_str().ok()?.parse().ok()
}
