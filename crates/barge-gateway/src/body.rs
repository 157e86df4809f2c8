//! Bodies on their way to instances, and those of the gateway's own.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::answer::Counted;

/// Why an answer does not arrive in full.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the instance broke off")]
    Broke(#[source] hyper::Error),
    #[error("nothing has moved for {0:?}")]
    Stalled(Duration),
}

/// What the gateway answers with: something of its own, or what an instance says.
pub(crate) type Answer = Either<Full<Bytes>, Counted>;

/// A body of the gateway's own.
pub(crate) fn text(text: String) -> Answer {
    Either::Left(Full::new(Bytes::from(text)))
}

/// A request's body that can be given to a second instance as long as the first has not read from it.
#[derive(Clone)]
pub(crate) struct Resumable {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    body: Incoming,
    touched: bool,
    broken: bool,
    /// Whether its next piece was asked for, and had not come from the client yet.
    awaited: bool,
    /// When a piece of the request or of its answer last went on its way.
    moved: Instant,
}

impl Resumable {
    pub(crate) fn new(body: Incoming) -> Self {
        let inner = Inner { body, touched: false, broken: false, awaited: false, moved: Instant::now() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Whether nothing of it has been read. A body that was read to its end is gone, however empty it looks now.
    pub(crate) fn untouched(&self) -> bool {
        !lock(&self.inner).touched
    }

    /// Whether the client has broken off, or sent what is no body.
    pub(crate) fn broken(&self) -> bool {
        lock(&self.inner).broken
    }

    /// Whether an instance waits for its next piece, which the client has not sent.
    pub(crate) fn awaited(&self) -> bool {
        lock(&self.inner).awaited
    }

    /// When a piece of it, or of its answer, last went on its way.
    pub(crate) fn moved_at(&self) -> Instant {
        lock(&self.inner).moved
    }

    /// Notes that a piece of its answer goes on its way.
    pub(crate) fn note_moved(&self) {
        lock(&self.inner).moved = Instant::now();
    }
}

impl Body for Resumable {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut inner = lock(&self.inner);
        let polled = Pin::new(&mut inner.body).poll_frame(context);
        inner.awaited = polled.is_pending();
        if let Poll::Ready(Some(frame)) = &polled {
            inner.touched = true;
            inner.broken = frame.is_err();
            inner.moved = Instant::now();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.inner).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.inner).body.size_hint()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
