//! Bodies on their way to instances, and those of the gateway's own.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::time::Instant;

/// Why an answer does not arrive in full.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the instance broke off")]
    Broke(#[source] hyper::Error),
    #[error("nothing has moved for {0:?}")]
    Stalled(Duration),
}

/// What the gateway answers with.
pub(crate) type Answer = UnsyncBoxBody<Bytes, BodyError>;

/// A body of the gateway's own.
pub(crate) fn text(text: String) -> Answer {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

/// When a piece of a request or of its answer last went on its way.
#[derive(Debug, Clone)]
pub(crate) struct Moved(Arc<Mutex<Instant>>);

impl Moved {
    fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(crate) fn note(&self) {
        *lock(&self.0) = Instant::now();
    }

    pub(crate) fn at(&self) -> Instant {
        *lock(&self.0)
    }
}

/// A request's body that can be given to a second instance as long as the first has not read from it.
#[derive(Clone)]
pub(crate) struct Resumable {
    inner: Arc<Mutex<Inner>>,
    moved: Moved,
}

struct Inner {
    body: Incoming,
    touched: bool,
    broken: bool,
}

impl Resumable {
    pub(crate) fn new(body: Incoming) -> Self {
        let inner = Inner { body, touched: false, broken: false };
        Self { inner: Arc::new(Mutex::new(inner)), moved: Moved::now() }
    }

    /// Whether nothing of it has been read. A body that was read to its end is gone, however empty it looks now.
    pub(crate) fn untouched(&self) -> bool {
        !lock(&self.inner).touched
    }

    /// Whether the client has broken off, or sent what is no body.
    pub(crate) fn broken(&self) -> bool {
        lock(&self.inner).broken
    }

    /// When the client last sent a piece of it.
    pub(crate) fn moved_at(&self) -> Instant {
        self.moved.at()
    }

    /// Notes when pieces of it go on their way.
    pub(crate) fn moved(&self) -> Moved {
        self.moved.clone()
    }
}

impl Body for Resumable {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut inner = lock(&self.inner);
        let polled = Pin::new(&mut inner.body).poll_frame(context);
        if let Poll::Ready(Some(frame)) = &polled {
            inner.touched = true;
            inner.broken = frame.is_err();
            self.moved.note();
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
