//! Asks one instance, and says of a failure whether the request may be asked again.
//!
//! There are two ways to an instance. Requests that may be repeated share connections that are kept open ([`Pool`]), and whoever waits
//! for the answer brings it on himself. All others get a connection of their own, which goes on by itself: a body may have to be taken
//! to an instance while its answer waits for a slow client. Not to share it has a reason as well: an instance may close an idle
//! connection in the moment in which a request is written to it, and nobody can tell then whether it has acted on it. For a GET that
//! costs a second try; a POST would be lost.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;

use crate::answer::Coming;
use crate::background::Background;
use crate::body::Resumable;
use crate::connection::{Connection, OpenError};
use crate::pool::Pool;
use crate::table::Picked;

/// Why an instance gave no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was not asked, for a lack of the gateway's.
    Lack(String),
    /// It never got the request: another one may be asked, whatever it is.
    Untold(String),
    /// It may have acted on the request, but doing so twice does no harm.
    Repeatable(String),
    /// It may have acted on the request.
    Final(StatusCode, String),
}

/// What went wrong with one try.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("wait for the head of the answer")]
    Answer(#[from] hyper::Error),
}

/// What is asked of an instance.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) body: &'a Resumable,
    /// Whether it is the second try of a request that was broken off.
    pub(crate) again: bool,
    /// Until when there has to be room for another connection.
    pub(crate) until: Instant,
}

/// The ways to instances.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pool: Arc<Pool>,
    background: Background,
    answer_limit: Duration,
}

impl Upstream {
    /// Over the connections of `pool`.
    pub(crate) fn new(pool: Pool, answer_limit: Duration, background: Background) -> Self {
        Self { pool: Arc::new(pool), background, answer_limit }
    }

    /// Sends the request to `picked`.
    pub(crate) async fn send(&self, asked: Asked<'_>, picked: &Picked) -> Result<Response<Coming>, Failure> {
        let Asked { parts, body, again, until } = asked;
        let upgrade = parts.headers.contains_key(header::UPGRADE);
        let shared = idempotent(&parts.method) && body.is_end_stream() && !again && !upgrade;
        let request = || {
            let mut request = request(parts, body, picked.address);
            if !shared && !upgrade {
                // The instance closes then, and the ports of this side do not run out.
                request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            request
        };
        let mut asked = pin!(async {
            if shared {
                self.shared(picked.address, until, request).await
            } else {
                // Boxed as the seldom one of the two ways: it would make room in each request.
                Box::pin(self.single(picked.address, until, request())).await
            }
        });
        let Some(sent) = self.in_time(body, asked.as_mut()).await else {
            return Err(self.late(body, picked));
        };
        sent.map_err(|error| failure(&error, &parts.method, body, picked))
    }

    /// Says who kept the answer from coming in time: where the client has stopped in the middle of its upload, the instance waits as well.
    fn late(&self, body: &Resumable, picked: &Picked) -> Failure {
        let limit = self.answer_limit.as_secs_f32();
        if body.awaited() {
            let text = format!("nothing more of the request's body came from the client within {limit} s");
            return Failure::Final(StatusCode::REQUEST_TIMEOUT, text);
        }
        Failure::Final(StatusCode::GATEWAY_TIMEOUT, format!("{} did not answer within {limit} s", who(picked)))
    }

    /// Asks over a connection that is kept, or becomes one.
    async fn shared(
        &self,
        address: SocketAddr,
        until: Instant,
        request: impl Fn() -> Request<Resumable>,
    ) -> Result<Response<Coming>, AskError> {
        while let Some(mut connection) = self.pool.take(address) {
            match connection.ask(request()).await {
                // The instance has just closed it, and got nothing of the request.
                Err(error) if error.is_canceled() => {}
                asked => return Ok(self.coming(asked?, connection)),
            }
        }
        let mut connection = Box::pin(self.open(address, until)).await.map(Box::new)?;
        Ok(self.coming(connection.ask(request()).await?, connection))
    }

    fn coming(&self, answer: Response<Incoming>, connection: Box<Connection>) -> Response<Coming> {
        answer.map(|body| Coming::through(body, connection, &self.pool))
    }

    /// Asks over a connection of the request's own.
    async fn single(
        &self,
        address: SocketAddr,
        until: Instant,
        request: Request<Resumable>,
    ) -> Result<Response<Coming>, AskError> {
        let (answer, driver, place) = Box::pin(self.open(address, until)).await?.hand_over(request);
        self.background.spawn(driver);
        Ok(answer.await?.map(|body| Coming::by_itself(body, place)))
    }

    async fn open(&self, address: SocketAddr, until: Instant) -> Result<Connection, OpenError> {
        self.pool.spare(address);
        let place = self.pool.place(until).await.ok_or(OpenError::Room)?;
        Connection::open(address, place).await
    }

    /// Closes kept connections that nobody will use; to be called now and then.
    pub(crate) fn sweep(&self) {
        self.pool.sweep();
    }

    /// Waits for `answer` as long as the limit allows, counted from the last piece of the request: a slow upload is no slow answer.
    async fn in_time<F: Future>(&self, body: &Resumable, mut answer: Pin<&mut F>) -> Option<F::Output> {
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

/// The request as the instance at `address` gets it.
fn request(parts: &Parts, body: &Resumable, address: SocketAddr) -> Request<Resumable> {
    let mut request = Request::new(body.clone());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")).into();
    *request.headers_mut() = parts.headers.clone();
    if !parts.headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(&address.to_string())
    {
        // Who spoke HTTP/1.0 need not have said it; in HTTP/1.1 it has to be there.
        request.headers_mut().insert(header::HOST, host);
    }
    request
}

fn failure(error: &AskError, method: &Method, body: &Resumable, picked: &Picked) -> Failure {
    let who = who(picked);
    tracing::debug!(%who, error = error as &dyn std::error::Error, "no answer");
    let error = match error {
        AskError::Answer(error) => error,
        AskError::Open(lack @ (OpenError::Lack(..) | OpenError::Room)) => return Failure::Lack(lack.to_string()),
        AskError::Open(_) => return Failure::Untold(format!("{who} took no connection")),
    };
    if body.broken() {
        return Failure::Final(StatusCode::BAD_REQUEST, "the request's body is broken".to_owned());
    }
    if body.untouched() && error.is_canceled() {
        return Failure::Untold(format!("{who} closed the connection"));
    }
    if error.is_parse() {
        // It was asked and has answered: another one would be asked twice, and what is wrong would not be seen.
        let what =
            if error.is_parse_too_large() { "answered with too long a head" } else { "answered what is no HTTP" };
        return Failure::Final(StatusCode::BAD_GATEWAY, format!("{who} {what}"));
    }
    if body.untouched() && idempotent(method) {
        return Failure::Repeatable(format!("{who} broke off"));
    }
    Failure::Final(StatusCode::BAD_GATEWAY, format!("{who} broke off"))
}

fn who(picked: &Picked) -> String {
    format!("instance {} at {}", picked.uid.short(), picked.address)
}
