//! Base images: nothing at all, an OCI layout on disk, or a registry.

pub(crate) mod fetch;

use std::path::{Path, PathBuf};

use barge_model::Digest;
use serde_json::Value;

use crate::image::{Base, Blob, Source, architecture, media_type};
use crate::layer;
use crate::registry::{Client, Reference, RegistryError};

/// Why a base cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// A file of the layout cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A document is not what it should be.
    #[error("{what} is not a valid document of the OCI image specification")]
    Invalid {
        /// Which document.
        what: String,
    },
    /// What names a blob is no digest; as a path it could lead anywhere.
    #[error("{what} names {digest:?}, which is not a SHA-256 digest")]
    Digest {
        /// Which document.
        what: String,
        /// What it names.
        digest: String,
    },
    /// A file does not hold what its name says.
    #[error("{path} has digest {actual}; it was changed or damaged")]
    Changed {
        /// Which file.
        path: PathBuf,
        /// The digest of what it holds.
        actual: String,
    },
    /// The base does not exist for this machine.
    #[error("it has no image for linux/{0}")]
    Platform(&'static str),
    /// The registry does not give it.
    #[error("fetch it from its registry")]
    Registry(#[source] RegistryError),
    /// There is no connection to a registry in this build.
    #[error(
        "{0:?} is neither `scratch` nor `oci:DIRECTORY`, and not a reference with a registry such as registry.example/base:1"
    )]
    Reference(String),
}

/// Loads the base `name`.
///
/// # Errors
/// It cannot be found or understood.
pub async fn load(name: &str, client: Option<&Client>) -> Result<Base, BaseError> {
    if name == "scratch" {
        return Ok(Base::default());
    }
    if let Some(directory) = name.strip_prefix("oci:") {
        return from_layout(Path::new(directory));
    }
    let reference: Reference = name.parse().map_err(|_| BaseError::Reference(name.to_owned()))?;
    let client = client.ok_or_else(|| BaseError::Reference(name.to_owned()))?;
    from_registry(&reference, client).await
}

async fn from_registry(reference: &Reference, client: &Client) -> Result<Base, BaseError> {
    let (bytes, _) = client.manifest(reference).await.map_err(BaseError::Registry)?;
    let mut manifest = parse(&bytes, "the base's manifest")?;
    if manifest.get("manifests").is_some() {
        let digest = for_this_machine(&manifest)?;
        let (bytes, _) = client.manifest(&reference.with_digest(digest.as_str())).await.map_err(BaseError::Registry)?;
        manifest = parse(&bytes, "the base's manifest")?;
    }
    let config_digest = digest(&manifest["config"], "the base's manifest")?;
    let config = client.blob(reference, config_digest.as_str()).await.map_err(BaseError::Registry)?;
    let source = Source::Remote { reference: reference.clone(), cache: None };
    let config = config_document(&config, "the base's config")?;
    Ok(Base { config: Some(config), layers: layers(&manifest, |_| source.clone())? })
}

fn from_layout(directory: &Path) -> Result<Base, BaseError> {
    let blob = |digest: &Digest| directory.join("blobs/sha256").join(digest.hex());
    let mut document = parse(&read(directory.join("index.json"))?, "index.json")?;
    // An index may name another one for the platforms.
    for _ in 0..3 {
        if document.get("manifests").is_none() {
            break;
        }
        let digest = for_this_machine(&document)?;
        document = parse(&verified(blob(&digest), &digest)?, "a manifest")?;
    }
    let config_digest = digest(&document["config"], "a manifest")?;
    let config = verified(blob(&config_digest), &config_digest)?;
    // The layers are verified when they are read to be copied or pushed.
    let layers = layers(&document, |digest| Source::File(blob(digest)))?;
    Ok(Base { config: Some(config_document(&config, "the config")?), layers })
}

fn read(path: PathBuf) -> Result<Vec<u8>, BaseError> {
    std::fs::read(&path).map_err(|source| BaseError::Read { path, source })
}

/// Reads a blob that should have the digest that it is named by.
fn verified(path: PathBuf, digest: &Digest) -> Result<Vec<u8>, BaseError> {
    let bytes = read(path.clone())?;
    let actual = layer::digest(&bytes);
    if actual == digest.as_str() { Ok(bytes) } else { Err(BaseError::Changed { path, actual }) }
}

/// The digest of the entry for this machine; an entry that names no platform will do.
fn for_this_machine(index: &Value) -> Result<Digest, BaseError> {
    let entries = index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fits = |entry: &&Value| {
        let platform = &entry["platform"];
        platform.is_null() || (platform["os"] == "linux" && platform["architecture"] == architecture())
    };
    let entry = entries.iter().find(fits).ok_or(BaseError::Platform(architecture()))?;
    digest(entry, "the index")
}

fn layers(manifest: &Value, source: impl Fn(&Digest) -> Source) -> Result<Vec<Blob>, BaseError> {
    let list = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .map(|layer| {
            let digest = digest(layer, "the base's manifest")?;
            Ok(Blob {
                source: source(&digest),
                digest: digest.into(),
                size: layer["size"].as_u64().unwrap_or_default(),
                media_type: match text(&layer["mediaType"], "the base's manifest")?.as_str() {
                    // The same bytes under an older name, which does not belong into an OCI manifest.
                    media_type::DOCKER_LAYER => media_type::LAYER.to_owned(),
                    other => other.to_owned(),
                },
            })
        })
        .collect()
}

fn parse(bytes: &[u8], what: &str) -> Result<Value, BaseError> {
    serde_json::from_slice(bytes).map_err(|_| BaseError::Invalid { what: what.to_owned() })
}

/// A config to which something can be added: where there should be objects, there are.
fn config_document(bytes: &[u8], what: &str) -> Result<Value, BaseError> {
    let document = parse(bytes, what)?;
    let parts = [&document["rootfs"], &document["config"], &document["config"]["Labels"]];
    if document.is_object() && parts.iter().all(|part| part.is_object() || part.is_null()) {
        return Ok(document);
    }
    Err(BaseError::Invalid { what: what.to_owned() })
}

/// The digest by which a descriptor names its blob.
fn digest(descriptor: &Value, what: &str) -> Result<Digest, BaseError> {
    let named = text(&descriptor["digest"], what)?;
    Digest::new(named.as_str())
        .map_err(|_| BaseError::Digest { what: what.to_owned(), digest: named.chars().take(100).collect() })
}

fn text(value: &Value, what: &str) -> Result<String, BaseError> {
    value.as_str().map(str::to_owned).ok_or_else(|| BaseError::Invalid { what: what.to_owned() })
}
