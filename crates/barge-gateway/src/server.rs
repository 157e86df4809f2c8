//! Serves clients until it is told to stop; what is in flight then gets time to end.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use barge_runtime::listen::{self, AcceptError, Limits};
use futures_util::FutureExt;
use hyper::service::service_fn;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::connection;
use crate::headers::Client;
use crate::proxy::{Proxy, Shared};
use crate::route;
use crate::table::Table;

/// What can be set.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Services are known as SERVICE.ENVIRONMENT.DOMAIN. With `localhost`, every such name is this machine.
    pub domain: String,
    /// For how long an instance is searched that takes the request. What another one worked on it before it broke off does not count.
    pub search_limit: Duration,
    /// How long an instance may take until the head of its answer, counted from the last piece of the request.
    pub answer_limit: Duration,
    /// How long a client may take to send the head of a request; also how long an idle connection is kept, one of HTTP/2 up to twice as
    /// long.
    pub header_limit: Duration,
    /// How long an answer may stand still once its head is there: no piece of it, and none of its request, goes on its way, because
    /// the instance says nothing more, or the client takes nothing more. It is broken off then. An instance that streams, and has
    /// nothing to say for longer, has to say something now and then that means nothing, such as the comments of server-sent events.
    /// However slow a client takes its answer, it is served as long as its system asks for more at least so often. Upgraded
    /// connections may be silent for ever while both sides are open; once one of them has ended, the other one is cut off when nothing
    /// has moved for this long, or at most twice. A client that does not take what waits for it is cut off there as well.
    pub stall_limit: Duration,
    /// At shutdown, how long requests in flight may take to end.
    pub drain_limit: Duration,
    /// How many connections of clients may be open, and how many upgraded ones besides. There may be as many connections to instances as
    /// of both together, so that four times as many files may be open as this says. A client of HTTP/2 may need several; whoever finds no
    /// room for one within the search limit is told so.
    pub max_connections: usize,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            domain: route::LOCAL.to_owned(),
            search_limit: Duration::from_secs(6),
            answer_limit: Duration::from_secs(60),
            header_limit: Duration::from_secs(15),
            stall_limit: Duration::from_secs(300),
            drain_limit: Duration::from_secs(10),
            max_connections: 10_000,
        }
    }
}

/// A gateway over a table of registrations.
#[derive(Debug)]
pub struct Gateway {
    table: Arc<Table>,
    config: GatewayConfig,
}

/// Why a gateway of several threads serves nobody any more.
#[derive(Debug, thiserror::Error)]
pub enum ThreadsError {
    /// One of its threads could not be started.
    #[error("start a thread that serves")]
    Start(#[source] std::io::Error),
    /// The listener broke for good.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// A defect of ours.
    #[error("a thread that serves panicked")]
    Panicked,
}

impl Gateway {
    /// Joins the two.
    pub fn new(table: Arc<Table>, config: GatewayConfig) -> Self {
        Self { table, config }
    }

    /// Serves on as many `threads`, each with a runtime of its own, until `shutdown`, then lets requests in flight end. A client's
    /// connection stays on the thread that has accepted it, with all that is done for it: no thread waits for another one, or wakes it,
    /// and who was ready first is served first. Threads that steal work from each other answer a tenth to a third fewer requests, and
    /// with a thousand clients some wait far longer than others. Returns when all of them have ended.
    ///
    /// # Errors
    /// They could not be started, or one of them broke, with which all end.
    pub fn serve_on_threads(
        self,
        threads: NonZeroUsize,
        listener: std::net::TcpListener,
        shutdown: &CancellationToken,
    ) -> Result<(), ThreadsError> {
        let stop = shutdown.child_token();
        let (shared, limits) = (Shared::new(threads, &self.config), self.limits());
        std::thread::scope(|scope| {
            let start = |number: usize| {
                let (config, shared, limits, stop) = (&self.config, &shared, &limits, stop.clone());
                let proxy = Proxy::of_thread(number, &self.table, config, shared, Admission::of_thread());
                let listener = listener.try_clone()?;
                let thread = std::thread::Builder::new().name(format!("gateway-{number}"));
                thread.spawn_scoped(scope, move || serve_thread(proxy, config, limits, listener, stop))
            };
            let running: Vec<_> = (0..threads.get()).map(start).collect();
            // It is closed as soon as the threads have closed theirs: nobody waits in its queue for the end of others.
            drop(listener);
            if running.iter().any(Result::is_err) {
                stop.cancel();
            }
            let end = |thread: std::io::Result<ScopedJoinHandle<'_, _>>| {
                thread.map_err(ThreadsError::Start)?.join().unwrap_or(Err(ThreadsError::Panicked))
            };
            // All are waited for, whichever has failed.
            running.into_iter().map(end).fold(Ok(()), Result::and)
        })
    }

    /// Serves on the caller's runtime until `shutdown`, then lets requests in flight end.
    ///
    /// # Errors
    /// The listener broke for good.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), AcceptError> {
        let (shared, limits) = (Shared::new(NonZeroUsize::MIN, &self.config), self.limits());
        let proxy = Proxy::of_thread(0, &self.table, &self.config, &shared, Admission::of_everybody());
        serve_one(proxy, &self.config, &limits, listener, shutdown).await
    }

    fn limits(&self) -> Limits {
        Limits::new(self.config.header_limit, self.config.max_connections)
    }
}

/// Serves on this thread.
fn serve_thread(
    proxy: Proxy,
    config: &GatewayConfig,
    limits: &Limits,
    listener: std::net::TcpListener,
    stop: CancellationToken,
) -> Result<(), ThreadsError> {
    // Whatever ends one of them, ends all.
    let _ends = stop.clone().drop_guard();
    let admission = Arc::clone(proxy.admission());
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().on_thread_park(move || admission.renew());
    let runtime = builder.build().map_err(ThreadsError::Start)?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(ThreadsError::Start)?;
        // A token of its own: each connection looks at it whenever it waits, and threads would wait for each other there.
        Ok(serve_one(proxy, config, limits, listener, stop.child_token()).await?)
    })
}

/// Serves on the runtime of one thread.
async fn serve_one(
    proxy: Proxy,
    config: &GatewayConfig,
    limits: &Limits,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), AcceptError> {
    look_after_clients(&listener, config.stall_limit);
    let proxy = Arc::new(proxy);
    let service = |peer| {
        let (proxy, client) = (Arc::clone(&proxy), Client::at(peer));
        service_fn(move |request| Arc::clone(&proxy).handle(request, &client).map(Ok::<_, Infallible>))
    };
    let every = (config.stall_limit / 16).clamp(Duration::from_millis(10), Duration::from_secs(1));
    let serving = async {
        let mut connections = listen::serve(listener, limits, &shutdown, service).await?;
        let drained = async {
            while connections.join_next().await.is_some() {}
            proxy.background().end().await;
        };
        if tokio::time::timeout(config.drain_limit, drained).await.is_err() {
            tracing::warn!(limit = ?config.drain_limit, "requests were still in flight at the limit; they are cut off");
            connections.shutdown().await;
            proxy.background().cut().await;
        }
        Ok(())
    };
    tokio::select! {
        served = serving => served,
        () = proxy.look_after(every) => Ok(()),
    }
}

/// Sets what accepted connections inherit from their listener: a client whose machine is gone is found out, and one that leaves unread
/// what waits for it is cut off at the limit. In the second case nobody else could do it: its connection waits for it in a write.
fn look_after_clients(listener: &TcpListener, stall_limit: Duration) {
    // As far as the system counts, which takes it for a signed number; 0 would mean its own default.
    let unread = u32::try_from(stall_limit.as_millis()).unwrap_or(u32::MAX).clamp(1, i32::MAX.cast_unsigned());
    let set = connection::look_after(listener).and_then(|()| setsockopt(listener, TcpUserTimeout, &unread));
    if let Err(error) = set {
        tracing::warn!(%error, "clients that are gone without a word will not be noticed");
    }
}
