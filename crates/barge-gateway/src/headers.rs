//! What becomes of a request's head on its way: checked, freed of what concerns one connection alone, and told who asked.

use std::net::SocketAddr;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
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

/// What everybody on the way has to know of a message, whatever its Connection header names: where it goes, and where it ends.
const END_TO_END: [HeaderName; 2] = [header::HOST, header::CONTENT_LENGTH];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who asks, as instances are told.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    address: HeaderValue,
}

impl Client {
    pub(crate) fn at(peer: SocketAddr) -> Self {
        // An address is made of what a header may hold.
        let address = HeaderValue::from_str(&peer.ip().to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        Self { address }
    }
}

/// Why a request is not passed on, whoever it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the request has more than one Host header")]
    Hosts,
    #[error("the request's Host header is no host")]
    Host,
    #[error("a request of HTTP/1.1 needs a Host header")]
    NoHost,
    #[error("the request's Content-Length is not one number")]
    Length,
    #[error("the request's Transfer-Encoding is not chunked, once and alone")]
    Coding,
    #[error("the request has both Content-Length and Transfer-Encoding")]
    Framing,
    #[error("the gateway makes no tunnels")]
    Connect,
}

/// Refuses what two servers may understand differently (RFC 9112, 3.2 and 6.3). hyper has refused Content-Lengths that differ, and
/// taken Content-Length away where there is Transfer-Encoding; what it lets through of these is refused here.
pub(crate) fn check(request: &Request<Incoming>) -> Result<(), Refused> {
    if request.method() == Method::CONNECT {
        return Err(Refused::Connect);
    }
    let host = single(request.headers(), &header::HOST, Refused::Hosts)?;
    let length = single(request.headers(), &header::CONTENT_LENGTH, Refused::Length)?;
    let coding = single(request.headers(), &header::TRANSFER_ENCODING, Refused::Coding)?;
    match (host, length, coding) {
        (None, ..) if request.version() == Version::HTTP_11 => Err(Refused::NoHost),
        (Some(host), ..) if !is_host(host) => Err(Refused::Host),
        (_, Some(_), Some(_)) => Err(Refused::Framing),
        (_, Some(length), None) if !is_number(length) => Err(Refused::Length),
        (_, None, Some(coding)) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Err(Refused::Coding),
        _ => Ok(()),
    }
}

/// A header that may be there once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName, several: Refused) -> Result<Option<&'a HeaderValue>, Refused> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(several) } else { Ok(first) }
}

/// A host and perhaps a port, without a user, a path or anything else (RFC 9110, 7.2); empty where the target has no host.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    // As nearly all are, and so not taken apart.
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.') {
        return true;
    }
    let Ok(authority) = text.parse::<Authority>() else { return text.is_empty() };
    let port = text.strip_prefix(authority.host()).map(|port| port.strip_prefix(':').unwrap_or(port));
    !authority.host().is_empty() && port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit)
}

/// The protocol that the client wants to change to, if any. Another way to speak HTTP is none: who spoke that with an instance would
/// pass by everything that is done to requests here.
pub(crate) fn upgrade_protocol(request: &Request<Incoming>) -> Option<HeaderValue> {
    let words = |name: HeaderName| {
        let values = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|list| list.split(',')).map(str::trim).filter(|word| !word.is_empty())
    };
    let asks = words(header::CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"));
    if !asks || request.version() != Version::HTTP_11 {
        return None;
    }
    let protocols: Vec<&str> = words(header::UPGRADE).filter(|protocol| !is_http(protocol)).collect();
    HeaderValue::from_str(&protocols.join(", ")).ok().filter(|protocols| !protocols.is_empty())
}

/// The protocol to which an instance has changed; nothing where nobody may have asked for it.
pub(crate) fn changed_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(header::UPGRADE)?;
    let http = protocol.to_str().is_ok_and(|list| list.split(',').any(|protocol| is_http(protocol.trim())));
    if http { None } else { Some(protocol.clone()) }
}

fn is_http(protocol: &str) -> bool {
    let name = protocol.split_once('/').map_or(protocol, |(name, _)| name);
    ["http", "h2", "h2c"].iter().any(|http| name.eq_ignore_ascii_case(http))
}

/// Makes the head that an instance gets of the head that a client sent.
pub(crate) fn prepare(parts: &mut Parts, client: &Client, has_body: bool, upgrade: Option<&HeaderValue>) {
    // Where the request's target names a host, Host has to be ignored (RFC 9112, 3.2.2).
    let authority = parts.uri.authority().and_then(|authority| authority.as_str().rsplit('@').next());
    let authority = authority.and_then(|authority| HeaderValue::from_str(authority).ok());
    let host = authority.or_else(|| parts.headers.get(header::HOST).cloned());
    strip_hop_by_hop(&mut parts.headers);
    parts.headers.remove(HEADER_INSTANCE);
    // Nobody before us is trusted, so what a client says of itself is replaced.
    strip_lookalikes(&mut parts.headers);
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
    }
    if let Some(host) = host {
        parts.headers.insert(header::HOST, host.clone());
        parts.headers.insert(FORWARDED_HOST, host);
    }
    parts.headers.insert(FORWARDED_FOR, client.address.clone());
    parts.headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    if has_body && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        // Said aloud, because hyper takes a GET of unknown length for one without a body.
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(protocol) = upgrade {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, protocol.clone());
    }
}

/// Takes away what concerns one connection alone, what the Connection header names included, unless it concerns everybody.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().filter(|name| !END_TO_END.contains(name)).chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Makes one field of cookies that came in several, as a client of HTTP/2 alone may send them (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let several: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if several.len() > 1
        && let Ok(one) = HeaderValue::from_bytes(&several.join(b"; ".as_slice()))
    {
        headers.insert(header::COOKIE, one);
    }
}

/// Takes away every spelling in which frameworks look for the client's address, or for a body's end; some take `_` for `-`.
fn strip_lookalikes(headers: &mut HeaderMap) {
    // Seldom is there any, so that nothing is copied to find out.
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_lookalike(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn is_lookalike(name: &str) -> bool {
    let plain = || name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
    let is = |other: &str| plain().eq(other.bytes());
    let begins = |other: &str| name.len() >= other.len() && plain().take(other.len()).eq(other.bytes());
    let framing = name.contains('_') && (is("content-length") || is("transfer-encoding"));
    framing || is("forwarded") || is("x-real-ip") || begins("x-forwarded-")
}
