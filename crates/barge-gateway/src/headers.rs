//! What becomes of a request's head on its way: checked, freed of what concerns one connection alone, and told who asked.

use std::net::SocketAddr;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Version};
use hyper::body::Incoming;

use crate::route::HEADER_INSTANCE;

/// Headers that concern one connection alone (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Why a request is not passed on, whoever it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the request has more than one Host header")]
    Hosts,
    #[error("a request of HTTP/1.1 needs a Host header")]
    NoHost,
    #[error("the request has both Content-Length and Transfer-Encoding")]
    Framing,
    #[error("the gateway makes no tunnels")]
    Connect,
}

/// Refuses what two servers may understand differently (RFC 9112, 3.2 and 6.3). hyper has refused Content-Lengths that differ, and
/// taken Content-Length away where there is Transfer-Encoding; what it lets through of these is refused here.
pub(crate) fn check(request: &Request<Incoming>) -> Result<(), Refused> {
    let headers = request.headers();
    let count = |name: HeaderName| headers.get_all(name).iter().count();
    match (request.version(), count(header::HOST)) {
        _ if request.method() == Method::CONNECT => Err(Refused::Connect),
        (_, 2..) => Err(Refused::Hosts),
        (Version::HTTP_11, 0) => Err(Refused::NoHost),
        _ if count(header::CONTENT_LENGTH) > 0 && count(header::TRANSFER_ENCODING) > 0 => Err(Refused::Framing),
        _ => Ok(()),
    }
}

/// The protocol that the client wants to change to, if any.
pub(crate) fn upgrade_protocol(request: &Request<Incoming>) -> Option<HeaderValue> {
    let asks = request.headers().get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asks = asks.flat_map(|list| list.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    if asks && request.version() == Version::HTTP_11 { request.headers().get(header::UPGRADE).cloned() } else { None }
}

/// Makes the head that an instance gets of the head that a client sent.
pub(crate) fn prepare(parts: &mut Parts, peer: SocketAddr, has_body: bool, upgrade: Option<&HeaderValue>) {
    // Where the request's target names a host, Host has to be ignored (RFC 9112, 3.2.2).
    let authority = parts.uri.authority().and_then(|authority| authority.as_str().rsplit('@').next());
    let authority = authority.and_then(|authority| HeaderValue::from_str(authority).ok());
    let host = authority.or_else(|| parts.headers.get(header::HOST).cloned());
    strip_hop_by_hop(&mut parts.headers);
    parts.headers.remove(HEADER_INSTANCE);
    // Nobody before us is trusted, so what a client says of itself is replaced.
    strip_forwarded(&mut parts.headers);
    if let Some(host) = host {
        parts.headers.insert(header::HOST, host.clone());
        parts.headers.insert("x-forwarded-host", host);
    }
    if let Ok(value) = HeaderValue::from_str(&peer.ip().to_string()) {
        parts.headers.insert("x-forwarded-for", value);
    }
    parts.headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    if has_body && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        // Said aloud, because hyper takes a GET of unknown length for one without a body.
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(protocol) = upgrade {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, protocol.clone());
    }
}

/// Takes away what concerns one connection alone, what the Connection header names included.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Takes away every spelling in which frameworks look for the client's address; some take `_` for `-`.
fn strip_forwarded(headers: &mut HeaderMap) {
    let forwarded = |name: &HeaderName| {
        let name = name.as_str().replace('_', "-");
        name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
    };
    let names: Vec<HeaderName> = headers.keys().filter(|name| forwarded(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}
