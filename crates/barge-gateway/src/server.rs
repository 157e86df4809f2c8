//! Serves clients until it is told to stop; what is in flight then gets time to end.

use std::sync::Arc;
use std::time::Duration;

use barge_runtime::listen::{self, AcceptError, Limits};
use hyper::service::service_fn;
use tokio::net::TcpListener;
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
        let proxy = Proxy::new(self.table, self.config.answer_limit);
        let limits = Limits { header: self.config.header_limit, connections: self.config.max_connections };
        let service = |peer| {
            let proxy = proxy.clone();
            service_fn(move |request| {
                let proxy = proxy.clone();
                async move { Ok::<_, std::convert::Infallible>(proxy.handle(request, peer).await) }
            })
        };
        let mut connections = listen::serve(listener, &limits, &shutdown, service).await?;
        let drained = async {
            while connections.join_next().await.is_some() {}
            proxy.upgraded_end().await;
        };
        if tokio::time::timeout(self.config.drain_limit, drained).await.is_err() {
            tracing::warn!(limit = ?self.config.drain_limit, "requests were still in flight at the limit; they are cut off");
            connections.shutdown().await;
            proxy.cut_upgraded().await;
        }
        Ok(())
    }
}
