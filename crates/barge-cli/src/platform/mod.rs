//! The whole platform in one process: server, registry, gateway, registrar and local engine, composed here and nowhere else.
//!
//! Everything listens on loopback alone. Instances run under their own barge-init and outlive a killed platform; the next one adopts them.

mod directory;
mod error;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use barge_api::TokenRole;
use barge_engine_local::{LocalEngine, LocalEngineConfig, TrafficEndpoint};
use barge_gateway::{Gateway, GatewayConfig, Table};
use barge_image::{Client as ImageClient, Credentials};
use barge_model::EnvironmentName;
use barge_registrar::{GatewayTarget, Registrar, RegistrarConfig};
use barge_registry::Storage;
use barge_runtime::Tasks;
use barge_server::{Environment, Server, ServerConfig, Tokens};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use directory::{DataDirectory, Ports, default_path};
pub(crate) use error::PlatformError;

/// How many bytes of images the embedded registry keeps at the most.
const REGISTRY_LIMIT: u64 = 20 * 1024 * 1024 * 1024;
/// How often what nobody needs is removed from the registry.
const COLLECT_INTERVAL: Duration = Duration::from_secs(3600);
/// Nothing younger is removed: a push may be under way.
const COLLECT_GRACE: Duration = Duration::from_secs(3600);
/// How long requests and tasks may take to end at shutdown.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// What a platform needs.
#[derive(Debug, Clone)]
pub(crate) struct PlatformConfig {
    /// Its environments; the first is the default.
    pub(crate) environments: Vec<EnvironmentName>,
    /// The ports; 0 takes the one of the last run, or any that is free.
    pub(crate) ports: Ports,
}

/// A platform that runs.
pub(crate) struct Platform {
    directory: DataDirectory,
    /// Host and port of the API.
    pub(crate) api: SocketAddr,
    /// Host and port of the registry.
    pub(crate) registry: SocketAddr,
    /// Host and port of the gateway.
    pub(crate) gateway: SocketAddr,
    /// An administrator's token.
    pub(crate) token: String,
    engine: Arc<LocalEngine>,
    /// What serves requests; stopped first.
    front: Tasks,
    /// The registrar, which the engine needs until its last instance has stopped.
    back: Tasks,
}

impl Platform {
    /// Starts everything.
    pub(crate) async fn start(directory: DataDirectory, config: PlatformConfig) -> Result<Self, PlatformError> {
        let listeners = Listeners::open(&directory, config.ports).await?;
        let (mut front, mut back) = (Tasks::default(), Tasks::default());
        let table = Arc::new(Table::open(directory.join("gateway.json")).map_err(PlatformError::Gateway)?);
        let gateway_token = barge_server::new_secret();
        let pull_token = barge_server::new_secret();
        let credentials = Credentials::Basic { username: "engine".to_owned(), password: pull_token.clone() };
        let images = ImageClient::new(HashMap::from([(listeners.registry.1.to_string(), credentials)]));
        let (acknowledge, acknowledgements) = barge_registrar::channel();
        let engine = LocalEngine::open(LocalEngineConfig {
            directory: directory.subdirectory("engine")?,
            secrets: directory.subdirectory("secrets")?,
            // Through the process's own link, so that a binary that was replaced meanwhile still starts itself.
            init_program: vec!["/proc/self/exe".into()],
            images: images.map_err(PlatformError::Images)?,
            acknowledgements,
            traffic: Some(TrafficEndpoint { address: listeners.api.1, token: gateway_token.clone() }),
        })
        .await
        .map_err(PlatformError::Engine)?;
        let registrar = RegistrarConfig {
            journal: directory.subdirectory("registrar")?,
            audit_interval: Duration::from_secs(10),
            call_limit: Duration::from_secs(5),
        };
        let registrar =
            Registrar::open(GatewayTarget::new(Arc::clone(&table)), registrar).map_err(PlatformError::Registrar)?;
        back.spawn("registrar", registrar.run(engine.wanted(), acknowledge, back.shutdown_token()));

        let shutdown = front.shutdown_token();
        let environments = config.environments.iter().map(|name| environment(name, &engine, &listeners)).collect();
        let server = ServerConfig { database: directory.join("server.sqlite"), environments };
        let server = Server::open(server, shutdown.clone()).await.map_err(PlatformError::Server)?;
        let token = admin_token(&directory, &server).await?;
        let tokens = server.tokens();
        tokens.add_internal(&pull_token, "engine", TokenRole::Viewer);
        let storage =
            Storage::open(directory.subdirectory("registry")?, REGISTRY_LIMIT).map_err(PlatformError::Registry)?;

        let (api, registry, gateway) = (listeners.api.1, listeners.registry.1, listeners.gateway.1);
        let routes = server.router().merge(barge_gateway::api::router(Arc::clone(&table), &gateway_token));
        front.spawn("api", serve(listeners.api.0, routes, shutdown.clone()));
        let routes = barge_registry::router(storage.clone(), registry_access(tokens));
        front.spawn("registry", serve(listeners.registry.0, routes, shutdown.clone()));
        front.spawn("gateway", serve_gateway(listeners.gateway.0, table, shutdown.clone()));
        let kept = server.digests_reader();
        front.spawn("registry collection", collect(storage, kept, shutdown.clone()));
        front.spawn("server", server.run());
        Ok(Self { directory, api, registry, gateway, token, engine, front, back })
    }

    /// The address of the API.
    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.api)
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    /// Waits until somebody asks for a stop, by signal or by Ctrl-C; or until a part of the platform breaks.
    pub(crate) async fn until_stopped(&mut self) -> Result<(), PlatformError> {
        barge_runtime::cancelled_by_signal(&mut self.front).map_err(PlatformError::Signals)?;
        tokio::select! {
            () = self.front.until_stopped() => {}
            () = self.back.until_stopped() => {}
        }
        Ok(())
    }

    /// Ends requests, then stops every instance; the next start starts them again.
    pub(crate) async fn stop(self) {
        self.front.stop(STOP_LIMIT).await;
        self.engine.suspend(Duration::from_secs(30)).await;
        self.back.stop(STOP_LIMIT).await;
    }
}

/// Listening sockets with their addresses.
struct Listeners {
    api: (TcpListener, SocketAddr),
    registry: (TcpListener, SocketAddr),
    gateway: (TcpListener, SocketAddr),
}

impl Listeners {
    async fn open(directory: &DataDirectory, wanted: Ports) -> Result<Self, PlatformError> {
        let last = directory.ports();
        let api = listen("API", "--port", wanted.api, last.api).await?;
        let registry = listen("registry", "--registry-port", wanted.registry, last.registry).await?;
        let gateway = listen("gateway", "--gateway-port", wanted.gateway, last.gateway).await?;
        let ports = Ports { api: api.1.port(), registry: registry.1.port(), gateway: gateway.1.port() };
        if ports != last {
            directory.put_ports(ports)?;
        }
        Ok(Self { api, registry, gateway })
    }
}

async fn listen(
    what: &'static str,
    option: &'static str,
    wanted: u16,
    last: u16,
) -> Result<(TcpListener, SocketAddr), PlatformError> {
    let bind = async |port: u16| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let fail = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => PlatformError::PortTaken { what, port: wanted, option },
        _ => PlatformError::Listen { what, port: wanted, source },
    };
    if wanted == 0
        && last != 0
        && let Ok(found) = bind(last).await
    {
        return Ok(found);
    }
    bind(wanted).await.map_err(fail)
}

fn environment(name: &EnvironmentName, engine: &Arc<LocalEngine>, listeners: &Listeners) -> Environment {
    Environment {
        name: name.clone(),
        engine: Arc::clone(engine) as Arc<dyn barge_engine::Engine>,
        engine_name: "local".to_owned(),
        registry: listeners.registry.1.to_string(),
        gateway: Some(listeners.gateway.1.to_string()),
    }
}

/// The administrator's token of this directory; made at the first start, and again when it was lost or revoked.
async fn admin_token(directory: &DataDirectory, server: &Server) -> Result<String, PlatformError> {
    if let Some(token) = directory.admin_token()
        && server.tokens().find(&token).is_some()
    {
        return Ok(token);
    }
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "admin".to_owned());
    let created = server.admin_token(&user).await.map_err(PlatformError::Server)?;
    directory.put_admin_token(&created.secret)?;
    Ok(created.secret)
}

/// Whoever may see releases may pull, whoever may release may push.
fn registry_access(tokens: Tokens) -> barge_registry::Access {
    Arc::new(move |headers, write| {
        let least = if write { TokenRole::Developer } else { TokenRole::Viewer };
        tokens.of_request(headers).is_some_and(|token| token.role >= least)
    })
}

async fn serve(listener: TcpListener, routes: axum::Router, shutdown: CancellationToken) {
    let served = axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "a listener broke");
    }
}

async fn serve_gateway(listener: TcpListener, table: Arc<Table>, shutdown: CancellationToken) {
    if let Err(error) = Gateway::new(table, GatewayConfig::default()).serve(listener, shutdown).await {
        tracing::error!(error = &error as &dyn std::error::Error, "the gateway broke");
    }
}

/// Removes from the registry what no release needs, now and then.
async fn collect(storage: Storage, kept: barge_server::DigestsReader, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(COLLECT_INTERVAL);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let digests = match kept.read().await {
            Ok(digests) => digests,
            // Without knowing what is needed, nothing is removed.
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "nothing is removed from the registry");
                continue;
            }
        };
        let storage = storage.clone();
        match tokio::task::spawn_blocking(move || storage.collect(&digests, COLLECT_GRACE)).await {
            Ok(Ok(collected)) => tracing::debug!(?collected, "the registry was tidied"),
            Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "the registry was not tidied"),
            Err(error) => tracing::warn!(%error, "the registry was not tidied"),
        }
    }
}
