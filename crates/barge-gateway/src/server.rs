//! Accepts connections and serves them, until it is told to stop; what is in flight then gets time to end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::proxy::Proxy;
use crate::table::Table;

/// What can be set.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// How long an instance may take until the head of its answer, counted from the last piece of the request.
    pub answer_limit: Duration,
    /// How long a client may take to send the head of a request; also how long an idle connection is kept.
    pub header_limit: Duration,
    /// At shutdown, how long requests in flight may take to end.
    pub drain_limit: Duration,
    /// How many connections may be open.
    pub max_connections: usize,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            answer_limit: Duration::from_secs(60),
            header_limit: Duration::from_secs(15),
            drain_limit: Duration::from_secs(10),
            max_connections: 10_000,
        }
    }
}

/// Why the gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener broke.
    #[error("accept connections")]
    Accept(#[source] std::io::Error),
}

/// A gateway over a table of registrations.
#[derive(Debug)]
pub struct Gateway {
    table: Arc<Table>,
    config: GatewayConfig,
}

impl Gateway {
    /// Joins the two.
    pub fn new(table: Arc<Table>, config: GatewayConfig) -> Self {
        Self { table, config }
    }

    /// Serves until `shutdown`, then lets requests in flight end.
    ///
    /// # Errors
    /// The listener broke for good.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), ServeError> {
        let proxy = Proxy::new(self.table, self.config.answer_limit);
        let room = Arc::new(Semaphore::new(self.config.max_connections));
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            // Finished connections are collected as they end, so the set stays as small as the number of open ones.
            while tasks.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = accept(&listener, &room) => accepted,
                () = shutdown.cancelled() => break,
            };
            let (stream, peer, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if transient(&error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                Err(error) => return Err(ServeError::Accept(error)),
            };
            let connection = connection(stream, peer, proxy.clone(), self.config.clone(), shutdown.clone());
            tasks.spawn(async move {
                connection.await;
                drop(permit);
            });
        }
        drop(listener);
        let drained = async {
            while tasks.join_next().await.is_some() {}
            proxy.upgraded_end().await;
        };
        if tokio::time::timeout(self.config.drain_limit, drained).await.is_err() {
            tracing::warn!(limit = ?self.config.drain_limit, "requests were still in flight at the limit; they are cut off");
            tasks.shutdown().await;
            proxy.cut_upgraded().await;
        }
        Ok(())
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

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    proxy: Proxy,
    config: GatewayConfig,
    shutdown: CancellationToken,
) {
    // Answers leave at once; a peer that is gone is found out by the writes.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(config.header_limit).max_buf_size(64 * 1024);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256).keep_alive_interval(Duration::from_secs(30));
    let asked = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let asked = Arc::clone(&asked);
        move |request| {
            asked.store(true, Ordering::Relaxed);
            let proxy = proxy.clone();
            async move { Ok::<_, std::convert::Infallible>(proxy.handle(request, peer).await) }
        }
    });
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // The limit of a head begins when HTTP/1 is recognised; this one is for a client that does not even say that much.
    let silent = async {
        tokio::time::sleep(config.header_limit).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { tokio::select! { () = shutdown.cancelled() => {}, () = silent => {} } } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a client's connection ended");
    }
}

/// Errors that concern one connection, or pass when others end.
fn transient(error: &std::io::Error) -> bool {
    const TOO_MANY_FILES: [i32; 2] = [23, 24];
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::Interrupted
    ) || error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code))
}
