//! Whether the parts are there: a wait with an end, and what is missing in words.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use crate::NAMESPACE;
use crate::ask::AskError;
use crate::objects::SELECTOR;
use crate::settings::Component;

/// So much of a program's or a node's words is shown.
const MOST: usize = 300;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Why parts are not there.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// Not in time. What is missing, line by line.
    #[error("not everything is there after {} s", limit.as_secs())]
    Missing {
        /// The limit.
        limit: Duration,
        /// What is missing, and why.
        missing: Vec<String>,
    },
    /// It could not be asked, the last time at the limit.
    #[error("look at what is in {NAMESPACE}")]
    Look(#[source] AskError),
}

/// Waits until all parts are there in the version that was applied last. An API server that is away for a while is asked again.
///
/// # Errors
/// They are not in time.
pub async fn wait(client: &Client, limit: Duration) -> Result<(), WaitError> {
    let end = tokio::time::Instant::now() + limit;
    loop {
        let missing = look(client).await.map(|(deployments, pods)| missing(&deployments, &pods));
        let over = tokio::time::Instant::now() >= end;
        match missing {
            Ok(missing) if missing.is_empty() => return Ok(()),
            Ok(missing) if over => return Err(WaitError::Missing { limit, missing }),
            Err(source) if over => return Err(WaitError::Look(source.into())),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn look(client: &Client) -> Result<(Vec<Deployment>, Vec<Pod>), kube::Error> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let ours = ListParams::default().labels(SELECTOR);
    Ok((deployments.list(&ListParams::default()).await?.items, pods.list(&ours).await?.items))
}

/// Whether all pods of a Deployment are of its present version, and available.
pub fn is_available(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) == wanted
            && status.replicas.unwrap_or(0) == wanted
            && status.available_replicas.unwrap_or(0) >= wanted
    })
}

/// What is missing of the parts, in words: each part that is not there, and what keeps its pods.
pub fn missing(deployments: &[Deployment], pods: &[Pod]) -> Vec<String> {
    Component::ALL.into_iter().flat_map(|component| missing_of(component, deployments, pods)).collect()
}

/// What is missing of one part; nothing where all of it is there.
pub(crate) fn missing_of(component: Component, deployments: &[Deployment], pods: &[Pod]) -> Vec<String> {
    let name = component.name();
    let Some(deployment) = deployments.iter().find(|deployment| deployment.name_any() == name) else {
        return vec![format!("{name}: there is no such Deployment")];
    };
    if is_available(deployment) {
        return Vec::new();
    }
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let available = status.available_replicas.unwrap_or(0);
    let mut lines = vec![format!("{name}: {available} of {wanted} available")];
    let conditions = status.conditions.unwrap_or_default();
    let refused = conditions.iter().filter(|one| one.type_ == "ReplicaFailure" && one.status == "True");
    lines.extend(
        refused.filter_map(|one| one.message.as_deref()).map(|text| format!("  no pod is made: {}", short(text))),
    );
    let is_of = |pod: &&Pod| pod.labels().get("app.kubernetes.io/name").is_some_and(|found| found == name);
    lines.extend(pods.iter().filter(is_of).filter_map(kept).map(|line| format!("  {line}")));
    lines
}

/// What keeps a pod from being ready.
fn kept(pod: &Pod) -> Option<String> {
    let (name, status) = (pod.name_any(), pod.status.clone().unwrap_or_default());
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(format!("pod {name} is ending"));
    }
    let conditions = status.conditions.unwrap_or_default();
    let unscheduled = conditions.iter().find(|one| one.type_ == "PodScheduled" && one.status == "False");
    if let Some(condition) = unscheduled {
        let why = condition.message.as_deref().unwrap_or("no node takes it");
        return Some(format!("pod {name} has no node: {}", short(why)));
    }
    let containers = status.container_statuses.unwrap_or_default();
    let Some(container) = containers.first() else { return Some(format!("pod {name} has not begun")) };
    if container.ready {
        return None;
    }
    Some(format!("pod {name} {}", state(container, &name)))
}

fn state(container: &ContainerStatus, pod: &str) -> String {
    let state = container.state.clone().unwrap_or_default();
    let logs = format!("kubectl -n {NAMESPACE} logs {pod}");
    let ended = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    match (state.waiting, state.terminated.as_ref().or(ended)) {
        (_, Some(ended)) if state.running.is_none() => {
            let words = ended.message.as_deref().map(short).filter(|words| !words.is_empty());
            let words = words.unwrap_or_else(|| format!("{logs} --previous"));
            format!("ended with code {}: {words}", ended.exit_code)
        }
        (Some(waiting), _) => {
            let reason = waiting.reason.unwrap_or_default();
            let message = waiting.message.map(|text| format!(": {}", short(&text))).unwrap_or_default();
            format!("waits ({reason}){message}")
        }
        _ => format!("runs and is not ready: {logs}"),
    }
}

/// One line, not too long.
pub(crate) fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}
