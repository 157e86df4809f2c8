//! One connection to an instance. Nobody drives it but whoever waits for its answer, so that no second task has to be woken for a
//! request and for each piece of its answer.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval};
use tokio::net::TcpStream;

use crate::body::Resumable;
use crate::pool::Place;

/// How long a connection to an instance may take.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// After so long without a word, a peer's machine is asked whether it is still there, so often, and so often again in vain.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the gateway has no room for more connections to instances")]
    Room,
    /// The machine's, or a limit of this process.
    #[error("the gateway has no more {0}")]
    Lack(&'static str, #[source] std::io::Error),
    #[error("connect")]
    Connect(#[source] std::io::Error),
    #[error("no connection within {CONNECT_LIMIT:?}")]
    Late,
    #[error("begin to speak HTTP")]
    Begin(#[source] hyper::Error),
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) address: SocketAddr,
    sender: SendRequest<Resumable>,
    driver: Driver,
    /// Given up after everything else.
    place: Place,
}

/// What reads and writes; gone once the connection has come to its end, so that whoever waits for an answer is told.
#[derive(Debug)]
struct Driver(Option<http1::Connection<TokioIo<TcpStream>, Resumable>>);

impl Driver {
    /// Brings on whatever is on its way; ready when the connection has come to its end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.0 else { return Poll::Ready(()) };
        // Which end it was is told to whoever waits for the answer, or for the rest of it.
        let _ended = ready!(Pin::new(connection).poll(context));
        self.0 = None;
        Poll::Ready(())
    }
}

impl Connection {
    /// Opens one, which takes the place.
    pub(crate) async fn open(address: SocketAddr, place: Place) -> Result<Self, OpenError> {
        let connecting = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address));
        let stream = connecting.await.map_err(|_| OpenError::Late)?.map_err(why)?;
        // Without these two it works as well, only slower, and with a machine that is gone noticed later.
        let _ = stream.set_nodelay(true);
        let _ = look_after(&stream);
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(OpenError::Begin)?;
        Ok(Self { address, sender, driver: Driver(Some(driver)), place })
    }

    /// Whether the next request can be sent: the last answer has come in full, and the instance has closed nothing.
    pub(crate) fn is_free(&mut self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop())).is_pending() && self.sender.is_ready()
    }

    /// Whether it has come to its end, as far as that was noticed.
    pub(crate) fn is_over(&self) -> bool {
        self.driver.0.is_none()
    }

    /// Brings on the rest of an answer; ready when the connection has come to its end.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.driver.poll(context)
    }

    /// Sends a request and waits for the head of its answer; the rest comes as long as the connection is polled.
    pub(crate) fn ask(
        &mut self,
        request: Request<Resumable>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> {
        // No block of `async`, which would keep the request as well.
        Asking { answer: self.sender.send_request(request), driver: &mut self.driver }
    }

    /// Sends the one request that goes over this connection, and hands over who brings it on: the result are the answer, the one who
    /// does, and the place, which both have to hold where the connection is upgraded.
    pub(crate) fn hand_over(
        self,
        request: Request<Resumable>,
    ) -> (impl Future<Output = hyper::Result<Response<Incoming>>>, impl Future<Output = ()> + Send + 'static, Arc<Place>)
    {
        let Self { address, mut sender, driver, place } = self;
        let place = Arc::new(place);
        let held = Arc::clone(&place);
        let answer = sender.send_request(request);
        let driver = async move {
            if let Some(driver) = driver.0
                && let Err(error) = driver.with_upgrades().await
            {
                tracing::debug!(%address, %error, "the connection to an instance ended");
            }
            drop(held);
        };
        (answer, driver, place)
    }
}

pin_project_lite::pin_project! {
    /// An answer that is waited for, and brought on meanwhile.
    struct Asking<'a, F> {
        #[pin]
        answer: F,
        driver: &'a mut Driver,
    }
}

impl<F: Future> Future for Asking<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _ended = this.driver.poll(context);
        this.answer.poll(context)
    }
}

/// Why there is no connection: not every error is about who was to take it (connect(2), socket(2)).
fn why(error: std::io::Error) -> OpenError {
    let lack = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE | Errno::ENFILE) => "descriptors",
        Some(Errno::EADDRNOTAVAIL) => "ports",
        Some(Errno::ENOBUFS | Errno::ENOMEM) => "memory for connections",
        _ => return OpenError::Connect(error),
    };
    OpenError::Lack(lack, error)
}

/// Has a peer whose machine is gone found out; where a listener is looked after, the connections that it accepts inherit it.
pub(crate) fn look_after(socket: &impl AsFd) -> nix::Result<()> {
    let seconds = |span: Duration| u32::try_from(span.as_secs()).unwrap_or(u32::MAX);
    setsockopt(socket, KeepAlive, &true)?;
    setsockopt(socket, TcpKeepIdle, &seconds(KEEPALIVE_IDLE))?;
    setsockopt(socket, TcpKeepInterval, &seconds(KEEPALIVE_INTERVAL))?;
    setsockopt(socket, TcpKeepCount, &KEEPALIVE_PROBES)
}
