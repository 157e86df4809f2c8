//! The environments of a platform: each with its engine, which is the local one or a cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use barge_engine::Engine;
use barge_engine_kube::{Images, KubernetesEngine, Settings};
use barge_engine_local::LocalEngine;
use barge_model::EnvironmentName;
use barge_server::Environment;

use super::PlatformError;
use super::configuration::{EnvironmentConfig, KubernetesConfig};
use crate::replica::ClusterArgs;

/// What environments share.
pub(super) struct Shared<'a> {
    pub(super) local: &'a Arc<LocalEngine>,
    /// Where images are pushed.
    pub(super) registry: SocketAddr,
    /// The token with which they are pulled.
    pub(super) pull_token: &'a str,
    /// Where services of this machine answer.
    pub(super) gateway: SocketAddr,
}

/// All environments, and the engines that are theirs alone.
pub(super) async fn open(
    configs: &[EnvironmentConfig],
    shared: &Shared<'_>,
) -> Result<(Vec<Environment>, Vec<Arc<KubernetesEngine>>), PlatformError> {
    let (mut environments, mut clusters) = (Vec::new(), Vec::new());
    for config in configs {
        match &config.kubernetes {
            None => environments.push(here(config, shared)),
            Some(kubernetes) => {
                let engine = cluster(&config.name, kubernetes, shared).await?;
                environments.push(there(config, kubernetes, Arc::clone(&engine) as Arc<dyn Engine>, shared));
                clusters.push(engine);
            }
        }
    }
    Ok((environments, clusters))
}

fn here(config: &EnvironmentConfig, shared: &Shared<'_>) -> Environment {
    Environment {
        name: config.name.clone(),
        engine: Arc::clone(shared.local) as Arc<dyn Engine>,
        engine_name: "local".to_owned(),
        registry: shared.registry.to_string(),
        gateway: Some(shared.gateway.to_string()),
        domain: "localhost".to_owned(),
        gate: config.gate,
        bases: config.bases.clone(),
    }
}

fn there(
    config: &EnvironmentConfig,
    kubernetes: &KubernetesConfig,
    engine: Arc<dyn Engine>,
    shared: &Shared<'_>,
) -> Environment {
    Environment {
        name: config.name.clone(),
        engine,
        engine_name: "kubernetes".to_owned(),
        registry: kubernetes.registry.clone().unwrap_or_else(|| shared.registry.to_string()),
        gateway: kubernetes.gateway.clone(),
        domain: kubernetes.domain.clone(),
        gate: config.gate,
        bases: config.bases.clone(),
    }
}

async fn cluster(
    name: &EnvironmentName,
    kubernetes: &KubernetesConfig,
    shared: &Shared<'_>,
) -> Result<Arc<KubernetesEngine>, PlatformError> {
    let of_environment = |why| PlatformError::Cluster { environment: name.clone(), why };
    let args = ClusterArgs { kubeconfig: kubernetes.kubeconfig.clone(), context: kubernetes.context.clone() };
    let config = args.config().await.map_err(|failure| of_environment(failure.what().to_owned()))?;
    let client = kube::Client::try_from(config).map_err(|error| of_environment(barge_runtime::chain(&error)))?;
    let images = kubernetes.pulls_from.as_ref().map(|pulled| Images {
        pushed: shared.registry.to_string(),
        pulled: pulled.clone(),
        token: shared.pull_token.to_owned(),
    });
    let (namespaces, environments) = (kubernetes.namespace.clone(), vec![name.clone()]);
    KubernetesEngine::start(Settings { client, namespaces, environments, images })
        .map_err(|error| of_environment(barge_runtime::chain(&error)))
}
