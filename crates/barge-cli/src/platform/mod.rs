//! The whole platform in one process: server, registry, gateway, registrar and local engine, composed here and nowhere else.
//!
//! Everything listens on loopback alone. Instances run under their own barge-init and outlive a killed platform; the next one adopts them.
//! The gateway may run in a process of its own instead ([`gateway`]), and then requests outlive the platform as well.

mod configuration;
mod directory;
mod down;
mod environments;
mod error;
mod gateway;
mod listeners;
mod open_files;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use barge_api::TokenRole;
use barge_engine_kube::KubernetesEngine;
use barge_engine_local::{LocalEngine, LocalEngineConfig, TrafficEndpoint};
use barge_gateway::GatewayConfig;
use barge_image::{Client as ImageClient, Credentials};
use barge_registrar::{Registrar, RegistrarConfig, RegistrationTarget};
use barge_registry::{Reserve, Storage, Verdict};
use barge_runtime::listen::{self, Limits};
use barge_runtime::{Tasks, chain};
use barge_server::{Retention, Server, ServerConfig, Tokens};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use configuration::{EnvironmentConfig, KubernetesConfig, read as read_configuration};
use directory::Held;
pub(crate) use directory::{DataDirectory, Ports};
pub(crate) use down::take_down;
pub(crate) use error::PlatformError;
use gateway::Entrance;
pub(crate) use gateway::{Given, LoneGateway, usual_threads};
use listeners::Listeners;

/// How many bytes of images the embedded registry keeps at the most.
const REGISTRY_LIMIT: u64 = 20 * 1024 * 1024 * 1024;
/// What it leaves of a smaller disk: instances, records and everybody else have to go on writing. Not more than they need for long, or a
/// large disk that is well used would take no image.
const REGISTRY_RESERVE: Reserve = Reserve { one_in: 20, at_most: 1024 * 1024 * 1024 };
/// How often what nobody needs is removed from the registry.
const COLLECT_INTERVAL: Duration = Duration::from_secs(3600);
/// Nothing younger is removed: a push may be under way, and what was pushed may be released tomorrow.
const COLLECT_GRACE: Duration = Duration::from_secs(24 * 3600);
/// How long a client of the API or the registry may take to send the head of a request.
const HEADER_LIMIT: Duration = Duration::from_secs(15);
/// How long requests and tasks may take to end at shutdown.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How much longer than their grace instances may take to end with the platform.
const SUSPEND_PATIENCE: Duration = Duration::from_secs(15);

/// What a platform needs.
#[derive(Debug, Clone)]
pub(crate) struct PlatformConfig {
    /// Its environments; the first is the default.
    pub(crate) environments: Vec<EnvironmentConfig>,
    /// Where the registry listens; elsewhere than on loopback for clusters, whose nodes pull images there.
    pub(crate) registry_address: IpAddr,
    /// The ports; 0 takes the one of the last run, or any that is free.
    pub(crate) ports: Ports,
    /// The directory of a gateway that runs on its own; without one the gateway is a part of this process.
    pub(crate) gateway: Option<PathBuf>,
    /// How much of the past is kept.
    pub(crate) retention: Retention,
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
    pull_token: String,
    engine: Arc<LocalEngine>,
    /// Those of environments on clusters.
    clusters: Vec<Arc<KubernetesEngine>>,
    /// The gateway that runs on its own and is ours as long as this is held.
    behind: Option<Held>,
    /// What serves requests; stopped first.
    front: Tasks,
    /// The registrar, which the engine needs until its last instance has stopped.
    back: Tasks,
}

impl Platform {
    /// Starts everything.
    pub(crate) async fn start(directory: DataDirectory, config: PlatformConfig) -> Result<Self, PlatformError> {
        let alone = config.gateway.as_deref().map(gateway::reach).transpose()?;
        let behind = config.gateway.as_deref().map(|gateway| directory.hold_gateway(gateway)).transpose()?;
        directory.put_gateway(config.gateway.as_deref())?;
        let listeners = Listeners::open(&directory, config.ports, config.registry_address, alone).await?;
        let files = open_files::raise();
        // Whatever it listens to, this machine reaches it on loopback.
        let (api, registry) = (listeners.api.1, here(listeners.registry.1));
        let (mut front, mut back) = (Tasks::default(), Tasks::default());
        let Entrance { own, reached, target } = gateway::entrance(listeners.gateway, &directory, api)?;
        let pull_token = pull_token(&directory)?;
        let (acknowledge, acknowledgements) = barge_registrar::channel();
        let traffic = TrafficEndpoint { address: reached.api, token: reached.token };
        let engine = LocalEngine::open(LocalEngineConfig {
            directory: directory.subdirectory("engine")?,
            secrets: directory.subdirectory("secrets")?,
            init_program: vec![directory.entrypoint().into()],
            images: images(registry, &pull_token)?,
            acknowledgements,
            open_files: files.before,
            traffic: Some(traffic),
            only_ends: false,
        })
        .await
        .map_err(PlatformError::Engine)?;
        let registrar = registrar(target, &directory)?;
        back.spawn("registrar", registrar.run(engine.wanted(), acknowledge, back.shutdown_token()));

        let shutdown = front.shutdown_token();
        let shared =
            environments::Shared { local: &engine, registry, pull_token: &pull_token, gateway: reached.serves };
        let (environments, clusters) = environments::open(&config.environments, &shared).await?;
        let retention = config.retention;
        let server = ServerConfig { database: directory.join("server.sqlite"), environments, retention };
        let server = Server::open(server, shutdown.clone()).await.map_err(PlatformError::Server)?;
        let token = admin_token(&directory, &server).await?;
        let tokens = server.tokens();
        tokens.add_internal(&pull_token, "engine", TokenRole::Viewer);
        let storage = Storage::open(directory.subdirectory("registry")?, REGISTRY_LIMIT);
        let storage = storage.map_err(PlatformError::Registry)?.with_reserve(REGISTRY_RESERVE);

        let mut routes = server.router();
        if let Some(own) = own {
            routes = routes.merge(own.routes);
            let config = GatewayConfig { max_connections: files.gateway_connections, ..GatewayConfig::default() };
            let threads = gateway::usual_threads();
            let serving = gateway::serve_gateway(own.listener, own.table, config, threads, shutdown.clone());
            front.spawn("gateway", serving);
        }
        front.spawn("API", serve(listeners.api.0, routes, files.api_connections, shutdown.clone()));
        let routes = barge_registry::router(storage.clone(), registry_access(tokens));
        front.spawn("registry", serve(listeners.registry.0, routes, files.api_connections, shutdown.clone()));
        let kept = server.digests_reader();
        front.spawn("collection of images", collect(storage, kept, shutdown.clone()));
        front.spawn("server", server.run());
        Ok(Self {
            directory,
            api,
            registry,
            gateway: reached.serves,
            token,
            pull_token,
            engine,
            clusters,
            behind,
            front,
            back,
        })
    }

    /// The address of the API.
    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The token with which images are pulled.
    pub(crate) fn pull_token(&self) -> &str {
        &self.pull_token
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    /// Waits until somebody asks for a stop, by signal or by Ctrl-C; or until a part of the platform breaks.
    pub(crate) async fn until_stopped(&mut self) -> Result<(), PlatformError> {
        barge_runtime::cancelled_by_signal(&mut self.front).map_err(PlatformError::Signals)?;
        let stopped = tokio::select! {
            stopped = self.front.until_stopped() => stopped,
            stopped = self.back.until_stopped() => stopped,
        };
        PlatformError::unless_asked(stopped)
    }

    /// Whether the gateway runs in a process of its own, and serves on when this one ends.
    pub(crate) fn is_behind_a_gateway(&self) -> bool {
        self.behind.is_some()
    }

    /// Ends requests, then stops every instance; the next start starts them again. Right where the gateway ends as well.
    pub(crate) async fn stop(self) {
        self.front.stop(STOP_LIMIT).await;
        leave(&self.clusters).await;
        self.engine.suspend(SUSPEND_PATIENCE).await;
        self.back.stop(STOP_LIMIT).await;
    }

    /// Ends itself and no instance: a platform that broke takes nothing with it, nor does one whose gateway serves on. The next start
    /// takes them over.
    pub(crate) async fn let_go(self) {
        self.front.stop(STOP_LIMIT).await;
        leave(&self.clusters).await;
        self.engine.detach().await;
        self.back.stop(STOP_LIMIT).await;
    }
}

/// What runs on clusters is theirs, and needs no platform.
async fn leave(clusters: &[Arc<KubernetesEngine>]) {
    for cluster in clusters {
        cluster.stop().await;
    }
}

/// The same port as this machine reaches it.
fn here(listens: SocketAddr) -> SocketAddr {
    let everywhere = listens.ip().is_unspecified();
    if everywhere { (listeners::LOOPBACK, listens.port()).into() } else { listens }
}

fn registrar(
    target: Arc<dyn RegistrationTarget>,
    directory: &DataDirectory,
) -> Result<Registrar<Arc<dyn RegistrationTarget>>, PlatformError> {
    let config = RegistrarConfig {
        journal: directory.subdirectory("registrar")?,
        audit_interval: Duration::from_secs(10),
        call_limit: Duration::from_secs(5),
        refused_for: Duration::from_secs(30),
    };
    Registrar::open(target, config).map_err(PlatformError::Registrar)
}

/// The client with which the engine fetches images from our own registry.
fn images(registry: SocketAddr, token: &str) -> Result<ImageClient, PlatformError> {
    let credentials = Credentials::Basic { username: "engine".to_owned(), password: token.to_owned() };
    ImageClient::new(HashMap::from([(registry.to_string(), credentials)])).map_err(PlatformError::Images)
}

/// The token with which images are pulled: nodes of clusters keep it, so that it stays the same.
fn pull_token(directory: &DataDirectory) -> Result<String, PlatformError> {
    if let Some(token) = directory.pull_token() {
        return Ok(token);
    }
    let token = barge_server::new_secret();
    directory.put_pull_token(&token)?;
    Ok(token)
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

/// Whoever may see a service's releases may pull its images, whoever may release may push them; only an administrator removes any.
fn registry_access(tokens: Tokens) -> barge_registry::Access {
    Arc::new(move |headers, operation| {
        let Some(token) = tokens.of_request(headers) else { return Verdict::Unknown };
        let least = match operation.kind {
            barge_registry::Kind::Read => TokenRole::Viewer,
            barge_registry::Kind::Write => TokenRole::Developer,
            barge_registry::Kind::Delete => TokenRole::Admin,
        };
        // A repository has the name of its service.
        let in_scope = match (&token.service, operation.repository) {
            (Some(service), Some(repository)) => service.as_str() == repository,
            _ => true,
        };
        if token.role >= least && in_scope { Verdict::Granted } else { Verdict::Denied }
    })
}

/// Serves an API. A client that says nothing keeps its connection for a while, and nobody else's.
async fn serve(listener: TcpListener, routes: axum::Router, connections: usize, shutdown: CancellationToken) {
    let limits = Limits::new(HEADER_LIMIT, connections);
    let service = |_| TowerToHyperService::new(routes.clone());
    match listen::serve(listener, &limits, &shutdown, service).await {
        // Whoever stops us has set a limit.
        Ok(mut left) => while left.join_next().await.is_some() {},
        Err(error) => tracing::error!(error = chain(&error), "a listener broke"),
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
