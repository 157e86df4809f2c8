//! Base images: nothing at all, an OCI layout on disk or in a tar, what `docker save` writes, or a registry.
//!
//! All of them end the same: documents are found by digest or by name, and [`document`] says what of them matters. A base in a registry
//! is pinned by [`lock`] and fetched by [`fetch`].

mod archive;
mod document;
pub(crate) mod fetch;
mod layout;
pub mod lock;

use std::path::{Path, PathBuf};

use barge_model::manifest::Platform;
use serde_json::Value;

use crate::cache::Cache;
use crate::image::{Base, Source, here};
use crate::layer::LayerError;
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
    /// A file lacks something that a layout has.
    #[error("{path} is neither an OCI layout in a tar nor what `docker save` writes: {problem}")]
    Tar {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A document is not what it should be.
    #[error("{what} is not a valid document of the OCI image specification")]
    Invalid {
        /// Which document.
        what: String,
    },
    /// A document is larger than any sensible one.
    #[error("{what} has {size} bytes; no more than {limit} are read")]
    TooLarge {
        /// Which document.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
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
    /// The base does not exist for that kind of machine.
    #[error("it has no image for {wanted}{}", only(.has))]
    Platform {
        /// What was asked for.
        wanted: Platform,
        /// What there is, such as `linux/arm64` or `windows/amd64`.
        has: Vec<String>,
    },
    /// An index names several images, and no platform for any of them.
    #[error("it has {count} images and does not say for which machines they are: {}", .some.join(", "))]
    Unnamed {
        /// How many.
        count: usize,
        /// The digests of some of them.
        some: Vec<String>,
    },
    /// Manifest and configuration tell of different numbers of layers.
    #[error("its configuration names {named} layers and its manifest {found}")]
    Layers {
        /// In the configuration.
        named: usize,
        /// In the manifest.
        found: usize,
    },
    /// A layer cannot be taken over.
    #[error("take over a layer")]
    Copy(#[source] LayerError),
    /// The registry does not give it.
    #[error("fetch it from its registry")]
    Registry(#[source] RegistryError),
    /// There is no connection to a registry in this build.
    #[error(
        "{0:?} is neither `scratch`, `oci:DIRECTORY` nor `tar:FILE`, and not a reference with a registry such as registry.example/base:1"
    )]
    Reference(String),
    /// The work was given up.
    #[error("the work was interrupted")]
    Interrupted,
}

fn only(has: &[String]) -> String {
    if has.is_empty() { String::new() } else { format!(", only for {}", has.join(", ")) }
}

/// How a base is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nothing at all.
    Scratch,
    /// An OCI layout in a directory.
    Layout(PathBuf),
    /// A layout in a tar, or what `docker save` writes.
    Tar(PathBuf),
    /// In a registry.
    Registry(Reference),
}

impl std::str::FromStr for Place {
    type Err = BaseError;

    fn from_str(name: &str) -> Result<Self, BaseError> {
        match name.split_once(':') {
            _ if name == "scratch" => Ok(Self::Scratch),
            Some(("oci", directory)) if !directory.is_empty() => Ok(Self::Layout(directory.into())),
            Some(("tar", file)) if !file.is_empty() => Ok(Self::Tar(file.into())),
            _ => name.parse().map(Self::Registry).map_err(|_| BaseError::Reference(name.to_owned())),
        }
    }
}

/// What a base is loaded with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Means<'a> {
    /// Asked for what lies in a registry.
    pub client: Option<&'a Client>,
    /// What was fetched before.
    pub cache: Option<&'a Cache>,
}

/// Loads the base `name` for this machine.
///
/// # Errors
/// It cannot be found or understood.
pub async fn load(name: &str, client: Option<&Client>) -> Result<Base, BaseError> {
    let means = Means { client, cache: None };
    load_for(&name.parse()?, &here(), means).await
}

/// Loads the base at `place` for a kind of machine.
///
/// # Errors
/// It cannot be found or understood, or is not for such machines.
pub async fn load_for(place: &Place, platform: &Platform, means: Means<'_>) -> Result<Base, BaseError> {
    match place {
        Place::Scratch => Ok(Base { platform: platform.clone(), config: None, layers: Vec::new() }),
        Place::Layout(directory) => from_layout(directory, platform),
        Place::Tar(file) => {
            let (file, platform, cache) = (file.clone(), platform.clone(), means.cache.cloned());
            let load = move || archive::load(&file, &platform, cache.as_ref());
            tokio::task::spawn_blocking(load).await.map_err(|_| BaseError::Interrupted)?
        }
        Place::Registry(reference) => from_registry(reference, platform, means).await,
    }
}

fn from_layout(directory: &Path, platform: &Platform) -> Result<Base, BaseError> {
    let (manifest, config) = layout::documents(&layout::Directory(directory), platform)?;
    // The layers are verified when they are read to be copied or pushed.
    let source = |digest: &barge_model::Digest| Source::File(layout::Directory(directory).blob(digest));
    document::base(&manifest, config, platform, source)
}

/// The manifest of the image for a kind of machine, where `reference` may name an index of several.
///
/// # Errors
/// It cannot be fetched or understood, or there is none for such machines.
pub async fn manifest_for(reference: &Reference, platform: &Platform, means: Means<'_>) -> Result<Value, BaseError> {
    let Means { client, cache } = means;
    let fetched = |reference: Reference| async move {
        let bytes = fetch::manifest(client, &reference, cache).await.map_err(BaseError::Registry)?;
        document::parse(&bytes, MANIFEST)
    };
    let mut manifest = fetched(reference.clone()).await?;
    // An index may name another one.
    for _ in 0..layout::DEPTH {
        if manifest.get("manifests").is_none() {
            break;
        }
        let digest = document::choose(&manifest, platform)?;
        manifest = fetched(reference.with_digest(digest.as_str())).await?;
    }
    Ok(manifest)
}

async fn from_registry(reference: &Reference, platform: &Platform, means: Means<'_>) -> Result<Base, BaseError> {
    let Means { client, cache } = means;
    let manifest = manifest_for(reference, platform, means).await?;
    let digest = document::digest(&manifest["config"], MANIFEST)?;
    let config = fetch::config(client, reference, &digest, cache).await.map_err(BaseError::Registry)?;
    let config = document::config(&config, "the base's config")?;
    let source = |_: &barge_model::Digest| Source::Remote { reference: reference.clone(), cache: cache.cloned() };
    document::base(&manifest, config, platform, source)
}

/// What people call it.
const MANIFEST: &str = "the image's manifest";
