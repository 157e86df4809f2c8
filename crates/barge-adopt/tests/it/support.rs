//! A Deployment as a cluster tells of it, and changes of it.

use barge_adopt::{Asked, Reading, Refusal, Runtime, Source, read, running};
use serde_json::{Value, json};

pub(crate) fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

/// Everything that belongs to a Deployment of two instances, as JSON.
pub(crate) fn plain() -> Value {
    let container = json!({
        "name": "main", "image": "registry.example.com/shop:1.2", "command": ["./shop"],
        "ports": [{ "name": "http", "containerPort": 3000 }],
    });
    let template = json!({ "metadata": { "labels": { "app": "shop" } }, "spec": { "containers": [container] } });
    json!({
        "deployment": {
            "metadata": { "name": "shop", "generation": 3 },
            "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "shop" } }, "template": template },
            "status": { "observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2 },
        },
        "pods": [pod("a", 'a'), pod("b", 'a')],
        "services": [{
            "metadata": { "name": "shop" },
            "spec": { "selector": { "app": "shop" }, "ports": [{ "port": 80, "targetPort": "http" }] },
        }],
        "autoscalers": [],
    })
}

pub(crate) fn pod(name: &str, letter: char) -> Value {
    let image = format!("registry.example.com/shop@{}", digest(letter));
    let status = json!({ "name": "main", "image": "shop", "imageID": image, "ready": true, "restartCount": 0 });
    json!({ "metadata": { "name": name }, "status": { "containerStatuses": [status] } })
}

/// The same with values at paths put in the place of what is there.
pub(crate) fn with(changes: &[(&str, Value)]) -> Source {
    let mut all = plain();
    for (path, value) in changes {
        // A path without a beginning is one of the container.
        let path = if path.starts_with('/') { (*path).to_owned() } else { format!("{CONTAINER}/{path}") };
        let (parent, field) = path.rsplit_once('/').unwrap();
        all.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"))[field] = value.clone();
    }
    let part = |name: &str| all[name].clone();
    Source {
        deployment: serde_json::from_value(part("deployment")).unwrap(),
        pods: serde_json::from_value(part("pods")).unwrap(),
        services: serde_json::from_value(part("services")).unwrap(),
        autoscalers: serde_json::from_value(part("autoscalers")).unwrap(),
    }
}

pub(crate) const POD: &str = "/deployment/spec/template/spec";
pub(crate) const CONTAINER: &str = "/deployment/spec/template/spec/containers/0";

/// What its image says.
pub(crate) fn runtime() -> Runtime {
    Runtime::of(&json!({ "config": { "Entrypoint": ["/entry"], "Cmd": ["serve", "$HOME"] } }))
}

/// Reads as `barge adopt` does.
pub(crate) fn reading(source: &Source, asked: &Asked) -> Result<Reading, Refusal> {
    let running = running(source, asked.container.as_deref())?;
    let runtime = Some(runtime()).filter(|_| running.starts_by_itself);
    read(source, asked, runtime.as_ref())
}
