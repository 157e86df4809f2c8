//! A gateway in a process of its own: it serves from its snapshot, whatever becomes of the platform.
//!
//! Its directory is how platforms on this machine find it: the token and the ports are there, also while the gateway is down. Elsewhere, such as in a
//! pod, its address and its token are given to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use barge_gateway::{Gateway, GatewayConfig, Table};
use barge_registrar::{GatewayTarget, RegistrationTarget, RemoteGateway};
use barge_runtime::Tasks;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::directory::Glance;
use super::listeners::{Door, LOOPBACK, listen};
use super::{DataDirectory, PlatformError, Ports, STOP_LIMIT, open_files, serve};

/// What is given to a gateway that runs on its own.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// Its ports.
    pub(crate) ports: Ports,
    /// How many threads serve.
    pub(crate) threads: NonZeroUsize,
    /// Where it listens for others than this machine, and the token that registers instances there. It has a token of its own otherwise.
    pub(crate) elsewhere: Option<(IpAddr, String)>,
    /// Services answer at SERVICE.ENVIRONMENT.DOMAIN.
    pub(crate) domain: String,
}

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
    pub(crate) async fn start(directory: DataDirectory, given: Given) -> Result<Self, PlatformError> {
        let Given { ports, threads, elsewhere, domain } = given;
        let (last, address) = (directory.ports(), elsewhere.as_ref().map_or(LOOPBACK, |(address, _)| *address));
        let (serving, serves) = listen("gateway", "--port", address, ports.gateway, last.gateway).await?;
        let (taking, api) = listen("registrations", "--api-port", address, ports.api, last.api).await?;
        directory.put_ports(Ports { api: api.port(), registry: 0, gateway: serves.port() })?;
        let token = match (elsewhere, directory.gateway_token()) {
            (Some((_, token)), _) | (None, Some(token)) => token,
            (None, None) => {
                let token = barge_server::new_secret();
                directory.put_gateway_token(&token)?;
                token
            }
        };
        let files = open_files::raise();
        let table = Arc::new(Table::open(directory.join("gateway.json")).map_err(PlatformError::Gateway)?);
        let mut tasks = Tasks::default();
        let routes = barge_gateway::api::router(Arc::clone(&table), &token).merge(health());
        tasks.spawn("registration API", serve(taking, routes, files.api_connections, tasks.shutdown_token()));
        let shutdown = tasks.shutdown_token();
        let config = GatewayConfig { max_connections: files.gateway_connections, domain, ..GatewayConfig::default() };
        tasks.spawn("gateway", serve_gateway(serving, table, config, threads, shutdown));
        Ok(Self { _directory: directory, api, serves, tasks })
    }

    /// Waits until somebody asks for a stop, or until a part of it breaks.
    pub(crate) async fn until_stopped(&mut self) -> Result<(), PlatformError> {
        barge_runtime::cancelled_by_signal(&mut self.tasks).map_err(PlatformError::Signals)?;
        PlatformError::unless_asked(self.tasks.until_stopped().await)
    }

    /// Lets requests in flight end.
    pub(crate) async fn stop(self) {
        self.tasks.stop(STOP_LIMIT).await;
    }
}

/// Where probes of Kubernetes ask, without a token.
fn health() -> Router {
    Router::new().route("/healthz", get(|| async { "ok\n" }))
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

/// How requests come in, and how instances are registered for that.
pub(super) struct Entrance {
    /// The gateway as a part of this process, where it is one.
    pub(super) own: Option<OwnGateway>,
    pub(super) reached: Reached,
    pub(super) target: Arc<dyn RegistrationTarget>,
}

/// The gateway as a part of this process.
pub(super) struct OwnGateway {
    pub(super) table: Arc<Table>,
    pub(super) listener: TcpListener,
    /// Its registration API, which is served with ours.
    pub(super) routes: Router,
}

/// Opens the door that was chosen. `api` is where this process serves its own API.
pub(super) fn entrance(door: Door, directory: &DataDirectory, api: SocketAddr) -> Result<Entrance, PlatformError> {
    match door {
        Door::Own(listener, serves) => {
            let table = Arc::new(Table::open(directory.join("gateway.json")).map_err(PlatformError::Gateway)?);
            let token = barge_server::new_secret();
            let routes = barge_gateway::api::router(Arc::clone(&table), &token);
            let target = Arc::new(GatewayTarget::new(Arc::clone(&table)));
            let own = Some(OwnGateway { table, listener, routes });
            Ok(Entrance { own, reached: Reached { api, serves, token }, target })
        }
        Door::Alone(reached) => {
            let target = RemoteGateway::new(reached.api, reached.token.clone()).map_err(PlatformError::Target)?;
            Ok(Entrance { own: None, reached, target: Arc::new(target) })
        }
    }
}

/// One thread for each processor that this process may use.
pub(crate) fn usual_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Serves requests on threads of their own: while the rest of this process waits for a disk, requests go on.
pub(super) async fn serve_gateway(
    listener: TcpListener,
    table: Arc<Table>,
    config: GatewayConfig,
    threads: NonZeroUsize,
    shutdown: CancellationToken,
) {
    let gateway = Gateway::new(table, config);
    let listener = match listener.into_std() {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the gateway's listener cannot be handed to its threads"),
    };
    match tokio::task::spawn_blocking(move || gateway.serve_on_threads(threads, listener, &shutdown)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(error = &error as &dyn std::error::Error, "the gateway broke"),
        Err(error) => tracing::error!(%error, "the gateway broke"),
    }
}
