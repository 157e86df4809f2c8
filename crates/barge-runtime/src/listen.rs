//! Serves HTTP/1.1 and HTTP/2 on a listener, for as long as nobody asks for an end, and without giving a client more than its share:
//! a limit for how many connections are open, and one for how long a client may say nothing.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod stream;

use self::stream::{ClientStream, Gone, Peer};

type BoxError = Box<dyn Error + Send + Sync>;

/// What one listener allows.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a client may take to send the head of a request; also how long an idle connection is kept. One of HTTP/2 may be kept up to
    /// twice as long.
    header: Duration,
    /// For how many connections there is room. Who comes later waits in the listener's queue.
    room: Arc<Semaphore>,
}

impl Limits {
    /// Room for so many connections. Whoever serves with a clone takes from the same room.
    pub fn new(header: Duration, connections: usize) -> Self {
        Self { header, room: Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS))) }
    }
}

/// Why nobody is served any more.
#[derive(Debug, thiserror::Error)]
#[error("accept connections")]
pub struct AcceptError(#[source] std::io::Error);

/// Serves until `shutdown`; the result are the connections whose requests are not over yet, for their owner to wait for or to cut.
/// `service` answers for one client each.
///
/// # Errors
/// The listener broke for good.
pub async fn serve<S, B>(
    listener: TcpListener,
    limits: &Limits,
    shutdown: &CancellationToken,
    service: impl Fn(SocketAddr) -> S,
) -> Result<JoinSet<()>, AcceptError>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send> + Send + Sync + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        // Finished connections are collected as they end, so the set stays as small as the number of open ones.
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = accept(&listener, &limits.room) => accepted,
            () = shutdown.cancelled() => return Ok(connections),
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if broken(&error) => return Err(AcceptError(error)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let connection = connection(stream, peer, service(peer), limits.header, shutdown.clone());
        connections.spawn(async move {
            connection.await;
            drop(permit);
        });
        // Whoever else listens here is to have its part of many that come at once.
        tokio::task::yield_now().await;
    }
}

/// Accepts when there is room for one more connection.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn connection<S, B>(
    stream: TcpStream,
    peer: SocketAddr,
    service: S,
    header_limit: Duration,
    shutdown: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send> + Send + Sync + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    // Answers leave at once; a peer that is gone is found out by the writes.
    let _ = stream.set_nodelay(true);
    let (streams, requests) = (Streams::default(), Arc::new(Requests::new()));
    let mut builder = auto::Builder::new(streams.clone());
    // hyper's own limit for heads would set a timer for each request. It is told that an end of the stream is not a client's end, because we
    // look for that ourselves.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(64 * 1024).half_close(true);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256).keep_alive_interval(Duration::from_secs(30));
    // No block of `async`: it would keep room for what answers twice, and each request would move all of it.
    let stream = ClientStream::new(stream);
    let client = stream.peer();
    let noting = service_fn(|request: Request<Incoming>| {
        let watched = (request.version() != Version::HTTP_2).then(|| client.clone());
        let present = Present { peer: watched, _open: Requests::begin(&requests) };
        Answering { answer: service.call(request), present: Some(present) }
    });
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), noting));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = idle(&requests, &streams, header_limit) => {
            connection.as_mut().graceful_shutdown();
            // A client of HTTP/2 has to confirm that. One that does not is cut off, unless a request of its came in the same moment.
            tokio::select! {
                ended = connection => ended,
                () = idle(&requests, &streams, header_limit) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a client's connection ended");
    }
}

/// Runs the streams of one connection of HTTP/2, a task for each request until its answer has been sent, and so knows whether one is
/// open. HTTP/1 has no use for it.
#[derive(Debug, Clone, Default)]
struct Streams {
    open: TaskTracker,
    begun: Arc<AtomicU64>,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.spawn(stream);
    }
}

/// Waits until a client has kept its connection for `limit` without an open request: it sends no head, or not all of it. Of HTTP/2, that
/// is looked at only so often.
async fn idle(requests: &Requests, streams: &Streams, limit: Duration) {
    let mut left = requests.idle_for().map_or(limit, |idle| limit.saturating_sub(idle));
    loop {
        let before = streams.begun.load(Ordering::Relaxed);
        // One timer for many requests: they end meanwhile, and nobody sets it anew for each.
        tokio::time::sleep(left).await;
        let begun = streams.begun.load(Ordering::Relaxed);
        left = limit;
        if begun > 0 {
            // The last piece of an answer may still be on its way when its body is at its end.
            if begun == before && streams.open.is_empty() {
                return;
            }
        } else if let Some(idle) = requests.idle_for() {
            left = limit.saturating_sub(idle);
            if left.is_zero() {
                return;
            }
        }
    }
}

/// The requests of one connection.
#[derive(Debug)]
struct Requests {
    accepted: Instant,
    open: AtomicU64,
    /// Milliseconds from the accepting to the end of the last answer.
    last: AtomicU64,
}

impl Requests {
    fn new() -> Self {
        Self { accepted: Instant::now(), open: AtomicU64::new(0), last: AtomicU64::new(0) }
    }

    fn begin(this: &Arc<Self>) -> Open {
        this.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(this))
    }

    /// For how long none has been open; nothing while one is.
    fn idle_for(&self) -> Option<Duration> {
        let idle = self.accepted.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)));
        (self.open.load(Ordering::Relaxed) == 0).then_some(idle)
    }
}

/// A request, until its answer has come to its end.
#[derive(Debug)]
struct Open(Arc<Requests>);

impl Drop for Open {
    fn drop(&mut self) {
        let Self(requests) = self;
        let since = u64::try_from(requests.accepted.elapsed().as_millis()).unwrap_or(u64::MAX);
        requests.last.store(since, Ordering::Relaxed);
        requests.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client that waits for the answer to a request.
#[derive(Debug)]
struct Present {
    /// Nobody where others look whether it is there.
    peer: Option<Peer>,
    _open: Open,
}

impl Present {
    /// Ready once the client has gone.
    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<Gone> {
        self.peer.as_ref().map_or(Poll::Pending, |peer| peer.poll_gone(context))
    }
}

pin_project_lite::pin_project! {
    /// An answer that is waited for.
    struct Answering<F> {
        #[pin]
        answer: F,
        present: Option<Present>,
    }
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<Answer<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(answer) = this.answer.poll(context) {
            let present = this.present.take();
            return Poll::Ready(answer.map(|answer| answer.map(|body| Answer { body, present })).map_err(Into::into));
        }
        let present = this.present.as_ref();
        present.map_or(Poll::Pending, |present| present.poll_gone(context).map(|gone| Err(gone.into())))
    }
}

pin_project_lite::pin_project! {
    /// The body of an answer, with which its request is open.
    struct Answer<B> {
        #[pin]
        body: B,
        present: Option<Present>,
    }
}

impl<B: Body<Error: Into<BoxError>>> Body for Answer<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        if let Poll::Ready(frame) = this.body.poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let present = this.present.as_ref();
        present.map_or(Poll::Pending, |present| present.poll_gone(context).map(|gone| Some(Err(gone.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Errors of the listener itself. All others are about one connection, or pass when memory or descriptors are there again (accept(2)).
fn broken(error: &std::io::Error) -> bool {
    // EBADF, EFAULT, EINVAL, ENOTSOCK, EOPNOTSUPP
    error.raw_os_error().is_some_and(|code| [9, 14, 22, 88, 95].contains(&code))
}
