//! Bodies on their way through the gateway.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::table::InFlight;

/// What the gateway answers with.
pub(crate) type Answer = UnsyncBoxBody<Bytes, hyper::Error>;

/// A body of the gateway's own.
pub(crate) fn text(text: String) -> Answer {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

/// A request's body that can be given to a second instance as long as the first has not read from it.
#[derive(Clone)]
pub(crate) struct Resumable(Arc<Mutex<Inner>>);

struct Inner {
    body: Incoming,
    touched: bool,
    moved: Instant,
}

impl Resumable {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(Inner { body, touched: false, moved: Instant::now() })))
    }

    /// Whether nothing of it has been read. A body that was read to its end is gone, however empty it looks now.
    pub(crate) fn untouched(&self) -> bool {
        !self.inner().touched
    }

    /// When the client last sent a piece of it.
    pub(crate) fn moved(&self) -> Instant {
        self.inner().moved
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for Resumable {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut inner = self.inner();
        let polled = Pin::new(&mut inner.body).poll_frame(context);
        if matches!(polled, Poll::Ready(Some(_))) {
            inner.touched = true;
            inner.moved = Instant::now();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner().body.size_hint()
    }
}

/// An instance's answer; the request counts as in flight until it has passed in full.
pub(crate) struct Counted {
    pub(crate) body: Incoming,
    pub(crate) in_flight: Option<InFlight>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.in_flight = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
