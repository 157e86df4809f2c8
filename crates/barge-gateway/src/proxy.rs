//! Passes one request on: picks an instance, forwards, tries another one where that is safe, and carries upgrades.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use barge_model::InstanceId;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::body::{self, Answer, Counted, Resumable};
use crate::route::{self, HEADER_INSTANCE, Route};
use crate::table::{NoInstance, Picked, Table};

/// At most so many instances are tried for one request.
const TRIES: usize = 3;
/// How long a connection to an instance may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Headers that concern one connection alone (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The forwarding part of a gateway.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    table: Arc<Table>,
    client: Client<HttpConnector, Resumable>,
    answer_limit: Duration,
}

/// Why an instance gave no answer.
enum Failure {
    /// It may be asked of another instance: nothing can have happened there.
    Safe(String),
    /// The instance may have acted on the request.
    Unsafe(StatusCode, String),
}

impl Proxy {
    pub(crate) fn new(table: Arc<Table>, answer_limit: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_LIMIT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Shorter than the idle limits of common servers, so that a connection is seldom closed while it is being used.
            .pool_idle_timeout(Duration::from_secs(4))
            .pool_max_idle_per_host(1024)
            .build(connector);
        Self { table, client, answer_limit }
    }

    /// Answers one request of a client at `peer`.
    pub(crate) async fn handle(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Answer> {
        let route = match route::route(request.uri(), request.headers()) {
            Ok(route) => route,
            Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let upgrade = upgrade_protocol(&request);
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        prepare(&mut parts, peer, upgrade.as_ref());
        let body = Resumable::new(body);
        let mut tried: Vec<InstanceId> = Vec::new();
        let mut last = String::new();
        while tried.len() < TRIES {
            let picked = match self.table.pick(&route.key, route.instance.as_ref(), &tried) {
                Ok(picked) => picked,
                Err(reason) => return no_instance(&route, reason, &last),
            };
            tried.push(picked.uid.clone());
            match self.forward(&parts, &body, picked).await {
                Ok((response, in_flight)) => return finish(response, in_flight, client_side),
                Err(Failure::Safe(text)) => last = text,
                Err(Failure::Unsafe(status, text)) => return problem(status, &text),
            }
        }
        problem(
            StatusCode::BAD_GATEWAY,
            &format!("{} instances of {} could not be reached; {last}", tried.len(), route.key),
        )
    }

    async fn forward(
        &self,
        parts: &http::request::Parts,
        body: &Resumable,
        picked: Picked,
    ) -> Result<(Response<Incoming>, Picked), Failure> {
        let mut request = Request::new(body.clone());
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = parts.headers.clone();
        *request.uri_mut() = upstream_uri(&parts.uri, picked.address);
        let sent = tokio::time::timeout(self.answer_limit, self.client.request(request)).await;
        let who = format!("instance {} at {}", picked.uid.short(), picked.address);
        match sent {
            Ok(Ok(response)) => Ok((response, picked)),
            Ok(Err(error)) if error.is_connect() => Err(Failure::Safe(format!("{who} refused the connection"))),
            Ok(Err(_)) if idempotent(&parts.method) && body.untouched() => {
                Err(Failure::Safe(format!("{who} closed the connection")))
            }
            Ok(Err(error)) => {
                tracing::debug!(%who, %error, "no answer");
                Err(Failure::Unsafe(StatusCode::BAD_GATEWAY, format!("{who} broke off")))
            }
            Err(_) => Err(Failure::Unsafe(
                StatusCode::GATEWAY_TIMEOUT,
                format!("{who} did not answer within {} s", self.answer_limit.as_secs()),
            )),
        }
    }
}

/// Methods whose repetition does no harm (RFC 9110, 9.2.2).
fn idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}

fn upgrade_protocol(request: &Request<Incoming>) -> Option<HeaderValue> {
    let asks = request.headers().get(header::CONNECTION).and_then(|value| value.to_str().ok());
    let asks = asks.is_some_and(|list| list.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade")));
    if asks && request.version() == Version::HTTP_11 { request.headers().get(header::UPGRADE).cloned() } else { None }
}

fn prepare(parts: &mut http::request::Parts, peer: SocketAddr, upgrade: Option<&HeaderValue>) {
    let host = parts.headers.get(header::HOST).cloned();
    let host = host.or_else(|| parts.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok()));
    strip_hop_by_hop(&mut parts.headers);
    parts.headers.remove(HEADER_INSTANCE);
    if let Some(host) = host {
        parts.headers.insert(header::HOST, host.clone());
        parts.headers.insert("x-forwarded-host", host);
    }
    // Nobody before us is trusted, so what a client says of itself is replaced.
    if let Ok(value) = HeaderValue::from_str(&peer.ip().to_string()) {
        parts.headers.insert("x-forwarded-for", value);
    }
    parts.headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    if let Some(protocol) = upgrade {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, protocol.clone());
    }
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
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

fn upstream_uri(uri: &Uri, address: SocketAddr) -> Uri {
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    Uri::builder().scheme("http").authority(address.to_string()).path_and_query(path).build().unwrap_or_default()
}

/// The instance's answer as the client gets it. An upgraded connection counts as in flight until either side closes it.
fn finish(
    mut response: Response<Incoming>,
    picked: Picked,
    client_side: Option<hyper::upgrade::OnUpgrade>,
) -> Response<Answer> {
    let instance = HeaderValue::from_str(picked.uid.as_str()).ok();
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(client_side)) = (response.status(), client_side) {
        let upgrade = response.headers().get(header::UPGRADE).cloned();
        let instance_side = hyper::upgrade::on(&mut response);
        // The task ends with either connection; the runtime ends both at shutdown.
        tokio::spawn(async move {
            if let (Ok(client), Ok(instance)) = tokio::join!(client_side, instance_side) {
                let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(instance)).await;
            }
            drop(picked.in_flight);
        });
        let mut answer = response.map(|_| body::text(String::new()));
        strip_hop_by_hop(answer.headers_mut());
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = upgrade {
            answer.headers_mut().insert(header::UPGRADE, protocol);
        }
        return answer;
    }
    strip_hop_by_hop(response.headers_mut());
    if let Some(instance) = instance {
        response.headers_mut().insert(HEADER_INSTANCE, instance);
    }
    response.map(|body| Counted { body, in_flight: Some(picked.in_flight) }.boxed_unsync())
}

fn no_instance(route: &Route, reason: NoInstance, last: &str) -> Response<Answer> {
    let text = match (reason, &route.instance) {
        (NoInstance::UnknownService, _) => format!("no instance of {} was ever online", route.key),
        (NoInstance::NoneOnline, Some(uid)) => format!("instance {uid} of {} is not online", route.key),
        (NoInstance::NoneOnline, None) if last.is_empty() => format!("no instance of {} is online", route.key),
        (NoInstance::NoneOnline, None) => format!("no instance of {} can be reached; {last}", route.key),
    };
    problem(StatusCode::SERVICE_UNAVAILABLE, &text)
}

/// The gateway's own answers, so that nobody takes them for the service's (RFC 9457).
fn problem(status: StatusCode, detail: &str) -> Response<Answer> {
    let document =
        serde_json::json!({ "type": "about:blank", "title": "gateway", "status": status.as_u16(), "detail": detail });
    let mut response = Response::new(body::text(document.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
