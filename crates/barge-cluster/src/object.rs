//! Objects of any kind, for whoever treats all of them alike.

use kube::core::dynamic::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde_json::Value;

/// An object as it is applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its kind.
    pub resource: ApiResource,
    /// All of it.
    pub document: Value,
}

/// Why objects cannot be written down.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// As JSON.
    #[error("write down the {kind}")]
    Json {
        /// What kind of object.
        kind: String,
        /// What went wrong.
        source: serde_json::Error,
    },
    /// As YAML.
    #[error("write down {name}")]
    Yaml {
        /// Which object.
        name: String,
        /// What went wrong.
        source: serde_saphyr::ser::Error,
    },
}

impl Object {
    /// Forgets the kind of an object.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn new<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Result<Self, WriteError> {
        let resource = ApiResource::erase::<K>(&());
        match serde_json::to_value(object) {
            Ok(document) => Ok(Self { resource, document }),
            Err(source) => Err(WriteError::Json { kind: resource.kind, source }),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.document["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Where it is; nothing for what belongs to the whole cluster.
    pub fn namespace(&self) -> Option<&str> {
        self.document["metadata"]["namespace"].as_str()
    }

    /// As people name it.
    pub fn title(&self) -> String {
        title(&self.resource.kind, self.namespace(), self.name())
    }

    /// Where to ask for it.
    pub fn api(&self, client: &Client) -> Api<DynamicObject> {
        match self.namespace() {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        }
    }
}

/// As people name an object.
pub(crate) fn title(kind: &str, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{kind} {name} in {namespace}"),
        None => format!("{kind} {name}"),
    }
}

/// All objects as `kubectl apply -f -` takes them.
///
/// # Errors
/// One of them cannot be written.
pub fn yaml(objects: &[Object]) -> Result<String, WriteError> {
    let texts: Result<Vec<String>, WriteError> = objects.iter().map(one_yaml).collect();
    Ok(texts?.join("---\n"))
}

/// One object alone.
pub(crate) fn one_yaml(object: &Object) -> Result<String, WriteError> {
    serde_saphyr::to_string(&object.document).map_err(|source| WriteError::Yaml { name: object.title(), source })
}
