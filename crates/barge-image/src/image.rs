//! Config and manifest of an image (OCI image specification 1.1), as bytes that are the same on every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use barge_model::manifest::Platform;
use serde_json::{Value, json};

use crate::cache::Held;
use crate::layer::{self, Layer};

/// Media types of the OCI image specification.
pub mod media_type {
    /// An image's manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An index of manifests.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An image's configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// Docker's older name of a layer.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's older manifest, which many bases still have.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's older list of manifests.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
}

/// Where a blob's bytes are.
#[derive(Debug, Clone)]
pub enum Source {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// In a file of ours.
    Temporary(Arc<Held>),
    /// In a file of somebody else's.
    File(PathBuf),
    /// In a repository of the registry that the base came from; it is mounted or copied.
    Remote {
        /// The repository there.
        reference: crate::registry::Reference,
        /// Where it is kept once it had to be fetched.
        cache: Option<crate::cache::Cache>,
    },
}

/// A part of an image.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Its digest, with `sha256:`.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// Where its bytes are.
    pub source: Source,
}

/// A whole image, ready to be pushed or written.
#[derive(Debug, Clone)]
pub struct Image {
    /// The machines that it is for.
    pub platform: Platform,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// The manifest's digest: the image's name for ever.
    pub digest: String,
    /// The configuration.
    pub config: Blob,
    /// The layers, lowest first.
    pub layers: Vec<Blob>,
}

impl Image {
    /// Layers and configuration, each blob once: a base may have the same layer twice, such as an empty one.
    pub fn blobs(&self) -> Vec<&Blob> {
        let mut seen = BTreeSet::new();
        let all = self.layers.iter().chain([&self.config]);
        all.filter(|blob| seen.insert(blob.digest.as_str())).collect()
    }
}

/// What a base brings: its layers and its configuration.
#[derive(Debug, Clone)]
pub struct Base {
    /// The machines that it is for.
    pub platform: Platform,
    /// The configuration document; empty for scratch.
    pub config: Option<Value>,
    /// The layers.
    pub layers: Vec<Blob>,
}

impl Default for Base {
    /// Nothing at all, for this machine.
    fn default() -> Self {
        Self { platform: here(), config: None, layers: Vec::new() }
    }
}

/// What the application says of itself in the image's configuration.
#[derive(Debug, Clone, Default)]
pub struct Runtime {
    /// What is started with the command as its arguments, where nobody says something else; empty for the command itself.
    pub entrypoint: Vec<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Environment variables; the base's are kept, the same name wins here.
    pub environment: BTreeMap<String, String>,
    /// Labels, such as the service's name.
    pub labels: BTreeMap<String, String>,
}

/// Joins a base and the application's layers.
pub fn assemble(base: Base, own: &[Layer], runtime: &Runtime) -> Image {
    let mut config = base.config.unwrap_or_else(|| platform(&base.platform));
    let created_by = "barge";
    let diff_ids = own.iter().map(|layer| Value::from(layer.diff_id.clone()));
    extend(&mut config, &["rootfs", "diff_ids"], diff_ids);
    config["rootfs"]["type"] = json!("layers");
    let history = own.iter().map(|_| json!({ "created": "1970-01-01T00:00:01Z", "created_by": created_by }));
    extend(&mut config, &["history"], history);
    config["created"] = json!("1970-01-01T00:00:01Z");
    config["config"]["WorkingDir"] = json!(format!("/{}", crate::plan::APP));
    // A base's entrypoint would swallow the command; what starts the service is said in barge.yaml alone.
    config["config"]["Entrypoint"] = match runtime.entrypoint.as_slice() {
        [] => Value::Null,
        words => json!(words),
    };
    config["config"]["Cmd"] = json!(runtime.command);
    if !runtime.environment.is_empty() {
        set_environment(&mut config["config"]["Env"], &runtime.environment);
    }
    for (name, value) in &runtime.labels {
        config["config"]["Labels"][name] = json!(value);
    }
    let config_bytes = canonical(config);
    let config = Blob {
        digest: layer::digest(&config_bytes),
        size: config_bytes.len() as u64,
        media_type: media_type::CONFIG.to_owned(),
        source: Source::Bytes(config_bytes.into()),
    };
    let own = own.iter().map(|layer| Blob {
        digest: layer.digest.clone(),
        size: layer.size,
        media_type: media_type::LAYER.to_owned(),
        source: Source::Temporary(Arc::clone(&layer.file)),
    });
    let layers: Vec<Blob> = base.layers.into_iter().chain(own).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::MANIFEST,
        "config": descriptor(&config),
        "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
    });
    let manifest = canonical(manifest);
    Image { platform: base.platform, digest: layer::digest(&manifest), manifest, config, layers }
}

/// A platform as configurations and indexes name it.
pub(crate) fn platform(platform: &Platform) -> Value {
    let mut named = json!({ "architecture": platform.architecture(), "os": "linux" });
    if let Some(variant) = platform.variant() {
        named["variant"] = json!(variant);
    }
    named
}

/// Variables are a list of `NAME=value`.
fn set_environment(list: &mut Value, ours: &BTreeMap<String, String>) {
    let name = |entry: &Value| entry.as_str().and_then(|text| text.split_once('=')).map(|(name, _)| name.to_owned());
    let theirs = list.as_array().cloned().unwrap_or_default();
    let kept = theirs.into_iter().filter(|entry| name(entry).is_none_or(|name| !ours.contains_key(&name)));
    *list = kept.chain(ours.iter().map(|(name, value)| json!(format!("{name}={value}")))).collect();
}

/// A document's bytes with its keys sorted. serde_json keeps the order of insertion instead where any crate of the build asks it to,
/// and the digest must not depend on that.
pub(crate) fn canonical(mut document: Value) -> Vec<u8> {
    document.sort_all_objects();
    document.to_string().into_bytes()
}

/// A blob as manifests name it.
pub fn descriptor(blob: &Blob) -> Value {
    json!({ "mediaType": blob.media_type, "digest": blob.digest, "size": blob.size })
}

/// Appends to the list at `path`, making what is missing on the way.
fn extend(document: &mut Value, path: &[&str], items: impl Iterator<Item = Value>) {
    let mut place = document;
    for part in path {
        place = &mut place[*part];
    }
    if !place.is_array() {
        *place = json!([]);
    }
    if let Some(list) = place.as_array_mut() {
        list.extend(items);
    }
}

/// This machine's platform.
pub fn here() -> Platform {
    Platform::new(architecture(), None)
}

/// This machine's architecture in the words of the specification (which are Go's).
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
