//! The body of an instance's answer on its way to the client.

use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use slab::Slab;
use tokio::time::Instant;

use crate::body::{BodyError, Resumable, lock};
use crate::connection::Connection;
use crate::pool::{Place, Pool};
use crate::table::InFlight;

/// A piece of an answer, or its end.
type Polled<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

/// An answer's body as it comes from an instance.
#[derive(Debug)]
pub(crate) struct Coming {
    body: Incoming,
    /// What brings it, unless that goes on by itself; kept for other requests afterwards.
    source: Option<(Box<Connection>, Arc<Pool>)>,
    /// The place of a connection that goes on by itself.
    place: Option<Arc<Place>>,
    /// Whether nothing more will come.
    over: bool,
}

impl Coming {
    /// One that comes only as long as somebody asks for it.
    pub(crate) fn through(body: Incoming, connection: Box<Connection>, pool: &Arc<Pool>) -> Self {
        let mut coming = Self { body, source: Some((connection, Arc::clone(pool))), place: None, over: false };
        if coming.body.is_end_stream() {
            coming.end();
        }
        coming
    }

    /// One that somebody else brings on.
    pub(crate) fn by_itself(body: Incoming, place: Arc<Place>) -> Self {
        Self { body, source: None, place: Some(place), over: false }
    }

    /// What an upgraded connection has to hold until its end.
    pub(crate) fn into_place(self) -> Option<Arc<Place>> {
        self.place
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Polled<hyper::Error> {
        let mut polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_pending()
            && let Some((connection, _)) = &mut self.source
        {
            if connection.poll(context).is_ready() {
                self.source = None;
            }
            polled = Pin::new(&mut self.body).poll_frame(context);
        }
        match &polled {
            Poll::Ready(Some(Err(_))) => {
                self.source = None;
                self.over = true;
            }
            Poll::Ready(None) => self.end(),
            // Nothing follows upon trailers (RFC 9112, 7.1.2), and nobody asks for more.
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() || self.body.is_end_stream() => self.end(),
            Poll::Pending | Poll::Ready(Some(Ok(_))) => {}
        }
        polled
    }

    fn end(&mut self) {
        self.over = true;
        if let Some((connection, pool)) = self.source.take() {
            pool.keep(connection);
        }
    }
}

/// An instance's answer. The request counts as in flight until it has passed in full, or stands still for too long: an instance that
/// says nothing more, or a client that takes nothing more.
pub(crate) struct Counted {
    passing: Arc<Mutex<Passing>>,
    stalls: Arc<Stalls>,
    /// Begun once a piece has to be waited for: most answers pass at once. Whoever does not take an answer does not ask for its next
    /// piece either, so this cannot be looked after where pieces are asked for.
    watched: Option<Watched>,
}

/// The part of an answer that has not passed yet.
struct Passing {
    /// Gone once it has passed, broken off, or stood still.
    rest: Option<Rest>,
    /// Why the rest will not come, until that is told.
    stalled: Option<BodyError>,
    /// Whom to tell.
    waiting: Option<Waker>,
}

/// What holds an instance.
struct Rest {
    coming: Coming,
    /// Where pieces of the request go on their way, its answer does not stand still either.
    request: Resumable,
    _in_flight: InFlight,
}

impl Counted {
    pub(crate) fn new(coming: Coming, in_flight: InFlight, request: Resumable, stalls: &Arc<Stalls>) -> Self {
        request.note_moved();
        let rest = Rest { coming, request, _in_flight: in_flight };
        let passing = Passing { rest: Some(rest), stalled: None, waiting: None };
        Self { passing: Arc::new(Mutex::new(passing)), stalls: Arc::clone(stalls), watched: None }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled<BodyError> {
        let this = self.get_mut();
        let (polled, goes_on) = {
            let mut passing = lock(&this.passing);
            let polled = passing.poll(context);
            (polled, passing.rest.is_some())
        };
        if goes_on && this.watched.is_none() {
            this.watched = Some(Stalls::watch(&this.stalls, &this.passing));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let passing = lock(&self.passing);
        passing.rest.as_ref().map_or(passing.stalled.is_none(), |rest| rest.coming.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.passing).rest.as_ref().map_or_else(SizeHint::default, |rest| rest.coming.body.size_hint())
    }
}

impl Passing {
    fn poll(&mut self, context: &mut Context<'_>) -> Polled<BodyError> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(self.stalled.take().map(Err)) };
        let polled = rest.coming.poll(context);
        if rest.coming.over {
            self.rest = None;
        } else if polled.is_ready() {
            rest.request.note_moved();
        }
        self.waiting = polled.is_pending().then(|| context.waker().clone());
        polled.map_err(BodyError::Broke)
    }

    /// Lets go of the rest, and of the instance with it, if it has stood still for as long as the limit. The result is to be dropped where
    /// nobody waits for it.
    fn give_up(&mut self, now: Instant, limit: Duration) -> Option<Rest> {
        let rest = self.rest.take_if(|rest| now.saturating_duration_since(rest.request.moved_at()) >= limit)?;
        self.stalled = Some(BodyError::Stalled(limit));
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        Some(rest)
    }
}

/// The answers that may stand still.
#[derive(Debug)]
pub(crate) struct Stalls {
    limit: Duration,
    watched: Mutex<Slab<Weak<Mutex<Passing>>>>,
}

/// The place of an answer among those that may stand still.
#[derive(Debug)]
struct Watched {
    stalls: Arc<Stalls>,
    place: usize,
}

impl Stalls {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, watched: Mutex::default() }
    }

    /// How long something may stand still.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    fn watch(this: &Arc<Self>, passing: &Arc<Mutex<Passing>>) -> Watched {
        let place = lock(&this.watched).insert(Arc::downgrade(passing));
        Watched { stalls: Arc::clone(this), place }
    }

    /// Breaks off those that stand still; to be called now and then.
    pub(crate) fn sweep(&self) {
        let watched: Vec<Weak<Mutex<Passing>>> =
            lock(&self.watched).iter().map(|(_, passing)| passing.clone()).collect();
        let now = Instant::now();
        for passing in watched.iter().filter_map(Weak::upgrade) {
            let given_up = lock(&passing).give_up(now, self.limit);
            drop(given_up);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.stalls.watched).remove(self.place);
    }
}
