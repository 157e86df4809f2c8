//! Bodies on their way through the gateway.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::table::InFlight;

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

    fn note(&self) {
        *lock(&self.0) = Instant::now();
    }

    fn at(&self) -> Instant {
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

/// An instance's answer. The request counts as in flight until it has passed in full, or stands still for too long: an instance that
/// says nothing more, or a client that takes nothing more.
pub(crate) struct Counted {
    passing: Arc<Mutex<Passing>>,
    moved: Moved,
    limit: Duration,
    /// Begun once a piece has to be waited for: most answers pass at once. Whoever does not take an answer does not ask for its next
    /// piece either, so this cannot be looked after where pieces are asked for.
    watch: Option<AbortOnDropHandle<()>>,
}

/// The part of an answer that has not passed yet.
struct Passing {
    /// Gone once it has passed, broken off, or stood still.
    rest: Option<(Incoming, InFlight)>,
    /// Why the rest will not come, until that is told.
    stalled: Option<BodyError>,
    /// Whom to tell.
    waiting: Option<Waker>,
}

impl Counted {
    /// An answer to the request whose pieces `moved` notes. Where pieces of either go on their way, nothing stands still.
    pub(crate) fn new(body: Incoming, in_flight: InFlight, moved: Moved, limit: Duration) -> Self {
        moved.note();
        let passing = Passing { rest: Some((body, in_flight)), stalled: None, waiting: None };
        Self { passing: Arc::new(Mutex::new(passing)), moved, limit, watch: None }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let (polled, goes_on) = {
            let mut passing = lock(&this.passing);
            let polled = passing.poll(context);
            (polled, passing.rest.is_some())
        };
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            this.moved.note();
        }
        if goes_on && this.watch.is_none() {
            let watch = watch(Arc::downgrade(&this.passing), this.moved.clone(), this.limit);
            this.watch = Some(AbortOnDropHandle::new(tokio::spawn(watch)));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let passing = lock(&self.passing);
        passing.rest.as_ref().map_or(passing.stalled.is_none(), |(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.passing).rest.as_ref().map_or_else(SizeHint::default, |(body, _)| body.size_hint())
    }
}

impl Passing {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some((body, _)) = &mut self.rest else { return Poll::Ready(self.stalled.take().map(Err)) };
        let polled = Pin::new(&mut *body).poll_frame(context);
        let over = match &polled {
            Poll::Pending => false,
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Ready(Some(Ok(_))) => body.is_end_stream(),
        };
        if over {
            self.rest = None;
        }
        self.waiting = polled.is_pending().then(|| context.waker().clone());
        polled.map_err(BodyError::Broke)
    }
}

/// Lets go of an answer that has stood still for as long as the limit, and of the instance with it.
async fn watch(passing: Weak<Mutex<Passing>>, moved: Moved, limit: Duration) {
    loop {
        // A limit beyond all time is none.
        let Some(until) = moved.at().checked_add(limit) else { return };
        tokio::time::sleep_until(until).await;
        let Some(passing) = passing.upgrade() else { return };
        let mut passing = lock(&passing);
        if moved.at() + limit > Instant::now() {
            continue;
        }
        let rest = passing.rest.take();
        passing.stalled = rest.is_some().then_some(BodyError::Stalled(limit));
        let waiting = passing.waiting.take();
        drop(passing);
        drop(rest);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        return;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
