//! The server: API v1, the store behind it, and the tasks that keep engines and store in step.
//!
//! A request's way: `http/` (who, what) -> `decide` (pure: what it means) -> `store/` (one transaction) -> the environment's engine, which
//! goes on without the server. `tasks/` tells engines what they missed and stores how releases ended. `view` turns what is known into
//! what the API shows. What it leaves out: running anything (engines), registering anything (registrar), listening on a port (the program).

mod access;
mod decide;
mod environment;
mod http;
mod problem;
mod retention;
mod store;
mod tasks;
mod view;

use std::path::PathBuf;
use std::sync::Arc;

use barge_api::{NewToken, TokenCreated, TokenRole};
use barge_model::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use access::{Tokens, new_secret};
pub use environment::Environment;
pub use http::openapi;
pub use retention::Retention;
pub use store::StoreError;

use access::Caller;
use environment::Environments;
use problem::ServerError;
use store::Store;
use tasks::Applier;

/// What a server needs.
#[derive(Debug)]
pub struct ServerConfig {
    /// The SQLite file.
    pub database: PathBuf,
    /// The environments; the first is the default.
    pub environments: Vec<Environment>,
    /// How much of the past is kept.
    pub retention: Retention,
}

/// What handlers share.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) tokens: Tokens,
    pub(crate) environments: Environments,
    pub(crate) applier: Applier,
    pub(crate) retention: Retention,
    /// Grows with every change that the server itself makes.
    pub(crate) changes: Arc<watch::Sender<u64>>,
    pub(crate) shutdown: CancellationToken,
    /// Requests, and changes that go on without their callers; the database stays open for them.
    pub(crate) under_way: TaskTracker,
}

impl App {
    /// Carries a change through to its end, even if the caller leaves or the request takes too long: what is stored is always told to
    /// the engine.
    pub(crate) async fn carry_through<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, ServerError>> + Send + 'static,
    ) -> Result<T, ServerError> {
        self.under_way.spawn(change).await.unwrap_or_else(|error| Err(ServerError::Broken(error)))
    }

    /// Waits until a stream for this caller has to end: the server stops, or the token is revoked.
    pub(crate) fn until_over(&self, caller: &Caller) -> impl Future<Output = ()> + Send + 'static + use<> {
        let (shutdown, tokens, id) = (self.shutdown.clone(), self.tokens.clone(), caller.0.id.clone());
        async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokens.until_revoked(&id) => {}
            }
        }
    }
}

/// A server, ready to be listened for.
#[derive(Debug)]
pub struct Server {
    app: App,
}

impl Server {
    /// Opens the database and brings it up to date.
    ///
    /// # Errors
    /// It cannot be used, or a later version has written it.
    pub async fn open(config: ServerConfig, shutdown: CancellationToken) -> Result<Self, StoreError> {
        let store = Store::open(&config.database).await?;
        let tokens = Tokens::load(&store).await?;
        let environments = Environments::new(config.environments);
        let applier = Applier::new(store.clone(), environments.clone());
        let changes = Arc::new(watch::Sender::new(0));
        let under_way = TaskTracker::new();
        let retention = config.retention;
        Ok(Self { app: App { store, tokens, environments, applier, retention, changes, shutdown, under_way } })
    }

    /// The tokens, for whoever else must tell callers apart.
    pub fn tokens(&self) -> Tokens {
        self.app.tokens.clone()
    }

    /// Makes an administrator's token; for whoever may write the database anyway.
    ///
    /// # Errors
    /// It cannot be stored.
    pub async fn admin_token(&self, name: &str) -> Result<TokenCreated, StoreError> {
        let new = NewToken { name: name.to_owned(), role: TokenRole::Admin, service: None, environment: None };
        self.app.tokens.create(&self.app.store, &new, "the server itself", now()).await
    }

    /// Reads which images releases name, for whoever removes the others.
    pub fn digests_reader(&self) -> DigestsReader {
        DigestsReader { store: self.app.store.clone() }
    }

    /// The API's routes.
    pub fn router(&self) -> axum::Router {
        http::router(self.app.clone())
    }

    /// Keeps engines and store in step, and forgets what is too old, until `shutdown`; then closes the database once the last request
    /// is answered.
    pub async fn run(self) {
        let (applier, outcomes) = (self.app.applier.clone(), tasks::Outcomes::new(&self.app));
        let (forgetting, shutdown) = (tasks::Forgetting::new(&self.app), &self.app.shutdown);
        tokio::join!(applier.run(shutdown.clone()), outcomes.run(shutdown.clone()), forgetting.run(shutdown.clone()));
        self.app.under_way.close();
        self.app.under_way.wait().await;
        self.app.store.close().await;
    }
}

/// Reads which images are needed.
#[derive(Debug, Clone)]
pub struct DigestsReader {
    store: Store,
}

impl DigestsReader {
    /// The digests of all releases' images.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn read(&self) -> Result<std::collections::BTreeSet<String>, StoreError> {
        self.store.digests().await
    }
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
