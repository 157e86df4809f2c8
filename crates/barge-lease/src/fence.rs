//! A client for the leader: reads pass, and a write passes only while the tenure goes on.
//!
//! Whoever was stopped for a while, by a debugger, a full node or a machine that slept, goes on in the middle of what he did. The question is asked right
//! before a write is sent, and its answer has to come before others may begin; what is sent in the moment between is met by the versions in it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

use crate::clock::Moment;
use crate::election::{DURATION, RENEW_WITHIN};
use crate::tenure::Tenure;

/// Between the end of a leader's tenure and the first moment at which somebody else may lead.
const MARGIN: Duration = DURATION.saturating_sub(RENEW_WITHIN);

/// A write that was not sent, or whose answer came too late.
#[derive(Debug, thiserror::Error)]
#[error("the lead of epoch {epoch} is over: {method} {path} is left to whoever leads now")]
pub struct Fenced {
    epoch: u64,
    method: Method,
    path: String,
}

/// Puts the fence before a client's requests.
#[derive(Debug, Clone)]
pub struct Fence(Tenure);

impl Fence {
    /// Lets writes through while `tenure` goes on.
    pub const fn new(tenure: Tenure) -> Self {
        Self(tenure)
    }
}

impl<S> Layer<S> for Fence {
    type Service = Fencing<S>;

    fn layer(&self, service: S) -> Fencing<S> {
        Fencing { service, tenure: self.0.clone() }
    }
}

/// A client behind the fence.
#[derive(Debug, Clone)]
pub struct Fencing<S> {
    service: S,
    tenure: Tenure,
}

impl<S, B> Service<Request<Body>> for Fencing<S>
where
    S: Service<Request<Body>, Response = Response<B>, Future: Send + 'static>,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.method() == Method::GET {
            let answer = self.service.call(request);
            return Box::pin(async move { answer.await.map_err(Into::into) });
        }
        let fenced = Fenced {
            epoch: self.tenure.epoch(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
        };
        let now = Moment::now();
        if !self.tenure.holds(now) {
            return Box::pin(std::future::ready(Err(fenced.into())));
        }
        // An answer that comes later than this may be one to a write of somebody who leads no more.
        let limit = self.tenure.left(now).saturating_add(MARGIN / 2);
        let answer = self.service.call(request);
        Box::pin(async move {
            match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err(fenced.into()),
            }
        })
    }
}
