//! A gateway in a process of its own: it serves from its snapshot, whatever becomes of the platform.
//!
//! Its directory is how platforms on this machine find it: the token and the ports are there, also while the gateway is down.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use barge_gateway::{Gateway, GatewayConfig, Table};
use barge_runtime::{Stopped, Tasks};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::directory::Glance;
use super::listeners::listen;
use super::{DataDirectory, PlatformError, Ports, STOP_LIMIT, open_files, serve};

/// A gateway that runs on its own.
pub(crate) struct LoneGateway {
    _directory: DataDirectory,
    /// Where instances are registered.
    pub(crate) api: SocketAddr,
    /// Where services answer.
    pub(crate) serves: SocketAddr,
    tasks: Tasks,
}

impl LoneGateway {
    /// Serves what the snapshot in `directory` says, and takes registrations.
    pub(crate) async fn start(directory: DataDirectory, ports: Ports) -> Result<Self, PlatformError> {
        let last = directory.ports();
        let (serving, serves) = listen("gateway", "--port", ports.gateway, last.gateway).await?;
        let (taking, api) = listen("registrations", "--api-port", ports.api, last.api).await?;
        let ports = Ports { api: api.port(), registry: 0, gateway: serves.port() };
        if ports != last {
            directory.put_ports(ports)?;
        }
        let token = match directory.gateway_token() {
            Some(token) => token,
            None => {
                let token = barge_server::new_secret();
                directory.put_gateway_token(&token)?;
                token
            }
        };
        let files = open_files::raise();
        let table = Arc::new(Table::open(directory.join("gateway.json")).map_err(PlatformError::Gateway)?);
        let mut tasks = Tasks::default();
        let routes: Router = barge_gateway::api::router(Arc::clone(&table), &token);
        tasks.spawn("registration API", serve(taking, routes, files.api_connections, tasks.shutdown_token()));
        tasks.spawn("gateway", serve_gateway(serving, table, files.gateway_connections, tasks.shutdown_token()));
        Ok(Self { _directory: directory, api, serves, tasks })
    }

    /// Waits until somebody asks for a stop, or until a part of it breaks.
    pub(crate) async fn until_stopped(&mut self) -> Result<(), PlatformError> {
        barge_runtime::cancelled_by_signal(&mut self.tasks).map_err(PlatformError::Signals)?;
        match self.tasks.until_stopped().await {
            Stopped::Asked => Ok(()),
            Stopped::Broke(what) => Err(PlatformError::Broke { what }),
        }
    }

    /// Lets requests in flight end.
    pub(crate) async fn stop(self) {
        self.tasks.stop(STOP_LIMIT).await;
    }
}

/// How a platform reaches a gateway that runs on its own.
#[derive(Debug, Clone)]
pub(super) struct Reached {
    pub(super) api: SocketAddr,
    pub(super) serves: SocketAddr,
    pub(super) token: String,
}

/// Looks into the gateway's directory; whether the gateway runs now does not matter.
pub(super) fn reach(directory: &Path) -> Result<Reached, PlatformError> {
    let found = Glance(directory);
    let (ports, token) = (found.ports(), found.gateway_token());
    let Some(token) = token.filter(|_| ports.api != 0 && ports.gateway != 0) else {
        return Err(PlatformError::NoGateway { path: directory.to_owned() });
    };
    let on_loopback = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(Reached { api: on_loopback(ports.api), serves: on_loopback(ports.gateway), token })
}

pub(super) async fn serve_gateway(
    listener: TcpListener,
    table: Arc<Table>,
    max_connections: usize,
    shutdown: CancellationToken,
) {
    let config = GatewayConfig { max_connections, ..GatewayConfig::default() };
    if let Err(error) = Gateway::new(table, config).serve(listener, shutdown).await {
        tracing::error!(error = &error as &dyn std::error::Error, "the gateway broke");
    }
}

/// The same, on threads of its own: while the rest of this process waits for a disk, requests go on.
pub(super) async fn serve_gateway_apart(
    listener: TcpListener,
    table: Arc<Table>,
    max_connections: usize,
    shutdown: CancellationToken,
) {
    let apart = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        let listener = listener.into_std()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("gateway").enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            serve_gateway(listener, table, max_connections, shutdown).await;
            Ok(())
        })
    });
    match apart.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the gateway cannot have threads of its own"),
        Err(error) => tracing::error!(%error, "the gateway broke"),
    }
}
