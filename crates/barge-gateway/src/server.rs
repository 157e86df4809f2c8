//! Serves clients until it is told to stop; what is in flight then gets time to end.

use std::sync::Arc;
use std::time::Duration;

use barge_runtime::listen::{self, AcceptError, Limits};
use hyper::service::service_fn;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::headers::Client;
use crate::proxy::Proxy;
use crate::table::Table;

/// What can be set.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
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

impl Gateway {
    /// Joins the two.
    pub fn new(table: Arc<Table>, config: GatewayConfig) -> Self {
        Self { table, config }
    }

    /// Serves until `shutdown`, then lets requests in flight end.
    ///
    /// # Errors
    /// The listener broke for good.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), AcceptError> {
        look_after_clients(&listener, self.config.stall_limit);
        let proxy = Proxy::new(self.table, &self.config);
        let limits = Limits { header: self.config.header_limit, connections: self.config.max_connections };
        let service = |peer| {
            let (proxy, client) = (proxy.clone(), Client::at(peer));
            service_fn(move |request| {
                let (proxy, client) = (proxy.clone(), client.clone());
                async move { Ok::<_, std::convert::Infallible>(proxy.handle(request, client).await) }
            })
        };
        let every = (self.config.stall_limit / 16).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let serving = async {
            let mut connections = listen::serve(listener, &limits, &shutdown, service).await?;
            let drained = async {
                while connections.join_next().await.is_some() {}
                proxy.background().end().await;
            };
            if tokio::time::timeout(self.config.drain_limit, drained).await.is_err() {
                tracing::warn!(limit = ?self.config.drain_limit, "requests were still in flight at the limit; they are cut off");
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
