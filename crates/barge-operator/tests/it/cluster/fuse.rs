//! A client that dies with one of its writes, before or after it was carried out: so is an operator killed at every point where it matters.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{Method, Request};
use tokio::sync::Notify;
use tower::{Layer, Service};

/// When it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The write was never sent.
    Before,
    /// It was carried out, and nobody has heard of it.
    After,
}

/// Counts writes, and dies with one of them.
#[derive(Debug, Clone)]
pub(crate) struct Fuse {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writes: AtomicUsize,
    at: usize,
    moment: Moment,
    blown: Notify,
}

impl Fuse {
    /// Dies with the write of that number, the first being 1.
    pub(crate) fn new(at: usize, moment: Moment) -> Self {
        Self { inner: Arc::new(Inner { writes: AtomicUsize::new(0), at, moment, blown: Notify::new() }) }
    }

    /// Ends once it has died.
    pub(crate) async fn blown(&self) {
        self.inner.blown.notified().await;
    }

    /// How many writes there were.
    pub(crate) fn writes(&self) -> usize {
        self.inner.writes.load(Ordering::SeqCst)
    }
}

impl<S> Layer<S> for Fuse {
    type Service = Fused<S>;

    fn layer(&self, service: S) -> Fused<S> {
        Fused { service, inner: Arc::clone(&self.inner) }
    }
}

/// A service that may die.
#[derive(Debug, Clone)]
pub(crate) struct Fused<S> {
    service: S,
    inner: Arc<Inner>,
}

impl<S, B> Service<Request<B>> for Fused<S>
where
    S: Service<Request<B>, Future: Send + 'static>,
    S::Response: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.method() == Method::GET {
            return Box::pin(self.service.call(request));
        }
        let number = self.inner.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let inner = Arc::clone(&self.inner);
        // Whoever is dead writes nothing more.
        let sent = number < inner.at || (number == inner.at && inner.moment == Moment::After);
        let answer = sent.then(|| self.service.call(request));
        Box::pin(async move {
            let answer = match answer {
                Some(answer) => Some(answer.await),
                None => None,
            };
            match answer {
                Some(answer) if number < inner.at => answer,
                _ => {
                    inner.blown.notify_one();
                    std::future::pending().await
                }
            }
        })
    }
}
