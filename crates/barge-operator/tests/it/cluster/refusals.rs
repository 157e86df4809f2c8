//! A client whose writes are refused now and then, or are carried out and answered with an error all the same.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use kube::client::Body;
use serde_json::json;
use tower::{BoxError, Layer, Service};

/// What becomes of every so many writes, in turns.
const TURNS: [Turn; 7] = [
    Turn::Refused(StatusCode::CONFLICT, "Conflict"),
    Turn::Passes,
    Turn::Refused(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
    Turn::Passes,
    Turn::Lost,
    Turn::Refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
    Turn::Passes,
];

#[derive(Debug, Clone, Copy)]
enum Turn {
    Passes,
    /// Not carried out.
    Refused(StatusCode, &'static str),
    /// Carried out, and nobody is told.
    Lost,
}

/// Counts how many writes were not answered as they should have been.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusals {
    writes: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Refusals {
    pub(crate) fn count(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

impl<S> Layer<S> for Refusals {
    type Service = Refusing<S>;

    fn layer(&self, service: S) -> Refusing<S> {
        Refusing { service, refusals: self.clone() }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Refusing<S> {
    service: S,
    refusals: Refusals,
}

impl<S, B> Service<Request<Body>> for Refusing<S>
where
    S: Service<Request<Body>, Response = Response<B>, Future: Send + 'static>,
    S::Error: Into<BoxError>,
    B: 'static,
{
    type Response = Response<Either<B, Full<Bytes>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let turn = match request.method() == Method::GET {
            true => Turn::Passes,
            false => TURNS[self.refusals.writes.fetch_add(1, Ordering::SeqCst) % TURNS.len()],
        };
        if !matches!(turn, Turn::Passes) {
            self.refusals.refused.fetch_add(1, Ordering::SeqCst);
        }
        let answer = (!matches!(turn, Turn::Refused(..))).then(|| self.service.call(request));
        Box::pin(async move {
            let answer = match answer {
                Some(answer) => Some(answer.await.map_err(Into::into)?),
                None => None,
            };
            match (turn, answer) {
                (Turn::Refused(status, reason), _) => Ok(refusal(status, reason).map(Either::Right)),
                (Turn::Passes, Some(answer)) => Ok(answer.map(Either::Left)),
                (Turn::Lost, _) | (Turn::Passes, None) => Err("the connection was cut".into()),
            }
        })
    }
}

fn refusal(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "refused by a test", "reason": reason, "code": status.as_u16(),
    });
    Response::builder().status(status).body(Full::from(body.to_string())).unwrap()
}
