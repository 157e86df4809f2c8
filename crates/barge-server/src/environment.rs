//! Environments: a name, an engine, a registry for images, and where services can be called.

use std::collections::BTreeMap;
use std::sync::Arc;

use barge_api::{Bases, EnvironmentView, GatePolicy};
use barge_engine::Engine;
use barge_model::{EnvironmentName, ServiceKey};

/// One environment, as the program that composes the server sets it up.
#[derive(Clone)]
pub struct Environment {
    /// Its name.
    pub name: EnvironmentName,
    /// What runs its instances.
    pub engine: Arc<dyn Engine>,
    /// The engine's name for people, such as `local`.
    pub engine_name: String,
    /// Where images are pushed: host and port.
    pub registry: String,
    /// Host and port of its gateway.
    pub gateway: Option<String>,
    /// Services of kind `web` are called SERVICE.ENVIRONMENT.DOMAIN there.
    pub domain: String,
    /// Who has to approve a release there.
    pub gate: GatePolicy,
    /// What images are built on where their projects name no base.
    pub bases: Bases,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("name", &self.name).field("engine", &self.engine_name).finish()
    }
}

impl Environment {
    pub(crate) fn view(&self) -> EnvironmentView {
        EnvironmentView {
            name: self.name.clone(),
            engine: self.engine_name.clone(),
            registry: self.registry.clone(),
            gateway: self.gateway.clone(),
            gate: self.gate,
            bases: self.bases.clone(),
        }
    }

    /// Where a service of kind `web` can be called: every name below `localhost` is this machine (RFC 6761, 6.3), other domains are somebody's.
    pub(crate) fn url(&self, key: &ServiceKey) -> Option<String> {
        let port = self.gateway.as_ref()?.rsplit_once(':')?.1;
        Some(format!("http://{}.{}.{}:{port}", key.service, key.environment, self.domain))
    }
}

/// All environments of a server, by name.
#[derive(Debug, Clone)]
pub(crate) struct Environments {
    by_name: Arc<BTreeMap<EnvironmentName, Environment>>,
    /// In the order in which they were set up; the first is the default.
    order: Arc<Vec<EnvironmentName>>,
}

impl Environments {
    pub(crate) fn new(list: Vec<Environment>) -> Self {
        let order = list.iter().map(|environment| environment.name.clone()).collect();
        let by_name = list.into_iter().map(|environment| (environment.name.clone(), environment)).collect();
        Self { by_name: Arc::new(by_name), order: Arc::new(order) }
    }

    pub(crate) fn get(&self, name: &EnvironmentName) -> Option<&Environment> {
        self.by_name.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Environment> {
        self.order.iter().filter_map(|name| self.by_name.get(name))
    }
}
