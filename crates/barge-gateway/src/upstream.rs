//! Asks one instance, and says of a failure whether the request may be asked again.
//!
//! There are two ways to an instance. Requests that may be repeated share connections that are kept open. All others get a connection
//! of their own: an instance may close an idle connection in the moment in which a request is written to it, and nobody can tell
//! then whether it has acted on it. For a GET that costs a second try; a POST would be lost.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::body::Resumable;
use crate::table::Picked;

/// How long a connection to an instance may take.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// After so long without a word, a peer's machine is asked whether it is still there, so often, and so often again in vain.
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
pub(crate) const KEEPALIVE_PROBES: u32 = 4;

/// Why an instance gave no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It never got the request: another one may be asked, whatever it is.
    Untold(String),
    /// It may have acted on the request, but doing so twice does no harm.
    Repeatable(String),
    /// It may have acted on the request.
    Final(StatusCode, String),
}

/// The ways to instances.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    shared: Client<HttpConnector, Resumable>,
    single: Client<HttpConnector, Resumable>,
    answer_limit: Duration,
}

impl Upstream {
    pub(crate) fn new(answer_limit: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_LIMIT));
        connector.set_keepalive(Some(KEEPALIVE_IDLE));
        connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        connector.set_keepalive_retries(Some(KEEPALIVE_PROBES));
        let shared = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Shorter than the idle limits of common servers, so that a connection is seldom closed while it is being used.
            .pool_idle_timeout(Duration::from_secs(4))
            .pool_max_idle_per_host(1024)
            .build(connector.clone());
        let single = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { shared, single, answer_limit }
    }

    /// Sends the request to `picked`. `again` says that it is the second try of a request that was broken off.
    pub(crate) async fn send(
        &self,
        parts: &Parts,
        body: &Resumable,
        picked: &Picked,
        again: bool,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::new(body.clone());
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = parts.headers.clone();
        *request.uri_mut() = upstream_uri(&parts.uri, picked.address)
            .map_err(|_| Failure::Final(StatusCode::BAD_REQUEST, "the request's target is not a path".to_owned()))?;
        let repeatable = idempotent(&parts.method) && body.is_end_stream();
        let upgrade = parts.headers.contains_key(header::UPGRADE);
        let shared = repeatable && !again && !upgrade;
        if !shared && !upgrade {
            // The instance closes then, and the ports of this side do not run out.
            request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let client = if shared { &self.shared } else { &self.single };
        let who = format!("instance {} at {}", picked.uid.short(), picked.address);
        let Some(sent) = self.in_time(body, client.request(request)).await else {
            let limit = self.answer_limit.as_secs_f32();
            return Err(Failure::Final(StatusCode::GATEWAY_TIMEOUT, format!("{who} did not answer within {limit} s")));
        };
        let error = match sent {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        tracing::debug!(%who, error = &error as &dyn Error, "no answer");
        if error.is_connect() {
            return Err(Failure::Untold(format!("{who} took no connection")));
        }
        if body.broken() {
            return Err(Failure::Final(StatusCode::BAD_REQUEST, "the request's body is broken".to_owned()));
        }
        if !body.untouched() {
            return Err(Failure::Final(StatusCode::BAD_GATEWAY, format!("{who} broke off")));
        }
        if canceled(&error) {
            return Err(Failure::Untold(format!("{who} closed the connection")));
        }
        if idempotent(&parts.method) {
            return Err(Failure::Repeatable(format!("{who} broke off")));
        }
        Err(Failure::Final(StatusCode::BAD_GATEWAY, format!("{who} broke off")))
    }

    /// Waits for `answer` as long as the limit allows, counted from the last piece of the request: a slow upload is no slow answer.
    async fn in_time<F: Future>(&self, body: &Resumable, answer: F) -> Option<F::Output> {
        let mut answer = std::pin::pin!(answer);
        let mut since = tokio::time::Instant::now();
        loop {
            match tokio::time::timeout_at(since + self.answer_limit, &mut answer).await {
                Ok(output) => return Some(output),
                Err(_) if body.moved_at() > since => since = body.moved_at(),
                Err(_) => return None,
            }
        }
    }
}

/// Methods whose repetition does no harm (RFC 9110, 9.2.2).
fn idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}

/// Whether hyper gave the request up before it wrote any of it.
fn canceled(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn upstream_uri(uri: &Uri, address: SocketAddr) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    Uri::builder().scheme("http").authority(address.to_string()).path_and_query(path).build()
}
